//! The janitor: writes tombstones for what the log has outlived, so that it does not grow for ever
//! (L3).
//!
//! Every replica has one, and Kafka's group membership chooses which of them works. Now and then it
//! reads both topics from the beginning with a client of its own, slowly; what core says is outlived
//! gets a tombstone under its key, in its partition, and compaction takes both away later. A tombstone
//! changes no state, so nobody has to know of any of this; without a janitor the log only grows.
//!
//! What may go is chosen in `sweep.rs`. What is left to this file is that the choice is made with
//! knowledge that fits the log: a run ends at once when the snapshot is not current any more, and
//! a process whose log was ever read again, lost its beginning, or turned out to be another one is no
//! janitor until it is started anew. Its state may hold what the log no longer does, and nothing may
//! be dropped because of that.
//!
//! A run that fails gives the place in the group up until the next one is due: a replica that may not
//! write to the topics leaves the work to one that may. So there is no switch.
//!
//! Deliberately absent: a memory of how far a run came. It looks at everything again, because what
//! was needed an hour ago may be outlived now.

use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use caed_core::event::RecordKey;
use caed_core::ingest::Ingest;
use caed_core::position::{Frontier, Offset, Partition, Position};
use caed_core::publish::SnapshotReader;
use caed_core::time::{Clock, UnixMillis};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use tokio::sync::watch;

use super::limits;
use super::membership::Membership;
use super::names::Names;
use super::reading::{Raw, Reading};
use super::settings::KafkaSettings;
use super::status::Shared;
use super::sweep::{Objection, Seen, Sweep};

/// When a janitor works; usually [`limits::JANITOR_PACE`].
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long after the log was read for the first time; also how long after a run that was
    /// broken off.
    pub first: Duration,
    /// How long after a run.
    pub interval: Duration,
}

/// What a janitor works with.
pub(super) struct Tools {
    pub(super) settings: KafkaSettings,
    pub(super) names: Names,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) snapshots: SnapshotReader,
    pub(super) ingest: Arc<Ingest>,
    pub(super) shared: Arc<Shared>,
    /// Gone with the applier, and then the janitor ends.
    pub(super) applied: watch::Receiver<Frontier>,
    pub(super) pace: Pace,
}

pub(super) struct Janitor {
    tools: Tools,
    /// When to run next, by the monotonic clock; `None` before the log was read.
    due: Option<Duration>,
    membership: Option<Membership>,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("the process ends")]
    Over,
    #[error("another replica is chosen")]
    NotChosen,
    #[error("what is known here is not current")]
    NotCurrent,
    #[error("{0}")]
    Failed(String),
}

impl Janitor {
    pub(super) const fn new(tools: Tools) -> Self {
        Self { tools, due: None, membership: None }
    }

    /// Runs until the applier is gone.
    pub(super) fn run(mut self) {
        while !self.tools.is_over() {
            self.round();
            std::thread::sleep(limits::IDLE_TIME);
        }
    }

    fn round(&mut self) {
        let Tools { clock, pace, snapshots, .. } = &self.tools;
        let (now, pace) = (clock.monotonic(), *pace);
        let Some(due) = self.due else {
            self.due = snapshots.load().is_caught_up().then(|| now + pace.first);
            return;
        };
        let worked = match self.work(now >= due) {
            Ok(false) => return,
            Ok(true) => Ok(()),
            Err(halt) => Err(halt),
        };
        // A run may have taken long.
        let now = self.tools.clock.monotonic();
        self.due = Some(now + pace.interval);
        match worked {
            Ok(()) | Err(Halt::Over) => {}
            Err(halt @ (Halt::NotChosen | Halt::NotCurrent)) => {
                tracing::info!(%halt, "the janitor broke off");
                self.due = Some(now + pace.first);
            }
            Err(Halt::Failed(problem)) => {
                tracing::warn!(problem, "the janitor failed; another replica may be chosen");
                self.membership = None;
            }
        }
    }

    /// Works, where this is due and this replica is chosen. Says whether it did.
    fn work(&mut self, is_due: bool) -> Result<bool, Halt> {
        let Self { tools, membership, due: _ } = self;
        let Some(membership) = membership else {
            // A state that may hold more than the log is of no use, whoever else there is.
            if is_due && !tools.shared.has_parted() {
                *membership = Some(Membership::join(&tools.settings).map_err(failed)?);
            }
            return Ok(false);
        };
        if !membership.is_chosen().map_err(failed)? || !is_due {
            return Ok(false);
        }
        tools.clean(membership).map(|()| true)
    }
}

impl Tools {
    fn is_over(&self) -> bool {
        self.applied.has_changed().is_err()
    }

    /// One run.
    fn clean(&self, membership: &Membership) -> Result<(), Halt> {
        let mut sweep = Sweep::default();
        for (partition, place) in self.shared.places() {
            self.read(partition, place.low, &mut sweep, membership)?;
        }
        let tombstones = sweep.tombstones(&self.snapshots.load());
        match tombstones {
            Ok(tombstones) => {
                self.write(&tombstones, membership)?;
                tracing::info!(
                    tombstones = tombstones.len(),
                    "the janitor has been through the log"
                );
            }
            Err(objection) => {
                let objection = self.words(objection);
                tracing::warn!(objection, "the janitor leaves the log as it is");
            }
        }
        self.ingest.janitor_runs.add(1);
        Ok(())
    }

