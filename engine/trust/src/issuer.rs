//! Who may issue tokens, with which algorithms, for whom.

use caed_core::ids::Name;
use caed_core::rules::TENANT_PLACEHOLDER;

use crate::algorithm::Algorithm;
use crate::keys::Keys;

/// One issuer of raw tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The token's `iss`, or a pattern of it with `{tenant}` in place of the tenant.
    pub name: String,
    /// Whom its tokens may be for: one of a token's `aud` must be one of these, letter by letter.
    pub audiences: Vec<String>,
    /// How its tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Its keys, as last read.
    pub keys: Keys,
}

/// The issuers whose raw tokens are verified here.
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    /// Plain names before patterns, each in the order of configuration.
    issuers: Vec<Issuer>,
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
        Ok(Self { issuers: all })
    }

    /// The issuer that `name` names: the one of that very name, or the first pattern that fits.
    pub(crate) fn find(&self, name: &str) -> Option<Named<'_>> {
        self.issuers.iter().find_map(|issuer| issuer.named(name))
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
        let Some((before, after)) = self.name.split_once(TENANT_PLACEHOLDER) else {
            return (self.name == name).then_some(Named { issuer: self, tenant: None });
        };
        let tenant = name.strip_prefix(before)?.strip_suffix(after)?;
        // A tenant is one step of a path: else it could reach over what stands behind it in the pattern.
        if tenant.contains('/') {
            return None;
        }
        Some(Named { issuer: self, tenant: Some(Name::parse(tenant).ok()?) })
    }
}

impl Named<'_> {
    /// Binds what a token says of its tenant to the issuer's name (D2): the tenant that stands in the name
    /// is the one that counts, and a token may leave it out, but not say otherwise.
    pub(crate) fn bind(&self, claimed: Option<String>) -> Result<Option<String>, OtherTenant> {
        let Some(named) = &self.tenant else { return Ok(claimed) };
        match claimed {
            Some(claimed) if Name::parse(&claimed).as_ref() != Ok(named) => Err(OtherTenant),
            _ => Ok(Some(named.as_str().to_owned())),
        }
    }
}
