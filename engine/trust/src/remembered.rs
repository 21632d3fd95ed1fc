//! Tokens that were verified before: exact, and bounded by the bytes that they take.
//!
//! What is remembered is that a token was verified, by which version of its issuer's keys, and what it says. A
//! decision is never remembered. A token is found by all of its bytes. What is hashed of it is its end, where its
//! signature is, under a seed of each process: those whom an issuer signed for differ there, and nobody else's are ever
//! remembered.

use std::hash::{Hash, Hasher, RandomState};
use std::sync::Arc;

use caed_proto::v1::TokenClaims;
use prost::Message;
use quick_cache::Equivalent;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::keyring::Keyring;

/// Verified tokens.
pub(crate) struct Remembered {
    cache: Cache<Bytes<Box<[u8]>>, Entry, Weighter, RandomState>,
}

/// All bytes of a token, which are found by the last of them.
#[derive(PartialEq, Eq)]
struct Bytes<T>(T);

/// How many bytes are hashed: less than any signature has, and more than are ever alike by chance.
const HASHED_BYTES: usize = 32;

impl<T: AsRef<[u8]>> Hash for Bytes<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let bytes = self.0.as_ref();
        hasher.write(bytes.last_chunk::<HASHED_BYTES>().map_or(bytes, <[u8; _]>::as_slice));
    }
}

impl Equivalent<Bytes<Box<[u8]>>> for Bytes<&[u8]> {
    fn equivalent(&self, remembered: &Bytes<Box<[u8]>>) -> bool {
        *self.0 == *remembered.0
    }
}

/// What is remembered of a token.
#[derive(Clone)]
struct Entry {
    keys: Arc<Keyring>,
    version: u64,
    claims: Arc<TokenClaims>,
    bytes: u64,
}

#[derive(Clone)]
struct Weighter;

impl quick_cache::Weighter<Bytes<Box<[u8]>>, Entry> for Weighter {
    fn weight(&self, _: &Bytes<Box<[u8]>>, entry: &Entry) -> u64 {
        entry.bytes
    }
}

/// Bytes of an entry beside its texts: the places in the table, allocations, and the claims themselves.
const ENTRY_BYTES: usize = size_of::<TokenClaims>() + 256;

/// Bytes of a text in a list, beside the text itself.
const LISTED_BYTES: usize = size_of::<String>() + 16;

/// What a token most often takes: for the first size of the tables.
const USUAL_BYTES: usize = 4 << 10;

impl Remembered {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let weight = u64::try_from(bytes).unwrap_or(u64::MAX);
        let (hasher, lifecycle) = (RandomState::new(), DefaultLifecycle::default());
        Self { cache: Cache::with(bytes / USUAL_BYTES, weight, Weighter, hasher, lifecycle) }
    }

    /// What a token says, if it was verified before, by keys that still are its issuer's and still count.
    pub(crate) fn get(&self, token: &[u8]) -> Option<Arc<TokenClaims>> {
        let Entry { keys, version, claims, bytes: _ } = self.cache.get(&Bytes(token))?;
        keys.current().is_ok_and(|held| held.version == version).then_some(claims)
    }

    /// Remembers that a token was verified.
    pub(crate) fn insert(
        &self,
        token: &[u8],
        keys: Arc<Keyring>,
        version: u64,
        claims: Arc<TokenClaims>,
    ) {
        let bytes = bytes_of(token, &claims);
        self.cache.insert(Bytes(token.into()), Entry { keys, version, claims, bytes });
    }

    /// How many bytes are taken.
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// How many tokens are remembered.
    pub(crate) fn len(&self) -> usize {
        self.cache.len()
    }
}

/// The memory of an entry, as far as it grows with the token.
fn bytes_of(token: &[u8], claims: &TokenClaims) -> u64 {
    let TokenClaims { aud, xms_cc, groups, wids, .. } = claims;
    let lists = [groups, wids].map(|list| list.as_ref().map_or(0, |list| list.values.len()));
    let listed = aud.len() + xms_cc.len() + lists.iter().sum::<usize>();
    let bytes = token.len() + claims.encoded_len() + listed * LISTED_BYTES + ENTRY_BYTES;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;

    fn token(number: u64) -> Vec<u8> {
        let mut token = vec![b'a'; 1500];
        token.extend_from_slice(&number.to_be_bytes());
        token
    }

    fn claims(number: u64) -> Arc<TokenClaims> {
        Arc::new(TokenClaims { sub: Some(number.to_string()), ..TokenClaims::default() })
    }

    #[test]
    fn a_hundred_thousand_tokens_take_no_more_than_they_may() {
        let bound = 4 << 20;
        let remembered = Remembered::new(bound);
        let keys = Arc::new(Keyring::fixed(Keys::default()));
        let mut hits = 0;
        for number in 0..100_000 {
            remembered.insert(&token(number), Arc::clone(&keys), 0, claims(number));
            assert!(remembered.bytes() <= u64::try_from(bound).expect("a number"));
            // Whatever is found is what was remembered of that very token.
            let earlier = number / 2;
            if let Some(found) = remembered.get(&token(earlier)) {
                assert_eq!(found.sub, Some(earlier.to_string()));
                hits += 1;
            }
        }
        assert!(hits > 0 && remembered.len() > 1_000, "{hits} hits, {}", remembered.len());
    }

    #[test]
    fn a_token_is_found_by_all_of_its_bytes() {
        let remembered = Remembered::new(1 << 20);
        let keys = Arc::new(Keyring::fixed(Keys::default()));
        let known = token(7);
        remembered.insert(&known, keys, 0, claims(7));
        assert!(remembered.get(&known).is_some());
        for at in 0..known.len() {
            for bit in 0..8 {
                let mut other = known.clone();
                other[at] ^= 1 << bit;
                assert!(remembered.get(&other).is_none(), "byte {at}, bit {bit}");
            }
        }
        assert!(remembered.get(&known[1..]).is_none());
        assert!(remembered.get(&[known.as_slice(), b"a"].concat()).is_none());
        assert!(remembered.get(b"").is_none());
    }

    #[test]
    fn a_token_of_many_values_weighs_what_they_take() {
        let values = vec!["a".to_owned(); 10_000];
        let groups = Some(caed_proto::v1::ClaimValues { values });
        let heavy = TokenClaims { groups, ..TokenClaims::default() };
        assert!(bytes_of(b"", &heavy) > 10_000 * 40);
    }
}
