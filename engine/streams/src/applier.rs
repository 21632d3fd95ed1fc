//! The single writer: events in, snapshots out.
//!
//! The loop awaits one action and then carries it out without waiting for anything. What was
//! appended together is published as one snapshot, however many batches bring it. It is published at once
//! where nothing else waits; where more does, that is applied first, for a few milliseconds at the most: under load
//! each snapshot would cost more than what it brings. Until the source has delivered everything
//! that its log held at the start nothing is published: a replay is a long first batch, and its
//! snapshots would answer nobody. A long one says every few seconds how far it is.
//!
//! A source says where its log ended at an instant, all partitions together; the snapshot is current
//! as of that instant once its frontier has reached every one of those ends (F1). Statements that
//! are not reached yet wait, because under a steady stream the newest one never would be.
//!
//! The frontier that a snapshot contains is announced after it is published, so that whoever waits
//! for a position and then asks, asks a snapshot that contains it.

use std::collections::VecDeque;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use caed_core::builder::{Applied, Builder};
use caed_core::countries::Countries;
use caed_core::directory::CompiledRanges;
use caed_core::event::{Event, Fact};
use caed_core::ingest::{Ingest, RecentEvent};
use caed_core::limits::RECENT_EVENTS_MAX;
use caed_core::position::{Frontier, Incarnation, Partition, Position, Topics};
use caed_core::publish::Publisher;
use caed_core::time::{Clock, UnixMillis};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::limits;
use crate::source::{
    Batch, DeadLetter, DeadLetters, LogEnd, PartitionEnd, Source, SourceEvent, SourceFault,
    SourceRecord,
};
use caed_decode::native::{Decoded, Decoder, InvalidEvent};

/// Applies what a source delivers.
pub struct Applier<S> {
    source: S,
    state: Writer,
    /// An index that takes longer to compile than other tenants' events may wait (P10).
    compiling: JoinSet<CompiledRanges>,
    countries: Option<watch::Receiver<Option<Arc<Countries>>>>,
}

/// Everything that carrying out an action changes.
struct Writer {
    topics: Topics,
    decoder: Decoder,
    builder: Builder,
    publisher: Publisher,
    applied: watch::Sender<Frontier>,
    ingest: Arc<Ingest>,
    clock: Arc<dyn Clock>,
    /// The horizon of the log: what happened longer ago on arrival is reported.
    horizon: Duration,
    caught_up: bool,
    /// The state has changed since the last snapshot.
    dirty: bool,
    /// Since when a snapshot is due, by the monotonic clock; never in the midst of what was appended together.
    due: Option<Duration>,
    /// Where the log ended, for what the published snapshot does not contain yet; oldest first.
    ends: VecDeque<LogEnd>,
    /// Nothing of the last large batch could be understood. That is no bad record but a fault of
    /// the whole, and while it lasts nothing is known to be current (F1).
    systemic: bool,
    dead_letters: Option<Box<dyn DeadLetters>>,
    /// When the events happened that the next snapshot enforces, for the histogram.
    happened: Vec<UnixMillis>,
    /// How far reading was when that was said last.
    progress: Progress,
}

/// What became of a batch: counted by itself and added up once, because others read those counts meanwhile.
#[derive(Default)]
struct Tally {
    changed: u64,
    unchanged: u64,
    stale: u64,
    times_read_as_seconds: u64,
    cutoffs_set_to_receipt: u64,
    older_than_horizon: u64,
    missing_tokens_without_claim: u64,
}

/// How far a long first reading is.
struct Progress {
    /// When reading began, by the monotonic clock.
    begun: Duration,
    records: u64,
    /// When it was said last how far it is, and the records that had been read by then.
    told: Option<(Duration, u64)>,
}

