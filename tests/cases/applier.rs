//! The single writer behind a scripted source: poison records (E16), the order of publishing and
//! announcing, and since when knowledge is current.
//!
//! The script hands over one word at a time and notes when it is asked for the next: by then the
//! word before has been carried out. So nothing here waits for time to pass.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caed_core::builder::Builder;
use caed_core::decision::{Decision, Reason, Verdict};
use caed_core::ingest::{Counter, Ingest};
use caed_core::limits::RANGES_COMPILED_AT_ONCE;
use caed_core::position::{Frontier, Incarnation, Offset, Partition, Position, Topics};
use caed_core::publish::{self, SnapshotReader};
use caed_core::sink::BoxFuture;
use caed_core::time::{Clock, UnixMillis};
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_streams::applier::Applier;
use caed_streams::source::{
    Batch, LogEnd, PartitionEnd, Records, Source, SourceEvent, SourceFault, SourceRecord,
};
use caed_tests::border;
use caed_tests::world::{From, Issuer, Millis, Request, Speaks, Text, World};
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

const NOW: Millis = 1_800_000_000_000;
const TENANT: Text = "contoso";
const ISSUER: Text = "https://any.example";
const LOG: &str = "scripted";

/// A source that says what a test hands it.
struct Script {
    words: mpsc::UnboundedReceiver<SourceEvent>,
    said: u64,
    /// How many words have been carried out.
    done: watch::Sender<u64>,
}

impl Source for Script {
    fn next(&mut self) -> BoxFuture<'_, SourceEvent> {
        Box::pin(async {
            self.done.send_replace(self.said);
            let Some(word) = self.words.recv().await else { pending().await };
            self.said += 1;
            word
        })
    }

    fn topics(&self) -> Topics {
        Topics::new([LOG.to_owned()])
    }
}

/// Shows what it is told: milliseconds after `NOW`, on both clocks.
#[derive(Default)]
struct VirtualClock {
    after: AtomicU64,
}

