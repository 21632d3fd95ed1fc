//! Why a decision came out as it did, and what would change it.
//!
//! [`explain`] runs [`decide`](mod@crate::decide) with a [`Trace`] as its witness, so it can't say anything else than
//! what was decided. It tells every rule in order: what was looked at, what was found, and what the rule
//! came to. What would change the answer ([`crate::remedy`]) is found by deciding again.
//!
//! This allocates and takes as long as it takes; it is for people, not for gateways.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::consequence::Facet;
use crate::decide::decide_before;
use crate::decision::{Answer, BlockRow, Decision, Finding, Reason, Refusal, ScopeName};
use crate::directory::{Compiled, Directory, Standing};
use crate::evaluate::{Counting, Known, Stance, Subject};
use crate::event::Stream;
use crate::freshness::{At, WhenStale};
use crate::ids::Name;
use crate::index::names::Number;
use crate::inspect::{RegisterView, SignView, SourceView};
use crate::policy::PolicyMode;
use crate::position::Position;
use crate::remedy::{self, Remedy, instant};
use crate::request::{AccessRequest, Seen, Token};
use crate::row::Cutoff;
use crate::rules::LocationClass;
use crate::snapshot::Snapshot;
use crate::tenant::Tenant;
use crate::time::UnixMillis;
use crate::witness::{ScopeSight, Sight, Witness};

/// A decision with everything that led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// Every rule, in order.
    pub steps: Vec<Step>,
    /// What would make the answer ALLOW, all of it together; nothing, where it is.
    pub remedies: Vec<Remedy>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which.
    pub rule: Rule,
    /// What it came to.
    pub outcome: Outcome,
    /// What it looked at and found.
    pub facts: Vec<Fact>,
}

/// What a rule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does not speak against the token.
    Passed,
    /// It does.
    Spoke,
    /// It does not count for this token.
    LeftOut,
    /// A rule before it ended the evaluation.
    NotReached,
}

/// The rules, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The token is believed.
    T2,
    /// The token is alive.
    D1,
    /// Its issuer and tenant are ours.
    D2,
    /// What is known is recent.
    F3,
    /// Continuous access evaluation is on for it.
    P1,
    /// No cutoff reaches it.
    D3,
    /// Account and device are well.
    D4,
    /// Which policies apply.
    P3,
    /// None of them blocks.
    D5,
    /// The address.
    D6,
    /// No conditions have changed.
    P7,
    /// The sign-in is recent enough.
    D7,
    /// It is not older than the policies.
    P8,
    /// It is young enough.
    D8,
    /// One answer of all reasons.
    D9,
    /// What is asked for.
    D10,
}

/// Something that was looked at, with what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// What.
    pub name: String,
    /// What it is.
    pub value: Value,
    /// Whether it counts for the report alone.
    pub reported: bool,
}

/// What a fact says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In words.
    Text(String),
    /// An instant.
    Time(UnixMillis),
    /// A length of time.
    Length(Duration),
    /// An instant, with words.
    Since(UnixMillis, String),
    /// A cutoff, with the kind and the place of the record that set it, and with words.
    Cutoff {
        /// When.
        at: UnixMillis,
        /// What the record said, and where it stands.
        record: (&'static str, Option<Position>),
        /// Whether it reaches the token.
        text: String,
    },
}

/// Explains one decision.
pub fn explain(snapshot: &Snapshot, request: &AccessRequest<'_>, at: At) -> Explanation {
    let (decision, seen) = witnessed(snapshot, request, at);
    let remedies = remedy::remedies(snapshot, request, at);
    let steps = steps(&decision, seen);
    Explanation { decision, steps, remedies }
}

/// Decides, and takes down what was looked at.
pub(crate) fn witnessed(
    snapshot: &Snapshot,
    request: &AccessRequest<'_>,
    at: At,
) -> (Decision, Observed) {
    let trace = Trace { snapshot, request, now: at.now, observed: RefCell::default() };
    trace.look_at_token(at.now);
    let decision = decide_before(&trace, snapshot, request, at);
    (decision, trace.observed.into_inner())
}

