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
use caed_core::decide::decide;
use caed_core::event::{AccountState, DeviceState, Event, Fact, Finer, RevocationCause};
use caed_core::freshness::At;
use caed_core::ids::Name;
use caed_core::position::{Offset, Partition, Position, Topic};
use caed_core::publish::{Publisher, SnapshotReader, cell};
use caed_core::request::{AccessRequest, Claims, Seen, Token};
use caed_core::rules::{Issuer, IssuerTenants, Issuers, Judged, Profile, Rules};
use caed_core::snapshot::Counts;
use caed_core::time::UnixMillis;

use crate::estate::Estate;
use crate::question::{OTHERS, Question};
use crate::scenario::{Task, Tokens, Users};
use crate::subject::{self, Kind, SEED, mixed};

/// The tenant.
pub const TENANT: &str = "3d46dbda-8382-466a-856d-eb00cbc6b910";
/// Who issued the tokens; configured by its pattern.
pub const ISSUER: &str =
    "https://login.microsoftonline.com/3d46dbda-8382-466a-856d-eb00cbc6b910/v2.0";

/// When is asked.
const NOW: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);

/// What is known is current.
const AT: At = At { now: NOW, log_age: Duration::ZERO };
/// When tokens from before every event were issued.
pub const OLD_S: i64 = 1_800_000_000 - 20 * 3600;
/// When tokens from after every event were issued.
pub const FRESH_S: i64 = 1_800_000_000 - 60;
/// When the state's events happened.
const REVOKED_MS: u64 = 1_800_000_000_000 - 19 * 3_600_000;
/// When the events that are measured begin, a millisecond apart: there is room for sixty million.
const PUBLISHED_MS: u64 = 1_800_000_000_000 - 18 * 3_600_000;

/// Tokens that are parsed before the clock runs, so that they are in cache, as they are right after
/// decoding; what is asked about is not.
const CHUNK: u64 = 64;

const PARTITION: Partition = Partition { topic: Topic(0), number: 0 };

/// A state, its writer and its reader.
pub struct World {
    users: u64,
    estate: Estate,
    builder: Builder,
    publisher: Publisher,
    reader: SnapshotReader,
    profile: Profile,
    tenant: Name,
    source: Name,
    issuer: Name,
    /// Memory when only users had been revoked.
    memory: Memory,
    records: u64,
    asked: u64,
    published: u64,
}

/// What so many revoked users take.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes of heap, as the snapshot counts them.
    pub heap_bytes: usize,
    /// By how many bytes the process grew, where the system says.
    pub resident_bytes: Option<u64>,
}

impl World {
    /// A state of so many revoked users, and of a hundredth as many revoked sessions, disabled devices
    /// and disabled accounts.
    ///
    /// # Panics
    ///
    /// Where the state does not hold them.
    pub fn new(users: Users) -> Self {
        Self::with_estate(users, Estate::NONE)
    }

    /// The same, of a tenant with policies and locations.
    ///
    /// # Panics
    ///
    /// Where the state does not hold them.
    pub fn with_estate(Users(users): Users, estate: Estate) -> Self {
        let before = resident_bytes();
        let mut builder = Builder::new(Arc::new(rules()), SEED);
        builder.caught_up();
        let (publisher, reader) = cell(builder.freeze());
        let mut world = Self {
            users,
            estate,
            builder,
            publisher,
            reader,
            profile: Profile::default(),
            tenant: name(TENANT),
            source: name("directory"),
            issuer: name(ISSUER),
            memory: Memory { heap_bytes: 0, resident_bytes: None },
            records: 0,
            asked: 0,
            published: 0,
        };
        let at = UnixMillis::from_millis(REVOKED_MS);
        for number in 0..users {
            world.apply(&world.event(at, revoked(number)));
        }
        world.memory = Memory {
            heap_bytes: world.publish_snapshot().heap_bytes,
            resident_bytes: before
                .zip(resident_bytes())
                .map(|(before, after)| after.saturating_sub(before)),
        };
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
        for event in estate.events(users, REVOKED_MS) {
            world.apply(&event);
        }
        world.publish_snapshot();
        // As the applier does on another thread.
        while let Some(compilation) = world.builder.take_compilation() {
            world.builder.install(compilation.run());
            world.publish_snapshot();
        }
        let counts = world.publish_snapshot();
        let others = usize::try_from((users / OTHERS).max(1)).unwrap_or(usize::MAX);
        assert_eq!(counts.registers, 2 * others, "one for each device and account");
        world
    }

    /// What the revoked users take.
    pub const fn memory(&self) -> Memory {
        self.memory
    }

    /// How many revoked users there are.
    pub const fn users(&self) -> Users {
        Users(self.users)
    }

    /// Does a task so many times and returns how long that took, preparations and checks left out.
    ///
    /// # Panics
    ///
    /// Where an answer is not the one that it must be.
    pub fn run(&mut self, task: Task, times: u64) -> Duration {
        match task {
            Task::Decide(tokens) => self.decide(tokens, times),
            Task::Publish { events } => (0..times).map(|_| self.publish(events)).sum(),
            Task::Forget => self.forget(times),
        }
    }

    fn decide(&mut self, tokens: Tokens, times: u64) -> Duration {
        let mut taken = Duration::ZERO;
        let end = self.asked + times;
        while self.asked < end {
            let places = self.asked..end.min(self.asked + CHUNK);
            self.asked = places.end;
            let questions: Vec<Question> =
                places.clone().map(|place| Question::draw(tokens, self.users, place)).collect();
            let profile = &self.profile;
            let requests: Vec<(AccessRequest<'_>, &Question)> = questions
                .iter()
                .zip(places.clone())
                .map(|(question, place)| {
                    let token = Token::parse(&question.claims());
                    (AccessRequest { token, profile, seen: self.seen(place) }, question)
                })
                .collect();
            let start = Instant::now();
            for (request, question) in &requests {
                let decision = decide(&self.reader.load(), request, AT);
                assert!(question.is_answered_by(&decision), "{question:?}: {decision:?}");
            }
            taken += start.elapsed();
        }
        taken
    }

    /// Where the client of the question at this place is.
    fn seen(&self, place: u64) -> Seen {
        if self.estate.ranges == 0 {
            return Seen::Unknown;
        }
        Seen::At(self.estate.address(mixed(SEED ^ place << 1)))
    }

    /// Applies events to users drawn at random and publishes them as the sidecar's applier does a
    /// batch; then makes sure that the reader sees each of them.
    fn publish(&mut self, events: u64) -> Duration {
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
        let user = subject::id(Kind::User, user);
        let claims = Claims {
            issuer: Some(ISSUER),
            tenant: Some(TENANT),
            subject: Some(&user),
            issued_at: Some(OLD_S),
            ..Claims::default()
        };
        let token = Token::parse(&claims);
        let request = AccessRequest { token, profile: &self.profile, seen: Seen::Unknown };
        let decision = decide(&self.reader.load(), &request, AT);
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
        self.reader.load().counts()
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

#[expect(clippy::expect_used, reason = "one issuer that is written as one must be")]
fn rules() -> Rules {
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

/// The resident set of this process. `None` where the system does not say.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_gets_its_answer_before_and_after_events() {
        let mut world = World::new(Users(500));
        for _ in 0..2 {
            for tokens in [Tokens::Mixed, Tokens::Untouched, Tokens::Revoked] {
                world.run(Task::Decide(tokens), 2000);
            }
            world.run(Task::Publish { events: 1 }, 300);
            world.run(Task::Publish { events: 100 }, 30);
            world.run(Task::Forget, 300);
        }
    }
}
