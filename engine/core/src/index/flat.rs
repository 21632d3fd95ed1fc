//! A flat open-addressing table of plain rows.
//!
//! Slots come in groups of eight with one tag byte each. A look-up reads the eight tags of a group
//! as one word and touches a row only where a tag agrees, so asking for a key that is absent (most
//! questions are about users to whom nothing happened) costs one cache line. A group with a vacant
//! slot ends the search. A clone shares both arrays; the first change copies them, as memory.
//!
//! Groups need not be a power of two: a table that is rebuilt is as full as [`FULL`] allows.
//!
//! INVARIANT: `tags.len() == rows.len() / LANES`; a tag is 0 exactly where the slot is vacant; at
//! least one slot of the whole table is vacant, so that every search ends.
//!
//! Deliberately absent: removal of a single row. What is forgotten is left out of a rebuilt table
//! ([`FlatTable::retain`]).

use std::sync::Arc;

use super::Row;

/// Slots that are tested at once.
const LANES: usize = 8;

/// Rebuild when more than this many of eight slots are taken: longer searches cost more than the
/// memory they save (measured by `bench/micro`, 2026-11).
const FULL: (usize, usize) = (7, 8);

/// How much room a rebuilt table gets, in sixths of what it holds. A sixth more keeps three fourths of it in use
/// at the least, and the cost of growing to a few copies of each row.
const GROWTH: (usize, usize) = (7, 6);

#[derive(Clone)]
pub(crate) struct FlatTable<R> {
    tags: Arc<[[u8; LANES]]>,
    rows: Arc<[R]>,
    len: usize,
}

impl<R: Row> FlatTable<R> {
    pub(crate) fn new() -> Self {
        Self { tags: Arc::default(), rows: Arc::default(), len: 0 }
    }

    /// A table of these rows, no two of one key, with some room.
    pub(crate) fn of(rows: &[&R], seed: u64) -> Self {
        Self::filled(rows, roomy(rows.len()), seed)
    }

    fn filled(rows: &[&R], room: usize, seed: u64) -> Self {
        let mut filled = Self::with_room_for(room.max(rows.len()));
        for row in rows {
            filled.place(R::hash(&row.key(), seed), **row);
        }
        filled
    }

    fn with_room_for(rows: usize) -> Self {
        let slots = rows * FULL.1 / FULL.0 + 1;
        let groups = slots.div_ceil(LANES);
        Self {
            tags: vec![[0; LANES]; groups].into(),
            rows: vec![R::VACANT; groups * LANES].into(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether a change would copy: a clone holds the same arrays.
    pub(crate) fn is_shared(&self) -> bool {
        self.len > 0 && Arc::strong_count(&self.rows) > 1
    }

    /// Bytes of heap memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.tags) + size_of_val(&*self.rows)
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &R::Key) -> Option<&R> {
        match self.search(hash, key) {
            Search::Found(slot) => self.rows.get(slot),
            Search::Absent => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, hash: u64, key: &R::Key) -> Option<&mut R> {
        match self.search(hash, key) {
            Search::Found(slot) => Arc::make_mut(&mut self.rows).get_mut(slot),
            Search::Absent => None,
        }
    }

    /// Adds a row whose key is known to be absent.
    pub(crate) fn insert(&mut self, hash: u64, row: R, seed: u64) {
        if (self.len + 1) * FULL.1 > self.rows.len() * FULL.0 {
            self.rebuild(roomy(self.len), seed, |_| true);
        }
        self.place(hash, row);
    }

    /// Keeps the rows that `keep` accepts, in a table no larger than they need.
    pub(crate) fn retain(&mut self, seed: u64, keep: impl FnMut(&R) -> bool) {
        self.rebuild(0, seed, keep);
    }

    /// Every row, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> + '_ {
        let tags = self.tags.iter().flatten();
        tags.zip(&*self.rows).filter(|(tag, _)| **tag != 0).map(|(_, row)| row)
    }

    fn rebuild(&mut self, room: usize, seed: u64, mut keep: impl FnMut(&R) -> bool) {
        let kept: Vec<&R> = self.iter().filter(|row| keep(row)).collect();
        *self = Self::filled(&kept, room, seed);
    }

    /// Puts a row into the first vacant slot of its search. There is room.
    fn place(&mut self, hash: u64, row: R) {
        let groups = self.tags.len();
        let (tags, rows) = (Arc::make_mut(&mut self.tags), Arc::make_mut(&mut self.rows));
        let mut group = home(hash, groups);
        for _ in 0..groups {
            if let Some(tags) = tags.get_mut(group)
                && let Some(lane) = tags.iter().position(|tag| *tag == 0)
                && let (Some(tag), Some(slot)) =
                    (tags.get_mut(lane), rows.get_mut(group * LANES + lane))
            {
                *tag = tag_of(hash);
                *slot = row;
                self.len += 1;
                return;
            }
            group = next(group, groups);
        }
        debug_assert!(false, "a table is never full");
    }

    #[inline]
    fn search(&self, hash: u64, key: &R::Key) -> Search {
        let groups = self.tags.len();
        let wanted = u64::from_le_bytes([tag_of(hash); LANES]);
        let mut group = home(hash, groups);
        for _ in 0..groups {
            let Some(tags) = self.tags.get(group) else { break };
            let tags = u64::from_le_bytes(*tags);
            let mut candidates = zero_bytes(tags ^ wanted);
            while candidates != 0 {
                let slot = group * LANES + candidates.trailing_zeros() as usize / 8;
                if self.rows.get(slot).is_some_and(|row| row.key() == *key) {
                    return Search::Found(slot);
                }
                candidates &= candidates - 1;
            }
            if zero_bytes(tags) != 0 {
                break;
            }
            group = next(group, groups);
        }
        Search::Absent
    }
}

/// How many rows a table of so many gets room for.
const fn roomy(rows: usize) -> usize {
    rows * GROWTH.0 / GROWTH.1 + LANES
}

enum Search {
    Found(usize),
    Absent,
}

/// The group in which the search for a hash begins: a multiplication instead of a division.
#[inline]
fn home(hash: u64, groups: usize) -> usize {
    // The upper bits chose the shard already; mix them out by a rotation.
    let spread = u128::from(hash.rotate_left(32));
    #[expect(clippy::cast_possible_truncation, reason = "smaller than `groups`, a usize")]
    {
        ((spread * groups as u128) >> 64) as usize
    }
}

#[inline]
const fn next(group: usize, groups: usize) -> usize {
    if group + 1 < groups { group + 1 } else { 0 }
}

/// The tag of a hash: odd, and so never 0, which means vacant.
#[inline]
const fn tag_of(hash: u64) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "the low byte is taken on purpose")]
    {
        hash as u8 | 1
    }
}

