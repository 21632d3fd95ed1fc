//! What Envoy asks, as data, and what it is answered.

use caed_proto::ext_authz::authorization_server::Authorization as _;
use caed_proto::ext_authz::{
    Address, AttributeContext, CheckResponse, HeaderMap, HeaderValue, HttpRequest, Metadata, Peer,
    Request, SocketAddress, check_response::HttpResponse,
};
use prost_types::{ListValue, Struct, value::Kind};
use serde_json::{Value, json};

use super::*;
use crate::fixture::{self, NOW_S, claims, forged, token};
use crate::rights::{Right, Rights};

const GATEWAY: Rights = Rights::of(&[Right::Decide]);
const VOUCHING: Rights = Rights::of(&[Right::Decide, Right::Vouch]);

/// What Envoy hands on of JSON: every number is a double.
fn protobuf(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().expect("a number")),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(protobuf).collect() })
        }
        Value::Object(_) => Kind::StructValue(structure(value)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn structure(value: &Value) -> Struct {
    let members = value.as_object().expect("an object").iter();
    Struct { fields: members.map(|(name, value)| (name.clone(), protobuf(value))).collect() }
}

/// A check, as Envoy sends it.
#[derive(Clone, Default)]
struct Check<'c> {
    peer: &'c str,
    headers: Vec<(&'c str, String)>,
    /// The metadata of `jwt_authn`.
    jwt_authn: Option<Value>,
    extensions: Vec<(&'c str, &'c str)>,
}

impl<'c> Check<'c> {
    fn bearing(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn header(mut self, name: &'c str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn peer(self, peer: &'c str) -> Self {
        Self { peer, ..self }
    }

    fn jwt_authn(self, metadata: Value) -> Self {
        Self { jwt_authn: Some(metadata), ..self }
    }

    fn route(mut self, name: &'c str, value: &'c str) -> Self {
        self.extensions.push((name, value));
        self
    }

    fn message(&self) -> CheckRequest {
        let value = |(name, value): &(&str, String)| HeaderValue {
            key: name.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
            raw_value: Vec::new(),
        };
        let headers = self.headers.iter().map(value).collect();
        let socket_address = Some(SocketAddress { address: self.peer.to_owned() });
        let metadata = |value: &Value| Metadata {
            filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), structure(value))].into(),
        };
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer { address: Some(Address { socket_address }) }),
                request: Some(Request { http: Some(HttpRequest { headers, header_map: None }) }),
                context_extensions: self.extensions.iter().map(text).collect(),
                metadata_context: self.jwt_authn.as_ref().map(metadata),
            }),
        }
    }
}

/// As with `encode_raw_headers`: nothing in `headers`.
fn raw(mut message: CheckRequest) -> CheckRequest {
    let http = message.attributes.as_mut().and_then(|attributes| attributes.request.as_mut());
    let http = http.and_then(|request| request.http.as_mut()).expect("a request");
    let raw =
        |header: HeaderValue| HeaderValue { raw_value: header.value, value: Vec::new(), ..header };
    let headers = std::mem::take(&mut http.headers).into_iter().map(raw).collect();
    http.header_map = Some(HeaderMap { headers });
    message
}

async fn answered(message: CheckRequest, rights: Rights) -> CheckResponse {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(rights);
    Service::new(fixture::parts()).check(request).await.expect("an answer").into_inner()
}

/// A header of either answer.
fn header(response: &CheckResponse, name: &str) -> Option<String> {
    let headers = match response.http_response.as_ref().expect("an answer") {
        HttpResponse::DeniedResponse(denied) => &denied.headers,
        HttpResponse::OkResponse(passed) => &passed.headers,
    };
    let mut found = headers.iter().filter_map(|option| {
        assert_eq!(option.append_action, 2, "none of that name remains");
        let header = option.header.as_ref().expect("a header");
        (header.key == name.as_bytes()).then(|| String::from_utf8(header.value.clone()))
    });
    let value = found.next().map(|value| value.expect("text"));
    assert!(found.next().is_none(), "{name} stands once");
    value
}

fn told(response: &CheckResponse, name: &str) -> Option<Kind> {
    response.dynamic_metadata.as_ref()?.fields.get(name)?.kind.clone()
}

