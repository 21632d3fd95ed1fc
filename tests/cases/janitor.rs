//! Janitors of a log in a broker (L3): what they take out changes no decision, now or later, for
//! whoever reads the log from its beginning and for whoever was there.
//!
//! The log is played here: partitions, append times, compaction. What a janitor does with it is the
//! code that runs against Kafka.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is not as it was drawn"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use caed_core::builder::Builder;
use caed_core::event::{AccountState, RecordKey, RevocationCause};
use caed_core::position::{Incarnation, Offset, Partition, Position, Topic};
use caed_core::snapshot::Snapshot;
use caed_decode::native;
use caed_streams::kafka::identity::{self, LogIdentity, READER_VERSION};
use caed_streams::kafka::sweep::{Objection, Seen, Sweep};
use caed_tests::plan::{FIVE_MINUTES, Step};
use caed_tests::random::Random;
use caed_tests::world::{Event, Millis, Record, Request, What, World};
use caed_tests::{border, generate, plan, wire};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use prost::Message;

const PARTITIONS: usize = 3;
const REQUESTS: usize = 25;
/// The least number that is read as milliseconds (E14).
const LEAST: Millis = 100_000_000_000;
const INCARNATION: Incarnation = Incarnation([7; 16]);
/// How many tombstones must be written over the run, how many of them for what offers more than
/// cutoffs, how many for words about directories, and for parts of versions, and how many for keys of
/// which a copy came in between.
const OFTEN: [usize; 5] = [5000, 2000, 1000, 100, 20];

/// A record in a log.
#[derive(Clone, Debug)]
struct Entry {
    key: Vec<u8>,
    /// `None` is a tombstone.
    payload: Option<Vec<u8>>,
    appended: Millis,
    event: Option<Event>,
    /// Compaction took it.
    gone: bool,
}

/// A log of some partitions. An entry's offset is its place, also after others are gone.
#[derive(Clone, Debug, Default)]
struct Log {
    partitions: [Vec<Entry>; PARTITIONS],
}

/// Up to where something was read.
type Cuts = [usize; PARTITIONS];

fn partition(number: usize) -> Partition {
    Partition { topic: Topic(0), number: u32::try_from(number).expect("few") }
}

impl Log {
    /// A log with an identity record in each partition.
    fn new(appended: Millis) -> Self {
        let mut log = Self::default();
        for number in 0..PARTITIONS {
            let payload = Some(identity_of(number).encode());
            let key = identity::KEY.to_vec();
            log.append(number, Entry { key, payload, appended, event: None, gone: false });
        }
        log
    }

    fn append(&mut self, number: usize, entry: Entry) {
        let entries = &mut self.partitions[number];
        assert!(entries.last().is_none_or(|last| last.appended <= entry.appended), "in order");
        entries.push(entry);
    }

    fn append_record(&mut self, number: usize, Record { event, appended }: Record) {
        let key = border::event(&event).record_key().0.to_vec();
        let payload = Some(wire::event(&event).encode_to_vec());
        self.append(number, Entry { key, payload, appended, event: Some(event), gone: false });
    }

    fn ends(&self) -> Cuts {
        [0, 1, 2].map(|number| self.partitions[number].len())
    }

    fn entries(&self) -> impl Iterator<Item = (usize, usize, &Entry)> {
        self.partitions.iter().enumerate().flat_map(|(number, entries)| {
            entries.iter().enumerate().map(move |(offset, entry)| (number, offset, entry))
        })
    }

    /// Takes what a later record of the same key stands for, some of it or all.
    fn compact(&mut self, percent: u64, random: &mut Random) {
        for entries in &mut self.partitions {
            let mut later = BTreeSet::new();
            for entry in entries.iter_mut().rev() {
                let superseded = !later.insert(entry.key.clone());
                entry.gone |= superseded && random.chance(percent);
            }
            // A tombstone goes once there is nothing left that it stands for.
            let mut earlier = BTreeSet::new();
            for entry in entries {
                if entry.payload.is_none() && !earlier.contains(&entry.key) {
                    entry.gone |= random.chance(percent);
                }
                if !entry.gone {
                    earlier.insert(entry.key.clone());
                }
            }
        }
    }

