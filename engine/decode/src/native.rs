//! The native form: protobuf `caed.v1.Event`.
//!
//! One function, [`event_of`], says what a valid event is, for what is published as for what is read
//! again; so nothing enters the log that its readers would not understand.

use caed_core::event::{
    AccountState, Compliance, Declaration, DeviceState, Event, Fact, Finer, RevocationCause,
    RiskLevel, Stream,
};
use caed_core::ids::{InvalidId, Name, ObjectKey};
use caed_core::limits;
use caed_core::time::{InvalidTime, ReadAs, UnixMillis};
use caed_proto::v1;
use caed_proto::v1::event::Fact as WireFact;
use prost::Message;

use crate::directory;

/// An event with what its times were read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The event.
    pub event: Event,
    /// Whether a time was too small for milliseconds (E14).
    pub time_read_as_seconds: bool,
}

/// Why bytes are not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// Not even the message.
    #[error("not a protobuf caed.v1.Event: {0}")]
    Encoding(String),
    /// A field that can't be what it should be.
    #[error("{field}: {problem}")]
    Field {
        /// The field, as it is called in the message.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Decodes records one after the other. It keeps what the next one can use: room for the message, and the names,
/// which are the same in most.
#[derive(Debug, Default)]
pub struct Decoder {
    message: v1::Event,
    names: KnownNames,
}

/// The names of the event before.
#[derive(Debug, Default)]
struct KnownNames {
    tenant: Option<Name>,
    source: Option<Name>,
}

impl Decoder {
    /// Decodes the bytes of a record.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Decoded, InvalidEvent> {
        self.message.clear();
        let read = self.message.merge(payload);
        read.map_err(|error| InvalidEvent::Encoding(error.to_string()))?;
        take(&mut self.message, &mut self.names)
    }
}

/// Decodes the bytes of a record.
pub fn decode(payload: &[u8]) -> Result<Decoded, InvalidEvent> {
    Decoder::default().decode(payload)
}

/// Whether the bytes of a record that can be decoded hold nothing beyond what this version knows:
/// its meaning, written again, are the same bytes.
pub fn says_all(payload: &[u8]) -> bool {
    v1::Event::decode(payload).is_ok_and(|message| message.encode_to_vec() == payload)
}

/// Stamps an event that its sender wrote with the time of its receipt (E14), and checks it. Returns
/// the bytes to store and what they mean.
pub fn stamp(payload: &[u8], received: UnixMillis) -> Result<(Vec<u8>, Decoded), InvalidEvent> {
    let mut message =
        v1::Event::decode(payload).map_err(|error| InvalidEvent::Encoding(error.to_string()))?;
    if message.received_ms != 0 {
        return Err(field("received_ms", "is stamped by caed; leave it out".to_owned()));
    }
    message.received_ms = i64::try_from(received.as_millis()).unwrap_or(i64::MAX);
    let bytes = message.encode_to_vec();
    Ok((bytes, event_of(message)?))
}

/// What a message means.
pub fn event_of(mut message: v1::Event) -> Result<Decoded, InvalidEvent> {
    take(&mut message, &mut KnownNames::default())
}

/// What a message means, taken out of it.
fn take(message: &mut v1::Event, names: &mut KnownNames) -> Result<Decoded, InvalidEvent> {
    let v1::Event { id, tenant, source, event_time_ms, received_ms, fact } = message;
    let (event_time_ms, received_ms) = (*event_time_ms, *received_ms);
    if id.len() > limits::ID_BYTES_MAX {
        return Err(id_problem("id")(InvalidId::TooLong(id.len())));
    }
    let tenant = known_name("tenant", tenant, &mut names.tenant)?;
    let source = known_name("source", source, &mut names.source)?;
    let mut seconds = false;
    let mut time = |field, value| instant(field, value, &mut seconds);
    let received = time("received_ms", received_ms)?
        .ok_or_else(|| field("received_ms", "is missing; caed stamps it".to_owned()))?;
    let occurred = time("event_time_ms", event_time_ms)?.unwrap_or(received);
    let fact = fact.take().ok_or_else(|| {
        field("fact", "is missing; give one, for example sessions_revoked".to_owned())
    })?;
    let fact = fact_of(fact, &mut time)?;
    directory::check_time(&fact, event_time_ms != 0, occurred > received)?;
    let id = std::mem::take(id);
    let event = Event { tenant, source, id, occurred, received, fact };
    Ok(Decoded { event, time_read_as_seconds: seconds })
}

type ReadTime<'a> = dyn FnMut(&'static str, i64) -> Result<Option<UnixMillis>, InvalidEvent> + 'a;

