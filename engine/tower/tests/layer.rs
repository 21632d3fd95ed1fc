//! The layer around a service that counts its calls, and insists on being asked first whether it is ready.
//!
//! At contoso, tokens were issued ten minutes ago; gone's sessions were revoked a minute ago; nothing happened to anna.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::future::{Ready, poll_fn, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use caed_core::builder::Builder;
use caed_core::decision::Reason;
use caed_core::event::{Event, Fact, RevocationCause};
use caed_core::freshness::WhenStale;
use caed_core::ids::{Name, ObjectKey};
use caed_core::index::ranges::RangeSet;
use caed_core::position::{Offset, Partition, Position};
use caed_core::publish::{self, Publisher, SnapshotReader};
use caed_core::rules::{self, IssuerTenants, Judged, Profile, Rules};
use caed_core::time::{Clock, UnixMillis};
use caed_decode::claims::Names;
use caed_tower::{Access, Admitted, Refused};
use caed_trust::address::{Forwarding, Header, Proxies};
use caed_trust::algorithm::Algorithm;
use caed_trust::fetch::{Keeper, Source};
use caed_trust::issuer::{Issuer, Issuers};
use caed_trust::keyring::Keyring;
use caed_trust::keys::Keys;
use caed_trust::maker::Maker;
use caed_trust::route::Route;
use caed_trust::verifier::Verifier;
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt};

const ISSUER: &str = "https://idp.example/contoso";
const NOW_S: i64 = 1_800_000_000;
const NOW: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);

type Request = http::Request<String>;
type Response = http::Response<String>;

/// Whom is asked, the peer, headers, and the address that counts.
type Row<'r> = (&'r Access, Option<&'r str>, &'r [(&'r str, &'r str)], &'r str);

/// Stands still, so long after the start of the process.
struct Still(Duration);

impl Clock for Still {
    fn now(&self) -> UnixMillis {
        NOW
    }

    fn monotonic(&self) -> Duration {
        self.0
    }
}

/// Answers with the subject; to `/broken` by an error.
struct Inner {
    calls: Arc<AtomicU32>,
    polls: Arc<AtomicU32>,
    is_ready: bool,
}

impl Clone for Inner {
    /// A clone has not been asked whether it is ready.
    fn clone(&self) -> Self {
        let (calls, polls) = (Arc::clone(&self.calls), Arc::clone(&self.polls));
        Self { calls, polls, is_ready: false }
    }
}

impl Service<Request> for Inner {
    type Response = Response;
    type Error = &'static str;
    type Future = Ready<Result<Response, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.is_ready = true;
        match self.polls.fetch_add(1, Ordering::Relaxed) {
            FAILS_AT => Poll::Ready(Err("never ready")),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without being asked first");
        self.calls.fetch_add(1, Ordering::Relaxed);
        let admitted = request.extensions().get::<Admitted>().expect("let in");
        let address = admitted.address.map(|address| address.to_string()).unwrap_or_default();
        let said = format!("{}/{} {address}", admitted.tenant, admitted.subject);
        ready(if request.uri().path() == "/broken" {
            Err("broken")
        } else {
            Ok(Response::new(said))
        })
    }
}

/// The question about readiness that a service answers by an error.
const FAILS_AT: u32 = 1000;

fn inner() -> Inner {
    Inner { calls: Arc::default(), polls: Arc::default(), is_ready: false }
}

fn claims(user: &str) -> Value {
    json!({
        "iss": ISSUER, "tid": "contoso", "sub": user, "aud": ["api://files"],
        "iat": NOW_S - 600, "exp": NOW_S + 3000, "xms_cc": ["cp1"],
    })
}

