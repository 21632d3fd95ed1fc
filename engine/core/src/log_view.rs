//! What surfaces show of a log, without knowing which one it is.

use std::time::Duration;

use crate::position::{Frontier, Offset, Partition};

/// A log, seen from outside.
pub trait LogView: Send + Sync + 'static {
    /// Its size in bytes; 0 where nobody knows.
    fn bytes(&self) -> u64;

    /// What is wrong with it now, each with what to do.
    fn notes(&self) -> Vec<String>;

    /// Its partitions, as far as they are known.
    fn partitions(&self) -> Vec<PartitionView>;

    /// What became of the records that were sent on because they could not be understood.
    fn letters(&self) -> Letters;
}

/// One partition, as the log last told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The partition.
    pub partition: Partition,
    /// The offset that its next record will have.
    pub end: Offset,
    /// The latest instant, by the monotonic clock, of which everything in this partition is in the
    /// published snapshot; `None` where there never was one. The log as a whole is current as of the
    /// earliest of them at best (F1).
    pub as_of: Option<Duration>,
}

impl PartitionView {
    /// How many offsets lie between what a frontier contains and the end.
    pub fn lag(&self, frontier: &Frontier) -> u64 {
        self.end.0.saturating_sub(frontier.next_offset(self.partition).0)
    }

    /// How long ago, at `now` by the monotonic clock, everything in the partition was known.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        self.as_of.map(|as_of| now.saturating_sub(as_of))
    }
}

/// What became of the records that could not be understood, where they are sent on (E16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// The dead-letter topic has them.
    pub written: u64,
    /// It could not be written to.
    pub failed: u64,
}
