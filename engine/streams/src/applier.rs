//! The single writer: events in, snapshots out.
//!
//! The loop awaits one action and then carries it out without waiting for anything. What was
//! appended together is published as one snapshot, however many batches bring it. Until the source has delivered everything
//! that its log held at the start nothing is published: a replay is a long first batch, and its
//! snapshots would answer nobody.
//!
//! The frontier that a snapshot contains is announced after it is published, so that whoever waits
//! for a position and then asks, asks a snapshot that contains it.

use std::future::Future;
use std::sync::Arc;

use caed_core::builder::{Applied, Builder};
use caed_core::ingest::Ingest;
use caed_core::position::{Frontier, Topics};
use caed_core::publish::Publisher;
use caed_core::time::Clock;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::decode::native;
use crate::limits;
use crate::source::{Batch, LogEnd, Source, SourceEvent, SourceFault, SourceRecord};

/// Applies what a source delivers.
pub struct Applier<S> {
    source: S,
    state: Writer,
}

/// Everything that carrying out an action changes.
struct Writer {
    topics: Topics,
    builder: Builder,
    publisher: Publisher,
    applied: watch::Sender<Frontier>,
    ingest: Arc<Ingest>,
    clock: Arc<dyn Clock>,
    /// The horizon of the log: what happened longer ago on arrival is reported.
    horizon: std::time::Duration,
    caught_up: bool,
    /// The state has changed since the last snapshot.
    dirty: bool,
}

enum Action {
    Source(SourceEvent),
    Forget,
    Stop,
}

impl<S: Source> Applier<S> {
    /// An applier of `source` that publishes through `publisher` and announces in `applied`.
    pub fn new(
        source: S,
        builder: Builder,
        publisher: Publisher,
        applied: watch::Sender<Frontier>,
        ingest: Arc<Ingest>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let topics = source.topics();
        let horizon = builder.rules().horizon;
        let (caught_up, dirty) = (false, false);
        let state = Writer {
            topics,
            builder,
            publisher,
            applied,
            ingest,
            clock,
            horizon,
            caught_up,
            dirty,
        };
        Self { source, state }
    }

    /// Runs until `stop` is ready or the source is lost.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), SourceFault> {
        let mut forget = interval(limits::FORGET_INTERVAL);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            let action = tokio::select! {
                biased;
                () = &mut stop => Action::Stop,
                _ = forget.tick() => Action::Forget,
                event = self.source.next() => Action::Source(event),
            };
            match action {
                Action::Source(SourceEvent::Begin { partition, incarnation }) => {
                    self.state.builder.begin(partition, incarnation);
                }
                Action::Source(SourceEvent::Batch(batch)) => self.state.apply(&batch),
                Action::Source(SourceEvent::CaughtUp) => self.state.catch_up(),
                Action::Source(SourceEvent::End(end)) => self.state.confirm(end),
                Action::Source(SourceEvent::Lost(fault)) => return Err(fault),
                Action::Forget => self.state.forget(),
                Action::Stop => return Ok(()),
            }
        }
    }
}

impl Writer {
    fn apply(&mut self, batch: &Batch) {
        for record in &batch.records {
            self.apply_record(record);
        }
        self.builder.pass(batch.partition, batch.next);
        self.dirty = true;
        if self.caught_up && batch.is_whole {
            self.publish();
        }
    }

    fn apply_record(&mut self, record: &SourceRecord) {
        let SourceRecord { position, appended, payload } = record;
        let decoded = match native::decode(payload) {
            Ok(decoded) => decoded,
            Err(error) => {
                let place = self.topics.place(*position);
                tracing::error!(%error, position = place, "a record could not be understood");
                self.ingest.quarantine(place, error.to_string(), payload);
                self.builder.skip(*position, *appended);
                return;
            }
        };
        let ingest = &self.ingest;
        let event = &decoded.event;
        match self.builder.apply(*position, *appended, event) {
            Applied::Changed => ingest.changed.add(1),
            Applied::Unchanged => ingest.unchanged.add(1),
            Applied::Stale => ingest.stale.add(1),
        }
        ingest.times_read_as_seconds.add(u64::from(decoded.time_read_as_seconds));
        ingest.cutoffs_set_to_receipt.add(u64::from(event.cutoff_is_clamped()));
        ingest.older_than_horizon.add(u64::from(event.is_late(self.horizon)));
        ingest.missing_tokens_without_claim.add(u64::from(event.misses_tokens_without_claim()));
    }

    fn catch_up(&mut self) {
        self.caught_up = true;
        self.builder.caught_up();
        self.publish();
    }

    /// The published snapshot is current as of an instant at which the log ended no later than the
    /// snapshot does (F1).
    fn confirm(&mut self, end: LogEnd) {
        if self.caught_up
            && !self.dirty
            && self.builder.frontier().next_offset(end.partition) >= end.end
        {
            self.publisher.confirm_current(end.wall, end.monotonic);
        }
    }

    fn forget(&mut self) {
        let gone = self.builder.forget_some(self.clock.now());
        self.ingest.forgotten.add(gone as u64);
        self.publisher.retire();
        // Never in the midst of what was appended together. What was forgotten changes no answer and
        // goes with the next snapshot.
        if gone > 0 && self.caught_up && !self.dirty {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let snapshot = self.builder.freeze();
        let frontier = snapshot.frontier().clone();
        self.publisher.publish(snapshot);
        self.dirty = false;
        self.applied.send_replace(frontier);
    }
}
