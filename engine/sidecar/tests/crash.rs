//! The real sidecar killed without a word while clients publish, again and again on one log.
//!
//! After every restart each event that was ever acknowledged has to be enforced, from the very
//! first decision after the process calls itself ready; before that every token is refused as
//! `not_ready`. An offset that was acknowledged for one event is never given to another.
//!
//! A kill takes the process, not the page cache: what a power cut would take is the business of the
//! log's own tests on a simulated disk.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use process::{ANY_PORTS, Dice, Sidecar, Site, ask, get, now_ms, publish, revoked};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const SEED: u64 = 0x00c0_ffee_d15c;
const ROUNDS: u64 = 14;
const CLIENTS: u64 = 4;

/// Events that make reading the log take a moment.
const BALLAST_CALLS: u64 = 60;

/// What a client was told about one of its events.
#[derive(Clone, Debug)]
struct Acknowledged {
    user: String,
    offset: u64,
    /// When the call began and when its answer was there: the event was received in between.
    sent_ms: i64,
    answered_ms: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_enforced_after_every_kill() {
    let site = Site::new();
    let config = site.config("caed.toml", ANY_PORTS, "");
    let mut dice = Dice(SEED);
    // By offset; a second event at the same one is the fault.
    let mut acknowledged = BTreeMap::new();
    ballast(&config, &mut acknowledged).await;
    for round in 0..ROUNDS {
        let sidecar = Sidecar::start(&config);
        if round % 5 == 4 {
            // Killed while it reads its log.
            sidecar.kill();
            continue;
        }
        let channel = sidecar.connect().await;
        until_ready(&sidecar, channel.clone(), round, &acknowledged).await;
        check_all(channel, &acknowledged).await;
        let answers = Arc::new(Mutex::new(Vec::new()));
        let (count, mut counted) = watch::channel(0);
        let count = Arc::new(count);
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let channel = sidecar.connect().await;
            let seed = dice.below(u64::MAX) | 1;
            let (answers, count) = (Arc::clone(&answers), Arc::clone(&count));
            let name = format!("u-{round}-{client}");
            clients.push(tokio::spawn(publish_until_killed(channel, seed, name, answers, count)));
        }
        let instant = 1 + dice.below(150);
        counted.wait_for(|count| *count >= instant).await.expect("clients publish");
        for _ in 0..dice.below(20_000) {
            std::hint::spin_loop();
        }
        sidecar.kill();
        for client in clients {
            client.await.expect("a client");
        }
        note(&mut acknowledged, &answers.lock().expect("whole"), round);
    }
    let sidecar = Sidecar::start(&config);
    let channel = sidecar.connect().await;
    until_ready(&sidecar, channel.clone(), 0, &acknowledged).await;
    check_all(channel, &acknowledged).await;
    let ended = sidecar.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

/// Publishes what is only there to be read again.
async fn ballast(config: &std::path::Path, acknowledged: &mut BTreeMap<u64, Acknowledged>) {
    let sidecar = Sidecar::start(config);
    let mut events = EventPublisherClient::new(sidecar.connect().await);
    for call in 0..BALLAST_CALLS {
        let users: Vec<_> = (0..1000).map(|index| format!("b-{call}-{index}")).collect();
        let answers = publish_once(&mut events, &users).await.expect("published");
        // One of each call is looked after.
        note(acknowledged, &answers[999..], 0);
    }
    sidecar.kill();
}

async fn publish_until_killed(
    channel: Channel,
    seed: u64,
    name: String,
    answers: Arc<Mutex<Vec<Acknowledged>>>,
    count: Arc<watch::Sender<u64>>,
) {
    let mut dice = Dice(seed);
    let mut events = EventPublisherClient::new(channel);
    for call in 0.. {
        let length = if dice.below(10) == 0 { 1 + dice.below(300) } else { 1 + dice.below(6) };
        let users: Vec<_> = (0..length).map(|index| format!("{name}-{call}-{index}")).collect();
        let Ok(new) = publish_once(&mut events, &users).await else { break };
        answers.lock().expect("whole").extend(new);
        count.send_modify(|count| *count += 1);
    }
}

async fn publish_once(
    events: &mut EventPublisherClient<Channel>,
    users: &[String],
) -> Result<Vec<Acknowledged>, tonic::Status> {
    let sent_ms = now_ms();
    let request = publish(users.iter().map(|user| revoked(user)).collect(), v1::Wait::Durable);
    let reply = events.publish(request).await?.into_inner();
    let answered_ms = now_ms();
    assert_eq!(reply.published.len(), users.len());
    let acknowledged = reply.published.into_iter().zip(users).map(|(published, user)| {
        let offset = published.position.expect("a position").offset;
        Acknowledged { user: user.clone(), offset, sent_ms, answered_ms }
    });
    Ok(acknowledged.collect())
}

fn note(all: &mut BTreeMap<u64, Acknowledged>, new: &[Acknowledged], round: u64) {
    for one in new {
        let before = all.insert(one.offset, one.clone());
        assert!(before.is_none(), "seed {SEED:#x}, round {round}: {before:?}, then {one:?}");
    }
}

/// Asks all the time until the process calls itself ready, by HTTP or by gRPC in turn. Every answer
/// is a refusal or right, and the first one after that is right.
async fn until_ready(
    sidecar: &Sidecar,
    channel: Channel,
    round: u64,
    acknowledged: &BTreeMap<u64, Acknowledged>,
) {
    let mut decisions = AccessEvaluationClient::new(channel.clone());
    let (_, newest) = acknowledged.last_key_value().expect("there is ballast");
    let mut health = HealthClient::new(channel);
    let mut decided = false;
    loop {
        let is_ready = if round.is_multiple_of(2) {
            let (status, body) = get(sidecar.admin(), "/readyz");
            assert!(status == 200 || status == 503, "{status} {body}");
            status == 200
        } else {
            let request = HealthCheckRequest { service: String::new() };
            let status = health.check(request).await.expect("answered").into_inner().status();
            status == ServingStatus::Serving
        };
        let reply = decisions.evaluate(ask(&newest.user)).await.expect("answered").into_inner();
        let is_refused = reply.primary_reason() == v1::Reason::NotReady;
        if is_refused {
            assert!(!is_ready, "seed {SEED:#x}, round {round}: ready, but {reply:?}");
            assert!(!decided, "seed {SEED:#x}, round {round}: ready no more: {reply:?}");
            assert_eq!((reply.verdict(), reply.http_status), (v1::Verdict::Deny, 503));
            assert!(reply.retry_after_s > 0, "{reply:?}");
        } else {
            decided = true;
            check(newest, &reply);
        }
        if is_ready {
            break;
        }
    }
}

/// Checks that every acknowledged event is enforced.
async fn check_all(channel: Channel, acknowledged: &BTreeMap<u64, Acknowledged>) {
    let mut decisions = AccessEvaluationClient::new(channel);
    let all: Vec<_> = acknowledged.values().collect();
    for some in all.chunks(999) {
        let mut requests: Vec<_> = some.iter().map(|one| ask(&one.user)).collect();
        requests.push(ask("nobody-spoke-of"));
        let request = v1::EvaluateBatchRequest { requests };
        let replies = decisions.evaluate_batch(request).await.expect("answered").into_inner();
        let (last, replies) = replies.replies.split_last().expect("replies");
        assert_eq!(last.verdict(), v1::Verdict::Allow, "{last:?}");
        assert_eq!(replies.len(), some.len());
        some.iter().zip(replies).for_each(|(one, reply)| check(one, reply));
    }
}

fn check(one: &Acknowledged, reply: &v1::EvaluateReply) {
    let said = format!("seed {SEED:#x}: {one:?}: {reply:?}");
    assert_eq!(reply.verdict(), v1::Verdict::Challenge, "{said}");
    let [finding] = reply.findings.as_slice() else { panic!("{said}") };
    assert_eq!((finding.reason(), finding.scope()), (v1::Reason::Revoked, v1::Scope::User));
    // The very event: its instant is the one of its receipt.
    assert!((one.sent_ms..=one.answered_ms).contains(&finding.since_ms), "{said}");
    let challenge = reply.challenge.as_ref().expect("a challenge");
    assert_eq!(challenge.nbf, finding.since_ms / 1000 + 1, "{said}");
}
