//! A scenario as core's own values: its rules, its profile, its events, its request.
//!
//! Invariant: events become facts by the decoder that reads them from a log.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use caed_core::builder::Builder;
use caed_core::countries::{Countries, Country};
use caed_core::event::{Event, RiskLevel};
use caed_core::freshness::{At, StaleAfter, WhenStale};
use caed_core::ids::{Name, ObjectKey};
use caed_core::index::ranges::RangeSet;
use caed_core::limits;
use caed_core::policy::Incapable;
use caed_core::position::{Offset, Partition, Position};
use caed_core::request::{AccessRequest, Seen};
use caed_core::rules::{Issuer, IssuerTenants, Issuers, Judged, LocationClass, Profile, Rules};
use caed_core::time::UnixMillis;
use caed_decode::{claims, native};
use caed_proto::v1;

use crate::border;
use crate::scenario::{self, Scenario, Tenants};
use crate::world::Belief;

/// The events, and what an operator is told of them.
pub fn events(
    scenario: &Scenario,
    rules: &Rules,
) -> Result<(Vec<Event>, BTreeSet<String>), String> {
    let (mut events, mut reported) = (Vec::new(), BTreeSet::new());
    for event in &scenario.events {
        let message = event.message(scenario.now).map_err(|error| format!("  event: {error}"))?;
        let decoded = native::event_of(message).map_err(|error| format!("  event: {error}"))?;
        let event = decoded.event;
        for (holds, notice) in [
            (decoded.time_read_as_seconds, "time_read_as_seconds"),
            (event.cutoff_is_clamped(), "cutoff_set_to_receipt"),
            (event.is_late(rules.horizon), "older_than_horizon"),
            (event.misses_tokens_without_claim(), "misses_tokens_without_claim"),
        ] {
            if holds {
                reported.insert(notice.to_owned());
            }
        }
        events.push(event);
    }
    Ok((events, reported))
}

/// Applies events in this order, each at the next place of its log.
pub fn apply<'e>(builder: &mut Builder, events: impl IntoIterator<Item = &'e Event>) {
    for (offset, event) in (0..).map(Offset).zip(events) {
        let position = Position { partition: Partition::default(), offset };
        builder.apply(position, event.received, event);
    }
}

