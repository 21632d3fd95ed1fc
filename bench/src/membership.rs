//! Large groups: what a member takes, when about half of all subjects are in each group.

use std::sync::Arc;
use std::thread;

use caed_core::builder::Builder;
use caed_core::decision::{Reason, Verdict};
use caed_core::event::Event;
use caed_core::position::{Offset, Position};
use caed_core::publish::{Publisher, cell};
use caed_core::request::{Claims, Seen};
use caed_proto::v1;
use caed_proto::v1::event::Fact;

use crate::asker::Asker;
use crate::estate::told;
use crate::memory::{Memory, resident_bytes};
use crate::scenario::Users;
use crate::subject::{self, Kind, SEED, mixed};
use crate::world::{self, ISSUER, PARTITION, REVOKED_MS, TENANT};

/// How many groups, among how many subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dense {
    /// Groups.
    pub groups: u64,
    /// Subjects, of whom a group has about half.
    pub subjects: u64,
}

/// What they take.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The subjects' numbers, and one group of all of them.
    pub subjects: Memory,
    /// The groups besides.
    pub groups: Memory,
    /// Members of these groups.
    pub members: u64,
}

/// A state of nothing else.
struct Groups {
    builder: Builder,
    publisher: Publisher,
    asker: Asker,
    records: u64,
}

impl Dense {
    /// Tells of the groups and says what they take. Each event is made on a thread of its own, so that what
    /// making it left behind is not where groups are put and hides nothing of their growth.
    ///
    /// # Panics
    ///
    /// Where the state does not hold them.
    pub fn take(self) -> Taken {
        let taken = thread::scope(|scope| scope.spawn(|| self.take_here()).join());
        taken.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn take_here(self) -> Taken {
        let before = resident_bytes();
        let mut state = Groups::new();
        state.read(0, || (0..self.subjects).collect());
        let everybody = state.heap_bytes();
        let subjects = Memory::since(before, everybody);
        let before = resident_bytes();
        let mut members = 0;
        for group in 1..=self.groups {
            members += state.read(group, || self.members(group).collect());
        }
        let groups = Memory::since(before, state.heap_bytes() - everybody);
        self.check(&mut state);
        Taken { subjects, groups, members }
    }

    fn members(self, group: u64) -> impl Iterator<Item = u64> {
        (0..self.subjects).filter(move |subject| is_in(group, *subject))
    }

    /// A policy blocks the last group: of some subjects exactly its members are refused.
    fn check(self, state: &mut Groups) {
        let all = || vec!["All".to_owned()];
        let group = self.groups;
        let include = v1::PolicyUsers { include_groups: vec![id(group)], ..Default::default() };
        state.tell(&told(
            Fact::PolicyChanged(v1::PolicyChanged {
                policy: "policy".to_owned(),
                state: v1::PolicyState::Enabled.into(),
                users: Some(include),
                applications: Some(v1::PolicyApplications { include: all(), ..Default::default() }),
                grant_controls: vec!["block".to_owned()],
                ..Default::default()
            }),
            REVOKED_MS,
        ));
        for place in 0..1000 {
            let subject = mixed(SEED ^ place) % self.subjects;
            let user = subject::id(Kind::User, subject);
            let claims = Claims {
                issuer: Some(ISSUER),
                tenant: Some(TENANT),
                subject: Some(&user),
                issued_at: Some(world::FRESH_S),
                ..Claims::default()
            };
            let decision = state.asker.answer(&claims, Seen::Unknown);
            let expected = if is_in(group, subject) {
                (Verdict::Deny, Some(Reason::Policy))
            } else {
                (Verdict::Allow, None)
            };
            assert_eq!((decision.verdict, decision.primary), expected, "{user}: {decision:?}");
        }
    }
}

impl Groups {
    fn new() -> Self {
        let mut builder = Builder::new(Arc::new(world::rules()), SEED);
        builder.caught_up();
        let (publisher, reader) = cell(builder.freeze());
        Self { builder, publisher, asker: Asker::new(Users(0), reader), records: 0 }
    }

    /// Tells of a group, and returns how many members it has.
    fn read(&mut self, group: u64, members: impl FnOnce() -> Vec<u64> + Send) -> u64 {
        let made = thread::scope(|scope| {
            let making = scope.spawn(|| {
                let members = members();
                let ids = members.iter().map(|member| subject::id(Kind::User, *member)).collect();
                let read = v1::GroupRead { group: id(group), members: ids, ..Default::default() };
                (told(Fact::GroupRead(read), REVOKED_MS), members.len() as u64)
            });
            making.join()
        });
        let (event, members) = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.tell(&event);
        members
    }

    fn tell(&mut self, event: &Event) {
        let position = Position { partition: PARTITION, offset: Offset(self.records) };
        self.records += 1;
        self.builder.apply(position, event.received, event);
        self.publisher.publish(self.builder.freeze());
    }

    fn heap_bytes(&self) -> usize {
        self.asker.reader().load().counts().heap_bytes
    }
}

const fn is_in(group: u64, subject: u64) -> bool {
    mixed(SEED ^ group << 40 ^ subject).is_multiple_of(2)
}

fn id(group: u64) -> String {
    format!("group {group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_half_of_all_subjects() {
        let taken = Dense { groups: 3, subjects: 20_000 }.take();
        assert!((29_000..31_000).contains(&taken.members), "{taken:?}");
        assert!(taken.subjects.heap_bytes > 0 && taken.groups.heap_bytes > 0, "{taken:?}");
    }
}
