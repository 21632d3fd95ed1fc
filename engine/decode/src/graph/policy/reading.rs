//! What is understood of each part of a policy, and what is said of it.

use caed_proto::v1;
use serde_json::{Map, Value};

use super::super::Obstacle;
use super::super::text::{said, says_nothing, shown};
use super::form::{Applications, GrantControls, Locations, SignInFrequency, Users, Workloads};
use super::listing::Listing;
use super::{ALL, FROM, GUESTS, NONE, WORKLOADS, is_guid};

/// SOURCE: Microsoft Graph, conditionalAccessGrantControl.
const GRANT_CONTROLS: [&str; 7] = [
    "block",
    "mfa",
    "compliantDevice",
    "domainJoinedDevice",
    "approvedApplication",
    "compliantApplication",
    "passwordChange",
];

/// Why conditions that are known by name can't be seen to at a resource.
const REASONS: [(&str, &str); 13] = [
    ("userRiskLevels", "the risk of a user counts by events alone"),
    ("signInRiskLevels", "no token tells the risk of its sign-in"),
    ("servicePrincipalRiskLevels", "no token tells the risk of a workload identity"),
    ("insiderRiskLevels", "no token tells the insider risk"),
    ("clientAppTypes", "no token tells the kind of client"),
    ("platforms", "no token tells the platform"),
    ("devices", "no token tells what a filter for devices asks"),
    ("authenticationFlows", "no token tells the flow of its sign-in"),
    ("users.includeGuestsOrExternalUsers", "no token tells the kind of guest"),
    ("users.excludeGuestsOrExternalUsers", "no token tells the kind of guest"),
    (
        "clientApplications.servicePrincipalFilter",
        "nothing tells the attributes of a workload identity",
    ),
    ("applications.applicationFilter", "nothing tells the attributes of a resource"),
    (
        "applications.includeAuthenticationContextClassReferences",
        "nothing tells which resource asks for a context",
    ),
];
const UNKNOWN: &str = "not known to caed";

/// What is said of a policy while it is read.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) understood: Vec<(&'static str, String)>,
    pub(super) narrowing: Vec<String>,
    pub(super) obstacles: Vec<Obstacle>,
    pub(super) remarks: Vec<String>,
}

impl Reading {
    pub(super) fn understood(&mut self, label: &'static str, text: impl Into<String>) {
        self.understood.push((label, text.into()));
    }

    /// A condition that narrows the policy and can't be seen to.
    pub(super) fn narrowed(&mut self, name: &str, value: &Value) {
        let reason = REASONS.iter().find(|(known, _)| *known == name);
        self.narrowed_because(name, value, reason.map_or(UNKNOWN, |(_, reason)| reason));
    }

    fn narrowed_because(&mut self, name: &str, value: &Value, reason: &str) {
        self.obstacles.push(Obstacle::Always(format!(
            "`{}` ({}): {reason}",
            shown(name),
            shown(&value.to_string())
        )));
        self.narrowing.push(name.to_owned());
    }

    /// Members of a list of whom or what the policy is for that are not known. Returns whether one of them
    /// may include more.
    fn unknown_members(&mut self, of: &str, members: &Map<String, Value>) -> bool {
        let mut may_include = false;
        for (name, value) in said(members) {
            self.narrowed(&format!("{of}.{name}"), value);
            may_include |= !name.starts_with("exclude");
        }
        may_include
    }

    pub(super) fn users(&mut self, users: Users) -> v1::PolicyUsers {
        let mut include = users.include.unwrap_or_default();
        // Some guests are some of all guests; what else may include more is taken to include all.
        let guests = "includeGuestsOrExternalUsers";
        let mut rest = users.rest;
        if let Some(value) = rest.remove(guests).filter(|value| !says_nothing(value)) {
            self.narrowed(&format!("users.{guests}"), &value);
            include.push(GUESTS.to_owned());
        }
        if self.unknown_members("users", &rest) {
            include.push(ALL.to_owned());
        }
        v1::PolicyUsers {
            include_users: include,
            exclude_users: users.exclude.unwrap_or_default(),
            include_groups: users.include_groups.unwrap_or_default(),
            exclude_groups: users.exclude_groups.unwrap_or_default(),
            include_roles: users.include_roles.unwrap_or_default(),
            exclude_roles: users.exclude_roles.unwrap_or_default(),
        }
    }

