//! Where in the stream a snapshot stands.
//!
//! A [`Position`] names one record; a [`Frontier`] says, partition by partition, up to where a
//! snapshot contains everything. Both belong to one incarnation of a log: a log that is deleted and
//! made again starts its offsets anew, and comparing offsets across that gap would be a lie.
//! Offsets count records, so the frontier of an empty partition is 0.

use std::fmt;

/// The identity of a log, drawn at random when it is created and never changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub [u8; 16]);

/// The place of a record in its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// One record of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub partition: Partition,
    /// The record's place in it.
    pub offset: Offset,
}

/// The number of a partition within its log. The embedded log has one: 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// Up to where a snapshot contains everything: for each partition the offset of the next record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    incarnation: Incarnation,
    /// Indexed by partition number; a handful of entries.
    next: Vec<Offset>,
}

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Frontier {
    /// The frontier of a snapshot that has read nothing of this incarnation.
    pub const fn empty(incarnation: Incarnation) -> Self {
        Self { incarnation, next: Vec::new() }
    }

    /// The log that the offsets belong to.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The offset of the next record to read in `partition`.
    pub fn next_offset(&self, partition: Partition) -> Offset {
        self.next.get(partition.0 as usize).copied().unwrap_or_default()
    }

    /// Whether the record at `position` is contained.
    pub fn contains(&self, position: Position) -> bool {
        position.offset < self.next_offset(position.partition)
    }

    /// Records that everything below `next` in `partition` is contained. A frontier never retreats
    /// within one incarnation, so a lower offset changes nothing.
    pub fn advance(&mut self, partition: Partition, next: Offset) {
        let index = partition.0 as usize;
        if index >= self.next.len() {
            self.next.resize(index + 1, Offset::default());
        }
        if let Some(slot) = self.next.get_mut(index) {
            *slot = (*slot).max(next);
        }
    }

    /// Every partition with the offset of its next record, in order.
    pub fn partitions(&self) -> impl Iterator<Item = (Partition, Offset)> + '_ {
        (0u32..).map(Partition).zip(self.next.iter().copied())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontier_never_retreats() {
        let mut frontier = Frontier::empty(Incarnation([7; 16]));
        frontier.advance(Partition(2), Offset(5));
        frontier.advance(Partition(2), Offset(3));
        assert_eq!(frontier.next_offset(Partition(2)), Offset(5));
        assert_eq!(frontier.next_offset(Partition(0)), Offset(0));
        assert!(frontier.contains(Position { partition: Partition(2), offset: Offset(4) }));
        assert!(!frontier.contains(Position { partition: Partition(2), offset: Offset(5) }));
        assert!(!frontier.contains(Position { partition: Partition(9), offset: Offset(0) }));
    }
}
