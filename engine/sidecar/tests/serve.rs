//! `caed serve` as gateways, probes and orchestrators meet it.
//!
//! What needs no process of its own is asked of one, part after part; a part names what it shows.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_proto::v1::operations_client::OperationsClient;
use caed_sidecar::app::GRACE;
use process::{
    ANY_PORTS, Sidecar, Site, TENANT, ask, ask_issued, connect, event, get, now_ms, post, publish,
    revoked,
};
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// Everything that a client can call.
struct Clients {
    events: EventPublisherClient<Channel>,
    decisions: AccessEvaluationClient<Channel>,
    operations: OperationsClient<Channel>,
}

impl Clients {
    fn new(channel: &Channel) -> Self {
        Self {
            events: EventPublisherClient::new(channel.clone()),
            decisions: AccessEvaluationClient::new(channel.clone()),
            operations: OperationsClient::new(channel.clone()),
        }
    }

    async fn publish(
        &mut self,
        events: Vec<v1::Event>,
        wait: v1::Wait,
    ) -> Result<v1::PublishReply, Status> {
        self.events.publish(publish(events, wait)).await.map(tonic::Response::into_inner)
    }

    async fn evaluate(&mut self, request: v1::EvaluateRequest) -> v1::EvaluateReply {
        self.decisions.evaluate(request).await.expect("answered").into_inner()
    }

    async fn batch(
        &mut self,
        requests: Vec<v1::EvaluateRequest>,
    ) -> Result<v1::EvaluateBatchReply, Status> {
        let request = v1::EvaluateBatchRequest { requests };
        self.decisions.evaluate_batch(request).await.map(tonic::Response::into_inner)
    }

    async fn status(&mut self) -> v1::StatusReply {
        self.operations.status(v1::StatusRequest {}).await.expect("answered").into_inner()
    }
}

/// A question without a token.
fn empty() -> v1::EvaluateRequest {
    v1::EvaluateRequest::default()
}

async fn until_serving(channel: &Channel) {
    let request = HealthCheckRequest { service: String::new() };
    let watched = HealthClient::new(channel.clone()).watch(request).await.expect("watched");
    let mut watched = watched.into_inner();
    while let Some(reply) = watched.message().await.expect("a status") {
        if reply.status() == ServingStatus::Serving {
            return;
        }
    }
    panic!("it never served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_serves_what_it_documents() {
    let site = Site::new();
    let socket = site.path("caed.sock");
    // Left behind by a process that is gone: nobody listens any more.
    drop(UnixListener::bind(&socket).expect("bound"));
    let listen = format!("{ANY_PORTS}\ngrpc_socket = '{}'", socket.display());
    let own = std::fs::metadata(site.path("")).expect("a folder of ours").uid();
    let owner = format!("[[access]]\nuid = {own}\nmay = [\"decide\", \"vouch\"]");
    let sidecar = Sidecar::start(&site.config("caed.toml", &listen, &owner));
    let channel = sidecar.connect().await;
    until_serving(&channel).await;
    let mut clients = Clients::new(&channel);

    reflection_lists_the_services(&channel).await;
    probes_answer(&sidecar);
    a_socket_serves_its_owner(&socket).await;
    status_counts_what_happened(&mut clients).await;
    metrics_count_what_was_asked(&mut clients, &sidecar).await;
    errors_name_the_field(&mut clients).await;
    what_is_refused_leaves_no_trace(&mut clients).await;
    what_was_applied_is_seen_at_once(&mut clients, &sidecar).await;
    a_stream_answers_in_order(&mut clients).await;
    a_batch_sees_one_generation(&sidecar).await;
    knowledge_stays_young_while_nothing_happens(&mut clients).await;

    let ended = sidecar.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.took < GRACE, "{ended:#?}");
    assert!(!socket.exists(), "the socket is removed at the end");
}

async fn reflection_lists_the_services(channel: &Channel) {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel.clone());
    let replies = client.server_reflection_info(tokio_stream::iter([request])).await;
    let reply = replies.expect("answered").into_inner().message().await.expect("a reply");
    let Some(MessageResponse::ListServicesResponse(list)) =
        reply.and_then(|it| it.message_response)
    else {
        panic!("no list")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for expected in [
        "caed.v1.AccessEvaluation",
        "caed.v1.EventPublisher",
        "caed.v1.Operations",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected}: {names:?}");
    }
}

