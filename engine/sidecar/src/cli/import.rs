//! `caed import`.
//!
//! Everything is read and checked, and compared with what is in force, before anything is published. What
//! stands already is not published again; its ids and times come from the files, so the same files change
//! nothing.
//!
//! An object whose own time is overtaken (it was deleted here and came back, or somebody else changed it) is
//! published once more with the time at which its file was written: it stood so then.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use anyhow::{Context, ensure};
use caed_core::time::UnixMillis;
use caed_decode::graph::{self, Kind, Object};
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_proto::v1::operations_client::OperationsClient;
use clap::Args;
use prost::Message;
use tonic::transport::Channel;

use super::in_force::{InForce, Standing, millis};
use super::{At, output};

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
    /// Says what was understood, and publishes nothing. With --whole it asks the sidecar what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Deletes policies and locations that are in force and not in the files: of policies, where the files
    /// hold a whole list of policies; of locations, a whole list of locations.
    #[arg(long)]
    whole: bool,
    /// What Microsoft Graph answered: policies, named locations, the CAE policy; of a list in several pages,
    /// page after page.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// What is not in force as the files say, with the events that say it.
type News<'i> = (&'i Object, Vec<v1::Event>);

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let contents = self.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let files: Vec<_> = contents.iter().map(Content::file).collect();
        let import = graph::read(&files)?;
        output::line(import.to_string());
        if self.dry_run && !self.whole {
            output::line("nothing is published");
            return Ok(ExitCode::SUCCESS);
        }
        let channel = self.at.connect().await?;
        let mut sidecar = Sidecar {
            publisher: EventPublisherClient::new(channel.clone()),
            operations: OperationsClient::new(channel),
        };
        let in_force = InForce::ask(&mut sidecar.operations, &self.tenant).await?;
        let gone = if self.whole { in_force.gone(&import)? } else { Vec::new() };
        for (kind, standing) in &gone {
            output::line(format!("{} {} is gone", kind.as_str(), standing.id));
        }
        let news = self.news(&import, &in_force)?;
        let unchanged = import.objects.len() - news.len();
        if self.dry_run {
            output::line(format!(
                "{unchanged} stand already, {} would be published, {} would be deleted; nothing is published",
                news.len(),
                gone.len()
            ));
            return Ok(ExitCode::SUCCESS);
        }
        let deletions =
            gone.iter().filter_map(|(kind, standing)| self.deletion(*kind, &standing.id, &import));
        let published = news.len();
        // A policy that names a location which is not told is not enforceable, so locations come first
        // and go last.
        let told = news.into_iter().flat_map(|(_, events)| events).chain(deletions);
        sidecar.publish(told.collect()).await?;
        self.overtaken(&mut sidecar, &import, &gone).await?;
        output::line(format!(
            "{unchanged} stood already, {published} are published, {} are deleted, and decisions follow them",
            gone.len()
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// What is not in force as the files say, locations first.
    fn news<'i>(
        &self,
        import: &'i graph::Import,
        in_force: &InForce,
    ) -> anyhow::Result<Vec<News<'i>>> {
        let mut news = Vec::new();
        for object in &import.objects {
            let events = object.events(&self.tenant, &self.source)?;
            if !in_force.holds(object, &events)? {
                news.push((object, events));
            }
        }
        news.sort_by_key(|(object, _)| object.kind != Kind::Location);
        Ok(news)
    }

    /// Publishes with the time of its file what is not in force although it was published.
    async fn overtaken(
        &self,
        sidecar: &mut Sidecar,
        import: &graph::Import,
        gone: &[(Kind, &Standing)],
    ) -> anyhow::Result<()> {
        let overtaken =
            self.news(import, &InForce::ask(&mut sidecar.operations, &self.tenant).await?)?;
        let again = overtaken.iter().map(|(object, _)| {
            let seen = Object { at: object.at.max(object.written), ..(*object).clone() };
            seen.events(&self.tenant, &self.source)
        });
        let again: Vec<_> = again.collect::<Result<Vec<_>, _>>()?.concat();
        sidecar.publish(again).await?;
        let in_force = InForce::ask(&mut sidecar.operations, &self.tenant).await?;
        let overtaken = self.news(import, &in_force)?;
        let objects = overtaken.iter().map(|(object, _)| (object.kind, object.id.as_str()));
        let still = gone.iter().filter(|(kind, gone)| in_force.get(*kind, &gone.id).is_some());
        let still = still.map(|(kind, gone)| (*kind, gone.id.as_str()));
        let differing: Vec<_> = objects.chain(still).collect();
        for (kind, id) in &differing {
            let kind = kind.as_str();
            output::note(format!(
                "{kind} {id} does not stand as the files say: something newer was told of it"
            ));
        }
        ensure!(differing.is_empty(), "the files are older than what is in force; ask Graph again");
        Ok(())
    }

    /// Deletes with the time at which the list was written that does not hold it.
    fn deletion(&self, kind: Kind, id: &str, import: &graph::Import) -> Option<v1::Event> {
        let fact = match kind {
            Kind::Policy => Fact::PolicyDeleted(v1::PolicyDeleted { policy: id.to_owned() }),
            Kind::Location => {
                Fact::LocationDeleted(v1::LocationDeleted { location: id.to_owned() })
            }
            Kind::Settings => return None,
        };
        let written = import.list(kind).and_then(|list| list.written);
        Some(v1::Event {
            id: id.to_owned(),
            tenant: self.tenant.clone(),
            source: self.source.clone(),
            event_time_ms: written.map_or(0, millis),
            received_ms: 0,
            fact: Some(fact),
        })
    }
}

/// A running sidecar.
struct Sidecar {
    publisher: EventPublisherClient<Channel>,
    operations: OperationsClient<Channel>,
}

impl Sidecar {
    /// Publishes events, and waits until decisions follow them.
    async fn publish(&mut self, events: Vec<v1::Event>) -> anyhow::Result<()> {
        let mut published = 0;
        for events in calls(events) {
            let count = events.len();
            let request = v1::PublishRequest { events, wait: v1::Wait::Applied.into() };
            self.publisher.publish(request).await.map_err(|status| {
                let fate = format!("{published} are published; import again when that is mended");
                output::refusal(&status).context(fate)
            })?;
            published += count;
        }
        Ok(())
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
