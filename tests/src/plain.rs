//! A scenario in plain data: the world, the events and the request that the oracle is asked about.
//!
//! What happens before an event is plain data is said here a second time, too: a time in seconds or none
//! at all (E14), the words of a policy, the shipped profiles (P2). Nothing of core's is used for it.

use std::time::Duration;

use caed_core::event::{AccountState, Compliance, DeviceState, RevocationCause, RiskLevel, Stream};
use caed_core::freshness::WhenStale;
use caed_core::policy::{Evaluation, Frequency, Incapable, Mode, PolicyMode};
use caed_core::rules::LocationClass;
use caed_proto::v1;
use caed_proto::v1::event::Fact;

use crate::scenario::{self, Length, Scenario, Tenants};
use crate::world::{
    Declaration, Event, Finer, From, Issuer, Location, Millis, Part, Policy, Request, Seconds,
    Settings, Speaks, Text, Told, What, World,
};

const OFFICE: Text = "Office365";

/// A scenario's world.
pub fn world(scenario: &Scenario) -> World {
    let scenario::Rules { horizon, clock_skew, tenants, issuers, stale_after, source_stale_after } =
        &scenario.rules;
    let template = Issuer {
        name: "https://login.example/{tenant}",
        tenants: Speaks::InName,
        issue_time_skew: 0,
        marks: false,
        one_hour: Vec::new(),
        exceptions: None,
    };
    World {
        now: scenario.now.millis().into(),
        horizon: horizon.map_or(30 * 3600, seconds),
        skew: clock_skew.map_or(300, seconds),
        issuers: issuers
            .as_ref()
            .map_or_else(|| vec![template], |issuers| issuers.iter().map(issuer).collect()),
        served: tenants.as_deref().map(texts),
        caught_up: scenario.ready,
        has_heartbeats: true,
        countries: scenario.countries.as_ref().map(|countries| {
            countries.iter().map(|(network, country)| (text(network), text(country))).collect()
        }),
        log_age: scenario.log_age().into(),
        stale_after: [stale_after.map_or(300, seconds), source_stale_after.map_or(900, seconds)],
        anchors: Vec::new(),
        told: Vec::new(),
    }
}

/// A scenario's events.
pub fn events(scenario: &Scenario) -> Vec<Event> {
    let message = |event: &scenario::Event| event.message(scenario.now).expect("an event");
    scenario.events.iter().map(message).map(|message| event(&message)).collect()
}

/// What a scenario asks.
pub fn request(scenario: &Scenario) -> Request {
    let v1::TokenClaims {
        iss,
        tid,
        sub,
        iat,
        exp,
        nbf,
        sid,
        jti,
        azp,
        deviceid,
        xms_cc,
        aud,
        ipaddr,
        acct,
        auth_time,
        idtyp,
        groups,
        wids,
        judged,
    } = scenario.token.claims();
    let optional = |claim: Option<String>| claim.map(|claim| text(&claim));
    let listed = |claim: Option<v1::ClaimValues>| claim.map(|claim| texts(&claim.values));
    Request {
        issuer: optional(iss),
        tenant: optional(tid),
        subject: optional(sub),
        issued_at: iat.map(Into::into),
        expires: exp.map(Into::into),
        not_before: nbf.map(Into::into),
        session: optional(sid),
        token: optional(jti),
        client: optional(azp),
        device: optional(deviceid),
        cp1: xms_cc.iter().any(|value| value.to_lowercase() == "cp1"),
        audiences: texts(&aud),
        address: optional(ipaddr),
        guest: acct == Some(1),
        authenticated: auth_time.map(Into::into),
        workload: idtyp.as_deref() == Some("app"),
        groups: listed(groups),
        roles: listed(wids),
        judged: optional(judged),
        from: match scenario.from.as_deref() {
            None | Some("unknown") => From::Unknown,
            Some("none by nature") => From::Nowhere,
            Some(address) => From::At(text(address)),
        },
        belief: scenario.belief,
        ..profile(scenario)
    }
}