    /// Whether to go on.
    fn check(&self, membership: &Membership) -> Result<(), Halt> {
        if self.is_over() {
            return Err(Halt::Over);
        }
        if self.shared.has_parted() {
            let problem = "a partition was read again or is another one; start caed anew";
            return Err(Halt::Failed(problem.to_owned()));
        }
        let age = self.snapshots.age(&*self.clock);
        if age.is_none_or(|age| age > limits::JANITOR_AGE_MAX) {
            return Err(Halt::NotCurrent);
        }
        if membership.is_chosen().map_err(failed)? { Ok(()) } else { Err(Halt::NotChosen) }
    }

    /// Reads a partition up to where the snapshot contains it. From where it began when this process
    /// read it first: if that is gone by now, the state holds what the log does not.
    fn read(
        &self,
        partition: Partition,
        low: Offset,
        sweep: &mut Sweep,
        membership: &Membership,
    ) -> Result<(), Halt> {
        let place = || self.names.place(partition);
        let (wake, woken) = sync_channel(1);
        let config = self.settings.consumer();
        let from = std::iter::once((partition, low));
        let mut reading = Reading::open(&config, &self.names, from, &wake).map_err(failed)?;
        let mut next = low;
        loop {
            self.check(membership)?;
            for fault in reading.listen(&self.names) {
                tracing::debug!(%fault, partition = place(), "the janitor reads on");
            }
            let taken = reading.take(partition);
            let (count, clock) = (taken.records.len(), self.clock.now());
            let snapshot = self.snapshots.load();
            let part = |part: Option<Range<usize>>| taken.bytes.get(part?);
            for Raw { offset, key, payload, appended_ms } in taken.records {
                let appended = appended_ms.and_then(|millis| u64::try_from(millis).ok());
                let seen = Seen {
                    position: Position { partition, offset },
                    appended: appended.map(UnixMillis::from_millis),
                    key: part(key),
                    payload: part(payload),
                };
                sweep.look(&seen, &snapshot, clock);
                next = offset.next();
            }
            self.ingest.janitor_records.add(count as u64);
            if let Some(code) = taken.error {
                return Err(Halt::Failed(format!("{} can not be read: {code}", place())));
            }
            next = next.max(taken.up_to.unwrap_or_default());
            if next >= snapshot.frontier().next_offset(partition) {
                return Ok(());
            }
            drop(snapshot);
            if count == 0 {
                let _ = woken.recv_timeout(limits::IDLE_TIME);
            }
            pause(count);
        }
    }

    fn write(
        &self,
        tombstones: &[(Partition, RecordKey)],
        membership: &Membership,
    ) -> Result<(), Halt> {
        if tombstones.is_empty() {
            return Ok(());
        }
        let deliveries = Deliveries { ingest: Arc::clone(&self.ingest), failed: Mutex::default() };
        let producer: BaseProducer<Deliveries> =
            self.settings.producer().create_with_context(deliveries).map_err(failed)?;
        for group in tombstones.chunks(limits::TOMBSTONE_GROUP) {
            self.check(membership)?;
            for (partition, RecordKey(key)) in group {
                let (topic, number) = self.names.wire(*partition);
                let tombstone = BaseRecord::<[u8], [u8]>::to(topic).partition(number).key(key);
                producer.send(tombstone).map_err(|(error, _)| failed(error))?;
            }
            self.flush(&producer)?;
            if let Some(error) = producer.context().take_failure() {
                return Err(Halt::Failed(format!("a tombstone was not written: {error}")));
            }
            pause(group.len());
        }
        Ok(())
    }

    /// Waits until everything is written, but not beyond the end of the process.
    fn flush(&self, producer: &BaseProducer<Deliveries>) -> Result<(), Halt> {
        let begun = self.clock.monotonic();
        while let Err(error) = producer.flush(limits::IDLE_TIME) {
            if self.is_over() {
                return Err(Halt::Over);
            }
            if self.clock.monotonic().saturating_sub(begun) >= limits::TOMBSTONE_TIME_MAX {
                return Err(failed(error));
            }
        }
        Ok(())
    }

    /// What speaks against the log, for people.
    fn words(&self, objection: Objection) -> String {
        match objection {
            Objection::Stranger(Position { partition, offset }) => format!(
                "{}@{} was not written by this version of caed",
                self.names.place(partition),
                offset.0
            ),
            Objection::Unidentified(partition) => format!(
                "{} has no identity record that fits; run `caed topics create`",
                self.names.place(partition)
            ),
            Objection::Version(partition) => {
                format!("{} may hold records of another version", self.names.place(partition))
            }
        }
    }
}

/// What became of tombstones.
struct Deliveries {
    ingest: Arc<Ingest>,
    failed: Mutex<Option<KafkaError>>,
}

impl Deliveries {
    fn take_failure(&self) -> Option<KafkaError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    /// Errors come with the deliveries that they stop.
    fn error(&self, error: KafkaError, words: &str) {
        tracing::debug!(%error, words, "librdkafka");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        match delivered {
            Ok(_) => self.ingest.tombstones.add(1),
            Err((error, _)) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }
        }
    }
}

/// Waits for so long that no more than [`limits::JANITOR_RECORDS_PER_S`] go by.
fn pause(records: usize) {
    let records = u32::try_from(records).unwrap_or(u32::MAX);
    std::thread::sleep(Duration::from_secs(1) / limits::JANITOR_RECORDS_PER_S * records);
}

fn failed(problem: impl std::fmt::Display) -> Halt {
    Halt::Failed(problem.to_string())
}
