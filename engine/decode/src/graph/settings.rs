//! The CAE policy: whether a tenant's tokens are evaluated continuously, and whose.

use caed_proto::v1;
use caed_proto::v1::event::Fact;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::text::{count, fault, said, shown};
use super::{Kind, Object};

/// What describes it and says nothing about what it does.
const DESCRIPTION: [&str; 1] = ["description"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    id: Option<String>,
    display_name: Option<String>,
    is_enabled: Option<bool>,
    users: Option<Vec<String>>,
    groups: Option<Vec<String>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Empty lists are everybody.
pub(super) fn read(value: Map<String, Value>) -> Result<Object, String> {
    let Settings { id, display_name, is_enabled, users, groups, rest } =
        serde_json::from_value(Value::Object(value)).map_err(|error| fault(&error))?;
    let (users, groups) = (users.unwrap_or_default(), groups.unwrap_or_default());
    let is_enabled = is_enabled.unwrap_or(true);
    let is_limited = !users.is_empty() || !groups.is_empty();
    let whom = if is_limited {
        let users = count(users.len(), "user", "users");
        format!("{users}, {}", count(groups.len(), "group", "groups"))
    } else {
        "everybody".to_owned()
    };
    let mut remarks = vec![
        "the tenant's other settings (exceptions, strict locations, clients that can't answer a challenge) become the defaults: Graph has none of them".to_owned(),
    ];
    let unknown = said(&rest).filter(|(name, _)| !DESCRIPTION.contains(&name.as_str()));
    remarks.extend(unknown.map(|(name, value)| {
        format!("`{}` ({}) is not known to caed", shown(name), shown(&value.to_string()))
    }));
    let mode = if is_enabled { v1::CaeMode::On } else { v1::CaeMode::Off };
    Ok(Object {
        kind: Kind::Settings,
        id: id.unwrap_or_default(),
        name: display_name.unwrap_or_default(),
        at: None,
        written: None,
        fact: Fact::TenantSettings(v1::TenantSettings {
            cae: mode.into(),
            only: is_limited.then_some(v1::UsersAndGroups { users, groups }),
            ..v1::TenantSettings::default()
        }),
        understood: vec![
            ("state", if is_enabled { "on" } else { "off" }.to_owned()),
            ("for", whom),
        ],
        obstacles: Vec::new(),
        remarks,
    })
}
