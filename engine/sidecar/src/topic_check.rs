//! Looks at the topics at start and every hour (L4).
//!
//! What it finds is logged each time, because a warning that was said once is forgotten, and kept
//! for status. It stops nothing: a sidecar that ends for a setting of the broker would answer nobody,
//! and what was read is true all the same.

use std::future::Future;
use std::time::Duration;

use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::topics::{
    CHECK_INTERVAL, Finding, Look, Severity, TopicAdmin, TopicError,
};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Looks again and again, until `end` is ready.
pub(crate) async fn run(
    settings: KafkaSettings,
    horizon: Duration,
    findings: watch::Sender<Vec<Finding>>,
    end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut due = interval(CHECK_INTERVAL);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looks = async {
        loop {
            due.tick().await;
            match look(&settings, horizon).await {
                Ok(found) => {
                    found.iter().for_each(log);
                    findings.send_replace(found);
                }
                Err(error) => tracing::warn!(%error, "the topics could not be checked"),
            }
        }
    };
    tokio::select! {
        () = looks => {}
        () = end => {}
    }
    Ok(())
}

async fn look(settings: &KafkaSettings, horizon: Duration) -> Result<Vec<Finding>, TopicError> {
    // Connected for this one look: an hour is longer than brokers keep idle connections.
    let admin = TopicAdmin::connect(settings).await?;
    Ok(admin.survey(Look::Beginning).await?.findings(horizon))
}

fn log(finding: &Finding) {
    let Finding { severity, topic, problem, remedy } = finding;
    match severity {
        Severity::Danger => {
            tracing::error!(topic, %problem, remedy, "a topic endangers live events");
        }
        Severity::Warning => tracing::warn!(topic, %problem, remedy, "a topic is not as it should"),
    }
}