/// Takes down what a decision looks at.
struct Trace<'t> {
    snapshot: &'t Snapshot,
    request: &'t AccessRequest<'t>,
    now: UnixMillis,
    observed: RefCell<Observed>,
}

/// What was taken down.
#[derive(Default)]
pub(crate) struct Observed {
    facts: Vec<(Rule, Fact)>,
    /// Whether what is seen counts for the report alone.
    is_report: bool,
    scope: Option<ScopeSight>,
    /// Whether there were policies to look at.
    has_policies: bool,
    /// Whose words refuse the account or the device.
    pub(crate) refusing: BTreeSet<(Facet, Name)>,
    /// Policies that block whatever the address.
    pub(crate) anywhere: BTreeSet<Name>,
    /// Policies that block, or demand more, at the address seen.
    pub(crate) here: Vec<Arc<Compiled>>,
    /// What would have to be heard again.
    pub(crate) silent: BTreeSet<Remedy>,
    /// How long the token is honoured.
    pub(crate) permitted: Option<Duration>,
}

impl Rule {
    /// Every rule, in order.
    const ALL: [Self; 16] = [
        Self::T2,
        Self::D1,
        Self::D2,
        Self::F3,
        Self::P1,
        Self::D3,
        Self::D4,
        Self::P3,
        Self::D5,
        Self::D6,
        Self::P7,
        Self::D7,
        Self::P8,
        Self::D8,
        Self::D9,
        Self::D10,
    ];

    /// Its id in the rules.
    pub const fn id(self) -> &'static str {
        match self {
            Self::T2 => "T2",
            Self::D1 => "D1",
            Self::D2 => "D2",
            Self::F3 => "F3",
            Self::P1 => "P1",
            Self::D3 => "D3",
            Self::D4 => "D4",
            Self::P3 => "P3",
            Self::D5 => "D5",
            Self::D6 => "D6",
            Self::P7 => "P7",
            Self::D7 => "D7",
            Self::P8 => "P8",
            Self::D8 => "D8",
            Self::D9 => "D9",
            Self::D10 => "D10",
        }
    }

    /// What it is about.
    pub const fn title(self) -> &'static str {
        match self {
            Self::T2 => "the token is believed",
            Self::D1 => "the token is alive",
            Self::D2 => "its issuer and tenant are served here",
            Self::F3 => "what is known is recent",
            Self::P1 => "continuous access evaluation counts for it",
            Self::D3 => "nothing revoked it",
            Self::D4 => "account and device are in order",
            Self::P3 => "which policies apply",
            Self::D5 => "no policy blocks",
            Self::D6 => "where the request comes from",
            Self::P7 => "no conditions changed since the sign-in",
            Self::D7 => "the sign-in is recent enough",
            Self::P8 => "it is not older than the policies",
            Self::D8 => "it is young enough",
            Self::D9 => "one answer of all reasons",
            Self::D10 => "what the client is told",
        }
    }

    const fn of(reason: Reason) -> Self {
        match reason {
            Reason::Unverified | Reason::Unverifiable => Self::T2,
            Reason::Malformed
            | Reason::IssueTimeMissing
            | Reason::BeyondHorizon
            | Reason::Expired
            | Reason::NotYetValid => Self::D1,
            Reason::UnknownIssuer | Reason::TenantNotServed => Self::D2,
            Reason::NotReady | Reason::Stale => Self::F3,
            Reason::Revoked | Reason::Risk => Self::D3,
            Reason::Account | Reason::Device => Self::D4,
            Reason::Policy | Reason::Location => Self::D5,
            Reason::ConditionsChanged => Self::P7,
            Reason::SignInFrequency => Self::D7,
            Reason::Outdated => Self::P8,
            Reason::Lifetime => Self::D8,
        }
    }

    /// Whether it counts where ages alone do.
    const fn is_of_ages(self) -> bool {
        matches!(
            self,
            Self::T2
                | Self::D1
                | Self::D2
                | Self::F3
                | Self::P1
                | Self::D7
                | Self::D8
                | Self::D9
                | Self::D10
        )
    }

    /// What it found where it found nothing.
    const fn nothing(self) -> Option<&'static str> {
        match self {
            Self::D3 => {
                Some("no cutoff of the tenant, user, risk, session, token, client or device")
            }
            Self::D4 => Some("no word of any source about the account or the device"),
            Self::P3 => Some("no policy that is enabled"),
            Self::D5 => Some("no policy that blocks and applies"),
            Self::P7 => Some("no policy that demands more than at the sign-in"),
            Self::D7 => Some("no sign-in frequency that applies"),
            Self::P8 => Some("no change of a policy that applies"),
            _ => None,
        }
    }

    /// Whether it reads policies.
    const fn reads_policies(self) -> bool {
        matches!(self, Self::P3 | Self::D5 | Self::P7 | Self::D7 | Self::P8)
    }
}

