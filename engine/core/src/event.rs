//! What happened: the closed set of facts that the engine understands.
//!
//! An [`Event`] is parsed and complete: ids are keys, times are resolved, nothing is optional that
//! its meaning needs. What an event *does* stands in [`crate::consequence`], and nowhere else.
//!
//! # Times
//!
//! An event carries two instants: when it happened, and when the first of caed's writers received
//! it. The second is part of the event, stamped once, so that a redelivered copy means exactly what
//! the first one meant. Neither is the time at which a log appended the record; that one serves
//! forgetting only and travels beside the event (SEMANTICS.md E14).

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::ids::{Name, ObjectKey};
use crate::index::ranges::RangeSet;
use crate::limits;
use crate::policy::{
    Applications, Body, Frequency, Location, Membership, Part, Persons, Place, PlaceList, Places,
    Policy, Selected, Settings, Users, Version, Workloads,
};
use crate::time::UnixMillis;

/// Something that happened to a subject, device, session, token, client or tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The directory that it happened in. Nothing crosses tenants.
    pub tenant: Name,
    /// Who says so. Registers are kept by source (E13).
    pub source: Name,
    /// The source's own id of this event; may be empty.
    pub id: String,
    /// When it happened, by the source's clock; the time of receipt where the source did not say.
    pub occurred: UnixMillis,
    /// When the first of caed's writers received it.
    pub received: UnixMillis,
    /// What happened.
    pub fact: Fact,
}

/// What an event says (E2 to E11, E13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The account's state changed (E2, E3).
    Account {
        /// Whose account.
        user: ObjectKey,
        /// Its state now.
        state: AccountState,
    },
    /// Something after which the user's earlier tokens must not pass (E4).
    UserRevoked {
        /// Whose tokens.
        user: ObjectKey,
        /// What it was.
        cause: RevocationCause,
    },
    /// The user's risk was found to be at a level (E5).
    UserRisk {
        /// Whose risk.
        user: ObjectKey,
        /// The level.
        level: RiskLevel,
    },
    /// A session, token, client or device was revoked, for one user or for all (E6, E7).
    Revoked {
        /// What was revoked.
        what: Finer,
        /// The one user for whom, where the event names one.
        user: Option<ObjectKey>,
    },
    /// Every token of the tenant was revoked (E6).
    TenantRevoked,
    /// A device's state in the directory changed (E8).
    Device {
        /// Which device.
        device: ObjectKey,
        /// Its state now.
        state: DeviceState,
    },
    /// A device was judged against compliance rules (E8).
    Compliance {
        /// Which device.
        device: ObjectKey,
        /// The judgement.
        compliance: Compliance,
    },
    /// A new version of something that the directory holds (E9, E10).
    Version(Version),
    /// A user came into a group or left it (E9).
    Member {
        /// Which group or role.
        group: ObjectKey,
        /// Who.
        user: ObjectKey,
        /// Whether they came or went.
        membership: Membership,
    },
    /// The event's source is alive: what happened before has been said (E11).
    Heartbeat {
        /// The source's own number for the stream that it speaks of.
        partition: u32,
        /// How the stream is.
        stream: Stream,
    },
    /// What is known of a source of events (E13).
    Source {
        /// Which source.
        source: Name,
        /// What it can be relied on for.
        declaration: Declaration,
    },
}

/// The finer thing that a revocation names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finer {
    /// A sign-in session, by the issuer that numbered it.
    Session {
        /// The issuer.
        issuer: Name,
        /// Its `sid`.
        session: ObjectKey,
    },
    /// One token, by the issuer that numbered it.
    Token {
        /// The issuer.
        issuer: Name,
        /// Its `jti` (or `uti`).
        token: ObjectKey,
    },
    /// A client application.
    Client(ObjectKey),
    /// A device.
    Device(ObjectKey),
}

/// An account's state, least restrictive first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AccountState {
    /// May sign in.
    Enabled,
    /// May not, until enabled again.
    Disabled,
    /// Is gone.
    Deleted,
}