impl VirtualClock {
    fn set(&self, after: Duration) {
        let millis = u64::try_from(after.as_millis()).expect("milliseconds");
        self.after.store(millis, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> UnixMillis {
        border::millis(NOW).saturating_add(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.after.load(Ordering::Relaxed))
    }
}

/// An applier that runs, and everything around it.
struct Stage {
    words: mpsc::UnboundedSender<SourceEvent>,
    told: u64,
    done: watch::Receiver<u64>,
    applied: watch::Receiver<Frontier>,
    reader: SnapshotReader,
    ingest: Arc<Ingest>,
    clock: Arc<VirtualClock>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), SourceFault>>,
}

impl Stage {
    fn start() -> Self {
        let issuer = Issuer {
            name: ISSUER,
            tenants: Speaks::ForAll,
            issue_time_skew: 0,
            marks: false,
            one_hour: Vec::new(),
            exceptions: None,
        };
        let world = World {
            now: NOW,
            horizon: 108_000,
            skew: 300,
            issuers: vec![issuer],
            served: None,
            caught_up: false,
            ..World::default()
        };
        let mut builder = Builder::new(Arc::new(border::rules(&world)), 7);
        let (publisher, reader) = publish::cell(builder.freeze());
        let (announce, applied) = watch::channel(Frontier::default());
        let (words, script) = mpsc::unbounded_channel();
        let (carried_out, done) = watch::channel(0);
        let script = Script { words: script, said: 0, done: carried_out };
        let ingest = Arc::new(Ingest::default());
        let clock = Arc::new(VirtualClock::default());
        let applier = Applier::new(
            script,
            builder,
            publisher,
            announce,
            Arc::clone(&ingest),
            Arc::<VirtualClock>::clone(&clock),
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(applier.run(async { stopped.await.unwrap_or_default() }));
        Self { words, told: 0, done, applied, reader, ingest, clock, stop, running }
    }

    /// Hands over a word without waiting for what becomes of it.
    fn tell(&mut self, word: SourceEvent) {
        self.told += 1;
        self.words.send(word).expect("an applier that runs");
    }

    /// Hands over a word and waits until it has been carried out.
    async fn say(&mut self, word: SourceEvent) {
        self.tell(word);
        let told = self.told;
        self.done.wait_for(|&done| done >= told).await.expect("an applier that runs");
    }

    fn next_offset(&self) -> Offset {
        self.reader.load().frontier().next_offset(Partition::default())
    }

    fn age(&self) -> Option<Duration> {
        self.reader.age(&*self.clock)
    }

    async fn end(self) {
        self.stop.send(()).expect("an applier that runs");
        self.running.await.expect("no panic").expect("no fault");
    }
}

/// A revocation of a user's tokens, as a log holds it.
fn revocation(user: &str) -> Vec<u8> {
    event(Fact::SessionsRevoked(v1::SessionsRevoked { user: user.to_owned() }), 0)
}

/// An event that happened so many milliseconds after it was received, 10 s before `NOW`.
fn event(fact: Fact, ahead: i64) -> Vec<u8> {
    let received_ms = i64::try_from(NOW).expect("an instant") - 10_000;
    let event = v1::Event {
        id: String::new(),
        tenant: TENANT.to_owned(),
        source: "directory".to_owned(),
        event_time_ms: received_ms + ahead,
        received_ms,
        fact: Some(fact),
    };
    event.encode_to_vec()
}

/// Records from this offset on, that were appended together.
fn batch(from: u64, payloads: impl IntoIterator<Item = Vec<u8>>) -> SourceEvent {
    SourceEvent::Batch(Batch { is_whole: true, ..part(from, payloads) })
}

/// Records from this offset on, with more to come that was appended with them.
fn part(from: u64, payloads: impl IntoIterator<Item = Vec<u8>>) -> Batch {
    let payloads: Vec<_> = payloads.into_iter().collect();
    let records = (from..).zip(&payloads).map(|(offset, payload)| SourceRecord {
        position: Position { partition: Partition::default(), offset: Offset(offset) },
        appended: border::millis(NOW - 10_000),
        payload,
    });
    let records: Records = records.collect();
    let next = Offset(from + records.len() as u64);
    Batch { is_whole: false, partition: Partition::default(), records, next }
}

/// The log ended here, so long after `NOW`.
fn log_end(end: u64, after: Duration) -> SourceEvent {
    SourceEvent::End(LogEnd {
        wall: border::millis(NOW).saturating_add(after),
        monotonic: after,
        ends: vec![PartitionEnd {
            partition: Partition::default(),
            incarnation: None,
            end: Offset(end),
        }],
    })
}

/// Asks about a token of this user, from before every revocation.
fn ask(reader: &SnapshotReader, user: Text) -> Decision {
    let request = Request {
        issuer: Some(ISSUER),
        tenant: Some(TENANT),
        subject: Some(user),
        issued_at: Some(NOW / 1000 - 3600),
        cp1: true,
        ..Request::default()
    };
    border::ask(&reader.load(), &request, border::current(NOW))
}

/// Asks about a fresh token from an address.
fn ask_from(reader: &SnapshotReader, address: Text) -> Decision {
    let request = Request {
        issuer: Some(ISSUER),
        tenant: Some(TENANT),
        subject: Some("anna"),
        issued_at: Some(NOW / 1000 - 3600),
        cp1: true,
        address: Some("192.0.2.1"),
        from: From::At(address),
        ..Request::default()
    };
    border::ask(&reader.load(), &request, border::current(NOW))
}

#[tokio::test]
async fn a_record_that_is_not_understood_is_quarantined_and_holds_up_nothing() {
    let poison = b"\xff\xffno event".to_vec();
    let empty = v1::Event::default().encode_to_vec();
    let mut stage = Stage::start();
    stage.say(batch(0, [revocation("anna"), poison.clone(), empty, revocation("boris")])).await;
    stage.say(SourceEvent::CaughtUp).await;

    assert_eq!(stage.next_offset(), Offset(4));
    for user in ["anna", "boris"] {
        assert_eq!(ask(&stage.reader, user).primary, Some(Reason::Revoked), "{user}");
    }
    assert_eq!(stage.ingest.quarantined.value(), 2);
    assert_eq!(stage.ingest.changed.value(), 2);
    let notes = stage.ingest.quarantine_notes();
    let told: Vec<_> = notes.iter().map(|note| note.position.as_str()).collect();
    assert_eq!(told, ["scripted/0@1", "scripted/0@2"]);
    assert_eq!(notes[0].head, poison);
    assert!(notes[0].reason.starts_with("not a protobuf caed.v1.Event"), "{notes:?}");
    assert!(notes[1].reason.starts_with("tenant: is empty"), "{notes:?}");

    // Whatever was read before: the same record is the same poison.
    stage.say(batch(4, [poison])).await;
    assert_eq!(stage.next_offset(), Offset(5));
    let notes = stage.ingest.quarantine_notes();
    assert_eq!(notes[0].reason, notes[2].reason);
    stage.end().await;
}

#[tokio::test]
async fn nothing_is_answered_before_the_log_has_been_read_to_its_end() {
    let mut stage = Stage::start();
    stage.say(batch(0, [revocation("anna")])).await;
    stage.say(batch(1, [revocation("boris")])).await;
    assert_eq!(ask(&stage.reader, "anna").primary, Some(Reason::NotReady));
    assert_eq!(stage.next_offset(), Offset(0));
    assert_eq!(stage.applied.borrow().next_offset(Partition::default()), Offset(0));

    stage.say(SourceEvent::CaughtUp).await;
    assert_eq!(ask(&stage.reader, "anna").primary, Some(Reason::Revoked));
    assert_eq!(ask(&stage.reader, "carla").verdict, Verdict::Allow);
    assert_eq!(stage.applied.borrow().next_offset(Partition::default()), Offset(2));
    stage.end().await;
}

/// Whoever waits for a position and then asks, asks a snapshot that contains it: on several threads,
/// many times, with nothing but the announcement to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_announced_after_the_snapshot_that_contains_it() {
    let mut stage = Stage::start();
    stage.tell(SourceEvent::CaughtUp);
    for offset in 0..2000 {
        stage.tell(batch(offset, [revocation("anna")]));
        let position = Position { partition: Partition::default(), offset: Offset(offset) };
        let announced = stage.applied.wait_for(|frontier| frontier.contains(position)).await;
        let announced = announced.expect("an applier that runs").clone();
        let snapshot = stage.reader.load();
        assert!(snapshot.frontier().contains(position), "{offset}");
        assert!(
            snapshot.frontier().next_offset(Partition::default())
                >= announced.next_offset(Partition::default())
        );
        drop(snapshot);
        assert_eq!(ask(&stage.reader, "anna").primary, Some(Reason::Revoked));
    }
    stage.end().await;
}

#[tokio::test]
async fn knowledge_is_current_only_where_the_snapshot_reaches_the_end_of_the_log() {
    let second = Duration::from_secs(1);
    let mut stage = Stage::start();
    stage.say(batch(0, [revocation("anna")])).await;
    stage.say(log_end(1, Duration::ZERO)).await;
    assert_eq!(stage.age(), None, "nothing is published yet");

    stage.say(SourceEvent::CaughtUp).await;
    assert_eq!(stage.age(), Some(Duration::ZERO), "what was said before waits until it is reached");

    stage.clock.set(7 * second);
    assert_eq!(stage.age(), Some(7 * second), "nothing was confirmed since");
    stage.say(batch(1, [revocation("boris")])).await;
    assert_eq!(stage.age(), Some(7 * second), "a record alone confirms nothing");
    // The clocks were read before the log was asked, a second ago.
    stage.say(log_end(3, 6 * second)).await;
    stage.say(log_end(4, 7 * second)).await;
    assert_eq!(stage.age(), Some(7 * second), "a record is missing");
    stage.say(batch(2, [revocation("clara")])).await;
    assert_eq!(stage.age(), Some(second), "of two ends the first one is reached");
    stage.end().await;
}

/// A snapshot for each of many batches that wait would cost more than what they bring; one that comes alone has
/// its own at once.
#[tokio::test]
async fn what_waits_is_published_together() {
    let mut stage = Stage::start();
    stage.say(SourceEvent::CaughtUp).await;
    let generation = |stage: &Stage| stage.reader.load().generation();
    let before = generation(&stage);
    stage.say(batch(0, [revocation("anna")])).await;
    assert_eq!(generation(&stage), before + 1);
    stage.tell(batch(1, [revocation("boris")]));
    stage.tell(batch(2, [revocation("clara")]));
    stage.say(batch(3, [revocation("doris")])).await;
    assert_eq!((generation(&stage), stage.next_offset()), (before + 2, Offset(4)));
    // What is due comes before what was appended together begins, and nothing in the midst of that.
    stage.tell(batch(4, [revocation("emma")]));
    stage.say(SourceEvent::Batch(part(5, [revocation("frida")]))).await;
    assert_eq!((generation(&stage), stage.next_offset()), (before + 3, Offset(5)));
    stage.say(batch(6, [revocation("gerda")])).await;
    assert_eq!((generation(&stage), stage.next_offset()), (before + 4, Offset(7)));
    stage.end().await;
}

/// A log that takes long to read says every few seconds how far that is, and one that is read
/// quickly says nothing.
#[tokio::test]
async fn a_long_first_reading_tells_how_far_it_is() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&said);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Lines(Arc::clone(&writer)))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let lines = || String::from_utf8(said.lock().expect("no panic").clone()).expect("text");

    let mut stage = Stage::start();
    let some = |count| std::iter::repeat_with(|| revocation("anna")).take(count);
    stage.say(log_end(80, Duration::ZERO)).await;
    stage.say(batch(0, some(1))).await;
    assert!(!lines().contains("reading the log"), "{}", lines());
    stage.clock.set(Duration::from_secs(6));
    stage.say(batch(1, some(11))).await;
    let line = "reading the log records=12 per_second=2 percent=15 left_s=34";
    assert!(lines().contains(line), "{}", lines());
    stage.say(batch(12, some(18))).await;
    assert_eq!(lines().matches("reading the log").count(), 1, "not with every batch");
    // What was slow at first does not make the rest look slow.
    stage.clock.set(Duration::from_secs(12));
    stage.say(batch(30, some(30))).await;
    let line = "reading the log records=60 per_second=8 percent=75 left_s=2";
    assert!(lines().contains(line), "{}", lines());
    stage.say(SourceEvent::CaughtUp).await;
    assert!(lines().contains("the log has been read records=60 seconds=12"), "{}", lines());
    stage.clock.set(Duration::from_mins(1));
    stage.say(batch(60, some(1))).await;
    assert_eq!(lines().matches("reading the log").count(), 2, "not once it has been read");
    stage.end().await;
}