/// Makes a step of every rule.
fn steps(decision: &Decision, mut observed: Observed) -> Vec<Step> {
    conclude(decision, &mut observed);
    // These end the evaluation.
    let ends =
        |finding: &&Finding| finding.reason < Reason::Revoked || finding.reason == Reason::NotReady;
    let ended = decision.findings.iter().find(ends).map(|finding| Rule::of(finding.reason));
    let ages_alone = observed.scope.is_some_and(|scope| scope.is_limited || scope.is_reported);
    let step = |rule: Rule| {
        let spoke = decision.findings.iter().any(|finding| Rule::of(finding.reason) == rule);
        let outcome = if spoke {
            Outcome::Spoke
        } else if ended.is_some_and(|ended| rule > ended) && rule < Rule::D9 {
            Outcome::NotReached
        } else if (ages_alone && !rule.is_of_ages())
            || (rule.reads_policies() && !observed.has_policies)
            || (rule == Rule::D6 && decision.notes.location_not_evaluated)
        {
            Outcome::LeftOut
        } else {
            Outcome::Passed
        };
        let facts = observed.facts.iter().filter(|(of, _)| *of == rule);
        let mut facts: Vec<Fact> = facts.map(|(_, fact)| fact.clone()).collect();
        if let (true, Outcome::Passed, Some(nothing)) = (facts.is_empty(), outcome, rule.nothing())
        {
            let value = Value::Text(nothing.to_owned());
            facts.push(Fact { name: "found".to_owned(), value, reported: false });
        }
        Step { rule, outcome, facts }
    };
    Rule::ALL.into_iter().map(step).collect()
}

/// What the last two rules made of it.
fn conclude(decision: &Decision, observed: &mut Observed) {
    observed.is_report = false;
    for finding in decision.findings.iter() {
        let Finding { reason, answer, .. } = finding;
        let answer = match answer {
            Answer::Challenge { not_before } => {
                format!("a token issued at {} or later", instant(*not_before).utc())
            }
            Answer::SignIn { max_age } => format!("a sign-in at most {} s old", max_age.as_secs()),
            Answer::Deny(Refusal::InvalidToken) => "401: the client can not be asked".to_owned(),
            Answer::Deny(Refusal::Forbidden) => {
                "403: the next token would be refused as well".to_owned()
            }
            Answer::Deny(Refusal::Unavailable { retry_after_s }) => {
                format!("503: again in {retry_after_s} s")
            }
        };
        observed.note(Rule::D9, reason_name(*reason), Value::Text(answer));
    }
    if decision.findings.iter().next().is_none() {
        observed.text(Rule::D9, "reasons", "none");
    }
    observed.text(Rule::D10, "status", &decision.http_status.to_string());
    if let Some(challenge) = &decision.challenge {
        observed.text(Rule::D10, "code", challenge.code);
    }
    if let Some(report) = decision.report {
        let reasons: Vec<_> = report.reasons.iter().map(reason_name).collect();
        let verdict = format!("{:?}", report.verdict).to_uppercase();
        let text = match reasons.as_slice() {
            [] => verdict,
            reasons => format!("{verdict}: {}", reasons.join(", ")),
        };
        observed.text(Rule::D10, "if everything were enforced", &text);
    }
}

