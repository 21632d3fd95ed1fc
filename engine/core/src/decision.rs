//! What is answered: a verdict with everything that led to it.
//!
//! Each rule that speaks leaves a [`Finding`] with the answer that it alone would give; how several
//! become one answer is D9, in [`Decision::from_findings`]. Nothing here allocates.

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
    /// This process has not read its log to the end yet (F3).
    NotReady,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that spoke.
    pub reason: Reason,
    /// Whose cutoff it was, for [`Reason::Revoked`].
    pub scope: Option<ScopeName>,
    /// The cutoff, or since when the register says so.
    pub since: Option<UnixMillis>,
    /// The answer to this reason alone.
    pub answer: Answer,
}

/// At most one finding per reason that can meet others: D1, D2 and F3 stand alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    slots: [Option<Finding>; 4],
}

/// What the client is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// A token issued at this second or later.
    pub not_before: UnixSeconds,
    /// The code in the description.
    pub code: &'static str,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The snapshot that answered.
    pub generation: u64,
}

/// The code of a challenge because of an event. SOURCE: Microsoft's documentation of CAE.
pub const CODE_REVOKED: &str = "TokenIssuedBeforeRevocationTimestamp";

impl Findings {
    /// Adds a finding. Findings come in the order of [`Reason`].
    pub(crate) fn push(&mut self, finding: Finding) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(finding);
        }
    }

    /// Every finding, in the order of [`Reason`].
    pub fn iter(&self) -> impl Iterator<Item = &Finding> + '_ {
        self.slots.iter().flatten()
    }
}

impl Decision {
    /// One finding that ends the evaluation.
    pub(crate) fn refuse(generation: u64, reason: Reason, refusal: Refusal) -> Self {
        let mut findings = Findings::default();
        let answer = Answer::Deny(refusal);
        findings.push(Finding { reason, scope: None, since: None, answer });
        Self::from_findings(generation, findings)
    }

    /// Makes one answer of several reasons (D9): any refusal outweighs a challenge; the primary
    /// reason is the first whose own answer is the verdict; one challenge asks for everything.
    pub(crate) fn from_findings(generation: u64, findings: Findings) -> Self {
        let mut decision = Self {
            verdict: Verdict::Allow,
            findings,
            primary: None,
            challenge: None,
            http_status: 200,
            retry_after_s: None,
            generation,
        };
        let refusals = || {
            findings.iter().filter_map(|finding| match finding.answer {
                Answer::Deny(refusal) => Some((finding.reason, refusal)),
                Answer::Challenge { .. } => None,
            })
        };
        let challenges = || {
            findings.iter().filter_map(|finding| match finding.answer {
                Answer::Challenge { not_before } => Some((finding.reason, not_before)),
                Answer::Deny(_) => None,
            })
        };
        if let Some((primary, _)) = refusals().next() {
            decision.verdict = Verdict::Deny;
            decision.primary = Some(primary);
            let retry_after_s = refusals()
                .filter_map(|(_, refusal)| match refusal {
                    Refusal::Unavailable { retry_after_s } => Some(retry_after_s),
                    Refusal::InvalidToken | Refusal::Forbidden => None,
                })
                .max();
            if refusals().any(|(_, refusal)| refusal == Refusal::Forbidden) {
                decision.http_status = 403;
            } else if retry_after_s.is_some() {
                decision.http_status = 503;
                decision.retry_after_s = retry_after_s;
            } else {
                decision.http_status = 401;
            }
        } else if let Some((primary, _)) = challenges().next() {
            decision.verdict = Verdict::Challenge;
            decision.primary = Some(primary);
            decision.http_status = 401;
            decision.challenge = challenges()
                .map(|(_, not_before)| not_before)
                .max()
                .map(|not_before| Challenge { not_before, code: CODE_REVOKED });
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(reason: Reason, answer: Answer) -> Finding {
        Finding { reason, scope: None, since: None, answer }
    }

    fn decide(findings: &[Finding]) -> Decision {
        let mut all = Findings::default();
        for finding in findings {
            all.push(*finding);
        }
        Decision::from_findings(1, all)
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
        assert_eq!(decision.challenge.map(|asked| asked.not_before.as_seconds()), Some(12));
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
