//! What is asked: a token's claims, and the profile of the resource that was called.
//!
//! Claims are parsed here into a [`Token`] that can't be wrong in shape, or into the reason why
//! they can't ([`Malformed`]). The second is no error: it is a fact about a token that somebody
//! presented, and [`crate::decide`] turns it into an answer (D1), as it does where nobody who is believed
//! vouches for what was presented ([`Unusable`]).

use std::fmt;
use std::net::IpAddr;

use crate::ids::{Id, InvalidId, NameText};
use crate::rules::Profile;

/// One question.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// The token that was presented.
    pub token: Result<Token<'a>, Unusable>,
    /// What the resource enforces.
    pub profile: &'a Profile,
    /// Where the request comes from.
    pub seen: Seen,
}

/// The address of the client, as whoever asks vouches for it (D6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// This one.
    At(IpAddr),
    /// None that can be believed: inside no location.
    #[default]
    Unknown,
    /// The route has none by its nature: locations are not evaluated.
    NoneByNature,
}

/// The claims that decisions read, as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Claims<'a> {
    /// `iss`.
    pub issuer: Option<&'a str>,
    /// `tid`: the tenant.
    pub tenant: Option<&'a str>,
    /// The subject's directory object id.
    pub subject: Option<&'a str>,
    /// `iat`, in seconds.
    pub issued_at: Option<i64>,
    /// `exp`, in seconds.
    pub expires: Option<i64>,
    /// `nbf`, in seconds.
    pub not_before: Option<i64>,
    /// `sid`.
    pub session: Option<&'a str>,
    /// `jti`, or `uti`.
    pub token_id: Option<&'a str>,
    /// The client application: `azp`, or `appid`.
    pub client: Option<&'a str>,
    /// `deviceid`.
    pub device: Option<&'a str>,
    /// Whether `xms_cc` announces that the client answers challenges: see [`announces_cp1`].
    pub answers_challenges: bool,
    /// `aud`.
    pub audiences: Texts<'a>,
    /// `ipaddr`: the address that the identity provider saw.
    pub address: Option<&'a str>,
    /// `acct`: 1 is a guest.
    pub account_kind: Option<i64>,
    /// `auth_time`, in seconds.
    pub authenticated: Option<i64>,
    /// `idtyp`: `app` is a workload identity.
    pub identity_type: Option<&'a str>,
    /// `groups`; `None` where the token has none, or too many to name.
    pub groups: Option<Texts<'a>>,
    /// `wids`: the user's roles.
    pub roles: Option<Texts<'a>>,
    /// The claim that the issuer marks judged tokens with (D5).
    pub judged: Option<&'a str>,
}

/// The texts of a claim that is a list, wherever they stand.
#[derive(Clone, Copy)]
pub enum Texts<'a> {
    /// Each by itself.
    Listed(&'a [String]),
    /// In these bytes.
    Within(&'a [u8], Next),
}

/// The first text in bytes, and what stands behind it.
pub type Next = fn(&[u8]) -> Option<(&str, &[u8])>;

/// A token whose claims have the right shape.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    pub(crate) issuer: NameText<'a>,
    pub(crate) tenant: NameText<'a>,
    pub(crate) subject: Id<'a>,
    pub(crate) issued_at: Option<i64>,
    pub(crate) expires: Option<i64>,
    pub(crate) not_before: Option<i64>,
    pub(crate) session: Option<Id<'a>>,
    pub(crate) id: Option<Id<'a>>,
    pub(crate) client: Option<Id<'a>>,
    pub(crate) device: Option<Id<'a>>,
    pub(crate) answers_challenges: bool,
    pub(crate) audiences: Texts<'a>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_guest: bool,
    pub(crate) is_workload: bool,
    pub(crate) authenticated: Option<i64>,
    pub(crate) groups: Option<Texts<'a>>,
    pub(crate) roles: Option<Texts<'a>>,
    pub(crate) judged: Option<&'a str>,
}

/// Why there is no token to decide about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Nobody who is believed vouches for it (T2).
    #[error("the token is not believed")]
    Unverified,
    /// The keys that would tell can't be had now (T2).
    #[error("the keys of the token's issuer can not be had")]
    Unverifiable,
    /// Its claims are not those of a token (D1).
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Why claims are not those of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A claim without which nothing can be decided is missing.
    #[error("claim `{0}` is missing")]
    Missing(&'static str),
    /// It would have expired before it was issued.
    #[error("claim `exp` is not after `iat`")]
    ExpiresBeforeIssue,
    /// A claim can't be what it should be.
    #[error("claim `{claim}` {problem}")]
    Invalid {
        /// The claim.
        claim: &'static str,
        /// What is wrong with it.
        problem: InvalidId,
    },
}