enum Action {
    Source(SourceEvent),
    Forget,
    Countries,
    Compiled(Result<CompiledRanges, JoinError>),
    Publish,
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
        let mut state = Writer {
            topics,
            decoder: Decoder::default(),
            builder,
            publisher,
            applied,
            ingest,
            clock,
            horizon,
            caught_up: false,
            dirty: false,
            due: None,
            ends: VecDeque::new(),
            systemic: false,
            dead_letters: None,
            happened: Vec::new(),
            progress: Progress { begun: Duration::ZERO, records: 0, told: None },
        };
        state.progress.begun = state.clock.monotonic();
        Self { source, state, compiling: JoinSet::new(), countries: None }
    }

    /// Also sends what can't be understood to `dead_letters`.
    #[must_use]
    pub fn with_dead_letters(mut self, dead_letters: Box<dyn DeadLetters>) -> Self {
        self.state.dead_letters = Some(dead_letters);
        self
    }

    /// Also decides by the databases of countries that come this way.
    #[must_use]
    pub fn with_countries(mut self, countries: watch::Receiver<Option<Arc<Countries>>>) -> Self {
        self.countries = Some(countries);
        self
    }

    /// Runs until `stop` is ready or the source is lost.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), SourceFault> {
        let mut forget = interval(limits::FORGET_INTERVAL);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            if self.compiling.is_empty()
                && let Some(compilation) = self.state.builder.take_compilation()
            {
                self.compiling.spawn_blocking(move || compilation.run());
            }
            let action = tokio::select! {
                biased;
                () = &mut stop => Action::Stop,
                _ = forget.tick() => Action::Forget,
                () = changed(&mut self.countries) => Action::Countries,
                Some(compiled) = self.compiling.join_next() => Action::Compiled(compiled),
                // Others first, but not for ever.
                () = ready(()), if self.state.is_overdue() => Action::Publish,
                event = self.source.next() => Action::Source(event),
                () = ready(()), if self.state.due.is_some() => Action::Publish,
            };
            match action {
                Action::Source(SourceEvent::Begin { partition, incarnation }) => {
                    self.state.begin(partition, incarnation);
                }
                Action::Source(SourceEvent::Batch(batch)) => self.state.apply(&batch),
                Action::Source(SourceEvent::CaughtUp) => self.state.catch_up(),
                Action::Source(SourceEvent::End(end)) => self.state.note_end(end),
                Action::Source(SourceEvent::Lost(fault)) => return Err(fault),
                Action::Forget => self.state.forget(),
                Action::Countries => {
                    let countries =
                        self.countries.as_mut().and_then(|it| it.borrow_and_update().clone());
                    self.state.set_countries(countries);
                }
                Action::Compiled(compiled) => {
                    // A panic there is one here: the state may be wrong.
                    let compiled = compiled
                        .unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
                    self.state.install(compiled);
                }
                Action::Publish => self.state.publish(),
                Action::Stop => return Ok(()),
            }
        }
    }
}

impl Writer {
    fn begin(&mut self, partition: Partition, incarnation: Incarnation) {
        self.builder.begin(partition, incarnation);
        // Ends of another log can't be reached any more.
        self.ends.clear();
    }

    fn apply(&mut self, batch: &Batch) {
        // What is due must not wait for the rest of what follows it: that may be long, and go on.
        if !batch.is_whole && self.due.is_some() {
            self.publish();
        }
        let count = batch.records.len();
        let (mut understood, mut recent) = (0, Vec::new());
        let mut tally = Tally::default();
        let mut records = batch.records.iter().enumerate();
        loop {
            let decoded = records.by_ref().take(limits::RECORDS_AHEAD);
            let decoded: Vec<_> = decoded
                .map(|(place, record)| (place, record, self.decoder.decode(record.payload)))
                .collect();
            if decoded.is_empty() {
                break;
            }
            let events = decoded.iter().filter_map(|(.., decoded)| decoded.as_ref().ok());
            self.builder.touch(events.map(|decoded| &decoded.event));
            for (place, record, decoded) in decoded {
                let Some(event) = self.apply_record(record, decoded, &mut tally) else { continue };
                understood += 1;
                // Only the newest are looked at, and a batch may be all of a large log. Signs of life
                // would leave no room for anything else.
                let is_sign = matches!(event.fact, Fact::Heartbeat { .. });
                if place + RECENT_EVENTS_MAX >= count && !is_sign {
                    recent.push(RecentEvent {
                        position: self.topics.place(record.position),
                        occurred: event.occurred,
                        tenant: event.tenant,
                        source: event.source,
                        kind: event.fact.kind(),
                    });
                }
            }
        }
        tally.count_in(&self.ingest);
        self.ingest.note_events(recent);
        self.judge(understood, count);
        self.tell_progress(count);
        self.builder.pass(batch.partition, batch.next);
        self.dirty = true;
        if batch.is_whole && self.caught_up {
            self.due = self.due.or_else(|| Some(self.clock.monotonic()));
        }
    }

