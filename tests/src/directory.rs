//! What a directory says of a token: `engine/SEMANTICS.md` P1 to P9, over a plain list of events.
//!
//! Nothing is kept and nothing is compiled: each question goes through the whole list. Yes, no and "can't be
//! known" are `Some(true)`, `Some(false)` and `None`.

use std::net::IpAddr;

use caed_core::event::Fact;
use caed_core::ids::ObjectKey;
use caed_core::policy::{Evaluation, Frequency, Grant, Incapable, Mode, PolicyMode, Version};
use caed_core::rules::LocationClass;

use crate::border;
use crate::oracle::{floor, is_guid, register_time, same};
use crate::world::{
    Event, From, Location, Millis, Policy, Request, Seconds, Settings, Text, Told, What,
};

/// One thing of the directory: what it says now, since when, and how it came to that.
struct Held<'e> {
    told: &'e Told,
    /// P8: content that is told again keeps its time.
    since: Millis,
    /// E10: every version, by time, of one time by the hash of its content (E15).
    versions: Vec<(Millis, [u8; 16], &'e Told)>,
}

/// The directory of a tenant.
pub struct Directory<'e> {
    events: &'e [&'e Event],
}

/// A token before it.
pub struct Asked<'e> {
    /// The directory.
    pub directory: Directory<'e>,
    /// The token and the profile.
    pub request: &'e Request,
    /// Whose it is.
    pub subject: Text,
    /// P3: whether policies that are only reported count.
    pub with_reported: bool,
    /// Whether location policies are left out whole.
    pub without_places: bool,
}

/// A policy that applies.
pub struct Applying<'e> {
    /// The policy.
    pub policy: &'e Policy,
    /// P8: the newest change of it, or of a range set that it names.
    pub changed: Millis,
    /// Whether it would have applied where the identity provider saw the user.
    pub at_sign_in: Option<bool>,
}

/// How a policy stands.
enum Stance<'e> {
    Nothing,
    LeftOut,
    NotEnforceable,
    Elsewhere,
    Applies(Applying<'e>),
}

/// What all policies together say.
#[derive(Default)]
pub struct Summary<'e> {
    /// P6: one in whose reach the token is can't be enforced.
    pub plain: bool,
    /// D6: one was left out.
    pub left_out: bool,
    /// P9.
    pub strict: bool,
    /// Those that apply.
    pub applying: Vec<Applying<'e>>,
}

