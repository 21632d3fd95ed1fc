//! Scenarios: what caed must answer, written for people who read no Rust.
//!
//! Each file in `tests/scenarios/` is about one family of rules; `tests/scenarios/README.md` says how
//! one is written. Here a file becomes values, and nothing is checked that an answer would not
//! check by itself: an expectation that names a reason which does not exist is never met.
//!
//! Invariants: a member that nobody knows is an error, in the file as in an event; what a scenario
//! leaves out has one meaning, given here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use caed_proto::v1;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::world::Belief;

/// Noon: 2026-01-15T12:00:00Z, in milliseconds. Every time in a scenario is told from there.
pub const NOON: i64 = 1_768_478_400_000;

/// One question and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The rule that it is about.
    pub rule: String,
    /// The part of that rule, where it has several.
    #[serde(default)]
    pub part: String,
    /// Whether the rule shows, or just misses.
    pub shows: bool,
    /// What happens, in a sentence.
    pub story: String,
    /// When the question is asked.
    #[serde(default)]
    pub now: Time,
    /// Whether the log has been read to the end that it had at the start.
    #[serde(default = "yes")]
    pub ready: bool,
    /// In which countries networks are, where there is a database.
    pub countries: Option<BTreeMap<String, String>>,
    /// When everything in the log was known last; by default at this moment.
    pub current: Option<Current>,
    /// What the operator decided for all requests.
    #[serde(default)]
    pub rules: Rules,
    /// What the resource enforces.
    #[serde(default)]
    pub profile: Profile,
    /// What happened.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What is asked about.
    #[serde(default)]
    pub token: Token,
    /// Whether the token is believed.
    #[serde(default)]
    pub belief: Belief,
    /// Where the request comes from: an address, `unknown`, or `none by nature`.
    pub from: Option<String>,
    /// The profile that the request names.
    pub named_profile: Option<String>,
    /// What must be answered.
    pub expect: Expect,
}

/// When everything in the log was known last.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Current {
    /// By the wall clock.
    pub at: Time,
    /// How long ago by the monotonic clock; by default, as long as by the other one.
    pub monotonic: Option<Length>,
}

/// An instant: `noon`, `-10m`, `+2.5s`, `-1h +1s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Milliseconds after noon.
    after_noon: i64,
}

/// A length of time: `5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// In milliseconds.
    millis: i64,
}

/// The keys of the configuration file, where a scenario needs them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The horizon.
    pub horizon: Option<Length>,
    /// The tolerated difference between clocks.
    pub clock_skew: Option<Length>,
    /// The tenants that are served.
    pub tenants: Option<Vec<String>>,
    /// Who may issue tokens; by default one pattern, in which the tenant stands.
    pub issuers: Option<Vec<Issuer>>,
    /// Beyond which age the log is stale.
    pub stale_after: Option<Length>,
    /// Beyond which age a sign of life is.
    pub source_stale_after: Option<Length>,
}

/// Who may issue tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The name, or a pattern with `{tenant}`.
    pub issuer: String,
    /// The tenants, where they do not stand in the name.
    pub tenants: Option<Tenants>,
    /// How far it dates tokens back.
    pub issue_time_skew: Option<Length>,
    /// Where a client signs in again.
    pub authorization_uri: Option<String>,
    /// Whether it marks judged tokens.
    #[serde(default)]
    pub judged_by_mark: bool,
    /// Audiences for which an hour means judged.
    #[serde(default)]
    pub one_hour_means_judged: Vec<String>,
    /// Where judged tokens count.
    pub exception_ranges: Option<Vec<String>>,
}

/// The tenants of an issuer.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Tenants {
    /// `all`.
    Word(String),
    /// These.
    Listed(Vec<String>),
}

/// What the resource enforces.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// `low`, `medium` or `high`.
    pub risk_threshold: Option<String>,
    /// Whether compliance is required.
    #[serde(default)]
    pub device_compliance: bool,
    /// Clients that are incapable.
    #[serde(default)]
    pub incapable_clients: Vec<String>,
    /// The shipped profile that it begins with.
    pub base: Option<String>,
    /// The ids of the resource.
    pub applications: Option<Vec<String>>,
    /// Whether revocations are enforced.
    pub revocation: Option<bool>,
    /// Whether user risk is.
    pub user_risk: Option<bool>,
    /// Whether device states are.
    pub device: Option<bool>,
    /// `supported`, `when_strict` or `unsupported`.
    pub location: Option<String>,
    /// Whether locations are enforced strictly.
    pub strict_location: Option<bool>,
    /// `enforce` or `lifetime`.
    pub incapable: Option<String>,
    /// The grace after a change of policy.
    pub outdated_grace: Option<Length>,
    /// The longest lifetime.
    pub lifetime_max: Option<Length>,
    /// The plain one.
    pub lifetime_plain: Option<Length>,
    /// `lifetime`, `deny` or `allow`.
    pub when_stale: Option<String>,
}

