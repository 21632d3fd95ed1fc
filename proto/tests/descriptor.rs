//! The interface against its committed baseline, and its JSON form.
//!
//! `caed.v1.baseline` has one line for each field, enum value, method and reserved name or number.
//! Clients are built from older copies of the `.proto` files and stay in use for years: what they
//! were promised may grow, and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use caed_proto::v1;
use protox::prost_reflect::{
    Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};
use serde_json::{Value, json};

/// Rewrites the baseline when set to 1, unless a promise would be broken by that.
const UPDATE: &str = "UPDATE_BASELINE";

#[test]
fn the_interface_keeps_what_it_promised() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("caed.v1.baseline");
    let current = lines();
    let baseline = std::fs::read_to_string(&path).unwrap_or_default();
    let Changes { broken, added } = changes(&baseline, &current);
    assert!(
        broken.is_empty(),
        "clients of caed.v1 would break:\n{}\nUndo it, or begin caed.v2. {UPDATE}=1 does not accept this.",
        broken.join("\n")
    );
    if std::env::var(UPDATE).is_ok_and(|value| value == "1") {
        std::fs::write(&path, current).expect("the baseline is written");
        return;
    }
    assert!(
        added.is_empty(),
        "caed.v1 has grown by:\n{}\nIf it is meant to stay so for ever: {UPDATE}=1 cargo test -p caed-proto",
        added.join("\n")
    );
    assert_eq!(baseline, current, "only the order differs: {UPDATE}=1 cargo test -p caed-proto");
}

/// What distinguishes two descriptions of the interface.
struct Changes {
    /// Each with why it breaks clients.
    broken: Vec<String>,
    added: Vec<String>,
}

fn changes(before: &str, after: &str) -> Changes {
    let (old, new) = (by_name(before), by_name(after));
    let mut changes = Changes { broken: Vec::new(), added: Vec::new() };
    for (name, was) in &old {
        match new.get(name) {
            None => changes.broken.push(format!("  `{name} {was}` is gone: {}", loss(name))),
            Some(is) if is != was => {
                let why = difference(name, was, is);
                changes.broken.push(format!("  `{name} {was}` became `{is}`: {why}"));
            }
            Some(_) => {}
        }
    }
    let fresh = new.iter().filter(|(name, _)| !old.contains_key(*name));
    changes.added.extend(fresh.map(|(name, is)| format!("  `{name} {is}`")));
    changes
}

/// The lines by their names, which nothing shares.
fn by_name(text: &str) -> BTreeMap<&str, &str> {
    let named = text.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
    let map: BTreeMap<_, _> = named.collect();
    assert_eq!(map.len(), text.lines().count(), "a name stands twice");
    map
}

/// What the absence of a thing does to clients.
fn loss(name: &str) -> &'static str {
    if name.contains("/reserved:") {
        "a field could take its number or name, which older messages use for something else"
    } else if name.contains("/value:") {
        "clients send and expect this value, and would get a bare number for it"
    } else if name.contains("/method:") {
        "calls to it would end as UNIMPLEMENTED"
    } else {
        "what clients send in it would be ignored, and what they read from it would be empty; in JSON it would be refused"
    }
}

fn difference(name: &str, was: &str, is: &str) -> &'static str {
    let number = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    if name.contains("/method:") {
        "clients would send and expect other messages than the service"
    } else if number(was) != number(is) {
        "the number is what stands on the wire and in the log; clients would read one thing as another"
    } else {
        "the same bytes would mean something else, or nothing"
    }
}

/// The interface in a readable form: `NAME REST`, in the order of its files.
fn lines() -> String {
    let pool = DescriptorPool::decode(caed_proto::DESCRIPTORS).expect("descriptors");
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("text");
    for message in pool.all_messages() {
        let name = message.full_name();
        message.fields().for_each(|field| line(field_line(&field)));
        reserved(&message).into_iter().for_each(|what| line(format!("{name}/reserved:{what}")));
    }
    for kind in pool.all_enums() {
        for value in kind.values() {
            line(format!("{}/value:{} {}", kind.full_name(), value.name(), value.number()));
        }
    }
    for service in pool.services() {
        for method in service.methods() {
            line(method_line(service.full_name(), &method));
        }
    }
    text
}

