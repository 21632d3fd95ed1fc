//! The applier under every kind of log, in virtual time.
//!
//! The source is the simulation: each time the applier has to wait for more, what it did before is checked,
//! and then something else happens; at times the next thing is there before the applier asks. Records are appended, copied, spoiled, and followed by markers
//! that carry nothing; partitions appear, are made anew, or lose their end and are read again; where
//! the log ended is asked and told late, or before what it rests on. One thread, no real clock: a
//! seed is a story.
//!
//! What must hold:
//!
//! - The state is that of the set of events that were handed over, whatever their order (E1): every
//!   decision is the oracle's.
//! - Within one incarnation the frontier never retreats (L5).
//! - The age never claims more than is there (F1): everything that was appended before the instant
//!   that it goes back to, and that no log has lost, is in the published snapshot.
//! - Nothing is decided before the log has been read to the end that it had at the start (F3).

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caed_core::builder::Builder;
use caed_core::ingest::Ingest;
use caed_core::position::{Frontier, Incarnation, Offset, Partition, Position, Topic, Topics};
use caed_core::publish::{self, SnapshotReader};
use caed_core::sink::BoxFuture;
use caed_core::time::{Clock, UnixMillis};
use caed_decode::native;
use caed_streams::applier::Applier;
use caed_streams::source::{
    Batch, LogEnd, PartitionEnd, Records, Source, SourceEvent, SourceRecord,
};
use caed_tests::random::Random;
use caed_tests::world::{Event, Millis, Record, World};
use caed_tests::{border, generate, oracle, plan, wire};
use prost::Message;
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

const SEEDS: u64 = 2000;
const THREADS: u64 = 2;
/// Things that happen in one story.
const LENGTH: usize = 150;
/// Requests that are decided at each look.
const REQUESTS: usize = 20;
/// How often each of the things that a story is about must have been met over all seeds.
const OFTEN: u64 = 1000;
/// Wire times below this are read as seconds, which is not what this is about.
const MILLIS_FROM: Millis = 100_000_000_000;

/// A clock that stands still until the simulation moves it.
#[derive(Default)]
struct VirtualClock(AtomicU64);

impl VirtualClock {
    fn pass(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// What happened how often.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    decisions: u64,
    confirmed: u64,
    quarantined: u64,
    forgotten: u64,
    made_anew: u64,
    cut: u64,
    grown: u64,
    copies: u64,
    holes: u64,
    told_late: u64,
    /// Further parts of what is told in parts.
    parts: u64,
}

/// One place of a partition.
#[derive(Clone, Debug)]
struct Stored {
    /// When it was appended.
    at: u64,
    what: Content,
    /// Whether it was handed over, in this log or in one that it is a copy of.
    handed_over: bool,
}

#[derive(Clone, Debug)]
enum Content {
    Event(Record),
    /// What nobody understands.
    Poison,
    /// What carries no record: a marker of a transaction, a record that compaction took.
    Hole,
}

/// A partition as it is, and how far the source has read it.
#[derive(Clone, Debug)]
struct Log {
    incarnation: Incarnation,
    stored: Vec<Stored>,
    /// The first offset that is left.
    low: usize,
    /// What the applier was told.
    told: Option<Incarnation>,
    read: usize,
    /// Up to where it is read before the source has caught up.
    opened: usize,
}

/// Whether the applier has to wait for the next thing: only then must it have published.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The next thing is there already.
    Hurries,
    /// It will have to wait.
    Rests,
    /// It has waited since it was told something.
    Rested,
}

struct Simulation {
    random: Random,
    world: World,
    clock: Arc<VirtualClock>,
    reader: SnapshotReader,
    applied: watch::Receiver<Frontier>,
    ingest: Arc<Ingest>,
    over: mpsc::UnboundedSender<Tally>,
    logs: BTreeMap<Partition, Log>,
    /// What was handed over, each as often as it was.
    events: Vec<Record>,
    poison: u64,
    /// Ends that were asked and are not told yet.
    asked: Vec<LogEnd>,
    caught_up: bool,
    frontier: Frontier,
    as_of: Option<u64>,
    /// Nothing of the last large batch could be understood.
    systemic: bool,
    left: usize,
    /// Until when nothing happens.
    sleeps: Option<Instant>,
    pace: Pace,
    tally: Tally,
}

