//! caed beside what people use today: tonic with Redis, Open Policy Agent, `OpenFGA`, each in two ways: as documented, and
//! as an expert does it.
//!
//! All are told of the same revoked users and asked by the same tokens, over the interface that is their own, by the same
//! generator, which compares each answer. Each runs on the first core with all of its processes, and the generator
//! on the second; caed and a peer take turns, several rounds of each, and the medians are compared.
//!
//! `cargo bench --package caed-bench --bench peers` measures (`make bench-peers` builds what that needs). As a test
//! (`cargo test --bench peers`) everything runs once, small, and shows no figures. Both need the peers, which
//! `bench/peers/obtain.sh` gets.

#![expect(clippy::indexing_slicing, reason = "of two, the first and the second")]

mod caed;
mod client;
mod contestant;
mod opa;
mod openfga;
mod process;
mod tonic_redis;
mod turns;
mod way;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use caed_bench::report::{Report, Row, Target, machine};
use caed_bench::visitors::Visitors;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use caed::Caed;
use contestant::{Contestant, Question};
use opa::Opa;
use openfga::OpenFga;
use tonic_redis::TonicRedis;
use turns::{Answering, Loading, Match};
use way::Way;

/// How much is done.
#[derive(Clone, Copy)]
struct Amount {
    revoked: u64,
    /// Of `OpenFGA`, which takes each 100 of them to the disk.
    revoked_tuples: u64,
    ranges: u64,
    rounds: usize,
    /// Of each run.
    duration: Duration,
    /// Revocations that are told and waited for.
    updates: u64,
}

impl Amount {
    const FULL: Self = Self {
        revoked: 1_000_000,
        revoked_tuples: 20_000,
        ranges: 10_000,
        rounds: 3,
        duration: Duration::from_millis(1500),
        updates: 100,
    };

    const SMALL: Self = Self {
        revoked: 1000,
        revoked_tuples: 500,
        ranges: 100,
        rounds: 1,
        duration: Duration::from_millis(100),
        updates: 3,
    };
}

const AHEAD_BELOW: Target = Target::RatioAtMost(1.0);
const AHEAD_ABOVE: Target = Target::RatioAtLeast(1.0);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let is_test = given("--test") || !given("--bench");
    match run(if is_test { Amount::SMALL } else { Amount::FULL }, is_test) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(io::stderr(), "peers: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(amount: Amount, is_test: bool) -> Result<(), String> {
    let mut bench = Bench::new(amount, is_test)?;
    let measured = bench.measured();
    // What was found before something failed was found.
    bench.finished()?;
    measured
}

/// A peer, and where it keeps what it keeps.
struct Peer {
    name: String,
    visitors: Visitors,
    server: Box<dyn Contestant>,
    _folder: TempDir,
}

impl Peer {
    fn new(
        name: String,
        visitors: Visitors,
        server: impl Contestant + 'static,
        folder: TempDir,
    ) -> Self {
        Self { name, visitors, server: Box::new(server), _folder: folder }
    }
}

/// caed, loaded, and what was found so far.
struct Bench {
    runtime: Runtime,
    amount: Amount,
    is_test: bool,
    visitors: Visitors,
    caed: Caed,
    loading: Loading,
    newcomers: u64,
    report: Report,
    _folder: TempDir,
}

