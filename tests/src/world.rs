//! A small world in plain data: events, rules and requests, as somebody would write them down.
//!
//! Ids are text as drawn, times are numbers so wide that nothing overflows. The words for states
//! and levels are core's; everything else is this crate's own, so that nothing of what core does
//! with an event can slip into what the oracle expects.

use caed_core::event::{AccountState, Compliance, DeviceState, RevocationCause, RiskLevel, Stream};
use caed_core::freshness::WhenStale;
use caed_core::policy::{Evaluation, Frequency, Grant, Incapable, Mode, PolicyMode};
use caed_core::rules::LocationClass;
use serde::Deserialize;

/// Text as drawn.
pub type Text = &'static str;
/// Milliseconds since the epoch, or a number of them.
pub type Millis = i128;
/// Whole seconds since the epoch, or a number of them.
pub type Seconds = i128;

/// Everything but events and requests: rules, and the moment at which is asked.
#[derive(Clone, Debug)]
pub struct World {
    /// The moment.
    pub now: Millis,
    /// How long a token lives at the most.
    pub horizon: Seconds,
    /// The tolerated difference between clocks.
    pub skew: Seconds,
    /// Who may issue tokens.
    pub issuers: Vec<Issuer>,
    /// The tenants that are served, where they are listed.
    pub served: Option<Vec<Text>>,
    /// Whether the log has been read to the end that it had at the start.
    pub caught_up: bool,
    /// Whether sources give signs of life.
    pub has_heartbeats: bool,
    /// How long ago everything in the log was known.
    pub log_age: Millis,
    /// Beyond which age the log, and a source's sign of life, are stale.
    pub stale_after: [Seconds; 2],
    /// In which countries networks are, where there is a database.
    pub countries: Option<Vec<(Text, Text)>>,
    /// Instants around which things happen.
    pub anchors: Vec<Millis>,
    /// What may be told of directories.
    pub told: Vec<(&'static Told, Part)>,
}

impl Default for World {
    /// Everything is read, and current; there is no issuer.
    fn default() -> Self {
        Self {
            now: 0,
            horizon: 108_000,
            skew: 300,
            issuers: Vec::new(),
            served: None,
            caught_up: true,
            has_heartbeats: false,
            log_age: 0,
            stale_after: [300, 900],
            countries: None,
            anchors: Vec::new(),
            told: Vec::new(),
        }
    }
}

/// An issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name, or a pattern with `{tenant}` in it.
    pub name: Text,
    /// The tenants that it speaks for.
    pub tenants: Speaks,
    /// How far it dates tokens back.
    pub issue_time_skew: Seconds,
    /// Whether it marks judged tokens.
    pub marks: bool,
    /// Audiences for which an hour means judged.
    pub one_hour: Vec<Text>,
    /// Where judged tokens count; everywhere, if absent.
    pub exceptions: Option<Vec<Text>>,
}

/// The tenants that an issuer speaks for.
#[derive(Clone, Debug)]
pub enum Speaks {
    /// These.
    For(Vec<Text>),
    /// The one in its name.
    InName,
    /// All.
    ForAll,
}

/// An event, and when a log appended it.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The event.
    pub event: Event,
    /// When the log appended it.
    pub appended: Millis,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The tenant.
    pub tenant: Text,
    /// Who says so.
    pub source: Text,
    /// The source's id of it.
    pub id: Text,
    /// When it happened.
    pub occurred: Millis,
    /// When caed received it.
    pub received: Millis,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A user's account changed its state.
    Account(Text, AccountState),
    /// A user's tokens were revoked.
    UserRevoked(Text, RevocationCause),
    /// A user was found at risk.
    Risk(Text, RiskLevel),
    /// Something finer was revoked: for one user, or for no user in particular.
    Revoked(Finer, Option<Text>),
    /// The tenant's tokens were revoked.
    TenantRevoked,
    /// A device changed its state.
    Device(Text, DeviceState),
    /// A device was judged.
    Compliance(Text, Compliance),
    /// The event's source gave a sign of life of a stream.
    Heartbeat(u32, Stream),
    /// A source was declared.
    Source(Text, Declaration),
    /// Something of the directory has a new version, or a part of one.
    Told(&'static Told, Part),
    /// A user came into a group (left it).
    Member(Text, Text, bool),
}

/// Which part of a version a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name of the version.
    pub version: Text,
    /// From 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

impl Part {
    /// A version that is one record.
    pub const WHOLE: Self = Self { version: "", index: 0, count: 1 };
}

/// A version of something that a directory holds. `None`: it was deleted.
#[expect(clippy::large_enum_variant, reason = "a few in each world, of which policies matter most")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A policy, by its id.
    Policy(Text, Option<Policy>),
    /// A location, by its id.
    Location(Text, Option<Location>),
    /// The ranges that MFA trusts.
    MfaTrusted(Option<Vec<Text>>),
    /// The tenant's settings.
    Settings(Option<Settings>),
    /// A group or role with all its members.
    Group(Text, Vec<Text>),
}

/// A policy. Lists may hold `All`, `AllTrusted`, `Guests`, `Workloads`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether it is in force.
    pub mode: PolicyMode,
    /// Users, groups and roles that it includes.
    pub include: [Vec<Text>; 3],
    /// Users, groups and roles that it excludes.
    pub exclude: [Vec<Text>; 3],
    /// Workload identities that it includes and excludes.
    pub workloads: [Vec<Text>; 2],
    /// Resources that it includes and excludes.
    pub applications: [Vec<Text>; 2],
    /// Whether it is for a user action.
    pub user_action: bool,
    /// Locations that it includes and excludes.
    pub places: Option<[Vec<Text>; 2]>,
    /// Whether something else narrows it.
    pub narrowed: bool,
    /// What it demands.
    pub controls: Vec<Text>,
    /// Whether all of that, and not any.
    pub all_controls: bool,
    /// How old a sign-in may be.
    pub frequency: Option<Frequency>,
    /// What it says of continuous access evaluation.
    pub evaluation: Evaluation,
}