impl<'e> Directory<'e> {
    /// The directory that these events, of one tenant, tell of.
    pub fn new(events: &'e [&'e Event]) -> Self {
        Self { events }
    }

    /// Whether anything of it was told.
    pub fn is_told(&self) -> bool {
        self.events.iter().any(|event| matches!(event.what, What::Told(_) | What::Member(..)))
    }

    fn held(&self, is_it: impl Fn(&Told) -> bool) -> Option<Held<'e>> {
        let mut versions: Vec<(Millis, [u8; 16], &'e Told)> = self
            .events
            .iter()
            .filter_map(|event| match event.what {
                What::Told(told) if is_it(told) => {
                    Some((register_time(event), content_hash(event), told))
                }
                _ => None,
            })
            .collect();
        versions.sort_by_key(|(at, hash, _)| (*at, *hash));
        // E15: of one time the last alone ever stood.
        let all = versions.clone();
        versions.retain(|(at, hash, _)| !all.iter().any(|(t, h, _)| t == at && h > hash));
        let (_, hash, told) = *versions.last()?;
        let run = versions.iter().rev().take_while(|(_, other, _)| *other == hash);
        let since = run.map(|(at, _, _)| *at).min()?;
        Some(Held { told, since, versions })
    }

    /// P1: the tenant's settings.
    pub fn settings(&self) -> Settings {
        let held = self.held(|told| matches!(told, Told::Settings(_)));
        match held.map(|held| held.told) {
            Some(Told::Settings(Some(settings))) => settings.clone(),
            _ => Settings {
                mode: Mode::On,
                only: None,
                except: Default::default(),
                strict: false,
                incapable: Incapable::Enforce,
            },
        }
    }

    /// E9, E15: whether a user belongs to a group; `None` where it has no baseline.
    fn is_member(&self, group: Text, user: Text, tie: bool) -> Option<bool> {
        let baseline = self.held(|told| matches!(told, Told::Group(id, _) if same(id, group)))?;
        let Told::Group(_, members) = baseline.told else { return None };
        // The time at which the reading of the baseline in force began.
        let began = baseline.versions.last()?.0;
        let mut words = vec![(began, members.iter().any(|member| same(member, user)))];
        words.extend(self.changes(group, user).into_iter().filter(|(at, _)| *at >= began));
        let newest = words.iter().map(|(at, _)| *at).max()?;
        let mut last = words.iter().filter(|(at, _)| *at == newest).map(|(_, is_in)| *is_in);
        // A tie: a member for includes, none for excludes.
        Some(if tie { last.any(|is_in| is_in) } else { last.all(|is_in| is_in) })
    }

    fn changes(&self, group: Text, user: Text) -> Vec<(Millis, bool)> {
        let changes = self.events.iter().filter_map(|event| match event.what {
            What::Member(id, who, added) if same(id, group) && same(who, user) => {
                Some((register_time(event), added))
            }
            _ => None,
        });
        changes.collect()
    }

    /// P8: when a single change last brought a user into a group (out of it), unless a later one took
    /// that back.
    fn came(&self, group: Text, user: Text, added: bool) -> Option<Millis> {
        self.held(|told| matches!(told, Told::Group(id, _) if same(id, group)))?;
        let changes = self.changes(group, user);
        let newest = changes.iter().map(|(at, _)| *at).max()?;
        changes.contains(&(newest, added)).then_some(newest)
    }

    fn policies(&self) -> Vec<(&'e Policy, Millis)> {
        let mut ids: Vec<Text> = Vec::new();
        for event in self.events {
            if let What::Told(Told::Policy(id, _)) = event.what
                && !ids.iter().any(|known| same(known, id))
            {
                ids.push(id);
            }
        }
        // D5: of several, the one with the lowest id speaks.
        ids.sort_by_key(|id| ObjectKey::parse(id).expect("an id"));
        let held = ids.into_iter().filter_map(|id| {
            self.held(|told| matches!(told, Told::Policy(other, _) if same(other, id)))
        });
        held.filter_map(|held| match held.told {
            Told::Policy(_, Some(policy)) => Some((policy, held.since)),
            _ => None,
        })
        .collect()
    }

    fn location(&self, id: Text) -> Option<Held<'e>> {
        self.held(|told| matches!(told, Told::Location(other, _) if same(other, id)))
    }

    /// Everything that may be trusted: each location, and the ranges that MFA trusts.
    fn trustable(&self) -> Vec<Held<'e>> {
        let mut ids: Vec<Text> = Vec::new();
        for event in self.events {
            if let What::Told(Told::Location(id, _)) = event.what
                && !ids.iter().any(|known| same(known, id))
            {
                ids.push(id);
            }
        }
        let mut all: Vec<Held<'e>> = ids.into_iter().filter_map(|id| self.location(id)).collect();
        all.extend(self.held(|told| matches!(told, Told::MfaTrusted(_))));
        all
    }

    /// P5: whether a list of places holds an address.
    fn holds(&self, places: &[Text], address: Option<IpAddr>) -> bool {
        places.iter().any(|&place| match (place, address) {
            ("All", _) => true,
            (_, None) => false,
            ("AllTrusted", Some(address)) => {
                self.trustable().iter().any(|held| is_trusted(held.told, address))
            }
            (id, Some(address)) => self
                .location(id)
                .is_some_and(|held| ranges(held.told).is_some_and(|r| lies_in(address, r))),
        })
    }

    /// P6: whether every place of a list can be compared with an address.
    fn can_tell(&self, places: &[Text]) -> bool {
        places.iter().all(|&place| match place {
            "All" => true,
            "AllTrusted" => {
                self.held(|told| matches!(told, Told::MfaTrusted(_)))
                    .is_some_and(|held| matches!(held.told, Told::MfaTrusted(Some(_))))
                    && self.trustable().iter().all(|held| {
                        trusted_part(held.told).is_none() || ranges(held.told).is_some()
                    })
            }
            id => self.location(id).is_some_and(|held| ranges(held.told).is_some()),
        })
    }

    /// P8: the newest change of a place of a list.
    fn places_changed(&self, places: &[Text]) -> Option<Millis> {
        let changed = |place: &Text| match *place {
            "All" => None,
            "AllTrusted" => self.trustable().iter().filter_map(trusted_since).max(),
            id => self.location(id).map(|held| held.since),
        };
        places.iter().filter_map(changed).max()
    }
}

