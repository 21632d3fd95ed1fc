//! What the operator decides: who may issue tokens for whom, and what a resource enforces.
//!
//! Rules come from configuration, are part of every snapshot, and never change while the process
//! runs. Bad configuration never starts: constructors refuse what can't be meant.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::event::RiskLevel;
use crate::freshness::{StaleAfter, WhenStale};
use crate::ids::{InvalidId, Name, NameText, ObjectKey};
use crate::index::names::TextHashes;
use crate::index::ranges::RangeSet;
use crate::limits;
use crate::policy::Incapable;

/// The part of an issuer or URL pattern in whose place the tenant stands.
pub const TENANT_PLACEHOLDER: &str = "{tenant}";

/// Everything that holds for all requests.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a token can live at the most, in whole seconds. One number per log, never changed (SEMANTICS.md,
    /// terms): what is older is dead, and what could only reject dead tokens is forgotten.
    pub horizon: Duration,
    /// Tolerated difference between an issuer's clock and ours, in whole seconds (D1). Never applied
    /// to the horizon.
    pub clock_skew: Duration,
    /// Who may issue tokens.
    pub issuers: Issuers,
    /// The tenants that are served here; all of them where this is `None` (D2).
    pub tenants: Option<HashSet<Name>>,
    /// From which age on what is known is stale (F3).
    pub stale_after: StaleAfter,
}

/// The issuers whose tokens count, each bound to tenants (D2).
#[derive(Clone, Debug, Default)]
pub struct Issuers {
    /// By name; a GUID in lower case.
    exact: HashMap<String, Issuer, TextHashes>,
    /// Few; tried in the order of configuration.
    templates: Vec<Template>,
}

/// An issuer whose name is a pattern.
#[derive(Clone, Debug)]
struct Template {
    issuer: Issuer,
    /// Where `{tenant}` stands in its name.
    place: usize,
}

/// One issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The token's `iss`, or a pattern of it with `{tenant}` in place of the tenant.
    pub name: String,
    /// The tenants that it speaks for.
    pub tenants: IssuerTenants,
    /// How far the issuer dates `iat` back, and no more (D3).
    pub issue_time_skew: Duration,
    /// Where a challenged client signs in again; may hold `{tenant}`.
    pub authorization_uri: Option<String>,
    /// How its tokens show that it saw another address than we do, and let the user in (D5).
    pub judged: Judged,
}

/// How an issuer's judged tokens are told (D5). By default they are not.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The issuer marks them with a claim of their own.
    pub by_mark: bool,
    /// One-hour tokens for these audiences are judged: only where the ordinary tokens of capable clients
    /// live longer than 90 minutes.
    pub one_hour_audiences: HashSet<String>,
    /// Judged tokens count at these addresses only; `None`: anywhere.
    pub exception_ranges: Option<RangeSet>,
}

/// The tenants that an issuer speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerTenants {
    /// These: mostly one, which is compared sooner than hashed.
    Named(BTreeSet<Name>),
    /// The one that stands in the issuer itself, in place of `{tenant}`.
    InName,
    /// All, in so many words.
    All,
}

/// A set of issuers that can't be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    /// Not an identifier at all.
    #[error("issuer `{name}` {problem}")]
    Name {
        /// The issuer.
        name: String,
        /// What is wrong with it.
        problem: InvalidId,
    },
    /// Twice the same.
    #[error("issuer `{0}` is configured twice; give all its tenants in one place")]
    Twice(String),
    /// A pattern whose tenants were named apart from it.
    #[error(
        "issuer `{0}` holds {{tenant}}, so that its tenants stand in its name; leave out `tenants`"
    )]
    TemplateWithTenants(String),
    /// More than one `{tenant}`, which nothing could match surely.
    #[error("issuer `{0}` holds {{tenant}} more than once")]
    ManyPlaceholders(String),
    /// A plain name that is said to hold the tenant.
    #[error(
        "issuer `{0}` names no tenants; give `tenants = [...]`, `tenants = \"all\"`, or write {{tenant}} in its place"
    )]
    NoTenants(String),
    /// A URL that would break the challenge.
    #[error(
        "authorization_uri `{uri}` must be printable ASCII without comma, quote or backslash, so that every client can parse the challenge"
    )]
    AuthorizationUri {
        /// The issuer.
        name: String,
        /// The URL.
        uri: String,
    },
}

