//! Kafka: the stream as the source of truth.
//!
//! Two topics, `caed.events` and `caed.policies`, are read whole by every replica: all partitions,
//! assigned and never shared out in a group, from the first record that is left. What is published
//! goes to the same topics and comes back from there, so that an event is decided by only after it
//! has been read, here as everywhere.
//!
//! ```text
//!             ┌─ orders ──────────────┐
//!           probe ── ends ──────────┐ ▼
//!   brokers ─┤                      │ reader ── events ──► source ──► applier
//!             └────────── records ──┼──┘  bounded           ▲
//!                                   └───────────────────────┘
//! ```
//!
//! | file | noun |
//! |---|---|
//! | `consumer.rs`, `reading.rs` | the thread that reads, and one client at work |
//! | `probe.rs` | the thread that finds partitions and asks where they end (F1) |
//! | `source.rs` | what both say, as a [`Source`](crate::source::Source) |
//! | `producer.rs` | the way in, as an [`EventSink`](caed_core::sink::EventSink) |
//! | `janitor.rs`, `membership.rs`, [`sweep`] | what takes out what the log has outlived, how it is chosen, and what it chooses (L3) |
//! | `dead_letter.rs` | the topic of records that could not be understood (E16) |
//! | `fault.rs`, `status.rs` | what is wrong, by name, and how far reading is |
//! | `listener.rs` | librdkafka's callbacks as a closed enum |
//! | [`identity`] | what tells a topic from another one of its name (L5) |
//! | [`settings`], [`topics`] | how clients and topics are set up |
//!
//! Deliberately absent: reading in a consumer group, whose members each see a part (a group does
//! choose the janitor); committed offsets, because a place that outlives the state that it belongs to
//! loses events.

use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

use caed_core::ingest::Ingest;
use caed_core::position::Frontier;
use caed_core::publish::SnapshotReader;
use caed_core::time::Clock;
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, watch};

mod consumer;
mod dead_letter;
pub mod fault;
pub mod identity;
mod janitor;
pub mod limits;
mod listener;
mod membership;
mod names;
mod probe;
mod producer;
mod reading;
pub mod settings;
mod source;
mod status;
pub mod sweep;
pub mod topics;

use consumer::Reader;
use janitor::{Janitor, Tools};
use names::Names;
use probe::Probe;
use settings::KafkaSettings;

pub use dead_letter::KafkaDeadLetters;
pub use janitor::Pace;
pub use producer::{KafkaSink, topic_of};
pub use source::KafkaSource;
pub use status::{KafkaStatus, PartitionStatus};

/// Kafka's ends.
pub struct Kafka {
    /// Where events go in.
    pub sink: KafkaSink,
    /// Where they come out.
    pub source: KafkaSource,
    /// Where records go that can't be understood; for the applier.
    pub dead_letters: KafkaDeadLetters,
    /// How it goes, for those who look.
    pub status: KafkaStatus,
    /// What reads, what asks, and the janitor; each to be run on a thread that may block. The first
    /// two end soon after the source is gone, the janitor soon after what `applied` follows.
    pub work: [Work; 3],
}

/// What occupies a thread until it has ended.
pub type Work = Box<dyn FnOnce() + Send>;

/// What a start needs besides the settings.
pub struct Start {
    /// The horizon of the configuration, which must be the log's.
    pub horizon: Duration,
    /// How long the brokers may refuse this client before the source is lost; usually
    /// [`limits::STARTUP_PATIENCE`].
    pub patience: Duration,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Follows the frontier of the published snapshot.
    pub applied: watch::Receiver<Frontier>,
    /// The published snapshot, which tells the janitor what the log has outlived.
    pub snapshots: SnapshotReader,
    /// When the janitor works.
    pub janitor: Pace,
    /// Where it counts what it does.
    pub ingest: Arc<Ingest>,
}

/// librdkafka does not take the settings.
#[derive(Debug, thiserror::Error)]
#[error("kafka: the client can not be made: {0}")]
pub struct StartError(#[from] KafkaError);

/// Prepares to read both topics. Returns at once: what the brokers say comes by the source.
pub fn start(settings: &KafkaSettings, start: Start) -> Result<Kafka, StartError> {
    let Start { horizon, patience, clock, applied, snapshots, janitor: pace, ingest } = start;
    let names = Names::new(settings);
    let status = KafkaStatus::default();
    let janitor = Janitor::new(Tools {
        settings: settings.clone(),
        names: names.clone(),
        clock: Arc::clone(&clock),
        snapshots,
        ingest,
        shared: status.shared(),
        applied: applied.clone(),
        pace,
    });
    let sink =
        KafkaSink::new(settings, names.clone(), applied.clone(), Arc::clone(&clock), horizon)?;
    let (events, out) = mpsc::channel(limits::EVENT_QUEUE_MAX);
    let (ends, ends_out) = watch::channel(None);
    // Unbounded, and a few words a second at the most: partitions that came, went or were replaced.
    let (orders, orders_out) = channel();
    let (suspects, suspects_out) = sync_channel(limits::SUSPECTS_MAX);
    let (wake, woken) = sync_channel(1);

    let channels = probe::Ends {
        orders,
        wake: wake.clone(),
        suspects: suspects_out,
        events: events.clone(),
        said: ends,
        applied,
    };
    let probe = Probe::new(
        settings.probe(),
        names.clone(),
        Arc::clone(&clock),
        status.shared(),
        channels,
        sink.clone(),
        patience,
    );
    let channels = consumer::Ends { orders: orders_out, suspects, events, wake, woken };
    let reader = Reader::new(settings.clone(), names, horizon, clock, status.shared(), channels);
    let work: [Work; 3] = [
        Box::new(move || reader.run()),
        Box::new(move || probe.run()),
        Box::new(move || janitor.run()),
    ];
    let source = KafkaSource::new(settings.topics(), out, ends_out);
    let dead_letters = KafkaDeadLetters::new(settings.clone(), &status);
    Ok(Kafka { sink, source, dead_letters, status, work })
}
