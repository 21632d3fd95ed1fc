//! `caed serve`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::{descriptors, telemetry};

/// Serves until the process is told to end.
pub(super) fn run(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::start(&config.telemetry);
    descriptors::take_all();
    super::block_on(async {
        // Before anything else, so that a signal during start-up is not missed.
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
        let app = App::start(config, Arc::new(SystemClock::new())).await?;
        let end = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        app.run(end).await?;
        Ok(ExitCode::SUCCESS)
    })
}
