//! Every cutoff of a single user, session, token, client or device.
//!
//! Two tables: most rows are about users, and most tokens carry ids of sessions and devices to which nothing
//! happened. Those are not looked for among millions of users.

use crate::index::table::Table;
use crate::row::{CutoffKey, CutoffKind, CutoffRow};

/// Cutoff rows by key, cheap to clone.
#[derive(Clone)]
pub(crate) struct Cutoffs {
    /// Of [`CutoffKind::User`].
    users: Table<CutoffRow>,
    /// Of every other kind.
    others: Table<CutoffRow>,
}

impl Cutoffs {
    pub(crate) fn new(seed: u64) -> Self {
        Self { users: Table::new(seed), others: Table::new(seed) }
    }

    #[inline]
    pub(crate) fn get(&self, key: &CutoffKey) -> Option<&CutoffRow> {
        match key.kind {
            CutoffKind::User => self.users.get(key),
            _ => self.others.get(key),
        }
    }

    /// Gives the row of `key` to `change`, or a vacant one where there is none.
    pub(crate) fn upsert(&mut self, key: &CutoffKey, change: impl FnOnce(&mut CutoffRow)) {
        let table = match key.kind {
            CutoffKind::User => &mut self.users,
            _ => &mut self.others,
        };
        table.upsert(key, || CutoffRow::vacant(key), change);
    }

    /// Drops the rows of one branch of each table that `keep` refuses. Returns how many went.
    pub(crate) fn retain_in(&mut self, branch: usize, keep: impl Fn(&CutoffRow) -> bool) -> usize {
        self.users.retain_in(branch, &keep) + self.others.retain_in(branch, &keep)
    }

    /// Every row, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CutoffRow> + '_ {
        self.users.iter().chain(self.others.iter())
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.users.len() + self.others.len()
    }

    /// Bytes of heap memory, shared or not.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.users.heap_bytes() + self.others.heap_bytes()
    }
}
