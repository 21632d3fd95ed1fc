//! How a snapshot reaches every request: one cell, one writer, readers that never wait.
//!
//! Publishing swaps one pointer. Readers load it once per request and keep what they loaded, so a
//! batch of requests answered from one load is answered from one generation. The publisher holds on
//! to replaced snapshots until no reader has them any more: the cost of dropping one is never paid
//! by a request.
//!
//! INVARIANT: generations grow; within one incarnation of a log the frontier never retreats.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::freshness::At;
use crate::snapshot::Snapshot;
use crate::time::{Clock, UnixMillis};

/// The one writer: not `Clone`, and every act takes `&mut self`.
pub struct Publisher {
    cell: Arc<Cell>,
    replaced: VecDeque<Arc<Snapshot>>,
}

/// Reads the newest snapshot, from any thread, without waiting.
#[derive(Clone)]
pub struct SnapshotReader {
    cell: Arc<Cell>,
}

/// A snapshot held for the length of one request.
pub struct Loaded(Guard<Arc<Snapshot>>);

/// The newest snapshot at an instant: what a question, or a batch of them, is decided by.
pub struct Known {
    /// The snapshot.
    pub snapshot: Loaded,
    /// The instant, with the age to decide by.
    pub at: At,
    /// How old the knowledge is; `None` where it was never known to be current.
    pub age: Option<Duration>,
}

struct Cell {
    snapshot: ArcSwap<Snapshot>,
    /// The instant up to which the published snapshot is known to be current, by both clocks, in
    /// milliseconds. Two words written apart: a reader may pair a new one with an old one, and
    /// takes the greater age of the two.
    current_wall: AtomicU64,
    current_monotonic: AtomicU64,
}

/// A new cell, with what writes it and what reads it.
pub fn cell(first: Snapshot) -> (Publisher, SnapshotReader) {
    let cell = Arc::new(Cell {
        snapshot: ArcSwap::from_pointee(first),
        current_wall: AtomicU64::new(0),
        current_monotonic: AtomicU64::new(NEVER),
    });
    let reader = SnapshotReader { cell: Arc::clone(&cell) };
    (Publisher { cell, replaced: VecDeque::new() }, reader)
}

/// The published snapshot has never been known to be current.
const NEVER: u64 = u64::MAX;

impl Publisher {
    /// Makes `snapshot` the one that every later request sees.
    pub fn publish(&mut self, snapshot: Snapshot) {
        let next = Arc::new(snapshot);
        let before = self.cell.snapshot.swap(Arc::clone(&next));
        debug_assert!(next.generation() > before.generation(), "generations grow");
        debug_assert!(
            before.frontier().iter().all(|before| {
                next.frontier().reached(before.partition).is_some_and(|next| {
                    next.incarnation != before.incarnation || next.next >= before.next
                })
            }),
            "a frontier never retreats"
        );
        self.replaced.push_back(before);
        self.retire();
    }

    /// Drops replaced snapshots that no request holds any more.
    pub fn retire(&mut self) {
        // Nothing can take a new reference to a replaced snapshot, so one reference is ours.
        self.replaced.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// States that the published snapshot contains everything that its log held at this instant,
    /// which was read from the clock before the log was asked (F1).
    pub fn confirm_current(&mut self, wall: UnixMillis, monotonic: Duration) {
        self.cell.current_wall.store(wall.as_millis(), Ordering::Release);
        self.cell.current_monotonic.store(whole_millis(monotonic), Ordering::Release);
    }
}

impl SnapshotReader {
    /// The newest snapshot. Load once per request.
    #[inline]
    pub fn load(&self) -> Loaded {
        Loaded(self.cell.snapshot.load())
    }

    /// How old the knowledge is: the time since the published snapshot was last known to be
    /// current, by the wall clock or the monotonic one, whichever says more (F2). `None` where it
    /// never was.
    #[inline]
    pub fn age(&self, clock: &dyn Clock) -> Option<Duration> {
        let monotonic = self.cell.current_monotonic.load(Ordering::Acquire);
        if monotonic == NEVER {
            return None;
        }
        let wall = UnixMillis::from_millis(self.cell.current_wall.load(Ordering::Acquire));
        let by_monotonic = clock.monotonic().saturating_sub(Duration::from_millis(monotonic));
        Some(by_monotonic.max(clock.now().since(wall)))
    }

    /// What is known now. Once per request.
    pub fn known(&self, clock: &dyn Clock) -> Known {
        // The age first: what is published in between is younger than it says, never older.
        let age = self.age(clock);
        let snapshot = self.load();
        // What was never known to be current is as old as the process, at whose start the monotonic clock
        // began. (A log that has never said where it ends says so within its first second.)
        let log_age = age.unwrap_or_else(|| clock.monotonic());
        Known { snapshot, at: At { now: clock.now(), log_age }, age }
    }
}

impl Deref for Loaded {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::rules::Rules;

    /// A wall clock and a monotonic one that are set.
    struct Set(u64, u64);

    impl Clock for Set {
        fn now(&self) -> UnixMillis {
            UnixMillis::from_millis(self.0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.1)
        }
    }

    #[test]
    fn the_age_is_the_greater_of_two_clocks() {
        let mut builder = Builder::new(Arc::new(Rules::default()), 1);
        let (mut publisher, reader) = cell(builder.freeze());
        let age = |wall, monotonic| reader.age(&Set(wall, monotonic)).map(|age| age.as_millis());
        assert_eq!(age(1_000_000, 500), None, "never known to be current");
        let Known { at, age: known, .. } = reader.known(&Set(1_000_000, 500));
        assert_eq!((at.log_age.as_millis(), known), (500, None), "as old as the process");
        publisher.confirm_current(UnixMillis::from_millis(1_000_000), Duration::from_millis(500));
        assert_eq!(age(1_000_000, 500), Some(0));
        assert_eq!(age(1_000_007, 503), Some(7));
        let Known { at, age: known, .. } = reader.known(&Set(1_000_007, 503));
        assert_eq!((at.log_age, known), (Duration::from_millis(7), Some(at.log_age)));
        assert_eq!(at.now.as_millis(), 1_000_007);
        assert_eq!(age(1_000_002, 520), Some(20), "the wall clock was set back");
        assert_eq!(age(9_000_000, 510), Some(8_000_000), "the host was suspended");
        assert_eq!(age(900_000, 400), Some(0), "both were set back");
    }

    #[test]
    fn a_replaced_snapshot_stays_with_whoever_holds_it_and_goes_with_the_publisher() {
        let mut builder = Builder::new(Arc::new(Rules::default()), 1);
        let (mut publisher, reader) = cell(builder.freeze());
        let held = reader.load();
        publisher.publish(builder.freeze());
        assert_eq!((held.generation(), reader.load().generation()), (1, 2));
        assert_eq!(publisher.replaced.len(), 1);
        drop(held);
        publisher.retire();
        assert_eq!(publisher.replaced.len(), 0);
    }
}