/// A device's state in the directory, least restrictive first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DeviceState {
    /// Nothing speaks against it; takes back every earlier word of the same source.
    Cleared,
    /// Disabled.
    Disabled,
    /// Gone.
    Deleted,
}

/// A device's standing by compliance rules, least restrictive first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Compliance {
    /// Meets them.
    Compliant,
    /// Does not.
    NotCompliant,
}

/// How likely it is that somebody else uses the account. No risk is not a level: a risk that falls
/// takes nothing back (E5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RiskLevel {
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
}

/// Why a user's earlier tokens must not pass. All have the same effect; the name is evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RevocationCause {
    /// The user chose a new password.
    PasswordChanged,
    /// An administrator or a recovery flow set a new password.
    PasswordReset,
    /// All refresh tokens were revoked.
    SessionsRevoked,
    /// Multi-factor authentication was switched on.
    MfaEnabled,
    /// An authenticator was added, changed or removed.
    AuthenticatorChanged,
    /// Claims in the user's tokens no longer hold.
    TokenClaimsChanged,
    /// The assurance that earlier sign-ins gave was lowered.
    AssuranceLowered,
}

/// What a source of events can be relied on for (E13). A source that nobody declared is taken at
/// its word: it counts, and is expected to correct itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// The source is expected to give signs of life.
    pub declared: bool,
    /// The source says when an account is enabled again. If not, its disabling sets only a cutoff.
    pub emits_enabled: bool,
    /// The source says when a device is cleared again. If not, it sets only cutoffs.
    pub emits_device_clear: bool,
    /// The source's account and device registers up to this instant no longer count.
    pub retired: Option<UnixMillis>,
}

/// How a stream of events is, by its source's word (E11), from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stream {
    /// It runs.
    Enabled,
    /// There is no such stream any more; nothing is expected of it.
    Ended,
    /// What happens is kept, and told later.
    Paused,
    /// What happens is lost.
    Disabled,
}

impl Stream {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Ended => "ended",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

impl Declaration {
    /// Whether the source is expected to give signs of life, and to be alive (E11).
    pub const fn gives_signs(&self) -> bool {
        self.declared && self.retired.is_none()
    }
}

/// Names a record: copies of one event share it, different events never do (L1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(pub [u8; 16]);

impl Fact {
    /// What happened, by the name that the wire has for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Account { state: AccountState::Enabled, .. } => "account_enabled",
            Self::Account { state: AccountState::Disabled, .. } => "account_disabled",
            Self::Account { state: AccountState::Deleted, .. } => "account_deleted",
            Self::UserRevoked { cause, .. } => cause.kind(),
            Self::UserRisk { .. } => "user_risk_changed",
            Self::Revoked { what: Finer::Session { .. }, .. } => "session_revoked",
            Self::Revoked { what: Finer::Token { .. }, .. } => "token_revoked",
            Self::Revoked { what: Finer::Client(_), .. } => "client_revoked",
            Self::Revoked { what: Finer::Device(_), .. } => "device_revoked",
            Self::TenantRevoked => "tenant_revoked",
            Self::Device { state: DeviceState::Cleared, .. } => "device_cleared",
            Self::Device { state: DeviceState::Disabled, .. } => "device_disabled",
            Self::Device { state: DeviceState::Deleted, .. } => "device_deleted",
            Self::Compliance { compliance: Compliance::Compliant, .. } => "device_compliant",
            Self::Compliance { compliance: Compliance::NotCompliant, .. } => "device_not_compliant",
            Self::Version(version) => version.body.kind(),
            Self::Member { membership: Membership::Added, .. } => "member_added",
            Self::Member { membership: Membership::Removed, .. } => "member_removed",
            Self::Source { .. } => "source_declared",
            Self::Heartbeat { .. } => "heartbeat",
        }
    }
}