fn fact_of(fact: WireFact, time: &mut ReadTime<'_>) -> Result<Fact, InvalidEvent> {
    use RevocationCause as Cause;
    Ok(match fact {
        WireFact::AccountDisabled(v1::AccountDisabled { user }) => {
            account("account_disabled.user", &user, AccountState::Disabled)?
        }
        WireFact::AccountDeleted(v1::AccountDeleted { user }) => {
            account("account_deleted.user", &user, AccountState::Deleted)?
        }
        WireFact::AccountEnabled(v1::AccountEnabled { user }) => {
            account("account_enabled.user", &user, AccountState::Enabled)?
        }
        WireFact::PasswordChanged(v1::PasswordChanged { user }) => {
            user_revoked("password_changed.user", &user, Cause::PasswordChanged)?
        }
        WireFact::PasswordReset(v1::PasswordReset { user }) => {
            user_revoked("password_reset.user", &user, Cause::PasswordReset)?
        }
        WireFact::SessionsRevoked(v1::SessionsRevoked { user }) => {
            user_revoked("sessions_revoked.user", &user, Cause::SessionsRevoked)?
        }
        WireFact::MfaEnabled(v1::MfaEnabled { user }) => {
            user_revoked("mfa_enabled.user", &user, Cause::MfaEnabled)?
        }
        WireFact::AuthenticatorChanged(v1::AuthenticatorChanged { user }) => {
            user_revoked("authenticator_changed.user", &user, Cause::AuthenticatorChanged)?
        }
        WireFact::TokenClaimsChanged(v1::TokenClaimsChanged { user }) => {
            user_revoked("token_claims_changed.user", &user, Cause::TokenClaimsChanged)?
        }
        WireFact::AssuranceLowered(v1::AssuranceLowered { user }) => {
            user_revoked("assurance_lowered.user", &user, Cause::AssuranceLowered)?
        }
        WireFact::UserRiskChanged(v1::UserRiskChanged { user, level }) => Fact::UserRisk {
            user: key("user_risk_changed.user", &user)?,
            level: risk_level(level)?,
        },
        WireFact::SessionRevoked(v1::SessionRevoked { issuer, session, user }) => Fact::Revoked {
            what: Finer::Session {
                issuer: name("session_revoked.issuer", &issuer)?,
                session: key("session_revoked.session", &session)?,
            },
            user: optional_key("session_revoked.user", &user)?,
        },
        WireFact::TokenRevoked(v1::TokenRevoked { issuer, token, user }) => Fact::Revoked {
            what: Finer::Token {
                issuer: name("token_revoked.issuer", &issuer)?,
                token: key("token_revoked.token", &token)?,
            },
            user: optional_key("token_revoked.user", &user)?,
        },
        WireFact::ClientRevoked(v1::ClientRevoked { client, user }) => Fact::Revoked {
            what: Finer::Client(key("client_revoked.client", &client)?),
            user: optional_key("client_revoked.user", &user)?,
        },
        WireFact::DeviceRevoked(v1::DeviceRevoked { device, user }) => Fact::Revoked {
            what: Finer::Device(key("device_revoked.device", &device)?),
            user: optional_key("device_revoked.user", &user)?,
        },
        WireFact::TenantRevoked(v1::TenantRevoked {}) => Fact::TenantRevoked,
        WireFact::DeviceDisabled(v1::DeviceDisabled { device }) => {
            device_state("device_disabled.device", &device, DeviceState::Disabled)?
        }
        WireFact::DeviceDeleted(v1::DeviceDeleted { device }) => {
            device_state("device_deleted.device", &device, DeviceState::Deleted)?
        }
        WireFact::DeviceCleared(v1::DeviceCleared { device }) => {
            device_state("device_cleared.device", &device, DeviceState::Cleared)?
        }
        WireFact::DeviceCompliant(v1::DeviceCompliant { device }) => Fact::Compliance {
            device: key("device_compliant.device", &device)?,
            compliance: Compliance::Compliant,
        },
        WireFact::DeviceNotCompliant(v1::DeviceNotCompliant { device }) => Fact::Compliance {
            device: key("device_not_compliant.device", &device)?,
            compliance: Compliance::NotCompliant,
        },
        WireFact::Heartbeat(heartbeat) => heartbeat_of(heartbeat)?,
        WireFact::SourceDeclared(declared) => source_declared(declared, time)?,
        WireFact::PolicyChanged(policy) => directory::policy_changed(policy)?,
        WireFact::PolicyDeleted(policy) => directory::policy_deleted(policy)?,
        WireFact::LocationChanged(location) => directory::location_changed(location)?,
        WireFact::LocationDeleted(location) => directory::location_deleted(location)?,
        WireFact::MfaTrustedRangesChanged(ranges) => directory::mfa_trusted(&ranges)?,
        WireFact::MfaTrustedRangesDeleted(v1::MfaTrustedRangesDeleted {}) => {
            directory::mfa_trusted_deleted()?
        }
        WireFact::TenantSettings(settings) => directory::tenant_settings(settings)?,
        WireFact::TenantSettingsDeleted(v1::TenantSettingsDeleted {}) => {
            directory::tenant_settings_deleted()?
        }
        WireFact::GroupRead(group) => directory::group_read(&group)?,
        WireFact::MemberAdded(member) => directory::member_added(&member)?,
        WireFact::MemberRemoved(member) => directory::member_removed(&member)?,
    })
}

