//! A sandbox, what happens in it, and programs that talk to it.

use std::process::Stdio;
use std::time::Duration;

use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_sandbox::gateway::Gateway;
use caed_sandbox::{Ports, Sandbox, Setup};
use tokio::process::Command;

use crate::sidecar;
pub(crate) use crate::sidecar::{now_s, revoked};

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

/// Tells caed what happened now.
pub(crate) async fn publish(sandbox: &Sandbox, fact: Fact) {
    publish_at(sandbox, fact, now_s()).await;
}

/// Tells caed what happened in this second.
pub(crate) async fn publish_at(sandbox: &Sandbox, fact: Fact, second: u64) {
    sidecar::publish(sandbox, vec![fact], Some(second)).await;
}

/// What caed answers to a token.
pub(crate) async fn evaluated(sandbox: &Sandbox, token: &str) -> v1::EvaluateReply {
    sidecar::evaluated(sandbox, token, None).await
}

/// What a script of the project prints.
pub(crate) async fn printed(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(format!("{PROJECT}/{script}"));
    let output = command.args(arguments).stderr(Stdio::inherit()).output().await;
    let output = output.expect("the script runs");
    assert!(output.status.success(), "{script} {arguments:?} failed; it says why");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