    pub(super) fn workloads(&mut self, workloads: Workloads) -> v1::PolicyWorkloads {
        let mut include = workloads.include.unwrap_or_default();
        if self.unknown_members("clientApplications", &workloads.rest) {
            include.push(WORKLOADS.to_owned());
        }
        let exclude = workloads.exclude.unwrap_or_default();
        v1::PolicyWorkloads { include, exclude }
    }

    pub(super) fn subjects(&mut self, users: &v1::PolicyUsers, workloads: &v1::PolicyWorkloads) {
        let v1::PolicyUsers {
            include_users,
            exclude_users,
            include_groups,
            exclude_groups,
            include_roles,
            exclude_roles,
        } = users;
        let v1::PolicyWorkloads { include, exclude } = workloads;
        let included = Listing::default()
            .words(include_users, &[(ALL, "all users"), (GUESTS, "guests")], "user", "users")
            .ids(include_groups, "group", "groups")
            .ids(include_roles, "role", "roles")
            .words(
                include,
                &[(WORKLOADS, "all workload identities")],
                "workload identity",
                "workload identities",
            );
        let excluded = Listing::default()
            .words(exclude_users, &[(ALL, "all users"), (GUESTS, "guests")], "user", "users")
            .ids(exclude_groups, "group", "groups")
            .ids(exclude_roles, "role", "roles")
            .ids(exclude, "workload identity", "workload identities");
        self.understood("for", included.but_not(&excluded, "nobody"));
        let groups = include_groups.len() + exclude_groups.len();
        let roles = include_roles.len() + exclude_roles.len();
        if groups + roles > 0 {
            let whose =
                Listing::default().number(groups, "group", "groups").number(roles, "role", "roles");
            self.obstacles.push(Obstacle::While(format!(
                "neither events nor the token tell who belongs to its {}",
                whose.text("")
            )));
        }
    }

    pub(super) fn applications(&mut self, applications: Applications) -> v1::PolicyApplications {
        let mut user_actions = applications.include_user_actions.unwrap_or_default();
        for action in &user_actions {
            let action = shown(action);
            self.obstacles
                .push(Obstacle::Always(format!("`{action}` is a user action and no resource")));
        }
        let include = applications.include.unwrap_or_default();
        let exclude = applications.exclude.unwrap_or_default();
        let words = [(ALL, "all resources")];
        let mut included = Listing::default()
            .words(&include, &words, "resource", "resources")
            .number(user_actions.len(), "user action", "user actions");
        // What may include more resources is, like a user action, a resource that is not known.
        if self.unknown_members("applications", &applications.rest) {
            user_actions.extend(said(&applications.rest).map(|(name, _)| name.clone()));
            included = included.word("what is not known");
        }
        let excluded = Listing::default().words(&exclude, &words, "resource", "resources");
        self.understood("on", included.but_not(&excluded, "no resource"));
        for name in include.iter().chain(&exclude) {
            if name != ALL && name != NONE && !is_guid(name) {
                self.obstacles.push(Obstacle::While(format!(
                    "the profile does not list `{}`, a group of applications",
                    shown(name)
                )));
            }
        }
        v1::PolicyApplications { include, exclude, user_actions }
    }

    /// Locations without any entry are no condition.
    pub(super) fn locations(&mut self, locations: Locations) -> Option<v1::PolicyLocations> {
        let mut include = locations.include.unwrap_or_default();
        let exclude = locations.exclude.unwrap_or_default();
        self.unknown_members("locations", &locations.rest);
        if include.is_empty() && exclude.is_empty() {
            self.understood(FROM, "anywhere");
            return None;
        }
        if include.is_empty() {
            let value = exclude.clone().into();
            let reason = "nothing says which locations are included";
            self.narrowed_because("locations.excludeLocations", &value, reason);
            include.push(ALL.to_owned());
        }
        // What they are called is seen when all have been read.
        self.understood(FROM, "");
        Some(v1::PolicyLocations { include, exclude })
    }

