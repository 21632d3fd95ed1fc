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

/// One partition of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number in it. The embedded log has one: 0.
    pub number: u32,
}

/// A topic, by its place among those that a source reads; [`Topics`] knows the names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(pub u8);

/// The names of the topics that a source reads, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics(Vec<String>);

/// Up to where a snapshot contains everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// In the order of partitions; a handful of entries.
    reached: Vec<Reached>,
}

/// Up to where one partition is contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The partition.
    pub partition: Partition,
    /// The log that its offsets belong to; `None` where it never told.
    pub incarnation: Option<Incarnation>,
    /// The offset of the next record.
    pub next: Offset,
}

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Topics {
    /// The names, in the order of [`Topic`].
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// The name of a topic.
    pub fn name(&self, topic: Topic) -> &str {
        self.0.get(usize::from(topic.0)).map_or("?", String::as_str)
    }

    /// A position for people: topic, partition and offset.
    pub fn place(&self, position: Position) -> String {
        let Position { partition: Partition { topic, number }, offset } = position;
        format!("{}/{number}@{}", self.name(topic), offset.0)
    }
}

impl Frontier {
    /// Up to where a partition is contained; `None` where nothing of it was read.
    pub fn reached(&self, partition: Partition) -> Option<&Reached> {
        self.reached.iter().find(|reached| reached.partition == partition)
    }

    /// The offset of the next record to read in `partition`.
    pub fn next_offset(&self, partition: Partition) -> Offset {
        self.reached(partition).map(|reached| reached.next).unwrap_or_default()
    }

    /// Whether the record at `position` is contained.
    pub fn contains(&self, position: Position) -> bool {
        position.offset < self.next_offset(position.partition)
    }

    /// Records that `partition` is read from its beginning as this incarnation of its log. What an
    /// earlier incarnation held stays in the state; its offsets mean nothing any more.
    pub fn begin(&mut self, partition: Partition, incarnation: Incarnation) {
        let reached = self.entry(partition);
        if reached.incarnation != Some(incarnation) {
            (reached.incarnation, reached.next) = (Some(incarnation), Offset::default());
        }
    }

    /// Records that everything below `next` in `partition` is contained. A frontier never retreats
    /// within one incarnation, so a lower offset changes nothing.
    pub fn advance(&mut self, partition: Partition, next: Offset) {
        let reached = self.entry(partition);
        reached.next = reached.next.max(next);
    }

    /// Every partition of which something was read, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Reached> + '_ {
        self.reached.iter()
    }

    fn entry(&mut self, partition: Partition) -> &mut Reached {
        let at = self.reached.partition_point(|reached| reached.partition < partition);
        if self.reached.get(at).is_none_or(|reached| reached.partition != partition) {
            let next = Offset::default();
            self.reached.insert(at, Reached { partition, incarnation: None, next });
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "`at` is that entry, inserted above if missing"
        )]
        &mut self.reached[at]
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
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

    const fn partition(number: u32) -> Partition {
        Partition { topic: Topic(0), number }
    }

    const fn position(number: u32, offset: u64) -> Position {
        Position { partition: partition(number), offset: Offset(offset) }
    }

    #[test]
    fn a_frontier_never_retreats() {
        let mut frontier = Frontier::default();
        frontier.advance(partition(2), Offset(5));
        frontier.advance(partition(2), Offset(3));
        frontier.advance(partition(1), Offset(1));
        assert_eq!(frontier.next_offset(partition(2)), Offset(5));
        assert_eq!(frontier.next_offset(partition(0)), Offset(0));
        assert!(frontier.contains(position(2, 4)) && !frontier.contains(position(2, 5)));
        assert!(!frontier.contains(position(9, 0)));
        let order: Vec<_> = frontier.iter().map(|reached| reached.partition.number).collect();
        assert_eq!(order, [1, 2]);
    }

    #[test]
    fn another_incarnation_begins_anew_and_the_same_goes_on() {
        let mut frontier = Frontier::default();
        frontier.begin(partition(0), Incarnation([1; 16]));
        frontier.advance(partition(0), Offset(5));
        frontier.begin(partition(0), Incarnation([1; 16]));
        assert_eq!(frontier.next_offset(partition(0)), Offset(5));
        frontier.begin(partition(0), Incarnation([2; 16]));
        assert_eq!(frontier.next_offset(partition(0)), Offset(0));
    }
}