/// The top bit of every byte that is zero, and of no other: a candidate's slot is never vacant, whose
/// row must not be compared.
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The addition carries into a byte's top bit unless its low bits are all zero, and never out
    // of the byte.
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Pair {
        key: u16,
        value: u32,
    }

    impl Row for Pair {
        type Key = u16;
        const VACANT: Self = Self { key: 0, value: 0 };
        fn key(&self) -> u16 {
            self.key
        }
        /// Poor on purpose: few distinct tags and homes, so that searches collide and wrap.
        fn hash(key: &u16, seed: u64) -> u64 {
            ((u64::from(*key) % 7 + seed) << 31) | (u64::from(*key) % 5)
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec((0u16..200, any::<u32>()), 0..400),
            seed in 0u64..4,
        ) {
            let mut table = FlatTable::<Pair>::new();
            let mut twin = HashMap::new();
            for (key, value) in steps {
                let hash = Pair::hash(&key, seed);
                if value % 17 == 0 {
                    table.retain(seed, |row| row.key % 3 != 0);
                    twin.retain(|key, _| key % 3 != 0);
                }
                if let Some(row) = table.get_mut(hash, &key) {
                    row.value = value;
                } else {
                    table.insert(hash, Pair { key, value }, seed);
                }
                twin.insert(key, value);
                prop_assert_eq!(table.len(), twin.len());
            }
            for key in 0u16..200 {
                let found = table.get(Pair::hash(&key, seed), &key).map(|row| row.value);
                prop_assert_eq!(found, twin.get(&key).copied());
            }
            let all: HashMap<_, _> = table.iter().map(|row| (row.key, row.value)).collect();
            prop_assert_eq!(all, twin);
        }
    }

    #[test]
    fn exactly_the_bytes_that_are_zero_are_marked() {
        assert_eq!(zero_bytes(0x0101_0101_0101_0101), 0);
        assert_eq!(zero_bytes(u64::MAX), 0);
        assert_eq!(zero_bytes(0xff00_ff80_7f01_ff02), 0x0080_0000_0000_0000);
        assert_eq!(zero_bytes(0xffff_ffff_ffff_0100), 0x80, "not the 01 above the 00");
        assert_eq!(zero_bytes(0), 0x8080_8080_8080_8080);
    }

    #[test]
    fn the_key_of_a_vacant_slot_is_not_found() {
        // The key of `VACANT` in a table where a neighbour's tag differs from its own by one bit.
        let mut table = FlatTable::new();
        for key in 1..200 {
            table.insert(Pair::hash(&key, 1), Pair { key, value: 1 }, 1);
            assert_eq!(table.get(Pair::hash(&0, 1), &0), None);
        }
    }
}
