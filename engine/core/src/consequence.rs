//! What an event does: the table of consequences, and the order in which consequences count.
//!
//! State is a set of slots, and each slot holds the greatest value that any event gave it. An event
//! does nothing but offer values to slots ([`Event::consequences`]), so state is a join: whatever
//! the order, the batches and the copies in which events arrive, the same set of them leaves the
//! same state (SEMANTICS.md E1). Three kinds of slot exist:
//!
//! - a **cutoff** of a [`Scope`]: tokens issued before it are revoked. The later instant wins and
//!   nothing takes it back (E13);
//! - a **register** of an object and a source: the later word wins, and of two words of one
//!   instant the more restrictive (E15);
//! - the **versions** of something that the directory holds, and single words about who belongs to a
//!   group: the newest complete version is in force, with newer single words over it (E9, E10).
//!
//! Because the whole effect of an event is a list of values, "this record is no longer needed" is a
//! question about the same list: see [`crate::retention`].

use crate::event::{Declaration, Event, Fact, Finer, RecordKey, RiskLevel, Stream};
use crate::ids::{Name, ObjectKey};
use crate::policy::{Membership, Version};
use crate::time::UnixMillis;

/// A value that an event offers to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence<'e> {
    /// Tokens in `scope` that were issued before `at` are revoked.
    Cutoff {
        /// Which tokens.
        scope: Scope<'e>,
        /// Issued before when.
        at: UnixMillis,
    },
    /// The event's source says that an object has a standing since `at`.
    Register {
        /// Which object, in which respect.
        object: ObjectKey,
        /// In which respect.
        facet: Facet,
        /// Since when.
        at: UnixMillis,
        /// How restrictive the standing is; 0 is harmless. Ordered within the facet.
        standing: u8,
    },
    /// Something that the directory holds has a new version, of which this is a part.
    Version {
        /// Which part, of what.
        version: &'e Version,
        /// The time of the version.
        at: UnixMillis,
        /// Orders versions of one time.
        hash: [u8; 16],
    },
    /// A user came into a group or left it at `at`.
    Member {
        /// Which group.
        group: ObjectKey,
        /// Who.
        user: ObjectKey,
        /// When.
        at: UnixMillis,
        /// Whether they came or went.
        membership: Membership,
    },
    /// The event's source was alive at `at`.
    Sign {
        /// The source's own number for the stream.
        partition: u32,
        /// When.
        at: UnixMillis,
        /// How the stream was.
        stream: Stream,
    },
    /// A source of the tenant can be relied on for this, since `at`.
    Declaration {
        /// Which source.
        source: &'e Name,
        /// Since when.
        at: UnixMillis,
        /// For what.
        declaration: Declaration,
        /// Orders declarations of one instant.
        tie: RecordKey,
    },
}

/// The tokens that a cutoff reaches, within the event's tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'e> {
    /// All of them.
    Tenant,
    /// Those of a user.
    User(ObjectKey),
    /// Those of a user, for resources that mind a risk of this level.
    Risk(ObjectKey, RiskLevel),
    /// Those that carry this finer id, whoever the user is.
    Finer(FinerKey<'e>),
    /// Those of a user that carry this finer id.
    UserAnd(ObjectKey, FinerKey<'e>),
    /// Those of a user that carry no id of this kind and so may be any of them (E7).
    UserWithout(ObjectKey, FinerKind),
}

/// A finer id as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinerKey<'e> {
    /// What it identifies.
    pub kind: FinerKind,
    /// The issuer that numbered it, for sessions and tokens (E7).
    pub issuer: Option<&'e Name>,
    /// The id.
    pub key: ObjectKey,
}

/// What a finer id identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FinerKind {
    /// A sign-in session.
    Session,
    /// One token.
    Token,
    /// A client application.
    Client,
    /// A device.
    Device,
}

/// The respect in which an object has a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Facet {
    /// A user's account: enabled, disabled, deleted.
    Account,
    /// A device in the directory: cleared, disabled, deleted.
    DeviceState,
    /// A device by compliance rules: compliant, not compliant.
    DeviceCompliance,
}