/// A reason in words.
const fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Unverified => "unverified",
        Reason::Unverifiable => "unverifiable",
        Reason::Malformed => "malformed",
        Reason::IssueTimeMissing => "issue time missing",
        Reason::BeyondHorizon => "beyond the horizon",
        Reason::Expired => "expired",
        Reason::NotYetValid => "not yet valid",
        Reason::UnknownIssuer => "unknown issuer",
        Reason::TenantNotServed => "tenant not served",
        Reason::Revoked => "revoked",
        Reason::Account => "account",
        Reason::Risk => "risk",
        Reason::Device => "device",
        Reason::Policy => "policy",
        Reason::Location => "location",
        Reason::ConditionsChanged => "conditions changed",
        Reason::SignInFrequency => "sign-in frequency",
        Reason::Outdated => "outdated",
        Reason::Lifetime => "lifetime",
        Reason::Stale => "stale",
        Reason::NotReady => "not ready",
    }
}

impl Observed {
    fn note(&mut self, rule: Rule, name: impl Into<String>, value: Value) {
        let reported = self.is_report;
        self.facts.push((rule, Fact { name: name.into(), value, reported }));
    }

    fn text(&mut self, rule: Rule, name: impl Into<String>, text: &str) {
        self.note(rule, name, Value::Text(text.to_owned()));
    }

    fn second(&mut self, rule: Rule, name: &str, second: Option<i64>) {
        let value = second.map_or_else(
            || Value::Text("none".to_owned()),
            |second| match u64::try_from(second) {
                Ok(seconds) => Value::Time(UnixMillis::from_millis(seconds.saturating_mul(1000))),
                Err(_) => Value::Text(format!("{second} s, before 1970")),
            },
        );
        self.note(rule, name, value);
    }
}

impl Witness for Trace<'_> {
    fn saw<'s>(&self, sight: impl FnOnce() -> Sight<'s>) {
        let sight = sight();
        let mut observed = self.observed.borrow_mut();
        self.take(sight, &mut observed);
    }
}

