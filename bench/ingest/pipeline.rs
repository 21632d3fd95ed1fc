//! caed's own way from a log to decisions, wired as the sidecar does: what reads, the applier on a thread of
//! its own, what it publishes, and who asks.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use caed_bench::subject::SEED;
use caed_bench::world;
use caed_core::builder::Builder;
use caed_core::decide::decide;
use caed_core::decision::Decision;
use caed_core::freshness::At;
use caed_core::ingest::{Counter, Ingest};
use caed_core::position::Frontier;
use caed_core::publish::{self, SnapshotReader};
use caed_core::request::{AccessRequest, Seen, Token};
use caed_core::rules::{Profile, Rules};
use caed_core::time::{Clock, UnixMillis};
use caed_streams::applier::Applier;
use caed_streams::embedded::{self, Embedded, Ending};
use caed_streams::kafka::limits::{JANITOR_PACE, STARTUP_PATIENCE};
use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::{self, Kafka, KafkaDeadLetters, Start, Work};
use caed_streams::log::Log;
use caed_streams::source::{Source, SourceFault};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::stream::{Left, Question, Stream};

/// The horizon of every log here.
pub(crate) const HORIZON: Duration = Duration::from_hours(30);

/// How long anything may take that is waited for.
const TIME: Duration = Duration::from_mins(3);

/// A sidecar without its surfaces.
pub(crate) struct Pipeline {
    runtime: Runtime,
    reader: SnapshotReader,
    clock: Arc<dyn Clock>,
    ingest: Arc<Ingest>,
    frontier: watch::Receiver<Frontier>,
    profile: Profile,
    stop: Option<oneshot::Sender<()>>,
    applier: Option<JoinHandle<Result<(), SourceFault>>>,
    threads: Vec<JoinHandle<()>>,
    log: Option<Ending>,
}

/// The clocks of this host.
struct HostClock(Instant);