fn heartbeat_of(v1::Heartbeat { partition, state }: v1::Heartbeat) -> Result<Fact, InvalidEvent> {
    use v1::StreamState as Wire;
    let stream = match Wire::try_from(state) {
        Ok(Wire::Unspecified | Wire::Enabled) => Stream::Enabled,
        Ok(Wire::Paused) => Stream::Paused,
        Ok(Wire::Disabled) => Stream::Disabled,
        Ok(Wire::Ended) => Stream::Ended,
        Err(_) => return Err(field("heartbeat.state", format!("{state} is not known"))),
    };
    Ok(Fact::Heartbeat { partition, stream })
}

fn source_declared(
    message: v1::SourceDeclared,
    time: &mut ReadTime<'_>,
) -> Result<Fact, InvalidEvent> {
    let v1::SourceDeclared {
        name: source,
        declared,
        emits_enabled,
        emits_device_clear,
        retired_ms,
    } = message;
    Ok(Fact::Source {
        source: name("source_declared.name", &source)?,
        declaration: Declaration {
            declared,
            emits_enabled,
            emits_device_clear,
            retired: time("source_declared.retired_ms", retired_ms)?,
        },
    })
}

fn account(field: &'static str, user: &str, state: AccountState) -> Result<Fact, InvalidEvent> {
    Ok(Fact::Account { user: key(field, user)?, state })
}

fn user_revoked(
    field: &'static str,
    user: &str,
    cause: RevocationCause,
) -> Result<Fact, InvalidEvent> {
    Ok(Fact::UserRevoked { user: key(field, user)?, cause })
}

fn device_state(
    field: &'static str,
    device: &str,
    state: DeviceState,
) -> Result<Fact, InvalidEvent> {
    Ok(Fact::Device { device: key(field, device)?, state })
}

fn risk_level(level: i32) -> Result<RiskLevel, InvalidEvent> {
    match v1::RiskLevel::try_from(level) {
        Ok(v1::RiskLevel::Low) => Ok(RiskLevel::Low),
        Ok(v1::RiskLevel::Medium) => Ok(RiskLevel::Medium),
        Ok(v1::RiskLevel::High) => Ok(RiskLevel::High),
        Ok(v1::RiskLevel::Unspecified) | Err(_) => Err(field(
            "user_risk_changed.level",
            "must be low, medium or high; a risk that falls to none needs no event".to_owned(),
        )),
    }
}

/// A time on the wire; 0 means absent.
fn instant(
    name: &'static str,
    value: i64,
    seconds: &mut bool,
) -> Result<Option<UnixMillis>, InvalidEvent> {
    if value == 0 {
        return Ok(None);
    }
    let (time, read_as) = UnixMillis::from_wire(value)
        .map_err(|error: InvalidTime| field(name, error.to_string()))?;
    *seconds |= read_as == ReadAs::Seconds;
    Ok(Some(time))
}

pub(crate) fn name(field: &'static str, text: &str) -> Result<Name, InvalidEvent> {
    Name::parse(text).map_err(id_problem(field))
}

/// A name that may be the one of the event before: then nothing is checked or made anew.
fn known_name(
    field: &'static str,
    text: &str,
    known: &mut Option<Name>,
) -> Result<Name, InvalidEvent> {
    if let Some(known) = known
        && known.as_str() == text
    {
        return Ok(known.clone());
    }
    let name = name(field, text)?;
    Ok(known.insert(name).clone())
}

pub(crate) fn key(field: &'static str, text: &str) -> Result<ObjectKey, InvalidEvent> {
    ObjectKey::parse(text).map_err(id_problem(field))
}

/// The key of an id that may be absent.
fn optional_key(field: &'static str, text: &str) -> Result<Option<ObjectKey>, InvalidEvent> {
    if text.is_empty() { Ok(None) } else { key(field, text).map(Some) }
}

fn id_problem(name: &'static str) -> impl FnOnce(InvalidId) -> InvalidEvent {
    move |problem| field(name, problem.to_string())
}

