//! A decision that allows allocates nothing.

use std::alloc::System;

use caed_core::decide::decide;
use caed_core::decision::Verdict;
use caed_tests::plan;
use caed_tests::random::Random;
use caed_tests::world::World;
use caed_tests::{border, generate};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many requests must be allowed.
const ALLOWED: usize = 10_000;

/// One test alone in its process: nothing else allocates meanwhile.
#[test]
fn to_allow_allocates_nothing() {
    let mut allowed = 0;
    for seed in 0.. {
        let mut random = Random::new(seed);
        let world = World { caught_up: true, ..generate::world(&mut random) };
        let records = generate::records(&world, world.now, &mut random);
        let steps = plan::plainly(&records);
        let events = plan::events(&steps);
        let snapshot = plan::play(&world, &steps, seed).snapshot;
        for _ in 0..50 {
            let request = generate::request(&world, &events, &mut random);
            border::with(&request, |asked| {
                let region = Region::new(ALLOCATOR);
                let decision = decide(&snapshot, asked, border::millis(world.now));
                let allocations = region.change().allocations;
                if decision.verdict == Verdict::Allow {
                    assert_eq!(allocations, 0, "seed {seed}: {request:?}");
                    allowed += 1;
                }
            });
        }
        if allowed >= ALLOWED {
            return;
        }
    }
}