impl Trace<'_> {
    /// A policy of the token's tenant, by its name.
    fn policy_name(&self, standing: &Standing) -> String {
        let id = &standing.policy.id;
        let directory = remedy::directory(self.snapshot, self.request);
        let name = directory.map(|directory| directory.policy_name(id));
        format!("policy `{}`", name.unwrap_or_else(|| id.to_string()))
    }

    /// D1 reads the claims alone.
    fn look_at_token(&self, now: UnixMillis) {
        let mut observed = self.observed.borrow_mut();
        let rules = self.snapshot.rules();
        observed.note(Rule::D1, "now", Value::Time(now));
        match &self.request.token {
            Err(malformed) => observed.text(Rule::D1, "claims", &malformed.to_string()),
            Ok(token) => {
                observed.second(Rule::D1, "iat", token.issued_at);
                observed.second(Rule::D1, "exp", token.expires);
                if token.not_before.is_some() {
                    observed.second(Rule::D1, "nbf", token.not_before);
                }
                observed.text(Rule::D2, "issuer", token.issuer());
                observed.text(Rule::D2, "tenant", token.tenant());
            }
        }
        let profile = self.request.profile;
        for (enforced, rule, what) in [
            (profile.revocation, Rule::D3, "revocations"),
            (profile.user_risk, Rule::D3, "user risk"),
            (profile.revocation, Rule::D4, "account states"),
            (profile.device, Rule::D4, "device states"),
        ] {
            if !enforced {
                observed.text(rule, what, "not enforced by the profile");
            }
        }
        observed.note(Rule::D1, "clock skew", Value::Length(rules.clock_skew));
        observed.note(Rule::D1, "horizon", Value::Length(rules.horizon));
        let read = if self.snapshot.is_caught_up() {
            "to the end that it had at the start"
        } else {
            "not yet to the end that it had at the start"
        };
        observed.text(Rule::F3, "log read", read);
        let seen = match self.request.seen {
            Seen::At(address) => address.to_string(),
            Seen::Unknown => "not known: inside no location".to_owned(),
            Seen::NoneByNature => "none by the nature of the route".to_owned(),
        };
        observed.text(Rule::D6, "address seen", &seen);
        let signed_in_at = self.request.token.as_ref().ok().and_then(Token::signed_in_at);
        let signed_in_at = signed_in_at.map_or_else(|| "none".to_owned(), |at| at.to_string());
        observed.text(Rule::D6, "address of the sign-in (ipaddr)", &signed_in_at);
    }

    /// F2: how old what is known is.
    fn ages_seen(&self, log: Duration, tenant: Option<(Number, &Tenant)>, observed: &mut Observed) {
        let after = self.snapshot.rules().stale_after;
        let stale = |is_stale: bool| if is_stale { ": stale" } else { "" };
        let is_stale = log > after.log;
        if is_stale {
            observed.silent.insert(Remedy::RefreshLog);
        }
        let text = format!("{}{}", ago(log), stale(is_stale));
        observed.text(Rule::F3, "everything in the log was known", &text);
        let Some((number, tenant)) = tenant else { return };
        for view in self.snapshot.sources(number, tenant) {
            let is_expected = view.is_expected();
            let SourceView { name, declaration: _, signs } = view;
            for sign in signs {
                let is_stale = is_expected && sign.is_stale(self.now, after.source);
                let SignView { partition, stream, at } = sign;
                let age = self.now.since(at);
                if is_stale {
                    let source = name.clone();
                    observed.silent.insert(Remedy::HearSource { source, partition });
                }
                let state = stream.map_or("declared, not heard since", Stream::as_str);
                let expected = if is_expected { "" } else { ", not declared to give signs" };
                let text = format!("{state}, {}{expected}{}", ago(age), stale(is_stale));
                observed.text(Rule::F3, format!("source {name}, stream {partition}"), &text);
            }
        }
        let when = match self.request.profile.when_stale {
            WhenStale::Lifetime => "tokens older than the plain lifetime are challenged",
            WhenStale::Deny => "every token is refused",
            WhenStale::Allow => "tokens are decided by what is known",
        };
        observed.text(Rule::F3, "when stale", when);
    }

    fn take(&self, sight: Sight<'_>, observed: &mut Observed) {
        match sight {
            Sight::Issuer(issuer) => {
                observed.text(Rule::D2, "configured as", &issuer.name);
                if !issuer.issue_time_skew.is_zero() {
                    let skew = Value::Length(issuer.issue_time_skew);
                    observed.note(Rule::D2, "tokens dated back by", skew);
                }
            }
            Sight::Ages { log, tenant } => self.ages_seen(log, tenant, observed),
            Sight::Scope(scope) => scope_seen(scope, observed),
            Sight::Report => observed.is_report = true,
            Sight::Policies { subject, counting, survey } => {
                if !observed.is_report {
                    address_seen(subject, observed);
                }
                let is_enforced = !observed.is_report;
                for standing in subject.counted(counting) {
                    // Those that are enforced were told before.
                    if is_enforced || standing.policy.mode == PolicyMode::ReportOnly {
                        policy_seen(subject, standing, observed);
                    }
                }
                observed.has_policies |= counting == Counting::Enforced;
                if is_enforced && survey.is_strict {
                    observed.text(Rule::D5, "locations", "enforced strictly");
                }
            }
            Sight::Cutoff { scope, cutoff, reaches } => {
                let name = format!("cutoff of the {}", scope_name(scope));
                cutoff_seen(name, cutoff, reaches, observed);
            }
            Sight::Risk { level, cutoff, reaches } => {
                let name = format!("cutoff of {level:?} risk").to_lowercase();
                cutoff_seen(name, cutoff, reaches, observed);
            }
            Sight::Object { tenant, number, facet, object } => {
                let words = self.snapshot.words(number, tenant, facet, object).collect::<Vec<_>>();
                for RegisterView { source, standing, at, appended, counts } in words {
                    let refuses = counts && !standing.is_harmless();
                    let counts = if counts { "" } else { ", which does not count" };
                    let name = format!("{} by `{source}`", facet_name(facet));
                    let text =
                        format!("{}{counts}; record of {}", standing.as_str(), appended.utc());
                    observed.note(Rule::D4, name, Value::Since(at, text));
                    if refuses && !observed.is_report {
                        observed.refusing.insert((facet, source));
                    }
                }
            }
            Sight::Block { policy, row } => {
                let name = self.policy_name(policy);
                observed.text(Rule::D5, name, row_text(row));
                if !observed.is_report {
                    match row {
                        BlockRow::Anywhere => {
                            observed.anywhere.insert(policy.policy.id.clone());
                        }
                        BlockRow::Judged => {}
                        _ => observed.here.push(Arc::clone(&policy.policy)),
                    }
                }
            }
            Sight::DemandsMore { policy, passes } => {
                let name = self.policy_name(policy);
                let text = if passes {
                    "demands more here than at the sign-in; the token is judged, and passes"
                } else {
                    "demands more here than at the sign-in"
                };
                observed.text(Rule::P7, name, text);
                if !passes && !observed.is_report {
                    observed.here.push(Arc::clone(&policy.policy));
                }
            }
            Sight::SignIn { frequency, since } => {
                observed.second(Rule::D7, "signed in", Some(since.as_seconds()));
                observed.note(Rule::D7, "sign-in frequency", Value::Length(frequency));
            }
            Sight::Change { policy, changed, counts } => {
                let name = self.policy_name(policy);
                let text = if counts {
                    "changed after the token was issued, longer ago than the grace"
                } else {
                    "changed before the token was issued, or within the grace"
                };
                observed.note(Rule::P8, name, Value::Since(changed, text.to_owned()));
            }
            Sight::Lifetime { permitted, scope, is_plain } => {
                self.lifetime_seen(permitted, scope, is_plain, observed);
            }
        }
    }

    fn lifetime_seen(
        &self,
        permitted: Duration,
        scope: Known,
        is_plain: bool,
        observed: &mut Observed,
    ) {
        observed.note(Rule::D8, "honoured for, with the skew", Value::Length(permitted));
        let (mut whys, profile) = (Vec::new(), self.request.profile);
        if let Ok(token) = &self.request.token {
            if !token.is_capable(profile) {
                whys.push("the client is not capable");
            }
            if token.is_guest {
                whys.push("the user is a guest");
            }
        }
        if scope != Known::Yes {
            whys.push("the token is not surely in CAE's scope");
        }
        if is_plain {
            whys.push("a policy in reach is not enforceable");
        }
        if whys.is_empty() {
            observed.text(Rule::D8, "lifetime", "the long one");
        } else {
            observed.text(Rule::D8, "lifetime", &format!("the plain one: {}", whys.join(", ")));
        }
        if !observed.is_report {
            observed.permitted = Some(permitted);
        }
    }
}

