//! Conditional access, parsed: policies, named locations, the settings of a tenant.
//!
//! What is here is what an event says (E10), in types that can't be wrong; what it means for a
//! token is decided in [`crate::evaluate`]. Whatever narrows a policy and is not known here is kept
//! as [`Policy::narrowing`]: such a policy is not enforceable, never wider than it was meant (P6).

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Name, ObjectKey};
use crate::index::ranges::RangeSet;

/// A conditional access policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its id, to be shown with what it decides.
    pub id: Name,
    /// Whether it is in force.
    pub mode: PolicyMode,
    /// The users that it is for.
    pub users: Users,
    /// The workload identities that it is for.
    pub workloads: Workloads,
    /// The resources that it is for.
    pub applications: Applications,
    /// The addresses that it is for; `None`: any.
    pub locations: Option<Places>,
    /// Conditions that narrow it and that nothing here can evaluate.
    pub narrowing: Vec<String>,
    /// What it demands.
    pub grant: Grant,
    /// The same in the words in which it was told: another word is another policy (P8).
    pub controls: Vec<String>,
    /// Whether all of them are needed, and not any.
    pub all_controls: bool,
    /// How old a sign-in may be.
    pub frequency: Option<Frequency>,
    /// What it says of continuous access evaluation itself.
    pub evaluation: Evaluation,
}

/// Whether a policy is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PolicyMode {
    /// It is.
    Enabled,
    /// It is evaluated and reported, and enforces nothing (P3).
    ReportOnly,
    /// It is not.
    Disabled,
}

/// Whom a policy includes and excludes among users. Exclude wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// These.
    pub include: Persons,
    /// But not these.
    pub exclude: Persons,
}

/// Users, one by one or by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persons {
    /// Users and guests.
    pub all: bool,
    /// Guests.
    pub guests: bool,
    /// These.
    pub users: Vec<ObjectKey>,
    /// The members of these groups.
    pub groups: Vec<ObjectKey>,
    /// The holders of these roles.
    pub roles: Vec<ObjectKey>,
}

/// Whom a policy includes and excludes among workload identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// All of the tenant.
    pub all: bool,
    /// These.
    pub include: Vec<ObjectKey>,
    /// But not these.
    pub exclude: Vec<ObjectKey>,
}

/// Which resources a policy includes and excludes. A name that is no GUID stands for a group of
/// applications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applications {
    /// All.
    pub all: bool,
    /// These.
    pub include: Vec<ObjectKey>,
    /// All are excluded.
    pub exclude_all: bool,
    /// But not these.
    pub exclude: Vec<ObjectKey>,
    /// The policy is for a user action, which is no resource.
    pub user_action: bool,
}

/// Which addresses a policy includes and excludes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// These.
    pub include: PlaceList,
    /// But not these.
    pub exclude: PlaceList,
}

/// Addresses, by the locations that hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceList {
    /// Every address, and one that is not known.
    pub all: bool,
    /// Every trusted location, and the MFA-trusted ranges.
    pub all_trusted: bool,
    /// These locations.
    pub ids: Vec<ObjectKey>,
}

/// What a policy demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Grant {
    /// Nothing: it has session controls alone.
    None,
    /// It blocks.
    Block,
    /// Something that the identity provider saw to.
    Other,
    /// The same, a compliant device in any case: as its only control, or beside others with AND.
    CompliantDevice,
}

/// How old a sign-in may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frequency {
    /// So old.
    Within(Duration),
    /// Each access needs a new one, which no token can show.
    EveryTime,
}

/// What a policy says of continuous access evaluation itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Evaluation {
    /// Nothing.
    Unset,
    /// Its subjects are out of it (P9).
    Disabled,
    /// Locations are enforced strictly.
    Strict,
}

/// A named location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Whether `AllTrusted` means it, too.
    pub trusted: bool,
    /// Where it is.
    pub place: Place,
}

/// Where a location is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At these addresses.
    Ranges(Arc<RangeSet>),
    /// In these countries, or at addresses that belong to none.
    Countries {
        /// Two letters each.
        codes: Vec<String>,
        /// Whether addresses of no known country count.
        or_unknown: bool,
    },
    /// Nowhere that an address would tell, such as the compliant network.
    Unknowable,
}

/// What a tenant decided about continuous access evaluation (P1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// On, off, or reported only.
    pub mode: Mode,
    /// Those whom it is limited to; `None`: everybody.
    pub only: Option<Selected>,
    /// Those whom it leaves out.
    pub except: Selected,
    /// Whether locations are enforced strictly.
    pub strict: bool,
    /// What becomes of clients that are not capable.
    pub incapable: Incapable,
}

