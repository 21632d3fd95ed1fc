//! What is in force, as the events that tell it: [`native`](crate::native) backwards.
//!
//! INVARIANT: what is read from an event that was made here is what it was made of, but for what no decision
//! reads: the name of a user action.

use caed_core::event::Declaration;
use caed_core::export::{Statement, Word};
use caed_core::ids::ObjectKey;
use caed_core::index::ranges::RangeSet;
use caed_core::policy::{
    Applications, Body, Evaluation, Frequency, Incapable, Location, Membership, Mode, Persons,
    Place, PlaceList, Places, Policy, PolicyMode, Selected, Settings, Users, Workloads,
};
use caed_core::time::UnixMillis;
use caed_proto::v1;
use caed_proto::v1::event::Fact;

use crate::directory::{ALL, ALL_TRUSTED, GUESTS, WORKLOADS};

/// Stands for user actions: what they are called is not kept.
const USER_ACTION: &str = "user action";

/// Something that can't be told again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{object} names `{id}`: of ids that are no GUIDs and longer than 16 bytes only this is kept; tell it again from where it came"
)]
pub struct Hashed {
    object: String,
    id: ObjectKey,
}

/// The event that tells a statement. It may be too large for one record.
pub fn event(tenant: &str, source: &str, statement: &Statement) -> Result<v1::Event, Hashed> {
    let Statement { at, word, title } = statement;
    let fact = match word {
        Word::Source(name, declaration) => Ok(source_declared(name.as_str(), *declaration)),
        Word::Object(body) => object(body, title),
        Word::Member { group, user, membership } => member(*group, *user, *membership),
    };
    let fact = fact.map_err(|id| Hashed { object: name_of(word), id })?;
    Ok(v1::Event {
        id: String::new(),
        tenant: tenant.to_owned(),
        source: source.to_owned(),
        event_time_ms: millis(*at),
        received_ms: 0,
        fact: Some(fact),
    })
}

/// A tenant's settings, with its ids as `texts` writes them.
pub fn tenant_settings<E>(
    settings: &Settings,
    texts: impl Fn(&[ObjectKey]) -> Result<Vec<String>, E>,
) -> Result<v1::TenantSettings, E> {
    let selected = |Selected { users, groups }: &Selected| {
        Ok(v1::UsersAndGroups { users: texts(users)?, groups: texts(groups)? })
    };
    let Settings { mode, only, except, strict, incapable } = settings;
    let cae = match mode {
        Mode::On => v1::CaeMode::On,
        Mode::ReportOnly => v1::CaeMode::ReportOnly,
        Mode::Off => v1::CaeMode::Off,
    };
    let incapable = match incapable {
        Incapable::Enforce => v1::IncapableClients::Enforce,
        Incapable::Lifetime => v1::IncapableClients::Lifetime,
    };
    let is_nobody = except.users.is_empty() && except.groups.is_empty();
    Ok(v1::TenantSettings {
        cae: cae.into(),
        only: only.as_ref().map(selected).transpose()?,
        except: (!is_nobody).then(|| selected(except)).transpose()?,
        strict_location: *strict,
        incapable_clients: incapable.into(),
        part: None,
    })
}

fn name_of(word: &Word) -> String {
    match word {
        Word::Source(name, _) => format!("the declaration of source `{name}`"),
        Word::Object(Body::Policy(id, None)) => format!("policy `{id}`"),
        Word::Object(Body::Policy(_, Some(policy))) => format!("policy `{}`", policy.id),
        Word::Object(Body::Location(id, _)) => format!("location `{id}`"),
        Word::Object(Body::MfaTrusted(_)) => "the MFA-trusted ranges".to_owned(),
        Word::Object(Body::Settings(_)) => "the tenant's settings".to_owned(),
        Word::Object(Body::Group(id, _)) => format!("group `{id}`"),
        Word::Member { group, user: _, membership: _ } => {
            format!("a change of members of group `{group}`")
        }
    }
}

fn source_declared(name: &str, declaration: Declaration) -> Fact {
    let Declaration { declared, emits_enabled, emits_device_clear, retired } = declaration;
    Fact::SourceDeclared(v1::SourceDeclared {
        name: name.to_owned(),
        declared,
        emits_enabled,
        emits_device_clear,
        retired_ms: retired.map(millis).unwrap_or_default(),
    })
}

fn member(group: ObjectKey, user: ObjectKey, membership: Membership) -> Result<Fact, ObjectKey> {
    let (group, user) = (text(group)?, text(user)?);
    Ok(match membership {
        Membership::Added => Fact::MemberAdded(v1::MemberAdded { group, user }),
        Membership::Removed => Fact::MemberRemoved(v1::MemberRemoved { group, user }),
    })
}

fn object(body: &Body, title: &str) -> Result<Fact, ObjectKey> {
    let display_name = title.to_owned();
    Ok(match body {
        Body::Policy(_, Some(policy)) => {
            Fact::PolicyChanged(v1::PolicyChanged { display_name, ..policy_changed(policy)? })
        }
        Body::Policy(id, None) => Fact::PolicyDeleted(v1::PolicyDeleted { policy: text(*id)? }),
        Body::Location(id, Some(location)) => {
            Fact::LocationChanged(v1::LocationChanged { display_name, ..changed(*id, location)? })
        }
        Body::Location(id, None) => {
            Fact::LocationDeleted(v1::LocationDeleted { location: text(*id)? })
        }
        Body::MfaTrusted(Some(ranges)) => {
            let cidrs = cidrs(ranges);
            Fact::MfaTrustedRangesChanged(v1::MfaTrustedRangesChanged { cidrs, part: None })
        }
        Body::MfaTrusted(None) => Fact::MfaTrustedRangesDeleted(v1::MfaTrustedRangesDeleted {}),
        Body::Settings(Some(told)) => Fact::TenantSettings(tenant_settings(told, texts)?),
        Body::Settings(None) => Fact::TenantSettingsDeleted(v1::TenantSettingsDeleted {}),
        Body::Group(id, members) => Fact::GroupRead(v1::GroupRead {
            group: text(*id)?,
            members: texts(members)?,
            part: None,
        }),
    })
}