fn probes_answer(sidecar: &Sidecar) {
    assert_eq!(get(sidecar.admin(), "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(sidecar.admin(), "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(get(sidecar.admin(), "/nothing").0, 404);
}

async fn a_socket_serves_its_owner(socket: &std::path::Path) {
    let mode = std::fs::metadata(socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let channel = connect(&format!("unix:{}", socket.display())).await;
    let reply = Clients::new(&channel).evaluate(ask("over-a-socket")).await;
    assert_eq!(reply.verdict(), v1::Verdict::Allow);
}

async fn status_counts_what_happened(clients: &mut Clients) {
    let before = clients.status().await;
    let at = |user: &str, event_time_ms| v1::Event { event_time_ms, ..revoked(user) };
    let now = now_ms();
    let declared = v1::ClientRevoked { client: "any".to_owned(), user: String::new() };
    let events = vec![
        at("counted-1", now),
        at("counted-2", now / 1000),
        at("counted-3", now + 600_000),
        at("counted-1", now),
        at("counted-1", now - 5000),
        event(Fact::ClientRevoked(declared)),
    ];
    let reply = clients.publish(events, v1::Wait::Applied).await.expect("published");
    let notices: Vec<_> =
        reply.published.iter().map(|one| one.notices().collect::<Vec<_>>()).collect();
    let expected = [
        vec![],
        vec![v1::Notice::TimeReadAsSeconds],
        vec![v1::Notice::CutoffSetToReceipt],
        vec![],
        vec![],
        vec![v1::Notice::MissesTokensWithoutClaim],
    ];
    assert_eq!(notices, expected);
    assert!(0 < reply.durable_us && reply.durable_us <= reply.applied_us, "{reply:?}");

    let after = clients.status().await;
    assert!(after.ready);
    assert_eq!((after.version.as_str(), after.horizon_s), (env!("CARGO_PKG_VERSION"), 30 * 3600));
    assert!(after.log_bytes > before.log_bytes);
    assert!(after.quarantined.is_empty());
    let (was, is) = (before.records.expect("counted"), after.records.expect("counted"));
    assert_eq!(
        (is.changed, is.unchanged, is.stale),
        (was.changed + 4, was.unchanged + 1, was.stale + 1)
    );
    assert_eq!(is.times_read_as_seconds, was.times_read_as_seconds + 1);
    assert_eq!(is.cutoffs_set_to_receipt, was.cutoffs_set_to_receipt + 1);
    assert_eq!(is.missing_tokens_without_claim, was.missing_tokens_without_claim + 1);
    let (held, holds) = (before.holdings.expect("held"), after.holdings.expect("held"));
    assert_eq!((holds.cutoffs, holds.tenants), (held.cutoffs + 4, 1));
    let reached = after.knowledge.and_then(|it| it.frontier).expect("known").reached;
    let last = reply.published.last().and_then(|one| one.position.clone()).expect("placed");
    let [v1::Reached { log, partition, next, incarnation }] = &reached[..] else {
        panic!("one partition: {reached:?}")
    };
    assert_eq!((log, *partition, *next), (&last.log, last.partition, last.offset + 1));
    assert_eq!(incarnation.len(), 32);
}

async fn metrics_count_what_was_asked(clients: &mut Clients, sidecar: &Sidecar) {
    let events = vec![revoked("measured")];
    clients.publish(events, v1::Wait::Applied).await.expect("published");
    let before = metrics(sidecar);
    for _ in 0..3 {
        clients.evaluate(ask("unsuspected")).await;
    }
    clients.batch(vec![ask("measured"), ask("measured")]).await.expect("answered");
    clients.evaluate(ask("control\u{7}character")).await;
    let after = metrics(sidecar);
    let value = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |number| number.parse().expect("a number"))
    };
    for (labels, count) in [
        ("verdict=\"allow\",reason=\"none\"", 3.0),
        ("verdict=\"challenge\",reason=\"revoked\"", 2.0),
        ("verdict=\"deny\",reason=\"malformed\"", 1.0),
    ] {
        let name = format!("caed_decisions_total{{{labels}}}");
        let grown = value(&after, &name) - value(&before, &name);
        assert!((grown - count).abs() < 0.5, "{name}: {grown}\n{after}");
    }
    let age = value(&after, "caed_knowledge_age_seconds");
    assert!((0.0..1.0).contains(&age), "{age}");
    assert!((value(&after, "caed_ready") - 1.0).abs() < 0.5, "{after}");
    assert!(after.ends_with("# EOF\n"), "{after}");
    assert!(!after.contains("measured"), "no subject is ever a label");
}

fn metrics(sidecar: &Sidecar) -> String {
    let (status, body) = get(sidecar.admin(), "/metrics");
    assert_eq!(status, 200);
    body
}

async fn errors_name_the_field(clients: &mut Clients) {
    let refused = |error: Status, text: &str| {
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().starts_with(text), "{text}: {}", error.message());
    };
    let error = clients.decisions.evaluate(empty()).await.expect_err("refused");
    refused(error, "token: is missing;");
    let mut requests = vec![ask("u"); 5];
    requests[3] = empty();
    for (requests, text) in [
        (requests, "requests[3].token: is missing;"),
        (vec![], "requests: is empty;"),
        (vec![ask("u"); 1001], "requests: has 1001 elements; at most 1000"),
    ] {
        refused(clients.batch(requests).await.expect_err("refused"), text);
    }
    let disabled =
        |user: &str| event(Fact::AccountDisabled(v1::AccountDisabled { user: user.to_owned() }));
    for (events, text) in [
        (vec![disabled("u"), disabled("")], "events[1].account_disabled.user: is empty"),
        (vec![], "events: is empty;"),
        (vec![revoked("u"); 1001], "events: has 1001 elements; at most 1000"),
        (
            vec![v1::Event { received_ms: now_ms(), ..revoked("u") }],
            "events[0].received_ms: is stamped by caed",
        ),
        (vec![v1::Event { fact: None, ..revoked("u") }], "events[0].fact: is missing;"),
        (
            vec![revoked("u"), v1::Event { tenant: String::new(), ..revoked("u") }],
            "events[1].tenant: is empty",
        ),
    ] {
        let error = clients.publish(events, v1::Wait::Durable).await.expect_err("refused");
        refused(error, text);
    }
    let request = v1::PublishRequest { events: vec![revoked("u")], wait: 9 };
    let error = clients.events.publish(request).await.expect_err("refused");
    refused(error, "wait: `9` is not known;");
}

