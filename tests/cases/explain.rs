//! An explanation is of the very decision, in worlds that nobody thought of.

use caed_core::decide::decide;
use caed_core::decision::Verdict;
use caed_core::explain::{Outcome, explain};
use caed_tests::random::Random;
use caed_tests::{border, generate, plan};

/// How many worlds, with so many requests each.
const WORLDS: u64 = 400;
const REQUESTS: usize = 25;

#[test]
fn an_explanation_is_of_the_decision_and_names_what_would_change_it() {
    let mut refused = 0;
    for seed in 0..WORLDS {
        let mut random = Random::new(seed);
        let world = generate::world(&mut random);
        let records = generate::records(&world, world.now, &mut random);
        let steps = plan::plainly(&records);
        let events = plan::events(&steps);
        let snapshot = plan::play(&world, &steps, seed).snapshot;
        for _ in 0..REQUESTS {
            let request = generate::request(&world, &events, &mut random);
            border::with(&request, |asked| {
                let at = border::at(&world);
                let explained = explain(&snapshot, asked, at);
                assert_eq!(explained.decision, decide(&snapshot, asked, at), "seed {seed}");
                let is_allowed = explained.decision.verdict == Verdict::Allow;
                let spoke = explained.steps.iter().find(|step| step.outcome == Outcome::Spoke);
                assert_eq!(spoke.is_none(), is_allowed, "seed {seed}: {request:?}");
                assert_eq!(explained.remedies.is_empty(), is_allowed, "seed {seed}: {request:?}");
                refused += usize::from(!is_allowed);
            });
        }
    }
    println!("{refused} refusals explained");
    let few = usize::try_from(WORLDS).expect("a small number");
    assert!(refused > few, "{refused} refusals only");
}
