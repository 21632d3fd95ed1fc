//! The embedded log as the rest of the house sees it: a sink that events are appended to, and a
//! source that they are read from again.
//!
//! One thread owns the writer, because syncing a disk blocks. Callers queue up before it; whatever
//! waits when a sync ends is written and synced together. The source reads the same files as at a
//! start, so that starting and following are one path: an event is decided by only after it has
//! been read back from the log.
//!
//! The embedded log serves one process; a fleet needs Kafka.

mod sink;
mod source;
mod view;
mod writer;

use std::sync::Arc;

use caed_core::event::Event;
use caed_core::log_view::LogView;
use caed_core::position::{Frontier, Offset, Topics};
use caed_core::publish::SnapshotReader;
use caed_core::time::{Clock, UnixMillis};
use tokio::sync::{mpsc, watch};

use crate::limits;
use crate::log::{Log, LogReader};
use view::View;

pub use sink::EmbeddedSink;
pub use source::EmbeddedSource;
pub use writer::{Ending, Owner};

/// What the log is called in positions and messages.
pub fn topics() -> Topics {
    Topics::new(["embedded".to_owned()])
}

/// The log's ends.
pub struct Embedded {
    /// Where events go in.
    pub sink: EmbeddedSink,
    /// Where they come out.
    pub source: EmbeddedSource,
    /// What writes; to be run on a thread that may block.
    pub owner: Owner,
    /// What ends it.
    pub ending: Ending,
    /// What is shown of it.
    pub view: Arc<dyn LogView>,
}

/// Splits a log that was opened into its ends.
///
/// `applied` follows the frontier of the published snapshot; `snapshots` tells what compaction may
/// drop.
pub fn split(
    log: Log,
    clock: Arc<dyn Clock>,
    applied: watch::Receiver<Frontier>,
    snapshots: SnapshotReader,
) -> Embedded {
    let Log { writer, reader, .. } = log;
    let (durable, durable_end) = watch::channel(reader.durable_end());
    let (messages, queue) = mpsc::channel(limits::APPEND_QUEUE_MAX);
    let horizon = reader.identity().horizon;
    let view =
        View { reader: reader.clone(), snapshots: snapshots.clone(), clock: Arc::clone(&clock) };
    let keep = Keep { reader: reader.clone(), snapshots };
    let owner = Owner::new(writer, queue, durable, Arc::clone(&clock), keep);
    Embedded {
        sink: EmbeddedSink::new(messages.clone(), applied, Arc::clone(&clock), horizon),
        source: EmbeddedSource::new(&reader, durable_end, clock),
        owner,
        ending: Ending::new(messages),
        view: Arc::new(view),
    }
}

/// Tells which records compaction must keep.
struct Keep {
    reader: LogReader,
    snapshots: SnapshotReader,
}

impl Keep {
    /// Whether the first record from an offset on is old enough to be dropped.
    fn is_worth_a_look(&self, from: Offset, clock: UnixMillis) -> bool {
        let snapshot = self.snapshots.load();
        let now = clock.min(snapshot.newest_append());
        // What can't be read here, the compaction reports.
        self.reader.read(from, 1).map_or(true, |records| {
            records.first().is_some_and(|first| snapshot.is_settled(first.append_time, now))
        })
    }

    /// Whether a record is still needed: it can't be understood, has not been applied yet, or the
    /// state would be poorer without it (L3).
    fn keeps(&self, record: &crate::log::Record, clock: UnixMillis) -> bool {
        let snapshot = self.snapshots.load();
        let position = source::position(record.offset);
        if !snapshot.frontier().contains(position) {
            return true;
        }
        let now = clock.min(snapshot.newest_append());
        caed_decode::native::decode(&record.payload).map_or(true, |decoded| {
            let event: &Event = &decoded.event;
            !snapshot.outlives(event, record.append_time, now)
        })
    }
}
