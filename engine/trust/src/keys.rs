//! Public keys, as issuers publish them (JWK sets, RFC 7517).
//!
//! One key that can't be used is no reason to lose the others: it is skipped and counted. Of two keys of
//! one id the first counts. A key without an id is skipped: a token names the key that it was signed with.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use serde_json::Value;

use crate::algorithm::{Algorithm, KeyKind};
use crate::json::{self, Flaw};
use crate::limits;

/// The keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    by_id: HashMap<String, Key>,
}

/// A key, and what it may verify.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    kind: KeyKind,
    /// The one algorithm that the issuer made it for, where it says so.
    only: Option<Algorithm>,
    /// The one issuer that it may sign for, where the set says so.
    issuer: Option<String>,
    public: DecodingKey,
}

/// How many keys of a set were skipped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Not the key that it says it is, or not a key at all.
    pub malformed: usize,
    /// Symmetric: a secret that is published is none.
    pub symmetric: usize,
    /// Published with its private part: anybody can sign with it.
    pub private: usize,
    /// Of a kind, size or use that verifies none of our signatures.
    pub unusable: usize,
    /// Without an id.
    pub nameless: usize,
    /// Of the id of another one that counts.
    pub twice: usize,
}

/// Why bytes are no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// Too many bytes.
    #[error("the key set is longer than {} bytes", limits::KEYS_BYTES_MAX)]
    TooLong,
    /// Too many keys.
    #[error("the key set holds more than {} keys", limits::KEYS_MAX)]
    TooMany,
    /// Not one JSON object that means one thing.
    #[error("the key set {0}")]
    Json(Flaw),
    /// No list `keys`.
    #[error("the key set has no list `keys`; give the issuer's `jwks_uri`, not its metadata")]
    NoList,
}

/// Why one key is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    Malformed,
    Symmetric,
    Private,
    Unusable,
    Nameless,
    Twice,
}

impl Keys {
    /// Reads a set of keys, and counts those that are skipped.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Skipped), InvalidKeys> {
        if bytes.len() > limits::KEYS_BYTES_MAX {
            return Err(InvalidKeys::TooLong);
        }
        let mut set = json::object(bytes).map_err(InvalidKeys::Json)?;
        let Some(Value::Array(values)) = set.remove("keys") else {
            return Err(InvalidKeys::NoList);
        };
        if values.len() > limits::KEYS_MAX {
            return Err(InvalidKeys::TooMany);
        }
        let (mut keys, mut skipped) = (Self::default(), Skipped::default());
        for value in values {
            if let Err(unfit) = keys.add(value) {
                skipped.count(unfit);
            }
        }
        Ok((keys, skipped))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Key> {
        self.by_id.get(id)
    }

    fn add(&mut self, value: Value) -> Result<(), Unfit> {
        let (id, key) = Key::read(value)?;
        if self.by_id.contains_key(&id) {
            return Err(Unfit::Twice);
        }
        self.by_id.insert(id, key);
        Ok(())
    }
}

impl Key {
    fn read(value: Value) -> Result<(String, Self), Unfit> {
        let text = |name| value.get(name).and_then(Value::as_str);
        match text("kty") {
            Some("oct") => return Err(Unfit::Symmetric),
            Some("RSA" | "EC" | "OKP") => {}
            Some(_) => return Err(Unfit::Unusable),
            None => return Err(Unfit::Malformed),
        }
        if value.get("d").is_some() {
            return Err(Unfit::Private);
        }
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Err(Unfit::Unusable);
        }
        if let Some(Value::Array(operations)) = value.get("key_ops")
            && !operations.iter().any(|operation| operation == "verify")
        {
            return Err(Unfit::Unusable);
        }
        let only = match value.get("alg") {
            Some(Value::String(name)) => Some(Algorithm::parse(name).ok_or(Unfit::Unusable)?),
            Some(_) => return Err(Unfit::Malformed),
            None => None,
        };
        let issuer = match value.get("issuer") {
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Null) | None => None,
            Some(_) => return Err(Unfit::Malformed),
        };
        let jwk: Jwk = serde_json::from_value(value).map_err(|_| Unfit::Malformed)?;
        let (kind, public) = public(&jwk.algorithm)?;
        if only.is_some_and(|only| only.key_kind() != kind) {
            return Err(Unfit::Malformed);
        }
        let id = jwk.common.key_id.filter(|id| !id.is_empty()).ok_or(Unfit::Nameless)?;
        Ok((id, Self { kind, only, issuer, public }))
    }

    /// Whether it is a key for this algorithm.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.key_kind() && self.only.is_none_or(|only| only == algorithm)
    }

    /// The one issuer that it may sign for, if it is bound to one.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Whether `signature`, in base64url, is this key's over `message`. INVARIANT: only an algorithm that
    /// the key [fits](Self::fits) is ever tried.
    pub(crate) fn has_signed(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        let (message, algorithm) = (message.as_bytes(), algorithm.verifier());
        jsonwebtoken::crypto::verify(signature, message, &self.public, algorithm)
            .is_ok_and(|is_its_own| is_its_own)
    }
}

