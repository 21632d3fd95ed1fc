//! What is asked in each row, encoded before any clock runs.

use caed_bench::generator::{Call, Calls, Outcome, Target};
use caed_bench::visitors::{Visitor, Visitors, of_batch, of_check, of_evaluate, of_forward_auth};
use caed_proto::v1;
use caed_trust::algorithm::Algorithm;
use caed_trust::maker::Maker;
use prost::Message;
use serde_json::json;

/// Whom raw tokens are for.
pub(crate) const AUDIENCE: &str = "api://files";

/// The id of the key that signed them.
pub(crate) const KEY: &str = "key";

/// Questions in a batch.
pub(crate) const BATCH: usize = 100;

/// Two methods that gateways and services ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Evaluate,
    Check,
}

impl Method {
    pub(crate) const ALL: [Self; 2] = [Self::Evaluate, Self::Check];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Evaluate => "grpc.evaluate",
            Self::Check => "grpc.check",
        }
    }

    /// Claims that the caller vouches for.
    pub(crate) fn calls(self, visitors: Visitors) -> Calls {
        match self {
            Self::Evaluate => {
                let target = grpc("/caed.v1.AccessEvaluation/Evaluate");
                let calls = calls(visitors, |visitor| visitor.evaluate().encode_to_vec());
                Calls { target, calls, outcome: of_evaluate }
            }
            Self::Check => check(calls(visitors, |visitor| visitor.check().encode_to_vec())),
        }
    }
}

/// Envoy's question with a raw token.
pub(crate) fn check_bearing(visitors: Visitors, tokens: &[String]) -> Calls {
    let visitors_and_tokens = (0..).map(|number| visitors.visitor(number)).zip(tokens);
    let calls = visitors_and_tokens.map(|(visitor, token)| Call {
        body: visitor.check_bearing(token).encode_to_vec(),
        expected: visitors.expected(&visitor),
        ..Call::default()
    });
    check(calls.collect())
}

/// nginx's question with a raw token.
pub(crate) fn forward_auth(visitors: Visitors, tokens: &[String]) -> Calls {
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let visitors_and_tokens = visitors.all().zip(tokens);
    let calls = visitors_and_tokens.map(|(visitor, token)| Call {
        path: Some(format!("/forward-auth/nginx/peer={}", visitor.address)),
        headers: vec![text("authorization", &format!("Bearer {token}"))],
        expected: visitors.expected(&visitor),
        ..Call::default()
    });
    let headers = vec![
        text("accept", "application/json"),
        text("user-agent", "files-client/2.4 (linux)"),
        text("x-original-uri", "/v1/files/report.pdf"),
    ];
    let target = Target::Http { method: "GET".to_owned(), path: "/".to_owned(), headers };
    Calls { target, calls: calls.collect(), outcome: of_forward_auth }
}

/// A hundred questions at a time.
pub(crate) fn batch(visitors: Visitors) -> Calls {
    let all: Vec<Visitor> = visitors.all().collect();
    let calls = all.chunks(BATCH).map(|several| {
        let requests = several.iter().map(Visitor::evaluate).collect();
        let expected = several.iter().map(|visitor| visitors.expected(visitor));
        Call {
            body: v1::EvaluateBatchRequest { requests }.encode_to_vec(),
            expected: Outcome::many(expected),
            ..Call::default()
        }
    });
    let target = grpc("/caed.v1.AccessEvaluation/EvaluateBatch");
    Calls { target, calls: calls.collect(), outcome: of_batch }
}

/// Questions as messages of one stream.
pub(crate) fn stream(visitors: Visitors) -> Calls {
    let path = "/caed.v1.AccessEvaluation/EvaluateStream".to_owned();
    Calls { target: Target::GrpcStream { path }, ..Method::Evaluate.calls(visitors) }
}

/// The same questions, of which a floor lets everybody pass.
pub(crate) fn passed(calls: &Calls) -> Calls {
    let passed = |call: &Call| {
        let expected = match call.expected {
            Outcome::Many { .. } => Outcome::many([Outcome::Allowed; BATCH]),
            _ => Outcome::Allowed,
        };
        Call { expected, ..call.clone() }
    };
    Calls { calls: calls.calls.iter().map(passed).collect(), ..calls.clone() }
}

/// Tokens of so many visitors, of the size that usual ones have.
pub(crate) fn tokens(visitors: Visitors, count: u64) -> Vec<String> {
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": KEY}).to_string();
    let token = |number| {
        let visitor = visitors.visitor(number);
        let v1::TokenClaims { iss, tid, sub, iat, exp, sid, azp, deviceid, xms_cc, .. } =
            visitor.claims();
        let payload = json!({
            "aud": AUDIENCE, "iss": iss, "iat": iat, "nbf": iat, "exp": exp, "tid": tid, "sub": sub, "sid": sid,
            "azp": azp, "deviceid": deviceid, "xms_cc": xms_cc, "acr": "1", "amr": ["pwd", "mfa"], "name": "Jo Doe",
            "aio": "AXQAi/8IAAAAzP0mXx9QbT4v1n7s2kqH3uWcR5eYdL8oJ6fG0aBtNiVhMlUjKpEwZrSxCyDvFgTqIb",
            "preferred_username": "jo@contoso.example", "scp": "Files.Read Mail.Read User.Read", "ver": "2.0",
            "uti": format!("{number:022}"), "wids": ["b79fbf4d-3ef9-4689-8143-76b194e85509"],
        });
        Maker::ours().token(Algorithm::Rs256, &header, &payload.to_string())
    };
    (0..count).map(token).collect()
}

fn calls(visitors: Visitors, body: impl Fn(&Visitor) -> Vec<u8>) -> Vec<Call> {
    let call = |visitor: Visitor| Call {
        body: body(&visitor),
        expected: visitors.expected(&visitor),
        ..Call::default()
    };
    visitors.all().map(call).collect()
}

fn check(calls: Vec<Call>) -> Calls {
    Calls { target: grpc("/envoy.service.auth.v3.Authorization/Check"), calls, outcome: of_check }
}

fn grpc(path: &str) -> Target {
    Target::Grpc { path: path.to_owned() }
}