/// Why a token's issuer and tenant do not count (D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// The issuer is not configured, or not for this tenant.
    Issuer,
    /// The tenant is not served here.
    Tenant,
}

/// What is enforced for one resource.
#[expect(clippy::struct_excessive_bools, reason = "independent choices of an operator")]
#[derive(Clone, Debug)]
pub struct Profile {
    /// Cutoffs of user risk count from this level upward (E5).
    pub risk_threshold: RiskLevel,
    /// Whether a device that is not compliant is refused always, and not only where a policy
    /// requires it (D4).
    pub device_compliance: bool,
    /// Clients that can't answer a challenge, whatever their tokens say.
    pub incapable_clients: HashSet<ObjectKey>,
    /// The ids of the resource, and the groups of applications that it belongs to; by default the token's
    /// audience tells.
    pub applications: Vec<ObjectKey>,
    /// Whether cutoffs of users, sessions, tokens, clients and tenants, and account states, are enforced.
    pub revocation: bool,
    /// Whether cutoffs of user risk are enforced.
    pub user_risk: bool,
    /// Whether device states are enforced.
    pub device: bool,
    /// Whether conditions of location are enforced.
    pub location: LocationClass,
    /// Whether locations are enforced strictly, whatever tenant and policies say.
    pub strict: bool,
    /// How long tokens are honoured that events and policies reach whole, in whole seconds (D8).
    pub long_lifetime: Duration,
    /// How long all others are honoured, in whole seconds (D8).
    pub plain_lifetime: Duration,
    /// How long after a change of policy older tokens are honoured (P8).
    pub outdated_grace: Duration,
    /// What becomes of clients that are not capable.
    pub incapable: Incapable,
    /// What becomes of requests when what is known is too old.
    pub when_stale: WhenStale,
}

/// Whether a resource enforces conditions of location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocationClass {
    /// It does.
    #[default]
    Supported,
    /// In strict mode alone; else its tokens have the plain lifetime.
    WhenStrict,
    /// It does not.
    Unsupported,
}

/// The shipped profiles (P2), by the names that configuration and requests know.
/// SOURCE: Microsoft's documentation of CAE.
pub const SHIPPED: [&str; 7] =
    ["exchange", "sharepoint", "sharepoint-web", "teams", "teams-calls", "dataverse", "graph"];

impl InvalidIssuer {
    /// The issuer that can't be meant.
    pub fn issuer(&self) -> &str {
        match self {
            Self::Name { name, .. }
            | Self::AuthorizationUri { name, .. }
            | Self::Twice(name)
            | Self::TemplateWithTenants(name)
            | Self::ManyPlaceholders(name)
            | Self::NoTenants(name) => name,
        }
    }
}

impl Issuers {
    /// Checks and indexes the configured issuers.
    pub fn new(issuers: impl IntoIterator<Item = Issuer>) -> Result<Self, InvalidIssuer> {
        let mut all = Self::default();
        let mut seen = HashSet::new();
        for issuer in issuers {
            issuer.check()?;
            let name = NameText::new(&issuer.name).as_str().to_owned();
            if !seen.insert(name.clone()) {
                return Err(InvalidIssuer::Twice(issuer.name));
            }
            let place = issuer.name.find(TENANT_PLACEHOLDER);
            if let Some(place) = place.filter(|_| issuer.tenants == IssuerTenants::InName) {
                all.templates.push(Template { issuer, place });
            } else {
                all.exact.insert(name, issuer);
            }
        }
        Ok(all)
    }

    /// The issuer that may speak for `tenant` under the name `issuer`: the one of that very name, or
    /// the first pattern that fits.
    fn find(&self, issuer: &str, tenant: &str) -> Option<&Issuer> {
        let exact = self.exact.get(issuer).filter(|exact| match &exact.tenants {
            IssuerTenants::Named(tenants) => tenants.contains(tenant),
            IssuerTenants::All => true,
            IssuerTenants::InName => false,
        });
        exact.or_else(|| {
            let fitting = self.templates.iter().find(|template| template.fits(issuer, tenant));
            fitting.map(|template| &template.issuer)
        })
    }

