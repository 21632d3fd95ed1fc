//! What is in force in a tenant's directory, as what would have to be told to a state that knows nothing,
//! so that it decides the same: settings, places, groups, policies, and declarations of sources.
//!
//! This looks at every subject of the tenant, and copies: never on the path of a request.
//!
//! Deliberately absent: cutoffs, and what sources say of accounts and devices. They are what happened, not
//! what is in force, and the log has them.

use crate::event::Declaration;
use crate::ids::{Name, ObjectKey};
use crate::index::Row;
use crate::policy::{Body, Membership};
use crate::snapshot::Snapshot;
use crate::time::UnixMillis;

/// Something in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Since when.
    pub at: UnixMillis,
    /// What.
    pub word: Word,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A source is declared (E13).
    Source(Name, Declaration),
    /// An object stands so.
    Object(Body),
    /// The last single word about a member of a group (E9).
    Member {
        /// The group or role.
        group: ObjectKey,
        /// Who.
        user: ObjectKey,
        /// Whether they came or went.
        membership: Membership,
    },
}

impl Snapshot {
    /// What is in force in a tenant; `None` where no event ever named it. Policies come last, so that what
    /// they name is known before.
    pub fn in_force(&self, tenant: &Name) -> Option<Vec<Statement>> {
        let (number, row) = self.state.tenants.get(tenant.as_str())?;
        let declared = row.declarations().iter().filter_map(|declared| {
            let name = self.state.sources.name(declared.source())?.clone();
            Some((name, declared))
        });
        let mut declared: Vec<_> = declared.collect();
        declared.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let declared = declared.into_iter().map(|(name, declared)| Statement {
            at: declared.at(),
            word: Word::Source(name, declared.declaration),
        });
        let mut statements: Vec<_> = declared.collect();
        if let Some(directory) = self.state.directories.get(number) {
            let mut subjects: Vec<(u32, ObjectKey)> = Vec::new();
            if directory.has_groups() {
                let own = self.state.subjects.iter().filter(|row| row.key().tenant == number);
                subjects.extend(own.map(|row| (row.number, row.key().subject)));
                subjects.sort_unstable();
            }
            directory.state(&mut statements, &|number| {
                let place = subjects.binary_search_by_key(&number, |(number, _)| *number).ok()?;
                subjects.get(place).map(|(_, subject)| *subject)
            });
        }
        Some(statements)
    }
}
