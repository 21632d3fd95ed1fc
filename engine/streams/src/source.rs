//! What every source of records says to the applier, whatever log is behind it.

use std::time::Duration;

use caed_core::position::{Incarnation, Offset, Partition, Position, Topics};
use caed_core::sink::BoxFuture;
use caed_core::time::UnixMillis;

/// One word of a source.
#[derive(Debug)]
pub enum SourceEvent {
    /// A partition is read from its beginning: for the first time, or because what was read before
    /// was another log.
    Begin {
        /// The partition.
        partition: Partition,
        /// The log that it belongs to.
        incarnation: Incarnation,
    },
    /// Records, in the order of their partition.
    Batch(Batch),
    /// Everything that the log held when it was opened has been delivered.
    CaughtUp,
    /// Where the log ended at an instant, all of it.
    End(LogEnd),
    /// The source can't go on. Nothing may be decided as if it could.
    Lost(SourceFault),
}

/// Consecutive records of one partition.
#[derive(Debug)]
pub struct Batch {
    /// Whether what was appended together ends here. Before that nothing of it may be seen.
    pub is_whole: bool,
    /// Their partition.
    pub partition: Partition,
    /// The records.
    pub records: Vec<SourceRecord>,
    /// The offset to read on from: beyond the last record where a compacted log has holes.
    pub next: Offset,
}

/// A record as it stands in a log.
#[derive(Debug)]
pub struct SourceRecord {
    /// Its place.
    pub position: Position,
    /// When the log appended it.
    pub appended: UnixMillis,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Where a log ended at an instant, which was read from the clocks before the log was asked (F1).
///
/// It speaks of every partition that the log has: a partition that is not named does not exist. A
/// source that can't say so of all of them says nothing, and the age of what is known grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The instant, by the wall clock.
    pub wall: UnixMillis,
    /// The instant, by the monotonic clock.
    pub monotonic: Duration,
    /// Where each partition ended.
    pub ends: Vec<PartitionEnd>,
}

/// Where a partition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The partition.
    pub partition: Partition,
    /// The log that the offset belongs to, as told by the last [`SourceEvent::Begin`]; `None` where
    /// there was none.
    pub incarnation: Option<Incarnation>,
    /// The offset that its next record will have.
    pub end: Offset,
}

/// Why a source can't go on. The operator's fault to mend; trying again in this process is no use.
#[derive(Debug, thiserror::Error)]
#[error("the log can not be read any further")]
pub struct SourceFault {
    /// What happened.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Where records go that could not be understood, besides the counts and the log that still holds
/// them (E16).
pub trait DeadLetters: Send + 'static {
    /// Takes one. It must not wait, and what becomes of the letter must not stop the reading.
    fn put(&mut self, letter: DeadLetter<'_>);
}

/// A record that could not be understood.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'a> {
    /// What is wrong with it.
    pub reason: &'a str,
    /// The name of its topic.
    pub topic: &'a str,
    /// Its place.
    pub position: Position,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Where records come from. A source is asked for one event at a time, so a slow applier slows the
/// source, and nothing piles up between them.
pub trait Source: Send + 'static {
    /// The next event. Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, SourceEvent>;

    /// The names of the topics that it reads.
    fn topics(&self) -> Topics;
}