    /// Every record of an event, each copy as if appended with the first: what is revoked by its id
    /// existed then (E17).
    fn steps(&self) -> Vec<Step> {
        let events =
            || self.entries().filter_map(|(.., entry)| Some((entry.event?, entry.appended)));
        let first = |event: Event| {
            let copies = events().filter(move |(other, _)| *other == event);
            copies.map(|(_, appended)| appended).min().unwrap_or_default()
        };
        events()
            .map(|(event, _)| Step::Apply(Record { event, appended: first(event) }, 0))
            .collect()
    }
}

fn identity_of(number: usize) -> LogIdentity {
    LogIdentity {
        incarnation: INCARNATION,
        horizon: std::time::Duration::from_secs(1),
        min_reader_version: READER_VERSION,
        partition: partition(number).number,
    }
}

/// What reads a log.
struct Replica {
    builder: Builder,
    next: Cuts,
}

impl Replica {
    fn new(world: &World, seed: u64) -> Self {
        let mut builder = Builder::new(Arc::new(border::rules(world)), seed);
        builder.caught_up();
        for number in 0..PARTITIONS {
            builder.begin(partition(number), INCARNATION);
        }
        Self { builder, next: [0; PARTITIONS] }
    }

    /// Reads on, up to there, what is not left out.
    fn read(&mut self, log: &Log, cuts: Cuts, mut leaves_out: impl FnMut(usize, usize) -> bool) {
        for (number, cut) in cuts.into_iter().enumerate() {
            for offset in self.next[number]..cut {
                let Entry { key, payload, appended, .. } = &log.partitions[number][offset];
                let appended = border::millis(*appended);
                let offset_of = Offset(offset as u64);
                let position = Position { partition: partition(number), offset: offset_of };
                match payload {
                    Some(payload) if key != identity::KEY && !leaves_out(number, offset) => {
                        match native::decode(payload) {
                            Ok(decoded) => {
                                self.builder.apply(position, appended, &decoded.event);
                            }
                            Err(_) => self.builder.skip(position, appended),
                        }
                    }
                    _ => self.builder.pass(partition(number), offset_of.next()),
                }
            }
            self.next[number] = self.next[number].max(cut);
        }
    }

    /// Reads what there is.
    fn read_all(mut self, log: &Log, mut leaves_out: impl FnMut(&Entry) -> bool) -> Snapshot {
        self.read(log, log.ends(), |number, offset| leaves_out(&log.partitions[number][offset]));
        self.builder.freeze()
    }

    fn forget(&mut self, clock: Millis) {
        for _ in 0..Builder::FORGET_ROUND {
            self.builder.forget_some(border::millis(clock));
        }
    }
}

/// What a janitor sees of a log, looking a little beyond what its snapshot contains.
fn sweep(log: &Log, snapshot: &Snapshot, clock: Millis, random: &mut Random) -> Sweep {
    let mut sweep = Sweep::default();
    for (number, offset, entry) in log.entries() {
        let offset = Offset(offset as u64);
        let reached = snapshot.frontier().next_offset(partition(number));
        if !entry.gone && (offset < reached || random.chance(20)) {
            let seen = Seen {
                position: Position { partition: partition(number), offset },
                appended: Some(border::millis(entry.appended)),
                key: Some(&entry.key),
                payload: entry.payload.as_deref(),
            };
            sweep.look(&seen, snapshot, border::millis(clock));
        }
    }
    sweep
}

#[derive(Default)]
struct Counts {
    tombstones: AtomicUsize,
    lasting: AtomicUsize,
    told: AtomicUsize,
    parts: AtomicUsize,
    copied: AtomicUsize,
}

