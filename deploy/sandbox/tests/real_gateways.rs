//! Real gateways before a real caed, by the configurations that `deploy/` shows: each lets in whom caed lets in, hands
//! on its challenge as it is, believes no address that a client writes, and lets nobody in when caed does not answer.
//!
//! What is right is what caed answers to an API that asks it directly, with the address that the client has.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

#[path = "real_gateways/https.rs"]
mod https;
#[path = "real_gateways/kafka.rs"]
mod kafka;
#[path = "real_gateways/load.rs"]
mod load;
mod sidecar;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use caed_proto::ext_authz::authorization_server::{Authorization, AuthorizationServer};
use caed_proto::ext_authz::{CheckRequest, CheckResponse};
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_sandbox::gateway::Gateway;
use caed_sandbox::issuer::TENANT;
use caed_sandbox::{Ports, Sandbox, Setup};
use https::{Answer, Connection, Connector, Version};
use kafka::Kafka;
use load::Load;
use serde_json::{Value, json};
use sidecar::{now_s, revoked};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Every way in which a gateway asks.
const ALL: [Gateway; 5] =
    [Gateway::Envoy, Gateway::EnvoyJwtAuthn, Gateway::EnvoyHttp, Gateway::Nginx, Gateway::Caddy];

/// Clients' addresses: in the office, elsewhere, and a load balancer's.
const OFFICE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// How long something may take that takes milliseconds, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

type Changes<'c> = &'c [(&'c str, &'c str)];

/// A gateway with all that is behind it.
struct Scene {
    gateway: Gateway,
    sandbox: Sandbox,
}

impl Scene {
    async fn new(gateway: Gateway) -> Self {
        Self::with(gateway, &[], &[]).await
    }

    /// One whose gateway waits for caed longer than the examples do: a busy machine now and then stands still for as
    /// long as that.
    async fn with(gateway: Gateway, changes: Changes<'_>, caed: Changes<'_>) -> Self {
        let patient = match gateway {
            Gateway::Nginx | Gateway::Caddy => ("250ms", "10s"),
            _ => ("0.25s", "10s"),
        };
        Self::hasty(gateway, &[changes, &[patient]].concat(), caed).await
    }

    /// One whose gateway waits for caed as the examples do.
    async fn hasty(gateway: Gateway, gateway_changes: Changes<'_>, caed: Changes<'_>) -> Self {
        let ports = Ports::free().expect("free ports");
        let setup = Setup { gateway, ports, gateway_changes, caed_changes: caed };
        let sandbox = Sandbox::start(setup).await.unwrap_or_else(|error| panic!("{error:?}"));
        Self { gateway, sandbox }
    }

    async fn connection(&self, from: Ipv4Addr) -> Connection {
        Connector::new(&self.sandbox, from, Version::Http2).connect().await
    }

    /// A token that was issued a minute ago.
    fn token(&self, client: &str) -> String {
        self.sandbox.issuer.token(client, now_s() - 60, true)
    }

    /// What the API is told, who asks it directly.
    async fn natively(&self, token: &str, from: Ipv4Addr) -> v1::EvaluateReply {
        sidecar::evaluated(&self.sandbox, token, Some(from)).await
    }

    async fn publish(&self, facts: Vec<Fact>) {
        sidecar::publish(&self.sandbox, facts, None).await;
    }

