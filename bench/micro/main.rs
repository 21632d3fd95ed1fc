//! What deciding, publishing and remembering cost in a state of ten million revoked users, beside a look-up in a
//! flat map of as many keys and beside a state of ten thousand.
//!
//! What is compared is measured in one run, in rounds in which all take turns, and the medians of the rounds are
//! told: a table, and a line for each row in `bench/results/micro.jsonl`. Criterion measures some scenarios
//! besides, each for itself, and compares them with its last run.
//!
//! `cargo bench -p caed-bench --bench micro` measures; after `--`, the name of a [`Part`] restricts it to that. As a
//! test (`cargo test --bench micro`) everything runs once, small, and shows no figures.

mod amount;
mod deciding;
mod memory;
mod places;
mod publishing;
mod verifying;

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use caed_bench::report::{Report, Row, machine, median};
use caed_bench::scenario::{Task, Tokens};
use caed_bench::world::World;
use criterion::Criterion;

use amount::Amount;

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What users and members take.
    Memory,
    /// Decisions beside a look-up.
    Deciding,
    /// Publications, and decisions beside them.
    Publishing,
    /// Addresses and ranges.
    Places,
    /// Raw tokens.
    Verifying,
    /// By criterion.
    Each,
}

/// A run: how much is done, and what came out so far.
struct Run {
    amount: Amount,
    /// Nothing is told.
    is_test: bool,
    /// All where there is none.
    only: Option<Part>,
    began: Instant,
    report: Report,
}

fn main() -> io::Result<()> {
    let mut run = Run::asked()?;
    if run.does(Part::Memory) {
        memory::members(&mut run)?;
    }
    if [Part::Memory, Part::Deciding, Part::Publishing, Part::Each].into_iter().any(|p| run.does(p))
    {
        in_worlds(&mut run)?;
    }
    if run.does(Part::Places) {
        places::growth(&mut run)?;
        places::look_up(&mut run)?;
    }
    if run.does(Part::Verifying) {
        verifying::verify(&mut run)?;
    }
    run.tell()
}

/// What is measured in a large state and a small one.
fn in_worlds(run: &mut Run) -> io::Result<()> {
    let Amount { few, most, estate, lived, .. } = run.amount;
    run.say(&format_args!("a state of {most} revoked users"))?;
    // Before others, in a young process: its memory is measured.
    let mut large = World::new(most);
    memory::users(run, &large);
    if [Part::Deciding, Part::Publishing, Part::Each].into_iter().any(|part| run.does(part)) {
        large = large.after(lived);
        let mut gets = deciding::gets(run);
        if let Some((map, _)) = &mut gets {
            deciding::beside_gets(run, &mut large, map)?;
        }
        run.say(&format_args!("{estate}"))?;
        large = large.with(estate).after(lived);
        let mut small = World::new(few).with(estate).after(lived);
        if let Some((map, few)) = &mut gets {
            deciding::beside_gets(run, &mut large, map)?;
            deciding::growth(run, (&mut small, &mut large), (few, map))?;
            deciding::others(run, &mut large)?;
        }
        if run.does(Part::Publishing) {
            publishing::publish(run, &mut small, &mut large)?;
            publishing::churn(run, &mut large)?;
        }
        if run.does(Part::Each) {
            each(run, &mut large);
        }
        if let Some((map, _)) = &mut gets {
            large = large.with(run.amount.roaming());
            deciding::beside_gets(run, &mut large, map)?;
        }
    }
    Ok(())
}

/// Some scenarios by themselves, by criterion.
fn each(run: &Run, world: &mut World) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    // The name of a part is none of criterion's.
    if run.only.is_none() {
        criterion = criterion.configure_from_args();
    }
    for task in [Task::Decide(Tokens::Mixed), Task::Publish { events: 100 }, Task::Forget] {
        criterion.bench_function(&task.to_string(), |bencher| {
            bencher.iter_custom(|times| world.run(task, times));
        });
    }
    criterion.final_summary();
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Memory, Self::Deciding, Self::Publishing, Self::Places, Self::Verifying, Self::Each];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Run {
    /// What the command line asks for.
    fn asked() -> io::Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
        let is_test = given("--test") || !given("--bench");
        let word = arguments.iter().find(|argument| !argument.starts_with('-'));
        let part = |word: &String| {
            let part = Part::ALL.into_iter().find(|part| part.name() == *word);
            let names = Part::ALL.map(Part::name).join(", ");
            let unknown = || format!("nothing is called `{word}`; measure one of {names}");
            part.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, unknown()))
        };
        let only = word.map(part).transpose()?;
        let amount = if is_test { Amount::SMALL } else { Amount::FULL };
        Ok(Self { amount, is_test, only, began: Instant::now(), report: Report::default() })
    }

    fn does(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    /// Says what is measured next.
    fn say(&self, what: &dyn Display) -> io::Result<()> {
        if self.is_test {
            return Ok(());
        }
        writeln!(io::stdout().lock(), "{:>4} s  {what}", self.began.elapsed().as_secs())
    }

    fn row(&mut self, row: Row) {
        self.report.push(row);
    }

    /// The medians of what comes out of several rounds: of fewer where they take long.
    fn medians<const COUNT: usize>(&self, mut round: impl FnMut() -> [f64; COUNT]) -> [f64; COUNT] {
        let mut columns = [const { Vec::new() }; COUNT];
        let Amount { rounds: (least, most), enough, .. } = self.amount;
        let began = Instant::now();
        for done in 0..most {
            if done >= least && began.elapsed() > enough {
                break;
            }
            for (column, figure) in columns.iter_mut().zip(round()) {
                column.push(figure);
            }
        }
        columns.map(median)
    }

    /// Tells everything and keeps it.
    fn tell(&self) -> io::Result<()> {
        if self.is_test {
            return Ok(());
        }
        let path = self.report.append("micro")?;
        let (machine, took) = (machine(), self.began.elapsed().as_secs());
        let mut out = io::stdout().lock();
        writeln!(out, "\n{machine}, {took} s; appended to {}\n{}", path.display(), self.report)
    }
}

/// Nanoseconds of each.
fn each_of(times: u64, spent: Duration) -> f64 {
    spent.as_secs_f64() * 1e9 / precise(times)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn precise(number: u64) -> f64 {
    number as f64
}
