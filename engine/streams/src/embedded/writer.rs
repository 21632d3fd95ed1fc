//! What owns the log's writer: appends what waits, tells who waited, and compacts now and then.

use std::sync::Arc;
use std::time::Duration;

use caed_core::position::Offset;
use caed_core::sink::AppendError;
use caed_core::time::Clock;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Keep;
use crate::limits;
use crate::log::{Key, LogError, LogWriter};

/// Records to append together.
pub(super) struct Call {
    pub(super) records: Vec<(Key, Vec<u8>)>,
    /// Gets the offset of the first one.
    pub(super) reply: oneshot::Sender<Result<Offset, AppendError>>,
}

/// What the owner is told.
pub(super) enum Message {
    Append(Call),
    /// Append what waits, take nothing more, and end.
    End,
}

/// Owns the writer: to be run on a thread that may block.
pub struct Owner {
    writer: LogWriter,
    queue: mpsc::Receiver<Message>,
    durable: watch::Sender<Offset>,
    clock: Arc<dyn Clock>,
    keep: Keep,
    /// Where the next compaction goes on, and when it is due, by the monotonic clock.
    compact_from: Offset,
    compact_at: Duration,
}

/// Ends the owner, whoever still holds a sink.
pub struct Ending {
    messages: mpsc::Sender<Message>,
}

impl Ending {
    pub(super) const fn new(messages: mpsc::Sender<Message>) -> Self {
        Self { messages }
    }

    /// Has the owner append what waits and end. Later appends are refused as closing.
    pub async fn end(self) {
        // An owner that is gone has ended.
        let _ = self.messages.send(Message::End).await;
    }
}

impl Owner {
    pub(super) fn new(
        writer: LogWriter,
        queue: mpsc::Receiver<Message>,
        durable: watch::Sender<Offset>,
        clock: Arc<dyn Clock>,
        keep: Keep,
    ) -> Self {
        let compact_at = clock.monotonic() + limits::COMPACT_INTERVAL;
        Self { writer, queue, durable, clock, keep, compact_from: Offset(0), compact_at }
    }

    /// Runs until it is told to end, or nobody can tell it anything any more. `runtime` keeps the
    /// time; writing blocks the thread.
    pub fn run(mut self, runtime: &Handle) {
        loop {
            let message = runtime.block_on(timeout(limits::COMPACT_INTERVAL, self.queue.recv()));
            match message {
                Ok(Some(Message::Append(first))) => self.append_group(first),
                Ok(Some(Message::End)) => self.queue.close(),
                Ok(None) => break,
                // Nothing was appended for a while.
                Err(_) => {}
            }
            if self.clock.monotonic() >= self.compact_at {
                self.compact();
            }
        }
        // Sealing now lets the next start tell damage from a torn write. If it fails, the next start
        // repairs the tail instead.
        if let Err(error) = self.writer.roll() {
            tracing::warn!(error = error.in_full(), "sealing the embedded log at the end failed");
        }
    }

    /// Appends a call and everything that waits behind it.
    fn append_group(&mut self, first: Call) {
        let mut calls = vec![first];
        let mut count = records_of(&calls);
        while count < limits::GROUP_RECORDS_MAX {
            match self.queue.try_recv() {
                Ok(Message::Append(next)) => {
                    count += next.records.len();
                    calls.push(next);
                }
                Ok(Message::End) => self.queue.close(),
                Err(_) => break,
            }
        }
        self.append(calls);
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
                    tracing::error!(
                        error = error.in_full(),
                        "the embedded log takes no more events"
                    );
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
            Err(error) => {
                tracing::warn!(error = error.in_full(), "compacting the embedded log failed");
            }
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
        AppendError::Broken(error.in_full())
    }
}