/// A length of time in words.
fn ago(age: Duration) -> String {
    format!("{} s ago", age.as_secs())
}

fn scope_seen(scope: Option<ScopeSight>, observed: &mut Observed) {
    let Some(sight) = scope else {
        let text = "nothing was told of the tenant's policies and settings: on, without policies";
        observed.text(Rule::P1, "continuous access evaluation", text);
        return;
    };
    let ScopeSight { mode, scope, is_limited, is_reported } = sight;
    observed.text(Rule::P1, "continuous access evaluation", mode.as_str());
    observed.text(Rule::P1, "token in its scope", known(scope));
    if is_limited {
        observed.text(Rule::P1, "so", "ages alone count");
    } else if is_reported {
        observed.text(Rule::P1, "so", "ages alone are enforced; the rest is reported");
    }
    observed.scope = Some(sight);
}

/// D6: the locations around the addresses.
fn address_seen(subject: &Subject<'_>, observed: &mut Observed) {
    let directory: &Directory = subject.directory;
    let mut note = |name: &str, at| {
        let names = directory.covering(at);
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        observed.text(Rule::D6, name, &names);
        if let Some(country) = directory.country(at) {
            observed.text(Rule::D6, format!("{name}, country"), &country);
        }
    };
    if subject.address().is_some() {
        note("inside the locations", &subject.seen_at);
    }
    if let Some(at) = &subject.signed_in_at {
        note("at the sign-in inside the locations", at);
    }
    if subject.without_locations {
        let why = if subject.profile.location == LocationClass::Supported {
            "left out: the route has no address by its nature"
        } else {
            "left out: the profile does not enforce them here"
        };
        observed.text(Rule::D6, "location policies", why);
    }
}

