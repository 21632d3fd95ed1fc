//! Who may issue tokens, with which algorithms, for whom.

use std::sync::Arc;

use caed_core::ids::Name;
use caed_core::rules::{TENANT_PLACEHOLDER, tenant_in};
use caed_decode::claims::Names;

use crate::algorithm::Algorithm;
use crate::keyring::Keyring;

/// One issuer of raw tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The token's `iss`, or a pattern of it with `{tenant}` in place of the tenant.
    pub name: String,
    /// Whom its tokens may be for: one of a token's `aud` must be one of these, letter by letter.
    pub audiences: Vec<String>,
    /// How its tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Its keys, as they are now.
    pub keys: Arc<Keyring>,
    /// What a key that is bound to an issuer calls it, where that is not `name`; may hold `{tenant}`.
    pub key_issuer: Option<String>,
    /// The tenant of all its tokens, where they don't name any.
    pub tenant: Option<Name>,
    /// How its tokens name what counts.
    pub claims: Names,
}

/// The issuers whose raw tokens are verified here.
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    /// Plain names before patterns, each in the order of configuration.
    issuers: Vec<Issuer>,
    /// Those whose raw tokens are not verified here, and how they name claims.
    vouched: Vec<(String, Names)>,
}

/// An issuer that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    /// No name.
    #[error("an issuer has no name; give the `iss` of its tokens")]
    NoName,
    /// Twice the same name.
    #[error("issuer `{0}` is configured twice; give all its audiences in one place")]
    Twice(String),
    /// More than one `{tenant}`, which nothing could match surely.
    #[error("issuer `{0}` holds {{tenant}} more than once")]
    ManyPlaceholders(String),
    /// Tokens for anybody would count.
    #[error("issuer `{0}` names no audience; give the `aud` that your resource's tokens have")]
    NoAudience(String),
    /// No token would count.
    #[error("issuer `{0}` names no algorithm; give those that it signs with, such as `RS256`")]
    NoAlgorithm(String),
}

/// An issuer that a token names.
#[derive(Clone, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) issuer: &'a Issuer,
    /// The tenant in the name, where the issuer's name is a pattern.
    tenant: Option<Name>,
}

/// What stands in place of the tenant where an issuer says whose a key is.
/// SOURCE: Microsoft Entra's key sets, member `issuer`.
const KEY_TENANT_PLACEHOLDER: &str = "{tenantid}";

/// A token names another tenant than its issuer's name does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OtherTenant;

impl Issuers {
    /// Checks the configured issuers.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Self, InvalidIssuer> {
        let mut all: Vec<Issuer> = Vec::new();
        for issuer in issuers {
            issuer.check()?;
            if all.iter().any(|other| other.name == issuer.name) {
                return Err(InvalidIssuer::Twice(issuer.name));
            }
            all.push(issuer);
        }
        all.sort_by_key(Issuer::is_pattern);
        Ok(Self { issuers: all, vouched: Vec::new() })
    }

    /// And an issuer whose raw tokens are not verified here, not by a pattern either: claims of its tokens come
    /// from those who vouch for them.
    #[must_use]
    pub fn and_vouched(mut self, name: String, claims: Names) -> Self {
        self.vouched.push((name, claims));
        self
    }

    /// All of them that are verified.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.issuers.iter()
    }

    /// The issuer that `name` names: the one of that very name, or the first pattern that fits.
    pub(crate) fn find(&self, name: &str) -> Option<Named<'_>> {
        let named = self.issuers.iter().find_map(|issuer| issuer.named(name))?;
        let is_vouched = || self.vouched.iter().any(|(vouched, _)| vouched == name);
        (!named.issuer.is_pattern() || !is_vouched()).then_some(named)
    }

    /// How the issuer of that name names claims.
    pub(crate) fn names(&self, name: &str) -> Option<&Names> {
        let vouched = |fits: fn(&str, &str) -> bool| {
            self.vouched.iter().find(|(vouched, _)| fits(vouched, name)).map(|(_, names)| names)
        };
        vouched(|vouched, name| vouched == name)
            .or_else(|| self.find(name).map(|named| &named.issuer.claims))
            .or_else(|| vouched(|vouched, name| tenant_in(vouched, name).is_some()))
    }
}

impl Issuer {
    fn check(&self) -> Result<(), InvalidIssuer> {
        let name = || self.name.clone();
        if self.name.is_empty() {
            return Err(InvalidIssuer::NoName);
        }
        if self.name.matches(TENANT_PLACEHOLDER).count() > 1 {
            return Err(InvalidIssuer::ManyPlaceholders(name()));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(InvalidIssuer::NoAudience(name()));
        }
        if self.algorithms.is_empty() {
            return Err(InvalidIssuer::NoAlgorithm(name()));
        }
        Ok(())
    }

    fn is_pattern(&self) -> bool {
        self.name.contains(TENANT_PLACEHOLDER)
    }

    fn named(&self, name: &str) -> Option<Named<'_>> {
        if !self.is_pattern() {
            return (self.name == name).then_some(Named { issuer: self, tenant: None });
        }
        let tenant = Name::parse(tenant_in(&self.name, name)?).ok()?;
        Some(Named { issuer: self, tenant: Some(tenant) })
    }
}

impl Named<'_> {
    /// Whether a key of that owner may sign for this issuer and tenant.
    pub(crate) fn is_owner(&self, owner: &str) -> bool {
        let tenant = self.tenant.as_ref().or(self.issuer.tenant.as_ref());
        let tenant = tenant.map_or(TENANT_PLACEHOLDER, Name::as_str);
        let expected = self.issuer.key_issuer.as_ref().unwrap_or(&self.issuer.name);
        let expected = expected.replace(TENANT_PLACEHOLDER, tenant);
        owner.replace(KEY_TENANT_PLACEHOLDER, tenant) == expected
    }

    /// Binds what a token says of its tenant to the issuer's name (D2): the tenant that stands in the name
    /// is the one that counts, and a token may leave it out, but not say otherwise.
    pub(crate) fn bind(&self, claimed: Option<String>) -> Result<Option<String>, OtherTenant> {
        let Some(named) = &self.tenant else {
            let only = || self.issuer.tenant.as_ref().map(|only| only.as_str().to_owned());
            return Ok(claimed.or_else(only));
        };
        match claimed {
            Some(claimed) if Name::parse(&claimed).as_ref() != Ok(named) => Err(OtherTenant),
            _ => Ok(Some(named.as_str().to_owned())),
        }
    }
}
