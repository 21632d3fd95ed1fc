//! What a directory holds, in the native form: policies, locations, settings, groups.
//!
//! Words that stand for something else than an id (`All`, `AllTrusted`) are read here, and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use caed_core::event::Fact;
use caed_core::ids::ObjectKey;
use caed_core::index::ranges::{InvalidRange, RangeSet};
use caed_core::limits;
use caed_core::policy::{
    Applications, Body, Evaluation, Frequency, Grant, Incapable, Location, Membership, Mode, Part,
    Persons, Place, PlaceList, Places, Policy, PolicyMode, Selected, Settings, Users, Version,
    Workloads,
};
use caed_proto::v1;

use crate::native::{InvalidEvent, field, key, name};

pub(crate) const ALL: &str = "All";
const NONE: &str = "None";
pub(crate) const GUESTS: &str = "GuestsOrExternalUsers";
pub(crate) const ALL_TRUSTED: &str = "AllTrusted";
pub(crate) const WORKLOADS: &str = "ServicePrincipalsInMyTenant";
const BLOCK: &str = "block";
const COMPLIANT_DEVICE: &str = "compliantDevice";

pub(crate) fn policy_changed(message: v1::PolicyChanged) -> Result<Fact, InvalidEvent> {
    const GRANT: &str = "policy_changed.grant_controls";
    let v1::PolicyChanged {
        policy,
        state,
        users,
        workloads,
        applications,
        locations,
        other_conditions,
        grant_controls,
        require_all_controls,
        sign_in_frequency_s,
        sign_in_every_time,
        cae,
        display_name,
        part,
    } = message;
    let mode = match v1::PolicyState::try_from(state) {
        Ok(v1::PolicyState::Enabled) => PolicyMode::Enabled,
        Ok(v1::PolicyState::ReportOnly) => PolicyMode::ReportOnly,
        Ok(v1::PolicyState::Disabled) => PolicyMode::Disabled,
        Ok(v1::PolicyState::Unspecified) | Err(_) => {
            let problem = "must be enabled, report only or disabled";
            return Err(field("policy_changed.state", problem.to_owned()));
        }
    };
    let evaluation = match v1::CaeControl::try_from(cae) {
        Ok(v1::CaeControl::Unspecified) => Evaluation::Unset,
        Ok(v1::CaeControl::Disabled) => Evaluation::Disabled,
        // An unknown one is taken for the strictest (P9).
        Ok(v1::CaeControl::Strict) | Err(_) => Evaluation::Strict,
    };
    if grant_controls.iter().any(String::is_empty) {
        return Err(field(GRANT, "holds an empty name; leave it out".to_owned()));
    }
    let id = key("policy_changed.policy", &policy)?;
    let body = Policy {
        id: name("policy_changed.policy", &policy)?,
        mode,
        users: users_of(users.unwrap_or_default())?,
        workloads: workloads_of(workloads.unwrap_or_default())?,
        applications: applications_of(applications.unwrap_or_default())?,
        locations: locations.map(places_of).transpose()?,
        narrowing: other_conditions,
        grant: grant_of(&grant_controls, require_all_controls),
        controls: grant_controls,
        all_controls: require_all_controls,
        frequency: if sign_in_every_time {
            Some(Frequency::EveryTime)
        } else {
            let within =
                (sign_in_frequency_s > 0).then(|| Duration::from_secs(sign_in_frequency_s));
            within.map(Frequency::Within)
        },
        evaluation,
    };
    titled(part, Body::Policy(id, Some(Arc::new(body))), display_name)
}

pub(crate) fn policy_deleted(message: v1::PolicyDeleted) -> Result<Fact, InvalidEvent> {
    let v1::PolicyDeleted { policy } = message;
    version(None, Body::Policy(key("policy_deleted.policy", &policy)?, None))
}

