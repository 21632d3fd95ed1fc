//! `[[issuers]]`: who may issue tokens, for which tenants, and how raw ones are verified.
//!
//! A preset fills in what is known of a kind of issuer; every key that is given counts instead. Raw tokens of an
//! issuer are verified only where it has `audiences`, and then everything that this needs must be there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use caed_core::ids::Name;
use caed_core::index::ranges::RangeSet;
use caed_core::rules::{Issuer, IssuerTenants, Judged, TENANT_PLACEHOLDER};
use caed_decode::claims::Names;
use caed_trust::algorithm::Algorithm;
use caed_trust::fetch::{Keeper, Source};

use super::reader::{Found, Section};

/// How an issuer's raw tokens are verified.
#[derive(Clone, Debug)]
pub struct RawTokens {
    /// The issuer's name, or a pattern of it.
    pub issuer: String,
    /// Whom its tokens may be for.
    pub audiences: Vec<String>,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub keys: Source,
    /// Certificates of the authorities that are believed when keys are fetched, instead of this host's.
    pub keys_ca: Option<PathBuf>,
    /// How long keys count after they were last seen.
    pub keys_max_age: Duration,
    /// What keys that are bound to an issuer call it.
    pub key_issuer: Option<String>,
    /// The tenant of tokens that name none.
    pub tenant: Option<Name>,
    /// How its tokens name what counts.
    pub claims: Names,
}

/// A kind of issuer of which something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preset {
    EntraV1,
    EntraV2,
    Keycloak,
    Okta,
    Auth0,
}

/// How long keys count that can't be fetched any more. Guess: an issuer that is down for longer is noticed.
const KEYS_MAX_AGE_DEFAULT: Duration = Duration::from_hours(24);

/// Keys are fetched hourly, a tenth more or less: they must not become too old in between.
const KEYS_MAX_AGE_MIN: Duration = Duration::from_hours(2);

/// How far Entra dates `iat` back. SOURCE: published samples, where `exp - nbf` is an hour and 5 min.
const ENTRA_SKEW: Duration = Duration::from_mins(5);

/// Microsoft's public cloud.
const ENTRA: &str = "https://login.microsoftonline.com";

impl RawTokens {
    /// The issuer as tokens are verified by, and who keeps its keys.
    pub(crate) fn open(self, seed: u64) -> anyhow::Result<(caed_trust::issuer::Issuer, Keeper)> {
        let Self {
            issuer: name,
            audiences,
            algorithms,
            keys,
            keys_ca,
            keys_max_age,
            key_issuer,
            tenant,
            claims,
        } = self;
        let opened = Keeper::open(&name, keys, keys_ca.as_deref(), keys_max_age, seed);
        let (keys, keeper) = opened.with_context(|| format!("the keys of issuer `{name}`"))?;
        let issuer = caed_trust::issuer::Issuer {
            name,
            audiences,
            algorithms,
            keys,
            key_issuer,
            tenant,
            claims,
        };
        Ok((issuer, keeper))
    }
}

impl Preset {
    const NAMES: &str = "\"entra-v1\", \"entra-v2\", \"keycloak\", \"okta\" or \"auth0\"";

    fn parse(name: &str) -> Option<Self> {
        match name {
            "entra-v1" => Some(Self::EntraV1),
            "entra-v2" => Some(Self::EntraV2),
            "keycloak" => Some(Self::Keycloak),
            "okta" => Some(Self::Okta),
            "auth0" => Some(Self::Auth0),
            _ => None,
        }
    }

    /// The issuer, where there is but one.
    fn issuer(self) -> Option<String> {
        match self {
            Self::EntraV1 => Some("https://sts.windows.net/{tenant}/".to_owned()),
            Self::EntraV2 => Some(format!("{ENTRA}/{{tenant}}/v2.0")),
            Self::Keycloak | Self::Okta | Self::Auth0 => None,
        }
    }

