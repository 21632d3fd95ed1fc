//! Keys that come and go while tokens are verified.

use std::time::Duration;

use caed_core::request::Unusable;
use caed_decode::claims::Names;
use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep};

use super::*;
use crate::algorithm::Algorithm;
use crate::issuer::Issuer;
use crate::keyring::Keyring;
use crate::maker::Maker;

const ISSUER: &str = "https://idp.example/";
const DAY: Duration = Duration::from_hours(24);

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn token(maker: &Maker, key: &str, subject: &str) -> String {
    let header = json!({"alg": "EdDSA", "kid": key}).to_string();
    let payload = json!({"iss": ISSUER, "aud": "api", "tid": "contoso", "sub": subject});
    maker.token(Algorithm::EdDsa, &header, &payload.to_string())
}

fn verifier(keys: &Arc<Keyring>) -> Verifier {
    let issuer = Issuer {
        name: ISSUER.to_owned(),
        audiences: vec!["api".to_owned()],
        algorithms: vec![Algorithm::EdDsa],
        keys: Arc::clone(keys),
        key_issuer: None,
        tenant: None,
        claims: Names::default(),
    };
    Verifier::new(Issuers::new([issuer]).expect("an issuer"))
}

/// A look that reads these keys.
fn look(keys: &Keyring, read: &[Value]) {
    keys.look_began();
    keys.look_ended(Ok(set(read))).expect("keys");
}

fn count(verifier: &Verifier, outcome: &str) -> u64 {
    verifier.counts().find(|(name, _)| *name == outcome).expect("an outcome").1
}

fn unknown() -> Refused {
    Refused::UnknownKey { issuer: ISSUER.to_owned() }
}