const PARTITIONS: [Partition; 5] = [
    Partition { topic: Topic(0), number: 0 },
    Partition { topic: Topic(0), number: 1 },
    Partition { topic: Topic(1), number: 0 },
    Partition { topic: Topic(0), number: 2 },
    Partition { topic: Topic(1), number: 1 },
];

impl Simulation {
    fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// The world as it is now.
    fn world(&self) -> World {
        World { now: Millis::from(self.now()), caught_up: self.caught_up, ..self.world.clone() }
    }

    fn incarnation(&mut self) -> Incarnation {
        let number = (u128::from(self.random.bits()) << 64) | u128::from(self.random.bits());
        Incarnation(number.to_be_bytes())
    }

    fn draw_partition(&mut self) -> Partition {
        let known: Vec<Partition> = self.logs.keys().copied().collect();
        self.random.pick(&known)
    }

    fn draw_log(&mut self) -> (Partition, &mut Log) {
        let partition = self.draw_partition();
        (partition, self.logs.get_mut(&partition).expect("drawn from those that are"))
    }

    fn add(&mut self, partition: Partition) {
        let incarnation = self.incarnation();
        // Some partitions never tell who they are.
        let tells = self.random.chance(80);
        let incarnation = if tells { incarnation } else { Incarnation::NAMELESS };
        let stored = Vec::new();
        let log = Log { incarnation, stored, low: 0, told: None, read: 0, opened: 0 };
        self.logs.insert(partition, log);
    }

    fn append(&mut self) {
        let world = self.world();
        for _ in 0..self.random.within(1, 8) {
            let what = match self.random.below(20) {
                0 => Content::Poison,
                1 | 2 => Content::Hole,
                3 if !self.events.is_empty() => {
                    self.tally.copies += 1;
                    let at = self.random.below(self.events.len());
                    self.events.get(at).map_or(Content::Hole, |record| Content::Event(*record))
                }
                _ => Content::Event(self.record(&world)),
            };
            self.tally.holes += u64::from(matches!(what, Content::Hole));
            let rest = match &what {
                Content::Event(record) => generate::rest(&world, record, &mut self.random),
                Content::Poison | Content::Hole => Vec::new(),
            };
            self.tally.parts += rest.len() as u64;
            let at = self.now();
            for what in [what].into_iter().chain(rest.into_iter().map(Content::Event)) {
                let stored = Stored { at, what, handed_over: false };
                self.draw_log().1.stored.push(stored);
            }
        }
        if self.random.chance(3) {
            let poison = Stored { at: self.now(), what: Content::Poison, handed_over: false };
            self.draw_log().1.stored.extend(std::iter::repeat_n(poison, 40));
        }
    }

    /// A record whose times are written as milliseconds.
    fn record(&mut self, world: &World) -> Record {
        loop {
            let record = generate::record(world, world.now, &mut self.random);
            let Event { occurred, received, .. } = record.event;
            if occurred >= MILLIS_FROM && received >= MILLIS_FROM {
                return record;
            }
        }
    }

    /// The next word of a source that behaves as one must.
    fn happen(&mut self) -> Option<SourceEvent> {
        match self.random.below(100) {
            0..25 => self.append(),
            25..60 => return Some(self.deliver()),
            60..75 => self.ask(),
            75..87 => return self.tell(),
            87..93 => self.sleep(),
            93..95 => self.make_anew(),
            95 => self.cut(),
            96 => self.grow(),
            _ => self.clock.pass(self.random.bits() % 100),
        }
        None
    }

