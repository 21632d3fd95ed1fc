//! Explanations on the wire.

use std::net::IpAddr;

use caed_core::explain::{Explanation, Fact, Outcome, Step, Value};
use caed_core::position::Topics;
use caed_core::remedy::Remedy;
use caed_core::request::Token;
use caed_core::time::{UnixMillis, UnixSeconds, Utc};
use caed_decode::asked::Asked;
use caed_proto::v1;
use caed_proto::v1::remedy::Change;
use tonic::Status;

use super::super::Parts;
use super::super::belief::Belief;
use super::{millis, profile, reply_of, saturating};
use crate::pdp::Moment;

/// Explains one decision.
pub(in crate::native) fn explain(
    moment: &Moment<'_>,
    asked: &Asked<'_>,
    belief: &Belief<'_>,
    Parts { topics, forwarding, .. }: &Parts,
) -> Result<v1::ExplainReply, Status> {
    let (token, profile) = (belief.token(), profile(moment, asked.profile)?);
    let Explanation { decision, steps, remedies } = moment.explain(token, profile, belief.seen);
    Ok(v1::ExplainReply {
        decision: Some(reply_of(moment, &decision, token.as_ref(), belief)),
        address: Some(belief.address(asked.client.as_ref(), forwarding)),
        steps: steps.into_iter().map(|step| step_of(step, topics)).collect(),
        remedies: remedies
            .into_iter()
            .map(|remedy| remedy_of(remedy, token.as_ref().ok()))
            .collect(),
        belief: Some(belief.told()),
    })
}

fn step_of(step: Step, topics: &Topics) -> v1::Step {
    let Step { rule, outcome, facts } = step;
    let outcome = match outcome {
        Outcome::Passed => v1::StepOutcome::Passed,
        Outcome::Spoke => v1::StepOutcome::Spoke,
        Outcome::LeftOut => v1::StepOutcome::LeftOut,
        Outcome::NotReached => v1::StepOutcome::NotReached,
    };
    v1::Step {
        rule: rule.id().to_owned(),
        title: rule.title().to_owned(),
        outcome: outcome.into(),
        facts: facts.into_iter().map(|fact| fact_of(fact, topics)).collect(),
    }
}

fn fact_of(fact: Fact, topics: &Topics) -> v1::Fact {
    let Fact { name, value, reported } = fact;
    let time = |at: UnixMillis| Some(saturating(at.as_millis()));
    let (text, time_ms, length_ms) = match value {
        Value::Text(text) => (text, None, None),
        Value::Time(at) => (String::new(), time(at), None),
        Value::Since(at, text) => (text, time(at), None),
        Value::Cutoff { at, record: (kind, position), text } => {
            let place = position.map(|position| format!(" at {}", topics.place(position)));
            let kind = kind.replace('_', " ");
            (format!("{text}; by {kind}{}", place.unwrap_or_default()), time(at), None)
        }
        Value::Length(length) => (String::new(), None, Some(millis(length))),
    };
    v1::Fact { name, text, time_ms, length_ms, reported }
}

/// A second as a day and a time of day.
fn utc(second: i64) -> Utc {
    let seconds = u64::try_from(second).unwrap_or_default();
    UnixMillis::from_millis(seconds.saturating_mul(1000)).utc()
}

fn remedy_of(remedy: Remedy, token: Option<&Token<'_>>) -> v1::Remedy {
    let of = |source: &dyn std::fmt::Display| v1::SourceRemedy { source: source.to_string() };
    let subject = token.map(Token::subject).unwrap_or_default();
    let (text, change) = match remedy {
        Remedy::BelievedToken => (
            "a token that its issuer made for this resource".to_owned(),
            Change::BelievedToken(v1::BelievedTokenRemedy {}),
        ),
        Remedy::ReachKeys => (
            "the keys of the token's issuer: they can't be had now".to_owned(),
            Change::ReachKeys(v1::ReachKeysRemedy {}),
        ),
        Remedy::WellFormedToken => (
            "a token whose claims are well-formed".to_owned(),
            Change::WellFormedToken(v1::WellFormedTokenRemedy {}),
        ),
        Remedy::ConfigureIssuer { issuer, tenant } => (
            format!("issuer `{issuer}` configured for tenant `{tenant}`"),
            Change::ConfigureIssuer(v1::IssuerRemedy { issuer, tenant }),
        ),
        Remedy::ServeTenant { tenant } => (
            format!("tenant `{tenant}` among the tenants that are served"),
            Change::ServeTenant(v1::TenantRemedy { tenant }),
        ),
        Remedy::ReadLog => (
            "the log, read to the end that it had at the start: it is being read".to_owned(),
            Change::ReadLog(v1::ReadLogRemedy {}),
        ),
        Remedy::RefreshLog => (
            "the log, read to its end a moment ago: nothing could be read for too long".to_owned(),
            Change::RefreshLog(v1::RefreshLogRemedy {}),
        ),
        Remedy::HearSource { source, partition } => {
            let source = source.to_string();
            let text = format!("a sign of life of stream {partition} of source `{source}`");
            (text, Change::HearSource(v1::HearSourceRemedy { source, partition }))
        }
        Remedy::Wait { until } => {
            let until_s = until.as_seconds();
            let text = format!("time: until {}", utc(until_s));
            (text, Change::Wait(v1::WaitRemedy { until_s }))
        }
        Remedy::NewToken { issued_from, signed_in_at } => {
            let issued_from_s = issued_from.map(UnixSeconds::as_seconds);
            let signed_in_at = signed_in_at.map(|at: IpAddr| at.to_string()).unwrap_or_default();
            let from = issued_from_s
                .map(|s| format!(", issued at {} or later", utc(s)))
                .unwrap_or_default();
            let at = match signed_in_at.as_str() {
                "" => String::new(),
                at => format!(", for a sign-in from {at}"),
            };
            let change = v1::NewTokenRemedy { issued_from_s, signed_in_at };
            (format!("a new token{from}{at}"), Change::NewToken(change))
        }
        Remedy::SignIn { from } => {
            let from_s = from.as_seconds();
            let text = format!("a new sign-in at {} or later, and a token of it", utc(from_s));
            (text, Change::SignIn(v1::SignInRemedy { from_s }))
        }
        Remedy::EnableAccount { source } => (
            format!("account `{subject}` enabled by source `{source}`"),
            Change::EnableAccount(of(&source)),
        ),
        Remedy::ClearDevice { source } => {
            (format!("the device cleared by source `{source}`"), Change::ClearDevice(of(&source)))
        }
        Remedy::DeviceCompliant { source } => (
            format!("the device found compliant by source `{source}`"),
            Change::DeviceCompliant(of(&source)),
        ),
        Remedy::Address { inside, outside, such_as } => {
            let such_as = such_as.to_string();
            let place = if inside.is_empty() {
                match outside.as_slice() {
                    [] => String::new(),
                    outside => format!(" outside {}", outside.join(", ")),
                }
            } else {
                format!(" inside {}", inside.join(", or "))
            };
            let text = format!("an address{place}, such as {such_as}");
            (text, Change::Address(v1::AddressRemedy { inside, outside, such_as }))
        }
        Remedy::ChangePolicy { policy } => (
            format!("policy `{policy}` changed: disabled, or without this user or resource"),
            Change::ChangePolicy(v1::PolicyRemedy { policy: policy.to_string() }),
        ),
    };
    v1::Remedy { text, change: Some(change) }
}