fn signed(maker: &Maker, claims: &Value) -> String {
    maker.token(Algorithm::Es256, r#"{"alg":"ES256","kid":"k"}"#, &claims.to_string())
}

fn bearer(user: &str) -> String {
    format!("Bearer {}", signed(Maker::ours(), &claims(user)))
}

fn verifier(keys: Arc<Keyring>) -> Verifier {
    let issuer = Issuer {
        name: ISSUER.to_owned(),
        audiences: vec!["api://files".to_owned()],
        algorithms: vec![Algorithm::Es256],
        keys,
        key_issuer: None,
        tenant: None,
        claims: Names::default(),
    };
    Verifier::new(Issuers::new([issuer]).expect("an issuer"))
}

fn with_keys() -> Verifier {
    let keys = json!({"keys": [Maker::ours().p256_jwk("k")]}).to_string();
    let (keys, _) = Keys::parse(keys.as_bytes()).expect("keys");
    verifier(Arc::new(Keyring::fixed(keys)))
}

fn without_keys() -> Verifier {
    let source = Source::parse("http://127.0.0.1:1/keys").expect("a URL of this host");
    let (keys, keeper) =
        Keeper::open(ISSUER, source, None, Duration::from_hours(1), 7).expect("opened");
    tokio::spawn(keeper.run());
    verifier(keys)
}

fn site(is_read: bool) -> (Builder, Publisher, SnapshotReader) {
    let name = |text| Name::parse(text).expect("a name");
    let issuer = rules::Issuer {
        name: ISSUER.to_owned(),
        tenants: IssuerTenants::Named([name("contoso")].into()),
        issue_time_skew: Duration::ZERO,
        authorization_uri: None,
        judged: Judged::default(),
    };
    let issuers = rules::Issuers::new([issuer]).expect("an issuer");
    let mut builder = Builder::new(Arc::new(Rules { issuers, ..Rules::default() }), 7);
    let minute_ago = UnixMillis::from_millis(NOW.as_millis() - 60_000);
    let user = ObjectKey::parse("gone").expect("an id");
    let event = Event {
        tenant: name("contoso"),
        source: name("admin"),
        id: String::new(),
        occurred: minute_ago,
        received: minute_ago,
        fact: Fact::UserRevoked { user, cause: RevocationCause::SessionsRevoked },
    };
    let position = Position { partition: Partition::default(), offset: Offset(0) };
    builder.apply(position, minute_ago, &event);
    if is_read {
        builder.caught_up();
    }
    let (publisher, reader) = publish::cell(builder.freeze());
    (builder, publisher, reader)
}

fn snapshots(is_read: bool) -> SnapshotReader {
    site(is_read).2
}

/// What everybody asks: the log was read, and the process has just begun.
fn access() -> Access {
    Access::new(snapshots(true), with_keys(), Arc::new(Still(Duration::ZERO)))
}

fn request(headers: &[(&str, &str)]) -> Request {
    let mut request = http::Request::get("/files");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(String::new()).expect("a request")
}

/// What is answered, and how often the service within was called for it.
async fn asked(access: &Access, request: Request) -> (Response, u32) {
    let inner = inner();
    let calls = Arc::clone(&inner.calls);
    let response = access.layer(inner).oneshot(request).await.expect("an answer");
    (response, calls.load(Ordering::Relaxed))
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    let mut values = response.headers().get_all(name).iter();
    let value = values.next().map(|value| value.to_str().expect("text")).unwrap_or_default();
    assert!(values.next().is_none(), "{name} stands once");
    value
}

#[tokio::test]
async fn a_refused_request_never_reaches_the_service() {
    let forged = format!("Bearer {}", signed(Maker::theirs(), &claims("anna")));
    let mut expired = claims("anna");
    expired["exp"] = (NOW_S - 300).into();
    let expired = format!("Bearer {}", signed(Maker::ours(), &expired));
    let (anna, gone) = (bearer("anna"), bearer("gone"));
    let invalid =
        r#"Bearer error="invalid_token", error_description="The access token is not believed""#;
    let challenge = r#"Bearer realm="contoso", error="insufficient_claims", error_description="Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp", claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzk5OTk5OTQxIn19ICB9""#;
    let rows: &[(&[&str], Option<Reason>, &str)] = &[
        (&[], None, "Bearer"),
        (&["Basic YTpi"], None, "Bearer"),
        (&["Bearer"], None, "Bearer"),
        (&["Bearer a.b.c"], Some(Reason::Unverified), invalid),
        (&[&forged], Some(Reason::Unverified), invalid),
        // Two, however they are written: one of them could be the service's.
        (&[&anna, &anna], Some(Reason::Unverified), invalid),
        (&["Basic YTpi", &anna], Some(Reason::Unverified), invalid),
        (
            &[&expired],
            Some(Reason::Expired),
            r#"Bearer realm="contoso", error="invalid_token", error_description="The access token expired""#,
        ),
        (&[&gone], Some(Reason::Revoked), challenge),
    ];
    for (lines, reason, www_authenticate) in rows {
        let lines: Vec<_> = lines.iter().map(|line| ("authorization", *line)).collect();
        let (response, calls) = asked(&access(), request(&lines)).await;
        assert_eq!((response.status().as_u16(), calls), (401, 0), "{lines:?}");
        assert_eq!(header(&response, "www-authenticate"), *www_authenticate);
        assert_eq!(header(&response, "access-control-expose-headers"), "WWW-Authenticate");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "content-type"), "application/json");
        let body: Value = serde_json::from_str(response.body()).expect("JSON");
        assert_eq!(body["error"]["code"], "InvalidAuthenticationToken");
        let refused = response.extensions().get::<Refused>().expect("told to layers around");
        let decision = refused.decision.as_ref();
        assert_eq!(decision.and_then(|decision| decision.primary), *reason);
        assert_eq!(refused.detail.is_empty(), *reason != Some(Reason::Unverified));
    }
}