/// An event: when, and the rest as in its JSON form.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// When it happened, by its source.
    at: Option<Time>,
    /// When caed received it: by default when it happened, or at the time of the question.
    received: Option<Time>,
    /// Whether the source wrote its time in seconds.
    #[serde(default)]
    in_seconds: bool,
    /// Members of `caed.v1.Event`.
    #[serde(flatten)]
    members: Map<String, Value>,
}

/// The claims of a token that differ from those of the token that everybody has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    iss: Option<String>,
    tid: Option<String>,
    sub: Option<String>,
    iat: Option<Time>,
    exp: Option<Time>,
    nbf: Option<Time>,
    sid: Option<String>,
    jti: Option<String>,
    azp: Option<String>,
    deviceid: Option<String>,
    xms_cc: Option<Vec<String>>,
    #[serde(default)]
    aud: Vec<String>,
    ipaddr: Option<String>,
    acct: Option<i64>,
    auth_time: Option<Time>,
    idtyp: Option<String>,
    groups: Option<Vec<String>>,
    wids: Option<Vec<String>>,
    judged: Option<String>,
    /// Claims that everybody has, and this one has not.
    #[serde(default)]
    lacks: BTreeSet<String>,
}

/// What must be answered. What is left out must be absent, up to the members marked as unchecked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// `allow`, `challenge`, `deny 401`, `deny 403` or `deny 503`.
    pub answer: String,
    /// The primary reason.
    pub reason: Option<String>,
    /// Whose cutoff, with the reason `revoked`.
    pub scope: Option<String>,
    /// The earliest second that a challenge accepts.
    pub nbf: Option<Time>,
    /// The seconds to wait.
    pub retry_after_s: Option<u32>,
    /// The address that a challenge tells the identity provider.
    pub address: Option<String>,
    /// How old the sign-in may be.
    pub max_age: Option<Length>,
    /// The row of D5's table.
    pub row: Option<String>,
    /// The policy that speaks. Left out: unchecked.
    pub policy: Option<String>,
    /// What else is said.
    #[serde(default)]
    pub notes: BTreeSet<String>,
    /// What the answer would be, and the reason named first, if everything were enforced.
    pub report: Option<(String, String)>,
    /// Every reason with its own answer; by default the primary one alone, with the answer.
    pub findings: Option<BTreeMap<String, String>>,
    /// Since when the primary reason holds. Left out: unchecked.
    pub since: Option<Time>,
    /// What an operator is told of the events. Left out: unchecked.
    pub reported: Option<BTreeSet<String>>,
    /// What is wrong with a malformed token, in words. Left out: unchecked.
    pub detail: Option<String>,
    /// The header, letter by letter. Left out: its form is checked.
    pub www_authenticate: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

const fn yes() -> bool {
    true
}

/// The folder of the scenario files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Every scenario, under the name of its file.
pub fn all() -> Vec<(String, Scenario)> {
    let entries = fs::read_dir(folder()).expect("the folder of scenarios");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry of the folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort_unstable();
    let mut all = Vec::new();
    for path in paths {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a readable file");
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.extend(file.scenario.into_iter().map(|scenario| (name.clone(), scenario)));
    }
    all
}

impl Time {
    /// In milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        NOON + self.after_noon
    }

    /// In whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        assert!(self.after_noon % 1000 == 0, "a claim is a whole second, not {} ms", self.millis());
        self.millis() / 1000
    }
}

impl Scenario {
    /// How long ago everything in the log was known, in milliseconds: by the clock that says more (F2).
    pub fn log_age(&self) -> i64 {
        let Some(Current { at, monotonic }) = self.current else { return 0 };
        let by_wall = self.now.millis() - at.millis();
        monotonic.map_or(by_wall, |length| by_wall.max(length.millis))
    }
}

impl Length {
    /// To the millisecond.
    pub fn duration(self) -> Duration {
        Duration::from_millis(u64::try_from(self.millis).expect("a length of time"))
    }

