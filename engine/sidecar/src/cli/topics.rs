//! `caed topics`: makes, checks and describes the topics in Kafka.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use caed_core::position::Incarnation;
use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::topics::{
    Created, Finding, IdentityFound, Look, PartitionSurvey, Severity, Survey, TopicAdmin,
    TopicPlan, TopicState, TopicSurvey, Watermarks,
};
use clap::{Args, Subcommand};

use super::{ConfigFile, output};
use crate::config::LogChoice;

#[derive(Args)]
pub(super) struct Topics {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the topics that are missing, and gives each partition its identity. What is there stays as
    /// it is; run it again after adding partitions.
    Create(Create),
    /// Checks that the topics can lose no live event. Fails where one of them can.
    Check(ConfigFile),
    /// Shows partitions, watermarks and identities.
    Describe(ConfigFile),
}

#[derive(Args)]
struct Create {
    #[command(flatten)]
    file: ConfigFile,
    /// Partitions of each topic. More can be added later, never fewer.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    partitions: u32,
    /// Brokers that hold each partition: three in production.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    replicas: u16,
}

impl Topics {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Create(create) => create.run().await,
            Command::Check(file) => check(&file).await,
            Command::Describe(file) => describe(&file).await,
        }
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let (settings, horizon) = kafka(&self.file)?;
        let mut incarnations = [Incarnation([0; 16]); 2];
        for Incarnation(bytes) in &mut incarnations {
            getrandom::fill(bytes).context("the operating system gives no random numbers")?;
        }
        let Self { partitions, replicas, .. } = self;
        let admin = TopicAdmin::connect(&settings).await?;
        let plan = TopicPlan { partitions, replicas, horizon, incarnations };
        for created in admin.create(plan).await? {
            output::line(sentence(&created));
        }
        // What was there before may be wrong, and was left alone.
        Ok(report(&admin.survey(Look::Whole).await?.findings(horizon)))
    }
}

async fn check(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let (settings, horizon) = kafka(file)?;
    let survey = TopicAdmin::connect(&settings).await?.survey(Look::Beginning).await?;
    let findings = survey.findings(horizon);
    if findings.is_empty() {
        output::line("no findings");
    }
    Ok(report(&findings))
}

async fn describe(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let (settings, _) = kafka(file)?;
    let Survey { topics, .. } =
        TopicAdmin::connect(&settings).await?.survey(Look::Beginning).await?;
    for topic in &topics {
        lines(topic).iter().for_each(output::line);
    }
    let all_there = topics.iter().all(|topic| matches!(topic.state, TopicState::Present { .. }));
    Ok(if all_there { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The configuration's Kafka and horizon.
fn kafka(file: &ConfigFile) -> anyhow::Result<(KafkaSettings, Duration)> {
    let config = file.load()?;
    let LogChoice::Kafka(settings) = config.log else {
        bail!(
            "{} has no [kafka]: its log is the embedded one, which has no topics",
            file.config.display()
        );
    };
    Ok((settings, config.rules.horizon))
}

fn sentence(created: &Created) -> String {
    let Created { topic, is_new, identified } = created;
    let made = if *is_new { "made" } else { "was there, its settings left alone" };
    match identified.as_slice() {
        [] => format!("{topic}: {made}"),
        [one] => format!("{topic}: {made}; partition {one} was given its identity"),
        many => format!("{topic}: {made}; {} partitions were given their identity", many.len()),
    }
}

/// Prints findings. A danger makes the command fail, a warning does not.
fn report(findings: &[Finding]) -> ExitCode {
    for finding in findings {
        output::line(finding.to_string());
    }
    let danger = findings.iter().any(|finding| finding.severity == Severity::Danger);
    if danger { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn lines(topic: &TopicSurvey) -> Vec<String> {
    let TopicSurvey { name, used_for: _, state } = topic;
    match state {
        TopicState::Missing => vec![format!("{name}  does not exist")],
        TopicState::Hidden(why) => vec![format!("{name}  can not be looked at: {why}")],
        TopicState::Present { partitions, settings: _ } => {
            let plural = if partitions.len() == 1 { "" } else { "s" };
            let head = format!("{name}  {} partition{plural}", partitions.len());
            std::iter::once(head).chain(partitions.iter().map(partition)).collect()
        }
    }
}

fn partition(partition: &PartitionSurvey) -> String {
    let PartitionSurvey { number, leader, replicas, in_sync, watermarks, identity } = partition;
    let leader = leader.map_or_else(|| "no leader".to_owned(), |broker| format!("leader {broker}"));
    let watermarks = watermarks.map_or_else(
        || "unknown".to_owned(),
        |Watermarks { low, high }| format!("{low} to {high}"),
    );
    let identity = match identity {
        IdentityFound::Unknown => String::new(),
        IdentityFound::Absent => ", no identity".to_owned(),
        IdentityFound::Invalid(why) => format!(", damaged identity: {why}"),
        IdentityFound::Found { offset, identity, disputed: _ } => format!(
            ", identity {} at offset {offset}, horizon {} s",
            identity.incarnation,
            identity.horizon.as_secs()
        ),
    };
    format!("  {number}  {leader}, {in_sync} of {replicas} in sync, offsets {watermarks}{identity}")
}
