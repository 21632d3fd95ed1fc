//! Core against the oracle: a million decisions over thousands of small worlds.
//!
//! Core gets each world's events in any order, with copies, in batches, and forgets in between
//! (E1, E16, E17); the oracle gets the plain list. They must agree in everything that the text
//! defines. The tally shows that every verdict, reason and scope was met often.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread;

use caed_core::builder::Builder;
use caed_core::decision::Notes;
use caed_tests::oracle::{self, Expected};
use caed_tests::plan::{self, FIVE_MINUTES, Played, Step};
use caed_tests::random::Random;
use caed_tests::world::{Event, Part, Request, What, World};
use caed_tests::{border, generate};

const STATES: u64 = 26_000;
const REQUESTS: usize = 100;
const THREADS: u64 = 2;
/// How often each verdict, reason and scope must occur, and how many rows must be forgotten.
const OFTEN: u64 = 1000;
const REGRESSIONS: &str = include_str!("regressions/oracle.txt");

/// Everything that must occur, as the tally writes it.
const MUST_OCCUR: [&str; 49] = [
    "whole version in parts",
    "version that lacks a part",
    "verdict Allow",
    "verdict Challenge",
    "verdict Deny",
    "primary Malformed",
    "primary IssueTimeMissing",
    "primary BeyondHorizon",
    "primary Expired",
    "primary NotYetValid",
    "primary UnknownIssuer",
    "primary TenantNotServed",
    "primary Revoked",
    "primary Account",
    "primary Risk",
    "primary Device",
    "primary NotReady",
    "primary Policy",
    "primary Location",
    "primary ConditionsChanged",
    "primary SignInFrequency",
    "primary Outdated",
    "primary Lifetime",
    "primary Stale",
    "row Anywhere",
    "row Strict",
    "row SameAddress",
    "row AddressUnknown",
    "row JustIssued",
    "row Otherwise",
    "note ip_variation",
    "note location_not_evaluated",
    "note sign_in_time_missing",
    "report Allow",
    "report Challenge",
    "report Deny",
    "asked for an address",
    "asked for a sign-in",
    "refused for a challenge",
    "scope Tenant",
    "scope User",
    "scope Session",
    "scope Token",
    "scope Client",
    "scope Device",
    "scope UserSession",
    "scope UserToken",
    "scope UserClient",
    "scope UserDevice",
];

/// What one seed stands for.
struct Case {
    seed: u64,
    world: World,
    steps: Vec<Step>,
    requests: Vec<Request>,
}

#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, u64>,
}

impl Case {
    fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let world = generate::world(&mut random);
        // A log's clock may run ahead of ours; ours may run ahead of the log's. E17 relies on the
        // earlier of the two, so one of them must be right.
        let log_ahead = random.chance(30);
        let latest = world.now + if log_ahead { FIVE_MINUTES } else { 0 };
        let records = generate::records(&world, latest, &mut random);
        let mut steps = plan::anyhow(&records, &mut random);
        for _ in 0..random.below(5) {
            let at = random.below(steps.len() + 1);
            let step = if random.chance(20) {
                Step::Skip(random.pick(&[world.now, world.now - 1, latest]), 1)
            } else {
                let ahead = if log_ahead { 0 } else { random.pick(&[0, 86_400_000]) };
                let clock = world.now + ahead - random.pick(&[0, 0, 1, 1000, 3_600_000]);
                Step::Forget { clock, parts: random.pick(&[1, 7, Builder::FORGET_ROUND]) }
            };
            steps.insert(at, step);
        }
        if random.chance(70) {
            steps.push(Step::Skip(latest, 2));
            steps.push(Step::Forget { clock: world.now, parts: Builder::FORGET_ROUND });
        }
        let events = plan::events(&steps);
        let requests =
            (0..REQUESTS).map(|_| generate::request(&world, &events, &mut random)).collect();
        Self { seed, world, steps, requests }
    }

    fn run(&self, tally: &mut Tally) {
        let events = plan::events(&self.steps);
        let Played { snapshot, forgotten } = plan::play(&self.world, &self.steps, self.seed);
        tally.add("forgotten rows", forgotten as u64);
        tally.count_parts(&events);
        for request in &self.requests {
            if forgotten > 0 && plan::revokes_unissued(&self.steps, request) {
                tally.add("left out", 1);
                continue;
            }
            let expected = oracle::expected(&self.world, &events, request);
            let decision = border::ask(&snapshot, request, border::at(&self.world));
            assert_eq!(decision.generation, snapshot.generation());
            let agree = border::answer(&decision) == expected;
            assert!(agree, "{}", self.mismatch(request));
            tally.count(&expected);
        }
    }

    /// Core's answer and the oracle's, after other steps than this case's.
    fn answers(&self, steps: &[Step], request: &Request) -> (Expected, Expected) {
        let snapshot = plan::play(&self.world, steps, self.seed).snapshot;
        let answer = border::answer(&border::ask(&snapshot, request, border::at(&self.world)));
        (answer, oracle::expected(&self.world, &plan::events(steps), request))
    }

    /// Tells the shortest story that still ends in different answers.
    fn mismatch(&self, request: &Request) -> String {
        let differs = |steps: &[Step]| {
            let (answer, expected) = self.answers(steps, request);
            answer != expected && !plan::revokes_unissued(steps, request)
        };
        let mut steps = self.steps.clone();
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.remove(at);
            if differs(&fewer) {
                steps = fewer;
                at = 0;
            } else {
                at += 1;
            }
        }
        let (answer, expected) = self.answers(&steps, request);
        let mut story = format!("seed {}\n{:#?}\nsteps:\n", self.seed, self.world);
        for step in steps {
            writeln!(story, "  {step:?}").expect("a string takes everything");
        }
        write!(story, "{request:#?}\nengine: {answer:#?}\noracle: {expected:#?}")
            .expect("a string takes everything");
        story
    }
}