impl Policy {
    /// What its controls come to (D4, P7).
    pub fn grant(&self) -> Grant {
        match self.controls[..] {
            [] => Grant::None,
            _ if self.controls.contains(&"block") => Grant::Block,
            ["compliantDevice"] => Grant::CompliantDevice,
            _ if self.controls.contains(&"compliantDevice") && self.all_controls => {
                Grant::CompliantDevice
            }
            _ => Grant::Other,
        }
    }
}

/// A named location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Whether it is trusted.
    pub trusted: bool,
    /// Its ranges; `None`: it is known by something else.
    pub ranges: Option<Vec<Text>>,
    /// Its countries, and whether addresses of none count; `None`: it is known by something else.
    pub countries: Option<(Vec<Text>, bool)>,
}

/// What a tenant decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// On, off, reported.
    pub mode: Mode,
    /// Users and groups that it is limited to.
    pub only: Option<[Vec<Text>; 2]>,
    /// Users and groups that it leaves out.
    pub except: [Vec<Text>; 2],
    /// Strict.
    pub strict: bool,
    /// What becomes of incapable clients.
    pub incapable: Incapable,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// This address.
    At(Text),
    /// Nobody knows.
    Unknown,
    /// It has no address.
    Nowhere,
}

/// Something finer than a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finer {
    /// An issuer's session.
    Session(Text, Text),
    /// An issuer's token.
    Token(Text, Text),
    /// A client.
    Client(Text),
    /// A device.
    Device(Text),
}

/// What is known of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Whether it gives signs of life.
    pub declared: bool,
    /// Whether it says when an account is enabled.
    pub emits_enabled: bool,
    /// Whether it says when a device is cleared.
    pub emits_device_clear: bool,
    /// Up to when its registers no longer count.
    pub retired: Option<Millis>,
}

#[expect(clippy::struct_excessive_bools, reason = "claims and choices, each for itself")]
/// A request: the token's claims, and the profile of what was called. The default has no claims and
/// enforces as little as can be.
#[derive(Clone, Debug)]
pub struct Request {
    /// `iss`.
    pub issuer: Option<Text>,
    /// `tid`.
    pub tenant: Option<Text>,
    /// The subject.
    pub subject: Option<Text>,
    /// `iat`.
    pub issued_at: Option<Seconds>,
    /// `exp`.
    pub expires: Option<Seconds>,
    /// `nbf`.
    pub not_before: Option<Seconds>,
    /// `sid`.
    pub session: Option<Text>,
    /// `jti`.
    pub token: Option<Text>,
    /// `azp`.
    pub client: Option<Text>,
    /// `deviceid`.
    pub device: Option<Text>,
    /// Whether `xms_cc` holds `cp1`.
    pub cp1: bool,
    /// The risk threshold.
    pub risk_threshold: RiskLevel,
    /// Whether compliance is required.
    pub device_compliance: bool,
    /// Clients that are incapable.
    pub incapable_clients: Vec<Text>,
    /// `aud`.
    pub audiences: Vec<Text>,
    /// `ipaddr`.
    pub address: Option<Text>,
    /// Whether `acct` is 1.
    pub guest: bool,
    /// `auth_time`.
    pub authenticated: Option<Seconds>,
    /// Whether `idtyp` is `app`.
    pub workload: bool,
    /// `groups`.
    pub groups: Option<Vec<Text>>,
    /// `wids`.
    pub roles: Option<Vec<Text>>,
    /// The issuer's mark.
    pub judged: Option<Text>,
    /// Where the request comes from.
    pub from: From,
    /// The resource's ids, where the profile tells.
    pub applications: Vec<Text>,
    /// Whether revocations, risk and devices are enforced.
    pub enforced: [bool; 3],
    /// Whether locations are.
    pub location: LocationClass,
    /// Whether strictly.
    pub strict: bool,
    /// The long and the plain lifetime.
    pub lifetimes: [Seconds; 2],
    /// The grace after a change of policy.
    pub grace: Seconds,
    /// What the profile does with incapable clients.
    pub incapable: Incapable,
    /// What becomes of requests when what is known is stale.
    pub when_stale: WhenStale,
    /// Whether the token is believed.
    pub belief: Belief,
}

/// Whether a token is believed (T2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Belief {
    /// Somebody who is believed vouches for it.
    #[default]
    Believed,
    /// Nobody does.
    Refused,
    /// The keys that would tell can't be had.
    NoKeys,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            issuer: None,
            tenant: None,
            subject: None,
            issued_at: None,
            expires: None,
            not_before: None,
            session: None,
            token: None,
            client: None,
            device: None,
            cp1: false,
            risk_threshold: RiskLevel::High,
            device_compliance: false,
            incapable_clients: Vec::new(),
            audiences: Vec::new(),
            address: None,
            guest: false,
            authenticated: None,
            workload: false,
            groups: None,
            roles: None,
            judged: None,
            from: From::Unknown,
            applications: Vec::new(),
            enforced: [true; 3],
            location: LocationClass::Supported,
            strict: false,
            lifetimes: [100_800, 100_800],
            grace: 7200,
            incapable: Incapable::Enforce,
            when_stale: WhenStale::Lifetime,
            belief: Belief::Believed,
        }
    }
}
