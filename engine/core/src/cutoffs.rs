//! Every cutoff of a single user, session, token, client or device.
//!
//! Two tables: most rows are about users, and are small for it; and most tokens carry ids of sessions and devices
//! to which nothing happened, which are not looked for among millions of users.

use std::time::Duration;

use crate::index::Row;
use crate::index::table::Table;
use crate::row::{Cutoff, CutoffKey, CutoffKind, CutoffRow, Hint, NO_ISSUER, UserKey, UserRow};
use crate::time::UnixMillis;

/// Cutoffs by key, cheap to clone.
#[derive(Clone)]
pub(crate) struct Cutoffs {
    /// Those of [`CutoffKind::User`].
    users: Table<UserRow>,
    others: Table<CutoffRow>,
}

impl Cutoffs {
    pub(crate) fn new(seed: u64) -> Self {
        Self { users: Table::new(seed), others: Table::new(seed) }
    }

    #[inline]
    pub(crate) fn user(&self, key: &UserKey) -> Option<&UserRow> {
        self.users.get(key)
    }

    /// A cutoff of any kind but [`CutoffKind::User`].
    #[inline]
    pub(crate) fn other(&self, key: &CutoffKey) -> Option<&CutoffRow> {
        self.others.get(key)
    }

    /// Raises a cutoff and adds hints. Returns the cutoff before.
    pub(crate) fn raise(&mut self, key: &CutoffKey, cutoff: Cutoff, hints: Hint) -> UnixMillis {
        let mut before = UnixMillis::ZERO;
        if key.kind == CutoffKind::User {
            let key = UserKey { tenant: key.tenant, user: key.id };
            self.users.upsert(
                &key,
                || UserRow::vacant(&key),
                |row| {
                    before = row.cutoff().at;
                    row.raise(cutoff, hints);
                },
            );
        } else {
            self.others.upsert(
                key,
                || CutoffRow::vacant(key),
                |row| {
                    before = row.cutoff().at;
                    row.raise(cutoff, hints);
                },
            );
        }
        before
    }

    /// Forgets those of one branch of each table that no token alive can meet (E17). Returns how many went.
    pub(crate) fn forget(&mut self, branch: usize, now: UnixMillis, horizon: Duration) -> usize {
        self.users.retain_in(branch, |row| !row.is_expired(now, horizon))
            + self.others.retain_in(branch, |row| !row.is_expired(now, horizon))
    }

    /// Every one, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CutoffKey, Cutoff)> + '_ {
        let users = self.users.iter().map(|row| {
            let UserKey { tenant, user: id } = row.key();
            (CutoffKey { tenant, kind: CutoffKind::User, issuer: NO_ISSUER, id }, row.cutoff())
        });
        users.chain(self.others.iter().map(|row| (row.key(), row.cutoff())))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.users.len() + self.others.len()
    }

    /// Bytes of heap memory, shared or not.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.users.heap_bytes() + self.others.heap_bytes()
    }
}