impl<'a> Token<'a> {
    /// Parses claims.
    pub fn parse(claims: &Claims<'a>) -> Result<Self, Unusable> {
        let Claims {
            issuer,
            tenant,
            subject,
            issued_at,
            expires,
            not_before,
            session,
            token_id,
            client,
            device,
            answers_challenges,
            audiences,
            address,
            account_kind,
            authenticated,
            identity_type,
            groups,
            roles,
            judged,
        } = *claims;
        if let (Some(issued_at), Some(expires)) = (issued_at, expires)
            && expires <= issued_at
        {
            return Err(Malformed::ExpiresBeforeIssue.into());
        }
        Ok(Self {
            issuer: NameText::new(required("iss", issuer)?.as_str()),
            tenant: NameText::new(required("tid", tenant)?.as_str()),
            subject: required("sub", subject)?,
            issued_at,
            expires,
            not_before,
            session: optional("sid", session)?,
            id: optional("jti", token_id)?,
            client: optional("azp", client)?,
            device: optional("deviceid", device)?,
            answers_challenges,
            audiences,
            // An address that can't be read was not told.
            address: address.and_then(|text| text.parse().ok()).map(|at: IpAddr| at.to_canonical()),
            is_guest: account_kind == Some(GUEST),
            is_workload: identity_type == Some(WORKLOAD),
            authenticated,
            groups,
            roles,
            judged,
        })
    }

    /// The address that the identity provider saw, where the token tells one that can be read.
    pub const fn signed_in_at(&self) -> Option<IpAddr> {
        self.address
    }

    /// The tenant that the token belongs to.
    pub fn tenant(&self) -> &str {
        self.tenant.as_str()
    }

    /// The subject's id.
    pub const fn subject(&self) -> &str {
        self.subject.as_str()
    }

    /// When it was issued by its own word, in seconds; `None` where it does not say.
    pub const fn issued_at(&self) -> Option<i64> {
        self.issued_at
    }

    /// Who issued it.
    pub fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// Whether the client can answer a challenge, by its own word and the operator's.
    pub(crate) fn is_capable(&self, profile: &Profile) -> bool {
        let listed = |client: Id<'_>| profile.incapable_clients.contains(&client.key());
        self.answers_challenges
            && (profile.incapable_clients.is_empty() || !self.client.is_some_and(listed))
    }
}

impl<'a> Texts<'a> {
    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut rest = self;
        std::iter::from_fn(move || match &mut rest {
            Texts::Listed(texts) => {
                let (first, behind) = texts.split_first()?;
                *texts = behind;
                Some(first.as_str())
            }
            Texts::Within(bytes, next) => {
                let (first, behind) = next(bytes)?;
                *bytes = behind;
                Some(first)
            }
        })
    }
}

impl Default for Texts<'_> {
    fn default() -> Self {
        Self::Listed(&[])
    }
}

impl fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Texts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// `acct` of a guest.
const GUEST: i64 = 1;

/// `idtyp` of a workload identity.
const WORKLOAD: &str = "app";

/// Whether a value of `xms_cc` announces the capability to answer claims challenges. Clients write
/// it in either case.
pub fn announces_cp1(value: &str) -> bool {
    value.eq_ignore_ascii_case("cp1")
}

fn required<'a>(claim: &'static str, value: Option<&'a str>) -> Result<Id<'a>, Malformed> {
    optional(claim, value)?.ok_or(Malformed::Missing(claim))
}

fn optional<'a>(claim: &'static str, value: Option<&'a str>) -> Result<Option<Id<'a>>, Malformed> {
    value.map(Id::parse).transpose().map_err(|problem| Malformed::Invalid { claim, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_who_issued_it_for_whom_and_where() {
        let claims = Claims {
            issuer: Some("https://idp.example"),
            tenant: Some("contoso"),
            subject: Some("anna"),
            address: Some("::ffff:198.51.100.7"),
            ..Claims::default()
        };
        let token = Token::parse(&claims).expect("a token");
        assert_eq!((token.issuer(), token.tenant()), ("https://idp.example", "contoso"));
        assert_eq!(token.signed_in_at(), "198.51.100.7".parse().ok(), "IPv4 is IPv4");
        let unreadable = Claims { address: Some("office"), ..claims };
        assert_eq!(Token::parse(&unreadable).expect("a token").signed_in_at(), None);
    }
}