fn field_line(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(kind) => kind.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    let oneof =
        field.containing_oneof().filter(|_| !field.field_descriptor_proto().proto3_optional());
    let label = match (field.cardinality(), oneof) {
        (Cardinality::Repeated, _) => "repeated".to_owned(),
        (_, Some(oneof)) => format!("oneof {}", oneof.name()),
        _ if field.field_descriptor_proto().proto3_optional() => "optional".to_owned(),
        _ => "singular".to_owned(),
    };
    format!("{} {} {kind} {label}", field.full_name(), field.number())
}

fn reserved(message: &MessageDescriptor) -> Vec<String> {
    let ranges = message.reserved_ranges().map(|range| match range.end - range.start {
        1 => range.start.to_string(),
        _ => format!("{}-{}", range.start, range.end - 1),
    });
    ranges.chain(message.reserved_names().map(str::to_owned)).collect()
}

fn method_line(service: &str, method: &MethodDescriptor) -> String {
    let stream = |streams| if streams { "stream " } else { "" };
    format!(
        "{service}/method:{} {}{} -> {}{}",
        method.name(),
        stream(method.is_client_streaming()),
        method.input().full_name(),
        stream(method.is_server_streaming()),
        method.output().full_name()
    )
}

#[test]
fn a_broken_promise_is_told_from_a_new_one() {
    let before = "m.a 1 string singular\nm.b 2 int64 singular\ne/value:X 1\ns/method:Go m -> m\n";
    let broken = |after: &str| changes(before, after).broken;
    assert!(broken(before).is_empty());
    for (after, expected) in [
        (
            before.replace("m.a 1", "m.a 3"),
            "`m.a 1 string singular` became `3 string singular`: the number",
        ),
        (
            before.replace("int64", "int32"),
            "`m.b 2 int64 singular` became `2 int32 singular`: the same bytes",
        ),
        (
            before.replace("m.b 2 int64 singular\n", ""),
            "`m.b 2 int64 singular` is gone: what clients send",
        ),
        (before.replace("e/value:X 1\n", ""), "`e/value:X 1` is gone: clients send"),
        (
            before.replace("m -> m", "m -> stream m"),
            "`s/method:Go m -> m` became `m -> stream m`: clients would",
        ),
        (before.replace("s/method:Go m -> m\n", ""), "`s/method:Go m -> m` is gone: calls to it"),
    ] {
        let broken = broken(&after);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains(expected), "{broken:?}");
    }
    let grown = changes(before, &format!("{before}m.c 3 string optional\n"));
    assert!(grown.broken.is_empty());
    assert_eq!(grown.added, ["  `m.c 3 string optional`"]);
}

/// One example of each event, as its sender would write it.
fn examples() -> Vec<(&'static str, Value)> {
    let user = || json!({"user": "3d46dbda-8382-466a-856d-eb00cbc6b910"});
    let device = || json!({"device": "d-1"});
    vec![
        ("accountDisabled", user()),
        ("accountDeleted", user()),
        ("accountEnabled", user()),
        ("passwordChanged", user()),
        ("passwordReset", user()),
        ("sessionsRevoked", user()),
        ("mfaEnabled", user()),
        ("authenticatorChanged", user()),
        ("tokenClaimsChanged", user()),
        ("assuranceLowered", user()),
        ("userRiskChanged", json!({"user": "u-1", "level": "RISK_LEVEL_HIGH"})),
        (
            "sessionRevoked",
            json!({"issuer": "https://idp.example", "session": "s-1", "user": "u-1"}),
        ),
        ("tokenRevoked", json!({"issuer": "https://idp.example", "token": "t-1", "user": "u-1"})),
        ("clientRevoked", json!({"client": "c-1", "user": "u-1"})),
        ("deviceRevoked", json!({"device": "d-1", "user": "u-1"})),
        ("tenantRevoked", json!({})),
        ("deviceDisabled", device()),
        ("deviceDeleted", device()),
        ("deviceCompliant", device()),
        ("deviceNotCompliant", device()),
        ("deviceCleared", device()),
        (
            "sourceDeclared",
            json!({
                "name": "directory",
                "declared": true,
                "emitsEnabled": true,
                "emitsDeviceClear": true,
                "retiredMs": "1760000000000",
            }),
        ),
        ("heartbeat", json!({"partition": 3, "state": "STREAM_STATE_PAUSED"})),
        (
            "policyChanged",
            json!({
                "policy": "p-1",
                "state": "POLICY_STATE_ENABLED",
                "users": {"includeUsers": ["All"], "excludeGroups": ["g-1"]},
                "applications": {"include": ["All"]},
                "locations": {"include": ["All"], "exclude": ["AllTrusted"]},
                "grantControls": ["block"],
                "signInFrequencyS": "14400",
                "cae": "CAE_CONTROL_STRICT",
            }),
        ),
        ("policyDeleted", json!({"policy": "p-1"})),
        (
            "locationChanged",
            json!({
                "location": "l-1",
                "trusted": true,
                "ranges": {"cidrs": ["198.51.100.0/24"]},
                "part": {"version": "v-1", "index": 1, "count": 2},
            }),
        ),
        ("locationDeleted", json!({"location": "l-1"})),
        ("mfaTrustedRangesChanged", json!({"cidrs": ["203.0.113.0/24"]})),
        ("mfaTrustedRangesDeleted", json!({})),
        (
            "tenantSettings",
            json!({
                "cae": "CAE_MODE_REPORT_ONLY",
                "only": {"groups": ["g-1"]},
                "except": {"users": ["u-1"]},
                "strictLocation": true,
                "incapableClients": "INCAPABLE_CLIENTS_LIFETIME",
            }),
        ),
        ("tenantSettingsDeleted", json!({})),
        ("groupRead", json!({"group": "g-1", "members": ["u-1", "u-2"]})),
        ("memberAdded", json!({"group": "g-1", "user": "u-1"})),
        ("memberRemoved", json!({"group": "g-1", "user": "u-1"})),
    ]
}

