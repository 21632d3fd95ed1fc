//! How fast decisions are over the wire, beside servers that decide nothing.
//!
//! caed runs as it is installed, in a process of its own on the first core; so do the floors under it: an empty
//! service of tonic, tuned and as it comes, bare HTTP/2, and an empty service of axum. They take turns, several
//! rounds of each, and the medians are compared. The generator is on the second core, and compares every answer.
//!
//! `cargo bench --package caed-bench --bench load` measures the caed that was built in the same profile, or the one
//! that `CAED` names; `make bench-load` builds it. With the beginning of a row's name, as `-- grpc.check.tcp`, only
//! those rows are measured. As a test (`cargo test --bench load`) everything runs once, for
//! a moment, and shows no figures.

#![expect(clippy::indexing_slicing, reason = "of as many as there are")]

mod ghz;
mod questions;
mod rows;
mod server;
mod sidecar;
mod turn;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use caed_bench::report::machine;
use caed_bench::visitors::TOKENS;

/// How much is done.
struct Amount {
    /// Users who are revoked, and ranges where there are places.
    revoked: u64,
    ranges: u64,
    rounds: usize,
    /// How long each turn is.
    turn: Duration,
    /// Raw tokens that are known.
    known_tokens: u64,
    /// Raw tokens that are new, and for how long they last.
    new_tokens: u64,
    new_tokens_for: Duration,
    /// How long ghz asks.
    ghz: Duration,
}

impl Amount {
    const FULL: Self = Self {
        revoked: 10_000,
        ranges: 10_000,
        rounds: 5,
        turn: Duration::from_secs(1),
        known_tokens: TOKENS,
        new_tokens: 20_000,
        new_tokens_for: Duration::from_millis(400),
        ghz: Duration::from_secs(3),
    };

    const SMALL: Self = Self {
        revoked: 1000,
        ranges: 500,
        rounds: 1,
        turn: Duration::from_millis(20),
        known_tokens: 100,
        new_tokens: 2000,
        new_tokens_for: Duration::from_millis(20),
        ghz: Duration::ZERO,
    };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let is_test = given("--test") || !given("--bench");
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    let only = only.map_or("", String::as_str);
    match run(if is_test { &Amount::SMALL } else { &Amount::FULL }, only, is_test) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(io::stderr(), "load: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(amount: &Amount, only: &str, is_test: bool) -> Result<(), String> {
    let report = rows::measure(amount, only, is_test)?;
    if is_test {
        return Ok(());
    }
    let kept = report.append("load").map_err(|error| format!("bench/results: {error}"))?;
    let mut out = io::stdout().lock();
    write!(out, "\n{}\n{report}\nkept in {}\n", machine(), kept.display())
        .map_err(|error| error.to_string())
}