/// A key whose numbers have the right size, and its kind.
fn public(parameters: &AlgorithmParameters) -> Result<(KeyKind, DecodingKey), Unfit> {
    let malformed = |_| Unfit::Malformed;
    match parameters {
        AlgorithmParameters::RSA(rsa) => {
            let (modulus, exponent) = (decoded(&rsa.n)?, decoded(&rsa.e)?);
            // Some issuers write a zero before it, as for a signed number.
            let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
            let modulus = modulus.get(zeros..).unwrap_or_default();
            if !limits::RSA_BYTES.contains(&modulus.len()) {
                return Err(Unfit::Unusable);
            }
            Ok((KeyKind::Rsa, DecodingKey::from_rsa_raw_components(modulus, &exponent)))
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let (kind, bytes) = match point.curve {
                EllipticCurve::P256 => (KeyKind::P256, 32),
                EllipticCurve::P384 => (KeyKind::P384, 48),
                _ => return Err(Unfit::Unusable),
            };
            if decoded(&point.x)?.len() != bytes || decoded(&point.y)?.len() != bytes {
                return Err(Unfit::Malformed);
            }
            let public = DecodingKey::from_ec_components(&point.x, &point.y).map_err(malformed)?;
            Ok((kind, public))
        }
        AlgorithmParameters::OctetKeyPair(pair) => {
            if pair.curve != EllipticCurve::Ed25519 {
                return Err(Unfit::Unusable);
            }
            if decoded(&pair.x)?.len() != 32 {
                return Err(Unfit::Malformed);
            }
            let public = DecodingKey::from_ed_components(&pair.x).map_err(malformed)?;
            Ok((KeyKind::Ed25519, public))
        }
        AlgorithmParameters::OctetKey(_) => Err(Unfit::Symmetric),
        _ => Err(Unfit::Malformed),
    }
}

fn decoded(number: &str) -> Result<Vec<u8>, Unfit> {
    URL_SAFE_NO_PAD.decode(number).map_err(|_| Unfit::Malformed)
}

impl Skipped {
    /// How many, whatever the reason.
    pub const fn all(self) -> usize {
        let Self { malformed, symmetric, private, unusable, nameless, twice } = self;
        malformed + symmetric + private + unusable + nameless + twice
    }