fn event(kind: &str, fact: Value) -> Value {
    let mut event = json!({
        "id": "e-1",
        "tenant": "contoso",
        "source": "directory",
        "eventTimeMs": "1760000000000",
    });
    event[kind] = fact;
    event
}

#[test]
fn every_event_survives_its_json_form() {
    let pool = DescriptorPool::decode(caed_proto::DESCRIPTORS).expect("descriptors");
    let message = pool.get_message_by_name("caed.v1.Event").expect("events");
    let facts = message.oneofs().find(|oneof| oneof.name() == "fact").expect("facts");
    let kinds: Vec<_> = facts.fields().map(|field| field.json_name().to_owned()).collect();
    let shown: Vec<_> = examples().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, shown, "an event has no example");
    for (kind, fact) in examples() {
        let written = event(kind, fact);
        let message: v1::Event = serde_json::from_value(written.clone()).expect(kind);
        assert!(message.fact.is_some(), "{kind}");
        assert_eq!(serde_json::to_value(&message).expect(kind), written);
    }
}

#[test]
fn the_names_of_the_proto_files_are_read_as_well() {
    let text = r#"{"tenant": "t", "source": "s", "event_time_ms": 1760000000000, "account_disabled": {"user": "u"}}"#;
    let message: v1::Event = serde_json::from_str(text).expect("valid");
    assert_eq!(message.event_time_ms, 1_760_000_000_000);
    assert!(matches!(message.fact, Some(v1::event::Fact::AccountDisabled(_))));
}

#[test]
fn an_unknown_member_is_refused_by_its_name() {
    for (text, member) in [
        (r#"{"tenant": "t", "tennant": "t"}"#, "tennant"),
        (r#"{"tenant": "t", "sessionsRevokd": {"user": "u"}}"#, "sessionsRevokd"),
        (r#"{"tenant": "t", "sessionsRevoked": {"usr": "u"}}"#, "usr"),
    ] {
        let error = serde_json::from_str::<v1::Event>(text).expect_err("refused").to_string();
        assert!(error.contains(&format!("unknown field `{member}`")), "{error}");
    }
}

#[test]
fn two_facts_in_one_event_are_refused() {
    let text = r#"{"tenant": "t", "mfaEnabled": {"user": "u"}, "sessionsRevoked": {"user": "u"}}"#;
    assert!(serde_json::from_str::<v1::Event>(text).is_err());
}

#[test]
fn enums_are_written_as_names() {
    let reply = v1::EvaluateReply {
        verdict: v1::Verdict::Challenge.into(),
        primary_reason: v1::Reason::Revoked.into(),
        ..v1::EvaluateReply::default()
    };
    let written = serde_json::to_value(&reply).expect("written");
    assert_eq!(written, json!({"verdict": "VERDICT_CHALLENGE", "primaryReason": "REASON_REVOKED"}));
    let risk = event("userRiskChanged", json!({"user": "u", "level": "RISK_LEVEL_SEVERE"}));
    let error = serde_json::from_value::<v1::Event>(risk).expect_err("refused").to_string();
    assert!(error.contains("RISK_LEVEL_SEVERE"), "{error}");
}