/// Whether events and policies are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// They are.
    #[default]
    On,
    /// They are evaluated and reported.
    ReportOnly,
    /// They are not.
    Off,
}

/// Users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// These.
    pub users: Vec<ObjectKey>,
    /// The members of these groups.
    pub groups: Vec<ObjectKey>,
}

/// What becomes of clients that can't answer a challenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Incapable {
    /// They are refused where others are challenged.
    #[default]
    Enforce,
    /// Their tokens are honoured for the plain lifetime, whatever happens. Only where tenant and profile
    /// both say so.
    Lifetime,
}

/// The new version of something that a directory holds, or a part of it (E9, E10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which part of which version.
    pub part: Part,
    /// What it says.
    pub body: Body,
    /// What people call it; empty where nobody said. No decision reads it, and another name is no change of
    /// content (P8).
    pub title: String,
}

/// The place of a record among those that make one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// Names the version among others of one time; empty where it is whole.
    pub version: String,
    /// Which part, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

/// What a directory holds. `None`: it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A policy.
    Policy(ObjectKey, Option<Arc<Policy>>),
    /// A named location.
    Location(ObjectKey, Option<Location>),
    /// The addresses that MFA trusts.
    MfaTrusted(Option<Arc<RangeSet>>),
    /// The tenant's settings.
    Settings(Option<Arc<Settings>>),
    /// Every member of a group, or every holder of a role.
    Group(ObjectKey, Arc<Vec<ObjectKey>>),
}

impl Body {
    /// What changed, by the name that the wire has for it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Policy(_, Some(_)) => "policy_changed",
            Self::Policy(_, None) => "policy_deleted",
            Self::Location(_, Some(_)) => "location_changed",
            Self::Location(_, None) => "location_deleted",
            Self::MfaTrusted(Some(_)) => "mfa_trusted_ranges_changed",
            Self::MfaTrusted(None) => "mfa_trusted_ranges_deleted",
            Self::Settings(Some(_)) => "tenant_settings",
            Self::Settings(None) => "tenant_settings_deleted",
            Self::Group(..) => "group_read",
        }
    }
}

/// Whether a user came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Membership {
    /// Came.
    Added,
    /// Went.
    Removed,
}

impl Part {
    /// A version that is one record.
    pub const WHOLE: Self = Self { version: String::new(), index: 0, count: 1 };
}

impl Policy {
    /// Joins the parts of one version: lists are joined, everything else is the first part's.
    pub(crate) fn joined(parts: &[&Self]) -> Option<Self> {
        let (first, rest) = parts.split_first()?;
        let mut joined = (*first).clone();
        for part in rest {
            joined.users.include.append(&part.users.include);
            joined.users.exclude.append(&part.users.exclude);
            joined.workloads.append(&part.workloads);
            joined.applications.append(&part.applications);
            if let (Some(places), Some(more)) = (&mut joined.locations, &part.locations) {
                places.include.append(&more.include);
                places.exclude.append(&more.exclude);
            }
            joined.narrowing.extend_from_slice(&part.narrowing);
        }
        Some(joined)
    }
}

impl Persons {
    fn append(&mut self, more: &Self) {
        self.all |= more.all;
        self.guests |= more.guests;
        self.users.extend_from_slice(&more.users);
        self.groups.extend_from_slice(&more.groups);
        self.roles.extend_from_slice(&more.roles);
    }
}

impl Workloads {
    fn append(&mut self, more: &Self) {
        self.all |= more.all;
        self.include.extend_from_slice(&more.include);
        self.exclude.extend_from_slice(&more.exclude);
    }
}

impl Applications {
    fn append(&mut self, more: &Self) {
        self.all |= more.all;
        self.include.extend_from_slice(&more.include);
        self.exclude_all |= more.exclude_all;
        self.exclude.extend_from_slice(&more.exclude);
        self.user_action |= more.user_action;
    }
}

impl PlaceList {
    fn append(&mut self, more: &Self) {
        self.all |= more.all;
        self.all_trusted |= more.all_trusted;
        self.ids.extend_from_slice(&more.ids);
    }
}

impl Settings {
    /// Joins the parts of one version: lists are joined, everything else is the first part's.
    pub(crate) fn joined(parts: &[&Self]) -> Option<Self> {
        let (first, rest) = parts.split_first()?;
        let mut joined = (*first).clone();
        for part in rest {
            joined.except.append(&part.except);
            if let (Some(only), Some(more)) = (&mut joined.only, &part.only) {
                only.append(more);
            }
        }
        Some(joined)
    }
}

impl Selected {
    fn append(&mut self, more: &Self) {
        self.users.extend_from_slice(&more.users);
        self.groups.extend_from_slice(&more.groups);
    }
}