/// What the resource enforces. A shipped profile that the request names counts alone.
fn profile(scenario: &Scenario) -> Request {
    if let Some(name) = &scenario.named_profile {
        return shipped(name);
    }
    let scenario::Profile {
        risk_threshold,
        device_compliance,
        incapable_clients,
        base,
        applications,
        revocation,
        user_risk,
        device,
        location,
        strict_location,
        incapable,
        outdated_grace,
        lifetime_max,
        lifetime_plain,
        when_stale,
    } = &scenario.profile;
    let base = base.as_deref().map_or_else(unnamed, shipped);
    let [revoked, risk, devices] = base.enforced;
    let [long, plain] = base.lifetimes;
    Request {
        risk_threshold: match risk_threshold.as_deref() {
            Some("low") => RiskLevel::Low,
            Some("medium") => RiskLevel::Medium,
            Some("high") | None => base.risk_threshold,
            Some(other) => panic!("`{other}` is no risk threshold"),
        },
        device_compliance: *device_compliance,
        incapable_clients: texts(incapable_clients),
        applications: applications.as_deref().map_or(base.applications, texts),
        enforced: [
            revocation.unwrap_or(revoked),
            user_risk.unwrap_or(risk),
            device.unwrap_or(devices),
        ],
        location: match location.as_deref() {
            Some("supported") => LocationClass::Supported,
            Some("when_strict") => LocationClass::WhenStrict,
            Some("unsupported") => LocationClass::Unsupported,
            Some(other) => panic!("`{other}` is no class of location"),
            None => base.location,
        },
        strict: strict_location.unwrap_or(base.strict),
        incapable: match incapable.as_deref() {
            Some("lifetime") => Incapable::Lifetime,
            Some("enforce") | None => Incapable::Enforce,
            Some(other) => panic!("`{other}` is nothing to do with incapable clients"),
        },
        grace: outdated_grace.map_or(base.grace, seconds),
        when_stale: match when_stale.as_deref() {
            Some("lifetime") | None => WhenStale::Lifetime,
            Some("deny") => WhenStale::Deny,
            Some("allow") => WhenStale::Allow,
            Some(other) => panic!("`{other}` is nothing to do when stale"),
        },
        lifetimes: [lifetime_max.map_or(long, seconds), lifetime_plain.map_or(plain, seconds)],
        ..Request::default()
    }
}

/// P2, D8, P8: what counts where nothing is configured.
fn unnamed() -> Request {
    Request { lifetimes: [28 * 3600, 90 * 60], grace: 2 * 3600, ..Request::default() }
}

/// P2: the shipped profiles, as Microsoft documents its resources.
fn shipped(name: &str) -> Request {
    use LocationClass::{Supported, Unsupported, WhenStrict};
    let (resource, user_risk, location) = match name {
        "exchange" => ("00000002-0000-0ff1-ce00-000000000000", true, Supported),
        "sharepoint" => ("00000003-0000-0ff1-ce00-000000000000", false, Supported),
        "sharepoint-web" => ("00000003-0000-0ff1-ce00-000000000000", false, WhenStrict),
        "teams" => ("cc15fd57-2c6c-4117-a88c-83b1d56b4bbe", true, Supported),
        "teams-calls" => ("cc15fd57-2c6c-4117-a88c-83b1d56b4bbe", true, Unsupported),
        "dataverse" => ("00000007-0000-0000-c000-000000000000", true, Supported),
        "graph" => ("00000003-0000-0000-c000-000000000000", true, Supported),
        _ => panic!("`{name}` is no shipped profile"),
    };
    let of_office = !matches!(name, "dataverse" | "graph");
    Request {
        applications: [resource].into_iter().chain(of_office.then_some(OFFICE)).collect(),
        enforced: [true, user_risk, true],
        location,
        ..unnamed()
    }
}

fn issuer(issuer: &scenario::Issuer) -> Issuer {
    let scenario::Issuer {
        issuer,
        tenants,
        issue_time_skew,
        authorization_uri: _,
        judged_by_mark,
        one_hour_means_judged,
        exception_ranges,
    } = issuer;
    Issuer {
        name: text(issuer),
        tenants: match tenants {
            None => Speaks::InName,
            Some(Tenants::Listed(tenants)) => Speaks::For(texts(tenants)),
            Some(Tenants::Word(_)) => Speaks::ForAll,
        },
        issue_time_skew: issue_time_skew.map_or(0, seconds),
        marks: *judged_by_mark,
        one_hour: texts(one_hour_means_judged),
        exceptions: exception_ranges.as_deref().map(texts),
    }
}

fn event(message: &v1::Event) -> Event {
    // E14.
    let millis = |time: i64| -> Millis {
        let time = Millis::from(time);
        if time < 100_000_000_000 { time * 1000 } else { time }
    };
    let v1::Event { id, tenant, source, event_time_ms, received_ms, fact } = message;
    let received = millis(*received_ms);
    Event {
        tenant: text(tenant),
        source: text(source),
        id: text(id),
        occurred: if *event_time_ms == 0 { received } else { millis(*event_time_ms) },
        received,
        what: what(fact.as_ref().expect("an event says what happened")),
    }
}

