//! Millions of rows as a copy-on-write tree whose publication costs what changed.
//!
//! ```text
//! Table ─► 256 groups ─► recent: a small flat table of rows that changed lately
//!                    └─► 16 settled shards: flat tables of everything else
//! ```
//!
//! A snapshot shares every group that has not changed since. The first change in a group after a
//! publication copies the group's `recent` rows, a few kilobytes, and nothing else; a changed row
//! that is settled is copied into `recent` first, where it is found before the settled one. When
//! `recent` has grown to [`RECENT_MAX`] rows they move into their settled shards, which copies
//! those; spread over the changes that filled it, that is a microsecond or two a row at ten million
//! rows, where copying a settled shard for each change would cost tens (bench/micro, `publish`).
//! Shards that no snapshot shares are changed in place, so that replaying a log copies nothing.
//!
//! INVARIANT: a key that stands in both `recent` and a settled shard is decided by `recent`.
//! INVARIANT: `len` counts keys, not rows.

use std::array;
use std::sync::Arc;

use super::Row;
use super::flat::FlatTable;

/// Groups of a table: what one publication may copy is a root of this many pointers.
pub(crate) const GROUPS: usize = 256;

/// Settled shards of a group.
const SHARDS: usize = 16;

/// Rows that a group collects before it settles them. More make each publication copy more, fewer
/// make settling more frequent. Measured by `bench/micro`, `publish`, 2026-11: at ten million rows
/// an event's share of either is about 7 kB here; fewer cost more there, more cost more at a million.
const RECENT_MAX: usize = 256;

#[derive(Clone)]
pub(crate) struct Table<R> {
    groups: Arc<[Arc<Group<R>>; GROUPS]>,
    len: usize,
    seed: u64,
}

#[derive(Clone)]
struct Group<R> {
    recent: FlatTable<R>,
    settled: [Arc<FlatTable<R>>; SHARDS],
}

impl<R: Row> Table<R> {
    pub(crate) fn new(seed: u64) -> Self {
        let shard = Arc::new(FlatTable::new());
        let group = Arc::new(Group {
            recent: FlatTable::new(),
            settled: array::from_fn(|_| Arc::clone(&shard)),
        });
        Self { groups: Arc::new(array::from_fn(|_| Arc::clone(&group))), len: 0, seed }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        let hash = R::hash(key, self.seed);
        let group = self.groups.get(group_of(hash))?;
        group.recent.get(hash, key).or_else(|| group.settled.get(shard_of(hash))?.get(hash, key))
    }

    /// Gives the row of `key` to `change`, or a fresh one made by `vacant` where there is none.
    /// Where that changes nothing, nothing is copied.
    pub(crate) fn upsert(
        &mut self,
        key: &R::Key,
        vacant: impl FnOnce() -> R,
        change: impl FnOnce(&mut R),
    ) {
        let hash = R::hash(key, self.seed);
        let known = self.get(key).copied();
        let mut row = known.unwrap_or_else(vacant);
        change(&mut row);
        debug_assert!(row.key() == *key, "a change must not touch the key");
        if known == Some(row) {
            return;
        }
        let seed = self.seed;
        let groups = Arc::make_mut(&mut self.groups);
        if let Some(group) = groups.get_mut(group_of(hash)).map(Arc::make_mut) {
            group.put(hash, row, seed);
            self.len += usize::from(known.is_none());
        }
    }

    /// Drops the rows of one group that `keep` refuses; the caller goes round the groups. Copies
    /// nothing where nothing goes. Returns how many went.
    pub(crate) fn retain_in(&mut self, group: usize, keep: impl Fn(&R) -> bool) -> usize {
        let Some(before) = self.groups.get(group) else { return 0 };
        let seed = self.seed;
        if before.rows(seed).all(&keep) {
            return 0;
        }
        let count = before.rows(seed).count();
        let Some(group) = Arc::make_mut(&mut self.groups).get_mut(group).map(Arc::make_mut) else {
            return 0;
        };
        group.settle(seed);
        for shard in &mut group.settled {
            if !shard.iter().all(&keep) {
                Arc::make_mut(shard).retain(seed, &keep);
            }
        }
        let gone = count - group.rows(seed).count();
        self.len -= gone;
        gone
    }

    /// Every row, in no particular order.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = &R> + '_ {
        self.groups.iter().flat_map(|group| group.rows(self.seed))
    }

    /// Bytes of heap memory below this table, shared or not.
    pub(crate) fn heap_bytes(&self) -> usize {
        let group = |group: &Group<R>| {
            let settled: usize = group.settled.iter().map(|shard| shard.heap_bytes()).sum();
            size_of::<Group<R>>() + group.recent.heap_bytes() + settled
        };
        self.groups.iter().map(|each| group(each)).sum()
    }
}

