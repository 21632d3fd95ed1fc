//! Makes keys and tokens for tests and benches. No key is kept anywhere: each run makes its own.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "for tests and benches alone"
)]

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::algorithm::Algorithm;

/// One key of each kind.
pub struct Maker {
    pub(crate) rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

/// In base64url, as the parts of a token are.
pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Maker {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"),
            ed25519: Ed25519KeyPair::generate().expect("a key"),
        }
    }

    /// The issuer's keys.
    pub fn ours() -> &'static Self {
        static OURS: OnceLock<Maker> = OnceLock::new();
        OURS.get_or_init(Self::new)
    }

    /// Somebody else's.
    pub fn theirs() -> &'static Self {
        static THEIRS: OnceLock<Maker> = OnceLock::new();
        THEIRS.get_or_init(Self::new)
    }

    /// The RSA key, public, under this id.
    pub fn rsa_jwk(&self, id: &str) -> Value {
        let public = self.rsa.public_key();
        let modulus = encoded(public.modulus().big_endian_without_leading_zero());
        let exponent = encoded(public.exponent().big_endian_without_leading_zero());
        json!({"kty": "RSA", "kid": id, "n": modulus, "e": exponent})
    }

    /// The key on P-256, public, under this id.
    pub fn p256_jwk(&self, id: &str) -> Value {
        let (x, y) = self.p256.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "kid": id, "crv": "P-256", "x": encoded(x), "y": encoded(y)})
    }

    /// The key on P-384, public, under this id.
    pub fn p384_jwk(&self, id: &str) -> Value {
        let (x, y) = self.p384.public_key().as_ref()[1..].split_at(48);
        json!({"kty": "EC", "kid": id, "crv": "P-384", "x": encoded(x), "y": encoded(y)})
    }

    /// The Ed25519 key, public, under this id.
    pub fn ed25519_jwk(&self, id: &str) -> Value {
        let x = encoded(self.ed25519.public_key());
        json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": x})
    }

    /// A signature over `message`, made as `algorithm` demands.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut made = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &rng, message, &mut made).expect("a signature");
            made
        };
        match algorithm {
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Es256 => self.p256.sign(&rng, message).expect("made").as_ref().to_vec(),
            Algorithm::Es384 => self.p384.sign(&rng, message).expect("made").as_ref().to_vec(),
            Algorithm::EdDsa => self.ed25519.sign(message).as_ref().to_vec(),
        }
    }

    /// A token of these very texts, signed as `algorithm` demands, whatever its header says.
    pub fn token(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(payload));
        let signature = self.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", encoded(signature))
    }
}