/// Lines of a log in memory.
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A location of more ranges than are indexed at once holds with the next snapshot, and goes on to hold
/// when its index has been compiled apart (P10).
#[tokio::test]
async fn an_index_that_is_compiled_apart_is_put_in_place() {
    let text = str::to_owned;
    let even = |number: usize| {
        format!("10.{}.{}.{}", number >> 15, (number >> 7) & 255, (number * 2) & 255)
    };
    let location = v1::LocationChanged {
        location: text("even"),
        ranges: Some(v1::IpRanges { cidrs: (0..=RANGES_COMPILED_AT_ONCE).map(even).collect() }),
        ..v1::LocationChanged::default()
    };
    let policy = v1::PolicyChanged {
        policy: text("not-from-even"),
        state: v1::PolicyState::Enabled.into(),
        users: Some(v1::PolicyUsers {
            include_users: vec![text("All")],
            ..v1::PolicyUsers::default()
        }),
        applications: Some(v1::PolicyApplications {
            include: vec![text("All")],
            ..v1::PolicyApplications::default()
        }),
        locations: Some(v1::PolicyLocations {
            include: vec![text("even")],
            ..v1::PolicyLocations::default()
        }),
        grant_controls: vec![text("block")],
        ..v1::PolicyChanged::default()
    };
    let mut stage = Stage::start();
    stage.say(SourceEvent::CaughtUp).await;
    let before = stage.reader.load().generation();
    let facts = [Fact::LocationChanged(location), Fact::PolicyChanged(policy)];
    stage.say(batch(0, facts.map(|fact| event(fact, 0)))).await;
    let holds = |reader: &SnapshotReader| {
        assert_eq!(ask_from(reader, "10.0.0.2").primary, Some(Reason::Location));
        assert_eq!(ask_from(reader, "10.0.78.32").primary, Some(Reason::Location), "the last one");
        assert_eq!(ask_from(reader, "10.0.0.3").verdict, Verdict::Allow);
    };
    holds(&stage.reader);
    // One snapshot brought the events, another one the index.
    while stage.reader.load().generation() < before + 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    holds(&stage.reader);
    stage.end().await;
}

