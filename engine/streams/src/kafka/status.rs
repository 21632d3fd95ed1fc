//! What the reading thread, the probe and those who look know of each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use caed_core::ingest::Counter;
use caed_core::position::{Frontier, Incarnation, Offset, Partition};
use caed_core::time::UnixMillis;

use super::fault::Fault;
use super::limits;

/// How reading from Kafka goes, for those who look. It holds nothing that decides.
#[derive(Clone, Debug, Default)]
pub struct KafkaStatus(Arc<Shared>);

/// How far one partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: Partition,
    /// The offset that is read next; what is handed over may not be applied yet.
    pub next: Offset,
    /// Where the partition ended when its leader answered last; `None` where it never did.
    pub end: Option<Offset>,
    /// The latest instant, by the monotonic clock, of which everything in the partition is known to
    /// be in the published snapshot.
    pub as_of: Option<Duration>,
    /// The log that the offsets belong to, by its identity record; `None` where it has none: such a
    /// partition can't be told from another one of its name.
    pub incarnation: Option<Incarnation>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    clocks_apart: AtomicBool,
    parted: AtomicBool,
    pub(super) letters: Letters,
}

#[derive(Debug, Default)]
struct Inner {
    fault: Option<Fault>,
    /// Partitions whose records could not be read, each with the offset that it is stuck at.
    failing: BTreeMap<Partition, (Offset, Fault)>,
    places: BTreeMap<Partition, Place>,
    /// About to be read again from the beginning: their offsets mean nothing now.
    restarting: BTreeSet<Partition>,
    answers: BTreeMap<Partition, Answers>,
}

/// What became of records that went to the dead-letter topic.
#[derive(Debug, Default)]
pub(super) struct Letters {
    pub(super) written: Counter,
    pub(super) failed: Counter,
}

/// How the reading of a partition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The offset of the first record that was left when this reading of the partition began.
    pub(super) low: Offset,
    /// The offset that is read next.
    pub(super) next: Offset,
    /// What the applier was told last.
    pub(super) incarnation: Option<Incarnation>,
    /// The identity record that was met last, and where.
    pub(super) identity: Option<(Offset, Incarnation)>,
}

/// Where a partition ended, and when its leader was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) wall: UnixMillis,
    pub(super) monotonic: Duration,
    pub(super) end: Offset,
}

/// What a partition's leader has answered.
#[derive(Debug, Default)]
struct Answers {
    /// Answers that the published snapshot has not reached, oldest first, and the newest.
    waiting: VecDeque<Answer>,
    newest: Option<Answer>,
    as_of: Option<Duration>,
}

impl Answers {
    fn add(&mut self, answer: Answer) {
        if self.waiting.len() == limits::ANSWERS_MAX {
            // As the applier does: the oldest is reached first, the newest says most.
            self.waiting.pop_back();
        }
        self.waiting.push_back(answer);
        self.newest = Some(answer);
    }

    /// Notes up to where the published snapshot contains the partition.
    fn reach(&mut self, next: Offset) {
        while let Some(answer) = self.waiting.pop_front_if(|answer| answer.end <= next) {
            self.as_of = Some(answer.monotonic);
        }
    }
}

impl KafkaStatus {
    /// What is wrong now.
    pub fn fault(&self) -> Option<Fault> {
        self.0.lock().fault.clone()
    }

    /// Every partition that is read, in order.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        let inner = self.0.lock();
        let status = |(partition, place): (&Partition, &Place)| {
            let answers = inner.answers.get(partition);
            PartitionStatus {
                partition: *partition,
                next: place.next,
                end: answers.and_then(|answers| answers.newest).map(|answer| answer.end),
                as_of: answers.and_then(|answers| answers.as_of),
                incarnation: place.identity.map(|(_, incarnation)| incarnation),
            }
        };
        inner.places.iter().map(status).collect()
    }

    /// Records that were written to the dead-letter topic.
    pub fn letters_written(&self) -> u64 {
        self.0.letters.written.value()
    }

    /// Records that should have been written to the dead-letter topic, and could not.
    pub fn letters_failed(&self) -> u64 {
        self.0.letters.failed.value()
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }
}

