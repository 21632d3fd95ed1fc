//! Every scenario, asked of core alone, however its events came.
//!
//! `tests/cases/scenarios.rs` asks the same over gRPC, too. What is here needs no Kafka client and no
//! server, so that it can be asked again for every mutant of core (`make mutants`).

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::fmt::Write as _;
use std::sync::Arc;

use caed_core::builder::Builder;
use caed_core::decide::decide;
use caed_core::decision::Decision;
use caed_core::event::{Event, Fact};
use caed_core::rules::{Profile, Rules};
use caed_core::snapshot::Snapshot;
use caed_tests::scenario::{self, Scenario};
use caed_tests::{answer, oracle, plain, question};

#[test]
fn every_scenario_is_answered_as_it_says_in_any_order() {
    let mut failures = String::new();
    for (file, scenario) in &scenario::all() {
        for problem in problems(scenario) {
            writeln!(failures, "{file}: {} {}\n{problem}", scenario.rule, scenario.story)
                .expect("a string takes everything");
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Everything that differs from what a scenario expects.
fn problems(scenario: &Scenario) -> Vec<String> {
    let mut problems = Vec::new();
    let rules = Arc::new(question::rules(scenario));
    let (events, reported) = match question::events(scenario, &rules) {
        Ok(read) => read,
        Err(problem) => return vec![problem],
    };
    if let Some(expected) = &scenario.expect.reported
        && *expected != reported
    {
        problems.push(answer::differ("reported", expected, &reported));
    }
    let forwards = snapshot(scenario, &rules, events.iter());
    let decision = ask(&forwards, scenario);
    answer::check(scenario, "core", &answer::of_decision(scenario, &decision), &mut problems);

    // F2: scenarios don't tell it each time; the oracle does.
    let (world, told) = (plain::world(scenario), plain::events(scenario));
    let expected = oracle::expected(&world, &told, &plain::request(scenario)).source_age;
    let seen = decision.source_age.map(|age| i128::try_from(age.as_millis()).expect("an age"));
    if seen != expected {
        problems.push(answer::differ("core, age of the source", &expected, &seen));
    }

    // E1: backwards, and then once more as they happened.
    let otherwise = snapshot(scenario, &rules, events.iter().rev().chain(&events));
    let other = Decision { generation: decision.generation, ..ask(&otherwise, scenario) };
    if other != decision {
        problems.push(answer::differ("core, in another order", &decision, &other));
    }
    let digests = (forwards.digest(), otherwise.digest());
    if digests.0 != digests.1 {
        problems.push(answer::differ("digest, in another order", &digests.0, &digests.1));
    }

    // T5: what makes a difference to the answer makes one to the digest, signs of life (E11) left out.
    let is_sign = |event: &Event| matches!(event.fact, Fact::Heartbeat { .. });
    for without in (0..events.len()).filter(|at| !events.get(*at).is_some_and(is_sign)) {
        let others = events.iter().enumerate().filter(|(place, _)| *place != without);
        let poorer = snapshot(scenario, &rules, others.map(|(_, event)| event));
        if ask(&poorer, scenario).verdict != decision.verdict && poorer.digest() == digests.0 {
            problems.push(format!("  digest: the same without event {without}"));
        }
    }
    problems
}

/// What is known after these events. A snapshot is taken after each, so that the next one changes what
/// is shared.
fn snapshot<'e>(
    scenario: &Scenario,
    rules: &Arc<Rules>,
    events: impl Iterator<Item = &'e Event>,
) -> Snapshot {
    let mut builder = Builder::new(Arc::clone(rules), 7);
    if scenario.ready {
        builder.caught_up();
    }
    // Dropped when the next one is frozen, so that each one is changed while it is shared.
    let mut _before = builder.freeze();
    for event in events {
        question::apply(&mut builder, [event]);
        _before = builder.freeze();
    }
    // It comes last, and changes what is known already.
    builder.set_countries(question::countries(scenario));
    builder.freeze()
}

fn ask(snapshot: &Snapshot, scenario: &Scenario) -> Decision {
    let named = scenario.named_profile.as_deref();
    let profile = match named {
        Some(name) => Profile::shipped(name).expect("a shipped profile"),
        None => question::profile(scenario),
    };
    question::with(
        &scenario.token.claims(),
        scenario.belief,
        &profile,
        question::seen(scenario),
        |request| decide(snapshot, request, question::at(scenario)),
    )
}
