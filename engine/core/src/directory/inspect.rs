//! What is shown of a directory to people, who know ids and not numbers.
//!
//! Nothing here is on the path of a request: names are searched for among all, and texts are made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Compiled, Directory, LocationSlot, MFA_TRUSTED, PlaceNumbers, SeenAt, Standing};
use crate::ids::{Name, ObjectKey};
use crate::index::sets::Side;
use crate::policy::{
    Body, Evaluation, Frequency, Grant, Mode, Place, Policy, PolicyMode, Settings,
};
use crate::time::UnixMillis;
use crate::version::{ContentHash, Versions};

/// The hash of an object's content: equal content has equal hashes, wherever it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(ContentHash);

/// Since when an object stands so, and what it says as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Since when its content has stood so.
    pub since: UnixMillis,
    /// Its content.
    pub fingerprint: Fingerprint,
}

/// What a tenant decided (P1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsView {
    /// The settings.
    pub settings: Settings,
    /// Since when.
    pub edition: Edition,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyView {
    /// Its id.
    pub id: Name,
    /// What people call it; may be empty.
    pub title: String,
    /// Whether it is in force.
    pub mode: PolicyMode,
    /// What it demands.
    pub grant: Grant,
    /// The same in the words in which it was told.
    pub controls: Vec<String>,
    /// How old a sign-in may be.
    pub frequency: Option<Frequency>,
    /// What it says of continuous access evaluation itself.
    pub evaluation: Evaluation,
    /// Why it is not enforceable (P6); nothing, where it is.
    pub obstacles: Vec<Obstacle>,
    /// When it or a location that it names last changed (P8).
    pub changed: UnixMillis,
    /// Since when.
    pub edition: Edition,
}

/// Why a policy is not enforceable (P6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// It is narrowed by something that nothing here evaluates.
    #[error("its condition `{0}` can not be evaluated here")]
    Condition(String),
    /// Each access needs a new sign-in.
    #[error("it asks for a new sign-in each time, which no token can show")]
    EveryTime,
    /// It is for a user action.
    #[error("it is for a user action, which is no resource")]
    UserAction,
    /// A location is not known.
    #[error("location `{0}` is not known")]
    LocationUnknown(String),
    /// A location is known by its countries.
    #[error("location `{0}` is known by countries, and there is no database of countries")]
    Countries(String),
    /// A location is known by nothing that an address tells.
    #[error("location `{0}` is not known by addresses")]
    Unknowable(String),
    /// It names all trusted locations.
    #[error(
        "it names all trusted locations, and nothing was told of the addresses that MFA trusts"
    )]
    MfaTrustedUnknown,
    /// The members of a group or role are not known.
    #[error("the members of `{0}` are not known; it is enforced where the token tells them")]
    MembersUnknown(String),
}

/// A named location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocationView {
    /// Its id; `None`: the ranges that MFA trusts.
    pub id: Option<ObjectKey>,
    /// What people call it; may be empty.
    pub title: String,
    /// By what it is known.
    pub kind: LocationKind,
    /// How many ranges it has.
    pub ranges: usize,
    /// Whether `AllTrusted` means it.
    pub trusted: bool,
    /// Since when.
    pub edition: Edition,
}

/// By what a location is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationKind {
    /// By addresses.
    Ranges,
    /// By countries.
    Countries,
    /// By nothing that an address tells.
    Unknowable,
}

/// A group or a role that was told of, or that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its id.
    pub id: ObjectKey,
    /// How many members it has; `None` where they are not known.
    pub members: Option<u64>,
    /// The whole set, as it was told; single changes lie over it.
    pub edition: Option<Edition>,
}

/// How a subject stands to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipView {
    /// The group or role.
    pub group: ObjectKey,
    /// Whether the members of the group are known at all.
    pub is_known: bool,
    /// Whether the subject is one.
    pub is_member: bool,
    /// When a single change last told of it.
    pub changed: Option<UnixMillis>,
}

