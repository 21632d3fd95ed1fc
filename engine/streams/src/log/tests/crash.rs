//! The promise under every mishap: a workload of appends, rolls, compactions and restarts is run
//! once for each operation that it makes on the disk and each mishap that can happen there, with
//! more mishaps at random in what follows; a simple model says what must be left.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::simulated::{Dice, Mishap};
use super::super::{Fault, LogCursor};
use super::*;

const STEPS: u64 = 24;
/// Every workload has a key whose records nobody needs.
const KEYS: u64 = 5;

#[derive(Clone, Copy, Debug)]
struct Case {
    workload: u64,
    /// The operation at which the first mishap happens.
    at: Option<(u64, Mishap)>,
}

struct World {
    disk: SimulatedDisk,
    log: Option<Log>,
    follower: Option<LogCursor>,
    segment_bytes: u64,
    now: u64,
    /// Draws the workload: the same for every case of it.
    dice: Dice,
    /// Draws what happens after the first mishap.
    later: Dice,
    mishaps_left: u32,
    /// Acknowledged, or read after a start, and not refused by a compaction since.
    known: BTreeMap<Offset, Record>,
    /// Not acknowledged, or refused by a compaction that failed: may be there.
    possible: BTreeMap<Offset, Record>,
    /// Every record that was ever known.
    ever: BTreeMap<Offset, Record>,
}

impl World {
    fn new(case: Case) -> Self {
        let place = case.at.map_or(0, |(at, mishap)| at * 4 + mishap as u64 + 1);
        let mut dice = Dice::new(case.workload);
        let disk = SimulatedDisk::new(case.workload << 32 | place);
        if let Some((at, mishap)) = case.at {
            disk.arm(at, mishap);
        }
        Self {
            disk,
            log: None,
            follower: None,
            segment_bytes: 100 + dice.below(500),
            now: 1_000_000,
            dice,
            later: Dice::new(case.workload << 32 | place | 1 << 63),
            mishaps_left: if case.at.is_some() { 3 } else { 0 },
            known: BTreeMap::new(),
            possible: BTreeMap::new(),
            ever: BTreeMap::new(),
        }
    }

    fn run(&mut self) {
        self.open();
        for _ in 0..STEPS {
            match self.dice.below(12) {
                0..=6 => self.append(),
                7 => self.roll(),
                8 | 9 => self.compact(),
                10 => self.restart(),
                _ => self.follow(),
            }
            self.check();
        }
        // Whatever happened, the log works in the end.
        self.mishaps_left = 0;
        self.restart();
        self.append();
        self.compact();
        self.append();
        self.check();
    }

    /// Ends the process, sometimes the power, and opens the log again, however often that fails.
    fn restart(&mut self) {
        (self.log, self.follower) = (None, None);
        loop {
            self.disk.make_room();
            if self.later.one_in(3) {
                self.disk.restart_process();
            }
            // A disk without power can't be used by a new process either.
            if self.later.one_in(2) || !self.disk.has_power() {
                self.disk.restart();
            }
            self.disk.restart_process();
            if self.mishaps_left > 0 && self.later.one_in(2) {
                self.mishaps_left -= 1;
                let mishap = match self.later.below(3) {
                    0 => Mishap::PowerCut,
                    1 => Mishap::Failure,
                    _ => Mishap::Full,
                };
                self.disk.arm(self.disk.operations() + self.later.below(30), mishap);
            }
            if self.try_open() {
                return;
            }
        }
    }

    fn open(&mut self) {
        if !self.try_open() {
            self.restart();
        }
    }

    fn try_open(&mut self) -> bool {
        let log = match open_with(&self.disk, self.segment_bytes) {
            Ok(log) => log,
            Err(error) => {
                assert!(matches!(error, LogError::Io { .. }), "{error}");
                return false;
            }
        };
        assert_eq!(log.reader.identity(), IDENTITY);
        let records = read_all(&log.reader);
        for record in &records {
            let expected =
                self.known.get(&record.offset).or_else(|| self.possible.get(&record.offset));
            assert_eq!(Some(record), expected, "a record that nobody appended");
        }
        let there: BTreeMap<Offset, Record> =
            records.into_iter().map(|record| (record.offset, record)).collect();
        for offset in self.known.keys() {
            assert!(there.contains_key(offset), "acknowledged {offset:?} is lost");
        }
        self.ever.extend(there.clone());
        self.known = there;
        self.possible.clear();
        self.follower = Some(log.reader.cursor(Offset(0)));
        self.log = Some(log);
        true
    }

    fn append(&mut self) {
        // The clock may go back.
        self.now = self.now + self.dice.below(10) - self.dice.below(5);
        let count = 1 + self.dice.below(4);
        let records: Vec<(Key, Vec<u8>)> = (0..count)
            .map(|_| {
                let key = [u8::try_from(self.dice.below(KEYS)).unwrap(); 16];
                let length = self.dice.below(60);
                (key, (0..length).map(|_| self.dice.throw().to_le_bytes()[0]).collect())
            })
            .collect();
        let log = self.log.as_mut().unwrap();
        let start = log.reader.durable_end();
        let last_time = self.ever.last_key_value().map_or(0, |(_, r)| r.append_time.as_millis());
        let append_time = UnixMillis::from_millis(self.now.max(last_time));
        let expected = (start.0..).zip(records.clone()).map(|(offset, (key, payload))| {
            let offset = Offset(offset);
            (offset, Record { offset, append_time, key, payload })
        });
        match log.writer.append(UnixMillis::from_millis(self.now), &records) {
            Ok(offsets) => {
                assert_eq!(offsets, start..Offset(start.0 + count));
                for (offset, record) in expected {
                    assert!(self.ever.insert(offset, record.clone()).is_none(), "used again");
                    self.known.insert(offset, record);
                }
            }
            Err(error) => {
                assert_eq!(error.fault(), Fault::Disk, "{error}");
                self.possible.extend(expected);
                self.after_failure(false);
            }
        }
    }