fn policy_changed(policy: &Policy) -> Result<v1::PolicyChanged, ObjectKey> {
    let Policy {
        id,
        mode,
        users: Users { include, exclude },
        workloads,
        applications,
        locations,
        narrowing,
        grant: _,
        controls,
        all_controls,
        frequency,
        evaluation,
    } = policy;
    let Workloads { all, include: workloads, exclude: not_workloads } = workloads;
    let users = v1::PolicyUsers {
        include_users: users(include)?,
        exclude_users: users(exclude)?,
        include_groups: texts(&include.groups)?,
        exclude_groups: texts(&exclude.groups)?,
        include_roles: texts(&include.roles)?,
        exclude_roles: texts(&exclude.roles)?,
    };
    let locations = locations.as_ref().map(|Places { include, exclude }| {
        let (include, exclude) = (places(include)?, places(exclude)?);
        Ok(v1::PolicyLocations { include, exclude })
    });
    Ok(v1::PolicyChanged {
        display_name: String::new(),
        policy: id.to_string(),
        state: policy_state(*mode).into(),
        users: Some(users),
        workloads: Some(v1::PolicyWorkloads {
            include: listed(&[(WORKLOADS, *all)], workloads)?,
            exclude: texts(not_workloads)?,
        }),
        applications: Some(applied(applications)?),
        locations: locations.transpose()?,
        other_conditions: narrowing.clone(),
        grant_controls: controls.clone(),
        require_all_controls: *all_controls,
        sign_in_frequency_s: match frequency {
            Some(Frequency::Within(within)) => within.as_secs(),
            Some(Frequency::EveryTime) | None => 0,
        },
        sign_in_every_time: *frequency == Some(Frequency::EveryTime),
        cae: cae_control(*evaluation).into(),
        part: None,
    })
}

fn users(persons: &Persons) -> Result<Vec<String>, ObjectKey> {
    let Persons { all, guests, users, groups: _, roles: _ } = persons;
    listed(&[(ALL, *all), (GUESTS, *guests)], users)
}

fn applied(applications: &Applications) -> Result<v1::PolicyApplications, ObjectKey> {
    let Applications { all, include, exclude_all, exclude, user_action } = applications;
    Ok(v1::PolicyApplications {
        include: listed(&[(ALL, *all)], include)?,
        exclude: listed(&[(ALL, *exclude_all)], exclude)?,
        user_actions: user_action.then(|| USER_ACTION.to_owned()).into_iter().collect(),
    })
}

fn places(list: &PlaceList) -> Result<Vec<String>, ObjectKey> {
    let PlaceList { all, all_trusted, ids } = list;
    listed(&[(ALL, *all), (ALL_TRUSTED, *all_trusted)], ids)
}

fn changed(id: ObjectKey, location: &Location) -> Result<v1::LocationChanged, ObjectKey> {
    let Location { trusted, place } = location;
    let (ranges, countries) = match place {
        Place::Ranges(ranges) => (Some(v1::IpRanges { cidrs: cidrs(ranges) }), None),
        Place::Countries { codes, or_unknown } => {
            let (codes, include_unknown) = (codes.clone(), *or_unknown);
            (None, Some(v1::Countries { codes, include_unknown }))
        }
        Place::Unknowable => (None, None),
    };
    let (location, trusted) = (text(id)?, *trusted);
    let display_name = String::new();
    Ok(v1::LocationChanged { location, trusted, ranges, countries, display_name, part: None })
}

fn cidrs(ranges: &RangeSet) -> Vec<String> {
    ranges.networks().map(|network| network.to_string()).collect()
}

/// Words that hold, and ids behind them.
fn listed(words: &[(&str, bool)], ids: &[ObjectKey]) -> Result<Vec<String>, ObjectKey> {
    let words = words.iter().filter(|(_, holds)| *holds).map(|(word, _)| Ok((*word).to_owned()));
    words.chain(ids.iter().map(|id| text(*id))).collect()
}

fn texts(ids: &[ObjectKey]) -> Result<Vec<String>, ObjectKey> {
    ids.iter().map(|id| text(*id)).collect()
}

fn text(id: ObjectKey) -> Result<String, ObjectKey> {
    if id.is_whole() { Ok(id.to_string()) } else { Err(id) }
}

fn millis(at: UnixMillis) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a policy is in force, on the wire.
pub const fn policy_state(mode: PolicyMode) -> v1::PolicyState {
    match mode {
        PolicyMode::Enabled => v1::PolicyState::Enabled,
        PolicyMode::ReportOnly => v1::PolicyState::ReportOnly,
        PolicyMode::Disabled => v1::PolicyState::Disabled,
    }
}

/// What a policy says of continuous access evaluation itself, on the wire.
pub const fn cae_control(evaluation: Evaluation) -> v1::CaeControl {
    match evaluation {
        Evaluation::Unset => v1::CaeControl::Unspecified,
        Evaluation::Disabled => v1::CaeControl::Disabled,
        Evaluation::Strict => v1::CaeControl::Strict,
    }
}
