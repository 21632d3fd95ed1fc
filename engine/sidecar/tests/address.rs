//! The client's address, as proxies tell it (T3, D6), of a real sidecar: told by `Explain`, and by a policy that
//! blocks outside of the office.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::client_address::Is;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_proto::v1::operations_client::OperationsClient;
use process::{ANY_PORTS, Sidecar, Site, ask, blocked_outside, event, publish, run, stdout};
use tonic::transport::Channel;
use v1::AddressBasis::{Forwarded, NotForwarded};

/// Who is in the office.
const OFFICE: &str = "198.51.100.7";
/// Who is not.
const ELSEWHERE: &str = "203.0.113.9";
const PROXIES: &str = "[client_address]\ntrusted_proxies = [\"10.0.0.0/8\", \"fd00::/8\"]";
const TWO_HOPS: &str = "[client_address]\nheader = \"forwarded\"\nhops = 2";

/// The peer, `X-Forwarded-For`, `Forwarded`; whether that is the office; why, and the address, as told.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    bool,
    v1::AddressBasis,
    &'static str,
    &'static str,
);

/// Without proxies the peer is the client, whatever it sends.
const NOBODY_TRUSTED: [Row; 3] = [
    (OFFICE, &[], &[], true, Forwarded, OFFICE, "the peer itself"),
    (ELSEWHERE, &[OFFICE], &["for=198.51.100.7"], false, Forwarded, ELSEWHERE, "the peer itself"),
    ("", &[OFFICE], &[], false, NotForwarded, "", "did not say who connected"),
];

const BEHIND_PROXIES: [Row; 10] = [
    ("10.0.0.1", &[OFFICE], &[], true, Forwarded, OFFICE, "entry 1 from the right"),
    (
        "10.0.0.1",
        &["198.51.100.7, 10.0.0.2", "10.0.0.3"],
        &[],
        true,
        Forwarded,
        OFFICE,
        "entry 3 from the right",
    ),
    ("fd00::1", &["198.51.100.7:50123"], &[], true, Forwarded, OFFICE, "entry 1 from the right"),
    ("10.0.0.1", &["::ffff:198.51.100.7"], &[], true, Forwarded, OFFICE, "entry 1 from the right"),
    // What a client sends stands left of what the proxy adds.
    (
        "10.0.0.1",
        &["198.51.100.7, 203.0.113.9"],
        &[],
        false,
        Forwarded,
        ELSEWHERE,
        "entry 1 from the right",
    ),
    ("10.0.0.1", &[OFFICE, ELSEWHERE], &[], false, Forwarded, ELSEWHERE, "entry 1 from the right"),
    (ELSEWHERE, &[OFFICE], &[], false, Forwarded, ELSEWHERE, "the peer itself"),
    (
        "10.0.0.1",
        &["198.51.100.7, what"],
        &[],
        false,
        NotForwarded,
        "",
        "entry 1 from the right is no address",
    ),
    ("10.0.0.1", &["10.0.0.2"], &[], false, NotForwarded, "", "ends after 1 entries"),
    // The other header may come from anybody.
    ("10.0.0.1", &[], &["for=198.51.100.7"], false, NotForwarded, "", "ends after 0 entries"),
];

const BEHIND_TWO_HOPS: [Row; 4] = [
    (
        "192.0.2.1",
        &[],
        &["for=198.51.100.7, for=192.0.2.2"],
        true,
        Forwarded,
        OFFICE,
        "entry 2 from the right",
    ),
    (
        "192.0.2.1",
        &[],
        &["for=198.51.100.7;proto=https, for=203.0.113.9, for=192.0.2.2"],
        false,
        Forwarded,
        ELSEWHERE,
        "entry 2 from the right",
    ),
    ("192.0.2.1", &[], &["for=198.51.100.7"], false, NotForwarded, "", "ends after 1 entries"),
    ("192.0.2.1", &[], &["for=unknown, for=192.0.2.2"], false, NotForwarded, "", "was hidden"),
];

fn policy() -> [Fact; 2] {
    let office = v1::LocationChanged {
        location: "office".to_owned(),
        ranges: Some(v1::IpRanges { cidrs: vec!["198.51.100.0/24".to_owned()] }),
        ..Default::default()
    };
    [Fact::LocationChanged(office), blocked_outside("outside", "office")]
}

async fn check(channel: &Channel, section: &str, row: Row) {
    let (peer, x_forwarded_for, forwarded, inside, basis, address, detail) = row;
    let texts = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let chain = v1::ForwardedChain {
        peer: peer.to_owned(),
        x_forwarded_for: texts(x_forwarded_for),
        forwarded: texts(forwarded),
    };
    let client = Some(v1::ClientAddress { is: Some(Is::Forwarded(chain)) });
    let request = v1::EvaluateRequest { client, ..ask("alice") };
    let told = format!("{section}\n{row:?}");
    let reply = AccessEvaluationClient::new(channel.clone()).evaluate(request.clone()).await;
    let allowed = reply.expect("an answer").into_inner().verdict() == v1::Verdict::Allow;
    assert_eq!(allowed, inside, "{told}");
    let explained = OperationsClient::new(channel.clone()).explain(request).await;
    let seen = explained.expect("an explanation").into_inner().address.expect("an address");
    assert_eq!((seen.basis(), seen.address.as_str()), (basis, address), "{told}");
    assert!(seen.detail.contains(detail), "{told}: {}", seen.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_is_what_trusted_proxies_say() {
    for (section, rows) in [
        ("", &NOBODY_TRUSTED[..]),
        (PROXIES, &BEHIND_PROXIES[..]),
        (TWO_HOPS, &BEHIND_TWO_HOPS[..]),
    ] {
        let site = Site::new();
        let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, section));
        sidecar.logged("ready");
        let channel = sidecar.connect().await;
        let events = policy().map(event).to_vec();
        let published = EventPublisherClient::new(channel.clone())
            .publish(publish(events, v1::Wait::Applied))
            .await;
        published.expect("published");
        for row in rows {
            check(&channel, section, *row).await;
        }
        sidecar.terminate();
    }
}

#[test]
fn the_command_line_tells_why_an_address_counted() {
    let site = Site::new();
    let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, PROXIES));
    sidecar.logged("ready");
    let at = sidecar.grpc().to_string();
    let output = run(&[
        "decide",
        "--explain",
        "--at",
        &at,
        "--iss",
        "https://idp.example",
        "--tid",
        "contoso",
        "--sub",
        "anna",
        "--peer",
        "10.0.0.1",
        "--x-forwarded-for",
        "198.51.100.7, 203.0.113.9",
    ]);
    let told = stdout(&output);
    assert!(told.contains("entry 1 from the right"), "{told}");
    assert!(told.contains("peer 10.0.0.1, X-Forwarded-For: 198.51.100.7, 203.0.113.9"), "{told}");
    sidecar.terminate();
}
