//! Loads on servers that answer as a test wants: by tonic, which is nobody's own, and in letters.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_server::{AccessEvaluation, AccessEvaluationServer};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::visitors::{Visitors, of_batch, of_evaluate};

/// A server that allows everybody but whose subject says `denied`.
#[derive(Clone, Default)]
struct Twin {
    /// Bytes of each answer, beside what it says.
    padding: usize,
    /// Every so often it does nothing at all.
    stalls: Option<Stalls>,
    /// How many are asked at once, now and at most.
    at_once: Arc<(AtomicUsize, AtomicUsize)>,
}

#[derive(Clone)]
struct Stalls {
    begun: Instant,
    times: Arc<AtomicUsize>,
}

const STALL: Duration = Duration::from_millis(50);
const STALL_EVERY: Duration = Duration::from_millis(250);

impl Twin {
    fn reply(&self, request: &v1::EvaluateRequest) -> v1::EvaluateReply {
        let is_denied = match &request.token {
            Some(v1::evaluate_request::Token::Claims(claims)) => claims.sub() == "denied",
            _ => false,
        };
        v1::EvaluateReply {
            verdict: if is_denied { 3 } else { 1 },
            detail: "x".repeat(self.padding),
            ..Default::default()
        }
    }

    /// Once in a while nobody is answered, as by a process that the system has stopped.
    fn stall(&self) {
        let Some(Stalls { begun, times }) = &self.stalls else { return };
        let passed = begun.elapsed().as_millis() / STALL_EVERY.as_millis();
        if passed as usize > times.load(SeqCst) {
            times.store(passed as usize, SeqCst);
            thread::sleep(STALL);
        }
    }
}

#[tonic::async_trait]
impl AccessEvaluation for Twin {
    async fn evaluate(
        &self,
        request: Request<v1::EvaluateRequest>,
    ) -> Result<Response<v1::EvaluateReply>, Status> {
        let (now, most) = &*self.at_once;
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        self.stall();
        // Others are asked meanwhile, where that is allowed.
        tokio::task::yield_now().await;
        now.fetch_sub(1, SeqCst);
        let request = request.into_inner();
        if request.profile == "none" {
            return Err(Status::not_found("no such profile"));
        }
        Ok(Response::new(self.reply(&request)))
    }

    async fn evaluate_batch(
        &self,
        request: Request<v1::EvaluateBatchRequest>,
    ) -> Result<Response<v1::EvaluateBatchReply>, Status> {
        let replies = request.into_inner().requests.iter().map(|one| self.reply(one)).collect();
        Ok(Response::new(v1::EvaluateBatchReply { replies, ..Default::default() }))
    }

    type EvaluateStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::EvaluateReply, Status>> + Send>>;

    async fn evaluate_stream(
        &self,
        request: Request<Streaming<v1::EvaluateRequest>>,
    ) -> Result<Response<Self::EvaluateStreamStream>, Status> {
        let twin = self.clone();
        let replies = request.into_inner().map(move |request| Ok(twin.reply(&request?)));
        Ok(Response::new(Box::pin(replies)))
    }
}

