//! What is answered: a verdict with everything that led to it.
//!
//! Each rule that speaks leaves a [`Finding`] with the answer that it alone would give; how several
//! become one answer is D9, in [`Outcome`]. A decision that allows has no findings and allocates nothing.

use std::net::IpAddr;
use std::time::Duration;

use crate::ids::Name;
use crate::time::{UnixMillis, UnixSeconds};

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing speaks against the token.
    Allow,
    /// A new token would pass: ask the client for one.
    Challenge,
    /// Refused.
    Deny,
}

/// Why a token does not pass, in the order in which one of several reasons is named first (D9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Nobody who is believed vouches for the token (T2).
    Unverified,
    /// The keys that would tell whether to believe the token can't be had (T2).
    Unverifiable,
    /// The claims are not those of a token (D1).
    Malformed,
    /// The token does not say when it was issued (D1).
    IssueTimeMissing,
    /// The token was issued longer ago than any token lives (D1).
    BeyondHorizon,
    /// The token has expired (D1).
    Expired,
    /// The token is not valid yet (D1).
    NotYetValid,
    /// Its issuer is not configured, or not for its tenant (D2).
    UnknownIssuer,
    /// Its tenant is not served here (D2).
    TenantNotServed,
    /// It was issued before a cutoff that reaches it, or is revoked by its own id (D3).
    Revoked,
    /// The account is disabled or deleted (D4).
    Account,
    /// It was issued before the user's risk was found high enough (D3, E5).
    Risk,
    /// The device is disabled, deleted, or not compliant (D4).
    Device,
    /// A policy blocks at any address (D5).
    Policy,
    /// A policy blocks at the address seen (D5).
    Location,
    /// A policy demands more at the address seen than at the one of the sign-in (P7).
    ConditionsChanged,
    /// The sign-in is too long ago (D7).
    SignInFrequency,
    /// The token was issued before a policy changed (P8).
    Outdated,
    /// The token is older than it may become (D8).
    Lifetime,
    /// What is known is too old to believe the token for so long (F3).
    Stale,
    /// This process has not read its log to the end yet (F3).
    NotReady,
}

/// The row of D5's table that a block met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockRow {
    /// The policy has no location condition.
    Anywhere,
    /// Strict, and the policy would not have matched at the sign-in.
    Strict,
    /// The identity provider judged this very address.
    SameAddress,
    /// Where the user is, or was, is not known.
    AddressUnknown,
    /// The identity provider let the user in although it saw another address.
    Judged,
    /// The token has just been issued.
    JustIssued,
    /// None of these: another sign-in may help.
    Otherwise,
}

/// What a decision says beside its reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// A block was passed because the token is judged (D5).
    pub ip_variation: bool,
    /// Location policies were left out (D6).
    pub location_not_evaluated: bool,
    /// `iat` stood in for `auth_time` (D7).
    pub sign_in_time_missing: bool,
}

/// Several reasons, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u32);

/// What the answer would be if everything were enforced that is only reported (P1, P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason that is named first.
    pub primary: Option<Reason>,
    /// Every reason.
    pub reasons: Reasons,
    /// The status.
    pub http_status: u16,
}

/// Which cutoff or register it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeName {
    /// The whole tenant.
    Tenant,
    /// The user.
    User,
    /// The session, whoever the user is.
    Session,
    /// The token by its id.
    Token,
    /// The client, whoever the user is.
    Client,
    /// The device, whoever the user is.
    Device,
    /// The session of this user.
    UserSession,
    /// The token of this user by its id.
    UserToken,
    /// The client for this user.
    UserClient,
    /// The device of this user.
    UserDevice,
}

/// The answer that one reason alone would give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ask for a token that is not issued before `not_before`.
    Challenge {
        /// The challenge's `nbf`.
        not_before: UnixSeconds,
    },
    /// Ask for a new sign-in, at most so old.
    SignIn {
        /// The sign-in frequency.
        max_age: Duration,
    },
    /// Refuse.
    Deny(Refusal),
}