impl<R: Row> Group<R> {
    /// Puts a row where look-ups find it first: over its recent copy, into its settled shard where
    /// no snapshot shares that, else among the recent rows.
    fn put(&mut self, hash: u64, row: R, seed: u64) {
        let key = row.key();
        if let Some(recent) = self.recent.get_mut(hash, &key) {
            *recent = row;
        } else if let Some(shard) = self.settled.get_mut(shard_of(hash)).and_then(Arc::get_mut) {
            settle_row(shard, hash, row, seed);
        } else {
            self.recent.insert(hash, row, seed);
            if self.recent.len() >= RECENT_MAX {
                self.settle(seed);
            }
        }
    }

    /// Moves the recent rows into their settled shards.
    fn settle(&mut self, seed: u64) {
        for row in self.recent.iter() {
            let hash = R::hash(&row.key(), seed);
            if let Some(shard) = self.settled.get_mut(shard_of(hash)) {
                settle_row(Arc::make_mut(shard), hash, *row, seed);
            }
        }
        self.recent = FlatTable::new();
    }

    /// Every row that a look-up could find.
    fn rows(&self, seed: u64) -> impl Iterator<Item = &R> + '_ {
        let settled = self.settled.iter().flat_map(|shard| shard.iter());
        let visible = move |row: &&R| {
            let key = row.key();
            self.recent.len() == 0 || self.recent.get(R::hash(&key, seed), &key).is_none()
        };
        self.recent.iter().chain(settled.filter(visible))
    }
}

fn settle_row<R: Row>(shard: &mut FlatTable<R>, hash: u64, row: R, seed: u64) {
    match shard.get_mut(hash, &row.key()) {
        Some(settled) => *settled = row,
        None => shard.insert(hash, row, seed),
    }
}

/// The group of a hash: its top byte.
const fn group_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// The shard of a hash within its group: the next four bits.
const fn shard_of(hash: u64) -> usize {
    (hash >> 52) as usize & (SHARDS - 1)
}

const _: () = assert!(GROUPS == 1 << 8 && SHARDS == 1 << 4, "`group_of` and `shard_of` cut these");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64_with_seed;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Pair {
        key: u32,
        value: u32,
    }

    impl Row for Pair {
        type Key = u32;
        const VACANT: Self = Self { key: 0, value: 0 };
        fn key(&self) -> u32 {
            self.key
        }
        /// All keys in two groups, so that `recent` fills and settles.
        fn hash(key: &u32, seed: u64) -> u64 {
            xxh3_64_with_seed(&key.to_le_bytes(), seed) & 0x01ff_ffff_ffff_ffff
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u32, u32),
        Publish,
        Forget(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            40 => (0u32..3000, any::<u32>()).prop_map(|(key, value)| Step::Put(key, value)),
            2 => Just(Step::Publish),
            1 => (2u32..9).prop_map(Step::Forget),
        ]
    }

    fn put(table: &mut Table<Pair>, key: u32, value: u32) {
        table.upsert(&key, || Pair { key, value: 0 }, |row| row.value = value);
    }

    fn rows(table: &Table<Pair>) -> BTreeMap<u32, u32> {
        table.iter().map(|row| (row.key, row.value)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_map_and_every_snapshot_stays_as_it_was(
            steps in prop::collection::vec(step(), 0..2500),
            seed in any::<u64>(),
        ) {
            let mut table = Table::new(seed);
            let mut twin = BTreeMap::new();
            let mut snapshots = Vec::new();
            for step in steps {
                match step {
                    Step::Put(key, value) => {
                        twin.insert(key, value);
                        put(&mut table, key, value);
                    }
                    Step::Publish => snapshots.push((table.clone(), twin.clone())),
                    Step::Forget(modulus) => {
                        let keep = |key: u32| !key.is_multiple_of(modulus);
                        let gone: usize = (0..GROUPS)
                            .map(|group| table.retain_in(group, |row| keep(row.key)))
                            .sum();
                        let before = twin.len();
                        twin.retain(|key, _| keep(*key));
                        prop_assert_eq!(gone, before - twin.len());
                    }
                }
                prop_assert_eq!(table.len(), twin.len());
            }
            snapshots.push((table, twin));
            for (table, twin) in snapshots {
                prop_assert_eq!(&rows(&table), &twin);
                for key in 0..3000 {
                    prop_assert_eq!(table.get(&key).map(|row| row.value), twin.get(&key).copied());
                }
            }
        }
    }

    #[test]
    fn a_change_that_changes_nothing_copies_nothing() {
        let mut table = Table::new(1);
        put(&mut table, 7, 1);
        let snapshot = table.clone();
        put(&mut table, 7, 1);
        assert!(Arc::ptr_eq(&table.groups, &snapshot.groups));
    }

    #[test]
    fn forgetting_nothing_copies_nothing() {
        let mut table = Table::new(1);
        put(&mut table, 7, 1);
        let snapshot = table.clone();
        assert_eq!((0..GROUPS).map(|group| table.retain_in(group, |_| true)).sum::<usize>(), 0);
        assert!(Arc::ptr_eq(&table.groups, &snapshot.groups));
    }
}