async fn what_is_refused_leaves_no_trace(clients: &mut Clients) {
    let log_bytes = clients.status().await.log_bytes;
    let events = vec![revoked("spared"), revoked("")];
    clients.publish(events, v1::Wait::Applied).await.expect_err("refused");
    assert_eq!(clients.evaluate(ask("spared")).await.verdict(), v1::Verdict::Allow);
    assert_eq!(clients.status().await.log_bytes, log_bytes);
}

async fn what_was_applied_is_seen_at_once(clients: &mut Clients, sidecar: &Sidecar) {
    // Another connection: nothing but the snapshot can carry the news.
    let mut others = Clients::new(&sidecar.connect().await);
    for count in 0..100 {
        let user = format!("seen-{count}");
        clients.publish(vec![revoked(&user)], v1::Wait::Applied).await.expect("published");
        let reply = others.evaluate(ask(&user)).await;
        assert_eq!(reply.verdict(), v1::Verdict::Challenge, "{reply:?}");
        let fresh = others.evaluate(ask_issued(&user, now_ms() / 1000 + 2)).await;
        assert_eq!(fresh.verdict(), v1::Verdict::Allow, "{fresh:?}");
    }
}

async fn a_stream_answers_in_order(clients: &mut Clients) {
    clients.publish(vec![revoked("streamed")], v1::Wait::Applied).await.expect("published");
    let request = |index: usize| match index % 3 {
        0 => ask("unsuspected"),
        1 => ask("streamed"),
        _ => ask(""),
    };
    let requests: Vec<_> = (0..300).map(request).collect();
    let replies = clients.decisions.evaluate_stream(tokio_stream::iter(requests)).await;
    let replies: Vec<_> = replies.expect("answered").into_inner().collect().await;
    assert_eq!(replies.len(), 300);
    let mut generation = 0;
    for (index, reply) in replies.into_iter().enumerate() {
        let reply = reply.expect("answered");
        let expected = match index % 3 {
            0 => v1::Verdict::Allow,
            1 => v1::Verdict::Challenge,
            _ => v1::Verdict::Deny,
        };
        assert_eq!(reply.verdict(), expected, "{index}: {reply:?}");
        let knowledge = reply.knowledge.expect("known");
        assert!(knowledge.generation >= generation, "{index}");
        generation = knowledge.generation;
    }
    // A fault ends the stream, after the answers to what came before it.
    let replies = clients.decisions.evaluate_stream(tokio_stream::iter([ask("u"), empty()])).await;
    let mut replies = replies.expect("answered").into_inner();
    assert!(replies.message().await.expect("answered").is_some());
    let error = replies.message().await.expect_err("refused");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
}