/// One moment in the life of a log: late events and copies arrive, janitors work, compaction runs.
fn janitors(world: &World, log: &mut Log, counts: &Counts, random: &mut Random) {
    for _ in 0..random.below(5) {
        let record = late(world, log, random);
        log.append_record(random.below(PARTITIONS), record);
    }
    if random.chance(75) {
        let key = b"poison".to_vec();
        let payload = Some(b"poison".to_vec());
        let entry = Entry { key, payload, appended: world.now, event: None, gone: false };
        log.append(random.below(PARTITIONS), entry);
    }
    let mut found = Vec::new();
    let together = random.chance(50);
    for _ in 0..random.within(1, 2) {
        // One that was there or came later, and has come some way since.
        let mut replica = Replica::new(world, random.bits());
        let ends = log.ends();
        let cuts = ends.map(|end| if random.chance(60) { end } else { 1 + random.below(end) });
        let was_there = random.pick(&[0, 50, 100]);
        let mut luck = random.clone();
        replica.read(log, cuts, |number, offset| {
            log.partitions[number][offset].gone && !luck.chance(was_there)
        });
        let horizon = world.horizon * 1000;
        let ahead = if random.chance(30) { random.within(0, 4 * horizon) } else { 0 };
        if random.chance(30) {
            replica.forget(world.now + ahead);
        }
        let snapshot = replica.builder.freeze();
        let sweep = sweep(log, &snapshot, world.now + ahead, random);
        let mut keys = sweep.tombstones(&snapshot).expect("nothing speaks against it");
        for (partition, RecordKey(key)) in &keys {
            too_early(world, log, &snapshot, *partition, key);
        }
        if random.chance(25) {
            keys.truncate(random.below(keys.len() + 1));
        }
        if together {
            found.push(keys);
        } else {
            write(world, log, &keys, counts, random);
        }
    }
    for keys in found {
        write(world, log, &keys, counts, random);
    }
    log.compact(random.pick(&[0, 50, 100]), random);
}

/// A record of an event whose times a log can hold.
fn record(world: &World, random: &mut Random) -> Record {
    let Record { event, appended } = generate::record(world, world.now, random);
    let [occurred, received] = [event.occurred, event.received].map(|at| at.max(LEAST));
    Record { event: Event { occurred, received, ..event }, appended }
}

/// A record appended now: an event of any time, or a copy of an earlier one.
fn late(world: &World, log: &Log, random: &mut Random) -> Record {
    let events: Vec<Event> = log.entries().filter_map(|(.., entry)| entry.event).collect();
    let appended = world.now;
    if events.is_empty() || random.chance(50) {
        return Record { appended, ..record(world, random) };
    }
    Record { event: events[random.below(events.len())], appended }
}

/// Two horizons after its append, and no sooner, a record may go. The last copy that the janitor
/// knows of counts.
fn too_early(world: &World, log: &Log, snapshot: &Snapshot, partition: Partition, key: &[u8]) {
    let entries = &log.partitions[partition.number as usize];
    let known = usize::try_from(snapshot.frontier().next_offset(partition).0).expect("few");
    let is_copy = |entry: &&Entry| entry.key == key && !entry.gone && entry.payload.is_some();
    let last = entries.iter().take(known).rfind(is_copy).expect("a record");
    let newest = snapshot.newest_append();
    let settled = border::millis(last.appended + 2 * world.horizon * 1000);
    assert!(newest > settled, "a tombstone within two horizons");
}

/// Writes tombstones; sometimes a copy of what they are for comes just before.
fn write(
    world: &World,
    log: &mut Log,
    keys: &[(Partition, RecordKey)],
    counts: &Counts,
    random: &mut Random,
) {
    for (Partition { number, .. }, RecordKey(key)) in keys {
        let number = *number as usize;
        let mut copies = log.partitions[number].iter().filter(|entry| entry.key == key);
        let event = copies.find_map(|entry| entry.event).expect("the key of an event");
        counts.tombstones.fetch_add(1, Ordering::Relaxed);
        counts.lasting.fetch_add(usize::from(lasts(&event)), Ordering::Relaxed);
        let (is_told, is_part) = match event.what {
            What::Told(_, part) => (true, part.count > 1),
            What::Member(..) => (true, false),
            _ => (false, false),
        };
        counts.told.fetch_add(usize::from(is_told), Ordering::Relaxed);
        counts.parts.fetch_add(usize::from(is_part), Ordering::Relaxed);
        let appended = world.now;
        if random.chance(5) {
            counts.copied.fetch_add(1, Ordering::Relaxed);
            log.append_record(number, Record { event, appended });
        }
        let key = key.to_vec();
        log.append(number, Entry { key, payload: None, appended, event: None, gone: false });
    }
}

/// Whether an event offers something that never expires.
fn lasts(event: &Event) -> bool {
    use What::{Account, Compliance, Device, Member, Source, Told};
    matches!(
        event.what,
        Account(..) | Device(..) | Compliance(..) | Source(..) | Told(..) | Member(..)
    )
}

fn config() -> ProptestConfig {
    let file = FileFailurePersistence::Direct("cases/regressions/janitor.txt");
    ProptestConfig { cases: 3000, failure_persistence: Some(Box::new(file)), ..Default::default() }
}

