//! `caed import`.
//!
//! What is published has ids and times from the files: importing them again changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use caed_core::time::UnixMillis;
use caed_decode::graph;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use clap::Args;
use prost::Message;

use super::{At, output};
use crate::client;

/// Bytes and events of one call: a sidecar takes 4 MiB and 1,000.
const CALL_BYTES_MAX: usize = 3 << 20;
const CALL_EVENTS_MAX: usize = 500;

#[derive(Args)]
pub(super) struct Import {
    /// The tenant.
    #[arg(long)]
    tenant: String,
    /// Who says so.
    #[arg(long, default_value = "microsoft-graph")]
    source: String,
    /// Says what was understood, and publishes nothing.
    #[arg(long)]
    dry_run: bool,
    /// What Microsoft Graph answered: policies, named locations, the CAE policy; of a list in several pages,
    /// page after page.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let contents = self.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let files: Vec<_> = contents.iter().map(Content::file).collect();
        let import = graph::read(&files)?;
        output::line(import.to_string());
        if self.dry_run {
            output::line("nothing is published");
            return Ok(ExitCode::SUCCESS);
        }
        let mut events = import.events(&self.tenant, &self.source);
        // A policy that names a location which is not told yet is not enforceable.
        events.sort_by_key(|event| !matches!(event.fact, Some(Fact::LocationChanged(_))));
        let client = EventPublisherClient::new(client::connect(&self.at.address()).await?);
        publish(client, events).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A file that was read.
struct Content {
    name: String,
    bytes: Vec<u8>,
    written: Option<UnixMillis>,
}

impl Content {
    fn file(&self) -> graph::File<'_> {
        let Self { name, bytes, written } = self;
        graph::File { name, bytes, written: *written }
    }
}

fn read(path: &Path) -> anyhow::Result<Content> {
    let name = path.display().to_string();
    let unreadable = || format!("{name} can not be read");
    let bytes = std::fs::read(path).with_context(unreadable)?;
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let since = written.with_context(unreadable)?.duration_since(UNIX_EPOCH).ok();
    let millis = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    Ok(Content { bytes, written: millis.map(UnixMillis::from_millis), name })
}

/// Publishes events, and waits until decisions follow them.
async fn publish(
    mut client: EventPublisherClient<tonic::transport::Channel>,
    events: Vec<v1::Event>,
) -> anyhow::Result<()> {
    let mut published = 0;
    for events in calls(events) {
        let count = events.len();
        let request = v1::PublishRequest { events, wait: v1::Wait::Applied.into() };
        client.publish(request).await.map_err(|status| {
            let fate = format!("{published} are published; import again when that is mended");
            output::refusal(&status).context(fate)
        })?;
        published += count;
    }
    output::line(format!("{published} are published, and decisions follow them"));
    Ok(())
}

/// Events call by call.
fn calls(events: Vec<v1::Event>) -> Vec<Vec<v1::Event>> {
    let mut calls: Vec<Vec<v1::Event>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let size = event.encoded_len();
        match calls.last_mut() {
            Some(call) if call.len() < CALL_EVENTS_MAX && bytes + size <= CALL_BYTES_MAX => {
                bytes += size;
                call.push(event);
            }
            _ => {
                bytes = size;
                calls.push(vec![event]);
            }
        }
    }
    calls
}