/// The ranges of a location, or those that MFA trusts.
fn ranges(told: &Told) -> Option<&[Text]> {
    match told {
        Told::Location(_, Some(Location { ranges: Some(ranges), .. }))
        | Told::MfaTrusted(Some(ranges)) => Some(ranges),
        _ => None,
    }
}

fn is_trusted(told: &Told, address: IpAddr) -> bool {
    trusted_part(told).is_some() && ranges(told).is_some_and(|ranges| lies_in(address, ranges))
}

/// What something adds to what `AllTrusted` means.
fn trusted_part(told: &Told) -> Option<&Told> {
    match told {
        Told::Location(_, Some(Location { trusted: true, .. })) | Told::MfaTrusted(Some(_)) => {
            Some(told)
        }
        _ => None,
    }
}

/// Since when that has stood so; `None` where it never added anything.
fn trusted_since(held: &Held<'_>) -> Option<Millis> {
    // Ranges are equal where their addresses are.
    let part = |hash: [u8; 16], told| trusted_part(told).map(|_| hash);
    let parts = || held.versions.iter().map(|(at, hash, told)| (*at, part(*hash, told)));
    parts().find(|(_, part)| part.is_some())?;
    let (_, last) = parts().next_back()?;
    parts().rev().take_while(|(_, part)| *part == last).map(|(at, _)| at).min()
}

/// P5: whether an address lies in one of these ranges: IPv4 within IPv6 is IPv4, host bits don't count.
fn lies_in(address: IpAddr, ranges: &[Text]) -> bool {
    ranges.iter().any(|range| {
        let (base, length) = range.split_once('/').expect("a range");
        let base: IpAddr = base.parse().expect("an address");
        let length: u32 = length.parse().expect("a length");
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (32, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (128, u128::from(v6)),
        };
        let ((family, base), (other, address)) = (bits(base), bits(address));
        let host = family - length;
        family == other && (host == 128 || base >> host == address >> host)
    })
}

/// The hash that orders versions of one time (E15).
fn content_hash(event: &Event) -> [u8; 16] {
    match border::event(event).fact {
        Fact::Version(Version { body, .. }) => body.content_hash(),
        _ => unreachable!("a version"),
    }
}

/// Included and not excluded, where either may be unknown.
fn but_not(included: Option<bool>, excluded: Option<bool>) -> Option<bool> {
    match (included, excluded) {
        (Some(false), _) | (_, Some(true)) => Some(false),
        (Some(true), Some(false)) => Some(true),
        _ => None,
    }
}

/// Whether any holds, where some may be unknown.
fn any(all: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let all: Vec<Option<bool>> = all.into_iter().collect();
    if all.contains(&Some(true)) {
        Some(true)
    } else if all.contains(&None) {
        None
    } else {
        Some(false)
    }
}

