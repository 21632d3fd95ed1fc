//! What is answered directly is answered as tonic answers it, whatever came and however it was cut.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use caed_proto::ext_authz::{
    AttributeContext, CheckRequest, HeaderValue as Header, HttpRequest, Metadata, Request as Asked,
};
use caed_proto::v1;
use caed_proto::v1::evaluate_request::Token;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::io::duplex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::fixture::{self, ISSUER, NOW_S, claims, forged, token};
use crate::limits;
use crate::rights::{Right, Rights};

const EVALUATE: &str = "/caed.v1.AccessEvaluation/Evaluate";
const BATCH: &str = "/caed.v1.AccessEvaluation/EvaluateBatch";
const STREAM: &str = "/caed.v1.AccessEvaluation/EvaluateStream";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Answered directly where all else is regular, and by tonic in any case.
const KINDS: [&str; 2] = ["application/grpc", "application/grpc+proto"];

/// More than it takes to be answered.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, with the tasks at both of its ends.
struct Connected {
    client: SendRequest<Bytes>,
    tasks: [JoinHandle<()>; 2],
}

/// How the bytes of a call are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    /// The end comes by itself.
    EndApart,
    /// So many bytes first.
    At(usize),
    /// In pieces of so many bytes.
    Pieces(usize),
    /// With trailers behind them.
    Trailers,
}

/// What a client sees of an answer.
#[derive(Debug, PartialEq)]
struct Seen {
    http: u16,
    body: Bytes,
    status: Option<String>,
    message: Option<String>,
}

async fn connect(rights: Rights) -> Connected {
    let (server, _health) = Server::new(fixture::parts()).await.expect("services");
    let (near, far) = duplex(64 << 10);
    let terms = Terms { rights, age: None, grace: Duration::ZERO };
    let serving = tokio::spawn(server.serve(far, terms, pending()));
    // Room for all answers of a test, in whatever order they are read.
    let mut client = h2::client::Builder::new();
    let handshake = client.initial_connection_window_size(1 << 20).handshake(near);
    let (client, connection) = handshake.await.expect("a connection");
    let driving = tokio::spawn(async move { connection.await.expect("a clean end") });
    Connected { client, tasks: [serving, driving] }
}

impl Connected {
    async fn call(&mut self, path: &str, kind: &str, body: &Bytes, cut: Cut) -> Seen {
        let (answer, mut stream) = self.begin(path, kind).await;
        let whole = body.clone();
        // What is refused early may not be read to its end.
        let sent = (|| match cut {
            Cut::Whole => stream.send_data(whole, true),
            Cut::EndApart => {
                stream.send_data(whole, false)?;
                stream.send_data(Bytes::new(), true)
            }
            Cut::At(place) => {
                let place = place.min(whole.len());
                stream.send_data(whole.slice(..place), false)?;
                stream.send_data(whole.slice(place..), true)
            }
            Cut::Pieces(length) => {
                let length = length.max(whole.len() / 200);
                for piece in whole.chunks(length) {
                    stream.send_data(Bytes::copy_from_slice(piece), false)?;
                }
                stream.send_data(Bytes::new(), true)
            }
            Cut::Trailers => {
                stream.send_data(whole, false)?;
                stream.send_trailers(HeaderMap::new())
            }
        })();
        drop(sent);
        timeout(PATIENCE, seen(answer)).await.expect("an answer")
    }

    async fn begin(&mut self, path: &str, kind: &str) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::post(format!("http://caed{path}")).header("te", "trailers");
        let request = request.header("content-type", kind).body(()).expect("a request");
        poll_fn(|context| self.client.poll_ready(context)).await.expect("a connection");
        self.client.send_request(request, false).expect("sent")
    }

    async fn end(self) {
        let Self { client, tasks } = self;
        drop(client);
        for task in tasks {
            timeout(PATIENCE, task).await.expect("an end").expect("no panic");
        }
    }
}

async fn seen(answer: ResponseFuture) -> Seen {
    let response = answer.await.expect("a head");
    let (head, mut stream) = response.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data.expect("data");
        stream.flow_control().release_capacity(data.len()).expect("capacity");
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.expect("trailers").unwrap_or_default();
    assert_eq!(head.headers.get("content-type").expect("a type"), "application/grpc");
    let told = |name| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value.map(|value| value.to_str().expect("text").to_owned())
    };
    Seen {
        http: head.status.as_u16(),
        body: body.freeze(),
        status: told("grpc-status"),
        message: told("grpc-message"),
    }
}