#[tokio::test]
async fn who_is_let_in_stands_in_the_request() {
    let anna = bearer("anna");
    let (response, calls) = asked(&access(), request(&[("authorization", &anna)])).await;
    assert_eq!((response.status().as_u16(), calls), (200, 1));
    assert_eq!(response.body(), "contoso/anna ");
    assert!(response.headers().is_empty());
}

#[tokio::test]
async fn the_address_is_what_trusted_proxies_tell() {
    let proxies = || Proxies::Ranges(RangeSet::parse(["10.0.0.0/8"]).expect("a range"));
    let behind = |header| access().with_forwarding(Forwarding { header, proxies: proxies() });
    let (x, forwarded) = (behind(Header::XForwardedFor), behind(Header::Forwarded));
    let anna = bearer("anna");
    let rows: &[Row<'_>] = &[
        (&access(), None, &[("x-forwarded-for", "198.51.100.1")], ""),
        (&access(), Some("203.0.113.9"), &[("x-forwarded-for", "198.51.100.1")], "203.0.113.9"),
        (&access(), Some("::ffff:203.0.113.9"), &[], "203.0.113.9"),
        (&x, Some("203.0.113.9"), &[("x-forwarded-for", "198.51.100.1")], "203.0.113.9"),
        (&x, Some("10.0.0.1"), &[("x-forwarded-for", "1.1.1.1, 203.0.113.9")], "203.0.113.9"),
        (
            &x,
            Some("10.0.0.1"),
            &[("x-forwarded-for", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.9, 10.0.0.2")],
            "203.0.113.9",
        ),
        (&x, Some("10.0.0.1"), &[("forwarded", "for=203.0.113.9")], ""),
        (&x, Some("10.0.0.1"), &[("x-forwarded-for", "203.0.113.9, office")], ""),
        (&forwarded, Some("10.0.0.1"), &[("forwarded", "for=203.0.113.9")], "203.0.113.9"),
        (&forwarded, Some("10.0.0.1"), &[("x-forwarded-for", "203.0.113.9")], ""),
    ];
    for (access, peer, headers, expected) in rows {
        let access = (*access).clone().with_peer(|request| request.get::<IpAddr>().copied());
        let mut request = request(headers);
        request.headers_mut().insert("authorization", anna.parse().expect("a header"));
        if let Some(peer) = peer {
            request.extensions_mut().insert::<IpAddr>(peer.parse().expect("an address"));
        }
        let (response, _) = asked(&access, request).await;
        assert_eq!(*response.body(), format!("contoso/anna {expected}"), "{peer:?} {headers:?}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_answered_503() {
    let anna = bearer("anna");
    let anna = [("authorization", anna.as_str())];
    let still = |secs| Arc::new(Still(Duration::from_secs(secs)));
    let strict = || Profile { when_stale: WhenStale::Deny, ..Profile::default() };
    for (access, reason) in [
        (Access::new(snapshots(false), with_keys(), still(0)), Reason::NotReady),
        (Access::new(snapshots(true), without_keys(), still(0)), Reason::Unverifiable),
        // The log has never said where it ends, for an hour.
        (
            Access::new(snapshots(true), with_keys(), still(3600)).with_profile(strict()),
            Reason::Stale,
        ),
    ] {
        let (response, calls) = asked(&access, request(&anna)).await;
        assert_eq!((response.status().as_u16(), calls), (503, 0), "{reason:?}");
        assert_eq!(header(&response, "www-authenticate"), "");
        assert!(header(&response, "retry-after").parse::<u32>().is_ok_and(|wait| wait > 0));
        let refused = response.extensions().get::<Refused>().expect("told to layers around");
        let primary = refused.decision.as_ref().and_then(|decision| decision.primary);
        assert_eq!(primary, Some(reason));
        assert_eq!(refused.detail.is_empty(), reason != Reason::Unverifiable);
    }
}

#[tokio::test]
async fn a_route_and_a_profile_are_what_the_layer_was_given() {
    let (anna, gone) = (bearer("anna"), bearer("gone"));
    let route = |tenant: &str, audience: &str| {
        let (tenant, audience) = (tenant.to_owned(), audience.to_owned());
        access().with_route(Route { tenant, audience })
    };
    let lenient = Profile { revocation: false, ..Profile::default() };
    for (access, token, status) in [
        (route("contoso", "api://files"), &anna, 200),
        (route("fabrikam", ""), &anna, 401),
        (route("", "api://mail"), &anna, 401),
        (access(), &gone, 401),
        (access().with_profile(lenient), &gone, 200),
    ] {
        let (response, calls) = asked(&access, request(&[("authorization", token)])).await;
        assert_eq!((response.status().as_u16(), calls), (status, u32::from(status == 200)));
    }
}

#[tokio::test]
async fn the_newest_snapshot_decides() {
    let (mut builder, mut publisher, read) = site(false);
    let access = Access::new(read, with_keys(), Arc::new(Still(Duration::ZERO)));
    let anna = bearer("anna");
    let anna = [("authorization", anna.as_str())];
    assert_eq!(asked(&access, request(&anna)).await.0.status(), 503);
    builder.caught_up();
    publisher.publish(builder.freeze());
    assert_eq!(asked(&access, request(&anna)).await.0.status(), 200);
}

#[tokio::test]
async fn errors_of_the_service_pass_through() {
    let anna = bearer("anna");
    let mut broken = request(&[("authorization", &anna)]);
    *broken.uri_mut() = "/broken".parse().expect("a path");
    let answer = access().layer(inner()).oneshot(broken).await;
    assert_eq!(answer.expect_err("an error"), "broken");

    let inner = inner();
    inner.polls.store(FAILS_AT, Ordering::Relaxed);
    let mut service = access().layer(inner);
    let unready = poll_fn(|context| service.poll_ready(context)).await;
    assert_eq!(unready, Err("never ready"));
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let (anna, gone) = (bearer("anna"), bearer("gone"));
    let inner = inner();
    let (calls, polls) = (Arc::clone(&inner.calls), Arc::clone(&inner.polls));
    let mut service = access().layer(inner);
    // Two calls are under way at once, each of a service that was ready for it.
    poll_fn(|context| service.poll_ready(context)).await.expect("ready");
    let first = service.call(request(&[("authorization", &anna)]));
    poll_fn(|context| service.poll_ready(context)).await.expect("ready");
    let second = service.call(request(&[("authorization", &gone)]));
    assert_eq!(calls.load(Ordering::Relaxed), 0, "nothing is called before it is decided");
    assert_eq!(second.await.expect("an answer").status(), 401);
    assert_eq!(first.await.expect("an answer").status(), 200);
    assert_eq!((calls.load(Ordering::Relaxed), polls.load(Ordering::Relaxed)), (1, 2));
}