    /// In whole seconds.
    pub fn seconds(self) -> u64 {
        assert!(self.millis % 1000 == 0, "a rule is a number of whole seconds");
        u64::try_from(self.millis / 1000).expect("a length of time")
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "noon" {
            return Ok(Self::default());
        }
        let terms = text.split_whitespace().map(|term| match term.split_at_checked(1) {
            Some(("-", length)) => length_of(length).map(|millis| -millis),
            Some(("+", length)) => length_of(length),
            _ => None,
        });
        let sum: Option<i64> = terms.sum();
        let problem = || D::Error::custom(format!("`{text}` is no time such as \"-1h +2.5s\""));
        sum.filter(|_| !text.trim().is_empty())
            .map(|after_noon| Self { after_noon })
            .ok_or_else(problem)
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let problem = || D::Error::custom(format!("`{text}` is no length of time such as \"5m\""));
        length_of(&text).map(|millis| Self { millis }).ok_or_else(problem)
    }
}

/// The milliseconds of `2.5s`; `None` where that is no length of time, or no whole number of them.
fn length_of(text: &str) -> Option<i64> {
    let at = text.find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let unit: i64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: i64 = format!("{whole}{fraction}").parse().ok().filter(|&digits| digits >= 0)?;
    let millis = digits.checked_mul(unit)?;
    (millis % scale == 0).then_some(millis / scale)
}

impl Event {
    /// The event as its source wrote it and caed stamped it.
    pub fn message(&self, now: Time) -> Result<v1::Event, String> {
        let mut members = self.members.clone();
        members.entry("tenant").or_insert_with(|| "contoso".into());
        members.entry("source").or_insert_with(|| "directory".into());
        if let Some(Value::Object(declared)) = members.get_mut("source_declared")
            && let Some(retired) = declared.remove("retired")
        {
            let retired: Time =
                serde_json::from_value(retired).map_err(|error| error.to_string())?;
            declared.insert("retired_ms".to_owned(), retired.millis().into());
        }
        let message: v1::Event =
            serde_json::from_value(Value::Object(members)).map_err(|error| error.to_string())?;
        if message.event_time_ms != 0 || message.received_ms != 0 {
            return Err("times are told as `at` and `received`".to_owned());
        }
        let event_time_ms = match self.at {
            None => 0,
            Some(at) if self.in_seconds => at.seconds(),
            Some(at) => at.millis(),
        };
        let received_ms = self.received.or(self.at).unwrap_or(now).millis();
        Ok(v1::Event { event_time_ms, received_ms, ..message })
    }
}

impl Token {
    /// The claims. Everybody's token is anna's at contoso: issued an hour ago, valid for another, of
    /// a client that answers challenges.
    pub fn claims(&self) -> v1::TokenClaims {
        const EVERYBODYS: [&str; 6] = ["iss", "tid", "sub", "iat", "exp", "xms_cc"];
        const HOUR: i64 = 3_600_000;
        for claim in &self.lacks {
            assert!(EVERYBODYS.contains(&claim.as_str()), "no token has `{claim}` by default");
        }
        let has = |claim| !self.lacks.contains(claim);
        let text = |claim, own: &Option<String>, default: String| {
            has(claim).then(|| own.clone().unwrap_or(default))
        };
        let second = |claim, own: Option<Time>, after_noon| {
            has(claim).then(|| own.unwrap_or(Time { after_noon }).seconds())
        };
        let tenant = self.tid.as_deref().unwrap_or("contoso");
        v1::TokenClaims {
            iss: text("iss", &self.iss, format!("https://login.example/{tenant}")),
            tid: text("tid", &self.tid, tenant.to_owned()),
            sub: text("sub", &self.sub, "anna".to_owned()),
            iat: second("iat", self.iat, -HOUR),
            exp: second("exp", self.exp, HOUR),
            nbf: self.nbf.map(Time::seconds),
            sid: self.sid.clone(),
            jti: self.jti.clone(),
            azp: self.azp.clone(),
            deviceid: self.deviceid.clone(),
            xms_cc: if has("xms_cc") {
                self.xms_cc.clone().unwrap_or_else(|| vec!["cp1".to_owned()])
            } else {
                Vec::new()
            },
            aud: self.aud.clone(),
            ipaddr: self.ipaddr.clone(),
            acct: self.acct,
            auth_time: self.auth_time.map(Time::seconds),
            idtyp: self.idtyp.clone(),
            groups: self.groups.clone().map(|values| v1::ClaimValues { values }),
            wids: self.wids.clone().map(|values| v1::ClaimValues { values }),
            judged: self.judged.clone(),
        }
    }
}

impl Expect {
    /// Every reason with its own answer.
    pub fn findings(&self) -> BTreeMap<String, String> {
        self.findings.clone().unwrap_or_else(|| {
            self.reason.iter().map(|reason| (reason.clone(), self.answer.clone())).collect()
        })
    }
}
