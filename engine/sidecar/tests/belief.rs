//! Raw tokens, and claims that somebody vouches for, asked of a real sidecar (T2).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::evaluate_request::Token;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_proto::v1::operations_client::OperationsClient;
use caed_trust::algorithm::Algorithm;
use caed_trust::maker::Maker;
use process::{
    ANY_PORTS, ISSUER, OPEN, Sidecar, Site, TENANT, now_ms, publish, revoked, run, stderr, stdout,
};
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Channel;

/// A sidecar that verifies tokens by a file of keys.
async fn started(site: &Site, access: &str) -> (Sidecar, Channel) {
    let keys = json!({"keys": [Maker::ours().rsa_jwk("k")]}).to_string();
    let keys = site.file("keys.json", &keys);
    let raw =
        format!("audiences = [\"files\"]\nkeys = '{}'\nalgorithms = [\"RS256\"]", keys.display());
    let mut sidecar = Sidecar::start(&site.guarded("caed.toml", ANY_PORTS, &raw, access));
    sidecar.logged("ready");
    let channel = sidecar.connect().await;
    (sidecar, channel)
}

/// What a token of anna's says, issued ten minutes ago.
fn payload() -> Value {
    let issued_s = now_ms() / 1000 - 600;
    json!({
        "iss": ISSUER, "tid": TENANT, "sub": "anna", "aud": "files", "iat": issued_s,
        "exp": issued_s + 3600, "xms_cc": ["cp1"],
    })
}

/// The payload with members changed; `null` takes one out.
fn with(changes: &Value) -> Value {
    let mut payload = payload();
    for (name, value) in changes.as_object().expect("members") {
        if value.is_null() {
            payload.as_object_mut().expect("members").remove(name);
        } else {
            payload[name] = value.clone();
        }
    }
    payload
}