/// The answer in a word or two: 200 with whom and where, or the status with the reason.
fn short(response: &CheckResponse) -> String {
    let code = response.status.as_ref().expect("a status").code;
    let text = |name| match told(response, name) {
        Some(Kind::StringValue(text)) => text,
        _ => String::new(),
    };
    match response.http_response.as_ref().expect("an answer") {
        HttpResponse::OkResponse(_) => {
            assert_eq!((code, text("cae_decision").as_str()), (0, "allow"));
            let header = |name| header(response, name).unwrap_or_default();
            format!(
                "200 {}/{} {}",
                header("x-caed-tenant"),
                header("x-caed-subject"),
                header("x-caed-address")
            )
        }
        HttpResponse::DeniedResponse(denied) => {
            assert_ne!(code, 0);
            assert_ne!(text("cae_decision"), "allow");
            assert_eq!(header(response, "cache-control").as_deref(), Some("no-store"));
            let body: Value = serde_json::from_str(&denied.body).expect("JSON");
            assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string());
            let status = denied.status.as_ref().expect("a status").code;
            assert_eq!(header(response, "www-authenticate").is_some(), status == 401);
            format!("{status} {}", text("cae_reason"))
        }
    }
}

fn without(mut claims: Value, claim: &str) -> Value {
    claims.as_object_mut().expect("claims").remove(claim);
    claims
}

