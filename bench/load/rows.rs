//! The rows, in their order.

use std::fmt::Display;
use std::io::{self, Write};

use caed_bench::generator::{Address, Calls, Measured, Pace};
use caed_bench::report::{Report, Row, Target};
use caed_bench::visitors::Visitors;
use tempfile::TempDir;

use crate::Amount;
use crate::ghz::Ghz;
use crate::questions::{self, BATCH, Method};
use crate::server::{Floor, Service};
use crate::sidecar::{Sidecar, Site};
use crate::turn::{Contender, Turns, medians};

/// What is wanted beside the tuned floor, and so beside the stock one.
const TUNED: Target = Target::RatioAtLeast(0.95);
const STOCK: Target = Target::RatioAtLeast(1.4);

/// What the generator itself may cost: far less than any server.
const GENERATOR: Target = Target::AtMost(2.0);

/// How many ask at once.
const CALLERS: [usize; 3] = [1, 10, 50];

/// As many where one figure says enough.
const MANY: usize = 50;

/// Messages that are under way in a stream.
const PIPELINED: usize = 200;

/// Batches that are under way.
const BATCHES: usize = 4;

/// Everybody who is loaded, and what is found out.
struct Rows<'a> {
    amount: &'a Amount,
    /// What the names of all rows begin with that are measured; all do with nothing.
    only: &'a str,
    is_test: bool,
    turns: Turns,
    visitors: Visitors,
    caed: Sidecar,
    /// The sidecar's, which is there as long as it.
    _site: Site,
    floors: Floors,
    report: Report,
}

/// The floors, on either socket.
struct Floors {
    tcp: [Floor; 3],
    unix: [Floor; 3],
    http: Floor,
    _folder: TempDir,
}

/// Where is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    Tcp,
    Unix,
}

/// The floors of gRPC, as they stand in [`Floors`].
const FLOORS: [Service; 3] = [Service::Tuned, Service::Stock, Service::Bare];

pub(crate) fn measure(amount: &Amount, only: &str, is_test: bool) -> Result<Report, String> {
    let visitors = Visitors::new(amount.revoked, 0);
    let site = Site::new()?;
    let caed = site.start()?;
    site.publish(&caed, visitors)?;
    let turns = Turns { rounds: amount.rounds, duration: amount.turn };
    let floors = Floors::start()?;
    let report = Report::default();
    let mut rows =
        Rows { amount, only, is_test, turns, visitors, caed, _site: site, floors, report };
    for method in Method::ALL {
        for socket in Socket::ALL {
            rows.closed(method, socket)?;
            rows.open(method, socket)?;
        }
    }
    rows.located()?;
    rows.batch()?;
    rows.stream()?;
    rows.forward_auth()?;
    rows.new_tokens()?;
    if !is_test {
        rows.ghz()?;
    }
    Ok(rows.report)
}

impl Socket {
    const ALL: [Self; 2] = [Self::Tcp, Self::Unix];

    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "uds",
        }
    }
}

impl Floors {
    fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = |name: &str| folder.path().join(name);
        let [tuned, stock, bare] = FLOORS;
        Ok(Self {
            tcp: [tuned.start(None)?, stock.start(None)?, bare.start(None)?],
            unix: [
                tuned.start(Some(&path("tuned")))?,
                stock.start(Some(&path("stock")))?,
                bare.start(Some(&path("bare")))?,
            ],
            http: Service::Http.start(None)?,
            _folder: folder,
        })
    }
}