impl Bench {
    fn new(amount: Amount, is_test: bool) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let visitors = Visitors::new(amount.revoked, 0);
        let folder = folder()?;
        let mut caed = runtime.block_on(Caed::start(folder.path()))?;
        let loading = turns::loaded(&runtime, &mut caed, visitors, amount.duration)?;
        let (newcomers, report) = (0, Report::default());
        Ok(Self {
            runtime,
            amount,
            is_test,
            visitors,
            caed,
            loading,
            newcomers,
            report,
            _folder: folder,
        })
    }

    fn measured(&mut self) -> Result<(), String> {
        for way in [Way::Documented, Way::Expert] {
            let folder = folder()?;
            let server = self.runtime.block_on(TonicRedis::start(way, folder.path()))?;
            let mut peer = Peer::new(format!("redis.{way}"), self.visitors, server, folder);
            self.loaded(&mut peer)?;
            self.asked(&peer, "evaluate", Question::Own)?;
            self.asked(&peer, "check", Question::Envoy)?;
            self.enforced(&mut peer)?;
        }
        for way in [Way::Documented, Way::Expert] {
            let folder = folder()?;
            let server = self.runtime.block_on(OpenFga::start(way, folder.path()))?;
            let visitors = Visitors { revoked: self.amount.revoked_tuples, ..self.visitors };
            let mut peer = Peer::new(format!("openfga.{way}"), visitors, server, folder);
            self.loaded(&mut peer)?;
            self.asked(&peer, "evaluate", Question::Own)?;
            self.enforced(&mut peer)?;
        }
        let mut furnished = Vec::new();
        for way in [Way::Documented, Way::Expert] {
            let folder = folder()?;
            let server = self.runtime.block_on(Opa::start(way, folder.path()))?;
            let mut peer = Peer::new(format!("opa.{way}"), self.visitors, server, folder);
            self.loaded(&mut peer)?;
            self.asked(&peer, "evaluate", Question::Own)?;
            self.enforced(&mut peer)?;
            furnished.push(peer);
        }
        // From here on nobody passes who is outside of the office.
        self.visitors.ranges = self.amount.ranges;
        self.runtime.block_on(self.caed.furnish(&self.visitors))?;
        for peer in &mut furnished {
            peer.visitors = self.visitors;
            self.runtime.block_on(peer.server.furnish(&self.visitors))?;
            self.asked(peer, "ranges", Question::Ranges)?;
        }
        Ok(())
    }

    /// Loads a peer, as caed was.
    fn loaded(&mut self, peer: &mut Peer) -> Result<(), String> {
        self.tell(&peer.name, "loads the revoked users");
        let server = peer.server.as_mut();
        let found = turns::loaded(&self.runtime, server, peer.visitors, self.amount.duration)?;
        let Loading { took, bytes_each } = found;
        let took = [self.loading.took, took].map(|took| took.as_secs_f64());
        if peer.visitors.revoked == self.visitors.revoked {
            self.push(peer, "load.1m", "s", took, AHEAD_BELOW);
        }
        let rate = [self.visitors, peer.visitors].map(|visitors| turns::precise(visitors.revoked));
        let rate = [rate[0] / took[0], rate[1] / took[1]];
        self.push(peer, "load.rate", "users/s", rate, AHEAD_ABOVE);
        let bytes = [self.loading.bytes_each, bytes_each];
        self.push(peer, "memory.per_user", "bytes", bytes, AHEAD_BELOW);
        Ok(())
    }

    /// Asks caed and a peer in turn.
    fn asked(&mut self, peer: &Peer, row: &str, question: Question) -> Result<(), String> {
        self.tell(&peer.name, "is asked, in turn with caed");
        let Amount { rounds, duration, .. } = self.amount;
        let caed: &dyn Contestant = &self.caed;
        let both = [(caed, self.visitors), (peer.server.as_ref(), peer.visitors)];
        let found = turns::asked(both, question, rounds, duration)?;
        let Match { caed, peer: theirs, pace } = found;
        let mut push = |name: &str, unit, figure: fn(&Answering) -> f64, target| {
            self.push(peer, &format!("{row}.{name}"), unit, [&caed, &theirs].map(figure), target);
        };
        push("throughput", "answers/s", |found| found.per_second, AHEAD_ABOVE);
        push("cpu", "µs", |found| found.cpu_us, AHEAD_BELOW);
        push("one.p50", "µs", |found| found.one_p50_us, AHEAD_BELOW);
        push("one.p99", "µs", |found| found.one_p99_us, AHEAD_BELOW);
        push("open.p50", "µs", |found| found.open_p50_us, AHEAD_BELOW);
        push("open.p99", "µs", |found| found.open_p99_us, AHEAD_BELOW);
        let bench = format!("peer.{}.{row}.open.pace", peer.name);
        self.report.push(Row::new(bench, pace, "answers/s"));
        Ok(())
    }

    /// Tells caed and a peer of revocations, one at a time.
    fn enforced(&mut self, peer: &mut Peer) -> Result<(), String> {
        self.tell(&peer.name, "is told of revocations, one at a time, as caed is");
        let newcomers = self.newcomers..self.newcomers + self.amount.updates;
        self.newcomers = newcomers.end;
        let (runtime, visitors) = (&self.runtime, self.visitors);
        let caed = turns::enforced(runtime, &mut self.caed, visitors, newcomers.clone())?;
        let theirs = turns::enforced(runtime, peer.server.as_mut(), visitors, newcomers)?;
        self.push(peer, "enforced.p50", "ms", [caed.0, theirs.0], AHEAD_BELOW);
        self.push(peer, "enforced.p99", "ms", [caed.1, theirs.1], AHEAD_BELOW);
        Ok(())
    }

    fn push(&mut self, peer: &Peer, row: &str, unit: &'static str, of: [f64; 2], wanted: Target) {
        let [caed, theirs] = of;
        let row = Row::new(format!("peer.{}.{row}", peer.name), caed, unit);
        self.report.push(row.beside(&peer.name, theirs).wanted(wanted));
    }

    fn tell(&self, peer: &str, what: &str) {
        if !self.is_test {
            let _ = writeln!(io::stdout(), "{peer} {what}");
        }
    }

    fn finished(self) -> Result<(), String> {
        if self.is_test {
            return Ok(());
        }
        let report = self.report;
        let kept = report.append("peers").map_err(|error| format!("bench/results: {error}"))?;
        let mut out = io::stdout().lock();
        write!(out, "\n{}\n{report}\nkept in {}\n", machine(), kept.display())
            .map_err(|error| error.to_string())
    }
}

fn folder() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|error| error.to_string())
}