impl RevocationCause {
    const fn kind(self) -> &'static str {
        match self {
            Self::PasswordChanged => "password_changed",
            Self::PasswordReset => "password_reset",
            Self::SessionsRevoked => "sessions_revoked",
            Self::MfaEnabled => "mfa_enabled",
            Self::AuthenticatorChanged => "authenticator_changed",
            Self::TokenClaimsChanged => "token_claims_changed",
            Self::AssuranceLowered => "assurance_lowered",
        }
    }
}

impl Event {
    /// The cutoff that this event sets: when it happened, unless that lies so far after its receipt
    /// that the source's clock must be wrong (E14).
    pub fn cutoff(&self) -> UnixMillis {
        if self.cutoff_is_clamped() { self.received } else { self.occurred }
    }

    /// Whether [`cutoff`](Self::cutoff) had to be set back to the time of receipt.
    pub fn cutoff_is_clamped(&self) -> bool {
        self.occurred > self.received.saturating_add(limits::CUTOFF_AHEAD_MAX)
    }

    /// The time that orders this event among others about the same register (E14).
    pub fn register_time(&self) -> UnixMillis {
        self.occurred.min(self.received)
    }

    /// Whether the event was older than the horizon when it arrived. It is applied all the same,
    /// and reported (E14).
    pub fn is_late(&self, horizon: Duration) -> bool {
        self.received.since(self.occurred) > horizon
    }

    /// The hash of everything that makes this event what it is: tenant, source, id and canonical
    /// content. It names the record (L1) and orders ties that nothing else orders (E15). A sign of life
    /// has the key of the one before it, and takes its place.
    pub fn record_key(&self) -> RecordKey {
        let mut content = Canonical(Sha256::new());
        content.text(self.tenant.as_str());
        content.text(self.source.as_str());
        if let Fact::Heartbeat { partition, stream: _ } = self.fact {
            content.0.update(HEARTBEAT);
            content.number(partition.into());
            return RecordKey(shortened(content.0));
        }
        content.text(&self.id);
        content.number(self.occurred.as_millis());
        content.number(self.received.as_millis());
        content.fact(&self.fact);
        RecordKey(shortened(content.0))
    }
}

/// In the place of an id, whose length it can't be.
const HEARTBEAT: [u8; 8] = [u8::MAX; 8];

impl Body {
    /// The hash of the content alone: the same words at another time have the same.
    pub fn content_hash(&self) -> [u8; 16] {
        let mut content = Canonical(Sha256::new());
        content.body(self);
        shortened(content.0)
    }

    /// The hash of a version in several parts from those of its parts.
    pub fn joined_hash(parts: &[[u8; 16]]) -> [u8; 16] {
        let mut content = Sha256::new();
        for part in parts {
            content.update(part);
        }
        shortened(content)
    }
}

/// The first half of a hash.
fn shortened(content: Sha256) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(content.finalize()) {
        *to = from;
    }
    half
}

impl AccountState {
    /// Whether the account must not be used.
    pub const fn is_restrictive(self) -> bool {
        !matches!(self, Self::Enabled)
    }
}

/// Canonical content, straight into the hash. Every text is preceded by its length and every fact
/// by a number of its own, so that no two contents have the same bytes.
struct Canonical(Sha256);

