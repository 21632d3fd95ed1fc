//! What gateways ask over HTTP, as data, and what they are answered.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use caed_core::refusal::HttpRefusal;
use http::HeaderMap;
use httparse::{EMPTY_HEADER, Response};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::timeout;

use super::connection::serve_odd;
use super::head::{Asked, Read};
use super::*;
use crate::fixture::{self, claims, token};
use crate::limits;

const GATEWAY: Rights = Rights::of(&[Right::Decide]);

/// A path, headers, the status, and the address that counted.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], u16, &'r str);

/// A header that changes nothing but who reads the request: hyper instead of ourselves.
const ODD: &str = "Connection: keep-alive\r\n";

/// More than it takes to be answered.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as a gateway sends it.
fn get(path: &str, headers: &[(&str, &str)], more: &str) -> String {
    let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("GET {path} HTTP/1.1\r\nHost: caed\r\n{}{more}\r\n", lines.collect::<String>())
}

/// All that somebody is answered who sends these pieces, one after the other, and no more.
async fn told(pieces: &[&[u8]], serve: impl AsyncFnOnce(DuplexStream)) -> Vec<u8> {
    let (client, server) = duplex(1 << 20);
    let (mut reader, mut writer) = split(client);
    let send = async {
        for piece in pieces {
            // Who was told what is wrong may be listened to no more.
            let _ = writer.write_all(piece).await;
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        let _ = writer.shutdown().await;
    };
    let mut told = Vec::new();
    let conversation = async { tokio::join!(serve(server), send, reader.read_to_end(&mut told)) };
    let ((), (), read) = timeout(PATIENCE, conversation).await.expect("an end");
    read.expect("no error");
    told
}

/// By the usual way.
async fn told_here(parts: &Parts, rights: Rights, pieces: &[&[u8]]) -> Vec<u8> {
    told(pieces, async |io| serve(Arc::new(parts.clone()), io, rights, pending()).await).await
}

/// By hyper alone.
async fn told_by_hyper(parts: &Parts, pieces: &[&[u8]]) -> Vec<u8> {
    let parts = Arc::new(parts.clone());
    told(pieces, async |io| serve_odd(parts, Vec::new(), io, GATEWAY, pending()).await).await
}

/// Answers without their dates, and the lines of each head in an order.
fn comparable(told: &[u8]) -> Vec<Vec<String>> {
    // A body ends without a line's end.
    let told = String::from_utf8(told.to_vec()).expect("text");
    let told = told.replace("}HTTP/1.1 ", "}\r\n\r\nHTTP/1.1 ");
    let lines = |head: &str| {
        let lines = head.split("\r\n").filter(|line| !line.starts_with("date: "));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    told.split("\r\n\r\n").map(lines).collect()
}

/// A request's answer, which is the same whoever read the request: its status, headers and body.
async fn asked(
    parts: &Parts,
    rights: Rights,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, HeaderMap, String) {
    let [here, by_hyper] = [get(path, headers, ""), get(path, headers, ODD)];
    let told = told_here(parts, rights, &[here.as_bytes()]).await;
    let told_odd = told_here(parts, rights, &[by_hyper.as_bytes()]).await;
    assert_eq!(comparable(&told), comparable(&told_odd), "{path}");
    let mut room = [EMPTY_HEADER; 16];
    let mut response = Response::new(&mut room);
    let length = response.parse(&told).expect("an answer").unwrap();
    let pairs = response.headers.iter().map(|header| {
        let name = header.name.parse().expect("a name");
        (name, header.value.try_into().expect("a value"))
    });
    let body = String::from_utf8_lossy(&told[length..]).into_owned();
    (response.code.expect("a status"), pairs.collect(), body)
}

async fn answered(parts: &Parts, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap) {
    let (status, headers, _) = asked(parts, GATEWAY, path, headers).await;
    (status, headers)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().expect("text")).unwrap_or_default();
    assert!(values.next().is_none(), "{name} stands once");
    value
}

#[tokio::test]
async fn every_gateway_is_answered_in_its_dialect() {
    let parts = fixture::parts();
    let bearer = |user: &str| format!("Bearer {}", token(&claims(user)));
    let (anna, gone) = (bearer("anna"), bearer("gone"));
    let (anna, gone) = (("authorization", anna.as_str()), ("authorization", gone.as_str()));
    let forged = ("x-forwarded-for", "198.51.100.1");
    let rows: &[Row<'_>] = &[
        ("/forward-auth/nginx", &[anna], 200, "unknown"),
        ("/forward-auth/nginx", &[anna, forged], 200, "unknown"),
        ("/forward-auth/nginx/peer=203.0.113.9", &[anna, forged], 200, "203.0.113.9"),
        ("/forward-auth/nginx/peer=2001:db8::9", &[anna, forged], 200, "2001:db8::9"),
        (
            "/forward-auth/nginx/peer=10.0.0.1",
            &[anna, ("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/nginx?peer=203.0.113.9", &[anna], 200, "unknown"),
        (
            "/forward-auth/nginx/peer=203.0.113.9/profile=exchange/tenant=contoso/audience=api%3A%2F%2Ffiles",
            &[anna],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/nginx/audience=api%3A%2F%2Fmail", &[anna], 401, ""),
        ("/forward-auth/nginx/audience=api://files/tenant=contoso", &[anna], 200, "unknown"),
        ("/forward-auth/nginx/audience=api://mail/tenant=contoso", &[anna], 401, ""),
        // To the letter: neither is the same without its end.
        ("/forward-auth/nginx/audience=api://files/", &[anna], 401, ""),
        ("/forward-auth/nginx/audience=api:", &[anna], 401, ""),
        ("/forward-auth/nginx/audience", &[anna], 403, ""),
        ("/forward-auth/nginx//", &[anna], 200, "unknown"),
        ("/forward-auth/nginx", &[gone], 401, ""),
        ("/forward-auth/nginx", &[], 401, ""),
        ("/forward-auth/caddy", &[anna, ("x-forwarded-for", "203.0.113.9")], 200, "203.0.113.9"),
        ("/forward-auth/caddy", &[anna], 200, "unknown"),
        ("/forward-auth/caddy", &[gone, ("x-forwarded-for", "203.0.113.9")], 401, ""),
        // Caddy passes on the client's query.
        ("/forward-auth/caddy/tenant=fabrikam?tenant=contoso", &[anna], 401, ""),
        ("/forward-auth/caddy?tenant=fabrikam&profile=none", &[anna], 200, "unknown"),
        ("/forward-auth/caddy/peer=203.0.113.9", &[anna], 403, ""),
        (
            "/forward-auth/traefik",
            &[anna, ("x-forwarded-for", "198.51.100.1, 203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        (
            "/forward-auth/traefik",
            &[anna, ("x-forwarded-for", "198.51.100.1, 203.0.113.9, 10.0.0.1")],
            200,
            "203.0.113.9",
        ),
        (
            "/forward-auth/traefik",
            &[anna, forged, ("x-forwarded-for", "203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/traefik/profil=exchange", &[anna], 403, ""),
        ("/forward-auth/traefik/profile=exchagne", &[anna], 403, ""),
        ("/forward-auth/traefik/tenant=contoso/tenant=fabrikam", &[anna], 403, ""),
        ("/forward-auth/traefik/tenant=", &[anna], 403, ""),
        (
            "/forward-auth/envoy/tenant=fabrikam/x",
            &[anna, ("x-caed-peer", "203.0.113.9")],
            200,
            "203.0.113.9",
        ),
        ("/forward-auth/envoy", &[anna, forged], 200, "unknown"),
        (
            "/forward-auth/envoy/",
            &[anna, ("x-caed-peer", "10.0.0.1"), ("x-caed-forwarded-for", "203.0.113.9"), forged],
            200,
            "203.0.113.9",
        ),
        (
            "/forward-auth/envoy/",
            &[anna, ("x-caed-peer", "10.0.0.1"), ("x-caed-peer", "203.0.113.9")],
            403,
            "",
        ),
        ("/forward-auth/envoy/", &[anna, ("x-caed-tenant", "fabrikam")], 401, ""),
        ("/forward-auth/envoy/", &[anna, ("x-caed-profile", "exchagne")], 403, ""),
        ("/forward-auth/envoy/", &[gone], 401, ""),
        ("/forward-auth/", &[anna], 403, ""),
        ("/forward-auth/apache", &[anna], 403, ""),
        ("/forward-auth/nginxx", &[anna], 403, ""),
        ("/forward-auth", &[anna], 403, ""),
        ("/nginx", &[anna], 403, ""),
        ("/", &[anna], 403, ""),
    ];
    for (path, headers, status, address) in rows {
        let (found, answer) = answered(&parts, path, headers).await;
        assert_eq!(found, *status, "{path} {headers:?}");
        assert_eq!(text(&answer, "x-caed-address"), *address, "{path} {headers:?}");
        let subject = if *status == 200 { "anna" } else { "" };
        assert_eq!(text(&answer, "x-caed-subject"), subject, "{path}");
        assert_eq!(text(&answer, "www-authenticate").starts_with("Bearer"), *status == 401);
        assert_eq!(text(&answer, "cache-control"), "no-store");
        let json = if *status == 200 { "" } else { "application/json" };
        assert_eq!(text(&answer, "content-type"), json, "{path}");
    }
}

#[tokio::test]
async fn a_503_reaches_each_gateway_as_a_refusal() {
    let parts = fixture::parts_of(false);
    let bearer = format!("Bearer {}", token(&claims("anna")));
    for (dialect, status, told) in
        [("nginx", 403, "503"), ("caddy", 503, ""), ("traefik", 503, ""), ("envoy", 429, "")]
    {
        let path = format!("/forward-auth/{dialect}");
        let (found, answer) = answered(&parts, &path, &[("authorization", &bearer)]).await;
        assert_eq!((found, text(&answer, "x-caed-status")), (status, told), "{dialect}");
        assert!(!text(&answer, "retry-after").is_empty(), "{dialect}");
    }
}

#[tokio::test]
async fn envoy_takes_out_what_a_client_sent_under_our_names() {
    let bearer = format!("Bearer {}", token(&claims("anna")));
    let headers =
        [("authorization", bearer.as_str()), ("x_caed_subject", "root"), ("x-caed-role", "admin")];
    let (_, answer) = answered(&fixture::parts(), "/forward-auth/envoy/", &headers).await;
    assert_eq!(text(&answer, "x-envoy-auth-headers-to-remove"), "x_caed_subject,x-caed-role");
    let (_, answer) = answered(&fixture::parts(), "/forward-auth/caddy", &headers).await;
    assert_eq!(text(&answer, "x-envoy-auth-headers-to-remove"), "");
}

#[tokio::test]
async fn who_may_not_decide_is_refused() {
    let bearer = format!("Bearer {}", token(&claims("anna")));
    let others = Rights::of(&[Right::Vouch, Right::Publish, Right::Administer]);
    for rights in [Rights::NONE, others] {
        for path in ["/forward-auth/nginx", "/forward-auth/caddy", "/forward-auth/envoy", "/"] {
            let headers = [("authorization", bearer.as_str())];
            let (status, headers, body) = asked(&fixture::parts(), rights, path, &headers).await;
            assert_eq!(status, 403, "{path} {rights:?}");
            assert_eq!(text(&headers, "cache-control"), "no-store", "{path}");
            assert_eq!(body, HttpRefusal::unasked().body, "{path}: nothing of why");
        }
    }
}

/// What is regular; what may become so; and what is not, or may not be.
#[test]
fn what_is_about_a_body_or_the_connection_is_odd() {
    let read = |bytes: &[u8]| match Asked::read(bytes, &mut Asked::room()) {
        Read::Whole(request) => Some(request.length),
        Read::Partial => Some(0),
        Read::Odd => None,
    };
    let regular = get("/forward-auth/nginx/peer=::1?a=[b]", &[("authorization", "Bearer a")], "");
    for length in 1..regular.len() {
        assert_eq!(read(&regular.as_bytes()[..length]), Some(0), "{length} bytes");
    }
    assert_eq!(read(format!("{regular}GET /").as_bytes()), Some(regular.len()));
    for line in ["content-length: 0", "Content-Length:0 ", "content-type: a", "te: trailers"] {
        assert!(read(get("/", &[], &format!("{line}\r\n")).as_bytes()) > Some(0), "{line}");
    }
    for line in [
        "Content-Length: 5",
        "content-length: 00",
        "content-length: 0, 0",
        "content-length:",
        "Transfer-Encoding: chunked",
        "transfer-encoding: identity",
        "Connection: close",
        "connection: keep-alive",
        "Expect: 100-continue",
        "Upgrade: websocket",
        "no header",
        "na me: a",
        "name : a",
        "name: a\r\n b: folded",
        "name: \u{1}",
    ] {
        assert_eq!(read(get("/", &[], &format!("{line}\r\n")).as_bytes()), None, "{line}");
    }
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("HTTP/1.1", "HTTP/2.0"),
        ("GET", "CONNECT"),
        ("GET", "G{T"),
        (" /forward", " http://caed/forward"),
        (" /forward", " forward"),
        ("/peer", "/<peer"),
        ("/peer", "/{peer}"),
        ("/peer", "/pe\u{e4}r"),
        ("?a", "#a"),
        ("?a", "?\"a"),
    ] {
        assert_eq!(read(regular.replacen(from, to, 1).as_bytes()), None, "{to}");
    }
    assert_eq!(read(get("/", &[("a", "b"); 64], "").as_bytes()), None, "too many headers");
}

/// Of many in a row, each is answered, in their order, however they are cut.
#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let parts = fixture::parts();
    let bearer = |user: &str| format!("Bearer {}", token(&claims(user)));
    let (anna, gone) = (bearer("anna"), bearer("gone"));
    let of = |bearer: &str, more| get("/forward-auth/nginx", &[("authorization", bearer)], more);
    let head = of(&anna, "").replacen("GET", "HEAD", 1);
    let head_refused = of(&gone, "").replacen("GET", "HEAD", 1);
    let row = [
        of(&anna, ""),
        of(&gone, ""),
        head,
        head_refused,
        get("/", &[], ""),
        of(&anna, ODD),
        of(&gone, ""),
    ];
    let row = row.concat();
    let whole = told_here(&parts, GATEWAY, &[row.as_bytes()]).await;
    let statuses: Vec<&str> = str::from_utf8(&whole)
        .expect("text")
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(statuses, ["200", "401", "200", "401", "403", "200", "401"]);
    assert_eq!(comparable(&whole), comparable(&told_by_hyper(&parts, &[row.as_bytes()]).await));
    for at in (0..row.len()).step_by(7) {
        let (before, behind) = row.as_bytes().split_at(at);
        let cut = told_here(&parts, GATEWAY, &[before, behind]).await;
        assert_eq!(comparable(&cut), comparable(&whole), "cut at {at}");
    }
}

/// A head that does not fit is hyper's, which takes larger ones, and tells where one is too large.
#[tokio::test]
async fn a_large_head_is_answered_as_any_other() {
    let parts = fixture::parts();
    let bearer = format!("Bearer {}", token(&claims("anna")));
    let of = |bytes: usize| {
        let large = "a".repeat(bytes);
        get("/forward-auth/nginx", &[("authorization", &bearer), ("cookie", &large)], "")
    };
    let room = limits::HEAD_BYTES - of(0).len();
    for (bytes, status) in [
        (10_000, "200"),
        (room - 1, "200"),
        (room, "200"),
        (room + 1, "200"),
        (20_000, "200"),
        (1_000_000, "431"),
    ] {
        let told = told_here(&parts, GATEWAY, &[of(bytes).as_bytes()]).await;
        assert_eq!(str::from_utf8(&told[9..12]), Ok(status), "{bytes} bytes");
    }
}

/// So is one of more headers than are read here; hyper takes a hundred.
#[tokio::test]
async fn many_headers_are_answered_as_few() {
    let parts = fixture::parts();
    let bearer = format!("Bearer {}", token(&claims("anna")));
    // Beside the host and the token.
    for (more, status) in [(61, "200"), (62, "200"), (63, "200"), (98, "200"), (99, "431")] {
        let headers = [("authorization", bearer.as_str())];
        let request = get("/forward-auth/nginx", &headers, &"a: b\r\n".repeat(more));
        for at in (0..request.len()).step_by(50) {
            let (before, behind) = request.as_bytes().split_at(at);
            let told = told_here(&parts, GATEWAY, &[before, behind]).await;
            assert_eq!(str::from_utf8(&told[9..12]), Ok(status), "{more} more, cut at {at}");
        }
    }
}

/// Of more than are answered in a row, none is lost; nor is the last one of somebody who has said all by then.
#[tokio::test]
async fn a_thousand_in_a_row_are_answered() {
    let parts = fixture::parts();
    for count in [1, 2, 3, 1000] {
        let row = get("/", &[], "").repeat(count);
        let here = told_here(&parts, GATEWAY, &[row.as_bytes()]).await;
        let by_hyper = told_by_hyper(&parts, &[row.as_bytes()]).await;
        for told in [here, by_hyper] {
            assert_eq!(String::from_utf8_lossy(&told).matches("HTTP/1.1 403").count(), count);
        }
    }
}

/// A request of which a part has come when the end begins is answered as well.
#[tokio::test]
async fn what_was_begun_is_finished() {
    let parts = Arc::new(fixture::parts());
    let request = get("/forward-auth/nginx", &[], "");
    let (begun, rest) = request.split_at(20);
    let (mut client, server) = duplex(1 << 16);
    let (end, ending) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(parts, server, GATEWAY, async { drop(ending.await) }));
    client.write_all(begun.as_bytes()).await.expect("sent");
    tokio::task::yield_now().await;
    drop(end);
    tokio::task::yield_now().await;
    client.write_all(rest.as_bytes()).await.expect("sent");
    let mut told = String::new();
    timeout(PATIENCE, client.read_to_string(&mut told)).await.expect("an end").expect("read");
    assert!(told.starts_with("HTTP/1.1 401") && told.contains("connection: close"), "{told}");
    timeout(PATIENCE, served).await.expect("an end").expect("no panic");
}

#[tokio::test]
async fn a_connection_ends_when_it_is_to_end() {
    let parts = Arc::new(fixture::parts());
    for more in ["", ODD] {
        let (mut client, server) = duplex(1 << 16);
        let (end, ending) = tokio::sync::oneshot::channel::<()>();
        let end_is_near = async { drop(ending.await) };
        let served = tokio::spawn(serve(Arc::clone(&parts), server, GATEWAY, end_is_near));
        client.write_all(get("/", &[], more).as_bytes()).await.expect("sent");
        let mut first = [0; 12];
        client.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 403");
        drop(end);
        let mut rest = Vec::new();
        timeout(PATIENCE, client.read_to_end(&mut rest)).await.expect("an end").expect("read");
        assert!(rest.ends_with(b"}"), "the answer came whole");
        timeout(PATIENCE, served).await.expect("an end").expect("no panic");
    }
}

/// A piece of what gateways and others send.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let bearer = format!("Authorization: Bearer {}\r\n", token(&claims("anna")));
    let gone = format!("authorization: Bearer {}\r\n", token(&claims("gone")));
    let many = "a: b\r\n".repeat(65);
    let large = format!("cookie: {}\r\n", "a".repeat(16_000));
    let whole = get("/forward-auth/nginx/peer=::1", &[("authorization", "Bearer a")], "");
    let usual = [
        &whole,
        "GET /forward-auth/nginx/peer=203.0.113.9 HTTP/1.1\r\n",
        "POST /forward-auth/envoy/a?b=c HTTP/1.1\r\n",
        "HEAD / HTTP/1.1\r\n",
        "GET /forward-auth/caddy HTTP/1.0\r\n",
        &bearer,
        &gone,
        "Content-Length: 0\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "x-forwarded-for: 198.51.100.1\r\n",
        "x-caed-peer: 10.0.0.1\r\n",
        &many,
        &large,
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\n",
        "\r\n",
        "\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "\n",
    ];
    let usual = usual.map(|text| text.as_bytes().to_vec()).to_vec();
    prop_oneof![20 => prop::sample::select(usual), 1 => vec(any::<u8>(), 1..4)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever comes, and however it is cut: the answers are hyper's, to the last. Only whether it tells what is wrong
    /// before it hangs up is its mood: a bad head where nothing came before; one of too many headers, and without an
    /// end, where it came in one piece.
    #[test]
    fn what_comes_is_answered_as_hyper_answers_it(pieces in vec(piece(), 1..12), at in any::<prop::sample::Index>()) {
        thread_local! {
            static PARTS: Parts = fixture::parts();
        }
        let parts = PARTS.with(Clone::clone);
        let whole = pieces.concat();
        let (before, behind) = whole.split_at(at.index(whole.len()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (here, by_hyper) = runtime.expect("a runtime").block_on(async {
            let here = told_here(&parts, GATEWAY, &[before, behind]).await;
            (here, told_by_hyper(&parts, &[before, behind]).await)
        });
        let answers = |told: &[u8]| {
            let mut answers = comparable(told);
            let wrong = ["HTTP/1.1 400 Bad Request", "HTTP/1.1 431 Request Header Fields Too Large"];
            answers.retain(|lines| !lines[0].is_empty() && !wrong.contains(&lines[0].as_str()));
            answers
        };
        prop_assert_eq!(answers(&here), answers(&by_hyper));
    }
}