    const fn issue_time_skew(self) -> Duration {
        match self {
            Self::EntraV1 | Self::EntraV2 => ENTRA_SKEW,
            Self::Keycloak | Self::Okta | Self::Auth0 => Duration::ZERO,
        }
    }

    /// Where the keys of an issuer are. Entra's come from the newer of its two places, also for tokens of the
    /// older form: there alone they say whose they are.
    fn keys(self, issuer: &str) -> Option<String> {
        match self {
            Self::EntraV1 | Self::EntraV2 => {
                Some(format!("{}/common/discovery/v2.0/keys", self.authority(issuer)?))
            }
            Self::Keycloak => Some(format!("{issuer}/protocol/openid-connect/certs")),
            // The tokens of Okta's own authorization server are for Okta alone to verify.
            Self::Okta => issuer.contains("/oauth2/").then(|| format!("{issuer}/v1/keys")),
            Self::Auth0 => issuer.ends_with('/').then(|| format!("{issuer}.well-known/jwks.json")),
        }
    }

    /// What the issuer's keys call it, if that is another name than its tokens do.
    fn key_issuer(self, keys: &Source) -> Option<String> {
        let host = match keys {
            Source::Url(url) => url.host_str().map(|host| format!("https://{host}")),
            Source::File(_) => None,
        };
        let authority = host.unwrap_or_else(|| ENTRA.to_owned());
        (self == Self::EntraV1).then(|| format!("{authority}/{{tenant}}/v2.0"))
    }

    fn authorization_uri(self, issuer: &str) -> Option<String> {
        match self {
            Self::EntraV1 | Self::EntraV2 => {
                let authority = self.authority(issuer)?;
                Some(format!("{authority}/{{tenant}}/oauth2/v2.0/authorize"))
            }
            Self::Keycloak => Some(format!("{issuer}/protocol/openid-connect/auth")),
            Self::Okta => issuer.contains("/oauth2/").then(|| format!("{issuer}/v1/authorize")),
            Self::Auth0 => issuer.ends_with('/').then(|| format!("{issuer}authorize")),
        }
    }

    /// The part of Entra's cloud that an issuer belongs to, where its name tells.
    fn authority(self, issuer: &str) -> Option<String> {
        if self == Self::EntraV1 {
            return issuer.starts_with("https://sts.windows.net/").then(|| ENTRA.to_owned());
        }
        let (authority, _tenant) = issuer.strip_suffix("/v2.0")?.rsplit_once('/')?;
        Some(authority.to_owned())
    }

    fn claims(self) -> Names {
        match self {
            Self::EntraV1 | Self::EntraV2 => Names::entra(),
            Self::Keycloak => Names::keycloak(),
            Self::Okta => Names::okta(),
            Self::Auth0 => Names::auth0(),
        }
    }
}

/// Reads one issuer, how its raw tokens are verified, if they are, and how they name claims.
pub(super) fn issuer(section: &Section<'_>) -> Option<(Issuer, Option<RawTokens>, Names)> {
    let problem = format!("is no preset; known are {}", Preset::NAMES);
    let preset = section.parsed("preset", &problem, Preset::parse).map(|found| found.value);
    let name = section.string("issuer").map(|found| found.value);
    let listed = section.strings_or_word("tenants", "all");
    let skew = section.duration("issue_time_skew").map(|found| found.value);
    let uri = section.string("authorization_uri").map(|found| found.value);
    let judged = judged(section);
    let raw = Raw::read(section, &judged);
    section.finish();
    let Some(name) = name.or_else(|| preset.and_then(Preset::issuer)) else {
        section.missing("issuer", "give the `iss` of its tokens");
        return None;
    };
    let tenants = tenants(section, &name, listed)?;
    let names = raw.claims.clone().over(preset.map(Preset::claims).unwrap_or_default());
    let raw_tokens = raw.tokens(section, preset, &name, &tenants, names.clone());
    let issuer = Issuer {
        issue_time_skew: skew.or(preset.map(Preset::issue_time_skew)).unwrap_or_default(),
        authorization_uri: uri.or_else(|| preset?.authorization_uri(&name)),
        tenants,
        judged,
        name,
    };
    Some((issuer, raw_tokens, names))
}

