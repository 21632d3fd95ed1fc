//! State is a join (E1), and a batch is published whole or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use caed_core::builder::Builder;
use caed_core::decision::Decision;
use caed_core::event::RevocationCause;
use caed_core::position::{Offset, Partition, Position};
use caed_core::publish::{self, SnapshotReader};
use caed_tests::plan::Step;
use caed_tests::random::Random;
use caed_tests::world::{Event, Issuer, Millis, Request, Speaks, Text, What, World};
use caed_tests::{border, generate, plan};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const REQUESTS: usize = 50;

fn config() -> ProptestConfig {
    let file = FileFailurePersistence::Direct("cases/regressions/join.txt");
    ProptestConfig { cases: 3000, failure_persistence: Some(Box::new(file)), ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    /// The seed draws the world; `kept` leaves records out, so that proptest finds the few that
    /// matter.
    #[test]
    fn order_copies_batches_and_placement_change_nothing(
        seed: u64,
        placement: [u64; 2],
        kept in prop::collection::vec(prop::bool::weighted(0.95), 40),
    ) {
        let mut random = Random::new(seed);
        let world = World { caught_up: true, ..generate::world(&mut random) };
        let mut records = generate::records(&world, world.now, &mut random);
        let mut kept = kept.into_iter();
        records.retain(|_| kept.next().unwrap_or(true));
        let events: Vec<Event> = records.iter().map(|record| record.event).collect();

        let one = plan::play(&world, &plan::plainly(&records), placement[0]).snapshot;
        let steps = plan::anyhow(&records, &mut random);
        let other = plan::play(&world, &steps, placement[1]).snapshot;
        for _ in 0..REQUESTS {
            let request = generate::request(&world, &events, &mut random);
            for later in [0, 1000, 60_000, world.horizon * 500] {
                let world = World { now: world.now + later, ..world.clone() };
                let decided = |snapshot| {
                    Decision { generation: 0, ..border::ask(snapshot, &request, border::at(&world)) }
                };
                prop_assert_eq!(decided(&one), decided(&other), "{:#?}\n{:#?}", steps, request);
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// Replicas that read the same in different orders, batches and places, and forget at their own
    /// pace, have one digest. Where a record makes a difference to an answer, it makes one to the
    /// digest, signs of life (E11) left out.
    #[test]
    fn replicas_at_one_frontier_have_one_digest(seed: u64, placement: [u64; 2]) {
        let mut random = Random::new(seed);
        let world = World { caught_up: true, ..generate::world(&mut random) };
        let records = generate::records(&world, world.now, &mut random);
        let plainly = plan::plainly(&records);
        let one = plan::play(&world, &plainly, placement[0]).snapshot;

        let mut steps = plan::anyhow(&records, &mut random);
        for _ in 0..4 {
            let clock = random.pick(&world.anchors) + random.within(0, 3 * world.horizon * 1000);
            let parts = random.pick(&[1, Builder::FORGET_ROUND]);
            steps.insert(random.below(steps.len() + 1), Step::Forget { clock, parts });
        }
        let other = plan::play(&world, &steps, placement[1]).snapshot;
        prop_assert_eq!(one.digest(), other.digest(), "{:#?}", steps);

        if records.is_empty() {
            return Ok(());
        }
        // The same without one record, of which only the append time was read.
        let mut without = plainly.clone();
        let missing = random.below(without.len());
        if matches!(records[missing].event.what, What::Heartbeat(..)) {
            return Ok(());
        }
        without[missing] = Step::Skip(records[missing].appended, 0);
        let poorer = plan::play(&world, &without, placement[1]).snapshot;
        let events: Vec<Event> = records.iter().map(|record| record.event).collect();
        for _ in 0..REQUESTS {
            let request = generate::request(&world, &events, &mut random);
            let verdict = |snapshot| {
                let Decision { verdict, primary, .. } = border::ask(snapshot, &request, border::at(&world));
                (verdict, primary)
            };
            let may_be_forgotten = plan::revokes_unissued(&plainly, &request);
            if !may_be_forgotten && verdict(&one) != verdict(&poorer) {
                prop_assert_ne!(one.digest(), poorer.digest(), "{:#?}", request);
            }
        }
    }
}

const NOW: Millis = 1_800_000_000_000;
const TENANT: Text = "contoso";
const ISSUER: Text = "https://any.example";
const USERS: [Text; 2] = ["one", "the-other-of-the-two-users"];
/// So many milliseconds before `NOW` the first two are revoked, and then every millisecond.
const SPAN: Millis = 100_000_000;
/// How many generations readers must have seen; a busy machine is given time for it.
const SEEN: u64 = 1000;
const TIME: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(30);

/// A builder that has caught up, of one issuer that speaks for all.
fn caught_up() -> Builder {
    let issuer = Issuer {
        name: ISSUER,
        tenants: Speaks::ForAll,
        issue_time_skew: 0,
        marks: false,
        one_hour: Vec::new(),
        exceptions: None,
    };
    let world = World {
        now: NOW,
        horizon: 108_000,
        skew: 300,
        issuers: vec![issuer],
        served: None,
        caught_up: true,
        ..World::default()
    };
    let mut builder = Builder::new(Arc::new(border::rules(&world)), 7);
    builder.caught_up();
    builder
}

/// A publisher revokes two users always together, in one batch and at one instant. Whoever loads a
/// snapshot sees both at the same instant, and exactly the one that the frontier promises.
#[test]
fn a_reader_never_sees_half_a_batch() {
    let mut builder = caught_up();
    let (mut publisher, reader) = publish::cell(builder.freeze());
    let (done, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();

    thread::scope(|scope| {
        let readers = [0, 1].map(|_| scope.spawn(|| read_until(&done, &seen, &reader)));
        let enough = |elapsed| elapsed > TIME && seen.load(Ordering::Relaxed) > SEEN;
        let (mut batch, mut next) = (0, Offset(0));
        while !enough(start.elapsed())
            && start.elapsed() < TIME_MAX
            && !readers.iter().any(ScopedJoinHandle::is_finished)
        {
            for user in USERS {
                let event = border::event(&revoked(user, instant(batch)));
                let position = Position { partition: Partition::default(), offset: next };
                builder.apply(position, event.received, &event);
                next = next.next();
            }
            publisher.publish(builder.freeze());
            batch += 1;
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let seen = seen.load(Ordering::Relaxed);
        assert!(seen > SEEN, "{seen} generations of {batch} are too few to tell");
    });
}

/// So many users that tables grow, split and settle all the while.
const MANY: usize = 200_000;

const fn many() -> u64 {
    MANY as u64
}

/// A publisher revokes everybody, one after the other and then again, in batches of all sizes and without pause.
/// Whoever is asked about, the answer is the one that follows from the frontier of its snapshot.
#[test]
fn every_answer_is_that_of_its_frontier_while_everything_changes() {
    let users: Vec<Text> = (0..MANY).map(|number| &*format!("user {number}").leak()).collect();
    let mut builder = caught_up();
    let (mut publisher, reader) = publish::cell(builder.freeze());
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();

    thread::scope(|scope| {
        let readers = [1, 2].map(|seed| {
            let (users, done, asked, reader) = (&users, &done, &asked, &reader);
            scope.spawn(move || ask_until(done, asked, reader, users, seed))
        });
        let mut random = Random::new(3);
        let mut next = Offset(0);
        let is_enough =
            |next: Offset| next.0 > 3 * many() && asked.load(Ordering::Relaxed) > many();
        while !is_enough(next)
            && start.elapsed() < TIME_MAX
            && !readers.iter().any(ScopedJoinHandle::is_finished)
        {
            for _ in 0..=random.below(2000) {
                let user = users[usize::try_from(next.0 % many()).expect("a place")];
                let event = border::event(&revoked(user, instant(next.0.into())));
                let position = Position { partition: Partition::default(), offset: next };
                builder.apply(position, event.received, &event);
                next = next.next();
            }
            publisher.publish(builder.freeze());
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let asked = asked.load(Ordering::Relaxed);
        assert!(is_enough(next), "{asked} answers at {next:?} are too few to tell");
    });
}

/// Asks about users drawn at random, and counts the answers.
fn ask_until(
    done: &AtomicBool,
    asked: &AtomicU64,
    reader: &SnapshotReader,
    users: &[Text],
    seed: u64,
) {
    let mut random = Random::new(seed);
    while !done.load(Ordering::Relaxed) {
        let snapshot = reader.load();
        let Offset(frontier) = snapshot.frontier().next_offset(Partition::default());
        for _ in 0..64 {
            let user = random.below(MANY);
            let first = user as u64;
            let newest = (frontier > first).then(|| frontier - 1 - (frontier - 1 - first) % many());
            let request = token_of(users.get(user).copied().unwrap_or_default());
            let decision = border::ask(&snapshot, &request, border::current(NOW));
            let since = decision.findings.iter().next().and_then(|found| found.since);
            let expected = newest.map(|event| border::millis(instant(event.into())));
            assert_eq!(since, expected, "user {user} at {frontier}");
        }
        asked.fetch_add(64, Ordering::Relaxed);
    }
}

/// Loads again and again, and counts the generations.
fn read_until(done: &AtomicBool, seen: &AtomicU64, reader: &SnapshotReader) {
    let requests = USERS.map(token_of);
    let (mut newest, mut next) = (0, Offset(0));
    while !done.load(Ordering::Relaxed) {
        let snapshot = reader.load();
        let frontier = snapshot.frontier().next_offset(Partition::default());
        assert!(snapshot.generation() >= newest, "a generation went backwards");
        assert!(frontier >= next, "a frontier went backwards");
        assert!(frontier.0.is_multiple_of(2), "a batch was published in halves");
        seen.fetch_add(u64::from(snapshot.generation() > newest), Ordering::Relaxed);
        (newest, next) = (snapshot.generation(), frontier);

        let last =
            (frontier.0 > 0).then(|| border::millis(instant(Millis::from(frontier.0 / 2 - 1))));
        for request in &requests {
            let decision = border::ask(&snapshot, request, border::current(NOW));
            let since = decision.findings.iter().next().and_then(|found| found.since);
            assert_eq!(since, last, "{request:?} at {frontier:?}");
        }
    }
}

/// When the two of this batch were revoked.
fn instant(batch: Millis) -> Millis {
    NOW - SPAN + batch
}

fn revoked(user: Text, at: Millis) -> Event {
    Event {
        tenant: TENANT,
        source: "entra",
        id: "",
        occurred: at,
        received: at,
        what: What::UserRevoked(user, RevocationCause::SessionsRevoked),
    }
}

/// A live token from before the first batch.
fn token_of(user: Text) -> Request {
    Request {
        issuer: Some(ISSUER),
        tenant: Some(TENANT),
        subject: Some(user),
        issued_at: Some((NOW - SPAN) / 1000 - 100),
        cp1: true,
        ..Request::default()
    }
}
