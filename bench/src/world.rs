//! A state of many revoked users that lives as it does in the sidecar: events are applied to one
//! builder, snapshots are published through one cell, replaced ones are retired, and readers ask
//! what was published.
//!
//! Nothing is cloned or rebuilt between measurements, so a batch's cost contains its share of all
//! that is put off: settling recent rows, dropping what replaced snapshots held.
//!
//! Events come to revoked users again, so the state keeps its size however long is measured.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caed_core::builder::Builder;
use caed_core::event::{AccountState, DeviceState, Event, Fact, Finer, RevocationCause};
use caed_core::freshness::At;
use caed_core::ids::Name;
use caed_core::position::{Offset, Partition, Position, Topic};
use caed_core::publish::{Publisher, cell};
use caed_core::request::Claims;
use caed_core::rules::{Issuer, IssuerTenants, Issuers, Judged, Rules};
use caed_core::snapshot::Counts;
use caed_core::time::UnixMillis;

use crate::asker::Asker;
use crate::estate::Estate;
use crate::memory::{Memory, resident_bytes};
use crate::question::OTHERS;
use crate::scenario::{Scenario, Task, Users};
use crate::subject::{self, Kind, SEED, mixed};

/// The tenant.
pub const TENANT: &str = "3d46dbda-8382-466a-856d-eb00cbc6b910";
/// Who issued the tokens; configured by its pattern.
pub const ISSUER: &str =
    "https://login.microsoftonline.com/3d46dbda-8382-466a-856d-eb00cbc6b910/v2.0";

/// When is asked.
const NOW: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);

/// What is known is current.
pub(crate) const AT: At = At { now: NOW, log_age: Duration::ZERO };
/// When tokens from before every event were issued.
pub const OLD_S: i64 = 1_800_000_000 - 20 * 3600;
/// When tokens from after every event were issued.
pub const FRESH_S: i64 = 1_800_000_000 - 60;
/// When the state's events happened.
pub(crate) const REVOKED_MS: u64 = 1_800_000_000_000 - 19 * 3_600_000;
/// When the events that are measured begin, a millisecond apart: there is room for sixty million.
const PUBLISHED_MS: u64 = 1_800_000_000_000 - 18 * 3_600_000;

/// The events of 10 ms at 100,000 a second.
pub const BATCH: u64 = 1000;

pub(crate) const PARTITION: Partition = Partition { topic: Topic(0), number: 0 };

/// A state, its writer and who asks it.
pub struct World {
    users: u64,
    builder: Builder,
    publisher: Publisher,
    asker: Asker,
    tenant: Name,
    source: Name,
    issuer: Name,
    /// Memory when only users had been revoked.
    memory: Memory,
    records: u64,
    published: u64,
    /// When the estate was last told.
    told_ms: u64,
}

impl World {
    /// A state of so many revoked users, and of a hundredth as many revoked sessions, disabled devices
    /// and disabled accounts.
    ///
    /// # Panics
    ///
    /// Where the state does not hold them.
    pub fn new(Users(users): Users) -> Self {
        let before = resident_bytes();
        let mut builder = Builder::new(Arc::new(rules()), SEED);
        builder.caught_up();
        let (publisher, reader) = cell(builder.freeze());
        let mut world = Self {
            users,
            builder,
            publisher,
            asker: Asker::new(Users(users), reader),
            tenant: name(TENANT),
            source: name("directory"),
            issuer: name(ISSUER),
            memory: Memory::default(),
            records: 0,
            published: 0,
            told_ms: REVOKED_MS,
        };
        let at = UnixMillis::from_millis(REVOKED_MS);
        for number in 0..users {
            world.apply(&world.event(at, revoked(number)));
        }
        let heap_bytes = world.publish_snapshot().heap_bytes;
        world.memory = Memory::since(before, heap_bytes);
        for number in 0..(users / OTHERS).max(1) {
            let issuer = world.issuer.clone();
            let session = subject::key(Kind::Session, number);
            let device = subject::key(Kind::Device, number);
            let user = subject::key(Kind::DisabledUser, number);
            for fact in [
                Fact::Revoked { what: Finer::Session { issuer, session }, user: None },
                Fact::Device { device, state: DeviceState::Disabled },
                Fact::Account { user, state: AccountState::Disabled },
            ] {
                world.apply(&world.event(at, fact));
            }
        }
        let counts = world.publish_snapshot();
        let others = usize::try_from((users / OTHERS).max(1)).unwrap_or(usize::MAX);
        assert_eq!(counts.registers, 2 * others, "one for each device and account");
        world
    }

    /// The same after policies and locations were told of its tenant; they take the place of those that were.
    #[must_use]
    pub fn with(mut self, estate: Estate) -> Self {
        for event in estate.events(self.users, self.told_ms) {
            self.apply(&event);
        }
        self.told_ms += 1;
        self.publish_snapshot();
        // As the applier does on another thread.
        while let Some(compilation) = self.builder.take_compilation() {
            self.builder.install(compilation.run());
            self.publish_snapshot();
        }
        self.asker.estate = estate;
        self
    }

    /// The same after so many events more: a state that lives has rows that changed lately.
    #[must_use]
    pub fn after(mut self, events: u64) -> Self {
        for _ in 0..events / BATCH {
            self.publish(BATCH);
        }
        self
    }

    /// What the revoked users take.
    pub const fn memory(&self) -> Memory {
        self.memory
    }

    /// How many revoked users there are.
    pub const fn users(&self) -> Users {
        Users(self.users)
    }

