//! Scenarios asked inside an API, and of a gateway's surface, by one raw token: both answer alike, byte by byte, and
//! as the scenario says.
//!
//! The token is signed here; its claims are the scenario's own, and where these name no audience, one that tells no
//! application (P3).

use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{self, Body};
use axum::http::{Request, Response};
use caed_core::publish::SnapshotReader;
use caed_core::rules::Profile;
use caed_core::time::Clock;
use caed_decode::claims::Names;
use caed_proto::v1;
use caed_surfaces::forward_auth;
use caed_surfaces::native::Parts;
use caed_surfaces::rights::Rights;
use caed_tests::answer::{self, differ};
use caed_tests::scenario::Scenario;
use caed_tests::world::Belief;
use caed_tower::{Access, Admitted, Refused};
use caed_trust::algorithm::Algorithm;
use caed_trust::issuer::{Issuer, Issuers};
use caed_trust::keyring::Keyring;
use caed_trust::keys::Keys;
use caed_trust::maker::Maker;
use caed_trust::verifier::Verifier;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::duplex;
use tokio::join;
use tower::{Layer, ServiceExt, service_fn};

/// An audience that tells no application.
const NOBODY: &str = "https://api.example";

/// Any answer is shorter.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A status, headers in order, and the body.
type Bytes = (u16, Vec<(String, String)>, String);

/// The token that a scenario is asked by, and who verifies it. `None` where it can't be asked so: nobody who asks
/// over HTTP says that a request has no address by its nature, and no issuer signs what names none, or is not such
/// as tokens have it.
pub(crate) async fn presented(scenario: &Scenario) -> Option<(Verifier, String)> {
    if scenario.from.as_deref() == Some("none by nature") {
        return None;
    }
    match scenario.belief {
        Belief::Believed => signed(scenario).await,
        Belief::Refused => Some((Verifier::default(), "no token".to_owned())),
        Belief::NoKeys => Some((super::without_keys(), super::of_no_keys())),
    }
}

async fn signed(scenario: &Scenario) -> Option<(Verifier, String)> {
    let mut claims = scenario.token.claims();
    if claims.aud.is_empty() {
        claims.aud.push(NOBODY.to_owned());
    }
    let keys = json!({"keys": [Maker::ours().p256_jwk("k")]}).to_string();
    let (keys, _) = Keys::parse(keys.as_bytes()).expect("keys");
    let issuer = Issuer {
        name: claims.iss.clone()?,
        audiences: claims.aud.clone(),
        algorithms: vec![Algorithm::Es256],
        keys: Arc::new(Keyring::fixed(keys)),
        key_issuer: None,
        tenant: None,
        claims: Names { judged: Some("judged".to_owned()), ..Names::default() },
    };
    let verifier = Verifier::new(Issuers::new([issuer]).ok()?);
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    let token = Maker::ours().token(Algorithm::Es256, header, &payload(&claims).to_string());
    let read = verifier.verify(token.as_bytes()).await.ok()?;
    (*read == claims).then_some((verifier, token))
}

fn payload(claims: &v1::TokenClaims) -> Value {
    let v1::TokenClaims {
        iss,
        tid,
        sub,
        iat,
        exp,
        nbf,
        sid,
        jti,
        azp,
        deviceid,
        xms_cc,
        aud,
        ipaddr,
        acct,
        auth_time,
        idtyp,
        groups,
        wids,
        judged,
    } = claims;
    let (groups, wids) =
        (groups.as_ref().map(|claim| &claim.values), wids.as_ref().map(|claim| &claim.values));
    json!({
        "iss": iss, "tid": tid, "sub": sub, "iat": iat, "exp": exp, "nbf": nbf, "sid": sid,
        "jti": jti, "azp": azp, "deviceid": deviceid, "xms_cc": xms_cc, "aud": aud,
        "ipaddr": ipaddr, "acct": acct, "auth_time": auth_time, "idtyp": idtyp,
        "groups": groups, "wids": wids, "judged": judged,
    })
}

