//! What time has overtaken: a log may drop what its state has outlived (L3), and state forgets
//! cutoffs that no living token can meet (E17). No decision changes, now or later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use caed_core::builder::Builder;
use caed_core::event::{AccountState, RevocationCause};
use caed_core::position::{Offset, Partition, Position};
use caed_core::snapshot::Snapshot;
use caed_tests::plan::{FIVE_MINUTES, Step};
use caed_tests::random::Random;
use caed_tests::world::{Event, Issuer, Millis, Record, Request, Speaks, What, World};
use caed_tests::{border, generate, plan};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

const REQUESTS: usize = 60;
/// How many records must be dropped over the run, and how many of them must have offered more than
/// cutoffs.
const OFTEN: usize = 1000;

fn config() -> ProptestConfig {
    let file = FileFailurePersistence::Direct("cases/regressions/retention.txt");
    ProptestConfig { cases: 6000, failure_persistence: Some(Box::new(file)), ..Default::default() }
}

/// What a case is drawn from: the seed of the world, which records are left out of it (so that
/// proptest finds the few that matter), and which are dropped of those that may be.
fn drawn() -> impl Strategy<Value = (u64, Vec<bool>, Vec<bool>)> {
    let kept = prop::collection::vec(prop::bool::weighted(0.95), 40);
    let dropped = prop::collection::vec(prop::bool::weighted(0.7), 80);
    (any::<u64>(), kept, dropped)
}

#[test]
fn dropping_what_is_outlived_changes_nothing() {
    let (dropped, lasting) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let result = TestRunner::new(config()).run(&drawn(), |(seed, kept, chosen)| {
        let mut random = Random::new(seed);
        let before = World { caught_up: true, ..generate::world(&mut random) };
        let mut records: Vec<Record> = (0..random.within(0, 40))
            .map(|_| generate::record(&before, before.now, &mut random))
            .collect();
        let mut kept = kept.into_iter();
        records.retain(|_| kept.next().unwrap_or(true));

        // Mostly so much time passes that something is outlived.
        let horizon = before.horizon * 1000;
        let least = random.pick(&[0, 2, 2]) * horizon;
        let pass = least + random.within(0, 3 * horizon);
        let world = generate::later(&before, before.now + pass, &mut random);
        let mut all = plan::anyhow(&records, &mut random);
        if random.chance(30) {
            let at = random.below(all.len() + 1);
            all.insert(at, Step::Forget { clock: world.now, parts: Builder::FORGET_ROUND });
        }
        all.push(Step::Skip(world.now, 0));
        let whole = plan::play(&world, &all, 1).snapshot;

        let mut chosen = chosen.into_iter();
        let mut rest = all.clone();
        let two_horizons = world.horizon.unsigned_abs() * 2000;
        let mut too_early = false;
        rest.retain(|step| {
            let Step::Apply(Record { event, appended }, _) = step else { return true };
            let [appended, now] = [*appended, world.now].map(border::millis);
            let outlived = whole.outlives(&border::event(event), appended, now);
            too_early |= outlived && now.since(appended).as_millis() <= two_horizons;
            let drop = chosen.next().unwrap_or(false) && outlived;
            dropped.fetch_add(usize::from(drop), Ordering::Relaxed);
            lasting.fetch_add(usize::from(drop && lasts(step)), Ordering::Relaxed);
            !drop
        });
        prop_assert!(!too_early, "outlived within two horizons: {:#?}", all);
        let thinned = plan::play(&world, &rest, 2).snapshot;
        for later in [0, 1000, world.horizon * 1000] {
            let world = World { now: world.now + later, ..world.clone() };
            compare(&world, &all, &whole, &thinned, &mut random)?;
        }

        // Whatever comes after meets the same state.
        let latest = world.now + FIVE_MINUTES;
        let world = World { now: latest, ..world };
        for _ in 0..random.below(8) {
            let mut record = generate::record(&world, latest, &mut random);
            record.appended = latest;
            all.push(Step::Apply(record, 1));
            rest.push(Step::Apply(record, 1));
        }
        let whole = plan::play(&world, &all, 3).snapshot;
        let thinned = plan::play(&world, &rest, 4).snapshot;
        compare(&world, &all, &whole, &thinned, &mut random)
    });
    if let Err(failure) = result {
        std::panic::panic_any(failure.to_string());
    }
    let [dropped, lasting] = [dropped, lasting].map(AtomicUsize::into_inner);
    println!("{dropped} records dropped, {lasting} of them with more than cutoffs");
    assert!(dropped >= OFTEN && lasting >= OFTEN, "{dropped} {lasting}");
}