    /// Reads on in one partition.
    fn deliver(&mut self) -> SourceEvent {
        let most = self.random.pick(&[1, 3, 20, 100]);
        let partition = self.draw_partition();
        let log = self.logs.get_mut(&partition).expect("drawn from those that are");
        if log.told != Some(log.incarnation) && log.incarnation != Incarnation::NAMELESS {
            log.told = Some(log.incarnation);
            return SourceEvent::Begin { partition, incarnation: log.incarnation };
        }
        let from = log.read.max(log.low);
        let end = log.stored.len().min(from + most);
        let (mut records, mut good) = (Vec::new(), 0);
        for (offset, stored) in log.stored.iter_mut().enumerate().take(end).skip(from) {
            stored.handed_over = true;
            let (payload, appended) = match &stored.what {
                Content::Event(record) => {
                    self.events.push(*record);
                    good += 1;
                    (bytes(&record.event), border::millis(record.appended))
                }
                Content::Poison => {
                    self.poison += 1;
                    (b"poison".to_vec(), UnixMillis::ZERO)
                }
                Content::Hole => continue,
            };
            let position = Position { partition, offset: Offset(offset as u64) };
            records.push((position, appended, payload));
        }
        log.read = end.max(log.read);
        if good > 0 {
            self.systemic = false;
        } else if records.len() >= 16 {
            self.systemic = true;
        }
        let records: Records = records
            .iter()
            .map(|&(position, appended, ref payload)| SourceRecord { position, appended, payload })
            .collect();
        SourceEvent::Batch(Batch {
            is_whole: true,
            partition,
            records,
            next: Offset(log.read as u64),
        })
    }

    /// Asks where the log ends: an honest answer, which may be told much later.
    fn ask(&mut self) {
        // What is appended afterwards is appended later by the clock, too.
        self.clock.pass(1);
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        self.clock.pass(1);
        let end = |(partition, log): (&Partition, &Log)| PartitionEnd {
            partition: *partition,
            incarnation: (log.incarnation != Incarnation::NAMELESS).then_some(log.incarnation),
            end: Offset(log.stored.len() as u64),
        };
        let ends = self.logs.iter().map(end).collect();
        self.asked.push(LogEnd { wall, monotonic, ends });
    }

    fn tell(&mut self) -> Option<SourceEvent> {
        if self.asked.is_empty() {
            return None;
        }
        if self.random.chance(30) {
            // Nobody took the older ones.
            self.asked.drain(..self.asked.len() - 1);
        }
        let end = self.asked.remove(0);
        self.tally.told_late += u64::from(self.now() > end.wall.as_millis() + 1000);
        Some(SourceEvent::End(end))
    }

    fn sleep(&mut self) {
        let millis = self.random.pick(&[10, 500, 1000, 5000, 600_000]);
        self.clock.pass(millis);
        self.sleeps = Some(Instant::now() + Duration::from_millis(millis));
    }

    /// A topic was deleted and made again under its name. It is noticed at the next reading; what was
    /// asked before then may be told before.
    fn make_anew(&mut self) {
        let incarnation = self.incarnation();
        let (_, log) = self.draw_log();
        if log.incarnation != Incarnation::NAMELESS {
            let stored = Vec::new();
            *log = Log { incarnation, stored, low: 0, told: log.told, read: 0, opened: 0 };
            self.tally.made_anew += 1;
        }
    }

    /// A log lost its end, or its beginning. It is read again from what is left, which goes by
    /// another incarnation from then on.
    fn cut(&mut self) {
        let incarnation = self.incarnation();
        let cut = self.random.within(0, 5);
        let low = self.random.pick(&[0, 0, 3, 10]);
        let (_, log) = self.draw_log();
        if log.incarnation != Incarnation::NAMELESS {
            let left = log.stored.len().saturating_sub(usize::try_from(cut).expect("small"));
            log.stored.truncate(left);
            log.low = log.low.max(low).min(left);
            log.opened = log.opened.min(left);
            (log.incarnation, log.read) = (incarnation, 0);
            self.tally.cut += 1;
        }
    }

