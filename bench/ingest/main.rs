//! How fast events become decisions: from a real Kafka, beside a bare consumer of the same topics, and from the
//! embedded log.
//!
//! caed and the bare consumer take turns, several rounds of each, and the medians are compared: what else the machine
//! does meets both. Whatever was read is checked when the clock has stopped: counts of everything, and decisions
//! about a thousand tokens.
//!
//! `cargo bench --package caed-bench --bench ingest` measures. As a test (`cargo test --bench ingest`) everything runs
//! once, small, and shows no figures. Both need a broker, which `make tools` gets.

#![expect(clippy::expect_used, clippy::panic, reason = "a bench stops where something is wrong")]
#![expect(clippy::indexing_slicing, reason = "of two, the first and the second")]

mod broker;
mod catch_up;
mod consumer;
mod enforce;
mod pipeline;
mod producer;
mod restart;
mod scenario;
mod steady;
mod stream;
mod turn;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use caed_bench::report::{Report, Row, Target, machine};
use caed_core::time::UnixMillis;

use broker::Broker;
use enforce::Enforce;
use scenario::Scenario;
use stream::Stream;
use turn::{Measured, Pair};

/// How much is done.
struct Amount {
    catch_up: u64,
    follow: u64,
    enforce: usize,
    restart: u64,
    rounds: usize,
}

impl Amount {
    const FULL: Self = Self {
        catch_up: 2_000_000,
        follow: 1_000_000,
        enforce: 500,
        restart: 10_000_000,
        rounds: 5,
    };

    const SMALL: Self =
        Self { catch_up: 20_000, follow: 5_000, enforce: 20, restart: 20_000, rounds: 1 };
}

/// What the figures are compared with.
const BARE: &str = "a bare consumer";

/// How long before the run its first event happened: tokens of after the last one have been issued by now.
const BEGUN_AGO: Duration = Duration::from_mins(45);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((producer::PRODUCE, what)) =
        arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        producer::run(what);
        return ExitCode::SUCCESS;
    }
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let is_test = given("--test") || !given("--bench");
    match run(if is_test { &Amount::SMALL } else { &Amount::FULL }, is_test) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(io::stderr(), "ingest: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(amount: &Amount, is_test: bool) -> Result<(), String> {
    let Amount { catch_up, follow, enforce, restart, rounds } = *amount;
    let begun_ms = pipeline::now().as_millis() - u64::try_from(BEGUN_AGO.as_millis()).unwrap_or(0);
    let stream = Stream { begun: UnixMillis::from_millis(begun_ms) };
    let mut report = Report::default();
    let tell = |scenario: Scenario| {
        if !is_test {
            let _ = writeln!(io::stdout(), "{scenario}");
        }
    };

    // The longest log first: it is read in a young process.
    tell(Scenario::Restart { events: restart });
    let seconds = restart::measure(stream, restart).as_secs_f64();
    report.push(Row::new("restart.10m", seconds, "s"));
    report.push(Row::new("restart.10m.rate", precise(restart) / seconds, "records/s"));

    let broker = Broker::start()?;
    tell(Scenario::CatchUp { events: catch_up });
    let Measured { rate, cost_us } =
        catch_up::measure(&broker.topics("catch-up"), stream, catch_up, rounds);
    let row =
        |name: &str, unit, pair: Pair| Row::new(name, pair.caed, unit).beside(BARE, pair.bare);
    let wanted = Target::RatioAtLeast(0.7);
    report.push(row("ingest.kafka", "records/s", rate).wanted(wanted));
    report.push(row("ingest.kafka.cpu", "µs/record", cost_us));

    tell(Scenario::Follow { events: follow });
    let Measured { rate, cost_us } =
        steady::measure(&broker.topics("steady"), stream, follow, rounds);
    report.push(row("ingest.steady", "records/s", rate).wanted(wanted));
    report.push(row("ingest.steady.cpu", "µs/record", cost_us));

    tell(Scenario::Enforce { events: enforce });
    let Enforce { p50_ms, p99_ms } =
        enforce::measure(&broker.topics("enforce"), stream, enforce, rounds);
    let wanted = Target::ExcessAtMost(1.0);
    report.push(row("enforce.p50", "ms", p50_ms).wanted(wanted));
    report.push(row("enforce.p99", "ms", p99_ms).wanted(wanted));
    drop(broker);

    if is_test {
        return Ok(());
    }
    let kept = report.append("ingest").map_err(|error| format!("bench/results: {error}"))?;
    let mut out = io::stdout().lock();
    write!(out, "\n{}\n{report}\nkept in {}\n", machine(), kept.display())
        .map_err(|error| error.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const fn precise(number: u64) -> f64 {
    number as f64
}
