//! A sandbox, what happens in it, and programs that talk to it.

use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_sandbox::gateway::Gateway;
use caed_sandbox::issuer::TENANT;
use caed_sandbox::{Ports, Sandbox, Setup};
use tokio::process::Command;
use tonic::transport::Channel;

/// How long something may take that takes milliseconds, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The project's folder.
pub(crate) const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Everything, running.
pub(crate) async fn sandbox(gateway: Gateway) -> Sandbox {
    let ports = Ports::free().expect("free ports");
    let setup = Setup { gateway, ports, gateway_changes: &[], caed_changes: &[] };
    Sandbox::start(setup).await.unwrap_or_else(|error| panic!("{error:?}"))
}

async fn channel(sandbox: &Sandbox) -> Channel {
    let address = format!("http://127.0.0.1:{}", sandbox.ports.grpc);
    Channel::from_shared(address).expect("an address").connect().await.expect("connected")
}

/// Tells caed what happened now.
pub(crate) async fn publish(sandbox: &Sandbox, fact: Fact) {
    publish_at(sandbox, fact, now_s()).await;
}

/// Tells caed what happened in this second.
pub(crate) async fn publish_at(sandbox: &Sandbox, fact: Fact, second: u64) {
    let event = v1::Event {
        tenant: TENANT.to_owned(),
        source: "directory".to_owned(),
        event_time_ms: i64::try_from(second * 1000).expect("a time"),
        fact: Some(fact),
        ..Default::default()
    };
    let request = v1::PublishRequest { events: vec![event], wait: v1::Wait::Applied.into() };
    let mut publisher = EventPublisherClient::new(channel(sandbox).await);
    publisher.publish(request).await.expect("published");
}

/// All sessions of this user are revoked.
pub(crate) fn revoked(user: &str) -> Fact {
    Fact::SessionsRevoked(v1::SessionsRevoked { user: user.to_owned() })
}

/// What caed answers to a token.
pub(crate) async fn evaluated(sandbox: &Sandbox, token: String) -> v1::EvaluateReply {
    let request = v1::EvaluateRequest {
        token: Some(v1::evaluate_request::Token::Jwt(token)),
        ..Default::default()
    };
    let mut caed = AccessEvaluationClient::new(channel(sandbox).await);
    caed.evaluate(request).await.expect("an answer").into_inner()
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// What a script of the project prints.
pub(crate) async fn printed(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(format!("{PROJECT}/{script}"));
    let output = command.args(arguments).stderr(Stdio::inherit()).output().await;
    let output = output.expect("the script runs");
    assert!(output.status.success(), "{script} {arguments:?} failed; it says why");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
