//! Brings the sandbox up on the ports of the examples, and says how to play with it.

#![allow(clippy::print_stdout, reason = "it talks to people")]

use anyhow::Result;
use caed_sandbox::gateway::Gateway;
use caed_sandbox::issuer::{AUDIENCE, TENANT};
use caed_sandbox::{Ports, Sandbox, Setup, sidecar_program};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Brings up a gateway, an API, an issuer and caed on loopback, until it is interrupted.
#[derive(Parser)]
#[command(name = "caed-sandbox")]
struct Arguments {
    /// Which gateway.
    gateway: Gateway,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { gateway } = Arguments::parse();
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    // From the beginning on: what was started by then ends, too.
    tokio::select! {
        ended = run(gateway) => ended,
        _ = interrupted.recv() => Ok(()),
        _ = terminated.recv() => Ok(()),
    }
}

async fn run(gateway: Gateway) -> Result<()> {
    let setup = Setup { gateway, ports: Ports::USUAL, gateway_changes: &[], caed_changes: &[] };
    let mut sandbox = Sandbox::start(setup).await?;
    println!("{}", told(&sandbox)?);
    sandbox.gateway_ended().await
}

/// What to type.
fn told(sandbox: &Sandbox) -> Result<String> {
    let folder = sandbox.folder().display();
    let Ports { gateway, .. } = sandbox.ports;
    let (token_url, secret) = (sandbox.issuer.token_url(), &sandbox.secret);
    let caed = sidecar_program()?;
    let caed = caed.display();
    let capable = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    Ok(format!(
        r#"The sandbox is up; Ctrl-C ends it. In another shell:

  # A token for anna, whose client can answer a challenge.
  token() {{ curl -s --cacert {folder}/ca.crt {token_url} -d grant_type=client_credentials -d client_id=anna \
    -d client_secret={secret} -d scope={AUDIENCE}/.default --data-urlencode claims='{capable}' \
    | sed 's/.*"access_token":"\([^"]*\)".*/\1/'; }}
  old=$(token)

  # The API lets her in, and says who it was told that she is.
  curl -i --cacert {folder}/ca.crt https://localhost:{gateway}/report -H "authorization: Bearer $old"

  # All her sessions are revoked: the same token is challenged at once, a newer one passes.
  {caed} publish sessions-revoked --tenant {TENANT} --user anna
  curl -i --cacert {folder}/ca.crt https://localhost:{gateway}/report -H "authorization: Bearer $old"
  sleep 1
  curl -i --cacert {folder}/ca.crt https://localhost:{gateway}/report -H "authorization: Bearer $(token)"

What each part says is in {folder}: caed.log, gateway.log."#
    ))
}