    /// All of them, in alphabetical order.
    pub fn all(&self) -> Vec<&Issuer> {
        let mut all: Vec<&Issuer> = self.iter().collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The issuers that speak for a tenant, as its tokens name them, in alphabetical order.
    pub fn speaking_for(&self, tenant: &str) -> Vec<String> {
        let tenant = NameText::new(tenant);
        let patterns = self.templates.iter().map(|template| template.issuer.name.as_str());
        let names = self.exact.keys().map(String::as_str).chain(patterns);
        let names = names.map(|name| name.replace(TENANT_PLACEHOLDER, tenant.as_str()));
        let mut speaking: Vec<String> =
            names.filter(|name| self.find(name, tenant.as_str()).is_some()).collect();
        speaking.sort_unstable();
        speaking.dedup();
        speaking
    }

    /// Adds an issuer of one tenant that is nothing else, in place of one of that name.
    pub(crate) fn add_plain(&mut self, issuer: &str, tenant: &str) {
        let added = Issuer {
            name: issuer.to_owned(),
            tenants: IssuerTenants::Named(Name::parse(tenant).into_iter().collect()),
            issue_time_skew: Duration::ZERO,
            authorization_uri: None,
            judged: Judged::default(),
        };
        self.exact.insert(issuer.to_owned(), added);
    }

    /// The largest back-dating of any issuer: the horizon must cover it.
    pub fn issue_time_skew_max(&self) -> Duration {
        self.iter().map(|issuer| issuer.issue_time_skew).max().unwrap_or_default()
    }

    fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.exact.values().chain(self.templates.iter().map(|template| &template.issuer))
    }
}