    fn grow(&mut self) {
        let new = PARTITIONS.into_iter().find(|partition| !self.logs.contains_key(partition));
        if let Some(partition) = new {
            self.add(partition);
            self.tally.grown += 1;
        }
    }

    /// Whether everything has been read that was there at the start.
    fn catches_up(&mut self) -> bool {
        let before = self.caught_up;
        self.caught_up |= self.logs.values().all(|log| log.read >= log.opened);
        self.caught_up && !before
    }

    /// Looks at what the applier has made of it so far.
    fn look(&mut self) {
        let snapshot = self.reader.load();
        assert_eq!(snapshot.is_caught_up(), self.caught_up);
        assert_eq!(*self.applied.borrow(), *snapshot.frontier(), "what is announced is published");
        for before in self.frontier.iter() {
            let now = snapshot.frontier().reached(before.partition).expect("never forgotten");
            let same = now.incarnation == before.incarnation;
            assert!(!same || now.next >= before.next, "the frontier retreated: {before:?} {now:?}");
        }
        self.frontier = snapshot.frontier().clone();
        assert_eq!(self.ingest.quarantined.value(), self.poison);
        self.look_at_age();
        if self.left == 0 || self.random.chance(2) {
            self.decide();
        }
    }

    fn look_at_age(&mut self) {
        let Some(age) = self.reader.age(&*self.clock) else { return };
        assert!(self.caught_up, "current before the log was read");
        let age = u64::try_from(age.as_millis()).expect("short");
        let as_of = self.now() - age;
        for (partition, log) in &self.logs {
            for stored in log.stored.iter().skip(log.low).filter(|stored| stored.at < as_of) {
                assert!(
                    stored.handed_over,
                    "{partition:?} {stored:?} is missing, and known as of {as_of}"
                );
            }
        }
        if self.as_of.is_some_and(|before| before < as_of) {
            assert!(!self.systemic, "current although nothing can be understood");
            self.tally.confirmed += 1;
        }
        self.as_of = Some(as_of);
    }

    fn decide(&mut self) {
        let world = self.world();
        let steps = plan::plainly(&self.events);
        let events = plan::events(&steps);
        let forgets = self.ingest.forgotten.value() > 0;
        let snapshot = self.reader.load();
        for _ in 0..REQUESTS {
            let request = generate::request(&world, &events, &mut self.random);
            if forgets && plan::revokes_unissued(&steps, &request) {
                continue;
            }
            let decision = border::ask(&snapshot, &request, border::at(&world));
            let expected = oracle::expected(&world, &events, &request);
            assert_eq!(border::answer(&decision), expected, "{request:#?}");
            self.tally.decisions += 1;
        }
    }

    async fn next_event(&mut self) -> SourceEvent {
        loop {
            if let Some(until) = self.sleeps {
                // The applier may stop waiting to do something else, and then comes back.
                tokio::time::sleep_until(until).await;
                self.sleeps = None;
            }
            if self.left == 0 || self.pace != Pace::Hurries {
                if std::mem::replace(&mut self.pace, Pace::Rested) != Pace::Rested {
                    tokio::task::yield_now().await;
                }
                self.look();
            }
            if self.left == 0 {
                self.tally.quarantined = self.poison;
                self.tally.forgotten = self.ingest.forgotten.value();
                // The test may have failed elsewhere.
                let _ = self.over.send(self.tally);
                std::future::pending::<()>().await;
            }
            self.left -= 1;
            if self.catches_up() {
                return SourceEvent::CaughtUp;
            }
            if let Some(event) = self.happen() {
                self.pace = if self.random.chance(2) { Pace::Hurries } else { Pace::Rests };
                return event;
            }
        }
    }
}

/// What a partition goes by that never tells who it is.
trait Nameless {
    const NAMELESS: Self;
}

impl Nameless for Incarnation {
    const NAMELESS: Self = Self([0; 16]);
}