impl<'e> Asked<'e> {
    /// The address seen.
    pub fn seen(&self) -> Option<IpAddr> {
        match self.request.from {
            From::At(address) => {
                Some(address.parse::<IpAddr>().expect("an address").to_canonical())
            }
            From::Unknown | From::Nowhere => None,
        }
    }

    /// The address of the sign-in; one that can't be read was not told.
    pub fn signed_in_at(&self) -> Option<IpAddr> {
        self.request.address?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }

    /// P1, P9: whether the token is in CAE's scope.
    pub fn scope(&self) -> Option<bool> {
        let settings = self.directory.settings();
        if settings.mode == Mode::Off {
            return Some(false);
        }
        let of = |[users, groups]: &[Vec<Text>; 2], include| {
            self.is_one_of(&[users.clone(), groups.clone(), Vec::new()], include)
        };
        let only = settings.only.as_ref().map_or(Some(true), |only| of(only, true));
        let mut scope = but_not(only, of(&settings.except, false));
        for (policy, _) in self.directory.policies() {
            let [include, exclude] = &policy.applications;
            if policy.evaluation == Evaluation::Disabled
                && (policy.mode == PolicyMode::Enabled
                    || (policy.mode == PolicyMode::ReportOnly && self.with_reported))
                && policy.places.is_none()
                && !policy.narrowed
                && policy.frequency != Some(Frequency::EveryTime)
                && !policy.user_action
                && include.contains(&"All")
                && exclude.is_empty()
            {
                scope = but_not(scope, self.is_subject(policy));
            }
        }
        scope
    }

    /// P3: whether the policy is for this subject.
    fn is_subject(&self, policy: &Policy) -> Option<bool> {
        if self.request.workload {
            let [include, exclude] = &policy.workloads;
            let names = |list: &[Text]| list.iter().any(|id| same(id, self.subject));
            let included = include.contains(&"Workloads") || names(include);
            return but_not(Some(included), Some(names(exclude)));
        }
        but_not(self.is_one_of(&policy.include, true), self.is_one_of(&policy.exclude, false))
    }

    fn is_one_of(&self, [users, groups, roles]: &[Vec<Text>; 3], include: bool) -> Option<bool> {
        let by_name = users.iter().any(|&user| match user {
            "All" => !self.request.workload,
            "Guests" => self.request.guest,
            id => same(id, self.subject),
        });
        let member = |group: Text, claim: &Option<Vec<Text>>| {
            // P4.
            let by_events = self.directory.is_member(group, self.subject, include);
            by_events.or_else(|| {
                claim.as_ref().map(|claim| claim.iter().any(|named| same(named, group)))
            })
        };
        let groups = groups.iter().map(|group| member(group, &self.request.groups));
        let roles = roles.iter().map(|role| member(role, &self.request.roles));
        any(groups.chain(roles).chain([Some(by_name)]))
    }

    /// P3: whether the policy is for this resource.
    fn is_resource(&self, policy: &Policy) -> Option<bool> {
        let named = |name: Text| {
            let told = if self.request.applications.is_empty() {
                let mut guids = self.request.audiences.clone();
                guids.retain(|audience| is_guid(audience));
                if guids.is_empty() {
                    return None;
                }
                guids
            } else {
                self.request.applications.clone()
            };
            if told.iter().any(|id| same(id, name)) {
                Some(true)
            } else {
                // P6: who belongs to a group of applications is known only where it was told.
                is_guid(name).then_some(false)
            }
        };
        let list = |names: &[Text]| {
            any(names.iter().map(|&name| if name == "All" { Some(true) } else { named(name) }))
        };
        let [include, exclude] = &policy.applications;
        let mut included = list(include);
        if policy.user_action && included == Some(false) {
            included = None;
        }
        but_not(included, list(exclude))
    }