    /// Whether a snapshot has been due for so long that nothing else may come before it.
    fn is_overdue(&self) -> bool {
        self.due.is_some_and(|due| {
            self.clock.monotonic().saturating_sub(due) >= limits::PUBLICATION_DELAY_MAX
        })
    }

    /// Says how far a long first reading is.
    fn tell_progress(&mut self, records: usize) {
        if self.caught_up {
            return;
        }
        self.progress.records += records as u64;
        let Progress { begun, records, told } = self.progress;
        let now = self.clock.monotonic();
        let (since, records_then) = told.unwrap_or((begun, 0));
        let elapsed = now.saturating_sub(since);
        if elapsed < limits::PROGRESS_INTERVAL {
            return;
        }
        self.progress.told = Some((now, records));
        let frontier = self.builder.frontier();
        let newest = self.ends.back().map(|end| end.ends.as_slice()).unwrap_or_default();
        let ends = newest.iter().map(|end| end.end.0).sum::<u64>();
        let read = newest.iter().map(|end| frontier.next_offset(end.partition).min(end.end).0);
        let read = read.sum::<u64>();
        let percent = (read * 100).checked_div(ends);
        // Of the last seconds: a log that is read more slowly than before should show.
        let per_second = (records - records_then) / elapsed.as_secs().max(1);
        let left_s = percent.and((ends - read).checked_div(per_second));
        tracing::info!(records, per_second, percent, left_s, "reading the log");
    }

    /// Tells a bad record from a fault of the whole.
    fn judge(&mut self, understood: usize, records: usize) {
        if understood > 0 {
            if self.systemic {
                tracing::info!("records can be understood again");
            }
            self.systemic = false;
        } else if records >= limits::SYSTEMIC_RECORDS {
            if !self.systemic {
                tracing::error!(records, "no record of a whole batch could be understood");
            }
            self.systemic = true;
        }
    }