fn tenants(
    section: &Section<'_>,
    name: &str,
    listed: Option<Found<Option<Vec<String>>>>,
) -> Option<IssuerTenants> {
    let Some(found) = listed else {
        if name.contains(TENANT_PLACEHOLDER) {
            return Some(IssuerTenants::InName);
        }
        let problem = "list the tenants that the issuer speaks for, write tenants = \"all\", or put {tenant} in its place in `issuer`";
        section.missing("tenants", problem);
        return None;
    };
    let Some(tenants) = &found.value else { return Some(IssuerTenants::All) };
    match tenants.iter().map(|tenant| Name::parse(tenant)).collect::<Result<_, _>>() {
        Ok(names) => Some(IssuerTenants::Named(names)),
        Err(problem) => {
            section.reject(&found, format!("a tenant {problem}"));
            None
        }
    }
}

/// The keys that are about raw tokens.
struct Raw {
    audiences: Option<Found<Vec<String>>>,
    algorithms: Option<Vec<Algorithm>>,
    keys: Option<Found<Source>>,
    keys_ca: Option<Found<String>>,
    keys_max_age: Option<Duration>,
    claims: Claims,
}

/// The names of claims that are given.
#[derive(Clone)]
struct Claims {
    subject: Option<String>,
    tenant: Option<String>,
    client: Option<String>,
    session: Option<String>,
    judged: Option<String>,
}

impl Raw {
    fn read(section: &Section<'_>, judged: &Judged) -> Self {
        let audiences = section.strings("audiences");
        if let Some(found) = &audiences
            && (found.value.is_empty() || found.value.iter().any(String::is_empty))
        {
            section.reject(
                found,
                "names no audience; give the `aud` that your resource's tokens have",
            );
        }
        let algorithms = section.strings("algorithms").map(|found| {
            let named: Option<Vec<_>> =
                found.value.iter().map(|name| Algorithm::parse(name)).collect();
            named.filter(|named| !named.is_empty()).unwrap_or_else(|| {
                let known = Algorithm::ALL.map(Algorithm::name).join(", ");
                section.reject(&found, format!("must be a list of some of {known}"));
                Vec::new()
            })
        });
        let keys = section.string("keys").and_then(|found| match Source::parse(&found.value) {
            Ok(source) => Some(found.with(source)),
            Err(problem) => {
                section.reject(&found, format!("`{}` {problem}", found.value));
                None
            }
        });
        let keys_ca = section.string("keys_ca");
        if let (Some(found), Some(keys)) = (&keys_ca, &keys)
            && !matches!(&keys.value, Source::Url(url) if url.scheme() == "https")
        {
            section.reject(found, "has no effect: `keys` are not fetched over https");
        }
        let keys_max_age = section.duration("keys_max_age");
        if let Some(found) = keys_max_age.as_ref().filter(|found| found.value < KEYS_MAX_AGE_MIN) {
            section.reject(found, "must be at least \"2h\", since keys are fetched hourly");
        }
        let claims = Claims::read(&section.section("claims"), judged);
        if audiences.is_none() {
            for key in ["algorithms", "keys", "keys_ca", "keys_max_age"] {
                if section.has(key) {
                    let problem = "has no effect without `audiences`; give the `aud` of the raw tokens that are to be verified, or leave it out";
                    section.wrong(key, problem);
                }
            }
        }
        let keys_max_age = keys_max_age.map(|found| found.value);
        Self { audiences, algorithms, keys, keys_ca, keys_max_age, claims }
    }

