//! A real issuer on this host, over HTTP and HTTPS, that does whatever an issuer may do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use caed_decode::claims::Names;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::algorithm::Algorithm;
use crate::issuer::{Issuer, Issuers};
use crate::maker::Maker;
use crate::token::Refused;
use crate::verifier::Verifier;

const NAME: &str = "https://idp.example/";
const DAY: Duration = Duration::from_hours(24);

/// What the issuer does with a request.
#[derive(Clone)]
enum Does {
    /// Answers so, byte by byte.
    Says(Vec<u8>),
    /// Says so, and then goes on saying `a` in chunks for ever.
    Endless(Vec<u8>),
    /// Says so, and then nothing more.
    Stalls(Vec<u8>),
    /// Hangs up.
    HangsUp,
}

struct Idp {
    port: u16,
    does: Arc<Mutex<Does>>,
    asked: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Idp {
    async fn start(does: Does, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (does, asked) = (Arc::new(Mutex::new(does)), watch::Sender::new(0));
        let (doing, counting) = (Arc::clone(&does), asked.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (doing, counting, tls) = (Arc::clone(&doing), counting.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &doing, &counting).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &doing, &counting).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, does, asked, task }
    }

    fn now(&self, does: Does) {
        *self.does.lock().expect("unpoisoned") = does;
    }

    fn asked(&self) -> u64 {
        *self.asked.borrow()
    }

