//! A replica without its surfaces: what reads Kafka, the applier, and what decides.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use caed_core::builder::Builder;
use caed_core::decide::decide;
use caed_core::decision::{Decision, Verdict};
use caed_core::freshness::At;
use caed_core::ingest::Ingest;
use caed_core::position::Frontier;
use caed_core::publish::{self, SnapshotReader};
use caed_core::request::{AccessRequest, Claims, Seen, Token};
use caed_core::rules::{Issuer, IssuerTenants, Issuers, Judged, Profile, Rules};
use caed_core::sink::{Accepted, AppendError, EventSink};
use caed_core::time::{Clock, UnixMillis};
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_streams::applier::Applier;
use caed_streams::kafka::limits::JANITOR_PACE;
use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::{self, Kafka, KafkaDeadLetters, KafkaSink, KafkaStatus, Pace, Start};
use caed_streams::source::{DeadLetters, SourceFault};
use prost::Message;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

pub(crate) const HORIZON: Duration = Duration::from_hours(30);
pub(crate) const TENANT: &str = "contoso";
const ISSUER: &str = "https://issuer.example";
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Replica {
    runtime: Runtime,
    pub(crate) sink: KafkaSink,
    pub(crate) status: KafkaStatus,
    pub(crate) ingest: Arc<Ingest>,
    reader: SnapshotReader,
    clock: Arc<dyn Clock>,
    stop: Option<oneshot::Sender<()>>,
    applier: Option<JoinHandle<Result<(), SourceFault>>>,
    threads: Vec<JoinHandle<()>>,
}

struct HostClock(Instant);

impl Clock for HostClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        UnixMillis::from_millis(u64::try_from(since.as_millis()).expect("before the year 9999"))
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// What a test may set of a replica.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub(crate) horizon: Duration,
    pub(crate) janitor: Pace,
}

impl Default for Options {
    fn default() -> Self {
        Self { horizon: HORIZON, janitor: JANITOR_PACE }
    }
}

fn rules(horizon: Duration) -> Rules {
    let issuer = Issuer {
        name: ISSUER.to_owned(),
        tenants: IssuerTenants::All,
        issue_time_skew: Duration::ZERO,
        authorization_uri: None,
        judged: Judged::default(),
    };
    Rules { horizon, issuers: Issuers::new([issuer]).expect("an issuer"), ..Rules::default() }
}

impl Replica {
    /// Starts to read.
    pub(crate) fn start(settings: &KafkaSettings) -> Self {
        Self::start_with(settings, Options::default(), |letters| Box::new(letters))
    }

    /// Starts to read, with options and another place for what can't be understood.
    pub(crate) fn start_with(
        settings: &KafkaSettings,
        options: Options,
        letters: impl FnOnce(KafkaDeadLetters) -> Box<dyn DeadLetters>,
    ) -> Self {
        let Options { horizon, janitor } = options;
        let clock: Arc<dyn Clock> = Arc::new(HostClock(Instant::now()));
        let mut builder = Builder::new(Arc::new(rules(horizon)), 7);
        let (publisher, reader) = publish::cell(builder.freeze());
        let (applied, frontier) = watch::channel(Frontier::default());
        let ingest = Arc::new(Ingest::default());
        let start = Start {
            horizon,
            patience: PATIENCE,
            clock: Arc::clone(&clock),
            applied: frontier,
            snapshots: reader.clone(),
            janitor,
            ingest: Arc::clone(&ingest),
        };
        let Kafka { sink, source, dead_letters, status, work } =
            kafka::start(settings, start).expect("started");
        let applier = Applier::new(
            source,
            builder,
            publisher,
            applied,
            Arc::clone(&ingest),
            Arc::clone(&clock),
        )
        .with_dead_letters(letters(dead_letters));
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = Runtime::new().expect("a runtime");
        let handle = runtime.handle().clone();
        let applier = std::thread::spawn(move || {
            handle.block_on(applier.run(async move {
                let _ = stopped.await;
            }))
        });
        Self {
            runtime,
            sink,
            status,
            ingest,
            reader,
            clock,
            stop: Some(stop),
            applier: Some(applier),
            threads: work.map(std::thread::spawn).into(),
        }
    }

