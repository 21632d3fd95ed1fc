//! What deciding, publishing and forgetting cost among ten thousand, one million and ten million
//! revoked users; and verifying raw tokens.
//!
//! Criterion measures each scenario for itself. Ratios between sizes must come from one run under
//! one load, so a table of medians follows, of rounds in which all scenarios take turns.
//!
//! `cargo bench -p caed-bench` measures; a word after `--` restricts criterion, not the table. As
//! a test (`cargo test --benches`, or `-- --test`) everything runs once, small, and shows no figures.

use std::io::{self, Write};
use std::time::Duration;

use caed_bench::estate::Estate;
use caed_bench::flat_map::FlatMap;
use caed_bench::ranges::Lookups;
use caed_bench::report::{Report, Row, machine, median};
use caed_bench::scenario::{Scenario, Task, Tokens, Users};
use caed_bench::verification::{How, Verification};
use caed_bench::world::World;
use criterion::Criterion;

const TASKS: [Task; 7] = [
    Task::Decide(Tokens::Mixed),
    Task::Decide(Tokens::Untouched),
    Task::Decide(Tokens::Revoked),
    Task::Publish { events: 1 },
    Task::Publish { events: BATCH },
    Task::Publish { events: 10 * BATCH },
    Task::Forget,
];

/// The events of 10 ms at 10,000 a second.
const BATCH: u64 = 100;

/// How much is done.
struct Amount {
    users: [Users; 3],
    /// Ranges of locations.
    ranges: [u64; 4],
    rounds: usize,
    /// Decisions of a round.
    decisions: u64,
    /// Raw tokens of a round.
    verifications: u64,
    /// Events of a round. As many as a table's groups collect before all of them have settled, so
    /// that each round bears its share of that.
    events: u64,
    /// Looks for what to forget, of a round: everything once.
    looks: u64,
}

impl Amount {
    const FULL: Self = Self {
        users: [Users(10_000), Users(1_000_000), Users(10_000_000)],
        ranges: [10, 1_000, 100_000, 1_000_000],
        rounds: 7,
        decisions: 200_000,
        verifications: 20_000,
        events: 4096 * 64,
        looks: 64,
    };

    const SMALL: Self = Self {
        users: [Users(1_000), Users(3_000), Users(10_000)],
        ranges: [10, 100, 1_000, 10_000],
        rounds: 1,
        decisions: 1_000,
        verifications: 1_000,
        events: 5_000,
        looks: 64,
    };

    fn times(&self, task: Task) -> u64 {
        match task {
            Task::Decide(_) => self.decisions,
            Task::Publish { events } => (self.events / events).max(1),
            Task::Forget => self.looks,
        }
    }
}

fn main() -> io::Result<()> {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let is_test = given("--test") || !given("--bench");
    let amount = if is_test { Amount::SMALL } else { Amount::FULL };
    if given("--core") {
        return core_rows(is_test);
    }
    // The largest first: its memory is measured in a young process.
    let mut worlds: Vec<World> =
        amount.users.iter().rev().map(|users| World::new(*users)).collect();
    worlds.reverse();
    measure_each(&mut worlds);
    let mut report = Report::default();
    memory(&mut report, &worlds);
    compare(&mut report, &mut worlds, &amount);
    look_up(&mut report, &amount);
    verify(&mut report, &amount);
    if is_test {
        return Ok(());
    }
    write!(io::stdout().lock(), "\n{}\n{report}", machine())
}

/// What a decision costs beside a look-up in a flat map, in turns.
fn core_rows(is_test: bool) -> io::Result<()> {
    let most = if is_test {
        10_000
    } else {
        std::env::var("MOST").ok().and_then(|m| m.parse().ok()).unwrap_or(10_000_000)
    };
    let estate = Estate { ranges: 100_000, policies: 50 };
    let mut map = FlatMap::new(most);
    let mut out = io::stdout().lock();
    for (estate, name) in [(Estate::NONE, "no policies"), (estate, "50 policies")] {
        let mut world = World::with_estate(Users(most), estate);
        for (among, kind) in [(most, "cold"), (5000, "hot")] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..std::env::var("ROUNDS").ok().and_then(|m| m.parse().ok()).unwrap_or(7) {
                let times =
                    std::env::var("TIMES").ok().and_then(|m| m.parse().ok()).unwrap_or(200_000);
                let each = |spent: Duration| spent.as_secs_f64() * 1e9 / precise(times);
                ours.push(each(world.run(Task::Decide(Tokens::Renewed { among }), times)));
                theirs.push(each(map.run(among, times)));
            }
            let (ours, theirs) = (median(ours), median(theirs));
            writeln!(
                out,
                "decide.{kind}, {name}: {ours:.1} ns; a get: {theirs:.1} ns; {:.2} ×",
                ours / theirs
            )?;
        }
    }
    Ok(())
}

