//! Envoy's messages and ours, in both directions.

use caed_core::refusal::HttpRefusal;
use caed_decode::check::{self, Check};
use caed_proto::ext_authz::{
    Address, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderAppendAction,
    HeaderMap, HeaderValue, HeaderValueOption, HttpRequest, HttpStatus, Metadata, OkHttpResponse,
    Peer, Request, SocketAddress, Status, check_response,
};
use caed_proto::v1;
use caed_trust::route::Route;
use caed_trust::verifier::Verifier;
use prost_types::{Struct, value::Kind};
use serde_json::{Map, Value};
use tonic::Code;

use crate::gateway::{Answer, Heard, Outcome, Said, Told};

/// What Envoy tells of a request, read where it stands; `None` where the generated code is to read it.
pub(super) fn read(message: &[u8], verifier: &Verifier) -> Option<Told> {
    let mut check = Check::read(message)?;
    let payload = check.payload.take();
    let extension = |name| check.extension(name).to_owned();
    Some(Told {
        heard: Heard::of(check.headers.iter().copied()),
        peer: check.peer.to_owned(),
        claims: payload.and_then(|payload| vouched(payload, verifier)),
        profile: extension("profile"),
        route: Route { tenant: extension("tenant"), audience: extension("audience") },
    })
}

/// What Envoy tells of a request, or why it is none.
pub(super) fn told(request: CheckRequest, verifier: &Verifier) -> Result<Told, &'static str> {
    let CheckRequest { attributes } = request;
    let attributes = attributes.ok_or("the check has no attributes")?;
    let AttributeContext { source, request, mut context_extensions, metadata_context } = attributes;
    let http = request.and_then(|Request { http }| http);
    let HttpRequest { headers, header_map } =
        http.ok_or("the check has no HTTP request; put ext_authz among the HTTP filters")?;
    let raw = header_map.map(|HeaderMap { headers }| headers).unwrap_or_default();
    let heard = Heard::of(headers.iter().chain(&raw).map(header));
    let mut extension = |name| context_extensions.remove(name).unwrap_or_default();
    Ok(Told {
        heard,
        peer: source.and_then(address).unwrap_or_default(),
        claims: metadata_context.and_then(|metadata| claims(metadata, verifier)),
        profile: extension("profile"),
        route: Route { tenant: extension("tenant"), audience: extension("audience") },
    })
}

fn header(header: &HeaderValue) -> (&[u8], &[u8]) {
    let HeaderValue { key, value, raw_value } = header;
    (key, if raw_value.is_empty() { value } else { raw_value })
}

fn address(peer: Peer) -> Option<String> {
    let Peer { address } = peer;
    let Address { socket_address } = address?;
    let SocketAddress { address } = socket_address?;
    Some(address)
}

/// The claims of the one token that Envoy verified. Where it tells of several, or what it tells can't be read, it
/// vouches for none, and the token itself must be believed (T2).
fn claims(metadata: Metadata, verifier: &Verifier) -> Option<v1::TokenClaims> {
    let Metadata { mut filter_metadata } = metadata;
    let Struct { fields } = filter_metadata.remove(check::JWT_AUTHN)?;
    // Whatever key it is configured to use; beside it may stand a header, or why a token was refused.
    let payloads = fields.into_values().filter_map(|value| match value.kind {
        Some(Kind::StructValue(payload)) if payload.fields.contains_key("iss") => Some(payload),
        _ => None,
    });
    let mut payloads = payloads;
    let (payload, None) = (payloads.next()?, payloads.next()) else {
        tracing::debug!("jwt_authn tells of several tokens: none of them counts");
        return None;
    };
    vouched(object(payload)?, verifier)
}

/// The claims of a payload that Envoy verified, if they can be read.
fn vouched(payload: Map<String, Value>, verifier: &Verifier) -> Option<v1::TokenClaims> {
    verifier
        .claims(payload)
        .inspect_err(|problem| tracing::debug!(%problem, "claims of jwt_authn can't be read"))
        .ok()
}

/// A payload as JSON; `None` where something in it is no JSON.
fn object(payload: Struct) -> Option<Map<String, Value>> {
    let Struct { fields } = payload;
    fields.into_iter().map(|(name, value)| Some((name, json(value)?))).collect()
}

fn json(value: prost_types::Value) -> Option<Value> {
    Some(match value.kind? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(truth) => truth.into(),
        Kind::StringValue(text) => text.into(),
        Kind::NumberValue(number) => Value::Number(check::number(number)?),
        Kind::ListValue(list) => {
            Value::Array(list.values.into_iter().map(json).collect::<Option<_>>()?)
        }
        Kind::StructValue(members) => Value::Object(object(members)?),
    })
}

/// The answer as Envoy reads it.
pub(super) fn response(answer: Answer) -> CheckResponse {
    use check_response::HttpResponse;
    let Answer { outcome, said } = answer;
    let (code, http_response) = match outcome {
        Outcome::Pass { headers, removed } => {
            let headers = headers.into_iter().map(overwritten).collect();
            let passed = OkHttpResponse { headers, headers_to_remove: removed };
            (Code::Ok, HttpResponse::OkResponse(passed))
        }
        Outcome::Refuse(HttpRefusal { status, headers, body }) => {
            let code = match status {
                401 => Code::Unauthenticated,
                503 => Code::Unavailable,
                _ => Code::PermissionDenied,
            };
            let status = Some(HttpStatus { code: status.into() });
            let headers = headers.into_iter().map(overwritten).collect();
            (code, HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body }))
        }
    };
    CheckResponse {
        status: Some(Status { code: code.into() }),
        http_response: Some(http_response),
        dynamic_metadata: Some(metadata(said)),
    }
}

/// A header instead of any of its name.
fn overwritten((name, value): (&str, String)) -> HeaderValueOption {
    let header = HeaderValue { key: name.into(), value: value.into_bytes(), raw_value: Vec::new() };
    let append_action = HeaderAppendAction::OverwriteIfExistsOrAdd.into();
    HeaderValueOption { header: Some(header), append_action }
}

/// What Envoy finds under `envoy.filters.http.ext_authz`, for its access log.
fn metadata(said: Said) -> Struct {
    let Said { decision, reason, code, detail, generation, age_ms } = said;
    let text = |text: String| (!text.is_empty()).then_some(Kind::StringValue(text));
    #[expect(
        clippy::cast_precision_loss,
        reason = "metadata has no other numbers, and people read these"
    )]
    let number = |number: Option<u64>| number.map(|number| Kind::NumberValue(number as f64));
    let all = [
        ("cae_decision", text(decision)),
        ("cae_reason", text(reason)),
        ("cae_code", text(code)),
        ("cae_detail", text(detail)),
        ("cae_generation", number(generation)),
        ("cae_age_ms", number(age_ms)),
    ];
    let fields = all.into_iter().filter_map(|(name, kind)| {
        kind.map(|kind| (name.to_owned(), prost_types::Value { kind: Some(kind) }))
    });
    Struct { fields: fields.collect() }
}