/// The HTTP status of a refusal, and what it tells the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401 `invalid_token`: a fresh token would pass, but the client can't be asked for one.
    InvalidToken,
    /// 403: a fresh token would be refused as well.
    Forbidden,
    /// 503: the fault is ours, or time alone will clear it.
    Unavailable {
        /// Seconds to wait.
        retry_after_s: u32,
    },
}

/// One reason, with its evidence and its own answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that spoke.
    pub reason: Reason,
    /// Whose cutoff it was, for [`Reason::Revoked`].
    pub scope: Option<ScopeName>,
    /// The cutoff, or since when the register says so.
    pub since: Option<UnixMillis>,
    /// The policy that spoke, where it was one.
    pub policy: Option<Name>,
    /// The row of D5's table, where a policy blocks.
    pub row: Option<BlockRow>,
    /// The answer to this reason alone.
    pub answer: Answer,
}

/// Findings, at most one per reason, in the order of [`Reason`]. None of them takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

/// One answer of several, as findings come (D9).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// The first reason that refuses.
    denied: Option<Reason>,
    /// The first reason that challenges.
    challenged: Option<Reason>,
    reasons: Reasons,
    forbidden: bool,
    retry_after_s: Option<u32>,
    not_before: Option<UnixSeconds>,
    needs_address: bool,
    max_age: Option<Duration>,
}

/// Where findings go: into an outcome, and where they are shown, into a list.
pub(crate) struct Collected {
    pub(crate) outcome: Outcome,
    findings: Option<Findings>,
}

/// What the client is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// A token issued at this second or later.
    pub not_before: Option<UnixSeconds>,
    /// For the identity provider: the address that was seen.
    pub address: Option<IpAddr>,
    /// A sign-in at most so old.
    pub max_age: Option<Duration>,
    /// The code in the description.
    pub code: &'static str,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Every reason, in the order of [`Reason`].
    pub findings: Findings,
    /// The reason that is named first; `None` for [`Verdict::Allow`].
    pub primary: Option<Reason>,
    /// What to ask for; `Some` for [`Verdict::Challenge`].
    pub challenge: Option<Challenge>,
    /// 200, 401, 403 or 503.
    pub http_status: u16,
    /// Seconds to wait, with 503.
    pub retry_after_s: Option<u32>,
    /// What it says beside its reasons.
    pub notes: Notes,
    /// What it would be if everything were enforced; `None` where everything is.
    pub report: Option<Report>,
    /// How long ago the declared source of the tenant that has been silent the longest gave a sign of life
    /// (F2); `None` where none is declared, or the tenant was not looked at.
    pub source_age: Option<Duration>,
    /// The snapshot that answered.
    pub generation: u64,
}

/// The code of a challenge because of an event. SOURCE: Microsoft's documentation of CAE.
pub const CODE_REVOKED: &str = "TokenIssuedBeforeRevocationTimestamp";

/// The code of a challenge because of an address. SOURCE: Microsoft's documentation of CAE.
pub const CODE_LOCATION: &str = "LocationConditionEvaluationSatisfied";

/// The code of a challenge because of a token's or a sign-in's age. SOURCE: Microsoft's documentation of
/// CAE.
pub const CODE_OUTDATED: &str = "TokenCreatedWithOutdatedPolicies";

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Self; 21] = [
        Self::Unverified,
        Self::Unverifiable,
        Self::Malformed,
        Self::IssueTimeMissing,
        Self::BeyondHorizon,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::TenantNotServed,
        Self::Revoked,
        Self::Account,
        Self::Risk,
        Self::Device,
        Self::Policy,
        Self::Location,
        Self::ConditionsChanged,
        Self::SignInFrequency,
        Self::Outdated,
        Self::Lifetime,
        Self::Stale,
        Self::NotReady,
    ];

    /// The code of a challenge that this reason is named first in.
    const fn code(self) -> &'static str {
        match self {
            Self::Location | Self::ConditionsChanged => CODE_LOCATION,
            Self::SignInFrequency | Self::Outdated | Self::Lifetime | Self::Stale => CODE_OUTDATED,
            _ => CODE_REVOKED,
        }
    }
}

