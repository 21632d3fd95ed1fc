//! Verifying raw tokens of the size that Entra's have, anew and remembered.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use caed_decode::claims::Names;
use caed_trust::algorithm::Algorithm;
use caed_trust::issuer::{Issuer, Issuers};
use caed_trust::keyring::Keyring;
use caed_trust::keys::Keys;
use caed_trust::maker::Maker;
use caed_trust::token;
use caed_trust::verifier::Verifier;
use serde_json::json;

/// Tokens that take turns: those of so many users at a time.
const TOKENS: u64 = 1000;

/// How tokens are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By their signature, made so.
    Anew(Algorithm),
    /// By having been verified before.
    Remembered,
}

/// Tokens, and who verifies them.
#[derive(Debug)]
pub struct Verification {
    how: How,
    issuers: Issuers,
    verifier: Verifier,
    tokens: Vec<Vec<u8>>,
    asked: usize,
}

impl How {
    /// What is measured.
    pub const ALL: [Self; 4] = [
        Self::Anew(Algorithm::Rs256),
        Self::Anew(Algorithm::Es256),
        Self::Anew(Algorithm::EdDsa),
        Self::Remembered,
    ];

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Anew(algorithm) => algorithm,
            // The cheapest to sign: the signature is looked at once.
            Self::Remembered => Algorithm::EdDsa,
        }
    }
}

impl Verification {
    /// Makes keys and tokens.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "keys that were made are keys"
    )]
    pub fn new(how: How) -> Self {
        let maker = Maker::ours();
        let (key, algorithm) = match how.algorithm() {
            Algorithm::Es256 => (maker.p256_jwk("key"), Algorithm::Es256),
            Algorithm::EdDsa => (maker.ed25519_jwk("key"), Algorithm::EdDsa),
            other => (maker.rsa_jwk("key"), other),
        };
        let set = json!({ "keys": [key] }).to_string();
        let (keys, _) = Keys::parse(set.as_bytes()).expect("a key");
        let issuer = Issuer {
            name: "https://login.example/{tenant}/v2.0".to_owned(),
            audiences: vec!["api://files".to_owned()],
            algorithms: vec![algorithm],
            keys: Arc::new(Keyring::fixed(keys)),
            key_issuer: None,
            tenant: None,
            claims: Names::entra(),
        };
        let issuers = Issuers::new([issuer]).expect("an issuer");
        let header = json!({"typ": "JWT", "alg": algorithm.name(), "kid": "key"}).to_string();
        let token = |user| maker.token(algorithm, &header, &payload(user)).into_bytes();
        let tokens: Vec<Vec<u8>> = (0..TOKENS).map(token).collect();
        let verifier = Verifier::new(issuers.clone());
        let mut verification = Self { how, issuers, verifier, tokens, asked: 0 };
        if how == How::Remembered {
            // Once each, to be remembered.
            verification.run(TOKENS);
        }
        verification
    }

    /// The row's name: `verify.rs256`.
    pub fn name(&self) -> String {
        match self.how {
            How::Anew(algorithm) => format!("verify.{}", algorithm.name().to_lowercase()),
            How::Remembered => "verify.cached".to_owned(),
        }
    }

    /// Verifies so many tokens.
    ///
    /// # Panics
    ///
    /// Where one is refused, or says something else.
    pub fn run(&mut self, times: u64) -> Duration {
        let mut right = 0;
        let start = Instant::now();
        for _ in 0..times {
            let user = self.asked % self.tokens.len();
            self.asked += 1;
            let Some(token) = self.tokens.get(user) else { continue };
            let token = black_box(token.as_slice());
            right += u64::from(match self.how {
                How::Anew(_) => {
                    token::verify(token, &self.issuers).is_ok_and(|claims| claims.oid_is(user))
                }
                How::Remembered => {
                    // Nothing is waited for.
                    let verifying = pin!(self.verifier.verify(token));
                    match verifying.poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(told) => told.is_ok_and(|claims| claims.oid_is(user)),
                        Poll::Pending => false,
                    }
                }
            });
        }
        let spent = start.elapsed();
        assert_eq!(right, times, "every token says what it was made to say");
        spent
    }
}

/// Whose token it is.
trait OfUser {
    fn oid_is(&self, user: usize) -> bool;
}

impl OfUser for caed_proto::v1::TokenClaims {
    fn oid_is(&self, user: usize) -> bool {
        let number = self.sub.as_deref().and_then(|subject| subject.rsplit_once('-'));
        number.is_some_and(|(_, number)| number.parse() == Ok(user))
    }
}

/// Claims as Entra writes them.
fn payload(user: u64) -> String {
    let tenant = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    json!({
        "aud": "api://files", "iss": format!("https://login.example/{tenant}/v2.0"), "iat": 1_768_478_400,
        "nbf": 1_768_478_400, "exp": 1_768_482_300, "acct": 0, "acr": "1",
        "aio": "AXQAi/8IAAAAzP0mXx9QbT4v1n7s2kqH3uWcR5eYdL8oJ6fG0aBtNiVhMlUjKpEwZrSxCyDvFgTqIb",
        "amr": ["pwd", "mfa"], "azp": "0f5c8a3e-6a0e-4a57-9f5e-3e1d0c9b7a11", "azpacr": "0",
        "deviceid": "d3a1c5b2-1f7e-4a93-8a6f-2b9c4d5e6f70", "family_name": "Doe", "given_name": "Jo",
        "ipaddr": "203.0.113.9", "name": "Jo Doe", "oid": format!("5a1e0000-0000-4000-8000-{user:012}"),
        "rh": "0.AS8AULuna61j2kGVPhmybJZD", "scp": "Files.Read Mail.Read User.Read",
        "sid": "b1d4f0c2-7e3a-4c58-9a0d-6f2e8b7c5a31", "sub": "l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA",
        "tid": tenant, "preferred_username": "jo@contoso.example", "uti": "fqiBqXLPj0eQa82S-IYFAA",
        "ver": "2.0", "wids": ["b79fbf4d-3ef9-4689-8143-76b194e85509"], "xms_cc": ["CP1"],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_by_signature_and_tokens_have_a_usual_size() {
        let verifications = How::ALL.map(Verification::new);
        let names = verifications.each_ref().map(Verification::name);
        assert_eq!(names, ["verify.rs256", "verify.es256", "verify.eddsa", "verify.cached"]);
        for verification in &verifications {
            let bytes = verification.tokens[7].len();
            assert!((1200..1800).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn what_is_remembered_is_not_verified_again() {
        let mut verification = Verification::new(How::Remembered);
        verification.run(2 * TOKENS);
        let counts: Vec<_> = verification.verifier.counts().take(2).collect();
        assert_eq!(counts, [("verified", TOKENS), ("remembered", 2 * TOKENS)]);
    }
}