impl Canonical {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn key(&mut self, key: ObjectKey) {
        self.0.update([key.form as u8]);
        for word in key.bits {
            self.number(word);
        }
    }

    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.update([u8::from(value.is_some())]);
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn fact(&mut self, fact: &Fact) {
        match fact {
            Fact::Account { user, state } => {
                self.0.update([1, *state as u8]);
                self.key(*user);
            }
            Fact::UserRevoked { user, cause } => {
                self.0.update([2, *cause as u8]);
                self.key(*user);
            }
            Fact::UserRisk { user, level } => {
                self.0.update([3, *level as u8]);
                self.key(*user);
            }
            Fact::Revoked { what, user } => {
                self.0.update([4]);
                self.finer(what);
                self.optional(*user, Self::key);
            }
            Fact::TenantRevoked => self.0.update([5]),
            Fact::Device { device, state } => {
                self.0.update([6, *state as u8]);
                self.key(*device);
            }
            Fact::Compliance { device, compliance } => {
                self.0.update([7, *compliance as u8]);
                self.key(*device);
            }
            Fact::Version(Version { part: Part { version, index, count }, body, title: _ }) => {
                self.0.update([9]);
                self.text(version);
                self.number(u64::from(*index));
                self.number(u64::from(*count));
                self.body(body);
            }
            Fact::Member { group, user, membership } => {
                self.0.update([10, *membership as u8]);
                self.key(*group);
                self.key(*user);
            }
            Fact::Source { source, declaration } => {
                let Declaration { declared, emits_enabled, emits_device_clear, retired } =
                    *declaration;
                let flags = [declared, emits_enabled, emits_device_clear].map(u8::from);
                self.0.update([8]);
                self.0.update(flags);
                self.optional(retired, |content, at| content.number(at.as_millis()));
                self.text(source.as_str());
            }
            // Its key holds no content.
            Fact::Heartbeat { .. } => {}
        }
    }

