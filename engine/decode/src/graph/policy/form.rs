//! A policy as Graph writes it. Every member may be null or missing; what is not known is kept as `rest`.

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    pub(super) id: String,
    pub(super) display_name: Option<String>,
    pub(super) state: Option<String>,
    pub(super) conditions: Option<Conditions>,
    pub(super) grant_controls: Option<GrantControls>,
    pub(super) session_controls: Option<SessionControls>,
    pub(super) created_date_time: Option<String>,
    pub(super) modified_date_time: Option<String>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Conditions {
    pub(super) client_app_types: Option<Vec<String>>,
    pub(super) applications: Option<Applications>,
    pub(super) users: Option<Users>,
    pub(super) client_applications: Option<Workloads>,
    pub(super) locations: Option<Locations>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Applications {
    #[serde(rename = "includeApplications")]
    pub(super) include: Option<Vec<String>>,
    #[serde(rename = "excludeApplications")]
    pub(super) exclude: Option<Vec<String>>,
    pub(super) include_user_actions: Option<Vec<String>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Users {
    #[serde(rename = "includeUsers")]
    pub(super) include: Option<Vec<String>>,
    #[serde(rename = "excludeUsers")]
    pub(super) exclude: Option<Vec<String>>,
    pub(super) include_groups: Option<Vec<String>>,
    pub(super) exclude_groups: Option<Vec<String>>,
    pub(super) include_roles: Option<Vec<String>>,
    pub(super) exclude_roles: Option<Vec<String>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Workloads {
    #[serde(rename = "includeServicePrincipals")]
    pub(super) include: Option<Vec<String>>,
    #[serde(rename = "excludeServicePrincipals")]
    pub(super) exclude: Option<Vec<String>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Locations {
    #[serde(rename = "includeLocations")]
    pub(super) include: Option<Vec<String>>,
    #[serde(rename = "excludeLocations")]
    pub(super) exclude: Option<Vec<String>>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct GrantControls {
    pub(super) operator: Option<String>,
    pub(super) built_in_controls: Option<Vec<String>>,
    pub(super) custom_authentication_factors: Option<Vec<String>>,
    pub(super) terms_of_use: Option<Vec<String>>,
    pub(super) authentication_strength: Option<Value>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionControls {
    pub(super) continuous_access_evaluation: Option<Evaluation>,
    pub(super) sign_in_frequency: Option<SignInFrequency>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Evaluation {
    pub(super) mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignInFrequency {
    pub(super) is_enabled: Option<bool>,
    #[serde(rename = "type")]
    pub(super) unit: Option<String>,
    pub(super) value: Option<u64>,
    pub(super) authentication_type: Option<String>,
    pub(super) frequency_interval: Option<String>,
}
