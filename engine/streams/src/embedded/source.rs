//! The way out: reads the log from its beginning and follows its end.

use std::sync::Arc;

use caed_core::position::{Incarnation, Offset, Partition, Position, Topic, Topics};
use caed_core::sink::BoxFuture;
use caed_core::time::Clock;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::limits;
use crate::log::{LogCursor, LogReader};
use crate::source::{Batch, LogEnd, PartitionEnd, Source, SourceEvent, SourceFault, SourceRecord};

/// The one partition of the embedded log.
pub(super) const PARTITION: Partition = Partition { topic: Topic(0), number: 0 };

/// Reads the embedded log.
pub struct EmbeddedSource {
    cursor: LogCursor,
    durable_end: watch::Receiver<Offset>,
    clock: Arc<dyn Clock>,
    incarnation: Incarnation,
    /// Whether the log's identity has been told.
    begun: bool,
    /// The end of the log when it was opened; `None` once everything below has been delivered.
    opened_at: Option<Offset>,
    /// Where what is being read ends: the end of an append, at which readers may see it. Above it
    /// nothing is read before.
    target: Option<Offset>,
    /// An end to report before anything else.
    pending: Option<LogEnd>,
    next_end: Instant,
}

impl EmbeddedSource {
    pub(super) fn new(
        reader: &LogReader,
        durable_end: watch::Receiver<Offset>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let opened_at = Some(reader.durable_end());
        let cursor = reader.cursor(Offset(0));
        let incarnation = reader.identity().incarnation;
        let (target, pending, next_end) = (opened_at, None, Instant::now());
        Self {
            cursor,
            durable_end,
            clock,
            incarnation,
            begun: false,
            opened_at,
            target,
            pending,
            next_end,
        }
    }

    async fn next_event(&mut self) -> SourceEvent {
        loop {
            if !std::mem::replace(&mut self.begun, true) {
                let incarnation = self.incarnation;
                return SourceEvent::Begin { partition: PARTITION, incarnation };
            }
            if let Some(end) = self.pending.take() {
                return SourceEvent::End(end);
            }
            if self.opened_at.take_if(|opened| self.cursor.next_offset() >= *opened).is_some() {
                return SourceEvent::CaughtUp;
            }
            // The clocks first, then the log: what it holds now is at least what it held then.
            let (end, said) = self.end();
            // While reading, too: then it tells how far that is.
            if self.next_end <= Instant::now() {
                self.next_end = Instant::now() + limits::END_INTERVAL;
                return SourceEvent::End(said);
            }
            if self.cursor.next_offset() < end {
                return self.read(end, said);
            }
            tokio::select! {
                // A closed channel means that nobody appends any more; what is there stays current.
                changed = self.durable_end.changed() => if changed.is_err() {
                    sleep_until(self.next_end).await;
                },
                () = sleep_until(self.next_end) => {}
            }
        }
    }

    /// Where the log ends now, and how that is said.
    fn end(&mut self) -> (Offset, LogEnd) {
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        let end = *self.durable_end.borrow_and_update();
        let incarnation = Some(self.incarnation);
        let ends = vec![PartitionEnd { partition: PARTITION, incarnation, end }];
        (end, LogEnd { wall, monotonic, ends })
    }

    /// Reads on.
    fn read(&mut self, end: Offset, said: LogEnd) -> SourceEvent {
        let target = *self.target.get_or_insert(end);
        let records = match self.cursor.read_below(target, limits::BATCH_BYTES_MAX) {
            Ok(records) => records,
            Err(error) => return SourceEvent::Lost(SourceFault { cause: Box::new(error) }),
        };
        let next = self.cursor.next_offset();
        let is_whole = next >= target;
        if is_whole {
            self.target = None;
            self.pending = (next >= end).then_some(said);
        }
        let records = records.iter().map(|record| SourceRecord {
            position: position(record.offset),
            appended: record.append_time,
            payload: &record.payload,
        });
        let records = records.collect();
        SourceEvent::Batch(Batch { is_whole, partition: PARTITION, records, next })
    }
}

impl Source for EmbeddedSource {
    fn next(&mut self) -> BoxFuture<'_, SourceEvent> {
        Box::pin(self.next_event())
    }

    fn topics(&self) -> Topics {
        super::topics()
    }
}

/// The position of an offset of the one partition.
pub(super) const fn position(offset: Offset) -> Position {
    Position { partition: PARTITION, offset }
}