impl Reasons {
    /// Every one of them, in the order of [`Reason`].
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.has(*reason))
    }

    fn with(self, reason: Reason) -> Self {
        Self(self.0 | 1 << reason as u32)
    }

    /// Whether a reason is one of them.
    pub const fn has(self, reason: Reason) -> bool {
        self.0 >> reason as u32 & 1 == 1
    }
}

impl Findings {
    /// Every finding, in the order of [`Reason`].
    pub fn iter(&self) -> impl Iterator<Item = &Finding> + '_ {
        self.0.iter()
    }
}

impl Finding {
    /// A finding without further evidence.
    pub(crate) const fn new(reason: Reason, since: Option<UnixMillis>, answer: Answer) -> Self {
        Self { reason, scope: None, since, policy: None, row: None, answer }
    }
}

impl Collected {
    /// Collects what is shown.
    pub(crate) fn shown() -> Self {
        Self { outcome: Outcome::default(), findings: Some(Findings::default()) }
    }

    /// Collects the outcome alone.
    pub(crate) fn counted() -> Self {
        Self { outcome: Outcome::default(), findings: None }
    }

    /// Adds a finding. Findings come in the order of [`Reason`].
    pub(crate) fn push(&mut self, finding: Finding) {
        self.outcome.add(finding.reason, finding.answer);
        if let Some(findings) = &mut self.findings {
            findings.0.push(finding);
        }
    }
}

impl Outcome {
    fn add(&mut self, reason: Reason, answer: Answer) {
        self.reasons = self.reasons.with(reason);
        match answer {
            Answer::Deny(refusal) => {
                self.denied = self.denied.or(Some(reason));
                match refusal {
                    Refusal::Forbidden => self.forbidden = true,
                    Refusal::Unavailable { retry_after_s } => {
                        self.retry_after_s = self.retry_after_s.max(Some(retry_after_s));
                    }
                    Refusal::InvalidToken => {}
                }
            }
            Answer::Challenge { not_before } => {
                self.challenged = self.challenged.or(Some(reason));
                self.not_before = self.not_before.max(Some(not_before));
                self.needs_address |=
                    matches!(reason, Reason::Location | Reason::ConditionsChanged);
            }
            Answer::SignIn { max_age } => {
                self.challenged = self.challenged.or(Some(reason));
                self.max_age = Some(max_age);
            }
        }
    }

    /// Any refusal outweighs a challenge; the primary reason is the first whose own answer is the
    /// verdict.
    pub(crate) fn report(&self) -> Report {
        let (verdict, primary, http_status) = match (self.denied, self.challenged) {
            (Some(reason), _) => {
                let status = match (self.forbidden, self.retry_after_s) {
                    (true, _) => 403,
                    (false, Some(_)) => 503,
                    (false, None) => 401,
                };
                (Verdict::Deny, Some(reason), status)
            }
            (None, Some(reason)) => (Verdict::Challenge, Some(reason), 401),
            (None, None) => (Verdict::Allow, None, 200),
        };
        Report { verdict, primary, reasons: self.reasons, http_status }
    }
}

impl Decision {
    /// One finding that ends the evaluation.
    pub(crate) fn refuse(generation: u64, reason: Reason, refusal: Refusal) -> Self {
        let mut collected = Collected::shown();
        collected.push(Finding::new(reason, None, Answer::Deny(refusal)));
        Self::of(generation, collected, None)
    }

