//! The log, whichever the operator chose: opened, with its ends in hand.
//!
//! Nothing behind this file knows which log it is. The embedded one is opened here and now, and a
//! fault of it ends the start; Kafka is only begun, and what its brokers say comes by the source.

use std::sync::Arc;

use anyhow::Context;
use caed_core::ingest::Ingest;
use caed_core::log_view::{Letters, LogView, PartitionView};
use caed_core::position::{Frontier, Incarnation, Topics};
use caed_core::publish::SnapshotReader;
use caed_core::sink::{BoxFuture, EventSink};
use caed_core::time::Clock;
use caed_streams::embedded::{self, Embedded, EmbeddedSource, Ending};
use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::topics::Finding;
use caed_streams::kafka::{self, Kafka, KafkaSource, KafkaStatus, PartitionStatus, Work};
use caed_streams::log::{self, FolderDisk, Identity, Log, Options, Repair};
use caed_streams::source::{DeadLetters, Source, SourceEvent};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::config::{Config, LogChoice};

/// The log's ends.
pub(crate) struct Opened {
    /// Where events go in.
    pub(crate) sink: Arc<dyn EventSink>,
    /// Where they come out.
    pub(crate) source: AnySource,
    /// Where records go that can't be understood, if they go anywhere.
    pub(crate) dead_letters: Option<Box<dyn DeadLetters>>,
    /// The names of its topics.
    pub(crate) topics: Topics,
    /// What is shown of it.
    pub(crate) view: Arc<dyn LogView>,
    /// What works behind its ends: each to be run on a thread that may block.
    pub(crate) work: Vec<Work>,
    /// What ends that work.
    pub(crate) ending: LogEnding,
}

/// Ends what works behind the log's ends.
pub(crate) enum LogEnding {
    /// The owner of the embedded log is told to.
    Embedded(Ending),
    /// What reads Kafka ends when nobody takes what it reads.
    Kafka,
}

impl LogEnding {
    pub(crate) async fn end(self) {
        match self {
            Self::Embedded(ending) => ending.end().await,
            Self::Kafka => {}
        }
    }
}

/// What the log's ends are wired to.
pub(crate) struct Wires {
    pub(crate) clock: Arc<dyn Clock>,
    /// Follows the frontier of the published snapshot.
    pub(crate) applied: watch::Receiver<Frontier>,
    pub(crate) snapshots: SnapshotReader,
    pub(crate) ingest: Arc<Ingest>,
    /// What the look at the topics found last.
    pub(crate) findings: watch::Receiver<Vec<Finding>>,
}

/// Where records come from.
pub(crate) enum AnySource {
    Embedded(EmbeddedSource),
    Kafka(KafkaSource),
}

/// Opens the log of a configuration, or begins to.
pub(crate) fn open(config: &Config, wires: Wires) -> anyhow::Result<Opened> {
    match &config.log {
        LogChoice::Embedded(directory) => {
            Ok(open_embedded(open_folder(directory, config.rules.horizon)?, wires))
        }
        LogChoice::Kafka(settings) => open_kafka(settings, config.rules.horizon, wires),
    }
}

fn open_embedded(log: Log, wires: Wires) -> Opened {
    let Wires { clock, applied, snapshots, ingest: _, findings: _ } = wires;
    let Embedded { sink, source, owner, ending, view } =
        embedded::split(log, clock, applied, snapshots);
    let runtime = Handle::current();
    Opened {
        sink: Arc::new(sink),
        source: AnySource::Embedded(source),
        dead_letters: None,
        topics: embedded::topics(),
        view,
        work: vec![Box::new(move || owner.run(&runtime))],
        ending: LogEnding::Embedded(ending),
    }
}

fn open_kafka(
    settings: &KafkaSettings,
    horizon: std::time::Duration,
    wires: Wires,
) -> anyhow::Result<Opened> {
    let Wires { clock, applied, snapshots, ingest, findings } = wires;
    let patience = kafka::limits::STARTUP_PATIENCE;
    let janitor = kafka::limits::JANITOR_PACE;
    let start = kafka::Start { horizon, patience, clock, applied, snapshots, janitor, ingest };
    let Kafka { sink, source, dead_letters, status, work } = kafka::start(settings, start)?;
    Ok(Opened {
        sink: Arc::new(sink),
        source: AnySource::Kafka(source),
        dead_letters: Some(Box::new(dead_letters)),
        topics: settings.topics(),
        view: Arc::new(KafkaView { status, findings }),
        work: work.into(),
        ending: LogEnding::Kafka,
    })
}

/// Kafka, seen from outside.
struct KafkaView {
    status: KafkaStatus,
    findings: watch::Receiver<Vec<Finding>>,
}

impl LogView for KafkaView {
    /// Only the brokers know, and asking them costs more than the answer is worth.
    fn bytes(&self) -> u64 {
        0
    }

    fn notes(&self) -> Vec<String> {
        let fault = self.status.fault().map(|fault| fault.to_string());
        let found = self.findings.borrow().iter().map(ToString::to_string).collect::<Vec<_>>();
        fault.into_iter().chain(found).collect()
    }

    fn partitions(&self) -> Vec<PartitionView> {
        let partitions = self.status.partitions().into_iter();
        let seen = partitions.filter_map(|status| {
            let PartitionStatus { partition, end, as_of, next: _, incarnation: _ } = status;
            Some(PartitionView { partition, end: end?, as_of })
        });
        seen.collect()
    }

    fn letters(&self) -> Letters {
        Letters { written: self.status.letters_written(), failed: self.status.letters_failed() }
    }
}

/// Opens the embedded log in a folder, or creates it.
fn open_folder(directory: &std::path::Path, horizon: std::time::Duration) -> anyhow::Result<Log> {
    let disk = FolderDisk::open(directory)
        .with_context(|| format!("log.directory: {} can not be used", directory.display()))?;
    let mut incarnation = [0; 16];
    getrandom::fill(&mut incarnation).context("the operating system gives no random numbers")?;
    let identity = Identity { incarnation: Incarnation(incarnation), horizon };
    let log =
        log::open(Arc::new(disk), Options::new(identity)).context("opening the embedded log")?;
    let found = log.reader.identity().horizon;
    anyhow::ensure!(
        found == horizon,
        "tokens.horizon: the log in {} was created with a horizon of {} s, which never changes; the configuration says {} s. Set tokens.horizon to it, or begin a new log in another folder",
        directory.display(),
        found.as_secs(),
        horizon.as_secs(),
    );
    if log.repair != Repair::default() {
        tracing::warn!(
            repair = ?log.repair,
            "the end of the embedded log was repaired; nothing acknowledged was lost"
        );
    }
    Ok(log)
}

impl Source for AnySource {
    fn next(&mut self) -> BoxFuture<'_, SourceEvent> {
        match self {
            Self::Embedded(source) => source.next(),
            Self::Kafka(source) => source.next(),
        }
    }

    fn topics(&self) -> Topics {
        match self {
            Self::Embedded(source) => source.topics(),
            Self::Kafka(source) => source.topics(),
        }
    }
}