pub(crate) fn location_changed(message: v1::LocationChanged) -> Result<Fact, InvalidEvent> {
    let v1::LocationChanged { location, trusted, ranges, countries, display_name, part } = message;
    let place = match (ranges, countries) {
        (Some(v1::IpRanges { cidrs }), None) => {
            Place::Ranges(ranges_of("location_changed.ranges.cidrs", &cidrs)?)
        }
        (None, Some(v1::Countries { codes, include_unknown })) => {
            Place::Countries { codes, or_unknown: include_unknown }
        }
        (None, None) => Place::Unknowable,
        (Some(_), Some(_)) => {
            let problem = "stands beside countries; give one of them";
            return Err(field("location_changed.ranges", problem.to_owned()));
        }
    };
    let id = key("location_changed.location", &location)?;
    titled(part, Body::Location(id, Some(Location { trusted, place })), display_name)
}

pub(crate) fn location_deleted(message: v1::LocationDeleted) -> Result<Fact, InvalidEvent> {
    let v1::LocationDeleted { location } = message;
    version(None, Body::Location(key("location_deleted.location", &location)?, None))
}

pub(crate) fn mfa_trusted(message: &v1::MfaTrustedRangesChanged) -> Result<Fact, InvalidEvent> {
    let v1::MfaTrustedRangesChanged { cidrs, part } = message;
    let ranges = ranges_of("mfa_trusted_ranges_changed.cidrs", cidrs)?;
    version(part.clone(), Body::MfaTrusted(Some(ranges)))
}

pub(crate) fn mfa_trusted_deleted() -> Result<Fact, InvalidEvent> {
    version(None, Body::MfaTrusted(None))
}

pub(crate) fn tenant_settings(message: v1::TenantSettings) -> Result<Fact, InvalidEvent> {
    let v1::TenantSettings { cae, only, except, strict_location, incapable_clients, part } =
        message;
    let mode = match v1::CaeMode::try_from(cae) {
        Ok(v1::CaeMode::Unspecified | v1::CaeMode::On) => Mode::On,
        Ok(v1::CaeMode::ReportOnly) => Mode::ReportOnly,
        Ok(v1::CaeMode::Off) => Mode::Off,
        Err(_) => {
            let problem = "must be on, report only or off";
            return Err(field("tenant_settings.cae", problem.to_owned()));
        }
    };
    let incapable = match v1::IncapableClients::try_from(incapable_clients) {
        Ok(v1::IncapableClients::Unspecified | v1::IncapableClients::Enforce) => Incapable::Enforce,
        Ok(v1::IncapableClients::Lifetime) => Incapable::Lifetime,
        Err(_) => {
            let problem = "must be enforce or lifetime";
            return Err(field("tenant_settings.incapable_clients", problem.to_owned()));
        }
    };
    let settings = Settings {
        mode,
        only: only.map(|only| selected("tenant_settings.only", &only)).transpose()?,
        except: selected("tenant_settings.except", &except.unwrap_or_default())?,
        strict: strict_location,
        incapable,
    };
    version(part, Body::Settings(Some(Arc::new(settings))))
}

pub(crate) fn tenant_settings_deleted() -> Result<Fact, InvalidEvent> {
    version(None, Body::Settings(None))
}

pub(crate) fn group_read(message: &v1::GroupRead) -> Result<Fact, InvalidEvent> {
    let v1::GroupRead { group, members, part } = message;
    let members = keys("group_read.members", members)?;
    version(part.clone(), Body::Group(key("group_read.group", group)?, Arc::new(members)))
}

pub(crate) fn member_added(message: &v1::MemberAdded) -> Result<Fact, InvalidEvent> {
    let v1::MemberAdded { group, user } = message;
    Ok(Fact::Member {
        group: key("member_added.group", group)?,
        user: key("member_added.user", user)?,
        membership: Membership::Added,
    })
}

pub(crate) fn member_removed(message: &v1::MemberRemoved) -> Result<Fact, InvalidEvent> {
    let v1::MemberRemoved { group, user } = message;
    Ok(Fact::Member {
        group: key("member_removed.group", group)?,
        user: key("member_removed.user", user)?,
        membership: Membership::Removed,
    })
}

fn version(part: Option<v1::Part>, body: Body) -> Result<Fact, InvalidEvent> {
    titled(part, body, String::new())
}