    fn source(&self, scheme: &str) -> Source {
        Source::parse(&format!("{scheme}://127.0.0.1:{}/keys", self.port)).expect("a source")
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    does: &Mutex<Does>,
    asked: &watch::Sender<u64>,
) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
            if !request.starts_with(b"G") {
                return;
            }
        }
        assert!(request.starts_with(b"GET /keys HTTP/1.1\r\n"), "{}", request.escape_ascii());
        request.clear();
        let does = does.lock().expect("unpoisoned").clone();
        asked.send_modify(|asked| *asked += 1);
        match does {
            Does::Says(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Does::Endless(bytes) => {
                let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
                let mut told = stream.write_all(&bytes).await;
                while told.is_ok() {
                    told = stream.write_all(chunk.as_bytes()).await;
                }
                return;
            }
            Does::Stalls(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                // Until the other side has had enough.
                let _ = stream.read_u8().await;
                return;
            }
            Does::HangsUp => return,
        }
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn says(keys: &[Value]) -> Does {
    Does::Says(answer("200 OK", &set(keys)))
}

fn ours(id: &str) -> Value {
    Maker::ours().ed25519_jwk(id)
}

fn token(key: &str) -> Vec<u8> {
    let header = json!({"alg": "EdDSA", "kid": key}).to_string();
    let payload = json!({"iss": NAME, "aud": "api", "tid": "contoso", "sub": "anna"}).to_string();
    Maker::ours().token(Algorithm::EdDsa, &header, &payload).into_bytes()
}

/// A verifier whose keys are kept.
struct Kept {
    verifier: Verifier,
    keys: Arc<Keyring>,
    task: JoinHandle<()>,
}

impl Kept {
    fn new(source: Source, authorities: Option<&Path>) -> Self {
        let (keys, keeper) = Keeper::open(NAME, source, authorities, DAY, 7).expect("a keeper");
        let issuer = Issuer {
            name: NAME.to_owned(),
            audiences: vec!["api".to_owned()],
            algorithms: vec![Algorithm::EdDsa],
            keys: Arc::clone(&keys),
            key_issuer: None,
            tenant: None,
            claims: Names::default(),
        };
        let verifier = Verifier::new(Issuers::new([issuer]).expect("an issuer"));
        Self { verifier, keys, task: tokio::spawn(keeper.run()) }
    }

    async fn verify(&self, key: &str) -> Result<(), Refused> {
        self.verifier.verify(&token(key)).await.map(|_| ())
    }

    fn fault(&self) -> String {
        self.keys.report().fault.unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unknown() -> Result<(), Refused> {
    Err(Refused::UnknownKey { issuer: NAME.to_owned() })
}

fn unavailable() -> Result<(), Refused> {
    Err(Refused::Unavailable { issuer: NAME.to_owned() })
}

/// Lets so much time pass at once. Between such leaps time passes by itself, since sockets are real.
async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

const A_MOMENT: Duration = limits::KEYS_ASKED_INTERVAL;

/// Time stands still until this is dropped, however long what goes on meanwhile takes.
struct Standstill {
    /// A paused clock leaps where all that is left is to wait, but not while something blocks.
    _blocks: std::sync::mpsc::Sender<()>,
}

impl Standstill {
    fn new() -> Self {
        tokio::time::pause();
        let (blocks, until) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || until.recv());
        Self { _blocks: blocks }
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

async fn rotates(idp: &Idp, kept: &Kept) {
    // The first token waits for the first keys.
    assert_eq!(kept.verify("a").await, Ok(()));
    assert_eq!(kept.keys.report().age.map(|age| age < A_MOMENT), Some(true));
    idp.now(says(&[ours("a"), ours("b")]));
    // The issuer was asked a moment ago.
    assert_eq!(kept.verify("b").await, unknown());
    assert_eq!(idp.asked(), 1);
    pass(A_MOMENT).await;
    assert_eq!(kept.verify("b").await, Ok(()));
    assert_eq!((kept.verify("a").await, idp.asked()), (Ok(()), 2));
    // A key that was taken back ends what it verified, at the next look.
    idp.now(says(&[ours("b")]));
    pass(A_MOMENT).await;
    assert_eq!(kept.verify("c").await, unknown());
    assert_eq!((kept.verify("a").await, kept.verify("b").await), (unknown(), Ok(())));
    assert_eq!(idp.asked(), 3);
    // Nobody asks; it is looked regularly, and no sooner than that.
    pass(limits::KEYS_INTERVAL / 2).await;
    assert_eq!((kept.verify("b").await, idp.asked()), (Ok(()), 3));
    idp.now(says(&[ours("c")]));
    pass(limits::KEYS_INTERVAL).await;
    kept.keys.looked(4).await;
    assert_eq!((kept.verify("c").await, kept.verify("b").await), (Ok(()), unknown()));
    assert_eq!(idp.asked(), 4);
}

#[tokio::test]
async fn keys_rotate_over_http() {
    let idp = Idp::start(says(&[ours("a")]), None).await;
    rotates(&idp, &Kept::new(idp.source("http"), None)).await;
}

#[tokio::test]
async fn a_new_key_under_an_old_id_is_looked_for() {
    let mut before = Maker::theirs().ed25519_jwk("a");
    before["alg"] = "EdDSA".into();
    let idp = Idp::start(says(&[before]), None).await;
    let kept = Kept::new(idp.source("http"), None);
    kept.keys.looked(1).await;
    idp.now(says(&[ours("a")]));
    let refused = Err(Refused::Signature);
    // Not at once again: the last look was a moment ago.
    assert_eq!((kept.verify("a").await, idp.asked()), (refused.clone(), 1));
    pass(limits::KEYS_ASKED_INTERVAL).await;
    // Refused without waiting, and looked for.
    assert_eq!(kept.verify("a").await, refused);
    kept.keys.looked(2).await;
    assert_eq!((kept.verify("a").await, idp.asked()), (Ok(()), 2));
}

/// An authority and a server with a certificate for a name.
fn tls(name: &str) -> (tempfile::NamedTempFile, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
    let authority = authority.expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .expect("a server");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), authority.pem()).expect("written");
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn keys_rotate_over_https() {
    let (authority, acceptor) = tls("127.0.0.1");
    let idp = Idp::start(says(&[ours("a")]), Some(acceptor)).await;
    rotates(&idp, &Kept::new(idp.source("https"), Some(authority.path()))).await;
}

#[tokio::test]
async fn keys_of_whom_nobody_vouches_are_not_taken() {
    let (authority, acceptor) = tls("127.0.0.1");
    let (other, acceptor_of_other_name) = tls("other.example");
    let idp = Idp::start(says(&[ours("a")]), Some(acceptor)).await;
    let misnamed = Idp::start(says(&[ours("a")]), Some(acceptor_of_other_name)).await;
    let plain = Idp::start(says(&[ours("a")]), None).await;
    for (name, source, authorities) in [
        ("an authority of nobody's", idp.source("https"), None),
        ("another authority", idp.source("https"), Some(other.path())),
        ("another name", misnamed.source("https"), Some(other.path())),
        ("no TLS", plain.source("https"), Some(authority.path())),
        ("TLS where none is expected", idp.source("http"), None),
    ] {
        let kept = Kept::new(source, authorities);
        assert_eq!(kept.verify("a").await, unavailable(), "{name}");
        assert!(!kept.fault().is_empty(), "{name}");
    }
    assert_eq!(idp.asked() + misnamed.asked() + plain.asked(), 0);
    let kept = Kept::new(idp.source("https"), Some(authority.path()));
    assert_eq!(kept.verify("a").await, Ok(()));
}

#[tokio::test]
async fn an_issuer_that_is_down_is_believed_for_a_while() {
    let idp = Idp::start(says(&[ours("a")]), None).await;
    let kept = Kept::new(idp.source("http"), None);
    assert_eq!(kept.verify("a").await, Ok(()));
    idp.now(Does::HangsUp);
    pass(DAY / 2).await;
    kept.keys.looked(2).await;
    assert_eq!(kept.verify("a").await, Ok(()));
    // Of another key nobody can say whether it is the issuer's.
    pass(A_MOMENT).await;
    assert_eq!(kept.verify("b").await, unavailable());
    pass(DAY / 2).await;
    assert_eq!(kept.verify("a").await, unavailable());
    assert!(!kept.keys.report().counts);
    assert!(kept.fault().contains("connection closed"), "{}", kept.fault());
    // And it is up again.
    idp.now(says(&[ours("a")]));
    pass(*limits::KEYS_RETRY.end() * 2).await;
    assert_eq!(kept.verify("a").await, Ok(()));
    assert_eq!(kept.fault(), "");
}

#[tokio::test]
async fn an_issuer_that_was_never_up_is_tried_again_soon() {
    let idp = Idp::start(Does::HangsUp, None).await;
    let kept = Kept::new(idp.source("http"), None);
    assert_eq!(kept.verify("a").await, unavailable());
    idp.now(says(&[ours("a")]));
    // Sooner than a token may ask.
    pass(*limits::KEYS_RETRY.start() * 2).await;
    kept.keys.looked(2).await;
    assert_eq!(kept.verify("a").await, Ok(()));
}

#[tokio::test]
async fn what_is_no_key_set_takes_no_key_away() {
    let elsewhere = Idp::start(says(&[ours("b")]), None).await;
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let moved = |status: &str| {
        let place = format!("location: http://127.0.0.1:{}/keys", elsewhere.port);
        Does::Says(answer(&format!("{status}\r\n{place}"), &set(&[ours("b")])))
    };
    let large = vec![b' '; limits::KEYS_BYTES_MAX + 1];
    let redirected = "; give the place that it redirects to";
    let rows = [
        (Does::Says(answer("500 Oh", &set(&[ours("b")]))), "it answers 500".to_owned()),
        (Does::Says(answer("404 Not Found", b"")), "it answers 404".to_owned()),
        (Does::Says(answer("204 No Content", b"")), "it answers 204".to_owned()),
        (moved("301 Moved"), format!("it answers 301{redirected}")),
        (moved("302 Found"), format!("it answers 302{redirected}")),
        (moved("307 Temporary"), format!("it answers 307{redirected}")),
        (moved("308 Permanent"), format!("it answers 308{redirected}")),
        (Does::Says(answer("200 OK", b"<html>")), "the key set is no JSON".to_owned()),
        (Does::Says(answer("200 OK", b"")), "the key set is no JSON".to_owned()),
        (
            Does::Says(answer("200 OK", b"{\"jwks_uri\":\"https://a/\"}")),
            "the key set has no list `keys`; give the issuer's `jwks_uri`, not its metadata"
                .to_owned(),
        ),
        (says(&[]), "the key set holds no key that verifies a token".to_owned()),
        (
            says(&[json!({"kty": "oct", "kid": "b", "k": "AAAA"})]),
            "the key set holds no key that verifies a token".to_owned(),
        ),
        (
            Does::Says(answer("200 OK", &large)),
            "it answers with more than 1048576 bytes".to_owned(),
        ),
        (Does::Endless(chunked.to_vec()), "it answers with more than 1048576 bytes".to_owned()),
        (Does::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}".to_vec()), String::new()),
        (Does::Says(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), String::new()),
        (Does::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec()), String::new()),
        (Does::HangsUp, String::new()),
    ];
    let idp = Idp::start(says(&[ours("a")]), None).await;
    let kept = Kept::new(idp.source("http"), None);
    assert_eq!(kept.verify("a").await, Ok(()));
    for (number, (does, told)) in rows.into_iter().enumerate() {
        idp.now(does);
        pass(A_MOMENT).await;
        let failures = kept.keys.report().failures;
        if matches!(kept.verify("b").await, Err(Refused::Unavailable { .. })) {
            // An answer that stops in its middle is waited for.
            pass(limits::KEYS_FETCH).await;
        }
        kept.keys.looked(failures + 2).await;
        assert!(
            kept.fault().contains(&told) && !kept.fault().is_empty(),
            "{number}: {}",
            kept.fault()
        );
        assert!(!kept.fault().contains("127.0.0.1"), "{number}: {}", kept.fault());
        assert_eq!((kept.keys.report().keys, kept.verify("a").await), (1, Ok(())), "{number}");
        assert_eq!(kept.verify("b").await, unavailable(), "{number}");
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_slow_issuer_for_long() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"keys\":";
    for does in [Does::Stalls(Vec::new()), Does::Stalls(head.to_vec())] {
        let idp = Idp::start(does, None).await;
        let kept = Kept::new(idp.source("http"), None);
        let mut asked = idp.asked.subscribe();
        let waiting = kept.verify("a");
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            told = &mut waiting => panic!("{told:?} before the issuer was asked"),
            _ = asked.wait_for(|asked| *asked == 1) => {}
        }
        pass(limits::KEYS_WAIT).await;
        assert_eq!(waiting.await, unavailable());
        assert_eq!(kept.fault(), "");
        pass(limits::KEYS_FETCH).await;
        kept.keys.looked(1).await;
        assert!(kept.fault().contains("timed out"), "{}", kept.fault());
    }
}

#[tokio::test]
async fn ten_thousand_unknown_keys_are_one_request() {
    let idp = Idp::start(says(&[ours("a")]), None).await;
    let kept = Kept::new(idp.source("http"), None);
    assert_eq!(kept.verify("a").await, Ok(()));
    pass(A_MOMENT).await;
    // Ten thousand take a busy machine longer than each of them would wait for the issuer.
    let standstill = Standstill::new();
    let unknown_in = Arc::new(AtomicU64::new(0));
    let header = |number: u32| json!({"alg": "EdDSA", "kid": format!("{number}")}).to_string();
    let payload = crate::maker::encoded(json!({"iss": NAME}).to_string());
    let asking: Vec<_> = (0..10_000)
        .map(|number| {
            let (verifier, unknown_in) = (kept.verifier.clone(), Arc::clone(&unknown_in));
            let token = format!("{}.{payload}.AAAA", crate::maker::encoded(header(number)));
            tokio::spawn(async move {
                if let Err(Refused::UnknownKey { .. }) = verifier.verify(token.as_bytes()).await {
                    unknown_in.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for asking in asking {
        asking.await.expect("an answer");
    }
    drop(standstill);
    assert_eq!((unknown_in.load(Ordering::Relaxed), idp.asked()), (10_000, 2));
    assert_eq!(kept.verify("a").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_file_of_keys_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    let source = || Source::parse(path.to_str().expect("text")).expect("a file");
    let opened = |source| Keeper::open(NAME, source, None, DAY, 7).map(|_| ());
    let fault = |source| chain(&opened(source).expect_err("no keys"));
    assert!(fault(source()).starts_with(&format!("reading `{}`: No such file", path.display())));
    std::fs::write(&path, b"{}").expect("written");
    assert!(fault(source()).contains("has no list `keys`"));

    std::fs::write(&path, set(&[ours("a")])).expect("written");
    let kept = Kept::new(source(), None);
    assert_eq!((kept.verify("a").await, kept.verify("b").await), (Ok(()), unknown()));
    std::fs::write(&path, set(&[ours("b")])).expect("written");
    kept.keys.looked(2).await;
    assert_eq!((kept.verify("a").await, kept.verify("b").await), (unknown(), Ok(())));
    for (looks, bad) in (3..).zip([b"".to_vec(), b"{".to_vec(), set(&[]), vec![b' '; 2 << 20]]) {
        std::fs::write(&path, bad).expect("written");
        kept.keys.looked(looks).await;
        assert_eq!(kept.verify("b").await, Ok(()));
        assert!(!kept.fault().is_empty());
    }
    std::fs::remove_file(&path).expect("removed");
    kept.keys.looked(7).await;
    assert!(kept.fault().contains("No such file"), "{}", kept.fault());
    assert_eq!(kept.verify("b").await, Ok(()));
    sleep(DAY).await;
    assert_eq!(kept.verify("b").await, unavailable());
    std::fs::write(&path, set(&[ours("b")])).expect("written");
    // One may be under way already.
    kept.keys.looked(kept.keys.looks_ended() + 2).await;
    assert_eq!((kept.verify("b").await, kept.fault()), (Ok(()), String::new()));
}

#[test]
fn keys_come_over_tls_or_from_this_host() {
    let url = |text: &str| Ok(Source::Url(Url::parse(text).expect("a URL")));
    let file = |text: &str| Ok(Source::File(text.into()));
    for (text, expected) in [
        ("https://idp.example/keys", url("https://idp.example/keys")),
        ("HTTPS://idp.example", url("https://idp.example/")),
        ("http://127.0.0.1:8080/keys", url("http://127.0.0.1:8080/keys")),
        ("http://[::1]/keys", url("http://[::1]/keys")),
        ("http://127.1/keys", url("http://127.0.0.1/keys")),
        ("http://idp.example/keys", Err(InvalidSource::Plain)),
        ("http://localhost/keys", Err(InvalidSource::Plain)),
        ("http://127.0.0.1.example/keys", Err(InvalidSource::Plain)),
        ("http://127.0.0.1@idp.example/keys", Err(InvalidSource::Plain)),
        ("https://user@idp.example/keys", Err(InvalidSource::Secret)),
        ("https://:pass@idp.example/keys", Err(InvalidSource::Secret)),
        ("https://", Err(InvalidSource::Url)),
        ("https://a b/", Err(InvalidSource::Url)),
        ("ftp://idp.example/keys", Err(InvalidSource::Url)),
        ("file:///keys.json", Err(InvalidSource::Url)),
        ("https://idp.example/{tenant}/keys", Err(InvalidSource::Tenant)),
        ("", Err(InvalidSource::Empty)),
        ("/etc/caed/keys.json", file("/etc/caed/keys.json")),
        ("keys.json", file("keys.json")),
    ] {
        assert_eq!(Source::parse(text), expected, "{text}");
    }
}

#[test]
fn fetches_are_spread_and_retried_ever_more_seldom() {
    let mut schedule = Schedule { failed: 0, spread: 7 };
    let is_about = |wait: Duration, seconds: u32| {
        let about = Duration::from_secs(1) * seconds;
        about * 9 / 10 <= wait && wait <= about * 11 / 10
    };
    for _ in 0..100 {
        for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
            let wait = schedule.after(false);
            assert!(is_about(wait, seconds), "{wait:?} is not about {seconds} s");
        }
        assert!(is_about(schedule.after(true), 3600));
    }
    schedule.failed = u32::MAX;
    assert!(is_about(schedule.after(false), 300));
    let waits = |seed| {
        let mut schedule = Schedule { failed: 0, spread: seed };
        [true; 4].map(|is_ok| schedule.after(is_ok))
    };
    assert_ne!(waits(1), waits(2));
}