/// Users are revoked in pairs, each pair by one call. Whoever asks about both in one batch sees
/// both revoked or none.
async fn a_batch_sees_one_generation(sidecar: &Sidecar) {
    const SERIES: usize = 4;
    let stop = Arc::new(AtomicBool::new(false));
    let published: Arc<Vec<AtomicU64>> = Arc::new((0..SERIES).map(|_| AtomicU64::new(0)).collect());
    let mut publishers = Vec::new();
    for series in 0..SERIES {
        let mut clients = Clients::new(&sidecar.connect().await);
        let (stop, published) = (Arc::clone(&stop), Arc::clone(&published));
        publishers.push(tokio::spawn(async move {
            for pair in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let events = ["a", "b"].map(|one| revoked(&member(one, series, pair)));
                clients.publish(events.into(), v1::Wait::Durable).await.expect("published");
                published[series].store(pair + 1, Ordering::Relaxed);
            }
        }));
    }
    let mut clients = Clients::new(&sidecar.connect().await);
    let (mut generation, mut batches, mut none, mut both) = (0, 0_u64, 0_u64, 0_u64);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1200) {
        let mut pairs = Vec::new();
        for (series, published) in published.iter().enumerate() {
            let newest = published.load(Ordering::Relaxed);
            pairs.extend((newest.saturating_sub(2)..newest + 8).map(|pair| (series, pair)));
        }
        // All the first ones, then all the second ones: whatever changes in between would show.
        let of = |one: &'static str| {
            pairs.iter().map(move |(series, pair)| ask(&member(one, *series, *pair)))
        };
        let reply = clients.batch(of("a").chain(of("b")).collect()).await.expect("answered");
        let (first, second) = reply.replies.split_at(pairs.len());
        for ((a, b), pair) in first.iter().zip(second).zip(&pairs) {
            assert_eq!(a.verdict(), b.verdict(), "{pair:?}: {a:?} {b:?}");
            match a.verdict() {
                v1::Verdict::Allow => none += 1,
                v1::Verdict::Challenge => both += 1,
                _ => panic!("{a:?}"),
            }
        }
        assert!(reply.replies.iter().all(|one| one.knowledge.is_none()), "it stands once");
        let knowledge = reply.knowledge.expect("known");
        assert!(knowledge.generation >= generation, "generations grow");
        assert!(knowledge.age_ms.is_some_and(|age| age < 1000), "{knowledge:?}");
        generation = knowledge.generation;
        batches += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await.expect("a publisher");
    }
    assert!(batches > 20 && none > 20 && both > 20, "{batches} {none} {both}");
}

fn member(one: &str, series: usize, pair: u64) -> String {
    format!("pair-{series}-{pair}-{one}")
}