/// Hands the request over in core's own types.
pub fn with<T>(
    asked: &v1::TokenClaims,
    belief: Belief,
    profile: &Profile,
    seen: Seen,
    then: impl FnOnce(&AccessRequest<'_>) -> T,
) -> T {
    let token = border::believed(belief, || claims::token(asked));
    then(&AccessRequest { token, profile, seen })
}

/// Where the request comes from.
pub fn seen(scenario: &Scenario) -> Seen {
    match scenario.from.as_deref() {
        None | Some("unknown") => Seen::Unknown,
        Some("none by nature") => Seen::NoneByNature,
        Some(address) => Seen::At(address.parse::<IpAddr>().expect("an address").to_canonical()),
    }
}

/// When it is asked.
pub fn now(scenario: &Scenario) -> UnixMillis {
    UnixMillis::from_millis(u64::try_from(scenario.now.millis()).expect("after 1970"))
}

/// In which countries addresses are, where there is a database.
pub fn countries(scenario: &Scenario) -> Option<Arc<Countries>> {
    let networks = scenario.countries.as_ref()?.iter().map(|(network, country)| {
        let country = Country::parse(country).expect("a country");
        (network.parse().expect("a network"), country)
    });
    Some(Arc::new(Countries::new(networks).expect("networks that don't overlap")))
}

/// When it is asked, and how old what is known is then.
pub fn at(scenario: &Scenario) -> At {
    let log_age = u64::try_from(scenario.log_age()).expect("an age");
    At { now: now(scenario), log_age: Duration::from_millis(log_age) }
}

/// What the operator decided.
pub fn rules(scenario: &Scenario) -> Rules {
    let scenario::Rules { horizon, clock_skew, tenants, issuers, stale_after, source_stale_after } =
        &scenario.rules;
    let seconds = |length: scenario::Length| Duration::from_secs(length.seconds());
    let default = scenario::Issuer {
        issuer: "https://login.example/{tenant}".to_owned(),
        tenants: None,
        issue_time_skew: None,
        authorization_uri: None,
        judged_by_mark: false,
        one_hour_means_judged: Vec::new(),
        exception_ranges: None,
    };
    let issuers = issuers.clone().unwrap_or_else(|| vec![default]);
    let issuers = issuers.into_iter().map(|issuer| Issuer {
        name: issuer.issuer,
        tenants: match issuer.tenants {
            None => IssuerTenants::InName,
            Some(Tenants::Listed(tenants)) => IssuerTenants::Named(names(&tenants)),
            Some(Tenants::Word(word)) => {
                assert_eq!(word, "all", "tenants of an issuer");
                IssuerTenants::All
            }
        },
        issue_time_skew: issuer.issue_time_skew.map(seconds).unwrap_or_default(),
        authorization_uri: issuer.authorization_uri,
        judged: Judged {
            by_mark: issuer.judged_by_mark,
            one_hour_audiences: issuer.one_hour_means_judged.into_iter().collect(),
            exception_ranges: issuer
                .exception_ranges
                .map(|texts| RangeSet::parse(texts.iter().map(String::as_str)).expect("ranges")),
        },
    });
    Rules {
        horizon: horizon.map_or(limits::HORIZON_DEFAULT, seconds),
        clock_skew: clock_skew.map_or(limits::CLOCK_SKEW_DEFAULT, seconds),
        issuers: Issuers::new(issuers).expect("issuers that can be meant"),
        tenants: tenants.as_deref().map(names),
        stale_after: StaleAfter {
            log: stale_after.map_or(StaleAfter::default().log, seconds),
            source: source_stale_after.map_or(StaleAfter::default().source, seconds),
        },
    }
}

fn names<C: FromIterator<Name>>(names: &[String]) -> C {
    names.iter().map(|name| Name::parse(name).expect("a name")).collect()
}

/// What the resource enforces.
pub fn profile(scenario: &Scenario) -> Profile {
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
    let base = base.as_deref().map(|name| Profile::shipped(name).expect("a shipped profile"));
    let base = base.unwrap_or_default();
    let seconds = |length: scenario::Length| Duration::from_secs(length.seconds());
    let risk_threshold = match risk_threshold.as_deref() {
        Some("low") => RiskLevel::Low,
        Some("medium") => RiskLevel::Medium,
        Some("high") | None => RiskLevel::High,
        Some(other) => panic!("`{other}` is no risk threshold"),
    };
    let keys = incapable_clients.iter().map(|client| ObjectKey::parse(client).expect("an id"));
    Profile {
        risk_threshold,
        device_compliance: *device_compliance,
        incapable_clients: keys.collect(),
        applications: applications.as_ref().map_or(base.applications, |ids| {
            ids.iter().map(|id| ObjectKey::parse(id).expect("an id")).collect()
        }),
        revocation: revocation.unwrap_or(base.revocation),
        user_risk: user_risk.unwrap_or(base.user_risk),
        device: device.unwrap_or(base.device),
        location: match location.as_deref() {
            Some("supported") => LocationClass::Supported,
            Some("when_strict") => LocationClass::WhenStrict,
            Some("unsupported") => LocationClass::Unsupported,
            Some(other) => panic!("`{other}` is no class of location"),
            None => base.location,
        },
        strict: strict_location.unwrap_or(base.strict),
        when_stale: match when_stale.as_deref() {
            Some("lifetime") | None => WhenStale::Lifetime,
            Some("deny") => WhenStale::Deny,
            Some("allow") => WhenStale::Allow,
            Some(other) => panic!("`{other}` is nothing to do when stale"),
        },
        long_lifetime: lifetime_max.map_or(base.long_lifetime, seconds),
        plain_lifetime: lifetime_plain.map_or(base.plain_lifetime, seconds),
        outdated_grace: outdated_grace.map_or(base.outdated_grace, seconds),
        incapable: match incapable.as_deref() {
            Some("lifetime") => Incapable::Lifetime,
            Some("enforce") | None => Incapable::Enforce,
            Some(other) => panic!("`{other}` is nothing to do with incapable clients"),
        },
    }
}