/// Each scenario by itself, by criterion.
fn measure_each(worlds: &mut [World]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    for task in TASKS {
        for world in &mut *worlds {
            let scenario = Scenario { task, among: world.users() };
            criterion.bench_function(&scenario.to_string(), |bencher| {
                bencher.iter_custom(|times| world.run(task, times));
            });
        }
    }
    criterion.final_summary();
}

/// All scenarios in turns, several rounds; the medians, and how they grow with the state.
fn compare(report: &mut Report, worlds: &mut [World], amount: &Amount) {
    let scenarios: Vec<(Task, usize)> = TASKS
        .into_iter()
        .flat_map(|task| (0..worlds.len()).map(move |world| (task, world)))
        .collect();
    let mut nanos = vec![Vec::new(); scenarios.len()];
    for _ in 0..amount.rounds {
        for ((task, world), nanos) in scenarios.iter().zip(&mut nanos) {
            if let Some(world) = worlds.get_mut(*world) {
                let times = amount.times(*task);
                nanos.push(world.run(*task, times).as_secs_f64() * 1e9 / precise(times));
            }
        }
    }
    let medians: Vec<f64> = nanos.into_iter().map(median).collect();
    for (task, medians) in TASKS.into_iter().zip(medians.chunks(worlds.len())) {
        let unit = if matches!(task, Task::Decide(_)) { ("ns", 1.0) } else { ("µs", 1e-3) };
        let rows = worlds.iter().zip(medians).map(|(world, nanos)| {
            (Scenario { task, among: world.users() }.to_string(), nanos * unit.1)
        });
        family(report, unit.0, rows);
        if let Task::Publish { events } = task
            && events >= BATCH
        {
            for (world, nanos) in worlds.iter().zip(medians) {
                let rate = events * 100;
                let name = format!("… {rate} a second, every 10 ms, among {}", world.users());
                report.push(Row::new(name, nanos / 10e6 * 100.0, "% of core"));
            }
        }
    }
}

/// Looking addresses up, in turns, and what the indexes take.
fn look_up(report: &mut Report, amount: &Amount) {
    let mut indexes: Vec<Lookups> = amount.ranges.into_iter().map(Lookups::new).collect();
    let mut nanos = vec![Vec::new(); indexes.len()];
    for _ in 0..amount.rounds {
        for (index, nanos) in indexes.iter_mut().zip(&mut nanos) {
            let spent = index.run(amount.decisions);
            nanos.push(spent.as_secs_f64() * 1e9 / precise(amount.decisions));
        }
    }
    let names = indexes.iter().map(Lookups::name);
    family(report, "ns", names.zip(nanos.into_iter().map(median)));
    for index in &indexes {
        let bytes = u64::try_from(index.heap_bytes()).unwrap_or(u64::MAX);
        report.push(Row::new(format!("{} memory", index.name()), precise(bytes) / 1024.0, "KiB"));
    }
}

/// Adds rows of which the first is what the others are compared with.
fn family(report: &mut Report, unit: &'static str, rows: impl IntoIterator<Item = (String, f64)>) {
    let mut first: Option<(String, f64)> = None;
    for (name, value) in rows {
        let (baseline, beside) = first.get_or_insert_with(|| (name.clone(), value)).clone();
        report.push(Row::new(name, value, unit).beside(baseline, beside));
    }
}

/// Verifying raw tokens, in turns.
fn verify(report: &mut Report, amount: &Amount) {
    let mut verifications = How::ALL.map(Verification::new);
    let mut nanos = vec![Vec::new(); verifications.len()];
    for _ in 0..amount.rounds {
        for (verification, nanos) in verifications.iter_mut().zip(&mut nanos) {
            let spent = verification.run(amount.verifications);
            nanos.push(spent.as_secs_f64() * 1e9 / precise(amount.verifications));
        }
    }
    let names = verifications.iter().map(Verification::name);
    family(report, "ns", names.zip(nanos.into_iter().map(median)));
}

/// What a revoked user takes, among the most of them.
fn memory(report: &mut Report, worlds: &[World]) {
    let Some(world) = worlds.last() else { return };
    let (users, memory) = (world.users(), world.memory());
    let each = |bytes: u64| precise(bytes) / precise(users.0);
    let heap = each(u64::try_from(memory.heap_bytes).unwrap_or(u64::MAX));
    report.push(Row::new(format!("heap for each of {users} revoked users"), heap, "bytes"));
    if let Some(bytes) = memory.resident_bytes {
        let name = format!("growth of the process for each of {users} revoked users");
        report.push(Row::new(name, each(bytes), "bytes"));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn precise(number: u64) -> f64 {
    number as f64
}