fn what(fact: &Fact) -> What {
    use RevocationCause as Cause;
    let revoked = |user: &String, cause| What::UserRevoked(text(user), cause);
    let finer = |finer, user: &String| What::Revoked(finer, (!user.is_empty()).then(|| text(user)));
    match fact {
        Fact::AccountDisabled(it) => What::Account(text(&it.user), AccountState::Disabled),
        Fact::AccountDeleted(it) => What::Account(text(&it.user), AccountState::Deleted),
        Fact::AccountEnabled(it) => What::Account(text(&it.user), AccountState::Enabled),
        Fact::PasswordChanged(it) => revoked(&it.user, Cause::PasswordChanged),
        Fact::PasswordReset(it) => revoked(&it.user, Cause::PasswordReset),
        Fact::SessionsRevoked(it) => revoked(&it.user, Cause::SessionsRevoked),
        Fact::MfaEnabled(it) => revoked(&it.user, Cause::MfaEnabled),
        Fact::AuthenticatorChanged(it) => revoked(&it.user, Cause::AuthenticatorChanged),
        Fact::TokenClaimsChanged(it) => revoked(&it.user, Cause::TokenClaimsChanged),
        Fact::AssuranceLowered(it) => revoked(&it.user, Cause::AssuranceLowered),
        Fact::UserRiskChanged(it) => What::Risk(
            text(&it.user),
            match it.level() {
                v1::RiskLevel::Low => RiskLevel::Low,
                v1::RiskLevel::Medium => RiskLevel::Medium,
                v1::RiskLevel::High => RiskLevel::High,
                v1::RiskLevel::Unspecified => panic!("a risk without a level"),
            },
        ),
        Fact::SessionRevoked(it) => {
            finer(Finer::Session(text(&it.issuer), text(&it.session)), &it.user)
        }
        Fact::TokenRevoked(it) => finer(Finer::Token(text(&it.issuer), text(&it.token)), &it.user),
        Fact::ClientRevoked(it) => finer(Finer::Client(text(&it.client)), &it.user),
        Fact::DeviceRevoked(it) => finer(Finer::Device(text(&it.device)), &it.user),
        Fact::TenantRevoked(_) => What::TenantRevoked,
        Fact::DeviceDisabled(it) => What::Device(text(&it.device), DeviceState::Disabled),
        Fact::DeviceDeleted(it) => What::Device(text(&it.device), DeviceState::Deleted),
        Fact::DeviceCleared(it) => What::Device(text(&it.device), DeviceState::Cleared),
        Fact::DeviceCompliant(it) => What::Compliance(text(&it.device), Compliance::Compliant),
        Fact::DeviceNotCompliant(it) => {
            What::Compliance(text(&it.device), Compliance::NotCompliant)
        }
        Fact::Heartbeat(it) => What::Heartbeat(
            it.partition,
            match it.state() {
                v1::StreamState::Unspecified | v1::StreamState::Enabled => Stream::Enabled,
                v1::StreamState::Paused => Stream::Paused,
                v1::StreamState::Disabled => Stream::Disabled,
                v1::StreamState::Ended => Stream::Ended,
            },
        ),
        Fact::SourceDeclared(it) => What::Source(
            text(&it.name),
            Declaration {
                declared: it.declared,
                emits_enabled: it.emits_enabled,
                emits_device_clear: it.emits_device_clear,
                retired: (it.retired_ms != 0).then(|| it.retired_ms.into()),
            },
        ),
        Fact::MemberAdded(it) => What::Member(text(&it.group), text(&it.user), true),
        Fact::MemberRemoved(it) => What::Member(text(&it.group), text(&it.user), false),
        Fact::PolicyChanged(_)
        | Fact::PolicyDeleted(_)
        | Fact::LocationChanged(_)
        | Fact::LocationDeleted(_)
        | Fact::MfaTrustedRangesChanged(_)
        | Fact::MfaTrustedRangesDeleted(_)
        | Fact::TenantSettings(_)
        | Fact::TenantSettingsDeleted(_)
        | Fact::GroupRead(_) => {
            let (told, part) = told(fact);
            What::Told(Box::leak(Box::new(told)), part)
        }
    }
}

