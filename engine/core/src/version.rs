//! The register of something that a directory holds: its versions by time.
//!
//! The newest complete version is in force. A version that is split over several records is complete
//! when all of them have come; until then, and where the rest never comes, the one before stays in
//! force. Of two versions of one time the one with the greater hash of its content counts (E15).
//!
//! Versions that are no longer in force are remembered by time and hash, because content that is
//! published again keeps the time since when it has stood so (P8).
//!
//! Two records that claim to be one part of one version must say the same; writers name a version by a
//! hash of its content.
//!
//! INVARIANT: what is in force, and since when, follows from the set of parts that came, in whatever
//! order.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::limits;
use crate::policy::Part;
use crate::state::Joined;
use crate::time::UnixMillis;

/// The hash of a content.
pub(crate) type ContentHash = [u8; 16];

/// The versions of one object.
#[derive(Clone)]
pub(crate) struct Versions<T> {
    /// Ascending; the last one is in force. Of those before the oldest living token, the newest alone.
    history: Vec<Stamp>,
    /// The parts of the version in force.
    parts: Vec<T>,
    pending: Vec<Pending<T>>,
    /// When the newest record about it was appended (L3).
    pub(crate) appended: UnixMillis,
}

/// A version by what orders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) at: UnixMillis,
    pub(crate) hash: ContentHash,
    /// Whether `AllTrusted` means it: locations only.
    pub(crate) trusted: bool,
}

/// A version of which not every part has come.
#[derive(Clone)]
struct Pending<T> {
    at: UnixMillis,
    name: String,
    parts: Vec<Option<Arrived<T>>>,
}

/// A part that has come.
#[derive(Clone)]
struct Arrived<T> {
    hash: ContentHash,
    trusted: bool,
    value: T,
}

/// One part of a version, as a record brings it.
pub(crate) struct Offered<'e, T> {
    pub(crate) part: &'e Part,
    /// The time of the version; with the part's name it tells which one.
    pub(crate) at: UnixMillis,
    pub(crate) hash: ContentHash,
    pub(crate) trusted: bool,
    pub(crate) value: T,
    pub(crate) appended: UnixMillis,
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self {
            history: Vec::new(),
            parts: Vec::new(),
            pending: Vec::new(),
            appended: UnixMillis::ZERO,
        }
    }
}

impl<T: Clone> Versions<T> {
    /// The version in force.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.history.last().copied()
    }

    /// What the version in force says, part by part.
    pub(crate) fn parts(&self) -> &[T] {
        &self.parts
    }

    /// Since when its content has stood so.
    pub(crate) fn since(&self) -> Option<UnixMillis> {
        self.since_by(|stamp| stamp.hash)
    }

    /// Since when what it adds to the trusted addresses has stood so; `None` where it never added any.
    pub(crate) fn trusted_since(&self) -> Option<UnixMillis> {
        self.history.iter().any(|stamp| stamp.trusted).then_some(())?;
        self.since_by(|stamp| if stamp.trusted { Some(stamp.hash) } else { None })
    }

    fn since_by<K: PartialEq>(&self, content: impl Fn(&Stamp) -> K) -> Option<UnixMillis> {
        let last = content(self.history.last()?);
        let same = self.history.iter().rev().take_while(|stamp| content(stamp) == last);
        same.last().map(|stamp| stamp.at)
    }

    /// Joins a part. Returns what it did; [`Joined::Raised`] where the version in force is another now,
    /// or has stood so since another time.
    pub(crate) fn join(&mut self, offered: Offered<'_, T>, horizon: Duration) -> Joined {
        let Offered { part, at, hash, trusted, value, appended } = offered;
        self.appended = self.appended.max(appended);
        if part.count <= 1 {
            let stamp = Stamp { at, hash, trusted };
            return self.complete(stamp, vec![value], horizon);
        }
        if self.stamp().is_some_and(|newest| at < oldest(newest.at, horizon)) {
            return Joined::Lower;
        }
        let is_it = |pending: &Pending<T>| {
            pending.at == at
                && pending.name == part.version
                && pending.parts.len() == part.count as usize
        };
        let place = self.pending.iter().position(is_it).unwrap_or_else(|| {
            let parts = (0..part.count).map(|_| None).collect();
            self.pending.push(Pending { at, name: part.version.clone(), parts });
            self.pending.len() - 1
        });
        let Some(pending) = self.pending.get_mut(place) else { return Joined::Lower };
        let Some(slot) = pending.parts.get_mut(part.index as usize) else { return Joined::Lower };
        if slot.is_some() {
            return Joined::Equal;
        }
        *slot = Some(Arrived { hash, trusted, value });
        if pending.parts.iter().any(Option::is_none) {
            return Joined::Raised;
        }
        let arrived: Vec<Arrived<T>> =
            self.pending.swap_remove(place).parts.into_iter().flatten().collect();
        let hashes: Vec<ContentHash> = arrived.iter().map(|part| part.hash).collect();
        let trusted = arrived.first().is_some_and(|part| part.trusted);
        let stamp = Stamp { at, hash: combined(&hashes), trusted };
        self.complete(stamp, arrived.into_iter().map(|part| part.value).collect(), horizon)
    }

    fn complete(&mut self, stamp: Stamp, parts: Vec<T>, horizon: Duration) -> Joined {
        let known = self.stamp();
        let place = self.history.partition_point(|other| *other < stamp);
        if self.history.get(place) == Some(&stamp) {
            return if known == Some(stamp) { Joined::Equal } else { Joined::Lower };
        }
        let since = self.since();
        self.history.insert(place, stamp);
        if known.is_none_or(|known| stamp > known) {
            self.parts = parts;
        }
        self.forget(horizon);
        if self.stamp() != known || self.since() != since { Joined::Raised } else { Joined::Lower }
    }

    /// Lets go of versions that no living token can be older than, but for the newest of them.
    fn forget(&mut self, horizon: Duration) {
        let Some(newest) = self.stamp() else { return };
        let oldest = oldest(newest.at, horizon);
        let before = self.history.partition_point(|stamp| stamp.at < oldest);
        self.history.drain(..before.saturating_sub(1));
        self.pending.retain(|pending| pending.at >= oldest);
    }
}

/// Before when nothing that happened matters to a token that lives when something newer happens.
pub(crate) fn oldest(newest: UnixMillis, horizon: Duration) -> UnixMillis {
    newest.saturating_sub(horizon).saturating_sub(limits::FORGET_MARGIN)
}

/// The hash of a version from those of its parts.
fn combined(parts: &[ContentHash]) -> ContentHash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut combined = ContentHash::default();
    for (to, from) in combined.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    combined
}