/// The seed of the log, and which of its first records are left out of it, so that proptest finds
/// the few that matter.
fn drawn() -> impl Strategy<Value = (u64, Vec<bool>)> {
    (any::<u64>(), prop::collection::vec(prop::bool::weighted(0.95), 40))
}

#[test]
fn what_janitors_take_out_changes_nothing() {
    let counts = Counts::default();
    let result = TestRunner::new(config()).run(&drawn(), |(seed, kept)| {
        let mut random = Random::new(seed);
        let mut world = World {
            caught_up: true,
            has_heartbeats: false,
            countries: None,
            log_age: 0,
            ..generate::world(&mut random)
        };
        let mut records: Vec<Record> = Vec::new();
        for _ in 0..random.within(0, 40) {
            let record = record(&world, &mut random);
            records.extend(generate::rest(&world, &record, &mut random));
            records.push(record);
        }
        for at in 0..records.len() {
            if random.chance(20) {
                let Record { event, appended } = records[at];
                let appended = random.within(appended, world.now);
                records.push(Record { event, appended });
            }
        }
        let mut kept = kept.into_iter();
        records.retain(|_| kept.next().unwrap_or(true));
        records.sort_by_key(|record| record.appended);
        let begun = records.first().map_or(world.now, |record| record.appended);
        let mut log = Log::new(begun);
        for record in records {
            log.append_record(random.below(PARTITIONS), record);
        }

        let horizon = world.horizon * 1000;
        for _ in 0..random.within(1, 3) {
            let pass = random.pick(&[0, 2, 2]) * horizon + random.within(0, 2 * horizon);
            world = generate::later(&world, world.now + pass, &mut random);
            janitors(&world, &mut log, &counts, &mut random);
            lagging(&world, &log, &mut random)?;
        }
        for later in [0, 1000, horizon] {
            let world = World { now: world.now + later, ..world.clone() };
            readers(&world, &log, &mut random)?;
        }
        // Whatever comes after meets the same state.
        world.now += FIVE_MINUTES;
        for _ in 0..random.below(8) {
            let record = late(&world, &log, &mut random);
            log.append_record(random.below(PARTITIONS), record);
        }
        readers(&world, &log, &mut random)
    });
    if let Err(failure) = result {
        std::panic::panic_any(failure.to_string());
    }
    let Counts { tombstones, lasting, told, parts, copied } = counts;
    let counts = [tombstones, lasting, told, parts, copied].map(AtomicUsize::into_inner);
    let [tombstones, lasting, told, parts, copied] = counts;
    println!(
        "{tombstones} tombstones, {lasting} of more than cutoffs, {told} of directories, {parts} of \
         parts, {copied} after a copy"
    );
    assert!(counts.iter().zip(OFTEN).all(|(count, often)| *count >= often), "{counts:?}");
}

/// Whoever reads everything that is left decides as one who read everything that ever was; so does
/// one who read the first part of it then, and the rest now.
fn readers(world: &World, log: &Log, random: &mut Random) -> Result<(), TestCaseError> {
    let mut compacted = log.clone();
    compacted.compact(100, random);
    let whole = Replica::new(world, 1).read_all(log, |_| false);
    let late = Replica::new(world, 2).read_all(&compacted, |entry| entry.gone);
    compare(world, log, &whole, &late, random)?;
    let mut was_there = Replica::new(world, 3);
    let cuts = log.ends().map(|end| random.below(end + 1));
    was_there.read(log, cuts, |_, _| false);
    if random.chance(50) {
        was_there.forget(world.now);
    }
    let was_there = was_there.read_all(&compacted, |entry| entry.gone);
    compare(world, log, &whole, &was_there, random)
}