fn with(mut claims: Value, claim: &str, value: Value) -> Value {
    claims.as_object_mut().expect("claims").insert(claim.to_owned(), value);
    claims
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn envoy_is_answered_as_everybody() {
    const ANNA: &str = "200 contoso/anna unknown";
    const AT: &str = "200 contoso/anna 203.0.113.9";
    let none = Check::default;
    let anna = || none().bearing(&token(&claims("anna")));
    let gone = || none().bearing(&token(&claims("gone")));
    let forged = || none().bearing(&forged(&claims("anna")));
    let of_anna = |claim, value| with(claims("anna"), claim, value);
    let nameless = || without(claims("gone"), "tid");
    let late = token(&of_anna("exp", json!(NOW_S - 500)));
    let two = json!({"a": claims("anna"), "b": claims("gone")});
    let headed = json!({"p": claims("gone"), "h": {"alg": "RS256"}});
    let failed = json!({"failed": {"code": 3, "message": "Jwt is expired"}});
    let payload = |claims: Value| json!({ "jwt_payload": claims });
    let annas = || payload(claims("anna"));
    let rows = [
        ("anna", GATEWAY, anna(), ANNA),
        ("revoked", GATEWAY, gone(), "401 revoked"),
        ("disabled", GATEWAY, none().bearing(&token(&claims("off"))), "401 revoked"),
        ("forged", GATEWAY, forged(), "401 unverified"),
        ("expired", GATEWAY, none().bearing(&late), "401 expired"),
        ("no JWT", GATEWAY, none().bearing("opaque"), "401 unverified"),
        ("two", GATEWAY, anna().bearing(&token(&claims("anna"))), "401 unverified"),
        ("no token", GATEWAY, none(), "401 token_missing"),
        ("Basic", GATEWAY, none().header("authorization", "Basic YTpi"), "401 token_missing"),
        ("elsewhere", GATEWAY, none().header("x-access-token", "a.b.c"), "401 token_missing"),
        // Claims that jwt_authn verified.
        ("vouched", VOUCHING, none().jwt_authn(annas()), ANNA),
        ("any key", VOUCHING, none().jwt_authn(json!({"my": claims("gone")})), "401 revoked"),
        ("a header, too", VOUCHING, none().jwt_authn(headed), "401 revoked"),
        ("no right", GATEWAY, anna().jwt_authn(annas()), "403 not_asked"),
        ("its token", VOUCHING, anna().jwt_authn(annas()), ANNA),
        ("vouched forgery", VOUCHING, forged().jwt_authn(annas()), ANNA),
        ("another's token", VOUCHING, gone().jwt_authn(annas()), "401 unverified"),
        ("two of them", VOUCHING, anna().bearing("a.b.c").jwt_authn(annas()), "401 unverified"),
        ("two payloads", VOUCHING, gone().jwt_authn(two.clone()), "401 revoked"),
        ("two payloads, no token", VOUCHING, none().jwt_authn(two), "401 token_missing"),
        ("a failure", VOUCHING, anna().jwt_authn(failed), ANNA),
        (
            "half a second",
            VOUCHING,
            none().jwt_authn(payload(of_anna("iat", json!(1.5)))),
            "401 token_missing",
        ),
        (
            "not exact",
            VOUCHING,
            none().jwt_authn(payload(of_anna("exp", json!(1_u64 << 53)))),
            "401 token_missing",
        ),
        (
            "no number",
            VOUCHING,
            none().jwt_authn(payload(of_anna("exp", json!("1")))),
            "401 token_missing",
        ),
        (
            "no iat",
            VOUCHING,
            none().jwt_authn(payload(without(claims("anna"), "iat"))),
            "401 issue_time_missing",
        ),
        (
            "a stranger",
            VOUCHING,
            none().jwt_authn(payload(of_anna("iss", json!("https://x")))),
            "403 unknown_issuer",
        ),
        // What the route demands.
        ("its tenant", GATEWAY, anna().route("tenant", "contoso"), ANNA),
        ("another tenant", GATEWAY, anna().route("tenant", "fabrikam"), "401 unverified"),
        ("its audience", GATEWAY, anna().route("audience", "api://files"), ANNA),
        ("another audience", GATEWAY, anna().route("audience", "api://mail"), "401 unverified"),
        (
            "vouched, another",
            VOUCHING,
            none().jwt_authn(annas()).route("audience", "api://mail"),
            "401 unverified",
        ),
        ("no tenant", VOUCHING, none().jwt_authn(payload(nameless())), "401 malformed"),
        (
            "the route's",
            VOUCHING,
            none().jwt_authn(payload(nameless())).route("tenant", "contoso"),
            "401 revoked",
        ),
        ("a profile", GATEWAY, anna().route("profile", "exchange"), ANNA),
        ("no profile", GATEWAY, anna().route("profile", "exchagne"), "403 not_asked"),
        // The client's address: 10.0.0.0/8 are proxies.
        ("a client", GATEWAY, anna().peer("203.0.113.9"), AT),
        ("IPv6", GATEWAY, anna().peer("::ffff:203.0.113.9"), AT),
        (
            "it forges",
            GATEWAY,
            anna().peer("203.0.113.9").header("x-forwarded-for", "198.51.100.1"),
            AT,
        ),
        (
            "a proxy",
            GATEWAY,
            anna().peer("10.0.0.1").header("x-forwarded-for", "198.51.100.1, 203.0.113.9"),
            AT,
        ),
        (
            "Envoy adds it",
            GATEWAY,
            anna().peer("10.0.0.1").header("x-forwarded-for", "203.0.113.9,10.0.0.1"),
            AT,
        ),
        ("it is silent", GATEWAY, anna().peer("10.0.0.1"), ANNA),
        (
            "another header",
            GATEWAY,
            anna().peer("10.0.0.1").header("forwarded", "for=203.0.113.9"),
            ANNA,
        ),
        ("a pipe", GATEWAY, anna().peer("@/run/x"), ANNA),
    ];
    for (name, rights, check, expected) in rows {
        let response = answered(check.message(), rights).await;
        assert_eq!(short(&response), expected, "{name}");
        let response = answered(raw(check.message()), rights).await;
        assert_eq!(short(&response), expected, "{name}, raw");
    }
}

#[tokio::test]
async fn a_check_that_is_none_is_refused() {
    let none = CheckRequest::default();
    let empty = CheckRequest { attributes: Some(AttributeContext::default()) };
    let mut no_http = empty.clone();
    no_http.attributes.as_mut().expect("attributes").request = Some(Request { http: None });
    for message in [none, empty, no_http] {
        assert_eq!(short(&answered(message, VOUCHING).await), "403 not_asked");
    }
    let mut bare = Check::default().message();
    bare.attributes.as_mut().expect("attributes").source = None;
    assert_eq!(short(&answered(bare, VOUCHING).await), "401 token_missing");
}

#[tokio::test]
async fn bytes_that_a_client_chooses_are_never_an_error() {
    let mut message = Check::default().bearing("a").message();
    let http = message.attributes.as_mut().and_then(|attributes| attributes.request.as_mut());
    let http = http.and_then(|request| request.http.as_mut()).expect("a request");
    for (key, value) in [(&b"x-\xff"[..], &b"\xff"[..]), (b"x-a", b"\xc3"), (b"cookie", b"\0\n")] {
        let (key, value) = (key.to_vec(), value.to_vec());
        http.headers.push(HeaderValue { key, value, raw_value: Vec::new() });
    }
    http.headers[0].value.push(0xff);
    let bytes = prost::Message::encode_to_vec(&message);
    let message = prost::Message::decode(&bytes[..]).expect("a check");
    assert_eq!(short(&answered(message, GATEWAY).await), "401 unverified");
}

#[tokio::test]
async fn a_challenge_reaches_the_client_as_it_is() {
    let check = Check::default().bearing(&token(&claims("gone")));
    let response = answered(check.message(), GATEWAY).await;
    assert_eq!(
        header(&response, "www-authenticate").as_deref(),
        Some(
            "Bearer realm=\"contoso\", error=\"insufficient_claims\", error_description=\"Continuous access \
             evaluation resulted in challenge with result: InteractionRequired and code: \
             TokenIssuedBeforeRevocationTimestamp\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzk5OTk5OTQxIn19ICB9\""
        )
    );
    assert_eq!(
        header(&response, "access-control-expose-headers").as_deref(),
        Some("WWW-Authenticate")
    );
    assert_eq!(header(&response, "content-type").as_deref(), Some("application/json"));
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("refused")
    };
    assert_eq!(
        denied.body,
        r#"{"error":{"code":"InvalidAuthenticationToken","message":"Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp"}}"#
    );
    assert_eq!(response.status.as_ref().map(|status| status.code), Some(16));
    let expected = [
        ("cae_decision", "challenge"),
        ("cae_reason", "revoked"),
        ("cae_code", "TokenIssuedBeforeRevocationTimestamp"),
    ];
    for (name, text) in expected {
        assert_eq!(told(&response, name), Some(Kind::StringValue(text.to_owned())));
    }
    assert!(matches!(told(&response, "cae_generation"), Some(Kind::NumberValue(_))));
    assert_eq!(told(&response, "cae_age_ms"), Some(Kind::NumberValue(2000.0)));
    assert_eq!(told(&response, "cae_detail"), None);
}

