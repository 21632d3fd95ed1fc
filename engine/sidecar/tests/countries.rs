//! A policy on countries, decided by a file that is replaced while the sidecar runs.

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
use caed_proto::v1::client_address::Is;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_tests::mmdb;
use process::{ANY_PORTS, Sidecar, Site, ask, blocked_outside, event, publish, replace};
use tonic::transport::Channel;

const ADDRESS: &str = "192.0.2.7";
/// How long a replaced file may take that takes 2 s, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

async fn verdict(channel: &Channel) -> v1::Verdict {
    let client = Some(v1::ClientAddress { is: Some(Is::Ip(ADDRESS.to_owned())) });
    let mut request = v1::EvaluateRequest { client, ..ask("alice") };
    if let Some(v1::evaluate_request::Token::Claims(claims)) = &mut request.token {
        claims.ipaddr = Some("198.51.100.7".to_owned());
    }
    let reply = AccessEvaluationClient::new(channel.clone()).evaluate(request).await;
    reply.expect("an answer").into_inner().verdict()
}

async fn until(channel: &Channel, expected: v1::Verdict) -> Duration {
    let begun = Instant::now();
    while verdict(channel).await != expected {
        assert!(begun.elapsed() < PATIENCE, "not {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_countries_is_replaced_while_it_decides() {
    let site = Site::new();
    let file = site.path("countries.mmdb");
    let at_home = mmdb::database(&[("192.0.2.0/24", "DE")], 1_768_000_000);
    let moved = mmdb::database(&[("192.0.2.0/24", "US")], 1_768_100_000);
    replace(&file, &at_home);
    let section = format!("[countries]\ndatabase = '{}'", file.display());
    let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, &section));
    sidecar.logged("ready");
    let channel = sidecar.connect().await;
    for fact in [
        Fact::LocationChanged(v1::LocationChanged {
            location: "home".to_owned(),
            countries: Some(v1::Countries { codes: vec!["DE".to_owned()], ..Default::default() }),
            ..Default::default()
        }),
        blocked_outside("abroad", "home"),
    ] {
        let mut publisher = EventPublisherClient::new(channel.clone());
        let published = publisher.publish(publish(vec![event(fact)], v1::Wait::Applied)).await;
        published.expect("applied");
    }
    assert_eq!(verdict(&channel).await, v1::Verdict::Allow, "at home");

    replace(&file, &moved);
    let took = until(&channel, v1::Verdict::Challenge).await;
    println!("a new database decides after {took:?}");

    // What can't be read takes nothing away, and is said.
    replace(&file, b"no database");
    sidecar.logged("the database of countries could not be read; the one before stays in force");
    assert_eq!(verdict(&channel).await, v1::Verdict::Challenge);
    replace(&file, &at_home);
    until(&channel, v1::Verdict::Allow).await;
    assert_eq!(sidecar.terminate().code, Some(0));
}

#[test]
fn a_sidecar_does_not_start_without_its_database() {
    let site = Site::new();
    let section = format!("[countries]\ndatabase = '{}'", site.path("none.mmdb").display());
    let refused = Sidecar::refused(&site.config("caed.toml", ANY_PORTS, &section));
    assert_eq!(refused.code, Some(1));
    let said = refused.lines.join("\n");
    assert!(said.contains("countries.database") && said.contains("none.mmdb"), "{said}");
}