/// A version of something that people have a name for.
fn titled(part: Option<v1::Part>, body: Body, title: String) -> Result<Fact, InvalidEvent> {
    if title.len() > limits::ID_BYTES_MAX {
        let problem =
            format!("has {} bytes; at most {} are kept", title.len(), limits::ID_BYTES_MAX);
        return Err(field("display_name", problem));
    }
    if title.contains(char::is_control) {
        return Err(field("display_name", "holds a control character".to_owned()));
    }
    let part = match part.unwrap_or_default() {
        v1::Part { count: 0 | 1, index: 0, .. } => Part::WHOLE,
        v1::Part { version, index, count } => {
            let problem = if count > limits::PARTS_MAX {
                format!("is {count}; at most {} parts make a version", limits::PARTS_MAX)
            } else if index >= count {
                format!("is {count}, and the index {index}; count from 0")
            } else {
                name("part.version", &version)?;
                return Ok(Fact::Version(Version {
                    part: Part { version, index, count },
                    body,
                    title,
                }));
            };
            return Err(field("part.count", problem));
        }
    };
    Ok(Fact::Version(Version { part, body, title }))
}

fn users_of(users: v1::PolicyUsers) -> Result<Users, InvalidEvent> {
    let v1::PolicyUsers {
        include_users,
        exclude_users,
        include_groups,
        exclude_groups,
        include_roles,
        exclude_roles,
    } = users;
    let list = "policy_changed.users";
    Ok(Users {
        include: persons(list, &include_users, &include_groups, &include_roles)?,
        exclude: persons(list, &exclude_users, &exclude_groups, &exclude_roles)?,
    })
}

fn persons(
    field: &'static str,
    users: &[String],
    groups: &[String],
    roles: &[String],
) -> Result<Persons, InvalidEvent> {
    Ok(Persons {
        all: holds(users, ALL),
        guests: holds(users, GUESTS),
        users: others(field, users, &[ALL, GUESTS, NONE])?,
        groups: keys(field, groups)?,
        roles: keys(field, roles)?,
    })
}

fn workloads_of(workloads: v1::PolicyWorkloads) -> Result<Workloads, InvalidEvent> {
    let v1::PolicyWorkloads { include, exclude } = workloads;
    Ok(Workloads {
        all: holds(&include, WORKLOADS),
        include: others("policy_changed.workloads.include", &include, &[WORKLOADS, NONE])?,
        exclude: keys("policy_changed.workloads.exclude", &exclude)?,
    })
}

fn applications_of(applications: v1::PolicyApplications) -> Result<Applications, InvalidEvent> {
    let v1::PolicyApplications { include, exclude, user_actions } = applications;
    Ok(Applications {
        all: holds(&include, ALL),
        include: others("policy_changed.applications.include", &include, &[ALL, NONE])?,
        exclude_all: holds(&exclude, ALL),
        exclude: others("policy_changed.applications.exclude", &exclude, &[ALL, NONE])?,
        user_action: !user_actions.is_empty(),
    })
}

fn places_of(locations: v1::PolicyLocations) -> Result<Places, InvalidEvent> {
    let v1::PolicyLocations { include, exclude } = locations;
    let list = |field, names: &[String]| {
        Ok(PlaceList {
            all: holds(names, ALL),
            all_trusted: holds(names, ALL_TRUSTED),
            ids: others(field, names, &[ALL, ALL_TRUSTED])?,
        })
    };
    Ok(Places {
        include: list("policy_changed.locations.include", &include)?,
        exclude: list("policy_changed.locations.exclude", &exclude)?,
    })
}

fn grant_of(controls: &[String], require_all: bool) -> Grant {
    if controls.is_empty() {
        Grant::None
    } else if holds(controls, BLOCK) {
        Grant::Block
    } else if holds(controls, COMPLIANT_DEVICE) && (require_all || controls.len() == 1) {
        Grant::CompliantDevice
    } else {
        Grant::Other
    }
}