/// What a gateway is answered, but for what belongs to its connection.
async fn asked_by_gateway(parts: Parts, request: Request<Body>) -> Bytes {
    let (client, server) = duplex(BODY_BYTES_MAX);
    let served = forward_auth::serve(Arc::new(parts), server, Rights::ALL, pending());
    let (mut sender, connection) = handshake(TokioIo::new(client)).await.expect("a connection");
    let ask = async move {
        let response = sender.send_request(request).await.expect("an answer");
        bytes(response.map(Body::new)).await
    };
    let ((), connected, (status, mut headers, body)) = join!(served, connection, ask);
    connected.expect("no error");
    headers.retain(|(name, _)| !["content-length", "date"].contains(&name.as_str()));
    (status, headers, body)
}

/// Everything in which either answer is not what it should be.
pub(crate) async fn problems(
    scenario: &Scenario,
    parts: Parts,
    (snapshots, clock): (SnapshotReader, Arc<dyn Clock>),
    enforced: &Profile,
    token: &str,
) -> Vec<String> {
    let mut problems = Vec::new();
    // What is no address is not told.
    let from: Option<IpAddr> = scenario.from.as_ref().and_then(|from| from.parse().ok());
    let request = || Request::get("/").header("authorization", format!("Bearer {token}"));

    let access = Access::new(snapshots, parts.verifier.clone(), clock)
        .with_profile(enforced.clone())
        .with_peer(|request| request.get::<IpAddr>().copied());
    let inner = service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::empty());
        let admitted = request.extensions().get::<Admitted>().expect("let in").clone();
        response.extensions_mut().insert(admitted);
        Ok::<_, Infallible>(response)
    });
    let mut asked = request().body(Body::empty()).expect("a request");
    if let Some(from) = from {
        asked.extensions_mut().insert(from);
    }
    let response = access.layer(inner).oneshot(asked).await.expect("an answer");
    let admitted = response.extensions().get::<Admitted>().cloned();
    let refused = response.extensions().get::<Refused>().cloned();
    let by_layer = bytes(response).await;

    let profile = scenario.named_profile.as_ref().map(|name| format!("/profile={name}"));
    let path = format!("/forward-auth/caddy{}", profile.unwrap_or_default());
    let mut asked = request().uri(path);
    if let Some(from) = from {
        asked = asked.header("x-forwarded-for", from.to_string());
    }
    let by_gateway = asked_by_gateway(parts, asked.body(Body::empty()).expect("a request")).await;

    match (admitted, refused.and_then(|refused| refused.decision)) {
        (Some(admitted), None) => {
            if scenario.expect.answer != "allow" {
                problems.push(differ("layer", &scenario.expect.answer.as_str(), &"allow"));
            }
            let (status, headers, _) = by_gateway;
            let told = |name: &str| {
                headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
            };
            let address =
                admitted.address.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
            let rows =
                [("tenant", admitted.tenant), ("subject", admitted.subject), ("address", address)];
            for (name, seen) in rows {
                let name = format!("x-caed-{name}");
                let expected = told(&name);
                // What no header bears as it is stands there in percents.
                if expected.is_some_and(|text| text.contains('%')) {
                    continue;
                }
                let seen = Some(seen.as_str());
                if status != 200 || expected != seen {
                    problems.push(differ(&format!("layer, {name}"), &expected, &seen));
                }
            }
        }
        (None, Some(decision)) => {
            let told = answer::of_decision(scenario, &decision);
            answer::check(scenario, "layer", &told, &mut problems);
            if by_layer != by_gateway {
                problems.push(differ("layer, as gateways are answered", &by_gateway, &by_layer));
            }
        }
        neither => problems.push(format!("  layer: neither let in nor refused: {neither:?}")),
    }
    problems
}

async fn bytes(response: Response<Body>) -> Bytes {
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    // axum tells how long a body is; whoever serves the layer does, too.
    let headers = headers.filter(|(name, _)| *name != "content-length");
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect();
    headers.sort_unstable();
    let body = body::to_bytes(response.into_body(), BODY_BYTES_MAX).await.expect("a body");
    (status, headers, String::from_utf8(body.to_vec()).expect("text"))
}