impl Tally {
    fn add(&mut self, name: &str, number: u64) {
        *self.counts.entry(name.to_owned()).or_default() += number;
    }

    /// Versions in several parts, by whether every part has come.
    fn count_parts(&mut self, events: &[Event]) {
        let mut versions: BTreeMap<_, (u32, BTreeSet<u32>)> = BTreeMap::new();
        for event in events {
            if let What::Told(_, Part { version, index, count }) = event.what
                && count > 1
            {
                let at = event.occurred.min(event.received);
                let key = (event.tenant.to_ascii_lowercase(), version, at);
                versions.entry(key).or_insert((count, BTreeSet::new())).1.insert(index);
            }
        }
        for (count, came) in versions.values() {
            let is_whole = came.len() == *count as usize;
            let name =
                if is_whole { "whole version in parts" } else { "version that lacks a part" };
            self.add(name, 1);
        }
    }

    fn count(&mut self, expected: &Expected) {
        self.add(&format!("verdict {:?}", expected.verdict), 1);
        self.add(&format!("status {}", expected.http_status), 1);
        if let Some(primary) = expected.primary {
            self.add(&format!("primary {primary:?}"), 1);
        }
        self.add(&format!("findings {}", expected.findings.len()), 1);
        for row in expected.findings.iter().filter_map(|finding| finding.row) {
            self.add(&format!("row {row:?}"), 1);
        }
        let Notes { ip_variation, location_not_evaluated, sign_in_time_missing } = expected.notes;
        let asked = expected.challenge;
        for (holds, name) in [
            (ip_variation, "note ip_variation"),
            (location_not_evaluated, "note location_not_evaluated"),
            (sign_in_time_missing, "note sign_in_time_missing"),
            (asked.is_some_and(|asked| asked.address.is_some()), "asked for an address"),
            (asked.is_some_and(|asked| asked.max_age.is_some()), "asked for a sign-in"),
            (expected.http_status == 401 && asked.is_none(), "refused for a challenge"),
        ] {
            self.add(name, u64::from(holds));
        }
        if let Some((verdict, ..)) = &expected.report {
            self.add(&format!("report {verdict:?}"), 1);
        }
        for scope in expected.findings.iter().filter_map(|finding| finding.scope) {
            self.add(&format!("scope {scope:?}"), 1);
        }
    }
}

#[test]
fn regressions() {
    for line in REGRESSIONS.lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().expect("a seed").parse().expect("a number");
        Case::draw(seed).run(&mut Tally::default());
    }
}

#[test]
fn core_and_oracle_agree() {
    let share = |thread: u64| {
        let mut tally = Tally::default();
        for seed in (thread..STATES).step_by(usize::try_from(THREADS).expect("few")) {
            Case::draw(seed).run(&mut tally);
        }
        tally
    };
    let mut total = Tally::default();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || share(thread))).collect();
        for thread in threads {
            let tally = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (name, number) in tally.counts {
                total.add(&name, number);
            }
        }
    });
    for (name, number) in &total.counts {
        println!("{number:>9} {name}");
    }
    for name in MUST_OCCUR.into_iter().chain(["forgotten rows"]) {
        let number = total.counts.get(name).copied().unwrap_or_default();
        assert!(number >= OFTEN, "{name} occurred {number} times only");
    }
}
