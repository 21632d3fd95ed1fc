//! An immutable picture of everything that a decision reads.

use std::sync::Arc;

use crate::countries::Countries;
use crate::directory::Directory;
use crate::position::Frontier;
use crate::rules::Rules;
use crate::state::State;
use crate::time::UnixMillis;

/// Everything known up to a [`Frontier`], with the rules to judge by. One cell holds one of these,
/// so no request ever sees half of a batch.
pub struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) frontier: Frontier,
    pub(crate) caught_up: bool,
    pub(crate) rules: Arc<Rules>,
    pub(crate) state: State,
    pub(crate) newest_append: UnixMillis,
}

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Tenants of which an event was seen.
    pub tenants: usize,
    /// Cutoffs of single users, sessions, tokens, clients and devices.
    pub cutoffs: usize,
    /// Cutoffs of one user's session, token, client or device.
    pub pairs: usize,
    /// Last words of sources about accounts and devices, harmless ones too. They stay for ever.
    pub registers: usize,
    /// Policies.
    pub policies: usize,
    /// Named locations and ranges that MFA trusts.
    pub locations: usize,
    /// Groups and roles whose members are known.
    pub groups: usize,
    /// Bytes of memory below all of these.
    pub heap_bytes: usize,
}

impl Snapshot {
    /// Grows by one with every snapshot of a process.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Up to where this snapshot contains everything.
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Whether everything that the log held at the start is contained. If not, no request is
    /// answered (F3).
    pub const fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// The rules that decisions on this snapshot follow.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// In which countries addresses are, where there is a database.
    pub fn countries(&self) -> Option<&Countries> {
        self.state.countries.as_deref()
    }

    /// The newest append time among the records contained.
    pub const fn newest_append(&self) -> UnixMillis {
        self.newest_append
    }

    /// How much this snapshot holds. Looks at every shard, not at every row.
    pub fn counts(&self) -> Counts {
        let State { tenants, cutoffs, pairs, registers, subjects, directories, .. } = &self.state;
        let mut told = [0; 3];
        for directory in directories.iter() {
            for (sum, count) in told.iter_mut().zip(directory.counts()) {
                *sum += count;
            }
        }
        let [policies, locations, groups] = told;
        Counts {
            tenants: tenants.len(),
            cutoffs: cutoffs.len(),
            pairs: pairs.len(),
            registers: registers.len(),
            policies,
            locations,
            groups,
            heap_bytes: cutoffs.heap_bytes()
                + pairs.heap_bytes()
                + registers.heap_bytes()
                + subjects.heap_bytes()
                + directories.iter().map(Directory::heap_bytes).sum::<usize>(),
        }
    }
}