fn selected(field: &'static str, message: &v1::UsersAndGroups) -> Result<Selected, InvalidEvent> {
    let v1::UsersAndGroups { users, groups } = message;
    Ok(Selected { users: keys(field, users)?, groups: keys(field, groups)? })
}

fn ranges_of(name: &'static str, cidrs: &[String]) -> Result<Arc<RangeSet>, InvalidEvent> {
    let parsed = RangeSet::parse(cidrs.iter().map(String::as_str));
    // It quotes what stood there, which may be anything.
    let one_line = |error: &InvalidRange| error.to_string().replace(char::is_control, "\u{fffd}");
    parsed.map(Arc::new).map_err(|error| field(name, one_line(&error)))
}

fn holds(names: &[String], word: &str) -> bool {
    names.iter().any(|name| name == word)
}

/// The keys of everything that is none of these words.
fn others(
    field: &'static str,
    names: &[String],
    words: &[&str],
) -> Result<Vec<ObjectKey>, InvalidEvent> {
    let others = names.iter().filter(|name| !words.contains(&name.as_str()));
    others.map(|id| key(field, id)).collect()
}

fn keys(field: &'static str, ids: &[String]) -> Result<Vec<ObjectKey>, InvalidEvent> {
    ids.iter().map(|id| key(field, id)).collect()
}

/// What the time of a version must be, so that all of its parts have the same.
pub(crate) fn check_time(
    fact: &Fact,
    has_event_time: bool,
    is_ahead: bool,
) -> Result<(), InvalidEvent> {
    let Fact::Version(Version { part, body, title: _ }) = fact else { return Ok(()) };
    let problem = match (part.count > 1, body) {
        (_, Body::Group(..)) if !has_event_time => "is missing; give when the reading began",
        (true, _) if !has_event_time => "is missing; all parts of a version have the same",
        (true, _) if is_ahead => "is later than the receipt; all parts of a version have the same",
        _ => return Ok(()),
    };
    Err(field("event_time_ms", problem.to_owned()))
}

#[cfg(test)]
mod tests {
    use caed_core::event::Event;
    use caed_proto::v1::event::Fact as WireFact;

    use super::*;
    use crate::native::event_of;

    const AT: i64 = 1_760_000_000_000;

    fn message(fact: WireFact) -> v1::Event {
        v1::Event {
            id: String::new(),
            tenant: "contoso".to_owned(),
            source: "importer".to_owned(),
            event_time_ms: AT,
            received_ms: AT + 500,
            fact: Some(fact),
        }
    }

    fn policy() -> v1::PolicyChanged {
        v1::PolicyChanged {
            policy: "p-1".to_owned(),
            state: v1::PolicyState::Enabled.into(),
            ..v1::PolicyChanged::default()
        }
    }

    fn location(cidrs: &[&str]) -> v1::LocationChanged {
        let cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
        v1::LocationChanged {
            location: "hq".to_owned(),
            ranges: Some(v1::IpRanges { cidrs }),
            ..v1::LocationChanged::default()
        }
    }

    fn group(part: Option<v1::Part>) -> WireFact {
        let (group, members) = ("staff".to_owned(), vec!["anna".to_owned()]);
        WireFact::GroupRead(v1::GroupRead { group, members, part })
    }

    fn part(index: u32, count: u32) -> v1::Part {
        v1::Part { version: "v".to_owned(), index, count }
    }

    fn understood(fact: WireFact) -> Event {
        event_of(message(fact)).expect("valid").event
    }