    fn stance(&self, policy: &'e Policy, since: Millis) -> Stance<'e> {
        let (subject, resource) = (self.is_subject(policy), self.is_resource(policy));
        if subject == Some(false) || resource == Some(false) {
            return Stance::Nothing;
        }
        if policy.places.is_some() && self.without_places {
            return Stance::LeftOut;
        }
        let asks_more = matches!(policy.grant, Grant::Other | Grant::CompliantDevice);
        let places = policy.places.as_ref();
        let told =
            places.is_none_or(|lists| lists.iter().all(|list| self.directory.can_tell(list)));
        if subject.is_none()
            || resource.is_none()
            || policy.narrowed
            || policy.frequency == Some(Frequency::EveryTime)
            || !told
            || (places.is_some() && asks_more && self.signed_in_at().is_none())
        {
            return Stance::NotEnforceable;
        }
        let matches = |address: Option<IpAddr>| {
            places.is_none_or(|[include, exclude]| {
                self.directory.holds(include, address) && !self.directory.holds(exclude, address)
            })
        };
        if !matches(self.seen()) {
            return Stance::Elsewhere;
        }
        let at_sign_in = places.and(self.signed_in_at()).map(|address| matches(Some(address)));
        let places = places.into_iter().flatten();
        let changed = places.filter_map(|list| self.directory.places_changed(list)).max();
        let changed = changed.unwrap_or(since).max(since);
        Stance::Applies(Applying { policy, changed, at_sign_in })
    }

    /// What all policies together say.
    pub fn summary(&mut self) -> Summary<'e> {
        let (summary, places) = self.summary_once();
        // P2: a resource that looks at addresses in strict mode alone.
        if self.request.location == LocationClass::WhenStrict
            && !self.without_places
            && !summary.strict
        {
            self.without_places = true;
            let (summary, _) = self.summary_once();
            return Summary { plain: summary.plain || places, ..summary };
        }
        summary
    }

    /// And whether a location policy may be about the token.
    fn summary_once(&self) -> (Summary<'e>, bool) {
        let mut summary = Summary {
            strict: self.request.strict || self.directory.settings().strict,
            ..Summary::default()
        };
        let mut places = false;
        for (policy, since) in self.directory.policies() {
            let counts = match policy.mode {
                PolicyMode::Enabled => true,
                PolicyMode::ReportOnly => self.with_reported,
                PolicyMode::Disabled => false,
            };
            if !counts {
                continue;
            }
            let stance = self.stance(policy, since);
            places |=
                policy.places.is_some() && !matches!(stance, Stance::Nothing | Stance::LeftOut);
            match stance {
                Stance::Nothing | Stance::Elsewhere => {}
                Stance::LeftOut => summary.left_out = true,
                Stance::NotEnforceable => summary.plain = true,
                Stance::Applies(applying) => {
                    summary.strict |= policy.evaluation == Evaluation::Strict;
                    summary.applying.push(applying);
                }
            }
        }
        (summary, places)
    }

    /// Whether anything is only reported.
    pub fn has_reported(&self) -> bool {
        let all = self.directory.policies();
        all.iter().any(|(policy, _)| policy.mode == PolicyMode::ReportOnly)
    }

    /// P8: when the policy came to apply to the user, or last changed.
    pub fn newest(&self, applying: &Applying<'_>) -> Millis {
        let policy = applying.policy;
        let came = |[_, groups, roles]: &[Vec<Text>; 3], added| {
            let all = groups.iter().chain(roles);
            all.filter_map(|group| self.directory.came(group, self.subject, added)).max()
        };
        let came = came(&policy.include, true).max(came(&policy.exclude, false));
        applying.changed.max(came.unwrap_or_default())
    }

    /// D5: whether an address lies in the issuer's exception ranges, or its mark.
    pub fn is_at(&self, ranges: &[Text]) -> bool {
        self.seen().is_some_and(|address| lies_in(address, ranges))
    }
}

/// The second after an instant.
pub fn second_after(at: Millis) -> Seconds {
    floor(at) + 1
}