impl Issuer {
    fn check(&self) -> Result<(), InvalidIssuer> {
        let name = || self.name.clone();
        crate::ids::check(&self.name)
            .map_err(|problem| InvalidIssuer::Name { name: name(), problem })?;
        let placeholders = self.name.matches(TENANT_PLACEHOLDER).count();
        match (&self.tenants, placeholders) {
            (IssuerTenants::InName, 0) => return Err(InvalidIssuer::NoTenants(name())),
            (IssuerTenants::Named(tenants), 0) if tenants.is_empty() => {
                return Err(InvalidIssuer::NoTenants(name()));
            }
            (IssuerTenants::InName, 1) | (_, 0) => {}
            (IssuerTenants::InName, _) => return Err(InvalidIssuer::ManyPlaceholders(name())),
            (_, _) => return Err(InvalidIssuer::TemplateWithTenants(name())),
        }
        match &self.authorization_uri {
            Some(uri) if !crate::challenge::is_safe_value(uri) => {
                Err(InvalidIssuer::AuthorizationUri { name: name(), uri: uri.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl Template {
    /// Whether `issuer` is this pattern with `tenant` in it.
    fn fits(&self, issuer: &str, tenant: &str) -> bool {
        let named = tenant_at(&self.issuer.name, self.place, issuer);
        named.is_some_and(|named| named == tenant || NameText::new(named).as_str() == tenant)
    }
}

/// What stands in place of the tenant in a name that fits a pattern. A tenant is one step of a path: else it
/// could reach over what stands behind it in the pattern.
pub fn tenant_in<'n>(pattern: &str, name: &'n str) -> Option<&'n str> {
    tenant_at(pattern, pattern.find(TENANT_PLACEHOLDER)?, name)
}

/// The same, of a pattern in which `{tenant}` stands at this place.
fn tenant_at<'n>(pattern: &str, place: usize, name: &'n str) -> Option<&'n str> {
    let after = pattern.get(place + TENANT_PLACEHOLDER.len()..)?;
    let tenant = name.strip_prefix(pattern.get(..place)?)?.strip_suffix(after)?;
    // Without an early end: a few instructions for all bytes at once.
    let slashes = tenant.bytes().fold(0, |slashes, byte| slashes | u8::from(byte == b'/'));
    (slashes == 0).then_some(tenant)
}

impl Rules {
    /// Binds a token's issuer and tenant to a configured issuer (D2).
    pub fn bind(&self, issuer: &str, tenant: &str) -> Result<&Issuer, Unbound> {
        let issuer = self.issuers.find(issuer, tenant).ok_or(Unbound::Issuer)?;
        match &self.tenants {
            Some(served) if !served.contains(tenant) => Err(Unbound::Tenant),
            _ => Ok(issuer),
        }
    }

    /// Whether the horizon covers every token that can be honoured, `lifetime` being the longest.
    pub fn horizon_covers(&self, lifetime: Duration) -> bool {
        self.horizon >= lifetime + self.issuers.issue_time_skew_max() + self.clock_skew
    }
}

impl Default for Rules {
    /// No issuer, and so no token, until configured.
    fn default() -> Self {
        Self {
            horizon: limits::HORIZON_DEFAULT,
            clock_skew: limits::CLOCK_SKEW_DEFAULT,
            issuers: Issuers::default(),
            tenants: None,
            stale_after: StaleAfter::default(),
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            risk_threshold: RiskLevel::High,
            device_compliance: false,
            incapable_clients: HashSet::new(),
            applications: Vec::new(),
            revocation: true,
            user_risk: true,
            device: true,
            location: LocationClass::Supported,
            strict: false,
            long_lifetime: limits::TOKEN_LIFETIME_DEFAULT,
            plain_lifetime: limits::PLAIN_LIFETIME_DEFAULT,
            outdated_grace: limits::OUTDATED_GRACE_DEFAULT,
            incapable: Incapable::Enforce,
            when_stale: WhenStale::default(),
        }
    }
}

impl Profile {
    /// A shipped profile: what one of Microsoft's own resources enforces, as its documentation has it.
    pub fn shipped(name: &str) -> Option<Self> {
        const OFFICE: &str = "Office365";
        let (applications, changed): (&[&str], fn(&mut Self)) = match name {
            "exchange" => (&["00000002-0000-0ff1-ce00-000000000000", OFFICE], |_| {}),
            "sharepoint" => (&["00000003-0000-0ff1-ce00-000000000000", OFFICE], |profile| {
                profile.user_risk = false;
            }),
            "sharepoint-web" => (&["00000003-0000-0ff1-ce00-000000000000", OFFICE], |profile| {
                profile.user_risk = false;
                profile.location = LocationClass::WhenStrict;
            }),
            "teams" => (&["cc15fd57-2c6c-4117-a88c-83b1d56b4bbe", OFFICE], |_| {}),
            "teams-calls" => (&["cc15fd57-2c6c-4117-a88c-83b1d56b4bbe", OFFICE], |profile| {
                profile.location = LocationClass::Unsupported;
            }),
            "dataverse" => (&["00000007-0000-0000-c000-000000000000"], |_| {}),
            "graph" => (&["00000003-0000-0000-c000-000000000000"], |_| {}),
            _ => return None,
        };
        let keys = applications.iter().filter_map(|id| ObjectKey::parse(id).ok());
        let mut profile = Self { applications: keys.collect(), ..Self::default() };
        changed(&mut profile);
        Some(profile)
    }

    /// The longest that any token is honoured.
    pub fn longest_lifetime(&self) -> Duration {
        self.long_lifetime.max(self.plain_lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str, tenants: IssuerTenants) -> Issuer {
        Issuer {
            name: name.to_owned(),
            tenants,
            issue_time_skew: Duration::ZERO,
            authorization_uri: None,
            judged: Judged::default(),
        }
    }

    fn named(tenants: &[&str]) -> IssuerTenants {
        IssuerTenants::Named(
            tenants.iter().map(|name| Name::parse(name).expect("a valid name")).collect(),
        )
    }

    #[test]
    fn the_issuers_of_a_tenant_are_told_as_its_tokens_name_them() {
        let issuers = Issuers::new([
            issuer("https://one", named(&["contoso"])),
            issuer("https://all", IssuerTenants::All),
            issuer("https://sts/{tenant}/", IssuerTenants::InName),
        ]);
        let issuers = issuers.expect("valid");
        let contoso = ["https://all", "https://one", "https://sts/contoso/"];
        assert_eq!(issuers.speaking_for("contoso"), contoso);
        assert_eq!(issuers.speaking_for("fabrikam"), ["https://all", "https://sts/fabrikam/"]);
        assert!(Issuers::default().speaking_for("contoso").is_empty());
    }

    #[test]
    fn a_horizon_covers_a_lifetime_with_back_dating_and_skew() {
        let dated_back = |name: &str, minutes| Issuer {
            issue_time_skew: Duration::from_mins(minutes),
            ..issuer(name, IssuerTenants::All)
        };
        let issuers = [dated_back("https://one", 1), dated_back("https://other", 3)];
        let rules = Rules {
            horizon: Duration::from_hours(1),
            clock_skew: Duration::from_mins(5),
            issuers: Issuers::new(issuers).expect("valid"),
            ..Rules::default()
        };
        let longest = Duration::from_mins(60 - 5 - 3);
        assert!(rules.horizon_covers(longest));
        assert!(!rules.horizon_covers(longest + Duration::from_secs(1)));
    }

    #[test]
    fn the_longest_lifetime_is_the_longer_of_both() {
        let hours = Duration::from_hours;
        for (long, plain) in [(2, 1), (1, 2)] {
            let (long_lifetime, plain_lifetime) = (hours(long), hours(plain));
            let profile = Profile { long_lifetime, plain_lifetime, ..Profile::default() };
            assert_eq!(profile.longest_lifetime(), hours(2));
        }
    }

    #[test]
    fn an_issuer_that_is_added_speaks_for_one_tenant() {
        let mut rules = Rules::default();
        rules.issuers.add_plain("https://one", "a");
        assert!(rules.bind("https://one", "a").is_ok());
        assert_eq!(rules.bind("https://one", "b").err(), Some(Unbound::Issuer));
    }

    #[test]
    fn an_invalid_issuer_is_named() {
        let twice =
            [issuer("https://one", IssuerTenants::All), issuer("https://one", named(&["a"]))];
        let problem = Issuers::new(twice).expect_err("twice the same");
        assert_eq!(problem.issuer(), "https://one");
    }

    #[test]
    fn an_issuer_speaks_for_its_tenants_only() {
        let rules = Rules {
            issuers: Issuers::new([
                issuer("https://one", named(&["a", "b"])),
                issuer("https://any", IssuerTenants::All),
                issuer("https://login/{tenant}/v2.0", IssuerTenants::InName),
                issuer("https://login/b/v2.0", named(&["a"])),
            ])
            .expect("valid"),
            tenants: Some(["a", "b"].map(|name| Name::parse(name).expect("valid")).into()),
            ..Rules::default()
        };
        let bound = |issuer, tenant| rules.bind(issuer, tenant).map(|found| found.name.as_str());
        assert_eq!(bound("https://one", "a"), Ok("https://one"));
        assert_eq!(bound("https://one", "c"), Err(Unbound::Issuer));
        assert_eq!(bound("https://any", "c"), Err(Unbound::Tenant));
        assert_eq!(bound("https://any", "b"), Ok("https://any"));
        // Bound exactly for one tenant, and by the pattern for the one in its name.
        assert_eq!(bound("https://login/b/v2.0", "a"), Ok("https://login/b/v2.0"));
        assert_eq!(bound("https://login/b/v2.0", "b"), Ok("https://login/{tenant}/v2.0"));
        assert_eq!(bound("https://login/a/v2.0", "a"), Ok("https://login/{tenant}/v2.0"));
        for (issuer, tenant) in [
            ("https://login/a/v2.0", "b"),
            ("https://login/{tenant}/v2.0", "a"),
            ("https://login/a/v2.0/x", "a"),
            ("https://login/a/b/v2.0", "a/b"),
            ("https://login/a/v2.0/b/v2.0", "a/v2.0/b"),
            ("https://login/", "a"),
            ("", ""),
        ] {
            assert_eq!(bound(issuer, tenant), Err(Unbound::Issuer), "{issuer} {tenant}");
        }
    }

    #[test]
    fn every_shipped_profile_has_a_name_and_names_its_resource() {
        for name in SHIPPED {
            let profile = Profile::shipped(name).expect(name);
            assert!(!profile.applications.is_empty(), "{name}");
        }
        assert!(Profile::shipped("outlook").is_none());
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let refused =
            |issuers: Vec<Issuer>| Issuers::new(issuers).expect_err("refused").to_string();
        for (issuers, part) in [
            (vec![issuer("", IssuerTenants::All)], "is empty"),
            (vec![issuer("https://one", named(&[]))], "names no tenants"),
            (vec![issuer("https://one", IssuerTenants::InName)], "names no tenants"),
            (vec![issuer("https://{tenant}", named(&["a"]))], "leave out `tenants`"),
            (vec![issuer("{tenant}/{tenant}", IssuerTenants::InName)], "more than once"),
            (vec![issuer("x", IssuerTenants::All), issuer("x", named(&["a"]))], "twice"),
        ] {
            let message = refused(issuers);
            assert!(message.contains(part), "{message}");
        }
        let uri = Some("https://login/\"".to_owned());
        let bad = Issuer { authorization_uri: uri, ..issuer("x", IssuerTenants::All) };
        assert!(refused(vec![bad]).contains("authorization_uri"));
    }
}
