//! Millions of rows as a copy-on-write tree whose publication costs what changed.
//!
//! ```text
//! Table ─► 64 branches of up to 64 groups ─► settled: a flat table of most rows
//!                                         └─► recent: a small one of rows that changed lately
//! ```
//!
//! A snapshot shares every flat table that has not changed since. The first change in a group after a
//! publication copies the groups of its branch (pointers) and its own `recent` rows, a few kilobytes, and
//! nothing else. A changed row that is settled is copied into `recent` first, where it is found
//! before the settled one. When `recent` has grown to [`RECENT_MAX`] rows they are settled, which
//! copies the group; spread over the changes that filled it, that is about a microsecond a row at
//! ten million rows, where copying a group for each change would cost tens. A group that no snapshot
//! shares is changed in place, so that replaying a log copies nothing.
//!
//! Two levels of pointers, because one publication copies whole levels: with one level of 4,096 a
//! single event would copy all of them, and with 256 larger groups a batch copies and settles six
//! times as much (`bench/micro`, 2026-11).
//!
//! What a look-up at random costs is the cache lines that it touches. So groups stand in their branch itself,
//! and a branch has no more of them than it needs ([`GROUP_ROWS`]): twenty thousand rows in 4,096 groups would
//! have as many heads to read as rows.
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

/// Rows of a group from which on its branch gets twice as many groups, while it may. Fewer make more heads of
/// groups to be read, more make settling dearer. Measured by `bench/micro`, 2026-11.
const GROUP_ROWS: usize = if cfg!(test) { 64 } else { 2048 };

#[derive(Clone)]
pub(crate) struct Table<R> {
    branches: Arc<[Arc<Branch<R>>; FANOUT]>,
    len: usize,
    seed: u64,
}

/// As many groups as a power of two.
type Branch<R> = [Group<R>];

#[derive(Clone)]
struct Group<R> {
    settled: FlatTable<R>,
    recent: Option<Arc<FlatTable<R>>>,
}

impl<R: Row> Table<R> {
    pub(crate) fn new(seed: u64) -> Self {
        let branch: Arc<Branch<R>> = Arc::new([Group::new()]);
        Self { branches: Arc::new(array::from_fn(|_| Arc::clone(&branch))), len: 0, seed }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        let hash = R::hash(key, self.seed);
        let branch = self.branches.get(branch_of(hash))?;
        branch.get(group_of(hash, branch.len()))?.get(hash, key)
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
        let Some(branch) = Arc::make_mut(&mut self.branches).get_mut(branch_of(hash)) else {
            return;
        };
        let groups = branch.len();
        let Some(group) = Arc::make_mut(branch).get_mut(group_of(hash, groups)) else { return };
        group.put(hash, row, known.is_none(), seed);
        self.len += usize::from(known.is_none());
        if group.settled.len() > GROUP_ROWS && groups < FANOUT {
            *branch = doubled(branch, seed);
        }
    }