    /// Applies a record, and returns what it says; nothing where it can't be understood.
    fn apply_record(
        &mut self,
        record: SourceRecord<'_>,
        decoded: Result<Decoded, InvalidEvent>,
        tally: &mut Tally,
    ) -> Option<Event> {
        let SourceRecord { position, appended, payload } = record;
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                self.quarantine(position, &error.to_string(), payload);
                self.builder.skip(position, appended);
                return None;
            }
        };
        let event = &decoded.event;
        if self.caught_up {
            self.happened.push(event.occurred);
        }
        match self.builder.apply(position, appended, event) {
            Applied::Changed => tally.changed += 1,
            Applied::Unchanged => tally.unchanged += 1,
            Applied::Stale => tally.stale += 1,
        }
        tally.times_read_as_seconds += u64::from(decoded.time_read_as_seconds);
        tally.cutoffs_set_to_receipt += u64::from(event.cutoff_is_clamped());
        tally.older_than_horizon += u64::from(event.is_late(self.horizon));
        tally.missing_tokens_without_claim += u64::from(event.misses_tokens_without_claim());
        Some(decoded.event)
    }

    fn quarantine(&mut self, position: Position, reason: &str, payload: &[u8]) {
        let place = self.topics.place(position);
        tracing::error!(error = reason, position = place, "a record could not be understood");
        self.ingest.quarantine(place, reason.to_owned(), payload);
        if let Some(dead_letters) = &mut self.dead_letters {
            let topic = self.topics.name(position.partition.topic);
            dead_letters.put(DeadLetter { reason, topic, position, payload });
        }
    }

    fn catch_up(&mut self) {
        let Progress { begun, records, told } = self.progress;
        if told.is_some() {
            let seconds = self.clock.monotonic().saturating_sub(begun).as_secs();
            tracing::info!(records, seconds, "the log has been read");
        }
        self.caught_up = true;
        self.builder.caught_up();
        self.publish();
    }

    fn note_end(&mut self, end: LogEnd) {
        if self.ends.len() == limits::ENDS_MAX {
            // The oldest is reached first, the newest says most: the one before the newest goes.
            self.ends.pop_back();
        }
        self.ends.push_back(end);
        self.confirm();
    }

    /// The published snapshot is current as of the newest instant at which no partition ended
    /// beyond it (F1).
    fn confirm(&mut self) {
        if !self.caught_up || self.dirty || self.systemic {
            return;
        }
        let frontier = self.builder.frontier();
        let reached = self.ends.iter().rposition(|end| contains(frontier, &end.ends));
        let reached = reached.and_then(|at| self.ends.drain(..=at).next_back());
        if let Some(LogEnd { wall, monotonic, ends: _ }) = reached {
            self.publisher.confirm_current(wall, monotonic);
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

    /// Decides by another database from the next snapshot on, which is due now.
    fn set_countries(&mut self, countries: Option<Arc<Countries>>) {
        self.builder.set_countries(countries);
        if self.caught_up && !self.dirty {
            self.publish();
        }
    }

    /// Puts an index in place. It changes no answer, and goes with the next snapshot where one is due.
    fn install(&mut self, compiled: CompiledRanges) {
        self.builder.install(compiled);
        if self.caught_up && !self.dirty {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let begun = self.clock.monotonic();
        let snapshot = self.builder.freeze();
        let frontier = snapshot.frontier().clone();
        self.publisher.publish(snapshot);
        self.dirty = false;
        self.due = None;
        self.ingest.publishing.add(self.clock.monotonic().saturating_sub(begun));
        let now = self.clock.now();
        for happened in self.happened.drain(..) {
            self.ingest.enforced.add(now.since(happened));
        }
        self.applied.send_replace(frontier);
        self.confirm();
    }
}

impl Tally {
    fn count_in(self, ingest: &Ingest) {
        let Self {
            changed,
            unchanged,
            stale,
            times_read_as_seconds,
            cutoffs_set_to_receipt,
            older_than_horizon,
            missing_tokens_without_claim,
        } = self;
        ingest.changed.add(changed);
        ingest.unchanged.add(unchanged);
        ingest.stale.add(stale);
        ingest.times_read_as_seconds.add(times_read_as_seconds);
        ingest.cutoffs_set_to_receipt.add(cutoffs_set_to_receipt);
        ingest.older_than_horizon.add(older_than_horizon);
        ingest.missing_tokens_without_claim.add(missing_tokens_without_claim);
    }
}

/// Waits for another database of countries; for ever, where none will come.
async fn changed(countries: &mut Option<watch::Receiver<Option<Arc<Countries>>>>) {
    let is_changed = match countries {
        Some(countries) => countries.changed().await.is_ok(),
        None => false,
    };
    if !is_changed {
        std::future::pending::<()>().await;
    }
}

/// Whether everything below these ends is contained. Offsets of another log say nothing.
fn contains(frontier: &Frontier, ends: &[PartitionEnd]) -> bool {
    ends.iter().all(|PartitionEnd { partition, incarnation, end }| {
        let reached = frontier.reached(*partition);
        reached.and_then(|reached| reached.incarnation) == *incarnation
            && frontier.next_offset(*partition) >= *end
    })
}