async fn knowledge_stays_young_while_nothing_happens(clients: &mut Clients) {
    // Whatever else was published before this has been applied with it.
    clients.publish(vec![revoked("last")], v1::Wait::Applied).await.expect("published");
    let generation = |reply: &v1::StatusReply| reply.knowledge.as_ref().map(|it| it.generation);
    let first = clients.status().await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1200) {
        let reply = clients.status().await;
        assert_eq!(generation(&reply), generation(&first), "nothing happens");
        let age = reply.knowledge.and_then(|it| it.age_ms);
        assert!(age.is_some_and(|age| age < 1000), "{age:?}");
        // Time has to pass here: that is what is watched.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_turns_to_serving_once_the_log_is_read() {
    let site = Site::new();
    let config = site.config("caed.toml", ANY_PORTS, "");
    let sidecar = Sidecar::start(&config);
    let channel = sidecar.connect().await;
    let mut clients = Clients::new(&channel);
    for call in 0..150 {
        let events = (0..1000).map(|index| revoked(&format!("many-{call}-{index}"))).collect();
        clients.publish(events, v1::Wait::Durable).await.expect("published");
    }
    sidecar.terminate();

    let sidecar = Sidecar::start(&config);
    let channel = sidecar.connect().await;
    let request = HealthCheckRequest { service: "caed.v1.AccessEvaluation".to_owned() };
    let watched = HealthClient::new(channel.clone()).watch(request).await.expect("watched");
    let mut watched = watched.into_inner();
    let mut clients = Clients::new(&channel);
    let first = watched.message().await.expect("a status").expect("a status");
    assert_eq!(first.status(), ServingStatus::NotServing, "150,000 events take a moment");
    let second = watched.message().await.expect("a status").expect("a status");
    assert_eq!(second.status(), ServingStatus::Serving);
    let reply = clients.evaluate(ask("many-149-999")).await;
    assert_eq!(reply.verdict(), v1::Verdict::Challenge, "{reply:?}");
    assert_eq!(get(sidecar.admin(), "/readyz").0, 200);
    drop(watched);
    let status = clients.status().await;
    assert_eq!(status.holdings.map(|it| it.cutoffs), Some(150_000));
}

