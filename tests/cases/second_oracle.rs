//! The second oracle against core and against the first one, over the same worlds: what one hand
//! misread, another need not.
//!
//! Core gets each world's events in one batch; order, copies and forgetting are the first oracle's
//! matter. Every kind of disagreement is told once, by its shortest story.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use caed_core::decision::{Reason, Verdict};
use caed_core::snapshot::Snapshot;
use caed_tests::oracle::{self, Expected};
use caed_tests::plan;
use caed_tests::random::Random;
use caed_tests::world::{Event, Record, Request, World};
use caed_tests::{border, generate, second_oracle};

const STATES: u64 = 4_500;
const REQUESTS: usize = 50;
/// Apart from the seeds of the first oracle's worlds.
const FIRST_SEED: u64 = 1 << 32;

/// Core's answer, the first oracle's and the second's.
type Answers = [Expected; 3];

fn answers(seed: u64, world: &World, records: &[Record], request: &Request) -> Answers {
    let steps = plan::plainly(records);
    let snapshot = plan::play(world, &steps, seed).snapshot;
    told(&snapshot, world, &events(records), request)
}

fn told(snapshot: &Snapshot, world: &World, events: &[Event], request: &Request) -> Answers {
    [
        border::answer(&border::ask(snapshot, request, world.now)),
        oracle::expected(world, events, request),
        second_oracle::expected(world, events, request),
    ]
}

fn events(records: &[Record]) -> Vec<Event> {
    plan::events(&plan::plainly(records))
}

/// What would be answered if everything were enforced. Where there is no report, what is answered: the
/// text does not say which of the two says so.
fn reported(expected: &Expected) -> (Verdict, Option<Reason>, Vec<Reason>, u16) {
    expected.report.clone().unwrap_or_else(|| {
        let reasons = expected.findings.iter().map(|finding| finding.reason).collect();
        (expected.verdict, expected.primary, reasons, expected.http_status)
    })
}

/// In what the answers differ; empty where they agree.
fn difference([core, first, second]: &Answers) -> String {
    let mut names = String::new();
    for (who, other) in [("core", core), ("first", first)] {
        let plain = |expected: &Expected| Expected { report: None, ..expected.clone() };
        if plain(other) == plain(second) && reported(other) == reported(second) {
            continue;
        }
        write!(names, "{who}:").expect("a string takes everything");
        let reasons = |expected: &Expected| {
            expected.findings.iter().map(|found| found.reason).collect::<Vec<_>>()
        };
        let (theirs, ours) = (reasons(other), reasons(second));
        for reason in theirs.iter().filter(|reason| !ours.contains(reason)) {
            write!(names, " +{reason:?}").expect("a string takes everything");
        }
        for reason in ours.iter().filter(|reason| !theirs.contains(reason)) {
            write!(names, " -{reason:?}").expect("a string takes everything");
        }
        for (name, differs) in [
            ("findings", theirs == ours && other.findings != second.findings),
            ("notes", other.notes != second.notes),
            ("report", reported(other) != reported(second)),
            (
                "answer",
                theirs == ours
                    && other.findings == second.findings
                    && (
                        other.verdict,
                        other.primary,
                        other.http_status,
                        other.retry_after_s,
                        other.challenge,
                    ) != (
                        second.verdict,
                        second.primary,
                        second.http_status,
                        second.retry_after_s,
                        second.challenge,
                    ),
            ),
        ] {
            if differs {
                write!(names, " {name}").expect("a string takes everything");
            }
        }
        names.push(' ');
    }
    names
}

/// The shortest story that still ends in the same disagreement.
fn story(seed: u64, world: &World, records: &[Record], request: &Request) -> String {
    let kind = difference(&answers(seed, world, records, request));
    let mut records = records.to_vec();
    let mut at = 0;
    while at < records.len() {
        let mut fewer = records.clone();
        fewer.remove(at);
        if difference(&answers(seed, world, &fewer, request)) == kind {
            records = fewer;
        } else {
            at += 1;
        }
    }
    let [core, first, second] = answers(seed, world, &records, request);
    let mut story = format!("seed {seed}, now {}, skew {}\n", world.now, world.skew);
    for event in events(&records) {
        writeln!(story, "  {event:?}").expect("a string takes everything");
    }
    write!(story, "{request:?}\ncore:   {core:?}\nfirst:  {first:?}\nsecond: {second:?}")
        .expect("a string takes everything");
    story
}

#[test]
fn core_and_both_oracles_agree() {
    let mut compared = 0;
    let mut disagreements: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for seed in FIRST_SEED..FIRST_SEED + STATES {
        let mut random = Random::new(seed);
        let world = generate::world(&mut random);
        let records = generate::records(&world, world.now, &mut random);
        let events = events(&records);
        compared += 1;
        let snapshot = plan::play(&world, &plan::plainly(&records), seed).snapshot;
        for _ in 0..REQUESTS {
            let request = generate::request(&world, &events, &mut random);
            let kind = difference(&told(&snapshot, &world, &events, &request));
            if kind.is_empty() {
                continue;
            }
            let (times, _) = disagreements
                .entry(kind)
                .or_insert_with(|| (0, story(seed, &world, &records, &request)));
            *times += 1;
        }
    }
    let mut told = String::new();
    for (kind, (times, story)) in &disagreements {
        writeln!(told, "{times} times: {kind}\n{story}\n").expect("a string takes everything");
    }
    println!("{compared} states of {STATES} compared");
    assert!(compared > STATES / 2, "{compared} states compared");
    assert!(disagreements.is_empty(), "{told}");
}