    /// Drops the rows of one branch that `keep` refuses; the caller goes round the branches. Copies
    /// nothing where nothing goes. Returns how many went.
    pub(crate) fn retain_in(&mut self, branch: usize, keep: impl Fn(&R) -> bool) -> usize {
        let seed = self.seed;
        // A settled row that a recent one hides is looked at as well: no key need be hashed so.
        let loses =
            |group: &Group<R>| !(group.recent().all(&keep) && group.settled.iter().all(&keep));
        let before = self.branches.get(branch);
        if !before.is_some_and(|branch| branch.iter().any(loses)) {
            return 0;
        }
        let branch = Arc::make_mut(&mut self.branches).get_mut(branch).map(Arc::make_mut);
        let mut gone = 0;
        for group in branch.into_iter().flatten() {
            if loses(group) {
                let count = group.rows(seed).count();
                group.settle(seed);
                group.settled.retain(seed, &keep);
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
            .flat_map(|branch| branch.iter())
            .flat_map(|group| group.rows(self.seed))
    }

    /// Bytes of heap memory below this table, shared or not.
    pub(crate) fn heap_bytes(&self) -> usize {
        let groups = self.branches.iter().flat_map(|branch| branch.iter());
        let group = |group: &Group<R>| {
            let recent = group.recent.as_ref();
            let recent = recent.map_or(0, |rows| size_of::<FlatTable<R>>() + rows.heap_bytes());
            size_of::<Group<R>>() + recent + group.settled.heap_bytes()
        };
        groups.map(group).sum()
    }
}

/// The same rows in twice as many groups.
fn doubled<R: Row>(branch: &Branch<R>, seed: u64) -> Arc<Branch<R>> {
    let groups = 2 * branch.len();
    let parts = |group: &Group<R>| {
        let is_upper = |row: &&R| group_of(R::hash(&row.key(), seed), groups) >= branch.len();
        let (upper, lower): (Vec<&R>, Vec<&R>) = group.rows(seed).partition(is_upper);
        (Group::of(&lower, seed), Group::of(&upper, seed))
    };
    let (mut lower, upper): (Vec<_>, Vec<_>) = branch.iter().map(parts).unzip();
    lower.extend(upper);
    lower.into()
}

impl<R: Row> Group<R> {
    fn new() -> Self {
        Self { settled: FlatTable::new(), recent: None }
    }

    fn of(rows: &[&R], seed: u64) -> Self {
        Self { settled: FlatTable::of(rows, seed), recent: None }
    }

    #[inline]
    fn get(&self, hash: u64, key: &R::Key) -> Option<&R> {
        let recent = self.recent.as_ref().and_then(|recent| recent.get(hash, key));
        recent.or_else(|| self.settled.get(hash, key))
    }

    fn recent(&self) -> impl Iterator<Item = &R> + '_ {
        self.recent.iter().flat_map(|recent| recent.iter())
    }

    /// Puts a row where look-ups find it first: over its recent copy, among the settled rows where
    /// no snapshot shares those, else among the recent ones.
    fn put(&mut self, hash: u64, row: R, is_new: bool, seed: u64) {
        let key = row.key();
        let is_there = |recent: &&mut Arc<FlatTable<R>>| recent.get(hash, &key).is_some();
        if let Some(recent) = self.recent.as_mut().filter(|recent| !is_new && is_there(recent)) {
            if let Some(known) = Arc::make_mut(recent).get_mut(hash, &key) {
                *known = row;
            }
        } else if is_new && !self.settled.is_shared() {
            self.settled.insert(hash, row, seed);
        } else if !self.settled.is_shared() {
            settle_row(&mut self.settled, hash, row, seed);
        } else {
            let recent = Arc::make_mut(self.recent.get_or_insert_with(|| FlatTable::new().into()));
            recent.insert(hash, row, seed);
            if recent.len() >= RECENT_MAX {
                self.settle(seed);
            }
        }
    }

    /// Moves the recent rows among the settled ones.
    fn settle(&mut self, seed: u64) {
        for row in self.recent.take().iter().flat_map(|recent| recent.iter()) {
            settle_row(&mut self.settled, R::hash(&row.key(), seed), *row, seed);
        }
    }

    /// Every row that a look-up could find.
    fn rows(&self, seed: u64) -> impl Iterator<Item = &R> + '_ {
        let is_hidden = move |recent: &Arc<FlatTable<R>>, row: &R| {
            let key = row.key();
            recent.get(R::hash(&key, seed), &key).is_some()
        };
        let recent = self.recent.as_ref();
        let visible = move |row: &&R| !recent.is_some_and(|recent| is_hidden(recent, row));
        self.recent().chain(self.settled.iter().filter(visible))
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

/// The group of a hash within a branch of so many: as many of the next six bits as it takes.
const fn group_of(hash: u64, groups: usize) -> usize {
    (hash >> 52) as usize & (groups - 1)
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
