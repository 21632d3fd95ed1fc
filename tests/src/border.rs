//! From plain data into core's own types, and from core's answer back to what the oracle says.

use std::time::Duration;

use caed_core::decide::decide;
use caed_core::decision::{CODE_REVOKED, Decision};
use caed_core::event;
use caed_core::ids::{Name, ObjectKey};
use caed_core::request::{AccessRequest, Claims, Token};
use caed_core::rules::{self, IssuerTenants, Issuers, Profile, Rules};
use caed_core::snapshot::Snapshot;
use caed_core::time::UnixMillis;

use crate::oracle::{Expected, Finding};
use crate::world::{
    Declaration, Event, Finer, Issuer, Millis, Request, Seconds, Speaks, Text, What, World,
};

/// An instant.
pub fn millis(at: Millis) -> UnixMillis {
    UnixMillis::from_millis(u64::try_from(at).expect("after 1970"))
}

/// The rules of a world.
pub fn rules(world: &World) -> Rules {
    Rules {
        horizon: seconds(world.horizon),
        clock_skew: seconds(world.skew),
        issuers: Issuers::new(world.issuers.iter().map(issuer)).expect("issuers that can be meant"),
        tenants: world.served.as_ref().map(|served| served.iter().copied().map(name).collect()),
    }
}

/// An event.
pub fn event(event: &Event) -> event::Event {
    event::Event {
        tenant: name(event.tenant),
        source: name(event.source),
        id: event.id.to_owned(),
        occurred: millis(event.occurred),
        received: millis(event.received),
        fact: fact(event.what),
    }
}

/// Asks core.
pub fn ask(snapshot: &Snapshot, request: &Request, now: Millis) -> Decision {
    let claims = Claims {
        issuer: request.issuer,
        tenant: request.tenant,
        subject: request.subject,
        issued_at: request.issued_at.map(claim),
        expires: request.expires.map(claim),
        not_before: request.not_before.map(claim),
        session: request.session,
        token_id: request.token,
        client: request.client,
        device: request.device,
        answers_challenges: request.cp1,
    };
    let profile = Profile {
        risk_threshold: request.risk_threshold,
        device_compliance: request.device_compliance,
        incapable_clients: request.incapable_clients.iter().copied().map(key).collect(),
    };
    let request = AccessRequest { token: Token::parse(&claims), profile: &profile };
    decide(snapshot, &request, millis(now))
}

/// Core's answer, in the oracle's words.
pub fn answer(decision: &Decision) -> Expected {
    let Decision {
        verdict,
        ref findings,
        primary,
        ref challenge,
        http_status,
        retry_after_s,
        generation: _,
    } = *decision;
    assert!(challenge.is_none_or(|challenge| challenge.code == CODE_REVOKED));
    Expected {
        verdict,
        primary,
        findings: findings
            .iter()
            .map(|found| Finding { reason: found.reason, scope: found.scope, answer: found.answer })
            .collect(),
        http_status,
        retry_after_s,
        not_before: challenge.map(|challenge| challenge.not_before),
    }
}

fn fact(what: What) -> event::Fact {
    match what {
        What::Account(user, state) => event::Fact::Account { user: key(user), state },
        What::UserRevoked(user, cause) => event::Fact::UserRevoked { user: key(user), cause },
        What::Risk(user, level) => event::Fact::UserRisk { user: key(user), level },
        What::Revoked(what, user) => {
            event::Fact::Revoked { what: finer(what), user: user.map(key) }
        }
        What::TenantRevoked => event::Fact::TenantRevoked,
        What::Device(device, state) => event::Fact::Device { device: key(device), state },
        What::Compliance(device, compliance) => {
            event::Fact::Compliance { device: key(device), compliance }
        }
        What::Source(source, declaration) => {
            let Declaration { declared, emits_enabled, emits_device_clear, retired } = declaration;
            let retired = retired.map(millis);
            event::Fact::Source {
                source: name(source),
                declaration: event::Declaration {
                    declared,
                    emits_enabled,
                    emits_device_clear,
                    retired,
                },
            }
        }
    }
}

fn finer(finer: Finer) -> event::Finer {
    match finer {
        Finer::Session(issuer, id) => {
            event::Finer::Session { issuer: name(issuer), session: key(id) }
        }
        Finer::Token(issuer, id) => event::Finer::Token { issuer: name(issuer), token: key(id) },
        Finer::Client(id) => event::Finer::Client(key(id)),
        Finer::Device(id) => event::Finer::Device(key(id)),
    }
}

fn issuer(issuer: &Issuer) -> rules::Issuer {
    rules::Issuer {
        name: issuer.name.to_owned(),
        tenants: match &issuer.tenants {
            Speaks::For(tenants) => {
                IssuerTenants::Named(tenants.iter().copied().map(name).collect())
            }
            Speaks::InName => IssuerTenants::InName,
            Speaks::ForAll => IssuerTenants::All,
        },
        issue_time_skew: seconds(issuer.issue_time_skew),
        authorization_uri: None,
    }
}

fn seconds(seconds: Seconds) -> Duration {
    Duration::from_secs(u64::try_from(seconds).expect("a length of time"))
}

fn claim(second: Seconds) -> i64 {
    i64::try_from(second).expect("a claim of 64 bits")
}

fn name(name: Text) -> Name {
    Name::parse(name).expect("a name")
}

fn key(id: Text) -> ObjectKey {
    ObjectKey::parse(id).expect("an id")
}