/// One who is behind, by two horizons at the most, decides at each step as if nothing had been taken
/// out: one who was there all the time, or one who reads a log that lost its end.
fn lagging(world: &World, log: &Log, random: &mut Random) -> Result<(), TestCaseError> {
    let mut compacted = log.clone();
    compacted.compact(100, random);
    let settled = world.now - 2 * world.horizon * 1000;
    let (mut then, mut now) = ([0; PARTITIONS], [0; PARTITIONS]);
    for number in 0..PARTITIONS {
        let entries = &log.partitions[number];
        let behind = entries.partition_point(|entry| entry.appended < settled);
        then[number] = behind + random.below(entries.len() - behind + 1);
        now[number] = then[number] + random.below(entries.len() - then[number] + 1);
    }
    if random.chance(50) {
        then = [0; PARTITIONS];
    }
    // Not what a copy stands for: that goes without any janitor.
    let taken_out = |number: usize, offset: usize| {
        let Entry { key, gone, .. } = &compacted.partitions[number][offset];
        let later = log.partitions[number].iter().skip(offset);
        *gone && later.into_iter().any(|entry| entry.key == *key && entry.payload.is_none())
    };
    let mut thinned = Replica::new(world, 4);
    thinned.read(log, then, |_, _| false);
    thinned.read(log, now, taken_out);
    let mut whole = Replica::new(world, 5);
    whole.read(log, now, |_, _| false);
    // What they have not read says nothing of when a token existed.
    let mut read = log.clone();
    for (entries, end) in read.partitions.iter_mut().zip(now) {
        entries.truncate(end);
    }
    compare(world, &read, &whole.builder.freeze(), &thinned.builder.freeze(), random)
}

/// Asks both for the same.
fn compare(
    world: &World,
    log: &Log,
    whole: &Snapshot,
    thinned: &Snapshot,
    random: &mut Random,
) -> Result<(), TestCaseError> {
    let steps = log.steps();
    let events = plan::events(&steps);
    for _ in 0..REQUESTS {
        let request: Request = generate::request(world, &events, random);
        if plan::revokes_unissued(&steps, &request) {
            continue;
        }
        let [of_whole, of_thinned] = [whole, thinned]
            .map(|snapshot| border::answer(&border::ask(snapshot, &request, border::at(world))));
        prop_assert_eq!(of_whole, of_thinned, "{}\n{:#?}", describe(log), request);
    }
    Ok(())
}

fn describe(log: &Log) -> String {
    let line = |(number, offset, entry): (usize, usize, &Entry)| {
        let Entry { key, payload, appended, event, gone } = entry;
        let what = match (payload, event) {
            (None, _) => "tombstone".to_owned(),
            (_, Some(event)) => format!("{event:?}"),
            (Some(_), None) => "no event".to_owned(),
        };
        let gone = if *gone { " gone" } else { "" };
        format!("{number}@{offset} {appended} {:02x?}{gone} {what}\n", key.get(..3))
    };
    log.entries().map(line).collect()
}

const START: Millis = 1_800_000_000_000;
const HORIZON: Millis = 7_200_000;
/// Two horizons after the start have passed.
const SETTLED: Millis = START + 2 * HORIZON + 1;

/// One of a log's records, as a janitor meets it.
struct Case {
    key: Vec<u8>,
    payload: Option<Vec<u8>>,
    appended: Option<Millis>,
    offset: u64,
}

fn outlived() -> Case {
    let what = What::UserRevoked("anna", RevocationCause::SessionsRevoked);
    case(what, START)
}

fn case(what: What, appended: Millis) -> Case {
    let event = Event {
        tenant: "contoso",
        source: "directory",
        id: "",
        occurred: START,
        received: START,
        what,
    };
    Case {
        key: border::event(&event).record_key().0.to_vec(),
        payload: Some(wire::event(&event).encode_to_vec()),
        appended: Some(appended),
        offset: 1,
    }
}

/// The same with a field of a version to come.
fn from_the_future() -> Case {
    let mut case = outlived();
    // Field 100, a number, 1.
    case.payload.as_mut().expect("a payload").extend([0xa0, 0x06, 0x01]);
    assert!(native::decode(case.payload.as_deref().expect("a payload")).is_ok());
    case
}