    fn keys(&mut self, keys: &[ObjectKey]) {
        self.number(keys.len() as u64);
        for key in keys {
            self.key(*key);
        }
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::Policy(id, policy) => {
                self.0.update([1]);
                self.key(*id);
                self.optional(policy.as_deref(), Self::policy);
            }
            Body::Location(id, location) => {
                self.0.update([2]);
                self.key(*id);
                self.optional(location.as_ref(), Self::location);
            }
            Body::MfaTrusted(ranges) => {
                self.0.update([3]);
                self.optional(ranges.as_deref(), Self::ranges);
            }
            Body::Settings(settings) => {
                self.0.update([4]);
                self.optional(settings.as_deref(), Self::settings);
            }
            Body::Group(id, members) => {
                self.0.update([5]);
                self.key(*id);
                self.keys(members);
            }
        }
    }

    fn policy(&mut self, policy: &Policy) {
        let Policy {
            id,
            mode,
            users: Users { include, exclude },
            workloads: Workloads { all, include: workloads, exclude: not_workloads },
            applications,
            locations,
            narrowing,
            grant,
            controls,
            all_controls,
            frequency,
            evaluation,
        } = policy;
        self.text(id.as_str());
        self.0.update([*mode as u8, *grant as u8, *evaluation as u8, u8::from(*all)]);
        self.persons(include);
        self.persons(exclude);
        self.keys(workloads);
        self.keys(not_workloads);
        let Applications { all, include, exclude_all, exclude, user_action } = applications;
        self.0.update([*all, *exclude_all, *user_action].map(u8::from));
        self.keys(include);
        self.keys(exclude);
        self.optional(locations.as_ref(), |content, Places { include, exclude }| {
            content.places(include);
            content.places(exclude);
        });
        self.0.update([u8::from(*all_controls)]);
        for words in [narrowing, controls] {
            self.number(words.len() as u64);
            for word in words {
                self.text(word);
            }
        }
        self.optional(*frequency, |content, frequency| match frequency {
            Frequency::Within(within) => content.number(within.as_secs()),
            Frequency::EveryTime => content.number(u64::MAX),
        });
    }

    fn persons(&mut self, persons: &Persons) {
        let Persons { all, guests, users, groups, roles } = persons;
        self.0.update([*all, *guests].map(u8::from));
        self.keys(users);
        self.keys(groups);
        self.keys(roles);
    }

    fn places(&mut self, places: &PlaceList) {
        let PlaceList { all, all_trusted, ids } = places;
        self.0.update([*all, *all_trusted].map(u8::from));
        self.keys(ids);
    }

    fn location(&mut self, location: &Location) {
        let Location { trusted, place } = location;
        self.0.update([u8::from(*trusted)]);
        match place {
            Place::Ranges(ranges) => {
                self.0.update([1]);
                self.ranges(ranges);
            }
            Place::Countries { codes, or_unknown } => {
                self.0.update([2, u8::from(*or_unknown)]);
                self.number(codes.len() as u64);
                for code in codes {
                    self.text(code);
                }
            }
            Place::Unknowable => self.0.update([3]),
        }
    }

    fn ranges(&mut self, ranges: &RangeSet) {
        self.number(ranges.v4_len() as u64);
        self.number(ranges.len() as u64);
        for (first, last) in ranges.numbers() {
            self.0.update(first.to_le_bytes());
            self.0.update(last.to_le_bytes());
        }
    }

    fn settings(&mut self, settings: &Settings) {
        let Settings { mode, only, except, strict, incapable } = settings;
        self.0.update([*mode as u8, u8::from(*strict), *incapable as u8]);
        self.optional(only.as_ref(), Self::selected);
        self.selected(except);
    }

    fn selected(&mut self, selected: &Selected) {
        let Selected { users, groups } = selected;
        self.keys(users);
        self.keys(groups);
    }

    fn finer(&mut self, what: &Finer) {
        match what {
            Finer::Session { issuer, session } => {
                self.0.update([1]);
                self.text(issuer.as_str());
                self.key(*session);
            }
            Finer::Token { issuer, token } => {
                self.0.update([2]);
                self.text(issuer.as_str());
                self.key(*token);
            }
            Finer::Client(client) => {
                self.0.update([3]);
                self.key(*client);
            }
            Finer::Device(device) => {
                self.0.update([4]);
                self.key(*device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let key = || ObjectKey::parse("anna").expect("an id");
        let name = || Name::parse("contoso").expect("a name");
        let revoked = |what| Fact::Revoked { what, user: None };
        let part = || Part { version: String::new(), index: 0, count: 1 };
        let version = |body| Fact::Version(Version { part: part(), body, title: String::new() });
        let causes = [
            RevocationCause::PasswordChanged,
            RevocationCause::PasswordReset,
            RevocationCause::SessionsRevoked,
            RevocationCause::MfaEnabled,
            RevocationCause::AuthenticatorChanged,
            RevocationCause::TokenClaimsChanged,
            RevocationCause::AssuranceLowered,
        ];
        let mut facts: Vec<Fact> =
            causes.into_iter().map(|cause| Fact::UserRevoked { user: key(), cause }).collect();
        let accounts = [AccountState::Enabled, AccountState::Disabled, AccountState::Deleted];
        facts.extend(accounts.map(|state| Fact::Account { user: key(), state }));
        let devices = [DeviceState::Cleared, DeviceState::Disabled, DeviceState::Deleted];
        facts.extend(devices.map(|state| Fact::Device { device: key(), state }));
        let judgements = [Compliance::Compliant, Compliance::NotCompliant];
        facts.extend(judgements.map(|compliance| Fact::Compliance { device: key(), compliance }));
        let changes = [Membership::Added, Membership::Removed];
        facts.extend(changes.map(|membership| Fact::Member {
            group: key(),
            user: key(),
            membership,
        }));
        facts.extend([
            Fact::UserRisk { user: key(), level: RiskLevel::High },
            revoked(Finer::Session { issuer: name(), session: key() }),
            revoked(Finer::Token { issuer: name(), token: key() }),
            revoked(Finer::Client(key())),
            revoked(Finer::Device(key())),
            Fact::TenantRevoked,
            Fact::Heartbeat { partition: 0, stream: Stream::Enabled },
            version(Body::Policy(key(), None)),
            version(Body::Location(key(), None)),
            version(Body::MfaTrusted(None)),
            version(Body::Settings(None)),
        ]);
        let kinds: BTreeSet<&str> = facts.iter().map(Fact::kind).collect();
        assert_eq!(kinds.len(), facts.len());
        let is_name =
            |kind: &&str| kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(kinds.iter().all(|kind| !kind.is_empty() && is_name(kind)), "{kinds:?}");
        let streams = [Stream::Enabled, Stream::Ended, Stream::Paused, Stream::Disabled];
        let states: BTreeSet<&str> = streams.into_iter().map(Stream::as_str).collect();
        assert!(states.len() == streams.len() && !states.contains(""), "{states:?}");
    }
}