/// P3: how one policy stands to the token.
fn policy_seen(subject: &Subject<'_>, standing: &Standing, observed: &mut Observed) {
    let policy = &standing.policy;
    let is_subject = subject.is_subject(standing);
    let is_resource = subject.is_resource(&policy.applications);
    let mut text = match subject.stance(standing) {
        Stance::Irrelevant if is_subject == Known::No => "is not for this subject".to_owned(),
        Stance::Irrelevant => "is not for this resource".to_owned(),
        Stance::LeftOut => "left out: locations are not evaluated".to_owned(),
        Stance::Elsewhere => "does not match at the address seen".to_owned(),
        Stance::Applies(applying) => match applying.at_sign_in {
            None => "applies".to_owned(),
            Some(true) => "applies, at the sign-in as well".to_owned(),
            Some(false) => "applies, but not at the address of the sign-in".to_owned(),
        },
        Stance::NotEnforceable => {
            let obstacles = subject.directory.obstacles_of(standing);
            let mut whys: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
            if is_subject == Known::Unknown && whys.is_empty() {
                whys.push("whether the subject is meant is not known".to_owned());
            }
            if is_resource == Known::Unknown {
                whys.push("whether this resource is meant is not known".to_owned());
            }
            if whys.is_empty() {
                whys.push("the token does not tell the address of the sign-in".to_owned());
            }
            format!("not enforceable: {}", whys.join("; "))
        }
    };
    if policy.mode == PolicyMode::ReportOnly {
        text.push_str(" (report-only)");
    }
    let name = format!("policy `{}`", subject.directory.policy_name(&policy.id));
    observed.note(Rule::P3, name, Value::Since(standing.changed, text));
}

const fn known(known: Known) -> &'static str {
    match known {
        Known::Yes => "yes",
        Known::No => "no",
        Known::Unknown => "not known: counts as in scope, with the plain lifetime",
    }
}

/// A cutoff, unless its row is there for other things alone.
fn cutoff_seen(name: String, cutoff: Cutoff, reaches: bool, observed: &mut Observed) {
    let Cutoff { at, kept: _, origin } = cutoff;
    if at > UnixMillis::ZERO {
        let reach = if reaches { "reaches the token" } else { "the token was issued after" };
        let record = (origin.kind().unwrap_or("a record"), origin.position());
        observed.note(Rule::D3, name, Value::Cutoff { at, record, text: reach.to_owned() });
    }
}

const fn scope_name(scope: ScopeName) -> &'static str {
    match scope {
        ScopeName::Tenant => "tenant",
        ScopeName::User => "user",
        ScopeName::Session => "session",
        ScopeName::Token => "token by its id",
        ScopeName::Client => "client",
        ScopeName::Device => "device",
        ScopeName::UserSession => "user's session",
        ScopeName::UserToken => "user's token by its id",
        ScopeName::UserClient => "client for the user",
        ScopeName::UserDevice => "user's device",
    }
}

const fn facet_name(facet: Facet) -> &'static str {
    match facet {
        Facet::Account => "account",
        Facet::DeviceState => "device",
        Facet::DeviceCompliance => "compliance of the device",
    }
}

const fn row_text(row: BlockRow) -> &'static str {
    match row {
        BlockRow::Anywhere => "blocks at any address",
        BlockRow::Strict => "blocks here, strictly, and would not have at the sign-in",
        BlockRow::SameAddress => "blocks here, where the identity provider judged the token",
        BlockRow::AddressUnknown => "blocks: the address, or the one of the sign-in, is not known",
        BlockRow::Judged => "blocks here; the token is judged, and passes",
        BlockRow::JustIssued => "blocks here; the token was issued less than a minute ago",
        BlockRow::Otherwise => "blocks here",
    }
}