/// Whether a record offers something that never expires.
fn lasts(step: &Step) -> bool {
    use caed_tests::world::What::{Account, Compliance, Device, Member, Source, Told};
    let Step::Apply(Record { event, .. }, _) = step else { return false };
    matches!(
        event.what,
        Account(..) | Device(..) | Compliance(..) | Source(..) | Told(..) | Member(..)
    )
}

/// Asks both for the same.
fn compare(
    world: &World,
    all: &[Step],
    whole: &Snapshot,
    thinned: &Snapshot,
    random: &mut Random,
) -> Result<(), TestCaseError> {
    let events = plan::events(all);
    for _ in 0..REQUESTS {
        let request: Request = generate::request(world, &events, random);
        if plan::revokes_unissued(all, &request) {
            continue;
        }
        let [of_whole, of_thinned] = [whole, thinned]
            .map(|snapshot| border::answer(&border::ask(snapshot, &request, border::at(world))));
        prop_assert_eq!(of_whole, of_thinned, "{:#?}\n{:#?}", all, request);
    }
    Ok(())
}

/// How many rows of cutoffs are left of one revocation after forgetting, with this event time and
/// append time, the newest append time read, and this host's clock.
fn left(occurred: Millis, appended: Millis, newest: Millis, clock: Millis) -> usize {
    let what = What::UserRevoked("anna", RevocationCause::SessionsRevoked);
    forgotten(what, [occurred, appended, newest, clock]).counts().cutoffs
}

/// The state after one event, one record that nobody understood, and a round of forgetting.
fn forgotten(what: What, [occurred, appended, newest, clock]: [Millis; 4]) -> Snapshot {
    let issuer = Issuer {
        name: "https://any.example",
        tenants: Speaks::ForAll,
        issue_time_skew: 0,
        marks: false,
        one_hour: Vec::new(),
        exceptions: None,
    };
    let world = World {
        now: clock,
        horizon: HORIZON / 1000,
        skew: 300,
        issuers: vec![issuer],
        served: None,
        caught_up: true,
        ..World::default()
    };
    let event = Event {
        tenant: "contoso",
        source: "directory",
        id: "",
        occurred,
        received: occurred,
        what,
    };
    let mut builder = Builder::new(Arc::new(border::rules(&world)), 7);
    let position = |offset| Position { partition: Partition::default(), offset: Offset(offset) };
    builder.apply(position(0), border::millis(appended), &border::event(&event));
    builder.skip(position(1), border::millis(newest));
    for _ in 0..Builder::FORGET_ROUND {
        builder.forget_some(border::millis(clock));
    }
    builder.freeze()
}

const START: Millis = 1_800_000_000_000;
const HORIZON: Millis = 7_200_000;

#[test]
fn a_cutoff_is_forgotten_when_no_token_that_it_could_reject_lives() {
    let kept_until = START + HORIZON + FIVE_MINUTES;
    let late = START + 1000;
    assert_eq!(left(START, START, kept_until, kept_until), 1);
    assert_eq!(left(START, START, kept_until + 1, kept_until + 1), 0);
    // The later of the cutoff and the append time counts, whichever it is.
    assert_eq!(left(START, late, kept_until + 1000, kept_until + 1000), 1);
    assert_eq!(left(late, START, kept_until + 1000, kept_until + 1000), 1);
    assert_eq!(left(START, late, kept_until + 1001, kept_until + 1001), 0);
    // The earlier of this host's clock and the newest append time read counts.
    assert_eq!(left(START, START, kept_until, kept_until + HORIZON), 1);
    assert_eq!(left(START, START, kept_until + HORIZON, kept_until), 1);
}

#[test]
fn registers_are_never_forgotten() {
    let ages = [START, START, START + 100 * HORIZON, START + 100 * HORIZON];
    let disabled = What::Account("anna", AccountState::Disabled);
    assert_eq!(forgotten(disabled, ages).counts().registers, 1);
}
