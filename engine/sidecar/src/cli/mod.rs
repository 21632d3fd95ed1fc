//! The command line.
//!
//! Answers go to standard output, everything else to standard error. Exit codes: 0 success (for
//! `decide`: ALLOW), 1 failure, 2 wrong usage, 3 CHALLENGE, 4 DENY.

mod check_config;
mod decide;
mod demo;
mod explain;
mod export;
mod import;
mod in_force;
mod output;
mod private;
mod publish;
mod publish_directory;
mod serve;
mod status;
mod tenant;
mod topics;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};
use tonic::transport::Channel;

use crate::client::{self, ClientTls, DEFAULT_ADDRESS};
use crate::config::Config;

/// Continuous access evaluation: a sidecar that decides, within microseconds, whether an access
/// token may still be used.
#[derive(Parser)]
#[command(name = "caed", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the sidecar.
    Serve(ConfigFile),
    /// Checks a configuration and reports every fault with its line.
    CheckConfig(ConfigFile),
    /// Publishes events: JSON lines, or one from flags.
    Publish(publish::Publish),
    /// Imports policies, named locations and the CAE policy from Microsoft Graph's JSON.
    Import(import::Import),
    /// Prints what is in force in a tenant, as events that can be published again.
    Export(export::Export),
    /// Decides one request, by a running sidecar or straight from a log.
    Decide(Box<decide::Decide>),
    /// Shows how a running sidecar is.
    Status(status::Status),
    /// Makes, checks and describes the topics in Kafka.
    Topics(topics::Topics),
    /// Tells a story of revocations in a sidecar of its own, and checks every answer.
    Demo,
}

/// Which configuration.
#[derive(Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Which running sidecar.
#[derive(Args)]
struct At {
    /// The sidecar: HOST:PORT, https://HOST:PORT, or unix:PATH. [default: $`CAED_AT`, else 127.0.0.1:7431]
    #[arg(long = "at", value_name = "ADDRESS", global = true)]
    address: Option<String>,
    #[command(flatten)]
    tls: ClientTls,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(file) => file.load().and_then(serve::run),
        Command::CheckConfig(file) => check_config::run(&file),
        Command::Publish(publish) => block_on(publish.run()),
        Command::Import(import) => block_on(import.run()),
        Command::Export(export) => block_on(export.run()),
        Command::Decide(decide) => block_on(decide.run()),
        Command::Status(status) => block_on(status.run()),
        Command::Topics(topics) => block_on(topics.run()),
        Command::Demo => block_on(demo::run()),
    };
    outcome.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::FAILURE
    })
}

/// How long threads that block may go on when a command is done. What matters has ended before;
/// what is left waits for a broker that does not answer.
const LEFTOVER_WAIT: Duration = Duration::from_secs(1);

/// Runs a command that waits for sockets.
fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_timeout(LEFTOVER_WAIT);
    outcome
}

impl ConfigFile {
    fn load(&self) -> anyhow::Result<Config> {
        load(&self.config)
    }
}

impl At {
    /// Connects to it.
    async fn connect(&self) -> anyhow::Result<Channel> {
        client::connect(&self.address(), &self.tls).await
    }

    /// The address that was given.
    fn address(&self) -> String {
        let from_environment = || std::env::var("CAED_AT").ok();
        self.address.clone().or_else(from_environment).unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())
    }
}

/// Reads and parses a configuration, with the environment over it.
fn load(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration {} can not be read", path.display()))?;
    let mut environment = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        // What is no text is none of ours, unless it begins as ours do.
        let Ok(name) = name.into_string() else { continue };
        // `CAED_AT` is for the commands that talk to a sidecar, and no key.
        if !name.starts_with("CAED_") || name == "CAED_AT" {
            continue;
        }
        let value = value.into_string();
        let value = value.map_err(|_| anyhow!("the environment variable {name} is not UTF-8"))?;
        environment.insert(name, value);
    }
    Config::parse(&text, &environment).with_context(|| path.display().to_string())
}
