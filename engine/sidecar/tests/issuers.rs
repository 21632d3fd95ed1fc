//! Issuers whose keys are kept: how a sidecar starts with them, and what it shows of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use std::time::{Duration, Instant};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::operations_client::OperationsClient;
use caed_trust::maker::Maker;
use process::{ANY_PORTS, ISSUER, Sidecar, Site, ask_issued, get, now_ms, run, stdout};
use serde_json::{Value, json};
use tonic::transport::Channel;

/// How long a replaced file may take that takes 2 s, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

async fn issuer(channel: &Channel) -> v1::IssuerStatus {
    let mut operations = OperationsClient::new(channel.clone());
    let reply = operations.status(v1::StatusRequest {}).await.expect("an answer").into_inner();
    let [issuer] = reply.issuers.try_into().expect("one issuer");
    issuer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_shown_as_they_are_and_tokens_by_the_youngest() {
    let site = Site::new();
    let secret = json!({"kty": "oct", "kid": "b", "k": "AAAA"});
    let file = site.file("keys.json", &set(&[Maker::ours().ed25519_jwk("a"), secret]));
    let raw =
        format!("audiences = [\"api\"]\nkeys = '{}'\nissue_time_skew = \"300s\"", file.display());
    let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, &raw));
    sidecar.logged("ready");
    let channel = sidecar.connect().await;

    let before = issuer(&channel).await;
    assert_eq!((before.issuer.as_str(), before.issue_time_skew_s), (ISSUER, 300));
    assert_eq!(before.least_token_age_s, None);
    let keys = before.keys.expect("keys");
    assert_eq!((keys.keys, keys.skipped, keys.in_force, keys.failures), (1, 1, true, 0));
    assert!(keys.age_ms.is_some_and(|age| age < 60_000), "{keys:?}");

    let mut decisions = AccessEvaluationClient::new(channel.clone());
    // The last one is from a time to come, and says nothing of its issuer.
    for age_s in [900, 400, 600, -3600] {
        let request = ask_issued("anna", now_ms() / 1000 - age_s);
        decisions.evaluate(request).await.expect("an answer");
    }
    let least = issuer(&channel).await.least_token_age_s.expect("seen");
    assert!((400..430).contains(&least), "{least}");

    // What replaces the file and is no key set takes nothing away, and is said.
    site.file("keys.json", "{}");
    let begun = Instant::now();
    let keys = loop {
        let keys = issuer(&channel).await.keys.expect("keys");
        if keys.failures > 0 {
            break keys;
        }
        assert!(begun.elapsed() < PATIENCE, "{keys:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((keys.keys, keys.in_force), (1, true));
    assert!(keys.fault.starts_with("the key set has no list `keys`"), "{}", keys.fault);
    let fault = sidecar.logged(
        "the keys of an issuer could not be read; those before count until they are too old",
    );
    assert_eq!(fault["issuer"], ISSUER);

    let address = sidecar.grpc().to_string();
    let shown = stdout(&run(&["status", "--at", &address]));
    let line = shown.lines().find(|line| line.starts_with("issuer")).expect("a line");
    assert!(
        line.starts_with(&format!("issuer     {ISSUER}: 1 keys and 1 passed over, seen ")),
        "{line}"
    );
    assert!(line.contains("; the last look failed: the key set has no list `keys`"), "{line}");
    assert!(
        line.contains("; youngest token 4") && line.ends_with("(issue_time_skew 300 s)"),
        "{line}"
    );

    let (_, metrics) = get(sidecar.admin(), "/metrics");
    for expected in [
        format!("caed_keys_age_seconds{{issuer=\"{ISSUER}\"}} "),
        format!("caed_keys_failures_total{{issuer=\"{ISSUER}\"}} "),
        format!("caed_least_token_age_seconds{{issuer=\"{ISSUER}\"}} 4"),
        "caed_token_verifications_total{outcome=\"verified\"} 0".to_owned(),
        "caed_token_verifications_total{outcome=\"unavailable\"} 0".to_owned(),
        "caed_remembered_tokens 0".to_owned(),
        "caed_remembered_tokens_bytes 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(&expected)), "{expected}: {metrics}");
    }
    let (_, page) = get(sidecar.admin(), "/");
    assert!(
        page.contains("<h2>Issuers</h2>") && page.contains("the key set has no list"),
        "{page}"
    );
    assert_eq!(sidecar.terminate().code, Some(0));
}

#[test]
fn a_sidecar_does_not_start_without_the_keys_it_was_told_of() {
    let site = Site::new();
    let raw = format!("audiences = [\"api\"]\nkeys = '{}'", site.path("keys.json").display());
    let config = site.config("caed.toml", ANY_PORTS, &raw);
    let refused = || {
        let ended = Sidecar::refused(&config);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ended.lines.join("\n")
    };
    let told = refused();
    assert!(told.contains(&format!("the keys of issuer `{ISSUER}`")), "{told}");
    assert!(told.contains("No such file"), "{told}");
    site.file("keys.json", &set(&[]));
    let told = refused();
    assert!(told.contains("the key set holds no key that verifies a token"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_starts_without_an_issuer_that_is_down() {
    let site = Site::new();
    // A port of this host that nobody listens at: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let raw = format!("audiences = [\"api\"]\nkeys = 'http://{address}/keys'");
    let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, &raw));
    sidecar.logged("ready");
    sidecar.logged(
        "the keys of an issuer could not be read; those before count until they are too old",
    );
    let keys = issuer(&sidecar.connect().await).await.keys.expect("keys");
    assert_eq!((keys.keys, keys.in_force, keys.age_ms), (0, false, None));
    assert!(keys.failures > 0 && keys.fault.contains("onnect"), "{keys:?}");
    assert_eq!(sidecar.terminate().code, Some(0));
}