fn signed(payload: &Value) -> String {
    Maker::ours().token(Algorithm::Rs256, r#"{"alg":"RS256","kid":"k"}"#, &payload.to_string())
}

fn ask(token: Token) -> v1::EvaluateRequest {
    v1::EvaluateRequest { token: Some(token), ..v1::EvaluateRequest::default() }
}

fn claims(payload: &Value) -> Token {
    Token::Claims(caed_decode::claims::payload(&payload.to_string()).expect("claims"))
}

async fn reply(channel: &Channel, request: v1::EvaluateRequest) -> v1::EvaluateReply {
    let reply = AccessEvaluationClient::new(channel.clone()).evaluate(request).await;
    reply.expect("an answer").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_token_is_verified_and_then_decided_about() {
    use v1::Reason::{
        BeyondHorizon, Expired, IssueTimeMissing, Malformed, NotYetValid, Unspecified, Unverified,
    };
    let site = Site::new();
    let (sidecar, channel) = started(&site, "").await;
    let now_s = now_ms() / 1000;
    let forged = Maker::theirs();
    let forged =
        forged.token(Algorithm::Rs256, r#"{"alg":"RS256","kid":"k"}"#, &payload().to_string());
    let changed = |changes: Value| signed(&with(&changes));
    for (token, status, reason, detail) in [
        (signed(&payload()), 200, Unspecified, ""),
        (forged, 401, Unverified, "the token's signature is not its issuer's"),
        ("what".to_owned(), 401, Unverified, "three parts"),
        (changed(json!({"aud": "mail"})), 401, Unverified, "none of the audiences"),
        (changed(json!({"iss": "https://idp.example.evil"})), 401, Unverified, "not configured"),
        (changed(json!({"iat": "yesterday"})), 401, Unverified, "`iat` must be a whole number"),
        (changed(json!({"sub": ["anna"]})), 401, Unverified, "`sub` must be a text"),
        // Dead by what it says (D1).
        (changed(json!({"exp": now_s - 301})), 401, Expired, ""),
        (changed(json!({"exp": now_s - 240})), 200, Unspecified, ""),
        (changed(json!({"nbf": now_s + 400})), 401, NotYetValid, ""),
        (changed(json!({"iat": now_s + 400, "exp": now_s + 4000})), 401, NotYetValid, ""),
        (changed(json!({"iat": null})), 401, IssueTimeMissing, ""),
        (
            changed(json!({"exp": now_s - 600 - 3600})),
            401,
            Malformed,
            "claim `exp` is not after `iat`",
        ),
        (changed(json!({"iat": now_s - 31 * 3600})), 401, BeyondHorizon, ""),
        (changed(json!({"sub": null})), 401, Malformed, "claim `sub` is missing"),
        (changed(json!({"sub": "an\u{0}na"})), 401, Malformed, "control character"),
    ] {
        let told = reply(&channel, ask(Token::Jwt(token.clone()))).await;
        assert_eq!(
            (told.http_status, told.primary_reason()),
            (status, reason),
            "{token}: {told:?}"
        );
        assert!(told.detail.contains(detail), "{detail}: {}", told.detail);
        assert!(!told.detail.contains("anna") && !told.detail.contains("evil"), "{}", told.detail);
        // Asked again, it is remembered, and decided about again.
        assert_eq!(reply(&channel, ask(Token::Jwt(token))).await.http_status, status);
    }
    // A revocation counts for a token that is remembered.
    let token = signed(&payload());
    assert_eq!(reply(&channel, ask(Token::Jwt(token.clone()))).await.http_status, 200);
    let events = publish(vec![revoked("anna")], v1::Wait::Applied);
    EventPublisherClient::new(channel.clone()).publish(events).await.expect("published");
    let told = reply(&channel, ask(Token::Jwt(token.clone()))).await;
    assert_eq!(
        (told.verdict(), told.primary_reason()),
        (v1::Verdict::Challenge, v1::Reason::Revoked)
    );
    // A batch says which is which.
    let requests = vec![ask(Token::Jwt(token)), ask(Token::Jwt("what".to_owned()))];
    let batch = AccessEvaluationClient::new(channel.clone())
        .evaluate_batch(v1::EvaluateBatchRequest { requests })
        .await;
    let reasons: Vec<_> = batch.expect("answers").into_inner().replies;
    let reasons: Vec<_> = reasons.iter().map(v1::EvaluateReply::primary_reason).collect();
    assert_eq!(reasons, [v1::Reason::Revoked, Unverified]);
    // A stream answers in the order in which it was asked.
    let requests: Vec<_> = (0..100)
        .map(|number| match number % 3 {
            0 => ask(Token::Jwt("what".to_owned())),
            1 => ask(Token::Jwt(signed(&with(&json!({"sub": format!("user-{number}")}))))),
            _ => ask(Token::Jwt(signed(&payload()))),
        })
        .collect();
    let replies = AccessEvaluationClient::new(channel.clone())
        .evaluate_stream(tokio_stream::iter(requests))
        .await;
    let replies = replies.expect("answers").into_inner();
    let replies: Vec<_> = tokio_stream::StreamExt::collect(replies).await;
    assert_eq!(replies.len(), 100);
    for (number, reply) in replies.into_iter().enumerate() {
        let expected = [Unverified, Unspecified, v1::Reason::Revoked][number % 3];
        assert_eq!(reply.expect("an answer").primary_reason(), expected, "{number}");
    }
    sidecar.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_are_believed_from_those_who_may_vouch_and_are_of_the_token_presented() {
    let site = Site::new();
    let (sidecar, channel) = started(&site, "").await;
    let mut decisions = AccessEvaluationClient::new(channel.clone());
    let refused = decisions.evaluate(ask(claims(&payload()))).await.expect_err("nobody may vouch");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("add `vouch`"), "{}", refused.message());
    sidecar.terminate();

    let site = Site::new();
    let (sidecar, channel) = started(&site, OPEN).await;
    // Nobody verifies what is presented: whoever vouches did.
    let unsigned = |payload: &Value| {
        let token = signed(payload);
        let (rest, _) = token.rsplit_once('.').expect("a signature");
        format!("{rest}.c2lnbmVk")
    };
    for (presented, status, detail) in [
        (String::new(), 200, ""),
        (unsigned(&payload()), 200, ""),
        (unsigned(&with(&json!({"sub": "boris"}))), 401, "claim `sub` is not the one of the token"),
        (unsigned(&with(&json!({"iat": 1}))), 401, "claim `iat` is not the one of the token"),
        (unsigned(&with(&json!({"tid": null}))), 200, ""),
        (unsigned(&with(&json!({"groups": ["g-1"]}))), 200, ""),
        ("opaque".to_owned(), 401, "is no signed JWT"),
    ] {
        let request =
            v1::EvaluateRequest { presented: presented.clone(), ..ask(claims(&payload())) };
        let told = reply(&channel, request).await;
        assert_eq!(told.http_status, status, "{presented}: {told:?}");
        assert!(told.detail.contains(detail), "{detail}: {}", told.detail);
    }
    let both = v1::EvaluateRequest {
        presented: "a.b.c".to_owned(),
        ..ask(Token::Jwt(signed(&payload())))
    };
    let mut decisions = AccessEvaluationClient::new(channel.clone());
    let refused = decisions.evaluate(both).await.expect_err("one token too many");
    assert_eq!(refused.code(), Code::InvalidArgument);
    sidecar.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explanation_tells_why_a_token_is_believed() {
    let site = Site::new();
    let (sidecar, channel) = started(&site, "").await;
    let mut operations = OperationsClient::new(channel);
    let basis = |explained: &v1::ExplainReply| explained.belief.as_ref().expect("told").basis();
    for (token, expected) in [
        (Token::Jwt(signed(&payload())), v1::BeliefBasis::Verified),
        // Whoever may administer may ask about anybody.
        (claims(&payload()), v1::BeliefBasis::Given),
        (Token::Jwt("what".to_owned()), v1::BeliefBasis::Refused),
    ] {
        let explained = operations.explain(ask(token)).await.expect("explained").into_inner();
        assert_eq!(basis(&explained), expected, "{explained:?}");
    }

    let at = sidecar.grpc().to_string();
    let file = site.file("token.jwt", &format!("{}\n", signed(&payload())));
    let file = file.to_str().expect("a path");
    let output = run(&["decide", "--at", &at, "--token", file, "--explain"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("verified here, by a key of its issuer"),
        "{}",
        stdout(&output)
    );
    let output = run(&["decide", "--at", &at, "--token", file, "--sub", "anna"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    sidecar.terminate();
}