impl Clock for HostClock {
    fn now(&self) -> UnixMillis {
        now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What every pipeline begins with.
struct Begin {
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    builder: Builder,
    publisher: publish::Publisher,
    reader: SnapshotReader,
    applied: watch::Sender<Frontier>,
    frontier: watch::Receiver<Frontier>,
    ingest: Arc<Ingest>,
}

impl Pipeline {
    /// Begins to read Kafka.
    pub(crate) fn of_kafka(settings: &KafkaSettings) -> Self {
        let begin = Begin::new();
        let start = Start {
            horizon: HORIZON,
            patience: STARTUP_PATIENCE,
            clock: Arc::clone(&begin.clock),
            applied: begin.frontier.clone(),
            snapshots: begin.reader.clone(),
            janitor: JANITOR_PACE,
            ingest: Arc::clone(&begin.ingest),
        };
        let Kafka { sink: _, source, dead_letters, status: _, work } =
            kafka::start(settings, start).expect("started");
        Self::run(begin, source, Some(dead_letters), work.into(), None)
    }

    /// Begins to read an embedded log.
    pub(crate) fn of_log(log: Log) -> Self {
        let begin = Begin::new();
        let Embedded { sink: _, source, owner, ending, view: _ } = embedded::split(
            log,
            Arc::clone(&begin.clock),
            begin.frontier.clone(),
            begin.reader.clone(),
        );
        let runtime = begin.runtime.handle().clone();
        let work: Work = Box::new(move || {
            let _entered = runtime.enter();
            owner.run(&runtime);
        });
        Self::run(begin, source, None, vec![work], Some(ending))
    }

    fn run(
        begin: Begin,
        source: impl Source,
        dead_letters: Option<KafkaDeadLetters>,
        work: Vec<Work>,
        log: Option<Ending>,
    ) -> Self {
        let Begin { runtime, clock, builder, publisher, reader, applied, frontier, ingest } = begin;
        let (counted, clocks) = (Arc::clone(&ingest), Arc::clone(&clock));
        let mut applier = Applier::new(source, builder, publisher, applied, counted, clocks);
        if let Some(dead_letters) = dead_letters {
            applier = applier.with_dead_letters(Box::new(dead_letters));
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        let applier = thread::Builder::new().name("applier".to_owned()).spawn(move || {
            handle.block_on(applier.run(async move {
                let _ = stopped.await;
            }))
        });
        Self {
            runtime,
            reader,
            clock,
            ingest,
            frontier,
            profile: Profile::default(),
            stop: Some(stop),
            applier: Some(applier.expect("a thread")),
            threads: work
                .into_iter()
                .map(|work| {
                    thread::Builder::new().name("reader".to_owned()).spawn(work).expect("a thread")
                })
                .collect(),
            log,
        }
    }

    /// Waits until requests are decided.
    pub(crate) fn catch_up(&mut self) {
        let reader = self.reader.clone();
        self.wait(|_| reader.load().is_caught_up());
    }

    /// Waits until so many records have been applied and published.
    pub(crate) fn reach(&mut self, records: u64) {
        self.wait(|frontier| records_below(frontier) >= records);
    }

    /// Waits until something was published since this was asked last.
    pub(crate) fn change(&mut self) {
        self.frontier.mark_unchanged();
        let Self { runtime, frontier, .. } = self;
        let changed =
            runtime.block_on(async { tokio::time::timeout(TIME, frontier.changed()).await });
        changed.expect("in time").expect("an applier");
    }

    fn wait(&mut self, holds: impl Fn(&Frontier) -> bool) {
        let Self { runtime, frontier, .. } = self;
        let reached = async { tokio::time::timeout(TIME, frontier.wait_for(|it| holds(it))).await };
        let reached = runtime.block_on(reached).expect("in time").map(drop);
        reached.expect("an applier");
    }

    /// Records that have been applied and published.
    pub(crate) fn records(&self) -> u64 {
        records_below(&self.frontier.borrow())
    }

    /// What is decided of a question now.
    pub(crate) fn decide(&self, question: &Question) -> Decision {
        let token = Token::parse(&question.claims());
        let request = AccessRequest { token, profile: &self.profile, seen: Seen::Unknown };
        let at = At { now: self.clock.now(), log_age: Duration::ZERO };
        decide(&self.reader.load(), &request, at)
    }

    /// Makes sure that the state is what the first so many events of a stream leave behind.
    pub(crate) fn check(&self, stream: Stream, events: u64) {
        let Ingest { changed, unchanged, stale, quarantined, .. } = &*self.ingest;
        let counts = [changed, unchanged, stale, quarantined].map(Counter::value);
        assert_eq!(counts, [events, 0, 0, 0], "changed, unchanged, stale, not understood");
        let counts = self.reader.load().counts();
        let left =
            Left { registers: counts.registers, policies: counts.policies, groups: counts.groups };
        assert_eq!(left, Stream::left(events));
        // Some of each kind, all over the stream.
        let step = (events / 997).max(1) | 1;
        for number in (0..events).step_by(usize::try_from(step).unwrap_or(1)) {
            for question in [stream.question(number), stream.untouched(number)] {
                let decision = self.decide(&question);
                assert!(question.is_answered_by(&decision), "{question:?}: {decision:?}");
            }
        }
    }
}

impl Begin {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(HostClock(Instant::now()));
        let mut builder =
            Builder::new(Arc::new(Rules { horizon: HORIZON, ..world::rules() }), SEED);
        let (publisher, reader) = publish::cell(builder.freeze());
        let (applied, frontier) = watch::channel(Frontier::default());
        let runtime = Runtime::new().expect("a runtime");
        let ingest = Arc::default();
        Self { runtime, clock, builder, publisher, reader, applied, frontier, ingest }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(applier) = self.applier.take() {
            applier.join().expect("no panic").expect("a log to the end");
        }
        if let Some(ending) = self.log.take() {
            self.runtime.block_on(ending.end());
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic");
        }
    }
}

/// The time by the wall clock.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    UnixMillis::from_millis(u64::try_from(since.as_millis()).expect("before the year 9999"))
}

fn records_below(frontier: &Frontier) -> u64 {
    frontier.iter().map(|reached| reached.next.0).sum()
}
