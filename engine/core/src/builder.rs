//! The mutable twin of a snapshot: the one place where events become state.
//!
//! A builder lives as long as the process. It applies events, shares its state with a snapshot
//! ([`Builder::freeze`]) and goes on; the first change after that copies what it touches.

use std::hint::black_box;
use std::sync::Arc;

use crate::consequence::{Consequence, Scope};
use crate::countries::Countries;
use crate::directory::{Compilation, CompiledRanges};
use crate::event::Event;
use crate::index::table::FANOUT;
use crate::origin::Origin;
use crate::position::{Frontier, Incarnation, Offset, Partition, Position};
use crate::row::UserKey;
use crate::rules::Rules;
use crate::snapshot::Snapshot;
use crate::state::{Joined, State};
use crate::time::UnixMillis;

/// Applies events and makes snapshots.
pub struct Builder {
    state: State,
    rules: Arc<Rules>,
    frontier: Frontier,
    caught_up: bool,
    generation: u64,
    /// The newest append time of any record read: forgetting never runs ahead of it (E17).
    newest_append: UnixMillis,
    /// The branch of the tables that is looked through next for what can be forgotten.
    next_branch: usize,
    /// Indexes that are still to be compiled; the newest of each tenant.
    compilations: Vec<Compilation>,
}

/// What an event did to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It raised a value: answers may differ from now on.
    Changed,
    /// The state said so already.
    Unchanged,
    /// Everything that it said had been overtaken.
    Stale,
}

impl Builder {
    /// A builder that has read nothing. The seed places rows; draw it anew in each
    /// process, so that nobody can aim ids at one place.
    pub fn new(rules: Arc<Rules>, seed: u64) -> Self {
        Self {
            state: State::new(seed, rules.horizon),
            rules,
            frontier: Frontier::default(),
            caught_up: false,
            generation: 0,
            newest_append: UnixMillis::ZERO,
            next_branch: 0,
            compilations: Vec::new(),
        }
    }

    /// Notes that a partition is read from its beginning as this incarnation of its log.
    pub fn begin(&mut self, partition: Partition, incarnation: Incarnation) {
        self.frontier.begin(partition, incarnation);
    }

    /// Applies the event of one record, which the log appended at `appended`.
    pub fn apply(&mut self, position: Position, appended: UnixMillis, event: &Event) -> Applied {
        let mut highest = Joined::Equal;
        let origin = Origin::new(event.fact.kind(), position);
        event.consequences(|consequence| {
            let joined =
                self.state.join(&event.tenant, &event.source, appended, origin, &consequence);
            highest = highest.max(joined);
        });
        self.skip(position, appended);
        match highest {
            Joined::Raised => Applied::Changed,
            Joined::Equal => Applied::Unchanged,
            Joined::Lower => Applied::Stale,
        }
    }

    /// Looks at the rows of users that events are about to change, and changes nothing. Applied one after the other,
    /// each event waits for memory by itself; look-ups that need nothing of one another wait together.
    pub fn touch<'e>(&self, events: impl IntoIterator<Item = &'e Event>) {
        for event in events {
            let Some((tenant, _)) = self.state.tenants.get(event.tenant.as_str()) else { continue };
            event.consequences(|consequence| {
                if let Consequence::Cutoff { scope: Scope::User(user), .. } = consequence {
                    black_box(self.state.cutoffs.user(&UserKey { tenant, user }).is_some());
                }
            });
        }
    }

    /// Passes a record that could not be understood: it is quarantined elsewhere, and holds up
    /// nothing behind it (E16).
    pub fn skip(&mut self, position: Position, appended: UnixMillis) {
        self.newest_append = self.newest_append.max(appended);
        self.frontier.advance(position.partition, position.offset.next());
    }

    /// Notes that there is nothing to read below `next`, although no record stands right before
    /// it: a compacted log has holes.
    pub fn pass(&mut self, partition: Partition, next: Offset) {
        self.frontier.advance(partition, next);
    }

    /// Notes that everything that the log held when it was opened has been read. Before that a
    /// snapshot answers no request (F3).
    pub fn caught_up(&mut self) {
        self.caught_up = true;
    }

    /// Looks through the next part of the state for cutoffs that no living token can meet, and
    /// forgets them (E17). `clock` is this host's own; a clock that runs ahead can't make it forget
    /// early, because the newest append time read bounds it. Returns how many went.
    pub fn forget_some(&mut self, clock: UnixMillis) -> usize {
        let now = clock.min(self.newest_append);
        let branch = self.next_branch;
        self.next_branch = (branch + 1) % FANOUT;
        self.state.forget(branch, now, self.rules.horizon)
    }

    /// How many calls of [`forget_some`](Self::forget_some) look through everything.
    pub const FORGET_ROUND: usize = FANOUT;

    /// A snapshot of the state as it is now. Costs a few pointers, whatever the size of the state, and
    /// what decisions read of those directories in which policies, locations or settings changed, or a group became
    /// known.
    pub fn freeze(&mut self) -> Snapshot {
        for compilation in self.state.settle() {
            self.compilations.retain(|other| !other.is_of_the_tenant_of(&compilation));
            self.compilations.push(compilation);
        }
        self.generation += 1;
        Snapshot {
            generation: self.generation,
            frontier: self.frontier.clone(),
            caught_up: self.caught_up,
            rules: Arc::clone(&self.rules),
            state: self.state.clone(),
            newest_append: self.newest_append,
        }
    }

    /// Puts a database of countries in place of the one before; the next snapshot decides by it (P5).
    pub fn set_countries(&mut self, countries: Option<Arc<Countries>>) {
        self.state.set_countries(countries);
    }

    /// An index that takes longer to compile than other events may wait. Compile it elsewhere and give it
    /// to [`install`](Self::install); no answer depends on when that happens.
    pub fn take_compilation(&mut self) -> Option<Compilation> {
        self.compilations.pop()
    }

    /// Puts a compiled index in place; it is used from the next snapshot on.
    pub fn install(&mut self, compiled: CompiledRanges) {
        self.state.install(compiled);
    }

    /// The rules that snapshots will follow.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The position up to which everything has been applied.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }
}
