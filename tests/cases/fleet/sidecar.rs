//! A sidecar as users run it, in this process: its configuration, its gRPC, its admin listener.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_proto::v1::operations_client::OperationsClient;
use caed_sidecar::app::App;
use caed_sidecar::clock::SystemClock;
use caed_sidecar::config::Config;
use caed_streams::kafka::settings::KafkaSettings;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{HORIZON, ISSUER, TENANTS};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Sidecar {
    pub(crate) events: EventPublisherClient<Channel>,
    pub(crate) decisions: AccessEvaluationClient<Channel>,
    operations: OperationsClient<Channel>,
    health: HealthClient<Channel>,
    admin: SocketAddr,
    end: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Sidecar {
    /// Starts to read.
    pub(crate) async fn start(kafka: &KafkaSettings) -> Self {
        let text = format!(
            "[kafka]\nbrokers = [\"{}\"]\nevents_topic = \"{}\"\npolicies_topic = \"{}\"\ndead_letter_topic = \"{}\"\n\
             [listen]\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [[access]]\nloopback = true\nmay = [\"decide\", \"vouch\", \"publish\", \"administer\"]\n\
             [tokens]\nhorizon = \"{}s\"\n\
             [freshness]\nstale_after = \"5s\"\n\
             [[issuers]]\nissuer = \"{ISSUER}\"\ntenants = {TENANTS:?}\n",
            kafka.brokers,
            kafka.events_topic,
            kafka.policies_topic,
            kafka.dead_letter_topic,
            HORIZON.as_secs()
        );
        let config = Config::parse(&text, &BTreeMap::new()).expect("a configuration");
        let app = App::start(config, Arc::new(SystemClock::new())).await.expect("started");
        let (grpc, admin) = (app.grpc.expect("bound"), app.admin.expect("bound"));
        let (end, ended) = oneshot::channel();
        let running = tokio::spawn(app.run(async {
            let _ = ended.await;
        }));
        let channel = Channel::from_shared(format!("http://{grpc}")).expect("an address");
        let channel = channel.connect().await.expect("connected");
        Self {
            events: EventPublisherClient::new(channel.clone()),
            decisions: AccessEvaluationClient::new(channel.clone()),
            operations: OperationsClient::new(channel.clone()),
            health: HealthClient::new(channel),
            admin,
            end,
            running,
        }
    }

    pub(crate) async fn ready(kafka: &KafkaSettings) -> Self {
        let sidecar = Self::start(kafka).await;
        sidecar.wait("ready", async || sidecar.get("/readyz").0 == 200).await;
        sidecar
    }

    /// Waits until something holds.
    pub(crate) async fn wait(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < PATIENCE, "not {what}: {:#?}", self.status().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until everything that was appended before this call is known.
    pub(crate) async fn current(&self) {
        let asked = Instant::now();
        self.wait("current", async || {
            let knowledge = self.status().await.knowledge.expect("always told");
            knowledge.age_ms.is_some_and(|age| Duration::from_millis(age) < asked.elapsed())
        })
        .await;
    }

    pub(crate) async fn status(&self) -> v1::StatusReply {
        let reply = self.operations.clone().status(v1::StatusRequest {}).await;
        reply.expect("a status").into_inner()
    }

    pub(crate) async fn digest(&self) -> (String, Option<v1::Frontier>) {
        let reply = self.operations.clone().digest(v1::DigestRequest {}).await;
        let v1::DigestReply { digest, knowledge } = reply.expect("a digest").into_inner();
        (digest, knowledge.expect("always told").frontier)
    }

    pub(crate) async fn health(&self) -> ServingStatus {
        let request = HealthCheckRequest { service: String::new() };
        self.health.clone().check(request).await.expect("answered").into_inner().status()
    }

    /// Asks the admin listener: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: caed\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// A gauge or counter.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics");
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in\n{body}"))
    }

    pub(crate) async fn end(self) {
        let _ = self.end.send(());
        self.running.await.expect("no panic").expect("an orderly end");
    }
}