/// A server on a thread of its own, for as long as this is held.
struct Served {
    address: Address,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Served {
    fn new(twin: Twin, streams: u32, is_unix: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let (told, address) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let ended = async { drop(ended.await) };
                let service = AccessEvaluationServer::new(twin).max_decoding_message_size(1 << 24);
                let server = tonic::transport::Server::builder()
                    .max_concurrent_streams(Some(streams))
                    .initial_stream_window_size(Some(65_535))
                    .initial_connection_window_size(Some(65_535))
                    .add_service(service);
                let served = if is_unix {
                    let listener = UnixListener::bind(&path).expect("bound");
                    told.send(Address::Unix(path)).expect("heard");
                    let incoming = UnixListenerStream::new(listener);
                    server.serve_with_incoming_shutdown(incoming, ended).await
                } else {
                    let any = SocketAddr::from(([127, 0, 0, 1], 0));
                    let listener = tokio::net::TcpListener::bind(any).await.expect("bound");
                    let address = listener.local_addr().expect("an address");
                    told.send(Address::Tcp(address)).expect("heard");
                    let incoming = TcpListenerStream::new(listener);
                    server.serve_with_incoming_shutdown(incoming, ended).await
                };
                served.expect("served");
            });
        });
        let address = address.recv().expect("an address");
        Self { address, end: Some(end), thread: Some(thread), _folder: folder }
    }

    fn load(&self, calls: &Calls, callers: usize) -> Result<Measured, Problem> {
        self.paced(calls, Pace::Closed { callers }, 200)
    }

    fn paced(&self, calls: &Calls, pace: Pace, ms: u64) -> Result<Measured, Problem> {
        load(&Load {
            address: &self.address,
            calls,
            connections: 1,
            pace,
            duration: Duration::from_millis(ms),
            server: &[std::process::id()],
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn grpc(method: &str) -> Target {
    Target::Grpc { path: format!("/caed.v1.AccessEvaluation/{method}") }
}

/// Questions about these subjects, each with what is expected.
fn about(subjects: &[(&str, Outcome)]) -> Calls {
    let call = |(subject, expected): &(&str, Outcome)| Call {
        body: question(subject, "").encode_to_vec(),
        expected: *expected,
        ..Call::default()
    };
    let calls = subjects.iter().map(call).collect();
    Calls { target: grpc("Evaluate"), calls, outcome: of_evaluate }
}

fn question(subject: &str, profile: &str) -> v1::EvaluateRequest {
    let visitor = Visitors::new(10, 0).all().next().expect("somebody");
    let claims = v1::TokenClaims { sub: Some(subject.to_owned()), ..visitor.claims() };
    v1::EvaluateRequest {
        token: Some(v1::evaluate_request::Token::Claims(claims)),
        profile: profile.to_owned(),
        ..Default::default()
    }
}

const ALLOWED: (&str, Outcome) = ("anna", Outcome::Allowed);
const DENIED: (&str, Outcome) = ("denied", Outcome::Denied);

#[test]
fn all_are_answered_and_measured_over_either_socket() {
    for is_unix in [false, true] {
        let served = Served::new(Twin::default(), 200, is_unix);
        for callers in [1, 50] {
            let measured = served.load(&about(&[ALLOWED, DENIED, ALLOWED]), callers);
            let measured = measured.expect("figures");
            let Measured { answers, per_second, cpu_us, own_cpu_us, p50_us, p99_us, p999_us } =
                measured;
            assert!(answers > 0 && per_second > 0.0, "{measured:?}");
            assert!(own_cpu_us > 0.0 && cpu_us > own_cpu_us, "both are this process: {measured:?}");
            assert!(0.0 < p50_us && p50_us <= p99_us && p99_us <= p999_us, "{measured:?}");
        }
    }
}

#[test]
fn a_wrong_answer_ends_the_load_and_is_shown() {
    let served = Served::new(Twin::default(), 200, false);
    let subjects = [ALLOWED, DENIED, ("denied", Outcome::Allowed)];
    let problem = served.load(&about(&subjects), 4).expect_err("a wrong answer");
    let Problem::Wrong { call: 2, expected, got, answer } = &problem else { panic!("{problem}") };
    assert_eq!((*expected, *got), (Outcome::Allowed, Some(Outcome::Denied)));
    assert_eq!(answer, "status 200, gRPC 0, \"\\x08\\x03\"");

    let mut calls = about(&[ALLOWED]);
    calls.calls[0].body = question("anna", "none").encode_to_vec();
    let problem = served.load(&calls, 1).expect_err("no answer").to_string();
    assert!(problem.contains("gRPC 5, \"no%20such%20profile\""), "{problem}");
}

#[test]
fn a_stall_is_measured_by_all_who_were_due() {
    let stalls = Stalls { begun: Instant::now(), times: Arc::default() };
    let served = Served::new(Twin { stalls: Some(stalls), ..Twin::default() }, 2000, false);
    let pace = Pace::Open { per_second: 500.0 };
    let measured = served.paced(&about(&[ALLOWED, DENIED]), pace, 1000).expect("figures");
    // A fifth of the time nobody is answered, and then all who were due: one in ten waited 25 ms or more.
    assert!((350..650).contains(&measured.answers), "{measured:?}");
    assert!(measured.p99_us > 30_000.0, "{measured:?}");
}

#[test]
fn a_limit_of_streams_is_kept() {
    for limit in [1, 3] {
        let twin = Twin::default();
        let served = Served::new(twin.clone(), limit, false);
        served.load(&about(&[ALLOWED, DENIED]), 10).expect("figures");
        served.paced(&about(&[ALLOWED]), Pace::Open { per_second: 3000.0 }, 200).expect("figures");
        assert!(twin.at_once.1.load(SeqCst) <= limit as usize);
    }
}

#[test]
fn what_is_larger_than_a_window_is_sent_and_read() {
    let served = Served::new(Twin { padding: 700_000, ..Twin::default() }, 200, false);
    served.load(&about(&[ALLOWED, DENIED]), 3).expect("large answers");
    let served = Served::new(Twin::default(), 200, false);
    let large = question("denied", &"x".repeat(300_000)).encode_to_vec();
    let mut calls = about(&[ALLOWED, DENIED, ALLOWED]);
    calls.calls[1].body = large;
    served.load(&calls, 5).expect("large questions");
}

#[test]
fn a_batch_is_answered_in_its_order() {
    let served = Served::new(Twin::default(), 200, false);
    let batch = |subjects: &[(&str, Outcome)]| {
        let requests = subjects.iter().map(|(subject, _)| question(subject, "")).collect();
        let expected = Outcome::many(subjects.iter().map(|(_, outcome)| *outcome));
        let body = v1::EvaluateBatchRequest { requests }.encode_to_vec();
        Call { body, expected, ..Call::default() }
    };
    let mut calls = Calls {
        target: grpc("EvaluateBatch"),
        calls: vec![batch(&[ALLOWED, DENIED]), batch(&[DENIED, ALLOWED, ALLOWED])],
        outcome: of_batch,
    };
    served.load(&calls, 2).expect("figures");
    calls.calls[0].expected = Outcome::many([Outcome::Denied, Outcome::Allowed]);
    assert!(matches!(served.load(&calls, 2), Err(Problem::Wrong { call: 0, .. })));
}

#[test]
fn messages_of_a_stream_are_answered_in_their_order() {
    for padding in [0, 100_000] {
        let served = Served::new(Twin { padding, ..Twin::default() }, 200, false);
        let target =
            Target::GrpcStream { path: "/caed.v1.AccessEvaluation/EvaluateStream".to_owned() };
        let mut calls = Calls { target, ..about(&[ALLOWED, DENIED, ALLOWED]) };
        calls.calls[2].body = question("anna", &"x".repeat(100_000)).encode_to_vec();
        let measured = served.load(&calls, 20).expect("figures");
        assert!(measured.answers > 0, "{measured:?}");
        calls.calls[1].expected = Outcome::Allowed;
        assert!(matches!(served.load(&calls, 20), Err(Problem::Wrong { call: 1, .. })));
    }
}

#[test]
fn http_is_asked_on_connections_that_stay() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bound");
    let address = Address::Tcp(listener.local_addr().expect("an address"));
    // Each connection is answered in another form, and in pieces.
    let answer = |place: usize, is_denied: bool| match (place % 3, is_denied) {
        (0, false) => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        (1, false) => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1;a=b\r\nk\r\n0\r\n\r\n"
        }
        (_, false) => "HTTP/1.1 200 \r\nx: y\r\ncontent-length:0\r\n\r\n",
        (_, true) => "HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!",
    };
    let server = thread::spawn(move || {
        let serve = move |place: usize, mut stream: std::net::TcpStream| {
            let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                heard.extend(&bytes[..count]);
                while let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head: Vec<u8> = heard.drain(..end + 4).collect();
                    let head = String::from_utf8(head).expect("text");
                    assert!(head.starts_with("GET /ask"), "{head}");
                    assert!(head.contains("\r\nx-all: 1\r\n"), "{head}");
                    let answer = answer(place, head.contains("x-user: denied"));
                    let (first, second) = answer.split_at(answer.len() / 2);
                    stream.write_all(first.as_bytes()).expect("written");
                    stream.write_all(second.as_bytes()).expect("written");
                }
            }
        };
        let served = (0..3).map(|place| {
            let (stream, _) = listener.accept().expect("a connection");
            stream.set_nodelay(true).expect("set");
            thread::spawn(move || serve(place, stream))
        });
        served.collect::<Vec<_>>().into_iter().for_each(|one| one.join().expect("served"));
    });
    let call = |user: &str, expected| Call {
        path: (user == "denied").then(|| "/ask/denied".to_owned()),
        headers: vec![("x-user".to_owned(), user.to_owned())],
        expected,
        ..Call::default()
    };
    let target = Target::Http {
        method: "GET".to_owned(),
        path: "/ask".to_owned(),
        headers: vec![("x-all".to_owned(), "1".to_owned())],
    };
    let calls = vec![call("anna", Outcome::Allowed), call("denied", Outcome::Denied)];
    let calls = Calls {
        target,
        calls,
        outcome: |answer| match (answer.status, answer.body) {
            (200, b"ok" | b"") => Some(Outcome::Allowed),
            (403, b"no!") => Some(Outcome::Denied),
            _ => None,
        },
    };
    let run = |callers| {
        load(&Load {
            address: &address,
            calls: &calls,
            connections: 3,
            pace: Pace::Closed { callers },
            duration: Duration::from_millis(200),
            server: &[],
        })
    };
    assert!(matches!(run(4), Err(Problem::Asked(_))), "before anybody connects");
    let measured = run(3).expect("figures");
    assert!(measured.answers > 0, "{measured:?}");
    server.join().expect("served");
}

#[test]
fn who_is_not_there_is_named() {
    let address = Address::Unix("/nowhere/at/all".into());
    let calls = about(&[ALLOWED]);
    let load = Load {
        address: &address,
        calls: &calls,
        connections: 1,
        pace: Pace::Closed { callers: 1 },
        duration: Duration::from_millis(10),
        server: &[],
    };
    let problem = super::load(&load).expect_err("nobody").to_string();
    assert!(problem.starts_with("/nowhere/at/all: "), "{problem}");
}
