//! Verifies raw tokens as they come: by the issuers' keys of the moment, and by what was verified before.
//!
//! A token that names a key which is not known waits, for a bounded time, for one look at the issuer's keys.
//! That is all that a token can make anybody do, and it is bounded whatever tokens say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use caed_decode::asked::Given;
use caed_decode::claims::InvalidPayload;
use caed_proto::v1::TokenClaims;
use serde_json::{Map, Value};

use crate::agreement::{self, Disagreement};
use crate::issuer::Issuers;
use crate::keyring::{KeysReport, Looked};
use crate::limits;
use crate::remembered::Remembered;
use crate::token::{Kind, Refused, Unverified};

/// Verifies raw tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuers: Issuers,
    remembered: Remembered,
    verified: AtomicU64,
    from_cache: AtomicU64,
    refused: [AtomicU64; Kind::ALL.len()],
}

impl Verifier {
    /// Verifies the tokens of these issuers, and of nobody else.
    pub fn new(issuers: Issuers) -> Self {
        Self::with_memory(issuers, limits::REMEMBERED_BYTES_MAX)
    }

    fn with_memory(issuers: Issuers, bytes: usize) -> Self {
        let bytes = if issuers.iter().next().is_some() { bytes } else { 0 };
        Self(Arc::new(Inner {
            issuers,
            remembered: Remembered::new(bytes),
            verified: AtomicU64::new(0),
            from_cache: AtomicU64::new(0),
            refused: Default::default(),
        }))
    }

    /// What a raw token says, if its issuer made it for one of the issuer's audiences. May wait for new keys
    /// of the issuer, for at most [`KEYS_WAIT`](limits::KEYS_WAIT).
    pub async fn verify(&self, token: &[u8]) -> Result<Arc<TokenClaims>, Refused> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        if let Some(claims) = self.0.remembered.get(token) {
            self.0.from_cache.fetch_add(1, Ordering::Relaxed);
            return Ok(claims);
        }
        let outcome = self.verify_anew(token).await;
        let count = match &outcome {
            Ok(_) => Some(&self.0.verified),
            Err(refused) => self.0.refused.get(refused.kind() as usize),
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    async fn verify_anew(&self, token: &[u8]) -> Result<Arc<TokenClaims>, Refused> {
        // A signature takes as long as fifty answers: whoever asks about many lets others in between.
        tokio::task::yield_now().await;
        let unverified = Unverified::read(token, &self.0.issuers)?;
        let issuer = unverified.issuer();
        let looks = issuer.keys.looks_ended();
        let version = match unverified.signed() {
            Err(Refused::UnknownKey { .. } | Refused::Unavailable { .. }) => {
                match issuer.keys.newer(looks).await {
                    Looked::Current => unverified.signed()?,
                    Looked::Failed => {
                        return Err(Refused::Unavailable { issuer: issuer.name.clone() });
                    }
                }
            }
            Err(refused @ (Refused::Signature | Refused::KeyKind)) => {
                // Some issuers make a new key under an old id.
                issuer.keys.ask();
                return Err(refused);
            }
            signed => signed?,
        };
        let claims = Arc::new(unverified.claims()?);
        self.0.remembered.insert(token, Arc::clone(&issuer.keys), version, Arc::clone(&claims));
        Ok(claims)
    }

    /// Reads the payload of a token that somebody else has verified, with the names of its issuer.
    pub fn claims(&self, payload: Map<String, Value>) -> Result<TokenClaims, InvalidPayload> {
        agreement::members(payload, &self.0.issuers)
    }

    /// Checks that claims are those of a token, which somebody else has verified (T2).
    pub fn agrees(&self, token: &[u8], given: Given<'_>) -> Result<(), Disagreement> {
        agreement::agree(token, given, &self.0.issuers)
    }

    /// How the keys of each issuer are, in the order in which they are tried.
    pub fn reports(&self) -> impl Iterator<Item = (&str, KeysReport)> + '_ {
        self.0.issuers.iter().map(|issuer| (issuer.name.as_str(), issuer.keys.report()))
    }

    /// How many tokens were verified, by outcome: `verified`, `remembered`, or why they were refused.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let believed =
            [("verified", counted(&self.0.verified)), ("remembered", counted(&self.0.from_cache))];
        let refused = Kind::ALL.iter().zip(&self.0.refused);
        let refused = refused.map(move |(kind, count)| (kind.name(), counted(count)));
        believed.into_iter().chain(refused)
    }

    /// How many verified tokens are remembered, and in how many bytes.
    pub fn remembered(&self) -> (usize, u64) {
        (self.0.remembered.len(), self.0.remembered.bytes())
    }
}

impl Default for Verifier {
    /// Of no issuer: every token is refused.
    fn default() -> Self {
        Self::new(Issuers::default())
    }
}

#[cfg(test)]
mod tests;