impl Rows<'_> {
    /// Whether this row, or one below it, is to be measured; if so, it is said.
    fn begins(&self, name: &str, sentence: &dyn Display) -> bool {
        let begins = name.starts_with(self.only) || self.only.starts_with(name);
        if begins && !self.is_test {
            let _ = writeln!(io::stdout(), "{name}: {sentence}");
        }
        begins
    }

    fn row(&mut self, row: Row) {
        self.report.push(row);
    }

    fn caed<'c>(&'c self, address: &'c Address, calls: &'c Calls) -> Contender<'c> {
        Contender { name: "caed", address, process: self.caed.id(), calls }
    }

    fn grpc(&self, socket: Socket) -> (&Address, &[Floor; 3]) {
        match socket {
            Socket::Tcp => (&self.caed.tcp, &self.floors.tcp),
            Socket::Unix => (&self.caed.unix, &self.floors.unix),
        }
    }

    /// So many callers, who ask again when they are answered.
    fn closed(&mut self, method: Method, socket: Socket) -> Result<(), String> {
        let calls = method.calls(self.visitors);
        let passed = questions::passed(&calls);
        for callers in CALLERS {
            let name = format!("{}.{}.c{callers}", method.name(), socket.name());
            if !self.begins(&name, &format_args!("{callers} at once")) {
                continue;
            }
            let (address, floors) = self.grpc(socket);
            let [tuned, stock, bare] =
                [0, 1, 2].map(|place| beside(FLOORS[place], &floors[place], &passed));
            let contenders = [self.caed(address, &calls), tuned, stock, bare];
            let [caed, tuned, stock, bare] =
                self.turns.measure(contenders, 1, Pace::Closed { callers })?;
            let rate = |name: &str, service: Service, floor: Measured| {
                let row = Row::new(name, caed.per_second, "requests/s");
                row.beside(service.name(), floor.per_second)
            };
            let more = |more: &str| format!("{name}.{more}");
            self.row(rate(&name, Service::Tuned, tuned).wanted(TUNED));
            self.row(rate(&more("stock"), Service::Stock, stock).wanted(STOCK));
            self.row(rate(&more("h2"), Service::Bare, bare));
            self.costs(&name, caed, Service::Tuned, tuned);
            if callers == MANY {
                let own = Row::new(more("generator"), caed.own_cpu_us, "µs");
                self.row(own.wanted(GENERATOR));
            }
        }
        Ok(())
    }

    /// Processor time and latency, beside a floor.
    fn costs(&mut self, name: &str, caed: Measured, service: Service, floor: Measured) {
        let latencies = [
            ("cpu", caed.cpu_us, floor.cpu_us),
            ("p50", caed.p50_us, floor.p50_us),
            ("p99", caed.p99_us, floor.p99_us),
        ];
        for (what, caed, floor) in latencies {
            let row = Row::new(format!("{name}.{what}"), caed, "µs");
            self.row(row.beside(service.name(), floor));
        }
    }

    /// Requests that come when they are due, half as many as the floor can answer.
    fn open(&mut self, method: Method, socket: Socket) -> Result<(), String> {
        let name = format!("{}.{}.open", method.name(), socket.name());
        if !self.begins(&name, &"half of what the floor can answer, when they are due") {
            return Ok(());
        }
        let calls = method.calls(self.visitors);
        let passed = questions::passed(&calls);
        let (address, floors) = self.grpc(socket);
        let floor = beside(Service::Tuned, &floors[0], &passed);
        let most = floor.measure(1, Pace::Closed { callers: MANY }, self.turns.duration)?;
        let per_second = most.per_second / 2.0;
        let contenders = [self.caed(address, &calls), floor];
        let [caed, floor] = self.turns.measure(contenders, 1, Pace::Open { per_second })?;
        self.row(Row::new(format!("{name}.rate"), per_second, "requests/s"));
        self.costs(&name, caed, Service::Tuned, floor);
        let p999 = Row::new(format!("{name}.p999"), caed.p999_us, "µs");
        self.row(p999.beside(Service::Tuned.name(), floor.p999_us));
        Ok(())
    }

    /// Beside the same without places.
    fn located(&mut self) -> Result<(), String> {
        let name = "grpc.check.located";
        let Amount { revoked, ranges, .. } = *self.amount;
        if !self.begins(name, &format_args!("a policy for places outside of {ranges} ranges")) {
            return Ok(());
        }
        let visitors = Visitors::new(revoked, ranges);
        let site = Site::new()?;
        let sidecar = site.start()?;
        site.publish(&sidecar, visitors)?;
        let (plain, located) = (Method::Check.calls(self.visitors), Method::Check.calls(visitors));
        let process = sidecar.id();
        let beside = "without places";
        let located = Contender { name: "caed", address: &sidecar.tcp, process, calls: &located };
        let contenders = [located, self.caed(&self.caed.tcp, &plain)];
        let [located, plain] = self.turns.measure(contenders, 1, Pace::Closed { callers: MANY })?;
        let rate = Row::new(name, located.per_second, "requests/s");
        self.row(rate.beside(beside, plain.per_second));
        self.row(
            Row::new(format!("{name}.cpu"), located.cpu_us, "µs").beside(beside, plain.cpu_us),
        );
        Ok(())
    }

    /// A hundred questions at a time.
    fn batch(&mut self) -> Result<(), String> {
        let name = "grpc.batch100";
        if !self.begins(name, &format_args!("{BATCH} questions at a time")) {
            return Ok(());
        }
        let calls = questions::batch(self.visitors);
        let passed = questions::passed(&calls);
        let floor = beside(Service::Tuned, &self.floors.tcp[0], &passed);
        let contenders = [self.caed(&self.caed.tcp, &calls), floor];
        let [caed, floor] = self.turns.measure(contenders, 1, Pace::Closed { callers: BATCHES })?;
        let each = |cpu_us: f64| cpu_us / f64::from(u32::try_from(BATCH).unwrap_or(1));
        let cpu = Row::new(format!("{name}.cpu"), each(caed.cpu_us), "µs/decision");
        let cpu = cpu.beside(Service::Tuned.name(), each(floor.cpu_us));
        self.row(cpu.wanted(Target::AtMost(1.0)));
        Ok(())
    }

    /// One stream, in which many messages are under way.
    fn stream(&mut self) -> Result<(), String> {
        let name = "grpc.stream";
        if !self.begins(name, &format_args!("{PIPELINED} messages under way in one stream")) {
            return Ok(());
        }
        let calls = questions::stream(self.visitors);
        let passed = questions::passed(&calls);
        let unary = Method::Evaluate.calls(self.visitors);
        let address = &self.caed.tcp;
        let floor = beside(Service::Tuned, &self.floors.tcp[0], &passed);
        let streams = [self.caed(address, &calls), floor];
        let [caed, floor] = self.turns.measure(streams, 1, Pace::Closed { callers: PIPELINED })?;
        let [unary] =
            self.turns.measure([self.caed(address, &unary)], 1, Pace::Closed { callers: MANY })?;
        let rate = Row::new(name, caed.per_second, "requests/s").beside("unary", unary.per_second);
        self.row(rate.wanted(Target::RatioAtLeast(5.0)));
        let rate = Row::new(format!("{name}.floor"), caed.per_second, "requests/s");
        self.row(rate.beside(Service::Tuned.name(), floor.per_second));
        self.costs(name, caed, Service::Tuned, floor);
        Ok(())
    }

    /// nginx asks about raw tokens that are known, on as many connections as there are callers.
    fn forward_auth(&mut self) -> Result<(), String> {
        let name = format!("forward_auth.c{MANY}");
        if !self.begins(&name, &format_args!("{MANY} connections of HTTP/1.1, raw tokens")) {
            return Ok(());
        }
        let tokens = questions::tokens(self.visitors, self.amount.known_tokens);
        let calls = questions::forward_auth(self.visitors, &tokens);
        let passed = questions::passed(&calls);
        let floor = beside(Service::Http, &self.floors.http, &passed);
        let contenders = [self.caed(&self.caed.http, &calls), floor];
        let pace = Pace::Closed { callers: MANY };
        // Once, that all tokens are known.
        contenders[0].measure(MANY, pace, self.turns.duration)?;
        let [caed, floor] = self.turns.measure(contenders, MANY, pace)?;
        let rate = Row::new(&name, caed.per_second, "requests/s");
        let rate = rate.beside(Service::Http.name(), floor.per_second);
        self.row(rate.wanted(Target::RatioAtLeast(0.9)));
        self.costs(&name, caed, Service::Http, floor);
        Ok(())
    }

    /// Raw tokens, known and new. A token is new once: each round has a process that has seen none.
    fn new_tokens(&mut self) -> Result<(), String> {
        let name = "grpc.check.jwt";
        let Amount { known_tokens, new_tokens, new_tokens_for, rounds, .. } = *self.amount;
        if !self.begins(name, &"raw tokens, known and new") {
            return Ok(());
        }
        let tokens = questions::tokens(self.visitors, new_tokens);
        let calls = questions::check_bearing(self.visitors, &tokens);
        let known = calls.calls.iter().zip(0..known_tokens).map(|(call, _)| call.clone());
        let known = Calls { calls: known.collect(), ..calls.clone() };
        let pace = Pace::Closed { callers: MANY };
        let (mut new_figures, mut known_figures) = (Vec::new(), Vec::new());
        let site = Site::new()?;
        for round in 0..rounds {
            let sidecar = site.start()?;
            if round == 0 {
                site.publish(&sidecar, self.visitors)?;
            }
            let process = sidecar.id();
            let with = |calls| Contender { name: "caed", address: &sidecar.tcp, process, calls };
            new_figures.push(with(&calls).measure(1, pace, new_tokens_for)?);
            with(&known).measure(1, pace, new_tokens_for)?;
            known_figures.push(with(&known).measure(1, pace, self.turns.duration)?);
        }
        if new_figures.iter().any(|figures| figures.answers * 11 / 10 > new_tokens) {
            return Err(format!("{name}: {new_tokens} tokens were too few, some came twice"));
        }
        let (new, known) = (medians(&new_figures), medians(&known_figures));
        for (what, figures) in [("cached", known), ("uncached", new)] {
            let name = format!("{name}.{what}");
            self.row(Row::new(&name, figures.per_second, "requests/s"));
            self.row(Row::new(format!("{name}.cpu"), figures.cpu_us, "µs"));
            self.row(Row::new(format!("{name}.p50"), figures.p50_us, "µs"));
            self.row(Row::new(format!("{name}.p99"), figures.p99_us, "µs"));
        }
        // What a new token costs beyond a known one; the ratio is its share.
        let share = Row::new(format!("{name}.verification"), new.cpu_us - known.cpu_us, "µs");
        self.row(share.beside("all of it", new.cpu_us));
        Ok(())
    }

    /// The tool that is known.
    fn ghz(&mut self) -> Result<(), String> {
        let name = "ghz.evaluate";
        let duration = self.amount.ghz;
        if !self.begins(name, &"the tool that is known, which is itself the limit") {
            return Ok(());
        }
        let ghz = Ghz::new(self.visitors)?;
        for callers in CALLERS {
            let name = format!("{name}.c{callers}");
            let floor = ghz.ask(&self.floors.tcp[0].address, callers, duration)?;
            let caed = ghz.ask_caed(&self.caed, callers, duration)?;
            let beside = Service::Tuned.name();
            let rate = Row::new(&name, caed.per_second, "requests/s");
            self.row(rate.beside(beside, floor.per_second));
            for (what, caed, floor) in
                [("p50", caed.p50_us, floor.p50_us), ("p99", caed.p99_us, floor.p99_us)]
            {
                self.row(Row::new(format!("{name}.{what}"), caed, "µs").beside(beside, floor));
            }
        }
        Ok(())
    }
}

/// A floor, which lets everybody pass.
fn beside<'c>(service: Service, floor: &'c Floor, passed: &'c Calls) -> Contender<'c> {
    Contender { name: service.name(), address: &floor.address, process: floor.id(), calls: passed }
}