    fn count(&mut self, unfit: Unfit) {
        let counter = match unfit {
            Unfit::Malformed => &mut self.malformed,
            Unfit::Symmetric => &mut self.symmetric,
            Unfit::Private => &mut self.private,
            Unfit::Unusable => &mut self.unusable,
            Unfit::Nameless => &mut self.nameless,
            Unfit::Twice => &mut self.twice,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::KeyPair as _;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::maker::{Maker, encoded};

    fn read(keys: &[Value]) -> (Keys, Skipped) {
        Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
    }

    /// A key with a member set.
    fn with(mut key: Value, member: &str, value: Value) -> Value {
        key[member] = value;
        key
    }

    fn without(mut key: Value, member: &str) -> Value {
        key.as_object_mut().expect("an object").remove(member).expect("the member");
        key
    }

    #[test]
    fn keys_are_read_or_skipped_one_by_one() {
        let maker = Maker::ours();
        let (rsa, p256) = (|| maker.rsa_jwk("rsa"), || maker.p256_jwk("p256"));
        let ed25519 = || maker.ed25519_jwk("ed25519");
        let malformed = Skipped { malformed: 1, ..Skipped::default() };
        let unusable = Skipped { unusable: 1, ..Skipped::default() };
        let symmetric = Skipped { symmetric: 1, ..Skipped::default() };
        let private = Skipped { private: 1, ..Skipped::default() };
        let nameless = Skipped { nameless: 1, ..Skipped::default() };
        let rows = [
            (json!({"kty": "oct", "kid": "a", "k": encoded([7; 32])}), symmetric),
            (json!({"kty": "oct", "kid": "a", "k": encoded([7; 32]), "alg": "HS256"}), symmetric),
            (with(rsa(), "d", encoded([7; 256]).into()), private),
            (with(ed25519(), "d", encoded([7; 32]).into()), private),
            (without(rsa(), "kid"), nameless),
            (with(rsa(), "kid", "".into()), nameless),
            (with(rsa(), "kid", json!(null)), nameless),
            (with(rsa(), "use", "enc".into()), unusable),
            (with(rsa(), "key_ops", json!(["encrypt"])), unusable),
            (with(rsa(), "alg", "HS256".into()), unusable),
            (with(rsa(), "alg", "RSA-OAEP".into()), unusable),
            (with(rsa(), "alg", "none".into()), unusable),
            (with(rsa(), "n", encoded([255; 128]).into()), unusable),
            (with(rsa(), "n", encoded([vec![0; 128], vec![255; 128]].concat()).into()), unusable),
            (with(rsa(), "n", encoded([255; 1025]).into()), unusable),
            (with(p256(), "crv", "P-521".into()), unusable),
            (with(ed25519(), "crv", "X25519".into()), malformed),
            (json!({"kty": "XYZ", "kid": "a"}), unusable),
            (with(rsa(), "kid", 7.into()), malformed),
            (with(rsa(), "alg", 7.into()), malformed),
            (with(rsa(), "alg", "ES256".into()), malformed),
            (with(p256(), "alg", "ES384".into()), malformed),
            (with(rsa(), "n", "+/==".into()), malformed),
            (with(rsa(), "n", 7.into()), malformed),
            (without(rsa(), "n"), malformed),
            (without(rsa(), "e"), malformed),
            (without(rsa(), "kty"), malformed),
            (with(rsa(), "kty", "EC".into()), malformed),
            (with(p256(), "x", encoded([7; 31]).into()), malformed),
            (with(p256(), "crv", "P-384".into()), malformed),
            (with(ed25519(), "x", encoded([7; 33]).into()), malformed),
            (json!({}), malformed),
            (json!(null), malformed),
            (json!("rsa"), malformed),
            (json!([rsa()]), malformed),
        ];
        for (key, expected) in rows {
            let (keys, skipped) = read(&[key.clone(), maker.p384_jwk("p384")]);
            assert_eq!((keys.len(), skipped), (1, expected), "{key}");
            assert!(keys.get("p384").is_some(), "{key}");
        }
        for key in [
            rsa(),
            with(rsa(), "use", "sig".into()),
            with(rsa(), "key_ops", json!(["verify"])),
            with(rsa(), "alg", "PS512".into()),
            with(rsa(), "x5c", json!(["MII"])),
            p256(),
            ed25519(),
        ] {
            let (keys, skipped) = read(std::slice::from_ref(&key));
            assert_eq!((keys.len(), skipped), (1, Skipped::default()), "{key}");
        }
    }

    #[test]
    fn of_two_keys_of_one_id_the_first_counts() {
        let (ours, theirs) = (Maker::ours(), Maker::theirs());
        let (keys, skipped) = read(&[ours.rsa_jwk("a"), theirs.rsa_jwk("a"), theirs.p256_jwk("a")]);
        assert_eq!((keys.len(), skipped), (1, Skipped { twice: 2, ..Skipped::default() }));
        let signature = |maker: &Maker| encoded(maker.sign(Algorithm::Rs256, b"message"));
        let key = keys.get("a").expect("a key");
        assert!(key.has_signed("message", &signature(ours), Algorithm::Rs256));
        assert!(!key.has_signed("message", &signature(theirs), Algorithm::Rs256));
        // What is skipped takes no id from another one.
        let (keys, _) = read(&[json!({"kty": "oct", "kid": "a", "k": "AAAA"}), ours.rsa_jwk("a")]);
        assert!(keys.get("a").is_some_and(|key| key.fits(Algorithm::Rs256)));
    }

    #[test]
    fn a_set_is_read_whole_or_not_at_all() {
        let many = vec![Maker::ours().rsa_jwk("a"); limits::KEYS_MAX + 1];
        let long = format!("{{\"keys\":[],\"a\":\"{}\"}}", "x".repeat(limits::KEYS_BYTES_MAX));
        for (text, expected) in [
            (json!({ "keys": many }).to_string(), InvalidKeys::TooMany),
            (long, InvalidKeys::TooLong),
            (String::new(), InvalidKeys::Json(Flaw::Json)),
            ("<html>".to_owned(), InvalidKeys::Json(Flaw::Json)),
            ("[]".to_owned(), InvalidKeys::Json(Flaw::Object)),
            ("{\"keys\":[],\"keys\":[]}".to_owned(), InvalidKeys::Json(Flaw::Twice)),
            ("{}".to_owned(), InvalidKeys::NoList),
            ("{\"keys\":{}}".to_owned(), InvalidKeys::NoList),
            ("{\"jwks_uri\":\"https://a/\"}".to_owned(), InvalidKeys::NoList),
        ] {
            let told = Keys::parse(text.as_bytes()).map(|_| ());
            assert_eq!(told, Err(expected), "{text:.80}");
        }
        assert!(Keys::parse(b"{\"keys\":[]}").is_ok_and(|(keys, _)| keys.is_empty()));
    }

    /// Some issuers write a modulus with a zero before it, as a signed number.
    #[test]
    fn a_modulus_may_begin_with_zero() {
        let maker = Maker::ours();
        let public = maker.rsa.public_key();
        let modulus = [&[0], public.modulus().big_endian_without_leading_zero()].concat();
        let (keys, _) = read(&[with(maker.rsa_jwk("a"), "n", encoded(modulus).into())]);
        let signature = encoded(maker.sign(Algorithm::Rs256, b"message"));
        let key = keys.get("a").expect("a key");
        assert!(key.has_signed("message", &signature, Algorithm::Rs256));
    }

    /// A point that is on no curve is a key that verifies nothing.
    #[test]
    fn numbers_that_are_no_key_verify_nothing() {
        let maker = Maker::ours();
        let off = encoded([7; 32]);
        let (keys, _) = read(&[
            with(maker.p256_jwk("p256"), "x", off.clone().into()),
            with(maker.ed25519_jwk("ed25519"), "x", encoded([255; 32]).into()),
            with(maker.rsa_jwk("rsa"), "e", encoded([0]).into()),
            with(maker.rsa_jwk("one"), "e", encoded([1]).into()),
            with(maker.rsa_jwk("even"), "n", encoded([254; 256]).into()),
        ]);
        for (id, algorithm) in [
            ("p256", Algorithm::Es256),
            ("ed25519", Algorithm::EdDsa),
            ("rsa", Algorithm::Rs256),
            ("one", Algorithm::Rs256),
            ("even", Algorithm::Rs256),
        ] {
            let Some(key) = keys.get(id) else { continue };
            for signature in [maker.sign(algorithm, b"message"), vec![0; 64], vec![0; 256]] {
                assert!(!key.has_signed("message", &encoded(signature), algorithm), "{id}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_set_or_are_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Keys::parse(&bytes);
        }

        /// Whatever a member is: the key is read or skipped, and its neighbour is read.
        #[test]
        fn a_key_of_any_shape_harms_no_other(
            member in prop::sample::select(vec!["kty", "kid", "n", "e", "alg", "use", "key_ops", "crv", "x"]),
            value in prop_oneof![
                Just(json!(null)), Just(json!([])), Just(json!({})), any::<i64>().prop_map(Value::from),
                ".{0,8}".prop_map(Value::from),
            ],
        ) {
            let (keys, _) = read(&[with(Maker::ours().rsa_jwk("a"), member, value), Maker::ours().p256_jwk("b")]);
            prop_assert!(keys.get("b").is_some() && keys.len() <= 2);
        }
    }
}