impl Fingerprint {
    /// Of a version in so many parts.
    pub fn of(parts: &[Body]) -> Self {
        match parts {
            [whole] => Self(whole.content_hash()),
            parts => {
                let hashes: Vec<_> = parts.iter().map(Body::content_hash).collect();
                Self(Body::joined_hash(&hashes))
            }
        }
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

fn edition<T: Clone>(versions: &Versions<T>) -> Option<Edition> {
    let fingerprint = Fingerprint(versions.stamp()?.hash);
    Some(Edition { since: versions.since()?, fingerprint })
}

impl Directory {
    /// What the tenant decided; `None` where it did not.
    pub(crate) fn settings_view(&self) -> Option<SettingsView> {
        let parts = self.settings.parts().iter().map(Option::as_deref).collect::<Option<Vec<_>>>();
        let settings = parts.and_then(|parts| Settings::joined(&parts))?;
        Some(SettingsView { settings, edition: edition(&self.settings)? })
    }

    /// Every policy that was not deleted, in the order of their ids.
    pub(crate) fn policy_views(&self) -> Vec<PolicyView> {
        let view = |slot: &super::PolicySlot| {
            let compiled = slot.compiled.as_deref()?;
            let parts: Vec<&Policy> =
                slot.versions.parts().iter().filter_map(Option::as_deref).collect();
            let policy = Policy::joined(&parts)?;
            let edition = edition(&slot.versions)?;
            let standing =
                self.view.policies.iter().find(|standing| standing.policy.id == compiled.id);
            Some(PolicyView {
                id: policy.id.clone(),
                title: slot.title.0.to_string(),
                mode: policy.mode,
                grant: policy.grant,
                frequency: policy.frequency,
                evaluation: policy.evaluation,
                obstacles: self.obstacles(&policy, compiled),
                controls: policy.controls,
                changed: standing.map_or(edition.since, |standing| standing.changed),
                edition,
            })
        };
        let mut views: Vec<_> = self.policies.values().filter_map(view).collect();
        views.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        views
    }

    /// Why a policy in force is not enforceable.
    pub(crate) fn obstacles_of(&self, standing: &Standing) -> Vec<Obstacle> {
        let Ok(key) = ObjectKey::parse(standing.policy.id.as_str()) else { return Vec::new() };
        let Some(slot) = self.policies.get(&key) else { return Vec::new() };
        let parts: Vec<&Policy> =
            slot.versions.parts().iter().filter_map(Option::as_deref).collect();
        let policy = Policy::joined(&parts);
        policy.map(|policy| self.obstacles(&policy, &standing.policy)).unwrap_or_default()
    }

    fn obstacles(&self, policy: &Policy, compiled: &Compiled) -> Vec<Obstacle> {
        let mut obstacles: Vec<Obstacle> =
            policy.narrowing.iter().cloned().map(Obstacle::Condition).collect();
        if policy.frequency == Some(Frequency::EveryTime) {
            obstacles.push(Obstacle::EveryTime);
        }
        if policy.applications.user_action {
            obstacles.push(Obstacle::UserAction);
        }
        for list in compiled.places.iter().flat_map(|(include, exclude)| [include, exclude]) {
            let trusts = self.slot(MFA_TRUSTED).is_some_and(LocationSlot::has_ranges);
            if list.all_trusted && !trusts {
                obstacles.push(Obstacle::MfaTrustedUnknown);
            }
            obstacles.extend(list.numbers.iter().filter_map(|number| self.unseen(*number)));
        }
        for chosen in [&compiled.include, &compiled.exclude] {
            for (number, id) in chosen.groups.iter().chain(&chosen.roles) {
                if !self.group(*number).is_some_and(|group| group.members.is_known()) {
                    obstacles.push(Obstacle::MembersUnknown(id.to_string()));
                }
            }
        }
        obstacles
    }

    /// Why no address can be compared with a location.
    fn unseen(&self, number: u32) -> Option<Obstacle> {
        let slot = self.slot(number);
        if slot.is_some_and(LocationSlot::has_ranges) || self.view.by_country(number).is_some() {
            return None;
        }
        let name = self.place_name(number);
        let place = slot.and_then(|slot| slot.versions.parts().iter().flatten().next());
        Some(match place.map(|location| &location.place) {
            Some(Place::Countries { .. }) => Obstacle::Countries(name),
            Some(Place::Ranges(_) | Place::Unknowable) => Obstacle::Unknowable(name),
            None => Obstacle::LocationUnknown(name),
        })
    }

    /// Every location that was not deleted: the ranges that MFA trusts, then by id.
    pub(crate) fn location_views(&self) -> Vec<LocationView> {
        let named = self.location_numbers.iter().map(|(id, number)| (Some(*id), *number));
        let view = |(id, number)| {
            let slot = self.slot(number)?;
            let location = slot.versions.parts().first()?.as_ref()?;
            Some(LocationView {
                id,
                title: slot.title.0.to_string(),
                kind: match location.place {
                    Place::Ranges(_) => LocationKind::Ranges,
                    Place::Countries { .. } => LocationKind::Countries,
                    Place::Unknowable => LocationKind::Unknowable,
                },
                ranges: slot.ranges().map(|set| set.len()).sum(),
                trusted: location.trusted,
                edition: edition(&slot.versions)?,
            })
        };
        let mut views: Vec<_> = named.chain([(None, MFA_TRUSTED)]).filter_map(view).collect();
        views.sort_by_cached_key(|view| view.id.map(|id| id.to_string()));
        views
    }

    /// Every group and role, by id.
    pub(crate) fn group_views(&self) -> Vec<GroupView> {
        let view = |(id, number): (&ObjectKey, &u32)| {
            let group = self.group(*number);
            let known = group.filter(|group| group.members.is_known());
            GroupView {
                id: *id,
                members: known.map(|group| group.members.len()),
                edition: known.and_then(|group| edition(&group.baselines)),
            }
        };
        let mut views: Vec<_> = self.group_numbers.iter().map(view).collect();
        views.sort_by_cached_key(|view| view.id.to_string());
        views
    }

    /// How a subject stands to every group that it was ever a member of.
    pub(crate) fn membership_views(&self, subject: u32) -> Vec<MembershipView> {
        let view = |(id, number): (&ObjectKey, &u32)| {
            let members = &self.group(*number)?.members;
            let changed = members.change(subject).map(|change| change.at);
            let is_member = members.contains(subject, Side::Include);
            let is_told = is_member || changed.is_some();
            let is_known = members.is_known();
            is_told.then_some(MembershipView { group: *id, is_known, is_member, changed })
        };
        let mut views: Vec<_> = self.group_numbers.iter().filter_map(view).collect();
        views.sort_unstable_by_key(|view| view.group);
        views
    }

    /// The locations of a list, by number.
    pub(crate) fn places(&self, list: &PlaceNumbers) -> Vec<u32> {
        let trusted = list.all_trusted.then_some(&self.view.trusted).into_iter().flatten();
        list.numbers.iter().chain(trusted).copied().collect()
    }

    /// What a location is called.
    pub(crate) fn place_name(&self, number: u32) -> String {
        if number == MFA_TRUSTED {
            return "MfaTrusted".to_owned();
        }
        let is_it = |(_, known): &(&ObjectKey, &u32)| **known == number;
        let id = self.location_numbers.iter().find(is_it).map(|(id, _)| id.to_string());
        let title = self.slot(number).map(|slot| &*slot.title.0).unwrap_or_default();
        titled(title, &id.unwrap_or_default())
    }

    /// What a policy is called.
    pub(crate) fn policy_name(&self, id: &Name) -> String {
        let slot = ObjectKey::parse(id.as_str()).ok().and_then(|id| self.policies.get(&id));
        titled(slot.map(|slot| &*slot.title.0).unwrap_or_default(), id.as_str())
    }

    /// The country of an address, where it matters.
    pub(crate) fn country(&self, seen: &SeenAt<'_>) -> Option<String> {
        let database = &self.view.countries.as_ref()?.database;
        let country = database.of(seen.address?);
        Some(country.map_or_else(|| "of none that is known".to_owned(), |it| it.to_string()))
    }

    /// The names of the locations that cover an address.
    pub(crate) fn covering(&self, seen: &SeenAt<'_>) -> Vec<String> {
        let all = (0..).zip(self.locations.iter()).map(|(number, _)| number);
        let mut names: Vec<_> = all
            .filter(|number| seen.is_at(*number))
            .map(|number| self.place_name(number))
            .collect();
        names.sort_unstable();
        names
    }

    /// The first address of each range of a location, and the one after its last.
    pub(crate) fn edges(&self, number: u32) -> impl Iterator<Item = (IpAddr, Option<IpAddr>)> {
        let by_country = self.view.by_country(number);
        let by_country = by_country.into_iter().flat_map(|(database, set)| database.edges(set));
        let sets = self.slot(number).into_iter().flat_map(LocationSlot::ranges);
        let ranges = sets.flat_map(|set| {
            set.numbers().enumerate().filter_map(|(place, (first, last))| {
                let address = |number: u128| {
                    if place < set.v4_len() {
                        u32::try_from(number).ok().map(|bits| Ipv4Addr::from(bits).into())
                    } else {
                        Some(Ipv6Addr::from(number).into())
                    }
                };
                Some((address(first)?, last.checked_add(1).and_then(address)))
            })
        });
        ranges.chain(by_country)
    }
}

/// An id with the name that people have for it.
pub fn titled(title: &str, id: &str) -> String {
    if title.is_empty() || title == id { id.to_owned() } else { format!("{title} ({id})") }
}

impl Mode {
    /// The mode in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::ReportOnly => "report-only",
            Self::Off => "off",
        }
    }
}
