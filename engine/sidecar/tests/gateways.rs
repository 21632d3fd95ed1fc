//! A real sidecar asked as gateways ask: whatever they speak, they are answered as an API is.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use caed_proto::ext_authz::authorization_client::AuthorizationClient;
use caed_proto::ext_authz::check_response::HttpResponse;
use caed_proto::ext_authz::{
    Address, AttributeContext, CheckRequest, HeaderValue, HeaderValueOption, HttpRequest, Peer,
    Request, SocketAddress,
};
use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::client_address::Is;
use caed_proto::v1::evaluate_request::Token;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_trust::algorithm::Algorithm;
use caed_trust::maker::Maker;
use process::{ISSUER, Sidecar, Site, TENANT, get_with, now_ms, publish, revoked};
use serde_json::json;
use tonic::transport::Channel;

const CLIENT: &str = "203.0.113.9";

/// What a client is answered: a status, the challenge, and in how many seconds to come back.
type Answer = (u32, String, u32);

fn token(user: &str, age_s: i64) -> String {
    let issued_s = now_ms() / 1000 - age_s;
    let payload = json!({
        "iss": ISSUER, "tid": TENANT, "sub": user, "aud": "files", "iat": issued_s,
        "exp": issued_s + 3600, "xms_cc": ["cp1"],
    });
    let header = r#"{"alg":"RS256","kid":"k"}"#;
    Maker::ours().token(Algorithm::Rs256, header, &payload.to_string())
}

/// What an API is answered.
async fn asked_natively(channel: &Channel, token: &str) -> Answer {
    let request = v1::EvaluateRequest {
        token: Some(Token::Jwt(token.to_owned())),
        client: Some(v1::ClientAddress { is: Some(Is::Ip(CLIENT.to_owned())) }),
        ..v1::EvaluateRequest::default()
    };
    let reply = AccessEvaluationClient::new(channel.clone()).evaluate(request).await;
    let reply = reply.expect("an answer").into_inner();
    (reply.http_status, reply.www_authenticate, reply.retry_after_s)
}

/// What Envoy is answered over gRPC.
async fn asked_by_envoy(channel: &Channel, token: &str) -> Answer {
    let authorization = HeaderValue {
        key: b"authorization".to_vec(),
        value: format!("Bearer {token}").into_bytes(),
        raw_value: Vec::new(),
    };
    let socket_address = Some(SocketAddress { address: CLIENT.to_owned() });
    let http = HttpRequest { headers: vec![authorization], header_map: None };
    let request = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer { address: Some(Address { socket_address }) }),
            request: Some(Request { http: Some(http) }),
            ..AttributeContext::default()
        }),
    };
    let response = AuthorizationClient::new(channel.clone()).check(request).await;
    let response = response.expect("an answer").into_inner();
    let code = response.status.expect("a status").code;
    match response.http_response.expect("an answer") {
        HttpResponse::OkResponse(_) => {
            assert_eq!(code, 0);
            (200, String::new(), 0)
        }
        HttpResponse::DeniedResponse(denied) => {
            assert_ne!(code, 0);
            let header = |name: &str| header(&denied.headers, name);
            let status = u32::try_from(denied.status.expect("a status").code).expect("a status");
            (status, header("www-authenticate"), header("retry-after").parse().unwrap_or(0))
        }
    }
}

fn header(headers: &[HeaderValueOption], name: &str) -> String {
    let mut headers = headers.iter().filter_map(|option| option.header.as_ref());
    let found = headers.find(|header| header.key == name.as_bytes());
    found.map(|header| String::from_utf8(header.value.clone()).expect("text")).unwrap_or_default()
}

/// What a gateway is answered over HTTP. It sends what Traefik is documented to send, of which others send less.
fn asked_over_http(sidecar: &Sidecar, path: &str, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [
        ("Accept-Encoding", "gzip"),
        ("Authorization", authorization.as_str()),
        ("X-Forwarded-For", CLIENT),
        ("X-Forwarded-Host", "files.example"),
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Server", "traefik-1"),
        ("X-Forwarded-Uri", "/files?peer=10.0.0.1"),
        ("X-Real-Ip", CLIENT),
        ("X-Caed-Peer", CLIENT),
    ];
    let (status, head) = get_with(sidecar.http(), path, &headers);
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    (status.into(), header("www-authenticate"), header("retry-after").parse().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_gateway_is_answered_as_an_api_is() {
    let site = Site::new();
    let keys = json!({"keys": [Maker::ours().rsa_jwk("k")]}).to_string();
    let keys = site.file("keys.json", &keys);
    let text = format!(
        "[log]\ndirectory = '{}'\n[listen]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
         [telemetry]\nformat = \"json\"\n\
         [[issuers]]\nissuer = \"{ISSUER}\"\ntenants = [\"{TENANT}\"]\n\
         audiences = [\"files\"]\nkeys = '{}'\nalgorithms = [\"RS256\"]\n",
        site.path("log").display(),
        keys.display()
    );
    let mut sidecar = Sidecar::start(&site.file("caed.toml", &text));
    sidecar.logged("ready");
    let channel = sidecar.connect().await;
    let revocation = publish(vec![revoked("gone")], v1::Wait::Applied);
    EventPublisherClient::new(channel.clone()).publish(revocation).await.expect("published");

    let forged = format!("{}x", token("anna", 600));
    for (token, status) in [
        (token("anna", 600), 200),
        (token("gone", 600), 401),
        (token("anna", 200_000), 401),
        (forged, 401),
        ("opaque".to_owned(), 401),
    ] {
        let expected = asked_natively(&channel, &token).await;
        assert_eq!(expected.0, status);
        assert_eq!(asked_by_envoy(&channel, &token).await, expected, "Envoy");
        for path in ["nginx/peer=203.0.113.9", "caddy", "traefik", "envoy/files?a=b"] {
            let path = format!("/forward-auth/{path}");
            assert_eq!(asked_over_http(&sidecar, &path, &token), expected, "{path}");
        }
    }
    assert!(asked_natively(&channel, &token("gone", 600)).await.1.contains("insufficient_claims"));
}