    /// Waits until the gateway's access log has such a line.
    async fn until_logged(&self, is_it: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let log = self.sandbox.said("gateway.log");
            if log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .any(|line| is_it(&line))
            {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{:?}: {log}", self.gateway);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a client gets that caed can't decide about.
    fn undecided(&self) -> u16 {
        // A 5xx would be an error to Envoy, which it may be told to ignore.
        if self.gateway == Gateway::EnvoyHttp { 429 } else { 503 }
    }

    /// Asserts that of a request from there, which bears this chain, that address counts: who is not in the office is
    /// let in nowhere.
    async fn assert_client_is_at(&self, from: Ipv4Addr, chain: &str, counts: Ipv4Addr) {
        let token = self.token("anna");
        let authorization = bearer(&token);
        let headers = [("authorization", authorization.as_str()), ("x-forwarded-for", chain)];
        let answer = self.connection(from).await.get("/report", &headers).await;
        let native = self.natively(&token, counts).await;
        self.assert_as_native(&answer, &native);
        assert_eq!(answer.status == 200, counts == OFFICE, "{:?}: {from} {chain}", self.gateway);
    }

    /// Asserts that a client got what the API itself would be told to say.
    fn assert_as_native(&self, answer: &Answer, native: &v1::EvaluateReply) {
        let gateway = self.gateway;
        let native_status = u16::try_from(native.http_status).expect("a status");
        let expected = if native_status == 503 { self.undecided() } else { native_status };
        assert_eq!(answer.status, expected, "{gateway:?}: {answer:?}");
        if expected == 200 {
            return;
        }
        let challenges = answer.lines("www-authenticate");
        match native.www_authenticate.as_str() {
            "" => assert!(challenges.is_empty(), "{gateway:?}: {answer:?}"),
            challenge => assert_eq!(challenges, [challenge], "{gateway:?}"),
        }
        let retry_after = answer.lines("retry-after");
        match native.retry_after_s {
            0 => assert!(retry_after.is_empty(), "{gateway:?}: {answer:?}"),
            seconds => assert_eq!(retry_after, [seconds.to_string()], "{gateway:?}"),
        }
        assert_is_refusal(gateway, answer);
    }
}

/// A refusal is JSON with a code, and no cache keeps it.
fn assert_is_refusal(gateway: Gateway, answer: &Answer) {
    let body: Value = serde_json::from_str(&answer.body)
        .unwrap_or_else(|error| panic!("{gateway:?}: {error}: {answer:?}"));
    assert!(body["error"]["code"].is_string(), "{gateway:?}: {answer:?}");
    assert_eq!(answer.lines("content-type"), ["application/json"], "{gateway:?}");
    assert_eq!(answer.lines("cache-control"), ["no-store"], "{gateway:?}");
}

/// Whoever is not in the office is let in nowhere.
fn office_alone() -> Vec<Fact> {
    let all = || vec!["All".to_owned()];
    let office = "office".to_owned();
    let ranges = v1::IpRanges { cidrs: vec![format!("{OFFICE}/32")] };
    let location = v1::LocationChanged {
        location: office.clone(),
        ranges: Some(ranges),
        ..Default::default()
    };
    let policy = v1::PolicyChanged {
        policy: "office alone".to_owned(),
        state: v1::PolicyState::Enabled.into(),
        users: Some(v1::PolicyUsers { include_users: all(), ..Default::default() }),
        applications: Some(v1::PolicyApplications { include: all(), ..Default::default() }),
        locations: Some(v1::PolicyLocations { include: all(), exclude: vec![office] }),
        grant_controls: vec!["block".to_owned()],
        ..Default::default()
    };
    vec![Fact::LocationChanged(location), Fact::PolicyChanged(policy)]
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_lets_in_whom_caed_lets_in_and_hands_on_its_challenge() {
    for gateway in ALL {
        let scene = Scene::new(gateway).await;
        let mut client = scene.connection(OFFICE).await;

        let free = client.get("/healthz", &[]).await;
        assert_eq!((free.status, free.body.as_str()), (200, "healthy\n"), "{gateway:?}");

        let none = client.get("/report", &[]).await;
        assert_eq!(none.status, 401, "{gateway:?}: {none:?}");
        assert_eq!(none.lines("www-authenticate"), ["Bearer"], "{gateway:?}");
        assert_is_refusal(gateway, &none);

        // The API has it from caed who asks, whatever the client writes.
        let old = bearer(&scene.token("anna"));
        let headers = [
            ("authorization", old.as_str()),
            ("x-caed-subject", "ben"),
            ("X-Caed-Decision", "deny"),
            ("x_caed_subject", "ben"),
            ("X_CAED-SUBJECT", "ben"),
            ("x-caed_subject", "ben"),
        ];
        let allowed = client.get("/report?a=b%2Fc", &headers).await;
        assert_eq!(allowed.status, 200, "{gateway:?}: {allowed:?}");
        let told: Value = serde_json::from_str(&allowed.body).expect("JSON");
        let caed = json!({
            "x-caed-decision": ["allow"], "x-caed-tenant": [TENANT], "x-caed-subject": ["anna"],
            "x-caed-address": [OFFICE.to_string()],
        });
        let expected =
            json!({"method": "GET", "path": "/report?a=b%2Fc", "bytes": 0, "caed": caed});
        assert_eq!(told, expected, "{gateway:?}");

        // Whoever forges a signature is nobody.
        let forged = old.rsplit_once('.').map(|(head, _)| format!("{head}.AAAA")).expect("a token");
        let answer = client.get("/report", &[("authorization", &forged)]).await;
        assert_eq!(answer.status, 401, "{gateway:?}: {answer:?}");

        // A load goes on meanwhile, over connections that are kept and over HTTP/2.
        let ben = scene.token("ben");
        let load =
            Load::start(&scene.sandbox, OFFICE, &[("anna", &old), ("ben", &bearer(&ben))]).await;
        load.has_asked(50).await;
        scene.publish(vec![revoked("anna")]).await;
        let revoked_at = Instant::now();
        let challenged = client.get("/report", &[("authorization", &old)]).await;
        let token = old.strip_prefix("Bearer ").expect("a token");
        let native = scene.natively(token, OFFICE).await;
        assert_eq!(native.verdict(), v1::Verdict::Challenge, "{gateway:?}");
        scene.assert_as_native(&challenged, &native);
        load.has_asked(50).await;

        let nbf = native.challenge.as_ref().expect("a challenge").nbf;
        let claims =
            json!({"access_token": {"nbf": {"essential": true, "value": nbf.to_string()}}});
        assert_eq!(claims_of(challenged.lines("www-authenticate")[0]), claims, "{gateway:?}");

        let nbf = u64::try_from(nbf).expect("after 1970");
        let newer = bearer(&scene.sandbox.issuer.token("anna", nbf, true));
        let answer = client.get("/report", &[("authorization", &newer)]).await;
        assert_eq!(answer.status, 200, "{gateway:?}: {answer:?}");

        // Envoy has it for its access log, where it asks over gRPC.
        if let Gateway::Envoy | Gateway::EnvoyJwtAuthn = gateway {
            scene
                .until_logged(|line| {
                    line["status"] == 401
                        && line["cae_decision"] == "challenge"
                        && line["cae_reason"] == "revoked"
                        && line["cae_code"] == "TokenIssuedBeforeRevocationTimestamp"
                        && line["cae_age_ms"].is_number()
                })
                .await;
        }

        for seen in load.stop().await {
            let expected: &[u16] = match seen.who {
                "ben" => &[200],
                _ if seen.asked > revoked_at => &[401],
                _ => &[200, 401],
            };
            assert!(expected.contains(&seen.status), "{gateway:?}: {seen:?}");
        }
    }
}

/// However a client writes the path of what is free for all, nothing else is, and the API is told nothing by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_free_is_that_alone() {
    for gateway in ALL {
        let scene = Scene::new(gateway).await;
        let http1 = Connector::new(&scene.sandbox, OFFICE, Version::Http1);
        for path in [
            "/report/../healthz",
            "/report/..%2fhealthz",
            "/report/%2e%2e/healthz",
            "/report;/../healthz",
            "/report/x/../../healthz?admin=1",
            "/healthz/../report",
            "/healthz%2f..%2freport",
            "/healthz/..;/report",
            "//healthz",
            "/HEALTHZ",
            "/healthz...",
            "/healthz%20",
            "/healthz/",
            "/healthz;/report",
            "/healthz%23/../report",
            "/healthz#/../report",
            "https://localhost/report",
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let answer = http1.answer_to(request.as_bytes()).await;
            // The API's own answer to this path says what it was asked; free is what says that it is healthy.
            let is_free = answer.ends_with("healthy\n");
            let is_refused = answer.split(' ').nth(1).is_none_or(|status| {
                status.parse().is_ok_and(|status: u16| (300..500).contains(&status))
            });
            assert!(is_free || is_refused, "{gateway:?}: {path}: {answer}");
        }

        let mut client = scene.connection(OFFICE).await;
        let forged = [("x-caed-subject", "root"), ("x_caed_tenant", "root")];
        let told = client.get("/healthz", &forged).await;
        assert_eq!((told.status, told.body.as_str()), (200, "healthy\n"), "{gateway:?}: {told:?}");
    }
}

/// However a path is written, the route that it belongs to demands what it demands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_way_of_writing_a_path_leads_round_its_route() {
    for gateway in [Gateway::Envoy, Gateway::EnvoyJwtAuthn] {
        let scene = Scene::new(gateway).await;
        let token = bearer(&scene.token("anna"));
        let http1 = Connector::new(&scene.sandbox, OFFICE, Version::Http1);
        // The route of files is for another audience than the token is.
        for path in [
            "/files/a",
            "//files/a",
            "/x/../files/a",
            "/./files/a",
            "/files//a",
            "/%66iles/a",
            "/files%2fa",
            "/x%2f..%2ffiles/a",
            "/x/%2e%2e/files/a",
            "\\files\\a",
            "/\\files/a",
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: {token}\r\n\r\n"
            );
            let status = http1.status_of(request.as_bytes()).await;
            let is_refused = status.is_some_and(|status| (400..500).contains(&status));
            assert!(is_refused, "{gateway:?}: {path}: {status:?}");
        }
    }
}