#[tokio::test]
async fn who_has_no_token_is_told_what_is_needed_and_no_error() {
    let response = answered(Check::default().message(), GATEWAY).await;
    assert_eq!(header(&response, "www-authenticate").as_deref(), Some("Bearer"));
}

#[tokio::test]
async fn while_the_log_is_read_clients_are_told_to_wait() {
    let check = Check::default().bearing(&token(&claims("anna")));
    let mut request = tonic::Request::new(check.message());
    request.extensions_mut().insert(GATEWAY);
    let service = Service::new(fixture::parts_of(false));
    let response = service.check(request).await.expect("an answer").into_inner();
    assert_eq!(short(&response), "503 not_ready");
    assert_eq!(response.status.as_ref().map(|status| status.code), Some(14));
    let wait: u32 = header(&response, "retry-after").expect("a time").parse().expect("seconds");
    assert!(wait > 0);
}

#[tokio::test]
async fn a_resource_has_our_headers_from_us_alone() {
    let check = Check::default().bearing(&token(&claims("anna")));
    let check = check.header("x-caed-subject", "root").header("x_caed_subject", "root");
    let check = check.header("X-Caed-Role", "admin").header("x-other", "stays");
    let response = answered(check.message(), GATEWAY).await;
    assert_eq!(header(&response, "x-caed-subject").as_deref(), Some("anna"));
    assert_eq!(header(&response, "x-caed-decision").as_deref(), Some("allow"));
    let Some(HttpResponse::OkResponse(passed)) = &response.http_response else { panic!("passed") };
    assert_eq!(passed.headers_to_remove, ["x_caed_subject", "x-caed-role"]);
}
