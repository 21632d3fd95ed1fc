//! What became of the records that were read, for those who look: counted by the applier, shown by
//! surfaces.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::ids::Name;
use crate::limits;
use crate::time::UnixMillis;

/// Counters of one process. They start at zero with it and are no part of the state.
#[derive(Debug, Default)]
pub struct Ingest {
    /// Records that raised a value.
    pub changed: Counter,
    /// Records that said what the state said already.
    pub unchanged: Counter,
    /// Records that had been overtaken.
    pub stale: Counter,
    /// Records that could not be understood (E16).
    pub quarantined: Counter,
    /// Times read as seconds (E14).
    pub times_read_as_seconds: Counter,
    /// Cutoffs set back to their receipt (E14).
    pub cutoffs_set_to_receipt: Counter,
    /// Events older than the horizon when they arrived (E14).
    pub older_than_horizon: Counter,
    /// Revocations out of whose reach some tokens are (E7).
    pub missing_tokens_without_claim: Counter,
    /// Cutoffs forgotten (E17).
    pub forgotten: Counter,
    /// How long it took to publish a snapshot.
    pub publishing: Durations,
    /// How long after it happened an event was enforced, by this host's clock. Events that were read
    /// to catch up are not counted.
    pub enforced: Durations,
    /// Runs that this process finished as the janitor of its log (L3).
    pub janitor_runs: Counter,
    /// Records that it looked at.
    pub janitor_records: Counter,
    /// Tombstones that it wrote.
    pub tombstones: Counter,
    quarantine: Mutex<VecDeque<Quarantined>>,
    recent: Mutex<VecDeque<RecentEvent>>,
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Durations {
    counts: [AtomicU64; DURATION_BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// The upper bounds of the counts of [`Durations`], in microseconds: two to each power of ten, from
/// what publishing takes to what a stalled log does.
pub const DURATION_BOUNDS: [u64; 15] = [
    10,
    30,
    100,
    300,
    1_000,
    3_000,
    10_000,
    30_000,
    100_000,
    300_000,
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A record that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it stands, for people: log, partition and offset.
    pub position: String,
    /// What is wrong with it.
    pub reason: String,
    /// Its first bytes. All of them stay in the log.
    pub head: Vec<u8>,
}

/// An event that was applied: what kind of thing happened where, and to nobody in particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentEvent {
    /// Where it stands, for people: log, partition and offset.
    pub position: String,
    /// When it happened.
    pub occurred: UnixMillis,
    /// The tenant.
    pub tenant: Name,
    /// Who told.
    pub source: Name,
    /// What, by the name that the wire has for it.
    pub kind: &'static str,
}

impl Ingest {
    /// Notes events that were applied; the oldest notes go when there are too many.
    pub fn note_events(&self, events: impl IntoIterator<Item = RecentEvent>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if recent.len() == limits::RECENT_EVENTS_MAX {
                recent.pop_front();
            }
            recent.push_back(event);
        }
    }

    /// The newest events, oldest first.
    pub fn recent_events(&self) -> Vec<RecentEvent> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().cloned().collect()
    }

    /// Notes a record that could not be understood. The oldest note goes when there are too many;
    /// the count and the record itself stay.
    pub fn quarantine(&self, position: String, reason: String, payload: &[u8]) {
        self.quarantined.add(1);
        let head = payload.iter().take(limits::QUARANTINE_HEAD_BYTES).copied().collect();
        let mut notes = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() == limits::QUARANTINE_NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(Quarantined { position, reason, head });
    }

    /// The newest notes, oldest first.
    pub fn quarantine_notes(&self) -> Vec<Quarantined> {
        let notes = self.quarantine.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().cloned().collect()
    }
}

impl Durations {
    /// Counts one.
    pub fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many there were by bound, the last beyond every bound.
    pub fn counts(&self) -> [u64; DURATION_BOUNDS.len() + 1] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_below_the_first_bound_that_it_does_not_exceed() {
        let durations = Durations::default();
        for micros in [0, 10, 11, 100_000_000, 100_000_001] {
            durations.add(Duration::from_micros(micros));
        }
        let counts = durations.counts();
        assert_eq!((counts[0], counts[1], counts[14], counts[15]), (2, 1, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(durations.sum(), Duration::from_micros(200_000_022));
    }
}