impl Shared {
    /// Notes what is wrong, and logs it once.
    pub(super) fn note(&self, fault: Fault) {
        let mut inner = self.lock();
        if inner.fault.as_ref().is_some_and(|before| !before.yields_to(&fault)) {
            return;
        }
        if !inner.fault.as_ref().is_some_and(|before| before.is_like(&fault)) {
            tracing::error!(%fault, "Kafka can not be read as it should");
        }
        inner.fault = Some(fault);
    }

    /// Notes why a partition can't be read on from where it is. That stands until it has been.
    pub(super) fn fail(&self, partition: Partition, fault: Fault) {
        let mut inner = self.lock();
        if let Some(place) = inner.places.get(&partition) {
            let stuck = (place.next, fault.clone());
            inner.failing.insert(partition, stuck);
        }
        drop(inner);
        self.note(fault);
    }

    /// Notes that the brokers have answered everything. What they answer may still be unreadable.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        let Inner { fault, failing, places, answers, .. } = &mut *inner;
        failing.retain(|partition, (at, _)| {
            let answer = answers.get(partition).and_then(|answers| answers.newest);
            let is_there = places.get(partition).is_some_and(|place| place.next == *at);
            is_there && answer.is_some_and(|answer| answer.end > *at)
        });
        let stays = failing.values().next().map(|(_, fault)| fault.clone());
        if fault.is_some() && stays.is_none() {
            tracing::info!("Kafka answers again");
        }
        *fault = stays;
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.lock().fault.clone()
    }

    pub(super) fn places(&self) -> BTreeMap<Partition, Place> {
        self.lock().places.clone()
    }

    pub(super) fn set_place(&self, partition: Partition, place: Place) {
        self.lock().places.insert(partition, place);
    }

    pub(super) fn remove_place(&self, partition: Partition) {
        let mut inner = self.lock();
        inner.places.remove(&partition);
        inner.answers.remove(&partition);
    }

    /// Marks a partition as about to be read again.
    pub(super) fn mark_restarting(&self, partition: Partition) {
        self.lock().restarting.insert(partition);
    }

    /// Takes the mark away: the partition is read again, and its place says so.
    pub(super) fn restarted(&self, partition: Partition) {
        self.lock().restarting.remove(&partition);
    }

    /// Whether any partition is about to be read again.
    pub(super) fn is_restarting(&self) -> bool {
        !self.lock().restarting.is_empty()
    }

    pub(super) fn answered(&self, partition: Partition, answer: Answer) {
        self.lock().answers.entry(partition).or_default().add(answer);
    }

    /// What a partition's leader answered last.
    pub(super) fn newest_answer(&self, partition: Partition) -> Option<Answer> {
        self.lock().answers.get(&partition)?.newest
    }

    /// Notes up to where the published snapshot contains each partition.
    pub(super) fn reach(&self, frontier: &Frontier) {
        let mut inner = self.lock();
        let Inner { places, answers, .. } = &mut *inner;
        for (partition, answers) in answers {
            let Some(reached) = frontier.reached(*partition) else { continue };
            // Offsets of another log say nothing.
            if places.get(partition).is_some_and(|place| place.incarnation == reached.incarnation) {
                answers.reach(reached.next);
            }
        }
    }

    pub(super) fn set_clocks_apart(&self, apart: bool) -> bool {
        self.clocks_apart.swap(apart, Ordering::AcqRel)
    }

    /// Notes that the state may hold what the log no longer does: a partition was read again, went
    /// away, or turned out to be another one. That stays so for as long as the process runs.
    pub(super) fn set_parted(&self) {
        self.parted.store(true, Ordering::Release);
    }

    /// Whether the state may hold what the log no longer does.
    pub(super) fn has_parted(&self) -> bool {
        self.parted.load(Ordering::Acquire)
    }

    pub(super) fn clocks_apart(&self) -> bool {
        self.clocks_apart.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