fn unavailable() -> Refused {
    Refused::Unavailable { issuer: ISSUER.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn of_nobody_every_token_is_refused() {
    let verifier = Verifier::default();
    let told = verifier.verify(token(Maker::ours(), "a", "anna").as_bytes()).await;
    assert_eq!(told, Err(Refused::Issuer));
    assert_eq!((count(&verifier, "issuer"), verifier.remembered()), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_verified_once_and_remembered_as_it_is() {
    let keys = Arc::new(Keyring::asking(DAY));
    let verifier = verifier(&keys);
    look(&keys, &[Maker::ours().ed25519_jwk("a")]);
    let token = token(Maker::ours(), "a", "anna").into_bytes();
    for remembered in 0..3 {
        let claims = verifier.verify(&token).await.expect("verified");
        assert_eq!(claims.sub.as_deref(), Some("anna"));
        assert_eq!((count(&verifier, "verified"), count(&verifier, "remembered")), (1, remembered));
    }
    for at in 0..token.len() {
        let mut other = token.clone();
        other[at] ^= 1;
        assert!(verifier.verify(&other).await.is_err(), "byte {at}");
    }
    assert_eq!(count(&verifier, "remembered"), 2);
    assert_eq!(verifier.remembered().0, 1);
    // What is refused is not remembered.
    let theirs = self::token(Maker::theirs(), "a", "anna");
    for refused in 1..3 {
        let before = count(&verifier, "signature") - (refused - 1);
        assert_eq!(verifier.verify(theirs.as_bytes()).await, Err(Refused::Signature));
        assert_eq!(count(&verifier, "signature"), before + refused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_counts_as_long_as_the_keys_that_verified_it() {
    let keys = Arc::new(Keyring::asking(DAY));
    let verifier = verifier(&keys);
    let (ours, theirs) = (Maker::ours(), Maker::theirs());
    let token = token(ours, "a", "anna").into_bytes();
    look(&keys, &[ours.ed25519_jwk("a")]);
    assert!(verifier.verify(&token).await.is_ok());
    // The same keys, read again: still remembered.
    look(&keys, &[ours.ed25519_jwk("a")]);
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!((count(&verifier, "verified"), count(&verifier, "remembered")), (1, 1));
    // More keys: verified again.
    look(&keys, &[ours.ed25519_jwk("a"), theirs.ed25519_jwk("b")]);
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!((count(&verifier, "verified"), count(&verifier, "remembered")), (2, 1));
    // The key is gone, or another one has its id: at once.
    look(&keys, &[theirs.ed25519_jwk("b")]);
    assert_eq!(verifier.verify(&token).await, Err(unknown()));
    look(&keys, &[theirs.ed25519_jwk("a")]);
    assert_eq!(verifier.verify(&token).await, Err(Refused::Signature));
    // And back.
    look(&keys, &[ours.ed25519_jwk("a")]);
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!((count(&verifier, "verified"), count(&verifier, "remembered")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_could_look_at_for_too_long_count_no_more() {
    let keys = Arc::new(Keyring::watching(DAY));
    let verifier = verifier(&keys);
    let ours = Maker::ours();
    let (old, new) = (token(ours, "a", "anna").into_bytes(), token(ours, "a", "ben").into_bytes());
    assert_eq!(verifier.verify(&old).await, Err(unavailable()));
    look(&keys, &[ours.ed25519_jwk("a")]);
    assert!(verifier.verify(&old).await.is_ok());
    advance(DAY.saturating_sub(Duration::from_millis(1))).await;
    keys.look_began();
    keys.look_ended(Err("down".to_owned())).expect_err("down");
    for token in [&old, &new] {
        assert!(verifier.verify(token).await.is_ok());
    }
    advance(Duration::from_millis(1)).await;
    let refused = verifier.verify(&old).await.expect_err("too old");
    assert_eq!((refused.unusable(), &refused), (Unusable::Unverifiable, &unavailable()));
    assert_eq!(verifier.verify(&new).await, Err(unavailable()));
    assert_eq!(count(&verifier, "unavailable"), 3);
    let report = keys.report();
    assert_eq!((report.keys, report.age, report.counts), (1, Some(DAY), false));
    assert_eq!((report.failures, report.fault.as_deref()), (1, Some("down")));
    look(&keys, &[ours.ed25519_jwk("a")]);
    assert!(verifier.verify(&old).await.is_ok());
    assert_eq!(keys.report().fault, None);
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_set_takes_nothing_away() {
    let keys = Arc::new(Keyring::watching(DAY));
    let verifier = verifier(&keys);
    let token = token(Maker::ours(), "a", "anna").into_bytes();
    look(&keys, &[Maker::ours().ed25519_jwk("a")]);
    for (failures, (bad, told)) in (1..).zip([
        (Ok(b"<html>".to_vec()), "the key set is no JSON"),
        (Ok(set(&[])), "the key set holds no key that verifies a token"),
        (
            Ok(set(&[json!({"kty": "oct", "kid": "a", "k": "AAAA"})])),
            "the key set holds no key that verifies a token",
        ),
        (Err("it answers 500".to_owned()), "it answers 500"),
    ]) {
        keys.look_began();
        assert_eq!(keys.look_ended(bad), Err(told.to_owned()));
        assert!(verifier.verify(&token).await.is_ok());
        let report = keys.report();
        assert_eq!(
            (report.keys, report.failures, report.fault.as_deref()),
            (1, failures, Some(told))
        );
    }
    assert_eq!(count(&verifier, "verified"), 1);
}

/// Somebody who looks when asked, and finds after a while whatever there is to find then.
fn looking(
    keys: &Arc<Keyring>,
    takes: Duration,
    found: impl Fn() -> Result<Vec<u8>, String> + Send + 'static,
) {
    let keys = Arc::clone(keys);
    tokio::spawn(async move {
        loop {
            keys.asked().await;
            keys.look_began();
            sleep(takes).await;
            let _ = keys.look_ended(found());
        }
    });
}

fn looks(keys: &Keyring) -> u64 {
    keys.looks_ended()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_unknown_keys_make_one_look() {
    let keys = Arc::new(Keyring::asking(DAY));
    let verifier = verifier(&keys);
    let ours = Maker::ours();
    look(&keys, &[ours.ed25519_jwk("a")]);
    advance(limits::KEYS_ASKED_INTERVAL).await;
    looking(&keys, Duration::from_millis(100), || Ok(set(&[Maker::ours().ed25519_jwk("b")])));
    let began = Instant::now();
    let asking: Vec<_> = (0..10_000)
        .map(|number| {
            let verifier = verifier.clone();
            // One key signs all of them; each names another one.
            let header = json!({"alg": "EdDSA", "kid": format!("no-{number}")}).to_string();
            let token =
                format!("{}.{}.AAAA", encode(&header), encode(&json!({"iss": ISSUER}).to_string()));
            tokio::spawn(async move { verifier.verify(token.as_bytes()).await })
        })
        .collect();
    let fresh = verifier.verify(token(ours, "b", "anna").as_bytes()).await;
    assert_eq!(fresh.expect("the new key").sub.as_deref(), Some("anna"));
    for asking in asking {
        assert_eq!(asking.await.expect("an answer"), Err(unknown()));
    }
    assert_eq!((looks(&keys), began.elapsed()), (2, Duration::from_millis(100)));
    // For a while nothing more is asked, and nobody waits.
    for _ in 0..100 {
        assert_eq!(verifier.verify(token(ours, "c", "anna").as_bytes()).await, Err(unknown()));
    }
    advance(limits::KEYS_ASKED_INTERVAL.saturating_sub(Duration::from_millis(101))).await;
    assert_eq!(verifier.verify(token(ours, "c", "anna").as_bytes()).await, Err(unknown()));
    assert_eq!(looks(&keys), 2);
    advance(Duration::from_millis(1)).await;
    assert_eq!(verifier.verify(token(ours, "c", "anna").as_bytes()).await, Err(unknown()));
    assert_eq!(looks(&keys), 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_they_should() {
    let keys = Arc::new(Keyring::asking(DAY));
    let verifier = verifier(&keys);
    let ours = Maker::ours();
    let (known, unknown) = (token(ours, "a", "anna"), token(ours, "b", "anna"));
    looking(&keys, Duration::from_secs(5), || Err("too slow".to_owned()));
    let began = Instant::now();
    assert_eq!(verifier.verify(known.as_bytes()).await, Err(unavailable()));
    assert_eq!(began.elapsed(), limits::KEYS_WAIT);
    sleep(Duration::from_secs(5)).await;
    // The issuer was down a moment ago: said at once.
    let began = Instant::now();
    assert_eq!(verifier.verify(known.as_bytes()).await, Err(unavailable()));
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Known keys go on while it is down; nobody waits for them.
    look(&keys, &[ours.ed25519_jwk("a")]);
    advance(limits::KEYS_ASKED_INTERVAL).await;
    assert_eq!(verifier.verify(unknown.as_bytes()).await, Err(unavailable()));
    let began = Instant::now();
    assert!(verifier.verify(known.as_bytes()).await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

fn encode(text: &str) -> String {
    crate::maker::encoded(text)
}
