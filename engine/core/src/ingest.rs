//! What became of the records that were read, for those who look: counted by the applier, shown by
//! surfaces.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::limits;

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
    quarantine: Mutex<VecDeque<Quarantined>>,
}

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

impl Ingest {
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