fn with_prefix(compressed: u8, length: usize, message: &[u8]) -> Bytes {
    let length = u32::try_from(length).expect("short").to_be_bytes();
    [&[compressed], &length[..], message].concat().into()
}

fn regular(message: &impl Message) -> Bytes {
    with_prefix(0, message.encoded_len(), &message.encode_to_vec())
}

fn vouched(user: &str) -> v1::EvaluateRequest {
    let claims = v1::TokenClaims {
        iss: Some(ISSUER.to_owned()),
        tid: Some("contoso".to_owned()),
        sub: Some(user.to_owned()),
        iat: Some(NOW_S - 600),
        xms_cc: vec!["cp1".to_owned()],
        ..v1::TokenClaims::default()
    };
    v1::EvaluateRequest { token: Some(Token::Claims(claims)), ..v1::EvaluateRequest::default() }
}

/// A request of so many bytes, whose token is none.
fn padded(length: usize) -> v1::EvaluateRequest {
    let prefixes = raw("x".repeat(length)).encoded_len() - length;
    let request = raw("x".repeat(length - prefixes));
    assert_eq!(request.encoded_len(), length);
    request
}

fn raw(token: String) -> v1::EvaluateRequest {
    v1::EvaluateRequest { token: Some(Token::Jwt(token)), ..v1::EvaluateRequest::default() }
}

fn bearing(authorization: &str) -> CheckRequest {
    let header = Header {
        key: b"authorization".to_vec(),
        value: authorization.as_bytes().to_vec(),
        raw_value: Vec::new(),
    };
    let http = HttpRequest { headers: vec![header], header_map: None };
    let request = Some(Asked { http: Some(http) });
    CheckRequest { attributes: Some(AttributeContext { request, ..AttributeContext::default() }) }
}

/// A check with claims that Envoy verified, so many times, and with what it says besides.
fn handed_on(user: &str, times: usize) -> Bytes {
    let said = |kind| Value { kind: Some(kind) };
    let text = |text: &str| said(Kind::StringValue(text.to_owned()));
    let issued = i32::try_from(NOW_S - 600).expect("a time");
    let payload = Struct {
        fields: [
            ("iss".to_owned(), text(ISSUER)),
            ("tid".to_owned(), text("contoso")),
            ("sub".to_owned(), text(user)),
            ("iat".to_owned(), said(Kind::NumberValue(issued.into()))),
        ]
        .into(),
    };
    let payload = said(Kind::StructValue(payload));
    let payloads = (0..times).map(|number| (number.to_string(), payload.clone()));
    let jwt_authn = Struct { fields: payloads.collect() };
    let mut check = bearing("Basic YTpi");
    if let Some(attributes) = &mut check.attributes {
        attributes.context_extensions.insert("tenant".to_owned(), "contoso".to_owned());
        attributes.metadata_context = Some(Metadata {
            filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), jwt_authn)].into(),
        });
    }
    regular(&check)
}

