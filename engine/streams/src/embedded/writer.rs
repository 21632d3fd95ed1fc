//! The thread that owns the log's writer: appends what waits, tells who waited, compacts when idle.

use std::sync::Arc;
use std::time::Duration;

use caed_core::position::Offset;
use caed_core::sink::AppendError;
use caed_core::time::Clock;
use tokio::sync::{mpsc, oneshot, watch};

use super::Keep;
use crate::limits;
use crate::log::{Key, LogError, LogWriter};

/// Records to append together.
pub(super) struct Call {
    pub(super) records: Vec<(Key, Vec<u8>)>,
    /// Gets the offset of the first one.
    pub(super) reply: oneshot::Sender<Result<Offset, AppendError>>,
}

pub(super) struct Owner {
    writer: LogWriter,
    queue: mpsc::Receiver<Call>,
    durable: watch::Sender<Offset>,
    clock: Arc<dyn Clock>,
    keep: Keep,
    /// Where the next compaction goes on, and when it is due, by the monotonic clock.
    compact_from: Offset,
    compact_at: Duration,
}

impl Owner {
    pub(super) fn new(
        writer: LogWriter,
        queue: mpsc::Receiver<Call>,
        durable: watch::Sender<Offset>,
        clock: Arc<dyn Clock>,
        keep: Keep,
    ) -> Self {
        let compact_at = clock.monotonic() + limits::COMPACT_INTERVAL;
        Self { writer, queue, durable, clock, keep, compact_from: Offset(0), compact_at }
    }

    /// Runs until nobody can append any more.
    pub(super) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut calls = vec![first];
            let mut count = records_of(&calls);
            while count < limits::GROUP_RECORDS_MAX
                && let Ok(next) = self.queue.try_recv()
            {
                count += next.records.len();
                calls.push(next);
            }
            self.append(calls);
            if self.clock.monotonic() >= self.compact_at {
                self.compact();
            }
        }
        // Sealing now lets the next start tell damage from a torn write. If it fails, the next start
        // repairs the tail instead.
        if let Err(error) = self.writer.roll() {
            tracing::warn!(%error, "sealing the embedded log at the end failed");
        }
    }

    /// Appends and syncs everything that waited, together; where the group is too large for the
    /// log, call by call.
    fn append(&mut self, calls: Vec<Call>) {
        let group: Vec<_> = calls.iter().flat_map(|call| &call.records).map(borrowed).collect();
        match self.writer.append(self.clock.now(), &group) {
            Ok(offsets) => {
                let mut first = offsets.start;
                self.durable.send_replace(offsets.end);
                for Call { records, reply } in calls {
                    let length = records.len() as u64;
                    // A caller that has gone away has its events appended all the same.
                    let _ = reply.send(Ok(first));
                    first = Offset(first.0.saturating_add(length));
                }
            }
            Err(error) if calls.len() > 1 && is_callers_fault(&error) => {
                for call in calls {
                    self.append(vec![call]);
                }
            }
            Err(error) => {
                if !is_callers_fault(&error) {
                    tracing::error!(%error, "the embedded log takes no more events");
                }
                for Call { reply, .. } in calls {
                    let _ = reply.send(Err(refusal(&error)));
                }
            }
        }
    }

    /// Compacts one segment, or begins anew with the first one. Appends wait meanwhile, so a
    /// segment whose first record is too young to be dropped is not even read.
    fn compact(&mut self) {
        self.compact_at = self.clock.monotonic() + limits::COMPACT_INTERVAL;
        let Self { writer, keep, clock, .. } = self;
        let now = clock.now();
        if !keep.is_worth_a_look(self.compact_from, now) {
            self.compact_from = Offset(0);
            return;
        }
        match writer.compact_from(self.compact_from, &mut |record| keep.keeps(record, now)) {
            Ok(Some((compacted, next))) => {
                self.compact_from = next;
                if compacted.records_removed > 0 {
                    let (records, bytes) = (compacted.records_removed, compacted.bytes_freed);
                    tracing::info!(records, bytes, "compacted the embedded log");
                }
            }
            Ok(None) => self.compact_from = Offset(0),
            Err(error) => tracing::warn!(%error, "compacting the embedded log failed"),
        }
    }
}

fn borrowed((key, payload): &(Key, Vec<u8>)) -> (Key, &[u8]) {
    (*key, payload)
}

fn records_of(calls: &[Call]) -> usize {
    calls.iter().map(|call| call.records.len()).sum()
}

const fn is_callers_fault(error: &LogError) -> bool {
    matches!(error, LogError::BatchTooLarge { .. } | LogError::PayloadTooLarge { .. })
}

fn refusal(error: &LogError) -> AppendError {
    if is_callers_fault(error) {
        AppendError::Unstorable(error.to_string())
    } else {
        AppendError::Broken(error.to_string())
    }
}
