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
mod writer;

use std::sync::Arc;
use std::thread;

use caed_core::event::Event;
use caed_core::position::{Frontier, Offset};
use caed_core::publish::SnapshotReader;
use caed_core::time::{Clock, UnixMillis};
use tokio::sync::{mpsc, watch};

use crate::limits;
use crate::log::{Log, LogReader};

pub use sink::EmbeddedSink;
pub use source::EmbeddedSource;

/// What the log is called in positions, metrics and messages.
pub const LOG_NAME: &str = "embedded";

/// The log's three ends.
pub struct Embedded {
    /// Where events go in.
    pub sink: EmbeddedSink,
    /// Where they come out.
    pub source: EmbeddedSource,
    /// The thread that writes. It ends when the sink and its clones are gone.
    pub thread: thread::JoinHandle<()>,
}

/// Starts the thread that owns the writer.
///
/// `applied` follows the frontier of the published snapshot; `snapshots` tells what compaction may
/// drop.
pub fn start(
    log: Log,
    clock: Arc<dyn Clock>,
    applied: watch::Receiver<Frontier>,
    snapshots: SnapshotReader,
) -> std::io::Result<Embedded> {
    let Log { writer, reader, .. } = log;
    let (durable, durable_end) = watch::channel(reader.durable_end());
    let (calls, queue) = mpsc::channel(limits::APPEND_QUEUE_MAX);
    let keep = Keep { reader: reader.clone(), snapshots };
    let owner = writer::Owner::new(writer, queue, durable, Arc::clone(&clock), keep);
    let thread = thread::Builder::new().name("caed-log".to_owned()).spawn(move || owner.run())?;
    Ok(Embedded {
        sink: EmbeddedSink::new(calls, applied, Arc::clone(&clock), reader.identity().horizon),
        source: EmbeddedSource::new(&reader, durable_end, clock),
        thread,
    })
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
        if snapshot.frontier().incarnation() != self.reader.identity().incarnation
            || !snapshot.frontier().contains(position)
        {
            return true;
        }
        let now = clock.min(snapshot.newest_append());
        crate::decode::native::decode(&record.payload).map_or(true, |decoded| {
            let event: &Event = &decoded.event;
            !snapshot.outlives(event, record.append_time, now)
        })
    }
}
