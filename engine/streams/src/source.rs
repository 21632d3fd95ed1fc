//! What every source of records says to the applier, whatever log is behind it.

use std::ops::Range;
use std::sync::Arc;
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
    pub records: Records,
    /// The offset to read on from: beyond the last record where a compacted log has holes.
    pub next: Offset,
}

/// Records in one piece of memory: they are made on one thread and dropped on another, and so many small pieces
/// would cost more than decoding them.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Arc<Vec<u8>>,
    places: Vec<RecordPlace>,
}

/// Which record, and where its bytes are.
#[derive(Debug)]
struct RecordPlace {
    position: Position,
    appended: UnixMillis,
    bytes: Range<usize>,
}

/// A record as it stands in a log.
#[derive(Clone, Copy, Debug)]
pub struct SourceRecord<'a> {
    /// Its place.
    pub position: Position,
    /// When the log appended it.
    pub appended: UnixMillis,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl Records {
    /// None yet, of those whose bytes are among these.
    pub(crate) const fn among(bytes: Arc<Vec<u8>>) -> Self {
        Self { bytes, places: Vec::new() }
    }

    /// Adds the one whose bytes are there.
    pub(crate) fn push(&mut self, position: Position, appended: UnixMillis, bytes: Range<usize>) {
        self.places.push(RecordPlace { position, appended, bytes });
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = SourceRecord<'_>> {
        self.places.iter().map(|RecordPlace { position, appended, bytes }| SourceRecord {
            position: *position,
            appended: *appended,
            payload: self.bytes.get(bytes.clone()).unwrap_or_default(),
        })
    }
}

impl<'a> FromIterator<SourceRecord<'a>> for Records {
    fn from_iter<I: IntoIterator<Item = SourceRecord<'a>>>(records: I) -> Self {
        let (mut all, mut places) = (Vec::new(), Vec::new());
        for SourceRecord { position, appended, payload } in records {
            let start = all.len();
            all.extend_from_slice(payload);
            places.push(RecordPlace { position, appended, bytes: start..all.len() });
        }
        Self { bytes: Arc::new(all), places }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: u64) -> Position {
        Position { partition: Partition::default(), offset: Offset(offset) }
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let parts: [&[u8]; 4] = [b"one", b"", b"three", b"4"];
        let appended = UnixMillis::from_millis;
        let records: Records = (0..)
            .zip(parts)
            .map(|(at, payload)| SourceRecord {
                position: position(at),
                appended: appended(at),
                payload,
            })
            .collect();
        assert_eq!((records.len(), records.is_empty()), (4, false));
        let seen: Vec<_> =
            records.iter().map(|it| (it.position, it.appended, it.payload)).collect();
        let told = |at: u64| (position(at), appended(at));
        for (at, (seen, part)) in (0..).zip(seen.into_iter().zip(parts)) {
            assert_eq!(((seen.0, seen.1), seen.2), (told(at), part));
        }
    }

    #[test]
    fn records_may_be_some_of_what_was_read() {
        let mut records = Records::among(Arc::new(b"key-payload-more".to_vec()));
        assert!(records.is_empty());
        records.push(position(7), UnixMillis::ZERO, 4..11);
        let payloads: Vec<_> = records.iter().map(|record| record.payload).collect();
        assert_eq!(payloads, [b"payload"]);
    }
}
