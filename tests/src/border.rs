//! From plain data into core's own types, and from core's answer back to what the oracle says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use caed_core::countries::{Countries, Country};
use caed_core::decide::decide;
use caed_core::decision::{Decision, Report};
use caed_core::event;
use caed_core::freshness::{At, StaleAfter};
use caed_core::ids::{Name, ObjectKey};
use caed_core::index::ranges::RangeSet;
use caed_core::policy::{
    self, Applications, Body, Membership, Part, Persons, Place, PlaceList, Places, Selected, Users,
    Version, Workloads,
};
use caed_core::request::{AccessRequest, Claims, Seen, Texts, Token, Unusable};
use caed_core::rules::{self, IssuerTenants, Issuers, Judged, Profile, Rules};
use caed_core::snapshot::Snapshot;
use caed_core::time::UnixMillis;

use crate::oracle::{Expected, Finding};
use crate::world::{
    self, Belief, Declaration, Event, Finer, From, Issuer, Location, Millis, Policy, Request,
    Seconds, Settings, Speaks, Text, Told, What, World,
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
        stale_after: StaleAfter {
            log: seconds(world.stale_after[0]),
            source: seconds(world.stale_after[1]),
        },
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

/// When a world is asked.
pub fn at(world: &World) -> At {
    let log_age = u64::try_from(world.log_age).expect("an age");
    At { now: millis(world.now), log_age: Duration::from_millis(log_age) }
}

/// A database of countries.
pub fn countries(networks: &[(Text, Text)]) -> Arc<Countries> {
    let networks = networks.iter().map(|(network, country)| {
        let country = Country::parse(country).expect("a country");
        (network.parse().expect("a network"), country)
    });
    Arc::new(Countries::new(networks).expect("networks that don't overlap"))
}

/// A moment at which everything is current.
pub fn current(now: Millis) -> At {
    At { now: millis(now), log_age: Duration::ZERO }
}

/// Asks core.
pub fn ask(snapshot: &Snapshot, request: &Request, at: At) -> Decision {
    with(request, |request| decide(snapshot, request, at))
}

/// Hands a request over in core's own types.
pub fn with<T>(request: &Request, then: impl FnOnce(&AccessRequest<'_>) -> T) -> T {
    let (audiences, groups, roles) = (
        owned(&request.audiences),
        request.groups.as_deref().map(owned),
        request.roles.as_deref().map(owned),
    );
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
        audiences: Texts::Listed(&audiences),
        address: request.address,
        account_kind: request.guest.then_some(1),
        authenticated: request.authenticated.map(claim),
        identity_type: request.workload.then_some("app"),
        groups: groups.as_deref().map(Texts::Listed),
        roles: roles.as_deref().map(Texts::Listed),
        judged: request.judged,
    };
    let profile = Profile {
        risk_threshold: request.risk_threshold,
        device_compliance: request.device_compliance,
        incapable_clients: request.incapable_clients.iter().copied().map(key).collect(),
        applications: keys(&request.applications),
        revocation: request.enforced[0],
        user_risk: request.enforced[1],
        device: request.enforced[2],
        location: request.location,
        strict: request.strict,
        long_lifetime: seconds(request.lifetimes[0]),
        plain_lifetime: seconds(request.lifetimes[1]),
        outdated_grace: seconds(request.grace),
        incapable: request.incapable,
        when_stale: request.when_stale,
    };
    let seen = match request.from {
        From::At(address) => {
            Seen::At(address.parse::<IpAddr>().expect("an address").to_canonical())
        }
        From::Unknown => Seen::Unknown,
        From::Nowhere => Seen::NoneByNature,
    };
    let token = believed(request.belief, || Token::parse(&claims));
    then(&AccessRequest { token, profile: &profile, seen })
}

/// A token, if it is believed.
pub fn believed<'t>(
    belief: Belief,
    token: impl FnOnce() -> Result<Token<'t>, Unusable>,
) -> Result<Token<'t>, Unusable> {
    match belief {
        Belief::Believed => token(),
        Belief::Refused => Err(Unusable::Unverified),
        Belief::NoKeys => Err(Unusable::Unverifiable),
    }
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
        notes,
        report,
        source_age,
        generation: _,
    } = *decision;
    Expected {
        verdict,
        primary,
        findings: findings
            .iter()
            .map(|found| Finding {
                reason: found.reason,
                scope: found.scope,
                row: found.row,
                answer: found.answer,
            })
            .collect(),
        http_status,
        retry_after_s,
        challenge: *challenge,
        notes,
        report: report.map(|report| {
            let Report { verdict, primary, reasons, http_status } = report;
            (verdict, primary, reasons.iter().collect(), http_status)
        }),
        source_age: source_age.map(|age| Millis::try_from(age.as_millis()).expect("an age")),
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
        What::Told(told, world::Part { version, index, count }) => {
            let part = Part { version: version.to_owned(), index, count };
            event::Fact::Version(Version { part, body: body(told), title: String::new() })
        }
        What::Member(group, user, added) => event::Fact::Member {
            group: key(group),
            user: key(user),
            membership: if added { Membership::Added } else { Membership::Removed },
        },
        What::Heartbeat(partition, stream) => event::Fact::Heartbeat { partition, stream },
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

fn body(told: &Told) -> Body {
    match told {
        Told::Policy(id, policy) => {
            Body::Policy(key(id), policy.as_ref().map(|told| Arc::new(policy_of(id, told))))
        }
        Told::Location(id, location) => {
            let location =
                location.as_ref().map(|Location { trusted, ranges: told, countries }| {
                    let place = match (told, countries) {
                        (Some(told), _) => Place::Ranges(Arc::new(ranges(told))),
                        (None, Some((codes, or_unknown))) => {
                            let codes = codes.iter().map(|code| (*code).to_owned()).collect();
                            Place::Countries { codes, or_unknown: *or_unknown }
                        }
                        (None, None) => Place::Unknowable,
                    };
                    policy::Location { trusted: *trusted, place }
                });
            Body::Location(key(id), location)
        }
        Told::MfaTrusted(told) => {
            Body::MfaTrusted(told.as_ref().map(|told| Arc::new(ranges(told))))
        }
        Told::Settings(settings) => Body::Settings(settings.as_ref().map(|settings| {
            let Settings { mode, only, except, strict, incapable } = settings;
            let selected = |[users, groups]: &[Vec<Text>; 2]| Selected {
                users: keys(users),
                groups: keys(groups),
            };
            Arc::new(policy::Settings {
                mode: *mode,
                only: only.as_ref().map(selected),
                except: selected(except),
                strict: *strict,
                incapable: *incapable,
            })
        })),
        Told::Group(id, members) => Body::Group(key(id), Arc::new(keys(members))),
    }
}

fn policy_of(id: Text, told: &Policy) -> policy::Policy {
    let Policy {
        mode,
        include,
        exclude,
        workloads: [workloads, not_workloads],
        applications: [applications, not_applications],
        user_action,
        places,
        narrowed,
        controls,
        all_controls,
        frequency,
        evaluation,
    } = told;
    let persons = |[users, groups, roles]: &[Vec<Text>; 3]| Persons {
        all: users.contains(&"All"),
        guests: users.contains(&"Guests"),
        users: but(users, &["All", "Guests"]),
        groups: keys(groups),
        roles: keys(roles),
    };
    let list = |places: &Vec<Text>| PlaceList {
        all: places.contains(&"All"),
        all_trusted: places.contains(&"AllTrusted"),
        ids: but(places, &["All", "AllTrusted"]),
    };
    policy::Policy {
        id: name(id),
        mode: *mode,
        users: Users { include: persons(include), exclude: persons(exclude) },
        workloads: Workloads {
            all: workloads.contains(&"Workloads"),
            include: but(workloads, &["Workloads"]),
            exclude: keys(not_workloads),
        },
        applications: Applications {
            all: applications.contains(&"All"),
            include: but(applications, &["All"]),
            exclude_all: not_applications.contains(&"All"),
            exclude: but(not_applications, &["All"]),
            user_action: *user_action,
        },
        locations: places
            .as_ref()
            .map(|[include, exclude]| Places { include: list(include), exclude: list(exclude) }),
        narrowing: if *narrowed { vec!["platforms".to_owned()] } else { Vec::new() },
        grant: told.grant(),
        controls: owned(controls),
        all_controls: *all_controls,
        frequency: *frequency,
        evaluation: *evaluation,
    }
}

fn but(names: &[Text], words: &[Text]) -> Vec<ObjectKey> {
    names.iter().filter(|name| !words.contains(name)).copied().map(key).collect()
}

fn keys(ids: &[Text]) -> Vec<ObjectKey> {
    ids.iter().copied().map(key).collect()
}

fn ranges(texts: &[Text]) -> RangeSet {
    RangeSet::parse(texts.iter().copied()).expect("ranges")
}

fn owned(texts: &[Text]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
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
        judged: Judged {
            by_mark: issuer.marks,
            one_hour_audiences: owned(&issuer.one_hour).into_iter().collect(),
            exception_ranges: issuer.exceptions.as_deref().map(ranges),
        },
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