    fn roll(&mut self) {
        if self.log.as_mut().unwrap().writer.roll().is_err() {
            self.after_failure(false);
        }
    }

    fn compact(&mut self) {
        let log = self.log.as_mut().unwrap();
        let refused_key = [u8::try_from(self.dice.below(KEYS)).unwrap(); 16];
        let size_before = log.reader.size_bytes();
        let mut seen = BTreeSet::new();
        let mut refused = Vec::new();
        let compacted = log.writer.compact(&mut |record| {
            assert!(seen.insert(record.offset), "shown twice");
            assert_eq!(self.ever.get(&record.offset), Some(record));
            if record.key == refused_key {
                refused.push(record.offset);
            }
            record.key != refused_key
        });
        match compacted {
            Ok(compacted) => {
                assert_eq!(compacted.records_removed, refused.len() as u64);
                assert_eq!(log.reader.size_bytes(), size_before - compacted.bytes_freed);
                for offset in refused {
                    self.known.remove(&offset);
                }
            }
            Err(error) => {
                assert_eq!(error.fault(), Fault::Disk, "{error}");
                for offset in refused {
                    self.possible.extend(self.known.remove_entry(&offset));
                }
                self.after_failure(true);
            }
        }
    }

    /// What is readable has not changed; a poisoned writer stays so. Then starts again.
    fn after_failure(&mut self, may_go_on: bool) {
        self.disk.make_room();
        let log = self.log.as_mut().unwrap();
        if self.disk.has_power() {
            let readable = read_all(&log.reader).into_iter().map(|r| (r.offset, r));
            let readable: BTreeMap<Offset, Record> = readable.collect();
            if !may_go_on {
                assert_eq!(readable, self.known, "a failed append is visible");
            }
        }
        let empty: [(Key, &[u8]); 0] = [];
        let next = log.writer.append(UnixMillis::from_millis(0), &empty);
        match next {
            Err(LogError::Poisoned { .. }) => self.restart(),
            Err(error) => panic!("{error}"),
            Ok(_) => {
                assert!(may_go_on, "not poisoned");
                if !self.disk.has_power() || self.later.one_in(2) {
                    self.restart();
                }
            }
        }
    }

    /// A cursor that lags behind sees whatever is known, in order.
    fn follow(&mut self) {
        let bytes_max = usize::try_from(self.dice.below(400)).unwrap();
        let follower = self.follower.as_mut().unwrap();
        let from = follower.next_offset();
        let Ok(records) = follower.read(bytes_max) else { return };
        let mut next = from;
        for record in &records {
            assert!(record.offset >= next);
            assert_eq!(self.ever.get(&record.offset), Some(record));
            assert_eq!(self.known.range(next..record.offset).next(), None, "skipped");
            next = record.offset.next();
        }
        assert!(follower.next_offset() >= next);
        let skipped = self.known.range(next..follower.next_offset()).next();
        assert_eq!(skipped, None, "skipped at the end");
    }

    fn check(&mut self) {
        let log = self.log.as_ref().unwrap();
        if !self.disk.has_power() {
            return;
        }
        let records = read_all(&log.reader);
        for pair in records.windows(2) {
            assert!(pair[0].offset < pair[1].offset && pair[0].append_time <= pair[1].append_time);
        }
        let readable: BTreeMap<Offset, Record> =
            records.into_iter().map(|record| (record.offset, record)).collect();
        for (offset, record) in &self.known {
            assert_eq!(readable.get(offset), Some(record));
        }
        for offset in readable.keys().filter(|offset| !self.known.contains_key(offset)) {
            assert!(self.possible.contains_key(offset), "{offset:?} is visible");
        }
        let after_last = self.ever.last_key_value().map_or(Offset(0), |(offset, _)| offset.next());
        assert!(log.reader.durable_end() >= after_last);
        // Any place can be found without a cursor.
        let from = Offset(self.later.below(after_last.0 + 2));
        let found = log.reader.read(from, 1).unwrap();
        assert_eq!(
            found.first().map(|r| r.offset),
            readable.range(from..).next().map(|(offset, _)| *offset)
        );
    }
}

fn run(case: Case) -> u64 {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(case);
        world.run();
        world.disk.operations()
    }));
    outcome.unwrap_or_else(|_| panic!("failing case: {case:?}"))
}

/// Runs every case of some workloads, and returns how many there were.
fn run_all(workloads: Range<u64>) -> u64 {
    let mut cases = 0;
    for workload in workloads {
        let operations = run(Case { workload, at: None });
        for at in 0..operations {
            for mishap in [Mishap::PowerCut, Mishap::Failure, Mishap::Full] {
                run(Case { workload, at: Some((at, mishap)) });
                cases += 1;
            }
        }
    }
    cases
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_at_any_operation() {
    let cases = run_all(0..8);
    assert!(cases > 3000, "only {cases} cases");
}

#[test]
#[ignore = "takes minutes: the same for many more workloads"]
fn nothing_acknowledged_is_lost_at_length() {
    run_all(8..400);
}