    /// Starts to read, and waits until requests are decided.
    pub(crate) fn ready(settings: &KafkaSettings) -> Self {
        Self::ready_with(settings, Options::default())
    }

    /// The same, with options.
    pub(crate) fn ready_with(settings: &KafkaSettings, options: Options) -> Self {
        let replica = Self::start_with(settings, options, |letters| Box::new(letters));
        replica.wait("ready", |replica| replica.reader.load().is_caught_up());
        replica
    }

    /// How old the knowledge is.
    pub(crate) fn age(&self) -> Duration {
        self.reader.age(&*self.clock).unwrap_or(Duration::MAX)
    }

    /// Waits until everything that was appended before this call is known to be applied.
    pub(crate) fn current(&self) {
        let asked = Instant::now();
        self.wait("current", |replica| replica.age() < asked.elapsed());
    }

    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            let fault = self.status.fault();
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "not {what}: {fault:?} {:?} {:?}",
                self.age(),
                self.status.partitions()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn publish(&self, events: Vec<Vec<u8>>) -> Result<Vec<Accepted>, AppendError> {
        self.runtime.block_on(self.sink.append(events))
    }

    /// Publishes, and waits until decisions follow.
    pub(crate) fn enforce(&self, events: Vec<Vec<u8>>) {
        for accepted in self.publish(events).expect("accepted") {
            let applied = self.sink.applied(accepted.position);
            let applied = async { tokio::time::timeout(Duration::from_secs(10), applied).await };
            self.runtime.block_on(applied).expect("in time").expect("applied");
        }
    }

    /// What is decided of a token of each user, issued an hour ago or half a horizon, whichever is
    /// less.
    pub(crate) fn decide(
        &self,
        users: impl Iterator<Item = String>,
        now: UnixMillis,
    ) -> Vec<Decision> {
        let snapshot = self.reader.load();
        let profile = Profile::default();
        let age_s = 3600.min(snapshot.rules().horizon.as_secs() / 2);
        let age_s = i64::try_from(age_s).expect("an hour at the most");
        let decided = users.map(|user| {
            let claims = Claims {
                issuer: Some(ISSUER),
                tenant: Some(TENANT),
                subject: Some(&user),
                issued_at: Some(now.floor_to_second().as_seconds() - age_s),
                answers_challenges: true,
                ..Claims::default()
            };
            let token = Token::parse(&claims);
            let request = AccessRequest { token, profile: &profile, seen: Seen::Unknown };
            let at = At { now, log_age: Duration::ZERO };
            Decision { generation: 0, ..decide(&snapshot, &request, at) }
        });
        decided.collect()
    }

    pub(crate) fn allows(&self, user: &str) -> bool {
        let decisions = self.decide([user.to_owned()].into_iter(), self.clock.now());
        decisions.first().is_some_and(|decision| decision.verdict == Verdict::Allow)
    }

    /// The bytes of a record, as caed writes it.
    pub(crate) fn stamped(&self, event: &[u8]) -> Vec<u8> {
        native::stamp(event, self.now()).expect("an event").0
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Waits for the fault that ends the reading.
    pub(crate) fn lost(mut self) -> String {
        let applier = self.applier.take().expect("running");
        let fault = applier.join().expect("no panic").expect_err("lost");
        fault.cause.to_string()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(applier) = self.applier.take() {
            let _ = applier.join();
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic");
        }
    }
}

/// An event as its sender writes it.
pub(crate) fn event(id: usize, fact: Fact) -> Vec<u8> {
    let event = v1::Event {
        id: id.to_string(),
        tenant: TENANT.to_owned(),
        source: "directory".to_owned(),
        fact: Some(fact),
        ..v1::Event::default()
    };
    event.encode_to_vec()
}

/// A revocation.
pub(crate) fn revoked(user: &str) -> Vec<u8> {
    event(0, Fact::SessionsRevoked(v1::SessionsRevoked { user: user.to_owned() }))
}