impl Source for Simulation {
    fn next(&mut self) -> BoxFuture<'_, SourceEvent> {
        Box::pin(self.next_event())
    }

    fn topics(&self) -> Topics {
        Topics::new(["events".to_owned(), "policies".to_owned()])
    }
}

fn play(seed: u64) -> Tally {
    let mut random = Random::new(seed);
    let world = World {
        caught_up: false,
        has_heartbeats: false,
        countries: None,
        log_age: 0,
        ..generate::world(&mut random)
    };
    let begun = u64::try_from(world.now).expect("after 1970");
    let clock = Arc::new(VirtualClock(AtomicU64::new(begun)));
    let mut builder = Builder::new(Arc::new(border::rules(&world)), random.bits());
    let (publisher, reader) = publish::cell(builder.freeze());
    let (announce, applied) = watch::channel(Frontier::default());
    let ingest = Arc::new(Ingest::default());
    let (over, mut ended) = mpsc::unbounded_channel();
    let mut simulation = Simulation {
        random,
        world,
        clock: Arc::clone(&clock),
        reader,
        applied,
        ingest: Arc::clone(&ingest),
        over,
        logs: BTreeMap::new(),
        events: Vec::new(),
        poison: 0,
        asked: Vec::new(),
        caught_up: false,
        frontier: Frontier::default(),
        as_of: None,
        systemic: false,
        left: LENGTH,
        sleeps: None,
        pace: Pace::Rests,
        tally: Tally::default(),
    };
    for partition in PARTITIONS.into_iter().take(3) {
        simulation.add(partition);
    }
    for _ in 0..simulation.random.below(10) {
        simulation.append();
    }
    for log in simulation.logs.values_mut() {
        log.opened = log.stored.len();
    }
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let applier = Applier::new(simulation, builder, publisher, announce, ingest, clock);
    runtime.expect("a runtime").block_on(async {
        let mut tally = Tally::default();
        let end = async {
            tally = ended.recv().await.expect("a tally");
        };
        applier.run(end).await.expect("the simulation is never lost");
        tally
    })
}

#[test]
fn the_applier_tells_the_truth_whatever_the_log_does() {
    let per_thread = SEEDS / THREADS;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                let seeds = thread * per_thread..(thread + 1) * per_thread;
                let tellable = |seed| {
                    let played = std::panic::catch_unwind(|| play(seed));
                    played.unwrap_or_else(|_| panic!("seed {seed}"))
                };
                seeds.map(tellable).fold(Tally::default(), Tally::plus)
            })
        })
        .collect();
    let tallies = threads.into_iter().map(|thread| thread.join().expect("a seed that holds"));
    let tally = tallies.fold(Tally::default(), Tally::plus);
    println!("{SEEDS} seeds: {tally:?}");
    let counts = [
        tally.decisions,
        tally.confirmed,
        tally.quarantined,
        tally.forgotten,
        tally.made_anew,
        tally.cut,
        tally.grown,
        tally.copies,
        tally.holes,
        tally.told_late,
        tally.parts,
    ];
    assert!(counts.iter().all(|count| *count > OFTEN), "too few to tell: {tally:?}");
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            decisions: self.decisions + other.decisions,
            confirmed: self.confirmed + other.confirmed,
            quarantined: self.quarantined + other.quarantined,
            forgotten: self.forgotten + other.forgotten,
            made_anew: self.made_anew + other.made_anew,
            cut: self.cut + other.cut,
            grown: self.grown + other.grown,
            copies: self.copies + other.copies,
            holes: self.holes + other.holes,
            told_late: self.told_late + other.told_late,
            parts: self.parts + other.parts,
        }
    }
}

/// The bytes of a record, as caed writes them.
fn bytes(event: &Event) -> Vec<u8> {
    let bytes = wire::event(event).encode_to_vec();
    let decoded = native::decode(&bytes).expect("valid");
    assert_eq!(decoded.event, border::event(event));
    bytes
}
