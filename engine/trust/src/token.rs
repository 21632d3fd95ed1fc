//! A raw token, verified.
//!
//! A token chooses nothing here but which of its issuer's keys to try. Algorithm, key kind and audience
//! are the issuer's as configured; keys and addresses of keys in the header are not looked at. Claims are
//! read from what was verified, once; their times are judged by the decision (D1).

use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caed_core::request::Unusable;
use caed_decode::claims::{self, InvalidPayload};
use caed_proto::v1::TokenClaims;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::issuer::{Issuer, Issuers, Named, OtherTenant};
use crate::json::{self, Flaw};
use crate::keyring::Unavailable;
use crate::limits;

/// A token whose form was read, and whose issuer is known. Nothing that it says is believed yet.
pub(crate) struct Unverified<'a> {
    signed: &'a str,
    signature: &'a str,
    header: Header,
    payload: Map<String, Value>,
    named: Named<'a>,
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
    /// The key is bound to an issuer, and to another one.
    #[error("the token's key is bound to another issuer than `{issuer}`")]
    KeyIssuer {
        /// The issuer, as configured.
        issuer: String,
    },
    /// The issuer's keys are not known, or so old that they may have been withdrawn. Not the token's fault.
    #[error("the keys of issuer `{issuer}` could not be had")]
    Unavailable {
        /// The issuer, as configured.
        issuer: String,
    },
    /// Not what the key's owner signed.
    #[error("the token's signature is not its issuer's")]
    Signature,
    /// A claim of another type.
    #[error("the token's {0}")]
    Claims(InvalidPayload),
    /// By what it says no access token, but one that tells a client who signed in, or a security event.
    #[error(
        "the token is no access token: its payload says what ID tokens, refresh tokens or security events say"
    )]
    Use,
    /// For somebody else.
    #[error("the token is for none of the audiences configured for issuer `{issuer}`")]
    Audience {
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
pub fn verify(token: &[u8], issuers: &Issuers) -> Result<TokenClaims, Refused> {
    let unverified = Unverified::read(token, issuers)?;
    unverified.signed()?;
    unverified.claims()
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

impl<'a> Unverified<'a> {
    /// Reads a token's form, and finds its issuer.
    pub(crate) fn read(token: &'a [u8], issuers: &'a Issuers) -> Result<Self, Refused> {
        let Parts { header, payload, signed, signature } = Parts::of(token)?;
        let header = Header::read(header)?;
        let payload = decoded(payload).map_err(Refused::Payload)?;
        let name = payload.get("iss").and_then(Value::as_str).ok_or(Refused::Issuer)?;
        let named = issuers.find(name).ok_or(Refused::Issuer)?;
        Ok(Self { signed, signature, header, payload, named })
    }

    /// Who is said to have made it.
    pub(crate) const fn issuer(&self) -> &'a Issuer {
        self.named.issuer
    }

    /// Checks that the header's algorithm is one of the issuer's, that its key is one of the issuer's keys of
    /// the moment and made for that algorithm, and that the signature is that key's: in this order, so that no
    /// key meets an algorithm that is not its own. Tells the version of the keys.
    pub(crate) fn signed(&self) -> Result<u64, Refused> {
        let issuer = || self.named.issuer.name.clone();
        let algorithm = Algorithm::parse(&self.header.algorithm)
            .filter(|algorithm| self.named.issuer.algorithms.contains(algorithm))
            .ok_or_else(|| Refused::Algorithm { issuer: issuer() })?;
        let keys = self.named.issuer.keys.current();
        let keys = keys.map_err(|Unavailable| Refused::Unavailable { issuer: issuer() })?;
        let key = keys
            .keys
            .get(&self.header.key_id)
            .ok_or_else(|| Refused::UnknownKey { issuer: issuer() })?;
        if !key.fits(algorithm) {
            return Err(Refused::KeyKind);
        }
        if !key.issuer().is_none_or(|owner| self.named.is_owner(owner)) {
            return Err(Refused::KeyIssuer { issuer: issuer() });
        }
        if key.has_signed(self.signed, self.signature, algorithm) {
            Ok(keys.version)
        } else {
            Err(Refused::Signature)
        }
    }

    /// What it says, once its signature [was checked](Self::signed): for one of the issuer's audiences, and of
    /// no other tenant than the issuer's.
    pub(crate) fn claims(self) -> Result<TokenClaims, Refused> {
        let Self { payload, named, .. } = self;
        let issuer = named.issuer;
        if !is_for_access(&payload) {
            return Err(Refused::Use);
        }
        let mut claims = claims::members(payload, &issuer.claims).map_err(Refused::Claims)?;
        if !claims.aud.iter().any(|audience| issuer.audiences.contains(audience)) {
            return Err(Refused::Audience { issuer: issuer.name.clone() });
        }
        claims.tid = named.bind(claims.tid).map_err(|OtherTenant| Refused::Tenant)?;
        Ok(claims)
    }
}

/// Why a token is not believed, without what it is about: to count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The token can't be read.
    Form,
    /// From nobody who is configured.
    Issuer,
    /// Signed in a way that its issuer may not.
    Algorithm,
    /// Signed with a key that is not known.
    UnknownKey,
    /// The key may not have signed it.
    Key,
    /// Not what the key's owner signed.
    Signature,
    /// A claim of another type.
    Claims,
    /// For somebody else.
    Audience,
    /// Of another tenant than its issuer's.
    Tenant,
    /// Its issuer's keys could not be had.
    Unavailable,
}

impl Kind {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 10] = [
        Self::Form,
        Self::Issuer,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Audience,
        Self::Tenant,
        Self::Unavailable,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Audience => "audience",
            Self::Tenant => "tenant",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Refused {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::TooLong
            | Self::Parts
            | Self::Header(_)
            | Self::HeaderMember(_)
            | Self::Critical
            | Self::Type
            | Self::Use
            | Self::Payload(_) => Kind::Form,
            Self::Issuer => Kind::Issuer,
            Self::Algorithm { .. } => Kind::Algorithm,
            Self::UnknownKey { .. } => Kind::UnknownKey,
            Self::KeyKind | Self::KeyIssuer { .. } => Kind::Key,
            Self::Unavailable { .. } => Kind::Unavailable,
            Self::Signature => Kind::Signature,
            Self::Claims(_) => Kind::Claims,
            Self::Audience { .. } => Kind::Audience,
            Self::Tenant => Kind::Tenant,
        }
    }

    /// What a decision learns of it (T2): that the token is not believed, or, by no fault of its own, that nobody
    /// can tell.
    pub const fn unusable(&self) -> Unusable {
        match self {
            Self::Unavailable { .. } => Unusable::Unverifiable,
            _ => Unusable::Unverified,
        }
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

/// Whether a payload may be that of an access token. SOURCE: OpenID Connect Core section 3.1.3.6, 3.3.2.11 (`at_hash`,
/// `c_hash`), RFC 8417 section 2.2 (`events`), Keycloak's `TokenUtil` (`typ`).
fn is_for_access(payload: &Map<String, Value>) -> bool {
    let is_other = |kind: &str| ["ID", "Refresh", "Offline", "Logout"].contains(&kind);
    !["at_hash", "c_hash", "events"].iter().any(|claim| payload.contains_key(*claim))
        && !payload.get("typ").and_then(Value::as_str).is_some_and(is_other)
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
