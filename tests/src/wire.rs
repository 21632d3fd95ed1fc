//! From plain data to what goes over the wire.

use caed_core::event::{AccountState, Compliance, DeviceState, RevocationCause, RiskLevel};
use caed_proto::v1;
use caed_proto::v1::event::Fact;

use crate::world::{Event, Finer, Millis, Request, Text, What};

/// An event, as caed stores it: with the time of its receipt.
pub fn event(event: &Event) -> v1::Event {
    let millis = |at: Millis| i64::try_from(at).expect("a time");
    v1::Event {
        id: event.id.to_owned(),
        tenant: event.tenant.to_owned(),
        source: event.source.to_owned(),
        event_time_ms: millis(event.occurred),
        received_ms: millis(event.received),
        fact: Some(fact(event.what)),
    }
}

/// The claims of a request.
pub fn claims(request: &Request) -> v1::TokenClaims {
    let text = |text: Option<Text>| text.map(str::to_owned);
    let values = |claim: &Option<Vec<Text>>| {
        let owned = |values: &Vec<Text>| values.iter().map(|text| (*text).to_owned()).collect();
        claim.as_ref().map(|values| v1::ClaimValues { values: owned(values) })
    };
    let seconds = |at: Option<i128>| at.map(|at| i64::try_from(at).expect("a claim of 64 bits"));
    v1::TokenClaims {
        iss: text(request.issuer),
        tid: text(request.tenant),
        sub: text(request.subject),
        iat: seconds(request.issued_at),
        exp: seconds(request.expires),
        nbf: seconds(request.not_before),
        sid: text(request.session),
        jti: text(request.token),
        azp: text(request.client),
        deviceid: text(request.device),
        xms_cc: if request.cp1 { vec!["cp1".to_owned()] } else { Vec::new() },
        aud: request.audiences.iter().map(|text| (*text).to_owned()).collect(),
        ipaddr: text(request.address),
        acct: request.guest.then_some(1),
        auth_time: seconds(request.authenticated),
        idtyp: request.workload.then(|| "app".to_owned()),
        groups: values(&request.groups),
        wids: values(&request.roles),
        judged: text(request.judged),
    }
}

fn fact(what: What) -> Fact {
    let owned = str::to_owned;
    match what {
        What::Account(user, state) => {
            let user = owned(user);
            match state {
                AccountState::Enabled => Fact::AccountEnabled(v1::AccountEnabled { user }),
                AccountState::Disabled => Fact::AccountDisabled(v1::AccountDisabled { user }),
                AccountState::Deleted => Fact::AccountDeleted(v1::AccountDeleted { user }),
            }
        }
        What::UserRevoked(user, cause) => user_revoked(owned(user), cause),
        What::Risk(user, level) => {
            let level = match level {
                RiskLevel::Low => v1::RiskLevel::Low,
                RiskLevel::Medium => v1::RiskLevel::Medium,
                RiskLevel::High => v1::RiskLevel::High,
            };
            Fact::UserRiskChanged(v1::UserRiskChanged { user: owned(user), level: level.into() })
        }
        What::Revoked(finer, user) => finer_revoked(finer, user),
        What::TenantRevoked => Fact::TenantRevoked(v1::TenantRevoked {}),
        What::Device(device, state) => {
            let device = owned(device);
            match state {
                DeviceState::Cleared => Fact::DeviceCleared(v1::DeviceCleared { device }),
                DeviceState::Disabled => Fact::DeviceDisabled(v1::DeviceDisabled { device }),
                DeviceState::Deleted => Fact::DeviceDeleted(v1::DeviceDeleted { device }),
            }
        }
        What::Compliance(device, compliance) => {
            let device = owned(device);
            match compliance {
                Compliance::Compliant => Fact::DeviceCompliant(v1::DeviceCompliant { device }),
                Compliance::NotCompliant => {
                    Fact::DeviceNotCompliant(v1::DeviceNotCompliant { device })
                }
            }
        }
        What::Told(_) | What::Member(..) => unreachable!("nothing is told of directories here"),
        What::Source(name, declaration) => Fact::SourceDeclared(v1::SourceDeclared {
            name: owned(name),
            declared: declaration.declared,
            emits_enabled: declaration.emits_enabled,
            emits_device_clear: declaration.emits_device_clear,
            retired_ms: declaration
                .retired
                .map_or(0, |retired| i64::try_from(retired).expect("a time")),
        }),
    }
}

fn user_revoked(user: String, cause: RevocationCause) -> Fact {
    use RevocationCause as Cause;
    match cause {
        Cause::PasswordChanged => Fact::PasswordChanged(v1::PasswordChanged { user }),
        Cause::PasswordReset => Fact::PasswordReset(v1::PasswordReset { user }),
        Cause::SessionsRevoked => Fact::SessionsRevoked(v1::SessionsRevoked { user }),
        Cause::MfaEnabled => Fact::MfaEnabled(v1::MfaEnabled { user }),
        Cause::AuthenticatorChanged => {
            Fact::AuthenticatorChanged(v1::AuthenticatorChanged { user })
        }
        Cause::TokenClaimsChanged => Fact::TokenClaimsChanged(v1::TokenClaimsChanged { user }),
        Cause::AssuranceLowered => Fact::AssuranceLowered(v1::AssuranceLowered { user }),
    }
}

fn finer_revoked(finer: Finer, user: Option<Text>) -> Fact {
    let user = user.unwrap_or_default().to_owned();
    match finer {
        Finer::Session(issuer, session) => {
            let (issuer, session) = (issuer.to_owned(), session.to_owned());
            Fact::SessionRevoked(v1::SessionRevoked { issuer, session, user })
        }
        Finer::Token(issuer, token) => {
            let (issuer, token) = (issuer.to_owned(), token.to_owned());
            Fact::TokenRevoked(v1::TokenRevoked { issuer, token, user })
        }
        Finer::Client(client) => {
            Fact::ClientRevoked(v1::ClientRevoked { client: client.to_owned(), user })
        }
        Finer::Device(device) => {
            Fact::DeviceRevoked(v1::DeviceRevoked { device: device.to_owned(), user })
        }
    }
}
