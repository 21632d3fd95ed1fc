//! What everybody is answered: as much as caed says to those who may pass.

use caed_proto::ext_authz::{
    CheckResponse, HeaderValue, HeaderValueOption, OkHttpResponse, Status, check_response,
};
use caed_proto::v1;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// Headers that a resource gets.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    ("x-caed-decision", "allow"),
    ("x-caed-tenant", "staff"),
    ("x-caed-subject", "5a1e0000-0000-4000-8000-00000a11ce00"),
    ("x-caed-address", "203.0.113.9"),
];

/// The answer of `Evaluate`.
pub(crate) fn evaluate() -> v1::EvaluateReply {
    let reached = v1::Reached {
        log: "embedded".to_owned(),
        partition: 0,
        next: 10_000,
        incarnation: "5a1e00000000400080000000a11ce000".to_owned(),
    };
    let knowledge = v1::Knowledge {
        generation: 42,
        age_ms: Some(12),
        frontier: Some(v1::Frontier { reached: vec![reached] }),
    };
    v1::EvaluateReply {
        verdict: v1::Verdict::Allow.into(),
        http_status: 200,
        knowledge: Some(knowledge),
        ..Default::default()
    }
}

/// The answer of `Check`.
pub(crate) fn check() -> CheckResponse {
    let header = |(name, value): (&str, &str)| {
        let header = HeaderValue { key: name.into(), value: value.into(), raw_value: Vec::new() };
        HeaderValueOption { header: Some(header), append_action: 2 }
    };
    let headers = HEADERS.into_iter().map(header).collect();
    let passed = OkHttpResponse { headers, headers_to_remove: Vec::new() };
    let said = [
        ("cae_decision", Kind::StringValue("allow".to_owned())),
        ("cae_generation", Kind::NumberValue(42.0)),
        ("cae_age_ms", Kind::NumberValue(12.0)),
    ];
    let said = said.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    CheckResponse {
        status: Some(Status { code: 0 }),
        http_response: Some(check_response::HttpResponse::OkResponse(passed)),
        dynamic_metadata: Some(Struct { fields: said.into() }),
    }
}