/// Calls, each with the code that it is answered with.
fn calls() -> Vec<(&'static str, Bytes, &'static str)> {
    let anna = regular(&vouched("anna"));
    let bearer = |token: String| regular(&bearing(&format!("Bearer {token}")));
    let unknown_profile =
        v1::EvaluateRequest { profile: "unheard of".to_owned(), ..vouched("anna") };
    let batch = |requests| regular(&v1::EvaluateBatchRequest { requests });
    let mixed = [
        vouched("anna"),
        raw(token(&claims("ben"))),
        vouched("gone"),
        raw(forged(&claims("anna"))),
    ];
    let garbage = with_prefix(0, 3, &[0xff, 0xff, 0xff]);
    // Of no kind, which is seldom written, and so read by the generated code.
    let client = Some(v1::ClientAddress::default());
    let seldom = v1::EvaluateRequest { client, ..vouched("anna") };
    let stream = |messages: &[&Bytes]| -> Bytes {
        messages.iter().map(|message| &message[..]).collect::<Vec<_>>().concat().into()
    };
    let each: Vec<Bytes> = mixed.iter().chain([&seldom]).map(regular).collect();
    vec![
        (STREAM, stream(&each.iter().collect::<Vec<_>>()), "0"),
        (STREAM, stream(&[&anna; 1000]), "0"),
        (STREAM, Bytes::new(), "0"),
        (STREAM, stream(&[&anna, &regular(&v1::EvaluateRequest::default()), &anna]), "3"),
        (STREAM, stream(&[&anna, &regular(&unknown_profile)]), "3"),
        (STREAM, stream(&[&anna, &garbage, &anna]), "13"),
        (STREAM, stream(&[&anna, &with_prefix(1, 0, &[])]), "13"),
        (STREAM, stream(&[&anna, &with_prefix(0, limits::MESSAGE_BYTES_MAX + 1, &anna)]), "11"),
        (STREAM, stream(&[&regular(&padded(limits::MESSAGE_BYTES_MAX)), &anna]), "0"),
        (BATCH, batch(vec![vouched("anna"), seldom.clone(), vouched("off")]), "0"),
        (BATCH, batch(vec![vouched("anna"), unknown_profile.clone()]), "3"),
        (EVALUATE, regular(&seldom), "0"),
        (BATCH, batch(mixed.to_vec()), "0"),
        (BATCH, batch(vec![vouched("gone"); limits::BATCH_REQUESTS_MAX]), "0"),
        (BATCH, batch(vec![vouched("gone"); limits::BATCH_REQUESTS_MAX + 1]), "3"),
        (BATCH, batch(Vec::new()), "3"),
        (BATCH, batch(vec![vouched("anna"), v1::EvaluateRequest::default()]), "3"),
        (BATCH, with_prefix(0, 3, &[0xff, 0xff, 0xff]), "13"),
        (EVALUATE, anna.clone(), "0"),
        (EVALUATE, regular(&vouched("gone")), "0"),
        (EVALUATE, regular(&vouched("off")), "0"),
        (EVALUATE, regular(&raw(token(&claims("anna")))), "0"),
        (EVALUATE, regular(&raw(token(&claims("gone")))), "0"),
        (EVALUATE, regular(&raw(forged(&claims("anna")))), "0"),
        (EVALUATE, regular(&v1::EvaluateRequest::default()), "3"),
        (EVALUATE, regular(&unknown_profile), "3"),
        (CHECK, bearer(token(&claims("anna"))), "0"),
        (CHECK, bearer(token(&claims("gone"))), "0"),
        (CHECK, bearer("nothing".to_owned()), "0"),
        (CHECK, regular(&CheckRequest::default()), "0"),
        (CHECK, handed_on("anna", 1), "0"),
        (CHECK, handed_on("gone", 1), "0"),
        // None of two payloads counts.
        (CHECK, handed_on("anna", 2), "0"),
        // What is odd.
        (EVALUATE, Bytes::new(), "13"),
        (EVALUATE, Bytes::from_static(&[0, 0]), "13"),
        (EVALUATE, with_prefix(0, 3, &[0xff, 0xff, 0xff]), "13"),
        (CHECK, with_prefix(0, 3, &[0xff, 0xff, 0xff]), "13"),
        (EVALUATE, with_prefix(1, 0, &[]), "13"),
        (EVALUATE, with_prefix(7, 0, &[]), "13"),
        (EVALUATE, with_prefix(0, 1000, &anna), "13"),
        (EVALUATE, with_prefix(0, limits::MESSAGE_BYTES_MAX + 1, &anna), "11"),
        (EVALUATE, regular(&padded(limits::MESSAGE_BYTES_MAX)), "0"),
        (EVALUATE, regular(&padded(limits::MESSAGE_BYTES_MAX + 1)), "11"),
        // The first of two is answered.
        (EVALUATE, [anna.clone(), anna].concat().into(), "0"),
    ]
}

#[tokio::test]
async fn a_call_is_answered_in_the_same_way_whoever_answers_it() {
    let cuts = [
        Cut::Whole,
        Cut::EndApart,
        Cut::At(0),
        Cut::At(3),
        Cut::At(60),
        Cut::Pieces(1),
        Cut::Pieces(40),
        Cut::Trailers,
    ];
    for (place, (path, body, code)) in calls().into_iter().enumerate() {
        // The library ends connections on which too much was sent that nobody reads.
        let mut connected = connect(Rights::ALL).await;
        for cut in cuts {
            let [direct, routed] = KINDS;
            let direct = connected.call(path, direct, &body, cut).await;
            let routed = connected.call(path, routed, &body, cut).await;
            assert_eq!(direct, routed, "call {place}, {cut:?}");
            let told = (direct.http, direct.status.as_deref());
            assert_eq!(told, (200, Some(code)), "call {place}, {cut:?}: {direct:?}");
            // A stream may end in the middle, or be empty.
            let may_answer = code == "0" || path == STREAM;
            assert!(direct.body.is_empty() || may_answer, "call {place}, {cut:?}: {direct:?}");
            let must_answer = code == "0" && !body.is_empty();
            assert!(!direct.body.is_empty() || !must_answer, "call {place}, {cut:?}: {direct:?}");
        }
        connected.end().await;
    }
}

