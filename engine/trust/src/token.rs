//! A raw token, verified.
//!
//! A token chooses nothing here but which of its issuer's keys to try. Algorithm, key kind and audience
//! are the issuer's as configured; keys and addresses of keys in the header are not looked at. Claims are
//! read from what was verified, once; their times are judged by the decision (D1).

use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caed_decode::claims::{self, InvalidPayload};
use caed_proto::v1::TokenClaims;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::issuer::{Issuer, Issuers, OtherTenant};
use crate::json::{self, Flaw};
use crate::limits;

/// A token that its issuer made, for one of the issuer's audiences.
#[derive(Clone, Debug)]
pub struct Verified<'a> {
    /// Who made it.
    pub issuer: &'a Issuer,
    /// What it says.
    pub claims: TokenClaims,
}

/// Why a token is not believed. It repeats no part of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many bytes; nothing was read.
    #[error("the token is longer than {} bytes", limits::TOKEN_BYTES_MAX)]
    TooLong,
    /// Not three parts of text.
    #[error("the token is no signed JWT: it has not three parts with dots between them")]
    Parts,
    /// The header can't be read.
    #[error("the token's header {0}")]
    Header(Flaw),
    /// A member of the header is missing, or of another type.
    #[error("the token's header has no `{0}` that is a text")]
    HeaderMember(&'static str),
    /// The header demands something that is not understood here.
    #[error("the token's header demands an extension (`crit`) that is not known here")]
    Critical,
    /// Signed for another use, such as a logout token or a security event.
    #[error("the token's `typ` is not that of an access token")]
    Type,
    /// The payload can't be read.
    #[error("the token's payload {0}")]
    Payload(Flaw),
    /// From nobody who is configured.
    #[error("the token's issuer is not configured")]
    Issuer,
    /// Signed in a way that its issuer may not, or that never counts.
    #[error("the token's `alg` is not among the algorithms configured for issuer `{issuer}`")]
    Algorithm {
        /// The issuer, as configured.
        issuer: String,
    },
    /// Signed with a key that is not known: the issuer may have new ones.
    #[error("the token's key is not among those of issuer `{issuer}`")]
    UnknownKey {
        /// The issuer, as configured.
        issuer: String,
    },
    /// The key is there, but not for that algorithm.
    #[error("the token's key is not made for its `alg`")]
    KeyKind,
    /// Not what the key's owner signed.
    #[error("the token's signature is not its issuer's")]
    Signature,
    /// A claim of another type.
    #[error("the token's {0}")]
    Claims(InvalidPayload),
    /// For somebody else.
    #[error("the token is for none of the audiences configured for issuer `{issuer}`")]
    Audience {
        /// The issuer, as configured.
        issuer: String,
    },
    /// The issuer's keys can't be had, so nobody can tell.
    #[error("the keys of issuer `{issuer}` can not be had now")]
    Unavailable {
        /// The issuer, as configured.
        issuer: String,
    },
    /// The tenant that it names is not the one in its issuer's name.
    #[error("the token names another tenant than its issuer's name does")]
    Tenant,
}

/// What `typ` of an access token may be; `application/` may stand before it. Without `typ` it is taken for
/// one. SOURCE: RFC 9068 section 2.1, RFC 8725 section 3.11, RFC 7519 section 5.1.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Verifies a raw token: its form, its issuer, its signature, its audience and its tenant.
pub fn verify<'a>(token: &[u8], issuers: &'a Issuers) -> Result<Verified<'a>, Refused> {
    let Parts { header, payload, signed, signature } = Parts::of(token)?;
    let header = Header::read(header)?;
    let payload = decoded(payload).map_err(Refused::Payload)?;
    let name = payload.get("iss").and_then(Value::as_str).ok_or(Refused::Issuer)?;
    let named = issuers.find(name).ok_or(Refused::Issuer)?;
    named.issuer.has_signed(&header, signed, signature)?;

    let mut claims = claims::members(payload).map_err(Refused::Claims)?;
    let issuer = named.issuer;
    if !claims.aud.iter().any(|audience| issuer.audiences.contains(audience)) {
        return Err(Refused::Audience { issuer: issuer.name.clone() });
    }
    claims.tid = named.bind(claims.tid).map_err(|OtherTenant| Refused::Tenant)?;
    Ok(Verified { issuer, claims })
}

/// The parts of a signed JWT, still encoded.
pub(crate) struct Parts<'t> {
    header: &'t str,
    pub(crate) payload: &'t str,
    /// Header and payload, with the dot between them.
    signed: &'t str,
    signature: &'t str,
}

impl<'t> Parts<'t> {
    pub(crate) fn of(token: &'t [u8]) -> Result<Self, Refused> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let token = str::from_utf8(token).map_err(|_| Refused::Parts)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(Refused::Parts)?;
        if payload.contains('.') {
            return Err(Refused::Parts);
        }
        Ok(Self { header, payload, signed, signature })
    }
}

impl Refused {
    /// Whether it is no fault of the token.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl Issuer {
    /// Checks that a header's algorithm is one of ours, that its key is one of ours and made for that
    /// algorithm, and that the signature is that key's: in this order, so that no key meets an algorithm
    /// that is not its own.
    fn has_signed(&self, header: &Header, signed: &str, signature: &str) -> Result<(), Refused> {
        let issuer = || self.name.clone();
        let algorithm = Algorithm::parse(&header.algorithm)
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or_else(|| Refused::Algorithm { issuer: issuer() })?;
        let key = self
            .keys
            .get(&header.key_id)
            .ok_or_else(|| Refused::UnknownKey { issuer: issuer() })?;
        if !key.fits(algorithm) {
            return Err(Refused::KeyKind);
        }
        if key.has_signed(signed, signature, algorithm) { Ok(()) } else { Err(Refused::Signature) }
    }
}

/// What a header says that is heeded.
struct Header {
    algorithm: String,
    key_id: String,
}

impl Header {
    fn read(text: &str) -> Result<Self, Refused> {
        let header = decoded(text).map_err(Refused::Header)?;
        let member = |name| {
            let value = header.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
            value.ok_or(Refused::HeaderMember(name))
        };
        // SOURCE: RFC 7515 section 4.1.11: what is not understood is refused.
        if header.contains_key("crit") {
            return Err(Refused::Critical);
        }
        if !header.get("typ").is_none_or(is_access_token) {
            return Err(Refused::Type);
        }
        Ok(Self { algorithm: member("alg")?, key_id: member("kid")? })
    }
}

fn is_access_token(kind: &Value) -> bool {
    kind.as_str().is_some_and(|kind| {
        let kind = kind.to_ascii_lowercase();
        TYPES.contains(&kind.strip_prefix("application/").unwrap_or(&kind))
    })
}

pub(crate) fn decoded(part: &str) -> Result<Map<String, Value>, Flaw> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Encoding)?;
    json::object(&bytes)
}

#[cfg(test)]
mod tests;
