//! caed itself: a release build with an embedded log, told by `Publish`.

use std::net::SocketAddr;
use std::path::Path;

use caed_bench::generator::{Calls, Target};
use caed_bench::sidecar;
use caed_bench::visitors::{self, TENANT, Visitors};
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use prost::Message as _;

use crate::client::Client;
use crate::contestant::{Asked, Contestant, Later, Question};
use crate::process::Process;

const PUBLISH: &str = "/caed.v1.EventPublisher/Publish";

/// Events in one call, and calls under way, while it is loaded.
const AT_ONCE: (usize, usize) = (1000, 8);

/// One process of it.
pub(crate) struct Caed {
    process: Process,
    address: SocketAddr,
    publisher: Client,
}

impl Caed {
    /// Starts one, with its log and configuration in this folder.
    pub(crate) async fn start(folder: &Path) -> Result<Self, String> {
        let config = folder.join("caed.toml");
        let log = folder.join("log");
        let written = std::fs::write(&config, configuration(&log));
        written.map_err(|error| format!("{}: {error}", config.display()))?;
        let config = config.to_string_lossy();
        let mut process =
            Process::start(&sidecar::program()?, &["serve", "--config", &config], folder, "caed")?;
        let address = process.told(|logged| {
            let lines = logged
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let lines: Vec<serde_json::Value> = lines.collect();
            let is_ready = lines.iter().any(|line| line["message"] == "ready");
            let serving = lines.iter().find(|line| line["message"] == "serving")?;
            let mut words = serving["grpc"]
                .as_str()?
                .split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
            words.find_map(|word| word.parse().ok()).filter(|_| is_ready)
        })?;
        Ok(Self { process, address, publisher: Client::grpc(address).await? })
    }
}

impl Contestant for Caed {
    fn pids(&self) -> Vec<u32> {
        vec![self.process.pid()]
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn calls(&self, question: Question, asked: &[Asked]) -> Calls {
        calls(question, asked)
    }

    fn load<'a>(&'a mut self, visitors: &'a Visitors) -> Later<'a, ()> {
        let revoked = Visitors { ranges: 0, ..*visitors };
        Box::pin(async move { publish(&self.publisher, revoked.events().collect()).await })
    }

    fn revoke<'a>(&'a mut self, user: &'a str) -> Later<'a, ()> {
        let revoked = v1::SessionsRevoked { user: user.to_owned() };
        let event = v1::Event {
            tenant: TENANT.to_owned(),
            source: "directory".to_owned(),
            fact: Some(Fact::SessionsRevoked(revoked)),
            ..v1::Event::default()
        };
        let wait = v1::Wait::Durable.into();
        let request = v1::PublishRequest { events: vec![event], wait }.encode_to_vec();
        Box::pin(async move { self.publisher.call(PUBLISH, &request).await.map(drop) })
    }

    fn furnish<'a>(&'a mut self, visitors: &'a Visitors) -> Later<'a, ()> {
        let office = Visitors { revoked: 0, ..*visitors };
        // An event whose id is known was told before.
        let told =
            |event: v1::Event| v1::Event { id: "the office".to_owned() + &event.id, ..event };
        let events: Vec<v1::Event> = office.events().map(told).collect();
        Box::pin(async move { publish(&self.publisher, events).await })
    }
}

/// What caed is asked; and those who speak its language, and Envoy's.
pub(crate) fn calls(question: Question, asked: &[Asked]) -> Calls {
    match question {
        Question::Own | Question::Ranges => Calls {
            target: Target::Grpc { path: "/caed.v1.AccessEvaluation/Evaluate".to_owned() },
            calls: asked
                .iter()
                .map(|asked| asked.call(asked.visitor.evaluate().encode_to_vec()))
                .collect(),
            outcome: visitors::of_evaluate,
        },
        Question::Envoy => Calls {
            target: Target::Grpc { path: "/envoy.service.auth.v3.Authorization/Check".to_owned() },
            calls: asked
                .iter()
                .map(|asked| asked.call(asked.visitor.check().encode_to_vec()))
                .collect(),
            outcome: visitors::of_check,
        },
    }
}

async fn publish(publisher: &Client, events: Vec<v1::Event>) -> Result<(), String> {
    let (batch, calls) = AT_ONCE;
    let wait = v1::Wait::Applied.into();
    let batches = events.chunks(batch).map(|events| async move {
        let request = v1::PublishRequest { events: events.to_vec(), wait };
        publisher.call(PUBLISH, &request.encode_to_vec()).await.map(drop)
    });
    stream::iter(batches).buffered(calls).try_collect().await
}

fn configuration(log: &Path) -> String {
    format!(
        r#"
[log]
directory = "{}"
[listen]
grpc = "127.0.0.1:0"
[[issuers]]
issuer = "{}"
tenants = ["{TENANT}"]
[[access]]
loopback = true
may = ["decide", "vouch", "publish", "administer"]
[telemetry]
format = "json"
"#,
        log.display(),
        visitors::ISSUER
    )
}
