//! A conditional access policy: what it is for, what it asks, and what of that no resource can see to.
//!
//! Every member is either understood whole or narrows the policy by its name (P6).

mod form;
mod listing;
mod reading;

use std::collections::BTreeSet;

use caed_core::ids::ObjectKey;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use serde_json::{Map, Value};

use super::location::{Place, Places};
use super::text::{fault, named, said, shown};
use super::{Kind, Object, Obstacle, changed};
use form::{Conditions, Policy, SessionControls};
use listing::Listing;
use reading::Reading;

const ALL: &str = "All";
const NONE: &str = "None";
const GUESTS: &str = "GuestsOrExternalUsers";
const WORKLOADS: &str = "ServicePrincipalsInMyTenant";
const ALL_TRUSTED: &str = "AllTrusted";
const PLACES: [(&str, &str); 2] = [(ALL, "anywhere"), (ALL_TRUSTED, "trusted locations")];
const FROM: &str = "from";
/// SOURCE: Microsoft Graph, "all compliant network locations".
const COMPLIANT_NETWORK: &str = "3d46dbda-8382-466a-856d-eb00cbc6b910";

/// Members of a policy that say nothing about whom it is for or what it asks.
const DESCRIPTION: [&str; 2] = ["description", "templateId"];

/// Reads a policy. What depends on locations is found by [`look_up`].
pub(super) fn read(value: Map<String, Value>) -> Result<Object, String> {
    let policy: Policy =
        serde_json::from_value(Value::Object(value)).map_err(|error| fault(&error))?;
    let Policy {
        id,
        display_name,
        state,
        conditions,
        grant_controls,
        session_controls,
        created_date_time,
        modified_date_time,
        rest,
    } = policy;
    let mut reading = Reading::default();
    let state = match state.as_deref() {
        Some("enabled") => v1::PolicyState::Enabled,
        Some("disabled") => v1::PolicyState::Disabled,
        Some("enabledForReportingButNotEnforced") => v1::PolicyState::ReportOnly,
        other => {
            return Err(format!(
                "its state is `{}`; it must be enabled, disabled or enabledForReportingButNotEnforced",
                shown(other.unwrap_or("missing"))
            ));
        }
    };
    reading.understood(
        "state",
        match state {
            v1::PolicyState::Enabled => "enabled",
            v1::PolicyState::ReportOnly => "report-only: it is evaluated, and decides nothing",
            v1::PolicyState::Disabled | v1::PolicyState::Unspecified => {
                "disabled: it decides nothing"
            }
        },
    );
    let Conditions {
        client_app_types,
        applications,
        users,
        client_applications,
        locations,
        rest: further,
    } = conditions.unwrap_or_default();
    let users = reading.users(users.unwrap_or_default());
    let workloads = reading.workloads(client_applications.unwrap_or_default());
    reading.subjects(&users, &workloads);
    let applications = reading.applications(applications.unwrap_or_default());
    let locations = reading.locations(locations.unwrap_or_default());
    let client_app_types = client_app_types.unwrap_or_default();
    if !matches!(client_app_types.as_slice(), [] | [_])
        || client_app_types.first().is_some_and(|kind| kind != "all")
    {
        reading.narrowed("clientAppTypes", &client_app_types.into());
    }
    for (name, value) in said(&further) {
        reading.narrowed(name, value);
    }
    for (name, value) in said(&rest).filter(|(name, _)| !DESCRIPTION.contains(&name.as_str())) {
        reading.narrowed(name, value);
    }
    let (controls, require_all) = reading.grant(grant_controls.unwrap_or_default());
    let SessionControls { continuous_access_evaluation, sign_in_frequency, rest: further } =
        session_controls.unwrap_or_default();
    let mode = continuous_access_evaluation.and_then(|control| control.mode);
    let cae = reading.evaluation(mode.as_deref());
    let (frequency_s, every_time) = reading.frequency(sign_in_frequency);
    reading.others(&further);
    let Reading { understood, narrowing, obstacles, remarks } = reading;
    let name = display_name.unwrap_or_default();
    let display_name = named(&name);
    Ok(Object {
        kind: Kind::Policy,
        id: id.clone(),
        name,
        at: changed(modified_date_time.as_ref(), created_date_time.as_ref())?,
        written: None,
        fact: Fact::PolicyChanged(v1::PolicyChanged {
            policy: id,
            display_name,
            state: state.into(),
            users: Some(users),
            workloads: Some(workloads),
            applications: Some(applications),
            locations,
            other_conditions: narrowing,
            grant_controls: controls,
            require_all_controls: require_all,
            sign_in_frequency_s: frequency_s,
            sign_in_every_time: every_time,
            cae: cae.into(),
            part: None,
        }),
        understood,
        obstacles,
        remarks,
    })
}

/// Adds what the locations of the files make of a policy.
pub(super) fn look_up(object: &mut Object, places: &Places) {
    let Fact::PolicyChanged(v1::PolicyChanged { locations: Some(locations), .. }) = &object.fact
    else {
        return;
    };
    let named = |list: &[String]| {
        let of = |name: &String| {
            if is_compliant_network(name) {
                return Some("the compliant network".to_owned());
            }
            let place = ObjectKey::parse(name).ok().and_then(|id| places.get(&id));
            place.map(|(name, _)| format!("\"{}\"", shown(name)))
        };
        let (here, others): (Vec<_>, Vec<_>) = list.iter().partition(|name| of(name).is_some());
        let others: Vec<String> = others.into_iter().cloned().collect();
        let listing = Listing::default().words(&others, &PLACES, "location", "locations");
        here.into_iter().filter_map(of).fold(listing, |listing, name| listing.word(&name))
    };
    let from = named(&locations.include).but_not(&named(&locations.exclude), "nowhere");
    object.understood.iter_mut().filter(|(label, _)| *label == FROM).for_each(|line| {
        line.1.clone_from(&from);
    });
    let all = locations.include.iter().chain(&locations.exclude).map(String::as_str);
    let conditions: BTreeSet<&str> = all.filter(|name| *name != ALL).collect();
    for name in conditions {
        let place = ObjectKey::parse(name).ok().and_then(|id| places.get(&id));
        let obstacle = match place {
            _ if name == ALL_TRUSTED => Obstacle::While(
                "nothing is told of the MFA-trusted ranges, which `AllTrusted` means, too, and Graph does not export (`caed publish mfa-trusted-ranges-changed`)".to_owned(),
            ),
            _ if is_compliant_network(name) => Obstacle::Always("no address tells the compliant network".to_owned()),
            Some((_, Place::Ranges)) => continue,
            Some((name, Place::Countries)) => Obstacle::While(format!(
                "there is no country database, which location \"{}\" needs",
                shown(name)
            )),
            Some((name, Place::Elsewhere)) => {
                Obstacle::Always(format!("no address tells location \"{}\"", shown(name)))
            }
            None => Obstacle::While(format!(
                "location `{}` is not told; it is not among these files",
                shown(name)
            )),
        };
        object.obstacles.push(obstacle);
    }
}

fn is_compliant_network(name: &str) -> bool {
    name.eq_ignore_ascii_case(COMPLIANT_NETWORK)
}

/// Whether a name is an id of one application.
fn is_guid(name: &str) -> bool {
    let groups: Vec<_> = name.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