/// Publishes until it is told that nothing is taken any more. Returns who is revoked for certain.
async fn publish_to_the_end(
    mut clients: Clients,
    name: &str,
    first: tokio::sync::oneshot::Sender<()>,
) -> Vec<String> {
    let mut certain = Vec::new();
    let mut first = Some(first);
    loop {
        let user = format!("{name}-{}", certain.len());
        if clients.publish(vec![revoked(&user)], v1::Wait::Durable).await.is_err() {
            return certain;
        }
        certain.push(user);
        if let Some(first) = first.take() {
            let _ = first.send(());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn sigterm_ends_it_while_clients_publish_and_idle() {
    let site = Site::new();
    let config = site.config("caed.toml", ANY_PORTS, "");
    let sidecar = Sidecar::start(&config);
    let idle = sidecar.connect().await;
    until_serving(&idle).await;
    let (first, begun) = tokio::sync::oneshot::channel();
    let clients = Clients::new(&sidecar.connect().await);
    let publishing = tokio::spawn(async move { publish_to_the_end(clients, "late", first).await });
    begun.await.expect("published");
    let ended = sidecar.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.took < GRACE, "{ended:#?}");
    let certain = publishing.await.expect("a publisher");
    drop(idle);

    let sidecar = Sidecar::start(&config);
    let channel = sidecar.connect().await;
    until_serving(&channel).await;
    let mut clients = Clients::new(&channel);
    for users in certain.chunks(1000) {
        let requests = users.iter().map(|user| ask(user)).collect();
        let replies = clients.batch(requests).await.expect("answered").replies;
        assert!(replies.iter().all(|reply| reply.verdict() == v1::Verdict::Challenge));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_although_a_stream_stays_open() {
    let site = Site::new();
    let sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    let channel = sidecar.connect().await;
    until_serving(&channel).await;
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    requests.send(ask("u")).await.expect("sent");
    let replies = Clients::new(&channel).decisions.evaluate_stream(outgoing).await;
    let mut replies = replies.expect("answered").into_inner();
    assert!(replies.message().await.expect("answered").is_some());
    let ended = sidecar.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.took < GRACE + Duration::from_secs(2), "{ended:#?}");
    drop((requests, replies));
}

#[test]
fn sigterm_ends_it_although_a_connection_says_nothing() {
    let site = Site::new();
    let sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    let silent = TcpStream::connect(sidecar.grpc()).expect("connected");
    let silent_admin = TcpStream::connect(sidecar.admin()).expect("connected");
    // Connections are accepted in order: once this is answered, so is the silent one.
    assert_eq!(get(sidecar.admin(), "/healthz").0, 200);
    let ended = sidecar.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.took < GRACE + Duration::from_secs(2), "{ended:#?}");
    drop((silent, silent_admin));
}

#[test]
fn what_it_can_not_serve_it_says_in_one_line() {
    let site = Site::new();
    let sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    let refused = |listen: &str, more: &str| {
        let ended = Sidecar::refused(&site.config("other.toml", listen, more));
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        ended.one_line().to_owned()
    };

    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    let line = refused(&format!("grpc = \"{address}\""), "");
    assert!(
        line.starts_with(&format!("caed: listen.grpc: {address} can not be bound: ")),
        "{line}"
    );

    let socket = site.path("served.sock");
    let served = UnixListener::bind(&socket).expect("bound");
    let line = refused(&format!("grpc_socket = '{}'", socket.display()), "");
    assert!(
        line.contains("listen.grpc_socket: ") && line.ends_with("is served by another process"),
        "{line}"
    );
    drop(served);
    let file = site.file("file", "not a socket");
    let line = refused(&format!("grpc_socket = '{}'", file.display()), "");
    assert!(line.contains("can not be bound"), "{line}");
    assert!(file.exists(), "what is no socket is left alone");

    let line = refused(ANY_PORTS, "");
    assert!(line.contains("is in use by another process; stop that one"), "{line}");
    assert_eq!(sidecar.terminate().code, Some(0));

    let line = refused(ANY_PORTS, "[tokens]\nhorizon = \"40h\"");
    assert!(
        line.contains("was created with a horizon of 108000 s, which never changes; the configuration says 144000 s"),
        "{line}"
    );

    let ended = Sidecar::refused(&site.config("other.toml", "grpc = \"0.0.0.0:0\"", ""));
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .lines
            .iter()
            .any(|line| line
                .contains("line 4: listen.grpc: `0.0.0.0:0` is not on loopback; plaintext")),
        "{ended:#?}"
    );
}

#[tokio::test]
async fn the_explain_form_is_answered_to_its_own_page_and_to_nobody_elses() {
    let site = Site::new();
    let sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    let admin = sidecar.admin();
    let mut events = EventPublisherClient::new(sidecar.connect().await);
    let revocation = publish(vec![revoked("anna")], v1::Wait::Applied);
    events.publish(revocation).await.expect("published");
    let form = format!("tenant={TENANT}&user=anna&issued={}", now_ms() / 1000 - 600);
    let counted = || {
        let (_, metrics) = get(admin, "/metrics");
        let counted = metrics.lines().filter(|line| line.starts_with("caed_decisions"));
        counted.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let before = counted();

    let own = [("sec-fetch-site", "same-origin")];
    for headers in [&[] as &[_], &own] {
        let (status, head, body) = post(admin, "/explain", headers, &form);
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("CHALLENGE") && body.contains("cutoff of the user"), "{body}");
        for expected in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'self'; frame-ancestors 'none'",
        ] {
            assert!(head.contains(expected), "`{expected}` is not in:\n{head}");
        }
    }
    assert_eq!(counted(), before, "an explanation is no decision");

    let big = format!("claims={}", "x".repeat(64 << 10));
    for (headers, form, refused, told) in [
        ([("sec-fetch-site", "cross-site")], &form, 403, "a page of somebody else's"),
        ([("origin", "http://evil.example")], &form, 403, "a page of somebody else's"),
        ([("host", "rebound.example")], &form, 403, "not at the name `rebound.example`"),
        ([("content-type", "text/plain")], &form, 415, "application/x-www-form-urlencoded"),
        ([("accept", "*/*")], &big, 413, "more than 64 KiB"),
        ([("accept", "*/*")], &"user=anna".to_owned(), 400, "is missing; give the token's `tid`"),
    ] {
        let (status, head, body) = post(admin, "/explain", &headers, form);
        assert_eq!(status, refused, "{headers:?}: {body}");
        assert!(body.contains(told), "`{told}` is not in:\n{body}");
        assert!(!body.contains("cutoff of the user"), "{body}");
        assert!(head.contains("cache-control: no-store"), "{head}");
    }
    // Nothing is read from an address.
    let (status, blank) = get(admin, &format!("/explain?{form}"));
    assert!(status == 200 && !blank.contains("anna"), "{blank}");
    // Neither what was asked nor of whom is logged.
    let ended = sidecar.terminate();
    let logged = ended.lines.join("\n");
    assert!(logged.contains("serving") && !logged.contains("anna"), "{logged}");
}
