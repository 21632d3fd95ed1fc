//! An answer in the words of a scenario, and what differs from the one that it expects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use caed_core::decision::{Answer, Decision, Notes, Refusal, Report, Verdict};
use caed_core::time::UnixSeconds;

use crate::oracle::Expected;
use crate::scenario::{self, Scenario};

/// An answer in the words of a scenario.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// `allow`, `challenge`, `deny 401` …
    pub answer: String,
    /// The primary reason.
    pub reason: Option<String>,
    /// Whose cutoff it was.
    pub scope: Option<String>,
    /// The second that a challenge asks for.
    pub nbf: Option<i64>,
    /// The address that it tells.
    pub address: Option<String>,
    /// How old the sign-in may be.
    pub max_age_s: Option<u64>,
    /// The row of D5's table.
    pub row: Option<String>,
    /// The policy that speaks; `None` where the scenario does not mind.
    pub policy: Option<String>,
    /// What else is said.
    pub notes: BTreeSet<String>,
    /// The answer and its reason if everything were enforced.
    pub report: Option<(String, String)>,
    /// The seconds to wait.
    pub retry_after_s: Option<u32>,
    /// Every reason with its own answer.
    pub findings: BTreeMap<String, String>,
    /// Since when; `None` where the scenario does not mind.
    pub since: Option<i64>,
}

/// Notes where an answer is another than the one that is expected.
pub fn check(scenario: &Scenario, surface: &str, seen: &Told, problems: &mut Vec<String>) {
    let expect = &scenario.expect;
    let expected = Told {
        answer: expect.answer.clone(),
        reason: expect.reason.clone(),
        scope: expect.scope.clone(),
        nbf: expect.nbf.map(scenario::Time::seconds),
        address: expect.address.clone(),
        max_age_s: expect.max_age.map(scenario::Length::seconds),
        row: expect.row.clone(),
        policy: expect.policy.clone(),
        notes: expect.notes.clone(),
        report: expect.report.clone(),
        retry_after_s: expect.retry_after_s,
        findings: expect.findings(),
        since: expect.since.map(scenario::Time::millis),
    };
    if expected != *seen {
        problems.push(differ(surface, &expected, seen));
    }
}

/// Both, one below the other.
pub fn differ<T: Debug>(place: &str, expected: &T, seen: &T) -> String {
    format!("  {place}:\n    expected {expected:?}\n    seen     {seen:?}")
}

/// Core's answer.
pub fn of_decision(scenario: &Scenario, decision: &Decision) -> Told {
    let answer = told(decision.verdict, decision.http_status);
    let asked = decision.challenge;
    let primary = decision.findings.iter().find(|finding| Some(finding.reason) == decision.primary);
    let since = primary.and_then(|finding| finding.since);
    let since = since.map(|since| i64::try_from(since.as_millis()).expect("an instant"));
    Told {
        answer,
        reason: decision.primary.map(|reason| words(&format!("{reason:?}"))),
        scope: decision
            .findings
            .iter()
            .find(|finding| words(&format!("{:?}", finding.reason)) == "revoked")
            .and_then(|finding| finding.scope)
            .map(|scope| words(&format!("{scope:?}"))),
        nbf: asked.and_then(|asked| asked.not_before).map(UnixSeconds::as_seconds),
        address: asked.and_then(|asked| asked.address).map(|address| address.to_string()),
        max_age_s: asked.and_then(|asked| asked.max_age).map(|age| age.as_secs()),
        row: decision
            .findings
            .iter()
            .filter_map(|found| found.row)
            .map(|row| words(&format!("{row:?}")))
            .next(),
        policy: primary
            .and_then(|found| found.policy.as_ref())
            .map(ToString::to_string)
            .filter(|_| scenario.expect.policy.is_some()),
        notes: notes_of(decision.notes),
        report: decision.report.map(|report| {
            let Report { verdict, primary, reasons, http_status } = report;
            assert_eq!(primary.is_none(), reasons.iter().next().is_none());
            let reason = primary.map(|reason| words(&format!("{reason:?}")));
            (told(verdict, http_status), reason.unwrap_or_default())
        }),
        retry_after_s: decision.retry_after_s,
        findings: decision
            .findings
            .iter()
            .map(|found| (words(&format!("{:?}", found.reason)), own(found.answer).to_owned()))
            .collect(),
        since: since.filter(|_| scenario.expect.since.is_some()),
    }
}

/// What the oracle says; it tells no evidence (since when, which policy).
pub fn of_oracle(scenario: &Scenario, expected: &Expected) -> Told {
    let name = |reason| words(&format!("{reason:?}"));
    let asked = expected.challenge;
    let scope = expected.findings.iter().find_map(|found| found.scope);
    let row = expected.findings.iter().find_map(|found| found.row);
    Told {
        answer: told(expected.verdict, expected.http_status),
        reason: expected.primary.map(name),
        scope: scope.map(|scope| words(&format!("{scope:?}"))),
        nbf: asked.and_then(|asked| asked.not_before).map(UnixSeconds::as_seconds),
        address: asked.and_then(|asked| asked.address).map(|address| address.to_string()),
        max_age_s: asked.and_then(|asked| asked.max_age).map(|age| age.as_secs()),
        row: row.map(|row| words(&format!("{row:?}"))),
        policy: scenario.expect.policy.clone(),
        notes: notes_of(expected.notes),
        report: expected.report.as_ref().map(|(verdict, primary, _, status)| {
            (told(*verdict, *status), primary.map(name).unwrap_or_default())
        }),
        retry_after_s: expected.retry_after_s,
        findings: expected
            .findings
            .iter()
            .map(|found| (name(found.reason), own(found.answer).to_owned()))
            .collect(),
        since: scenario.expect.since.map(scenario::Time::millis),
    }
}

/// The answer to one reason alone.
const fn own(answer: Answer) -> &'static str {
    match answer {
        Answer::Challenge { .. } | Answer::SignIn { .. } => "challenge",
        Answer::Deny(Refusal::InvalidToken) => "deny 401",
        Answer::Deny(Refusal::Forbidden) => "deny 403",
        Answer::Deny(Refusal::Unavailable { .. }) => "deny 503",
    }
}

fn told(verdict: Verdict, status: u16) -> String {
    match (verdict, status) {
        (Verdict::Allow, 200) => "allow".to_owned(),
        (Verdict::Challenge, 401) => "challenge".to_owned(),
        (verdict, status) => format!("{verdict:?} {status}").to_lowercase(),
    }
}

fn notes_of(notes: Notes) -> BTreeSet<String> {
    let Notes { ip_variation, location_not_evaluated, sign_in_time_missing } = notes;
    [
        (ip_variation, "ip_variation"),
        (location_not_evaluated, "location_not_evaluated"),
        (sign_in_time_missing, "sign_in_time_missing"),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .map(|(_, note)| note.to_owned())
    .collect()
}

/// `UserSession` as `user_session`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for char in name.chars() {
        if char.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(char.to_ascii_lowercase());
    }
    words
}