fn told(fact: &Fact) -> (Told, Part) {
    match fact {
        Fact::PolicyChanged(it) => {
            (Told::Policy(text(&it.policy), Some(policy(it))), part(it.part.as_ref()))
        }
        Fact::PolicyDeleted(it) => (Told::Policy(text(&it.policy), None), Part::WHOLE),
        Fact::LocationChanged(it) => {
            let ranges = it.ranges.as_ref().map(|ranges| texts(&ranges.cidrs));
            let countries = it.countries.as_ref().map(|it| (texts(&it.codes), it.include_unknown));
            let location = Location { trusted: it.trusted, ranges, countries };
            (Told::Location(text(&it.location), Some(location)), part(it.part.as_ref()))
        }
        Fact::LocationDeleted(it) => (Told::Location(text(&it.location), None), Part::WHOLE),
        Fact::MfaTrustedRangesChanged(it) => {
            (Told::MfaTrusted(Some(texts(&it.cidrs))), part(it.part.as_ref()))
        }
        Fact::MfaTrustedRangesDeleted(_) => (Told::MfaTrusted(None), Part::WHOLE),
        Fact::TenantSettings(it) => (Told::Settings(Some(settings(it))), part(it.part.as_ref())),
        Fact::TenantSettingsDeleted(_) => (Told::Settings(None), Part::WHOLE),
        Fact::GroupRead(it) => {
            (Told::Group(text(&it.group), texts(&it.members)), part(it.part.as_ref()))
        }
        other => panic!("nothing of a directory: {other:?}"),
    }
}

fn policy(it: &v1::PolicyChanged) -> Policy {
    let users = it.users.clone().unwrap_or_default();
    let workloads = it.workloads.clone().unwrap_or_default();
    let applications = it.applications.clone().unwrap_or_default();
    Policy {
        mode: match it.state() {
            v1::PolicyState::Enabled => PolicyMode::Enabled,
            v1::PolicyState::ReportOnly => PolicyMode::ReportOnly,
            v1::PolicyState::Disabled => PolicyMode::Disabled,
            v1::PolicyState::Unspecified => panic!("a policy without a state"),
        },
        include: [&users.include_users, &users.include_groups, &users.include_roles]
            .map(|names| words(names)),
        exclude: [&users.exclude_users, &users.exclude_groups, &users.exclude_roles]
            .map(|names| words(names)),
        workloads: [&workloads.include, &workloads.exclude].map(|names| words(names)),
        applications: [&applications.include, &applications.exclude].map(|names| words(names)),
        user_action: !applications.user_actions.is_empty(),
        places: it.locations.as_ref().map(|it| [texts(&it.include), texts(&it.exclude)]),
        narrowed: !it.other_conditions.is_empty(),
        controls: texts(&it.grant_controls),
        all_controls: it.require_all_controls,
        frequency: if it.sign_in_every_time {
            Some(Frequency::EveryTime)
        } else {
            let frequency = it.sign_in_frequency_s;
            (frequency > 0).then(|| Frequency::Within(Duration::from_secs(frequency)))
        },
        evaluation: match it.cae() {
            v1::CaeControl::Unspecified => Evaluation::Unset,
            v1::CaeControl::Disabled => Evaluation::Disabled,
            v1::CaeControl::Strict => Evaluation::Strict,
        },
    }
}

fn settings(it: &v1::TenantSettings) -> Settings {
    let selected = |it: &v1::UsersAndGroups| [texts(&it.users), texts(&it.groups)];
    Settings {
        mode: match it.cae() {
            v1::CaeMode::Unspecified | v1::CaeMode::On => Mode::On,
            v1::CaeMode::ReportOnly => Mode::ReportOnly,
            v1::CaeMode::Off => Mode::Off,
        },
        only: it.only.as_ref().map(selected),
        except: it.except.as_ref().map(selected).unwrap_or_default(),
        strict: it.strict_location,
        incapable: match it.incapable_clients() {
            v1::IncapableClients::Lifetime => Incapable::Lifetime,
            v1::IncapableClients::Unspecified | v1::IncapableClients::Enforce => Incapable::Enforce,
        },
    }
}

fn part(part: Option<&v1::Part>) -> Part {
    part.map_or(Part::WHOLE, |v1::Part { version, index, count }| Part {
        version: text(version),
        index: *index,
        count: *count,
    })
}

/// Ids, with the words that stand for everybody of a kind.
fn words(names: &[String]) -> Vec<Text> {
    let named = names.iter().filter(|name| *name != "None");
    let word = |name: &String| match name.as_str() {
        "GuestsOrExternalUsers" => "Guests",
        "ServicePrincipalsInMyTenant" => "Workloads",
        name => text(name),
    };
    named.map(word).collect()
}

fn seconds(length: Length) -> Seconds {
    length.seconds().into()
}

fn texts(all: &[String]) -> Vec<Text> {
    all.iter().map(|one| text(one)).collect()
}

/// A scenario lives as long as the process, so that its events are plain values.
fn text(one: &str) -> Text {
    String::leak(one.to_owned())
}