pub(crate) const fn field(field: &'static str, problem: String) -> InvalidEvent {
    InvalidEvent::Field { field, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fact: WireFact) -> v1::Event {
        v1::Event {
            id: "e1".to_owned(),
            tenant: "contoso".to_owned(),
            source: "directory".to_owned(),
            event_time_ms: 1_760_000_000_000,
            received_ms: 1_760_000_000_500,
            fact: Some(fact),
        }
    }

    fn revoked(user: &str) -> WireFact {
        WireFact::SessionsRevoked(v1::SessionsRevoked { user: user.to_owned() })
    }

    fn refused(message: v1::Event) -> String {
        event_of(message).expect_err("refused").to_string()
    }

    #[test]
    fn every_fault_names_its_field() {
        let good = message(revoked("u-1001"));
        assert!(event_of(good.clone()).is_ok());
        let long = "x".repeat(limits::ID_BYTES_MAX + 1);
        for (message, field) in [
            (v1::Event { tenant: String::new(), ..good.clone() }, "tenant: is empty"),
            (v1::Event { source: "a\nb".to_owned(), ..good.clone() }, "source: contains"),
            (v1::Event { id: long, ..good.clone() }, "id: has 513 bytes"),
            (v1::Event { event_time_ms: -1, ..good.clone() }, "event_time_ms: time `-1`"),
            (v1::Event { received_ms: 0, ..good.clone() }, "received_ms: is missing"),
            (v1::Event { fact: None, ..good.clone() }, "fact: is missing"),
            (message(revoked("")), "sessions_revoked.user: is empty"),
        ] {
            let text = refused(message);
            assert!(text.starts_with(field), "{text}");
        }
        let level = v1::UserRiskChanged { user: "u".to_owned(), level: 9 };
        let text = refused(message(WireFact::UserRiskChanged(level)));
        assert!(text.starts_with("user_risk_changed.level: must be"), "{text}");
    }

    #[test]
    fn a_missing_event_time_is_the_receipt_and_seconds_are_reported() {
        let event = |event_time_ms| {
            let stamped = v1::Event { event_time_ms, ..message(revoked("u-1001")) };
            event_of(stamped).expect("valid")
        };
        assert_eq!(event(0).event.occurred.as_millis(), 1_760_000_000_500);
        assert!(!event(0).time_read_as_seconds);
        assert_eq!(event(1_760_000_000).event.occurred.as_millis(), 1_760_000_000_000);
        assert!(event(1_760_000_000).time_read_as_seconds);
    }

    #[test]
    fn a_decoder_remembers_nothing_that_a_record_does_not_say() {
        let session = v1::SessionRevoked {
            issuer: "https://issuer.example".to_owned(),
            session: "s".to_owned(),
            user: "u-1001".to_owned(),
        };
        let good = message(WireFact::SessionRevoked(session));
        let bare = v1::Event { id: String::new(), event_time_ms: 0, ..message(revoked("u-1002")) };
        let records = [
            good.encode_to_vec(),
            bare.encode_to_vec(),
            v1::Event { tenant: "fabrikam".to_owned(), ..good.clone() }.encode_to_vec(),
            v1::Event { source: String::new(), ..good.clone() }.encode_to_vec(),
            v1::Event { tenant: String::new(), ..bare.clone() }.encode_to_vec(),
            v1::Event { fact: None, ..good.clone() }.encode_to_vec(),
            v1::Event { received_ms: 0, ..good.clone() }.encode_to_vec(),
            b"poison".to_vec(),
            // Cut short in the midst of a field.
            good.encode_to_vec().split_off(3),
        ];
        let mut decoder = Decoder::default();
        for first in &records {
            for second in &records {
                for record in [first, second] {
                    let alone = v1::Event::decode(&**record)
                        .map_err(|error| InvalidEvent::Encoding(error.to_string()))
                        .and_then(event_of);
                    assert_eq!(decoder.decode(record), alone, "{record:?} after {first:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_stamped_is_what_is_read_again() {
        let unstamped = v1::Event { received_ms: 0, ..message(revoked("u-1001")) };
        let received = UnixMillis::from_millis(1_770_000_000_000);
        let (bytes, decoded) = stamp(&unstamped.encode_to_vec(), received).expect("valid");
        assert_eq!(decode(&bytes), Ok(decoded.clone()));
        assert_eq!(decoded.event.received, received);
        let forged = message(revoked("u-1001")).encode_to_vec();
        let text = stamp(&forged, received).expect_err("refused").to_string();
        assert_eq!(text, "received_ms: is stamped by caed; leave it out");
    }
}
