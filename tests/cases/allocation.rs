//! A decision that allows allocates nothing.

use std::alloc::System;

use caed_core::decide::decide;
use caed_core::decision::Verdict;
use caed_core::snapshot::Snapshot;
use caed_tests::random::Random;
use caed_tests::world::{Event, Record, Request, World};
use caed_tests::{border, generate, plain, plan, scenario};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many random requests must be allowed.
const ALLOWED: usize = 10_000;
/// How many scenarios must be.
const SCENARIOS_MIN: usize = 150;

/// One test alone in its process: nothing else allocates meanwhile.
#[test]
fn to_allow_allocates_nothing() {
    let mut allowed = 0;
    for (file, scenario) in scenario::all() {
        let (world, events) = (plain::world(&scenario), plain::events(&scenario));
        let appended = |event: Event| Record { event, appended: event.received };
        let records: Vec<Record> = events.into_iter().map(appended).collect();
        let snapshot = plan::play(&world, &plan::plainly(&records), 0).snapshot;
        let request = plain::request(&scenario);
        let says = scenario.expect.answer == "allow";
        assert_eq!(allows(&snapshot, &world, &request), says, "{file}: {}", scenario.story);
        allowed += usize::from(says);
    }
    assert!(allowed >= SCENARIOS_MIN, "{allowed} scenarios only");

    allowed = 0;
    for seed in 0.. {
        let mut random = Random::new(seed);
        let world = World { caught_up: true, ..generate::world(&mut random) };
        let records = generate::records(&world, world.now, &mut random);
        let steps = plan::plainly(&records);
        let events = plan::events(&steps);
        let snapshot = plan::play(&world, &steps, seed).snapshot;
        for _ in 0..50 {
            let request = generate::request(&world, &events, &mut random);
            allowed += usize::from(allows(&snapshot, &world, &request));
        }
        if allowed >= ALLOWED {
            return;
        }
    }
}

/// Whether a request is allowed; if so, by a decision that allocates nothing.
fn allows(snapshot: &Snapshot, world: &World, request: &Request) -> bool {
    border::with(request, |asked| {
        let region = Region::new(ALLOCATOR);
        let decision = decide(snapshot, asked, border::at(world));
        let allocations = region.change().allocations;
        let allows = decision.verdict == Verdict::Allow;
        assert!(!allows || allocations == 0, "{allocations}: {request:?}");
        allows
    })
}
