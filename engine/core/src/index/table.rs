//! Millions of rows as a copy-on-write tree whose publication costs what changed.
//!
//! ```text
//! Table ─► 64 branches ─► 64 groups each ─► recent: a small flat table of rows that changed lately
//!                                        └─► settled: a flat table of everything else
//! ```
//!
//! A snapshot shares every group that has not changed since. The first change in a group after a
//! publication copies the pointers above it and the group's `recent` rows, a few kilobytes, and
//! nothing else; a changed row that is settled is copied into `recent` first, where it is found
//! before the settled one. When `recent` has grown to [`RECENT_MAX`] rows they are settled, which
//! copies the group; spread over the changes that filled it, that is about a microsecond a row at
//! ten million rows, where copying a group for each change would cost tens. A group that no snapshot
//! shares is changed in place, so that replaying a log copies nothing.
//!
//! Two levels of pointers, because one publication copies whole levels: with one level of 4,096 a
//! single event would copy all of them, and with 256 larger groups a batch copies and settles six
//! times as much (`bench/micro`, 2026-11).
//!
//! INVARIANT: a key that stands in both `recent` and `settled` is decided by `recent`.
//! INVARIANT: `len` counts keys, not rows.

use std::array;
use std::sync::Arc;

use super::Row;
use super::flat::FlatTable;

/// Branches of a table, and groups of a branch.
pub(crate) const FANOUT: usize = 64;

/// Rows that a group collects before it settles them. More make each publication copy more, fewer
/// make settling more frequent. Measured by `bench/micro`, `publish`, 2026-11.
const RECENT_MAX: usize = 64;

#[derive(Clone)]
pub(crate) struct Table<R> {
    branches: Arc<[Arc<Branch<R>>; FANOUT]>,
    len: usize,
    seed: u64,
}

#[derive(Clone)]
struct Branch<R> {
    groups: [Arc<Group<R>>; FANOUT],
}

#[derive(Clone)]
struct Group<R> {
    recent: FlatTable<R>,
    settled: Arc<FlatTable<R>>,
}

impl<R: Row> Table<R> {
    pub(crate) fn new(seed: u64) -> Self {
        let settled = Arc::new(FlatTable::new());
        let group = Arc::new(Group { recent: FlatTable::new(), settled });
        let branch = Arc::new(Branch { groups: array::from_fn(|_| Arc::clone(&group)) });
        Self { branches: Arc::new(array::from_fn(|_| Arc::clone(&branch))), len: 0, seed }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        let hash = R::hash(key, self.seed);
        let group = self.branches.get(branch_of(hash))?.groups.get(group_of(hash))?;
        group.recent.get(hash, key).or_else(|| group.settled.get(hash, key))
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
        let branch = Arc::make_mut(&mut self.branches).get_mut(branch_of(hash)).map(Arc::make_mut);
        let group = branch.and_then(|branch| branch.groups.get_mut(group_of(hash)));
        if let Some(group) = group.map(Arc::make_mut) {
            group.put(hash, row, seed);
            self.len += usize::from(known.is_none());
        }
    }

    /// Drops the rows of one branch that `keep` refuses; the caller goes round the branches. Copies
    /// nothing where nothing goes. Returns how many went.
    pub(crate) fn retain_in(&mut self, branch: usize, keep: impl Fn(&R) -> bool) -> usize {
        let seed = self.seed;
        // A settled row that a recent one hides is looked at as well: no key need be hashed so.
        let loses =
            |group: &Group<R>| !(group.recent.iter().all(&keep) && group.settled.iter().all(&keep));
        let before = self.branches.get(branch);
        if !before.is_some_and(|branch| branch.groups.iter().any(|group| loses(group))) {
            return 0;
        }
        let branch = Arc::make_mut(&mut self.branches).get_mut(branch).map(Arc::make_mut);
        let mut gone = 0;
        for group in branch.into_iter().flat_map(|branch| &mut branch.groups) {
            if loses(group) {
                let count = group.rows(seed).count();
                let group = Arc::make_mut(group);
                group.settle(seed);
                Arc::make_mut(&mut group.settled).retain(seed, &keep);
                gone += count - group.settled.len();
            }
        }
        self.len -= gone;
        gone
    }

    /// Every row, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> + '_ {
        self.branches
            .iter()
            .flat_map(|branch| &branch.groups)
            .flat_map(|group| group.rows(self.seed))
    }

    /// Bytes of heap memory below this table, shared or not.
    pub(crate) fn heap_bytes(&self) -> usize {
        let groups = self.branches.iter().flat_map(|branch| &branch.groups);
        let group = |group: &Arc<Group<R>>| {
            size_of::<Group<R>>() + group.recent.heap_bytes() + group.settled.heap_bytes()
        };
        groups.map(group).sum()
    }
}

impl<R: Row> Group<R> {
    /// Puts a row where look-ups find it first: over its recent copy, among the settled rows where
    /// no snapshot shares those, else among the recent ones.
    fn put(&mut self, hash: u64, row: R, seed: u64) {
        let key = row.key();
        if let Some(recent) = self.recent.get_mut(hash, &key) {
            *recent = row;
        } else if let Some(settled) = Arc::get_mut(&mut self.settled) {
            settle_row(settled, hash, row, seed);
        } else {
            self.recent.insert(hash, row, seed);
            if self.recent.len() >= RECENT_MAX {
                self.settle(seed);
            }
        }
    }

    /// Moves the recent rows among the settled ones.
    fn settle(&mut self, seed: u64) {
        if self.recent.len() == 0 {
            return;
        }
        let settled = Arc::make_mut(&mut self.settled);
        for row in self.recent.iter() {
            settle_row(settled, R::hash(&row.key(), seed), *row, seed);
        }
        self.recent = FlatTable::new();
    }

    /// Every row that a look-up could find.
    fn rows(&self, seed: u64) -> impl Iterator<Item = &R> + '_ {
        let visible = move |row: &&R| {
            let key = row.key();
            self.recent.len() == 0 || self.recent.get(R::hash(&key, seed), &key).is_none()
        };
        self.recent.iter().chain(self.settled.iter().filter(visible))
    }
}

fn settle_row<R: Row>(settled: &mut FlatTable<R>, hash: u64, row: R, seed: u64) {
    match settled.get_mut(hash, &row.key()) {
        Some(known) => *known = row,
        None => settled.insert(hash, row, seed),
    }
}

/// The branch of a hash: its top six bits.
const fn branch_of(hash: u64) -> usize {
    (hash >> 58) as usize
}

/// The group of a hash within its branch: the next six bits.
const fn group_of(hash: u64) -> usize {
    (hash >> 52) as usize & (FANOUT - 1)
}

const _: () = assert!(FANOUT == 1 << 6, "`branch_of` and `group_of` cut six bits each");

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
            xxh3_64_with_seed(&key.to_le_bytes(), seed) & 0x001f_ffff_ffff_ffff
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
                        let gone: usize = (0..FANOUT)
                            .map(|branch| table.retain_in(branch, |row| keep(row.key)))
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
        assert!(Arc::ptr_eq(&table.branches, &snapshot.branches));
    }

    #[test]
    fn forgetting_nothing_copies_nothing() {
        let mut table = Table::new(1);
        put(&mut table, 7, 1);
        let snapshot = table.clone();
        assert_eq!((0..FANOUT).map(|branch| table.retain_in(branch, |_| true)).sum::<usize>(), 0);
        assert!(Arc::ptr_eq(&table.branches, &snapshot.branches));
    }
}