#[tokio::test]
async fn what_was_appended_together_is_seen_together() {
    let mut stage = Stage::start();
    stage.say(SourceEvent::CaughtUp).await;
    stage.say(log_end(0, Duration::ZERO)).await;
    stage.say(SourceEvent::Batch(part(0, [revocation("anna")]))).await;
    stage.say(log_end(1, Duration::ZERO)).await;
    assert_eq!(stage.next_offset(), Offset(0), "a part of it is not published");
    stage.say(batch(1, [revocation("boris")])).await;
    assert_eq!(stage.next_offset(), Offset(2));
    stage.end().await;
}

#[tokio::test]
async fn a_log_that_was_made_again_is_read_over_what_is_known() {
    let partition = Partition::default();
    let begin =
        |identity| SourceEvent::Begin { partition, incarnation: Incarnation([identity; 16]) };
    let mut stage = Stage::start();
    stage.say(begin(1)).await;
    stage.say(SourceEvent::CaughtUp).await;
    stage.say(batch(0, [revocation("anna"), revocation("boris")])).await;
    assert_eq!(stage.next_offset(), Offset(2));
    stage.say(begin(2)).await;
    stage.say(batch(0, [revocation("clara")])).await;
    assert_eq!(stage.next_offset(), Offset(1), "the offsets are another log's");
    for user in ["anna", "boris", "clara"] {
        assert_eq!(ask(&stage.reader, user).verdict, Verdict::Challenge, "{user}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_hole_in_a_compacted_log_is_passed() {
    let mut stage = Stage::start();
    stage.say(SourceEvent::CaughtUp).await;
    let hole = Batch { is_whole: true, next: Offset(40), ..part(0, []) };
    stage.say(SourceEvent::Batch(hole)).await;
    assert_eq!(stage.next_offset(), Offset(40));
    stage.say(batch(40, [revocation("anna")])).await;
    assert_eq!(stage.next_offset(), Offset(41));
    stage.end().await;
}

#[tokio::test]
async fn what_a_sender_should_know_is_counted() {
    let client = |user: &str| {
        let (client, user) = ("app-1".to_owned(), user.to_owned());
        Fact::ClientRevoked(v1::ClientRevoked { client, user })
    };
    let horizon_ms = 108_000_000;
    let mut stage = Stage::start();
    stage
        .say(batch(
            0,
            [
                event(client(""), 0),
                event(client("anna"), 0),
                event(client("anna"), 0),
                event(client("anna"), 300_001),
                event(client("anna"), -horizon_ms - 1),
                event(client("anna"), -horizon_ms),
            ],
        ))
        .await;
    let Ingest { changed, unchanged, stale, .. } = &*stage.ingest;
    assert_eq!([changed, unchanged, stale].map(Counter::value), [2, 2, 2]);
    assert_eq!(stage.ingest.missing_tokens_without_claim.value(), 1);
    assert_eq!(stage.ingest.cutoffs_set_to_receipt.value(), 1);
    assert_eq!(stage.ingest.older_than_horizon.value(), 1);
    assert_eq!(stage.ingest.times_read_as_seconds.value(), 0);
    stage.end().await;
}

#[tokio::test]
async fn a_source_that_is_lost_ends_the_applier_with_its_fault() {
    let mut stage = Stage::start();
    stage.tell(SourceEvent::Lost(SourceFault { cause: "the disk is gone".into() }));
    let fault = stage.running.await.expect("no panic").expect_err("a fault");
    assert_eq!(fault.cause.to_string(), "the disk is gone");
}