/// What becomes of a log of one partition: its identity record, and these. The snapshot is one that
/// contains ten records, the newest of which was appended then.
fn swept(
    identity: Option<LogIdentity>,
    cases: &[Case],
    newest: Millis,
) -> Result<usize, Objection> {
    let world = World {
        now: newest,
        horizon: HORIZON / 1000,
        skew: 300,
        issuers: Vec::new(),
        served: None,
        caught_up: true,
        ..World::default()
    };
    let mut builder = Builder::new(Arc::new(border::rules(&world)), 7);
    builder.begin(partition(0), INCARNATION);
    let position = |offset| Position { partition: partition(0), offset: Offset(offset) };
    for Case { payload, appended, offset, .. } in cases {
        if let (Some(payload), Some(appended)) = (payload, appended)
            && *offset < 10
            && let Ok(decoded) = native::decode(payload)
        {
            builder.apply(position(*offset), border::millis(*appended), &decoded.event);
        }
    }
    builder.skip(position(9), border::millis(newest));
    let snapshot = builder.freeze();
    let mut sweep = Sweep::default();
    let clock = border::millis(newest + HORIZON);
    if let Some(identity) = identity {
        let payload = identity.encode();
        let appended = Some(border::millis(START));
        let (key, payload) = (Some(identity::KEY), Some(payload.as_slice()));
        sweep.look(&Seen { position: position(0), appended, key, payload }, &snapshot, clock);
    }
    for Case { key, payload, appended, offset } in cases {
        let seen = Seen {
            position: position(*offset),
            appended: appended.map(border::millis),
            key: Some(key),
            payload: payload.as_deref(),
        };
        sweep.look(&seen, &snapshot, clock);
    }
    sweep.tombstones(&snapshot).map(|keys| keys.len())
}

#[test]
fn a_janitor_leaves_alone_what_it_does_not_know_to_be_outlived() {
    let own = Some(identity_of(0));
    let alone = |case| swept(own, &[case], SETTLED);
    assert_eq!(alone(outlived()), Ok(1));
    // Not yet, by the newest append time, whatever this host's clock says.
    assert_eq!(swept(own, &[outlived()], SETTLED - 1), Ok(0));
    assert_eq!(alone(Case { appended: None, ..outlived() }), Ok(0), "the sender's time");
    assert_eq!(alone(Case { offset: 10, ..outlived() }), Ok(0), "beyond the snapshot");
    assert_eq!(alone(Case { payload: None, ..outlived() }), Ok(0), "a tombstone");
    assert_eq!(alone(Case { payload: Some(vec![0xff]), ..outlived() }), Ok(0), "not understood");
    assert_eq!(alone(case(What::Account("anna", AccountState::Enabled), START)), Ok(0), "lasting");
    // What dominates it must be as old.
    let enabled = || case(What::Account("anna", AccountState::Enabled), START);
    let disabled = case(What::Account("anna", AccountState::Disabled), START + 1);
    let accounts = [enabled(), Case { offset: 2, ..disabled }];
    assert_eq!(swept(own, &accounts, SETTLED), Ok(0));
    assert_eq!(swept(own, &accounts, SETTLED + 1), Ok(1));
    // The last of several copies counts, and a tombstone stands for all before it.
    let again = |appended| Case { appended: Some(appended), offset: 2, ..outlived() };
    assert_eq!(swept(own, &[outlived(), again(START + 1)], SETTLED + 1), Ok(1));
    assert_eq!(swept(own, &[outlived(), again(START + 1)], SETTLED), Ok(0));
    let tombstone = || Case { payload: None, offset: 2, ..outlived() };
    assert_eq!(swept(own, &[outlived(), tombstone()], SETTLED), Ok(0));
    assert_eq!(
        swept(own, &[outlived(), tombstone(), Case { offset: 3, ..outlived() }], SETTLED),
        Ok(1)
    );
}

#[test]
fn a_janitor_leaves_a_log_alone_that_it_does_not_know() {
    let own = identity_of(0);
    let with = |identity, case: Case| swept(identity, &[case, outlived()], SETTLED);
    let stranger = |offset| {
        Err(Objection::Stranger(Position { partition: partition(0), offset: Offset(offset) }))
    };
    let third = || Case { offset: 3, ..outlived() };
    assert_eq!(with(Some(own), third()), Ok(1));
    assert_eq!(with(Some(own), Case { offset: 3, ..from_the_future() }), stranger(3));
    assert_eq!(with(Some(own), Case { key: b"a key".to_vec(), ..third() }), stranger(3));
    assert_eq!(with(Some(own), Case { key: vec![7; 16], ..third() }), stranger(3));
    let fake = Case { key: identity::KEY.to_vec(), ..third() };
    assert_eq!(with(Some(own), fake), stranger(3));
    let unidentified = Err(Objection::Unidentified(partition(0)));
    assert_eq!(with(None, third()), unidentified);
    let other = LogIdentity { incarnation: Incarnation([8; 16]), ..own };
    assert_eq!(with(Some(other), third()), unidentified);
    let newer = LogIdentity { min_reader_version: READER_VERSION + 1, ..own };
    assert_eq!(with(Some(newer), third()), Err(Objection::Version(partition(0))));
}
