//! The example, called over HTTP as its user would.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

#[allow(dead_code, unreachable_pub, reason = "what runs it by hand is not run here")]
#[path = "../examples/axum.rs"]
mod api;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{ISSUER, Running, event};
use caed_core::sink::EventSink;
use caed_trust::algorithm::Algorithm;
use caed_trust::maker::Maker;
use serde_json::json;

/// A status, the head and the body.
type Answer = (u16, String, String);

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

fn token(user: &str, issued_s: i64) -> String {
    let payload = json!({
        "iss": ISSUER, "tid": "contoso", "sub": user, "aud": "api://files", "iat": issued_s,
        "exp": issued_s + 3600, "xms_cc": ["cp1"], "ipaddr": "198.51.100.7",
    });
    Maker::ours().token(Algorithm::Es256, r#"{"alg":"ES256","kid":"k"}"#, &payload.to_string())
}

fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| *found == name).map(|(_, value)| value).unwrap_or_default()
}

impl Running {
    /// Appends an event, and waits until requests are decided by it.
    async fn tell(&self, json: &str) {
        let appended = self.events.append(vec![event(json).expect("an event")]).await;
        let position = appended.expect("durable").first().expect("one").position;
        self.events.applied(position).await.expect("applied");
    }

    fn files(&self, token: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        get(self.address, "/files", &all)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_protects_its_api() {
    let site = tempfile::tempdir().expect("a folder");
    let keys = site.path().join("keys.json");
    let jwks = json!({"keys": [Maker::ours().p256_jwk("k")]}).to_string();
    std::fs::write(&keys, jwks).expect("written");
    let (keys, log) = (keys.to_str().expect("UTF-8"), site.path().join("log"));
    let mut running = api::start(keys, &log).await.expect("started");
    let address = running.address;

    // What is free is free, whatever is known; what is protected asks for a token.
    assert_eq!(get(address, "/health", &[]).0, 200);
    let (status, head, body) = get(address, "/files", &[]);
    assert_eq!((status, header(&head, "www-authenticate")), (401, "Bearer"));
    assert_eq!(
        body,
        r#"{"error":{"code":"InvalidAuthenticationToken","message":"The request bears no access token"}}"#
    );

    // Once an event counts, the log has been read.
    running
        .tell(r#"{"tenant":"contoso","source":"admin","sessions_revoked":{"user":"ben"}}"#)
        .await;
    let issued_s = now_s() - 600;
    let anna = token("anna", issued_s);
    let office = [("x-forwarded-for", "198.51.100.7")];
    let (status, _, body) = running.files(&anna, &office);
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("anna of contoso at 198.51.100.7, by snapshot "), "{body}");

    // A revocation that is a second old challenges the token, in the very letters that clients parse.
    let revoked_s = now_s() - 1;
    let event = json!({
        "tenant": "contoso", "source": "admin", "event_time_ms": revoked_s * 1000,
        "sessions_revoked": {"user": "anna"},
    });
    running.tell(&event.to_string()).await;
    let (status, head, body) = running.files(&anna, &[]);
    assert_eq!(status, 401);
    let mut claims =
        format!(r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{}"}}}}}}"#, revoked_s + 1);
    while claims.len() % 3 != 0 {
        claims.insert(claims.len() - 1, ' ');
    }
    let message = "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp";
    assert_eq!(
        header(&head, "www-authenticate"),
        format!(
            r#"Bearer realm="contoso", error="insufficient_claims", error_description="{message}", claims="{}""#,
            caed_trust::maker::encoded(&claims)
        )
    );
    assert_eq!(header(&head, "cache-control"), "no-store");
    assert_eq!(header(&head, "content-type"), "application/json");
    assert_eq!(header(&head, "access-control-expose-headers"), "WWW-Authenticate");
    assert_eq!(
        body,
        format!(r#"{{"error":{{"code":"InvalidAuthenticationToken","message":"{message}"}}}}"#)
    );
    // The client comes back with a newer one.
    let newer = token("anna", revoked_s + 1);
    assert_eq!(running.files(&newer, &[]).0, 200);

    // Policy lets nobody in but from the office. A proxy on this host tells the address; a client does not.
    running
        .tell(r#"{"tenant":"contoso","source":"directory","location_changed":{"location":"office","ranges":{"cidrs":["198.51.100.0/24"]}}}"#)
        .await;
    running
        .tell(
            r#"{"tenant":"contoso","source":"directory","policy_changed":{"policy":"office-only","state":"POLICY_STATE_ENABLED",
            "users":{"includeUsers":["All"]},"applications":{"include":["All"]},
            "locations":{"include":["All"],"exclude":["office"]},"grantControls":["block"]}}"#,
        )
        .await;
    let carl = token("carl", issued_s);
    for (forwarded_for, expected) in [
        ("198.51.100.7", 200),
        ("203.0.113.9", 401),
        ("198.51.100.7, 203.0.113.9", 401),
        ("203.0.113.9, 198.51.100.7", 200),
    ] {
        let (status, head, body) = running.files(&carl, &[("x-forwarded-for", forwarded_for)]);
        assert_eq!(status, expected, "{forwarded_for}: {body}");
        let is_challenged = header(&head, "www-authenticate").contains("LocationCondition");
        assert_eq!(is_challenged, status == 401);
    }

    // The log is sealed, and what it says counts again for whoever opens it next.
    running.ending.end().await;
    let ended = running.tasks.join_next().await.expect("the log's owner");
    ended.expect("no panic").expect("a clean end");
    running.tasks.shutdown().await;
    let again = api::start(keys, &log).await.expect("started");
    again.tell(r#"{"tenant":"contoso","source":"admin","sessions_revoked":{"user":"ben"}}"#).await;
    assert_eq!(again.files(&anna, &office).0, 401);
    assert_eq!(again.files(&newer, &office).0, 200);
    again.ending.end().await;
}