    fn meant(policy: v1::PolicyChanged) -> Arc<Policy> {
        match understood(WireFact::PolicyChanged(policy)).fact {
            Fact::Version(Version { body: Body::Policy(_, Some(policy)), .. }) => policy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_fault_names_its_field() {
        let group_at = |event_time_ms, part| v1::Event { event_time_ms, ..message(group(part)) };
        let both = v1::LocationChanged {
            countries: Some(v1::Countries::default()),
            ..location(&["198.51.100.0/24"])
        };
        let users = v1::PolicyUsers { include_groups: vec![String::new()], ..Default::default() };
        let anonymous = v1::Part { version: String::new(), ..part(0, 2) };
        for (message, fault) in [
            (
                message(WireFact::PolicyChanged(v1::PolicyChanged { state: 0, ..policy() })),
                "policy_changed.state: must be",
            ),
            (
                message(WireFact::PolicyChanged(v1::PolicyChanged {
                    users: Some(users),
                    ..policy()
                })),
                "policy_changed.users: is empty",
            ),
            (
                message(WireFact::LocationChanged(location(&["198.51.100.0/33"]))),
                "location_changed.ranges.cidrs: `198.51.100.0/33` is no range",
            ),
            (message(WireFact::LocationChanged(both)), "location_changed.ranges: stands beside"),
            (
                message(WireFact::TenantSettings(v1::TenantSettings {
                    cae: 9,
                    ..Default::default()
                })),
                "tenant_settings.cae: must be",
            ),
            (group_at(0, None), "event_time_ms: is missing; give when the reading began"),
            (group_at(AT + 501, Some(part(0, 2))), "event_time_ms: is later than the receipt"),
            (group_at(AT, Some(part(2, 2))), "part.count: is 2, and the index 2"),
            (group_at(AT, Some(part(0, 1025))), "part.count: is 1025; at most 1024"),
            (group_at(AT, Some(anonymous)), "part.version: is empty"),
        ] {
            let text = event_of(message).expect_err(fault).to_string();
            assert!(text.starts_with(fault), "{text}");
        }
    }

    #[test]
    fn words_are_no_ids_and_grants_are_told_apart() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let users = v1::PolicyUsers {
            include_users: words(&["All", "GuestsOrExternalUsers", "None", "anna"]),
            ..v1::PolicyUsers::default()
        };
        let understood = meant(v1::PolicyChanged { users: Some(users), ..policy() });
        let Persons { all, guests, users, .. } = &understood.users.include;
        assert!(*all && *guests);
        assert_eq!(*users, [ObjectKey::parse("anna").expect("an id")]);
        for (controls, require_all_controls, grant) in [
            (&[][..], false, Grant::None),
            (&["block"], false, Grant::Block),
            (&["compliantDevice"], false, Grant::CompliantDevice),
            (&["mfa", "compliantDevice"], false, Grant::Other),
            (&["mfa", "compliantDevice"], true, Grant::CompliantDevice),
            (&["mfa"], true, Grant::Other),
        ] {
            let grant_controls = words(controls);
            let told = v1::PolicyChanged { grant_controls, require_all_controls, ..policy() };
            assert_eq!(meant(told).grant, grant, "{controls:?}");
        }
    }

    #[test]
    fn a_cae_control_that_nobody_knows_is_strict() {
        let told = v1::PolicyChanged { cae: 99, ..policy() };
        assert_eq!(meant(told).evaluation, Evaluation::Strict);
    }

    #[test]
    fn copies_of_a_version_share_their_key_and_every_difference_shows() {
        let keys: Vec<_> = [
            WireFact::PolicyChanged(policy()),
            WireFact::PolicyChanged(v1::PolicyChanged {
                grant_controls: vec!["mfa".to_owned()],
                ..policy()
            }),
            WireFact::PolicyDeleted(v1::PolicyDeleted { policy: "p-1".to_owned() }),
            WireFact::LocationChanged(location(&["198.51.100.0/24"])),
            WireFact::LocationChanged(location(&["198.51.100.0/25"])),
            WireFact::LocationChanged(v1::LocationChanged { trusted: true, ..location(&[]) }),
            WireFact::LocationChanged(location(&[])),
            WireFact::TenantSettings(v1::TenantSettings::default()),
            WireFact::TenantSettingsDeleted(v1::TenantSettingsDeleted {}),
            group(None),
            group(Some(part(0, 2))),
            group(Some(part(1, 2))),
        ]
        .into_iter()
        .map(|fact| {
            let key = understood(fact.clone()).record_key();
            assert_eq!(key, understood(fact).record_key());
            key
        })
        .collect();
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }
}