    /// This task in this state.
    pub const fn scenario(&self, task: Task) -> Scenario {
        Scenario { task, among: self.users(), estate: self.asker.estate }
    }

    /// Somebody else who asks.
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Does a task so many times and returns how long that took, preparations and checks left out.
    ///
    /// # Panics
    ///
    /// Where an answer is not the one that it must be.
    pub fn run(&mut self, task: Task, times: u64) -> Duration {
        match task {
            Task::Decide(tokens) => self.asker.decide(tokens, times),
            Task::Ask(tokens) => self.asker.ask(tokens, times),
            Task::Publish { events } => (0..times).map(|_| self.publish(events)).sum(),
            Task::Forget => self.forget(times),
        }
    }

    /// Applies events to users drawn at random and publishes them as the sidecar's applier does a
    /// batch; then makes sure that who asks sees each of them.
    ///
    /// # Panics
    ///
    /// Where one is not seen.
    pub fn publish(&mut self, events: u64) -> Duration {
        let numbers = self.published..self.published + events;
        self.published = numbers.end;
        let batch: Vec<(u64, Event)> = numbers
            .map(|number| {
                let user = mixed(SEED ^ number) % self.users;
                (user, self.event(published_at(number), revoked(user)))
            })
            .collect();
        let start = Instant::now();
        for (_, event) in &batch {
            self.apply(event);
        }
        self.builder.pass(PARTITION, Offset(self.records));
        let snapshot = self.builder.freeze();
        let frontier = snapshot.frontier().clone();
        self.publisher.publish(snapshot);
        let taken = start.elapsed();
        black_box(frontier);
        for (user, event) in &batch {
            self.check(*user, event);
        }
        taken
    }

    /// A token from before an event is revoked because of it, or of a later one in its batch.
    fn check(&self, user: u64, event: &Event) {
        let seen = self.asker.seen(user);
        let user = subject::id(Kind::User, user);
        let claims = Claims {
            issuer: Some(ISSUER),
            tenant: Some(TENANT),
            subject: Some(&user),
            issued_at: Some(OLD_S),
            ..Claims::default()
        };
        let decision = self.asker.answer(&claims, seen);
        let since = decision.findings.iter().filter_map(|finding| finding.since).max();
        assert!(since >= Some(event.occurred), "{event:?}: {decision:?}");
    }

    fn forget(&mut self, times: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            assert_eq!(self.builder.forget_some(NOW), 0, "every token of today may still live");
        }
        start.elapsed()
    }

    fn apply(&mut self, event: &Event) {
        let position = Position { partition: PARTITION, offset: Offset(self.records) };
        self.records += 1;
        self.builder.apply(position, event.received, event);
    }

    fn publish_snapshot(&mut self) -> Counts {
        self.publisher.publish(self.builder.freeze());
        self.asker.reader().load().counts()
    }

    fn event(&self, at: UnixMillis, fact: Fact) -> Event {
        let (tenant, source) = (self.tenant.clone(), self.source.clone());
        Event { tenant, source, id: String::new(), occurred: at, received: at, fact }
    }
}

fn revoked(user: u64) -> Fact {
    let user = subject::key(Kind::User, user);
    Fact::UserRevoked { user, cause: RevocationCause::SessionsRevoked }
}

fn published_at(number: u64) -> UnixMillis {
    let at = UnixMillis::from_millis(PUBLISHED_MS + number);
    assert!(at.floor_to_second().as_seconds() < FRESH_S, "more events than there is room for");
    at
}

/// Rules with the one issuer of every bench.
#[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "written as one must be")]
pub fn rules() -> Rules {
    let issuer = Issuer {
        name: "https://login.microsoftonline.com/{tenant}/v2.0".to_owned(),
        tenants: IssuerTenants::InName,
        issue_time_skew: Duration::from_mins(5),
        authorization_uri: None,
        judged: Judged::default(),
    };
    Rules { issuers: Issuers::new([issuer]).expect("a valid issuer"), ..Rules::default() }
}

#[expect(clippy::expect_used, reason = "names that stand in this file")]
fn name(text: &str) -> Name {
    Name::parse(text).expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estate::Stay;
    use crate::scenario::{Drawn, Tokens};

    #[test]
    fn every_question_gets_its_answer_before_and_after_events() {
        let mut world = World::new(Users(500));
        let estate = Estate { ranges: 1000, ..Estate::HEAD_OFFICE };
        for estate in [Estate::NONE, estate, Estate { stay: Stay::Roaming, ..estate }] {
            world = world.with(estate);
            for _ in 0..2 {
                let renewed = [Drawn::FromAll, Drawn::FromSome(50)].map(Tokens::Renewed);
                let others = [Tokens::Mixed, Tokens::Untouched, Tokens::Revoked];
                // From before what roams was told of, so not asked about there.
                let others = others.iter().filter(|_| estate.stay == Stay::HeadOffice);
                for tokens in others.chain(&renewed) {
                    world.run(Task::Decide(*tokens), 2000);
                    world.run(Task::Ask(*tokens), 2000);
                }
                world.run(Task::Publish { events: 1 }, 300);
                world.run(Task::Publish { events: 100 }, 30);
                world.run(Task::Forget, 300);
            }
        }
    }

    #[test]
    fn others_ask_while_events_are_published() {
        let mut world = World::new(Users(500)).with(Estate { ranges: 10, ..Estate::HEAD_OFFICE });
        let tokens = Tokens::Renewed(Drawn::FromAll);
        let (_, asked) =
            world.asker().beside(tokens, || world.run(Task::Publish { events: 9 }, 300));
        assert!(asked.count() > 0, "somebody asked");
    }
}