/// What a browser, an upload and a probe send is asked about as well as the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_is_asked_about() {
    for gateway in ALL {
        let scene = Scene::new(gateway).await;
        scene.publish(vec![revoked("anna")]).await;
        let (anna, ben) = (bearer(&scene.token("anna")), bearer(&scene.token("ben")));
        let http1 = Connector::new(&scene.sandbox, OFFICE, Version::Http1);
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            for (token, expected) in [(&anna, 401), (&ben, 200)] {
                let body = if ["POST", "PUT", "PATCH"].contains(&method) {
                    "a".repeat(100_000)
                } else {
                    String::new()
                };
                let request = format!(
                    "{method} /report HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: {token}\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let status = http1.status_of(request.as_bytes()).await;
                assert_eq!(status, Some(expected), "{gateway:?}: {method}");
            }
        }
        // An upgrade of the connection is a request like any other.
        for (token, expected) in [(&anna, 401), (&ben, 200)] {
            let request = format!(
                "GET /report HTTP/1.1\r\nhost: localhost\r\nauthorization: {token}\r\nconnection: upgrade, close\r\n\
                 upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            );
            let status = http1.status_of(request.as_bytes()).await;
            // Envoy upgrades nothing that it is not told to.
            let is_refused = status.is_some_and(|status| (400..500).contains(&status));
            assert!(is_refused || status == Some(expected), "{gateway:?}: {status:?}");
        }
        // What a client calls a matter of one connection reaches the API all the same, where it is ours.
        let request = format!(
            "GET /report HTTP/1.1\r\nhost: localhost\r\nauthorization: {ben}\r\nconnection: close, x-caed-subject, x-caed-tenant\r\n\r\n"
        );
        let answer = http1.answer_to(request.as_bytes()).await;
        let is_told = answer.contains(r#""x-caed-subject":["ben"]"#)
            && answer.contains(r#""x-caed-tenant":["#);
        let is_refused = answer.starts_with("HTTP/1.1 4");
        assert!(is_told || is_refused, "{gateway:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_header_of_a_client_helps_it_out_of_a_location() {
    for gateway in ALL {
        let scene = Scene::new(gateway).await;
        scene.publish(office_alone()).await;
        let token = scene.token("anna");
        let bearer = bearer(&token);
        let mut inside = scene.connection(OFFICE).await;
        let answer = inside.get("/report", &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, 200, "{gateway:?}: {answer:?}");

        let native = scene.natively(&token, ELSEWHERE).await;
        assert_ne!(native.http_status, 200, "{gateway:?}");
        let mut outside = scene.connection(ELSEWHERE).await;
        let office = OFFICE.to_string();
        let forwarded = format!("for={office}");
        let forged = [
            ("x-forwarded-for", office.as_str()),
            ("x-forwarded-for", "127.0.0.2, 127.0.0.2"),
            ("forwarded", &forwarded),
            ("x-real-ip", &office),
            ("x-client-ip", &office),
            ("true-client-ip", &office),
            ("x-caed-peer", &office),
            ("x-caed-forwarded-for", &office),
            ("x-caed-profile", "graph"),
            ("x-envoy-external-address", &office),
            ("x-envoy-internal", "true"),
        ];
        for (name, value) in forged.into_iter().chain([("x-nothing", "")]) {
            let headers = [("authorization", bearer.as_str()), (name, value)];
            let answer = outside.get("/report", &headers).await;
            scene.assert_as_native(&answer, &native);
        }
        // Nor does a path that reads like what a gateway tells.
        for path in [
            "/peer=127.0.0.2",
            "/report?peer=127.0.0.2",
            "/a/..%2fpeer=127.0.0.2",
            "/forward-auth/nginx/peer=127.0.0.2",
        ] {
            let answer = outside.get(path, &[("authorization", &bearer)]).await;
            // Envoy itself refuses slashes that are escaped.
            if answer.status != 400 {
                scene.assert_as_native(&answer, &native);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_balancer_the_client_is_whom_it_names() {
    for gateway in ALL {
        let changes: Changes<'_> = match gateway {
            // Caddy takes what a client says of others for nothing, unless it is told whom to believe.
            Gateway::Caddy => &[("# trusted_proxies 10.0.0.0/8", "trusted_proxies 127.0.0.9/32")],
            _ => &[],
        };
        let trusted = "[client_address]\ntrusted_proxies = [\"127.0.0.9/32\"]\n\n[listen]\n";
        let scene = Scene::with(gateway, changes, &[("[listen]\n", trusted)]).await;
        scene.publish(office_alone()).await;
        for (from, chain, counts) in [
            (BALANCER, "127.0.0.2", OFFICE),
            (BALANCER, "127.0.0.3", ELSEWHERE),
            // What stands before the balancer's own word is the client's.
            (BALANCER, "127.0.0.2, 127.0.0.3", ELSEWHERE),
            (BALANCER, "rubbish, 127.0.0.2", OFFICE),
            (OFFICE, "127.0.0.3", OFFICE),
            (ELSEWHERE, "127.0.0.2", ELSEWHERE),
        ] {
            scene.assert_client_is_at(from, chain, counts).await;
        }
    }
}

/// Where nobody knows the balancers' addresses they are counted: Envoy among them, which adds its peer to the chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_balancer_that_is_counted_the_client_is_whom_it_names() {
    for gateway in ALL {
        let (hops, changes): (_, Changes<'_>) = match gateway {
            Gateway::Envoy | Gateway::EnvoyJwtAuthn | Gateway::EnvoyHttp => (2, &[]),
            Gateway::Nginx => (1, &[]),
            Gateway::Caddy => {
                (1, &[("# trusted_proxies 10.0.0.0/8", "trusted_proxies 127.0.0.9/32")])
            }
        };
        let counted = format!("[client_address]\nhops = {hops}\n\n[listen]\n");
        let scene = Scene::with(gateway, changes, &[("[listen]\n", &counted)]).await;
        scene.publish(office_alone()).await;
        for (chain, counts) in [
            ("127.0.0.2", OFFICE),
            ("127.0.0.3", ELSEWHERE),
            ("127.0.0.2, 127.0.0.3", ELSEWHERE),
            ("127.0.0.3, 127.0.0.2", OFFICE),
        ] {
            scene.assert_client_is_at(BALANCER, chain, counts).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_route_demands_of_a_token_is_demanded() {
    // Envoy tells by the route, the others in the path, or in a header.
    let envoy: Changes<'_> = &[("prefix: /files/", "prefix: /report")];
    let header =
        "{ key: x-caed-audience, value: \"api://files\" }\n                  - { key: x-caed-peer";
    let envoy_http: Changes<'_> = &[("{ key: x-caed-peer", header)];
    let nginx: Changes<'_> = &[("/peer=$remote_addr;", "/peer=$remote_addr/audience=api://files;")];
    let caddy: Changes<'_> =
        &[("uri /forward-auth/caddy\n", "uri /forward-auth/caddy/audience=api://files\n")];
    for (gateway, changes) in [
        (Gateway::Envoy, envoy),
        (Gateway::EnvoyJwtAuthn, envoy),
        (Gateway::EnvoyHttp, envoy_http),
        (Gateway::Nginx, nginx),
        (Gateway::Caddy, caddy),
    ] {
        let scene = Scene::with(gateway, changes, &[]).await;
        let token = bearer(&scene.token("anna"));
        let mut client = scene.connection(OFFICE).await;
        let answer = client.get("/report", &[("authorization", &token)]).await;
        // For another audience than this route's.
        assert_eq!(answer.status, 401, "{gateway:?}: {answer:?}");
        let challenge = answer.lines("www-authenticate");
        assert!(challenge[0].contains("invalid_token"), "{gateway:?}: {challenge:?}");
        drop(scene);

        // The same, spelt for the audience that the token is for.
        let right: Vec<_> =
            changes.iter().map(|(from, to)| (*from, to.replace("//files", "//sandbox"))).collect();
        let right: Vec<_> = right.iter().map(|(from, to)| (*from, to.as_str())).collect();
        let right = match gateway {
            Gateway::Envoy | Gateway::EnvoyJwtAuthn => {
                &[("prefix: /files/", "prefix: /report"), ("api://files", "api://sandbox")]
            }
            _ => right.as_slice(),
        };
        let scene = Scene::with(gateway, right, &[]).await;
        let token = bearer(&scene.token("anna"));
        let mut client = scene.connection(OFFICE).await;
        let answer = client.get("/report", &[("authorization", &token)]).await;
        assert_eq!(answer.status, 200, "{gateway:?}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_when_caed_does_not_answer() {
    for gateway in ALL {
        let mut scene = Scene::hasty(gateway, &[], &[]).await;
        scene.publish(vec![revoked("anna")]).await;
        let (anna, ben) = (bearer(&scene.token("anna")), bearer(&scene.token("ben")));
        let load = Load::start(&scene.sandbox, OFFICE, &[("anna", &anna), ("ben", &ben)]).await;
        load.has_asked(20).await;

        // Late.
        let paused = Paused::new(&scene.sandbox);
        let asked = Instant::now();
        assert_unanswered(&scene, &ben).await;
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(5), "{gateway:?}: refused after {took:?}");
        drop(paused);
        until_let_in(&scene, &ben).await;

        // Stopped.
        scene.sandbox.kill_sidecar().await.expect("killed");
        assert_unanswered(&scene, &ben).await;

        // Another in its place, which fails at everything.
        let failing = Failing::start(scene.sandbox.ports);
        assert_unanswered(&scene, &ben).await;
        failing.stop();
        assert_unanswered(&scene, &ben).await;

        scene.sandbox.start_sidecar().await.expect("started");
        until_let_in(&scene, &ben).await;
        for seen in load.stop().await {
            let is_refused = if gateway == Gateway::Caddy {
                [500, 502, 503, 504].contains(&seen.status)
            } else {
                [429, 503].contains(&seen.status)
            };
            let expected = if seen.who == "ben" { 200 } else { 401 };
            assert!(seen.status == expected || is_refused, "{gateway:?}: {seen:?}");
        }
    }
}

/// A request is refused, by a status that is no refusal of caed's, and by the gateway itself.
async fn assert_unanswered(scene: &Scene, token: &str) {
    let gateway = scene.gateway;
    let mut client = scene.connection(OFFICE).await;
    let answer = client.get("/report", &[("authorization", token)]).await;
    let expected: &[u16] = if gateway == Gateway::Caddy { &[500, 502, 503, 504] } else { &[503] };
    assert!(expected.contains(&answer.status), "{gateway:?}: {answer:?}");
    // Free for all is free without caed.
    assert_eq!(client.get("/healthz", &[]).await.status, 200, "{gateway:?}");
}

async fn until_let_in(scene: &Scene, token: &str) {
    let mut client = scene.connection(OFFICE).await;
    let started = Instant::now();
    loop {
        let answer = client.get("/report", &[("authorization", token)]).await;
        if answer.status == 200 {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{:?}: {answer:?}\n{}\n{}",
            scene.gateway,
            scene.sandbox.said("gateway.log"),
            scene.sandbox.said("caed.log"),
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_client_sends_makes_an_error_that_is_let_pass() {
    for gateway in ALL {
        let open: Changes<'_> = match gateway {
            Gateway::Nginx | Gateway::Caddy => &[],
            _ => &[("failure_mode_allow: false", "failure_mode_allow: true")],
        };
        let mut scene = Scene::hasty(gateway, open, &[]).await;
        scene.publish(vec![revoked("anna")]).await;
        let anna = bearer(&scene.token("anna"));

        // The keys of its issuer take their time: whoever asks has an answer before giving up. (Envoy asks about tokens
        // alone that it has verified itself, where it does.)
        if gateway != Gateway::EnvoyJwtAuthn {
            scene.sandbox.issuer.slow_down(2000);
            scene.sandbox.kill_sidecar().await.expect("killed");
            scene.sandbox.start_sidecar().await.expect("started");
            let mut client = scene.connection(OFFICE).await;
            let answer = client.get("/report", &[("authorization", &anna)]).await;
            assert_eq!(answer.status, scene.undecided(), "{gateway:?}: {answer:?}");
            assert_eq!(answer.lines("retry-after"), ["5"], "{gateway:?}: {answer:?}");
            scene.sandbox.issuer.slow_down(0);
        }

        let authorization = format!("authorization: {anna}\r\n").into_bytes();
        let long = [b"x-long: ".as_slice(), &b"a".repeat(50_000), b"\r\n"].concat();
        let many = b"x-many: a\r\n".repeat(80);
        let twice = authorization.repeat(2);
        let none = Vec::new();
        for (path, headers) in [
            (b"/report".as_slice(), &none),
            (b"/report?\xff\xfe", &none),
            (b"/\xc3\x28", &none),
            (b"/report", &b"x-odd: \xff\xfe\r\n".to_vec()),
            (b"/report", &b"x-forwarded-for: \xff\r\n".to_vec()),
            (b"/report", &b"x-caed-\xff: a\r\n".to_vec()),
            (b"/report", &long),
            (b"/report", &many),
            (b"/report", &twice),
        ] {
            let request: [&[u8]; 6] = [
                b"GET ",
                path,
                b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n",
                &authorization,
                headers,
                b"\r\n",
            ];
            let connector = Connector::new(&scene.sandbox, OFFICE, Version::Http1);
            let status = connector.status_of(&request.concat()).await;
            let (path, headers) = (path.escape_ascii(), headers.len());
            // Refused by caed, or before by the gateway itself.
            let is_refused = status.is_none_or(|status| (400..600).contains(&status));
            assert!(is_refused, "{gateway:?}: {path} and {headers} bytes of headers: {status:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_lets_in_what_caed_does_not_answer_where_it_is_told_to() {
    for gateway in [Gateway::Envoy, Gateway::EnvoyJwtAuthn, Gateway::EnvoyHttp] {
        let open = [("failure_mode_allow: false", "failure_mode_allow: true")];
        let mut scene = Scene::with(gateway, &open, &[]).await;
        scene.publish(vec![revoked("anna"), declared(), halted()]).await;
        let anna = bearer(&scene.token("anna"));
        let mut client = scene.connection(OFFICE).await;
        // What caed says is no error: not a challenge, nor that there is no token, nor what can't be asked.
        for (headers, expected) in [(&[("authorization", anna.as_str())][..], 401), (&[], 401)] {
            let answer = client.get("/report", headers).await;
            assert_eq!(answer.status, expected, "{gateway:?}: {answer:?}");
        }
        scene.sandbox.kill_sidecar().await.expect("killed");
        let answer = client.get("/report", &[("authorization", &anna)]).await;
        assert_eq!(answer.status, 200, "{gateway:?}: {answer:?}");
    }
}

fn declared() -> Fact {
    let (name, declared) = ("directory".to_owned(), true);
    Fact::SourceDeclared(v1::SourceDeclared { name, declared, ..Default::default() })
}

/// The source says that it tells nothing any more: what is known is stale at once.
fn halted() -> Fact {
    let state = v1::StreamState::Paused.into();
    Fact::Heartbeat(v1::Heartbeat { partition: 0, state })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stale_is_refused_or_not_as_is_configured() {
    for gateway in ALL {
        for (when_stale, expected) in [("deny", 503), ("allow", 200)] {
            let profile = format!("[profile]\nwhen_stale = \"{when_stale}\"\n\n[listen]\n");
            // Even where errors are let pass: this is none.
            let open: Changes<'_> = match gateway {
                Gateway::Nginx | Gateway::Caddy => &[],
                _ => &[("failure_mode_allow: false", "failure_mode_allow: true")],
            };
            let scene = Scene::with(gateway, open, &[("[listen]\n", &profile)]).await;
            scene.publish(vec![declared(), halted()]).await;
            let token = scene.token("anna");
            let native = scene.natively(&token, OFFICE).await;
            assert_eq!(native.http_status, expected, "{gateway:?}");
            let mut client = scene.connection(OFFICE).await;
            let answer = client.get("/report", &[("authorization", &bearer(&token))]).await;
            scene.assert_as_native(&answer, &native);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_revoked_while_caed_was_down_is_refused_by_its_first_answer() {
    let kafka = Kafka::start();
    for gateway in ALL {
        let section = kafka.section();
        let changes = [("[log]\ndirectory", section.as_str())];
        // Another of the fleet, who takes what happens while the first one is down.
        let other = Scene::with(Gateway::Caddy, &[], &changes).await;
        let mut scene = Scene::with(gateway, &[], &changes).await;
        let who = format!("anna of {gateway:?}");
        let (anna, ben) = (bearer(&scene.token(&who)), bearer(&scene.token("ben")));
        until_let_in(&scene, &anna).await;

        scene.sandbox.kill_sidecar().await.expect("killed");
        other.publish(vec![revoked(&who)]).await;
        let load = Load::start(&scene.sandbox, OFFICE, &[("anna", &anna), ("ben", &ben)]).await;
        load.has_asked(10).await;
        scene.sandbox.start_sidecar().await.expect("started");
        until_let_in(&scene, &ben).await;
        load.has_asked(20).await;
        let seen = load.stop().await;
        for seen in seen.iter().filter(|seen| seen.who == "anna") {
            assert_ne!(seen.status, 200, "{gateway:?}: {seen:?}");
        }
        let challenged = seen.iter().filter(|seen| seen.who == "anna" && seen.status == 401);
        assert_ne!(challenged.count(), 0, "{gateway:?}");
    }
}

/// caed, which hears nothing until this is dropped.
struct Paused(rustix::process::Pid);

impl Paused {
    fn new(sandbox: &Sandbox) -> Self {
        let id = sandbox.sidecar_id().expect("it runs").try_into().expect("small");
        let id = rustix::process::Pid::from_raw(id).expect("a process");
        rustix::process::kill_process(id, rustix::process::Signal::STOP).expect("paused");
        Self(id)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, rustix::process::Signal::CONT);
    }
}

/// What stands where caed stood, and answers everything with an error of its own. On a runtime of its own, so that
/// its connections end with it.
struct Failing(Runtime);

struct Fails;

#[tonic::async_trait]
impl Authorization for Fails {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Err(Status::internal("it fails"))
    }
}

impl Failing {
    fn start(ports: Ports) -> Self {
        let at = |port| {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("bound");
            listener.set_nonblocking(true).expect("set");
            listener
        };
        let (grpc, http) = (at(ports.grpc), at(ports.http));
        let runtime = Runtime::new().expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(grpc).expect("a listener");
            let connections = TcpIncoming::from(listener);
            let server = Server::builder().add_service(AuthorizationServer::new(Fails));
            server.serve_with_incoming(connections).await.expect("served");
        });
        runtime.spawn(async move {
            let listener = TcpListener::from_std(http).expect("a listener");
            let failed = async || axum::http::StatusCode::INTERNAL_SERVER_ERROR;
            axum::serve(listener, axum::Router::new().fallback(failed)).await.expect("served");
        });
        Self(runtime)
    }

    fn stop(self) {
        self.0.shutdown_background();
    }
}

/// What a challenge demands, as clients read it.
fn claims_of(challenge: &str) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let (_, claims) = challenge.rsplit_once("claims=\"").expect("claims");
    let claims = STANDARD.decode(claims.strip_suffix('"').expect("its end")).expect("base64");
    serde_json::from_slice(&claims).expect("JSON")
}