#[tokio::test]
async fn what_may_be_compressed_is_tonics_to_answer() {
    let mut connected = connect(Rights::ALL).await;
    let mut answers = Vec::new();
    for kind in KINDS {
        let request = Request::post(format!("http://caed{EVALUATE}")).header("te", "trailers");
        let request = request.header("content-type", kind).header("grpc-encoding", "gzip");
        let request = request.body(()).expect("a request");
        let (answer, mut stream) = connected.client.send_request(request, false).expect("sent");
        stream.send_data(regular(&vouched("anna")), true).expect("sent");
        answers.push(timeout(PATIENCE, seen(answer)).await.expect("an answer"));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].status.as_deref(), Some("12"));
    connected.end().await;
}

#[tokio::test]
async fn nobody_is_answered_more_directly_than_he_may() {
    let body = regular(&vouched("anna"));
    for (rights, code) in [
        (Rights::NONE, "7"),
        (Rights::of(&[Right::Publish, Right::Administer]), "7"),
        // May ask, but not vouch.
        (Rights::of(&[Right::Decide]), "7"),
        (Rights::of(&[Right::Decide, Right::Vouch]), "0"),
    ] {
        let mut connected = connect(rights).await;
        let [direct, routed] = KINDS;
        let direct = connected.call(EVALUATE, direct, &body, Cut::Whole).await;
        let routed = connected.call(EVALUATE, routed, &body, Cut::Whole).await;
        assert_eq!(direct, routed, "{rights:?}");
        assert_eq!(direct.status.as_deref(), Some(code), "{rights:?}");
        connected.end().await;
    }
}

#[tokio::test]
async fn a_call_that_never_ends_holds_up_no_other_and_its_end_ends_it() {
    let mut connected = connect(Rights::ALL).await;
    let body = regular(&vouched("gone"));
    let mut unended = Vec::new();
    for place in [0, 3, body.len()] {
        for kind in KINDS {
            let (answer, mut stream) = connected.begin(EVALUATE, kind).await;
            stream.send_data(body.slice(..place), false).expect("sent");
            unended.push((place, answer, stream));
        }
    }
    let mut burst = Vec::new();
    for _ in 0..300 {
        let (answer, mut stream) = connected.begin(EVALUATE, KINDS[0]).await;
        stream.send_data(body.clone(), true).expect("sent");
        burst.push(answer);
    }
    let expected = connected.call(EVALUATE, KINDS[1], &body, Cut::Whole).await;
    for answer in burst {
        assert_eq!(timeout(PATIENCE, seen(answer)).await.expect("an answer"), expected);
    }
    for (number, (place, answer, mut stream)) in unended.into_iter().enumerate() {
        if number % 3 == 0 {
            stream.send_reset(h2::Reason::CANCEL);
            assert!(answer.await.is_err(), "given up");
            continue;
        }
        stream.send_data(body.slice(place..), true).expect("sent");
        assert_eq!(timeout(PATIENCE, seen(answer)).await.expect("an answer"), expected);
    }
    connected.end().await;
}

#[tokio::test]
async fn what_is_under_way_when_the_end_comes_is_answered_and_nothing_else() {
    let (server, _health) = Server::new(fixture::parts()).await.expect("services");
    let (near, far) = duplex(64 << 10);
    let terms = Terms { rights: Rights::ALL, age: None, grace: PATIENCE };
    let (end, ended) = tokio::sync::oneshot::channel::<Infallible>();
    let serving = tokio::spawn(server.serve(far, terms, async { drop(ended.await) }));
    let (client, connection) = h2::client::handshake(near).await.expect("a connection");
    let driving = tokio::spawn(async move { connection.await.expect("a clean end") });
    let mut connected = Connected { client, tasks: [serving, driving] };
    let body = regular(&vouched("gone"));
    let (answer, mut stream) = connected.begin(EVALUATE, KINDS[0]).await;
    let expected = connected.call(EVALUATE, KINDS[0], &body, Cut::Whole).await;
    drop(end);
    // The end is told before anything else is answered.
    while poll_fn(|context| connected.client.poll_ready(context)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.send_data(body, true).expect("sent");
    assert_eq!(timeout(PATIENCE, seen(answer)).await.expect("an answer"), expected);
    connected.end().await;
}