impl FinerKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Session, Self::Token, Self::Client, Self::Device];
}

impl Event {
    /// Every value that this event offers. This is the one place that says what an event does.
    pub fn consequences(&self, mut offer: impl FnMut(Consequence<'_>)) {
        let mut cutoff = |scope| offer(Consequence::Cutoff { scope, at: self.cutoff() });
        match &self.fact {
            // E2, E3: the register says how the account stands; a disabling also ends what was
            // issued before it, for good.
            Fact::Account { user, state } => {
                if state.is_restrictive() {
                    cutoff(Scope::User(*user));
                }
                offer(self.register(*user, Facet::Account, *state as u8));
            }
            // E4.
            Fact::UserRevoked { user, cause: _ } => cutoff(Scope::User(*user)),
            // E5.
            Fact::UserRisk { user, level } => cutoff(Scope::Risk(*user, *level)),
            // E6.
            Fact::TenantRevoked => cutoff(Scope::Tenant),
            Fact::Revoked { what, user: None } => cutoff(Scope::Finer(what.key())),
            // E7: a token of that user which does not say which session (token, client, device) it
            // belongs to may belong to the one that was meant.
            Fact::Revoked { what, user: Some(user) } => {
                let finer = what.key();
                cutoff(Scope::UserAnd(*user, finer));
                cutoff(Scope::UserWithout(*user, finer.kind));
            }
            // E8.
            Fact::Device { device, state } => {
                if *state as u8 > 0 {
                    let key = FinerKey { kind: FinerKind::Device, issuer: None, key: *device };
                    cutoff(Scope::Finer(key));
                } else {
                    // A clearing takes back every earlier word of the source about the device.
                    offer(self.register(*device, Facet::DeviceCompliance, 0));
                }
                offer(self.register(*device, Facet::DeviceState, *state as u8));
            }
            Fact::Compliance { device, compliance } => {
                offer(self.register(*device, Facet::DeviceCompliance, *compliance as u8));
            }
            // E9, E10: of the directory there is one, whichever source speaks of it.
            Fact::Version(version) => offer(Consequence::Version {
                version,
                at: self.register_time(),
                hash: version.body.content_hash(),
            }),
            Fact::Member { group, user, membership } => offer(Consequence::Member {
                group: *group,
                user: *user,
                at: self.register_time(),
                membership: *membership,
            }),
            // E11.
            Fact::Heartbeat { partition, stream } => offer(Consequence::Sign {
                partition: *partition,
                at: self.register_time(),
                stream: *stream,
            }),
            // E13.
            Fact::Source { source, declaration } => offer(Consequence::Declaration {
                source,
                at: self.register_time(),
                declaration: *declaration,
                tie: self.record_key(),
            }),
        }
    }

    /// Whether the event revokes something finer without naming a user, so that tokens which lack
    /// the finer claim are out of its reach (E7). Counted and shown, because nothing can be done.
    pub const fn misses_tokens_without_claim(&self) -> bool {
        matches!(self.fact, Fact::Revoked { user: None, .. })
    }

    fn register<'e>(&self, object: ObjectKey, facet: Facet, standing: u8) -> Consequence<'e> {
        Consequence::Register { object, facet, at: self.register_time(), standing }
    }
}

impl Finer {
    /// The key of what was revoked.
    pub fn key(&self) -> FinerKey<'_> {
        match self {
            Self::Session { issuer, session } => {
                FinerKey { kind: FinerKind::Session, issuer: Some(issuer), key: *session }
            }
            Self::Token { issuer, token } => {
                FinerKey { kind: FinerKind::Token, issuer: Some(issuer), key: *token }
            }
            Self::Client(key) => FinerKey { kind: FinerKind::Client, issuer: None, key: *key },
            Self::Device(key) => FinerKey { kind: FinerKind::Device, issuer: None, key: *key },
        }
    }
}
