//! A small world in plain data: events, rules and requests, as somebody would write them down.
//!
//! Ids are text as drawn, times are numbers so wide that nothing overflows. The words for states
//! and levels are core's; everything else is this crate's own, so that nothing of what core does
//! with an event can slip into what the oracle expects.

use caed_core::event::{AccountState, Compliance, DeviceState, RevocationCause, RiskLevel};

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
    /// Instants around which things happen.
    pub anchors: Vec<Millis>,
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
    /// A source was declared.
    Source(Text, Declaration),
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
        }
    }
}