    /// Makes one answer of several reasons (D9): one challenge asks for everything.
    pub(crate) fn of(generation: u64, collected: Collected, address: Option<IpAddr>) -> Self {
        let Collected { outcome, findings } = collected;
        let Report { verdict, primary, reasons: _, http_status } = outcome.report();
        let code = primary.filter(|_| verdict == Verdict::Challenge).map(Reason::code);
        Self {
            verdict,
            findings: findings.unwrap_or_default(),
            primary,
            challenge: code.map(|code| Challenge {
                not_before: outcome.not_before,
                address: address.filter(|_| outcome.needs_address),
                max_age: outcome.max_age,
                code,
            }),
            http_status,
            retry_after_s: outcome.retry_after_s.filter(|_| http_status == 503),
            notes: Notes::default(),
            report: None,
            source_age: None,
            generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(reason: Reason, answer: Answer) -> Finding {
        Finding::new(reason, None, answer)
    }

    fn decide(findings: &[Finding]) -> Decision {
        let mut all = Collected::shown();
        for finding in findings {
            all.push(finding.clone());
        }
        Decision::of(1, all, Some(std::net::Ipv4Addr::LOCALHOST.into()))
    }

    const fn challenge(second: i64) -> Answer {
        Answer::Challenge { not_before: UnixSeconds::from_seconds(second) }
    }

    #[test]
    fn the_highest_not_before_is_asked_for_and_the_first_reason_named() {
        let decision = decide(&[
            finding(Reason::Revoked, challenge(10)),
            finding(Reason::Risk, challenge(12)),
        ]);
        assert_eq!(decision.verdict, Verdict::Challenge);
        assert_eq!(decision.primary, Some(Reason::Revoked));
        let asked = decision.challenge.expect("a challenge");
        assert_eq!(asked.not_before.map(UnixSeconds::as_seconds), Some(12));
        assert_eq!((asked.address, asked.max_age), (None, None));
    }

    #[test]
    fn a_challenge_has_the_code_of_its_reason() {
        let code = |reason| decide(&[finding(reason, challenge(10))]).challenge.map(|it| it.code);
        for reason in [Reason::Revoked, Reason::Account, Reason::Risk, Reason::Device] {
            assert_eq!(code(reason), Some(CODE_REVOKED));
        }
        for reason in [Reason::Location, Reason::ConditionsChanged] {
            assert_eq!(code(reason), Some(CODE_LOCATION));
        }
        for reason in [Reason::SignInFrequency, Reason::Outdated, Reason::Lifetime] {
            assert_eq!(code(reason), Some(CODE_OUTDATED));
        }
    }

    #[test]
    fn one_challenge_asks_for_everything_with_the_code_of_the_first_reason() {
        let max_age = Duration::from_hours(4);
        let decision = decide(&[
            finding(Reason::Location, challenge(10)),
            finding(Reason::SignInFrequency, Answer::SignIn { max_age }),
            finding(Reason::Lifetime, challenge(11)),
        ]);
        let asked = decision.challenge.expect("a challenge");
        assert_eq!(asked.not_before.map(UnixSeconds::as_seconds), Some(11));
        assert!(asked.address.is_some() && asked.max_age == Some(max_age));
        assert_eq!(asked.code, CODE_LOCATION);
    }

    #[test]
    fn any_refusal_outweighs_a_challenge_and_names_the_reason() {
        let decision = decide(&[
            finding(Reason::Revoked, challenge(10)),
            finding(Reason::Account, Answer::Deny(Refusal::Forbidden)),
        ]);
        assert_eq!(decision.verdict, Verdict::Deny);
        assert_eq!(decision.primary, Some(Reason::Account));
        assert_eq!((decision.http_status, decision.challenge), (403, None));
    }

    #[test]
    fn of_several_statuses_forbidden_comes_first_then_unavailable() {
        let unavailable = Answer::Deny(Refusal::Unavailable { retry_after_s: 7 });
        let invalid = Answer::Deny(Refusal::InvalidToken);
        let forbidden = Answer::Deny(Refusal::Forbidden);
        let status = |answers: &[Answer]| {
            let reasons = [Reason::Revoked, Reason::Account, Reason::Risk];
            let findings: Vec<_> = reasons
                .into_iter()
                .zip(answers)
                .map(|(reason, answer)| finding(reason, *answer))
                .collect();
            let decision = decide(&findings);
            (decision.http_status, decision.retry_after_s)
        };
        assert_eq!(status(&[invalid]), (401, None));
        assert_eq!(status(&[invalid, unavailable]), (503, Some(7)));
        assert_eq!(status(&[unavailable, invalid, forbidden]), (403, None));
        assert_eq!(status(&[]), (200, None));
    }
}