    pub(super) fn grant(&mut self, grant: GrantControls) -> (Vec<String>, bool) {
        let GrantControls {
            operator,
            built_in_controls,
            custom_authentication_factors,
            terms_of_use,
            authentication_strength,
            rest,
        } = grant;
        let mut controls = built_in_controls.unwrap_or_default();
        for control in &controls {
            if !GRANT_CONTROLS.contains(&control.as_str()) {
                self.narrowed("grantControls.builtInControls", &Value::from(control.as_str()));
            }
        }
        let named = |kind: &str, id: &str| format!("{kind}:{id}");
        let factors = custom_authentication_factors.unwrap_or_default();
        controls.extend(factors.iter().map(|id| named("customAuthenticationFactor", id)));
        controls.extend(terms_of_use.unwrap_or_default().iter().map(|id| named("termsOfUse", id)));
        if let Some(strength) = authentication_strength.filter(|value| !says_nothing(value)) {
            let id = strength.get("id").and_then(Value::as_str).unwrap_or_default();
            controls.push(named("authenticationStrength", id));
        }
        for (name, value) in said(&rest) {
            self.narrowed(&format!("grantControls.{name}"), value);
        }
        let require_all = match operator.as_deref() {
            Some("AND") => true,
            None | Some("OR") => false,
            Some(other) => {
                if controls.len() > 1 {
                    self.narrowed("grantControls.operator", &Value::from(other));
                }
                false
            }
        };
        let between = if require_all { " and " } else { " or " };
        let shown: Vec<_> = controls.iter().map(|control| shown(control)).collect();
        let asks = if shown.is_empty() { "nothing".to_owned() } else { shown.join(between) };
        self.understood("asks", asks);
        (controls, require_all)
    }

    /// An unknown mode, and one that an older client is not told, is taken for the strictest (P9).
    pub(super) fn evaluation(&mut self, mode: Option<&str>) -> v1::CaeControl {
        match mode {
            None => v1::CaeControl::Unspecified,
            Some("disabled") => {
                self.understood("evaluation", "switched off for its subjects");
                v1::CaeControl::Disabled
            }
            Some(mode) => {
                self.understood("evaluation", "locations are strict");
                if mode != "strictLocation" && mode != "strictEnforcement" {
                    self.remarks.push(format!(
                        "its CAE mode `{}` is taken for strictLocation; ask Graph with `Prefer: include-unknown-enum-members`",
                        shown(mode)
                    ));
                }
                v1::CaeControl::Strict
            }
        }
    }

    /// The sign-in frequency in seconds, and whether it is each time.
    pub(super) fn frequency(&mut self, frequency: Option<SignInFrequency>) -> (u64, bool) {
        let Some(frequency) = frequency else { return (0, false) };
        let SignInFrequency { is_enabled, unit, value, authentication_type, frequency_interval } =
            frequency;
        if is_enabled == Some(false) {
            return (0, false);
        }
        let mut narrowed = |name: &str, value: Value, reason: &str| {
            self.narrowed_because(&format!("signInFrequency.{name}"), &value, reason);
            (0, false)
        };
        match authentication_type.as_deref() {
            None | Some("primaryAndSecondaryAuthentication") => {}
            Some(other) => {
                let reason = "a token tells the time of the whole sign-in alone";
                return narrowed("authenticationType", other.into(), reason);
            }
        }
        match frequency_interval.as_deref() {
            None | Some("timeBased") => {}
            Some("everyTime") => {
                let why = "no token shows a sign-in for each access (`signInFrequency`)";
                self.obstacles.push(Obstacle::Always(why.to_owned()));
                return (0, true);
            }
            Some(other) => return narrowed("frequencyInterval", other.into(), UNKNOWN),
        }
        let (unit_s, letter) = match unit.as_deref() {
            Some("hours") => (3600, "h"),
            Some("days") => (86_400, "d"),
            other => return narrowed("type", other.into(), UNKNOWN),
        };
        let seconds =
            value.and_then(|value| value.checked_mul(unit_s)).filter(|seconds| *seconds > 0);
        let (Some(value), Some(seconds)) = (value, seconds) else {
            return narrowed("value", value.into(), "no length of time");
        };
        self.understood("sign-in", format!("at most {value} {letter} old"));
        (seconds, false)
    }

    /// Session controls that others see to. They narrow nothing.
    pub(super) fn others(&mut self, controls: &Map<String, Value>) {
        for (name, value) in said(controls) {
            let is_off =
                *value == Value::Bool(false) || value.get("isEnabled") == Some(&Value::Bool(false));
            if !is_off {
                self.remarks.push(format!(
                    "session control `{}` is not for a resource to enforce",
                    shown(name)
                ));
            }
        }
    }
}