    fn tokens(
        self,
        section: &Section<'_>,
        preset: Option<Preset>,
        name: &str,
        tenants: &IssuerTenants,
        claims: Names,
    ) -> Option<RawTokens> {
        let audiences = self.audiences?.value;
        let keys = match self.keys {
            Some(found) => Some(found.value),
            // What was wrong with it is said already.
            None if section.has("keys") => None,
            None => known_keys(section, preset, name),
        };
        let tenant = match tenants {
            IssuerTenants::Named(named) if named.len() == 1 => named.iter().next().cloned(),
            _ => None,
        };
        if claims.tenant.is_empty() && tenant.is_none() && *tenants != IssuerTenants::InName {
            let problem = "must name exactly one tenant, since tokens of this kind of issuer name none; or name the claim that does as claims.tenant";
            section.wrong("tenants", problem);
        }
        let keys = keys?;
        Some(RawTokens {
            issuer: name.to_owned(),
            audiences,
            algorithms: self.algorithms.unwrap_or_else(|| vec![Algorithm::Rs256]),
            key_issuer: preset.and_then(|preset| preset.key_issuer(&keys)),
            keys,
            keys_ca: self.keys_ca.map(|found| found.value.into()),
            keys_max_age: self.keys_max_age.unwrap_or(KEYS_MAX_AGE_DEFAULT),
            tenant,
            claims,
        })
    }
}

/// Where the keys of an issuer are by its preset.
fn known_keys(section: &Section<'_>, preset: Option<Preset>, name: &str) -> Option<Source> {
    let Some(place) = preset.and_then(|preset| preset.keys(name)) else {
        let problem = match preset {
            Some(Preset::Okta) => {
                "the tokens of Okta's own authorization server can't be verified; give the `issuer` of a custom one, such as https://example.okta.com/oauth2/default"
            }
            Some(Preset::Auth0) => {
                "give it, or the `issuer` as tokens have it, with its last slash"
            }
            _ => "give the `jwks_uri` of the issuer's metadata, or the path of a file",
        };
        section.missing("keys", problem);
        return None;
    };
    match Source::parse(&place) {
        Ok(source) => Some(source),
        Err(problem) => {
            section
                .missing("keys", &format!("by the preset they are at `{place}`, which {problem}"));
            None
        }
    }
}

impl Claims {
    fn read(section: &Section<'_>, by: &Judged) -> Self {
        let name = |key| {
            let found = section.string(key)?;
            if found.value.is_empty() {
                section.reject(&found, "is empty; give the name of a claim");
            }
            Some(found.value)
        };
        let (subject, tenant) = (name("subject"), name("tenant"));
        let (client, session, judged) = (name("client"), name("session"), name("judged"));
        if judged.is_some() && !by.by_mark {
            let problem = "has no effect without judged_by_mark = true, which says that such tokens pass from anywhere";
            section.wrong("judged", problem);
        }
        section.finish();
        Self { subject, tenant, client, session, judged }
    }

    /// These names, and others where none is given.
    fn over(self, names: Names) -> Names {
        let given = |name: Option<String>, names| name.map_or(names, |name| vec![name]);
        Names {
            subject: given(self.subject, names.subject),
            tenant: given(self.tenant, names.tenant),
            client: given(self.client, names.client),
            session: given(self.session, names.session),
            judged: self.judged.or(names.judged),
            machine: names.machine,
        }
    }
}

/// How an issuer's judged tokens are told (D5).
fn judged(section: &Section<'_>) -> Judged {
    let by_mark = section.boolean("judged_by_mark").is_some_and(|found| found.value);
    let audiences = section.strings("one_hour_means_judged");
    let ranges = section.strings("exception_ranges").map(|found| {
        RangeSet::parse(found.value.iter().map(String::as_str)).unwrap_or_else(|problem| {
            section.reject(&found, problem.to_string());
            RangeSet::default()
        })
    });
    Judged {
        by_mark,
        one_hour_audiences: audiences.into_iter().flat_map(|found| found.value).collect(),
        exception_ranges: ranges,
    }
}

#[cfg(test)]
mod tests;
