//! The wire and the core, in both directions. Wire messages are taken apart whole, so that a new
//! field does not compile until somebody has thought about it.

pub(super) mod explain;
pub(super) mod export;
pub(crate) mod issuers;
mod page;
pub(super) mod tenant;

use std::time::Duration;

use caed_core::countries::Countries;
use caed_core::decision::{
    Answer, BlockRow, Challenge, Decision, Finding, Notes, Reason, Refusal, Report, ScopeName,
    Verdict,
};
use caed_core::ingest::{Ingest, Quarantined};
use caed_core::log_view::{LogView, PartitionView};
use caed_core::position::{Frontier, Position, Reached, Topics};
use caed_core::request::{Token, Unusable};
use caed_core::rules::Profile;
use caed_core::sink::{Accepted, AppendError, Notice};
use caed_core::snapshot::Counts;
use caed_core::time::UnixSeconds;
use caed_decode::asked::Asked;
use caed_proto::v1;
use tonic::{Code, Status};

use super::belief::Belief;
use crate::limits;
use crate::pdp::Moment;

/// The profile of that name.
fn profile<'m>(moment: &'m Moment<'_>, name: &str) -> Result<&'m Profile, Status> {
    moment.profile(name).ok_or_else(|| {
        let known = moment.profile_names().collect::<Vec<_>>().join(", ");
        Status::invalid_argument(format!("profile: `{name}` is not known; known are {known}"))
    })
}

/// Answers one request.
pub(super) fn evaluate(
    moment: &Moment<'_>,
    asked: &Asked<'_>,
    belief: &Belief<'_>,
) -> Result<v1::EvaluateReply, Status> {
    let (token, profile) = (belief.token(), profile(moment, asked.profile)?);
    let decision = moment.decide(token, profile, belief.seen);
    Ok(reply_of(moment, &decision, token.as_ref(), belief))
}

/// The database of countries.
pub(super) fn countries_of(countries: &Countries) -> v1::CountryDatabase {
    v1::CountryDatabase {
        built_s: countries.built.map(UnixSeconds::as_seconds).unwrap_or_default(),
        ranges: u64::try_from(countries.len()).unwrap_or(u64::MAX),
    }
}

/// A reply without its knowledge, which stands once for a whole batch.
fn reply_of(
    moment: &Moment<'_>,
    decision: &Decision,
    token: Result<&Token<'_>, &Unusable>,
    belief: &Belief<'_>,
) -> v1::EvaluateReply {
    let Decision {
        verdict,
        findings,
        primary,
        challenge,
        http_status,
        retry_after_s,
        notes,
        report,
        source_age,
        generation: _,
    } = decision;
    v1::EvaluateReply {
        verdict: verdict_of(*verdict).into(),
        primary_reason: primary.map_or(v1::Reason::Unspecified, reason_of).into(),
        findings: findings.iter().map(finding_of).collect(),
        challenge: challenge.as_ref().map(challenge_of),
        http_status: u32::from(*http_status),
        www_authenticate: moment.www_authenticate(decision, token.ok()).unwrap_or_default(),
        retry_after_s: retry_after_s.unwrap_or_default(),
        knowledge: None,
        detail: token.err().map(|unusable| belief.detail(*unusable)).unwrap_or_default(),
        notes: notes_of(*notes),
        report: report.map(report_of),
        source_age_ms: source_age.map(millis),
    }
}

fn notes_of(notes: Notes) -> Vec<i32> {
    let Notes { ip_variation, location_not_evaluated, sign_in_time_missing } = notes;
    let all = [
        (ip_variation, v1::DecisionNote::IpVariation),
        (location_not_evaluated, v1::DecisionNote::LocationNotEvaluated),
        (sign_in_time_missing, v1::DecisionNote::SignInTimeMissing),
    ];
    all.into_iter().filter_map(|(holds, note)| holds.then_some(note.into())).collect()
}

fn report_of(report: Report) -> v1::Report {
    let Report { verdict, primary, reasons, http_status } = report;
    v1::Report {
        verdict: verdict_of(verdict).into(),
        primary_reason: primary.map_or(v1::Reason::Unspecified, reason_of).into(),
        reasons: reasons.iter().map(|reason| reason_of(reason).into()).collect(),
        http_status: u32::from(http_status),
    }
}

fn finding_of(finding: &Finding) -> v1::Finding {
    let Finding { reason, scope, since, policy, row, answer } = finding;
    let (verdict, http_status) = match answer {
        Answer::Challenge { not_before: _ } | Answer::SignIn { max_age: _ } => {
            (v1::Verdict::Challenge, 401)
        }
        Answer::Deny(Refusal::InvalidToken) => (v1::Verdict::Deny, 401),
        Answer::Deny(Refusal::Forbidden) => (v1::Verdict::Deny, 403),
        Answer::Deny(Refusal::Unavailable { retry_after_s: _ }) => (v1::Verdict::Deny, 503),
    };
    v1::Finding {
        reason: reason_of(*reason).into(),
        scope: scope.map_or(v1::Scope::Unspecified, scope_of).into(),
        since_ms: since.map_or(0, |since| saturating(since.as_millis())),
        verdict: verdict.into(),
        http_status,
        policy: policy.as_ref().map(ToString::to_string).unwrap_or_default(),
        block_row: row.map_or(v1::BlockRow::Unspecified, block_row_of).into(),
    }
}

const fn block_row_of(row: BlockRow) -> v1::BlockRow {
    match row {
        BlockRow::Anywhere => v1::BlockRow::Anywhere,
        BlockRow::Strict => v1::BlockRow::Strict,
        BlockRow::SameAddress => v1::BlockRow::SameAddress,
        BlockRow::AddressUnknown => v1::BlockRow::AddressUnknown,
        // It passes, and leaves no finding.
        BlockRow::Judged => v1::BlockRow::Unspecified,
        BlockRow::JustIssued => v1::BlockRow::JustIssued,
        BlockRow::Otherwise => v1::BlockRow::Otherwise,
    }
}

fn challenge_of(challenge: &Challenge) -> v1::Challenge {
    v1::Challenge {
        code: challenge.code.to_owned(),
        claims: caed_core::challenge::claims_json(challenge),
        nbf: challenge.not_before.map_or(0, UnixSeconds::as_seconds),
        address: challenge.address.map(|address| address.to_string()).unwrap_or_default(),
        max_age_s: challenge.max_age.map_or(0, |max_age| max_age.as_secs()),
    }
}

/// What the decisions of a moment knew.
pub(super) fn knowledge_of(moment: &Moment<'_>, topics: &Topics) -> v1::Knowledge {
    v1::Knowledge {
        generation: moment.generation(),
        age_ms: moment.age.map(millis),
        frontier: Some(frontier_of(moment.frontier(), topics)),
    }
}

fn frontier_of(frontier: &Frontier, topics: &Topics) -> v1::Frontier {
    let reached = frontier.iter().map(|&Reached { partition, incarnation, next }| v1::Reached {
        log: topics.name(partition.topic).to_owned(),
        partition: partition.number,
        next: next.0,
        incarnation: incarnation.as_ref().map(ToString::to_string).unwrap_or_default(),
    });
    v1::Frontier { reached: reached.collect() }
}

/// How far each partition is contained, and how old that is.
pub(super) fn partitions_of(
    log: &dyn LogView,
    moment: &Moment<'_>,
    now: Duration,
    topics: &Topics,
) -> Vec<v1::PartitionState> {
    let state = |view: PartitionView| v1::PartitionState {
        log: topics.name(view.partition.topic).to_owned(),
        partition: view.partition.number,
        end: view.end.0,
        lag: view.lag(moment.frontier()),
        age_ms: view.age(now).map(millis),
    };
    log.partitions().into_iter().map(state).collect()
}

/// What became of published events.
pub(super) fn published_of(accepted: Vec<Accepted>, topics: &Topics) -> Vec<v1::Published> {
    let published = accepted.into_iter().map(|Accepted { position, notices }| v1::Published {
        position: Some(position_of(position, topics)),
        notices: notices.into_iter().map(|notice| notice_of(notice).into()).collect(),
    });
    published.collect()
}

fn position_of(position: Position, topics: &Topics) -> v1::Position {
    let Position { partition, offset } = position;
    let log = topics.name(partition.topic).to_owned();
    v1::Position { log, partition: partition.number, offset: offset.0 }
}

/// What a snapshot holds.
pub(super) fn holdings_of(counts: Counts) -> v1::Holdings {
    let Counts { tenants, cutoffs, pairs, registers, policies, locations, groups, heap_bytes } =
        counts;
    v1::Holdings {
        tenants: tenants as u64,
        cutoffs: cutoffs as u64,
        pair_cutoffs: pairs as u64,
        registers: registers as u64,
        heap_bytes: heap_bytes as u64,
        policies: policies as u64,
        locations: locations as u64,
        groups: groups as u64,
    }
}

/// What became of the records that were read.
pub(super) fn records_of(ingest: &Ingest) -> v1::Records {
    v1::Records {
        changed: ingest.changed.value(),
        unchanged: ingest.unchanged.value(),
        stale: ingest.stale.value(),
        quarantined: ingest.quarantined.value(),
        times_read_as_seconds: ingest.times_read_as_seconds.value(),
        cutoffs_set_to_receipt: ingest.cutoffs_set_to_receipt.value(),
        older_than_horizon: ingest.older_than_horizon.value(),
        missing_tokens_without_claim: ingest.missing_tokens_without_claim.value(),
        forgotten: ingest.forgotten.value(),
    }
}

/// A record that could not be understood.
pub(super) fn quarantined_of(quarantined: Quarantined) -> v1::Quarantined {
    let Quarantined { position, reason, head } = quarantined;
    v1::Quarantined { position, reason, head }
}

/// Refuses a repeated field that is empty or too long.
pub(super) fn check_count(field: &str, count: usize, max: usize) -> Result<(), Status> {
    if count == 0 {
        return Err(Status::invalid_argument(format!("{field}: is empty; give at least one")));
    }
    if count > max {
        return Err(Status::invalid_argument(format!(
            "{field}: has {count} elements; at most {max} are allowed in one call"
        )));
    }
    Ok(())
}

/// Why events were not accepted, as gRPC says it: clients try again after `UNAVAILABLE` alone.
pub(super) fn append_status(error: &AppendError) -> Status {
    let code = match error {
        AppendError::Invalid { .. } | AppendError::Unstorable(_) => Code::InvalidArgument,
        AppendError::Busy | AppendError::Closing | AppendError::Unavailable(_) => Code::Unavailable,
        AppendError::Broken(_) => Code::Internal,
    };
    Status::new(code, error.to_string())
}

/// Bounds of a batch of requests.
pub(super) fn check_batch(requests: usize) -> Result<(), Status> {
    check_count("requests", requests, limits::BATCH_REQUESTS_MAX)
}

const fn verdict_of(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Allow => v1::Verdict::Allow,
        Verdict::Challenge => v1::Verdict::Challenge,
        Verdict::Deny => v1::Verdict::Deny,
    }
}

const fn reason_of(reason: Reason) -> v1::Reason {
    match reason {
        Reason::Unverified => v1::Reason::Unverified,
        Reason::Unverifiable => v1::Reason::Unverifiable,
        Reason::Malformed => v1::Reason::Malformed,
        Reason::IssueTimeMissing => v1::Reason::IssueTimeMissing,
        Reason::BeyondHorizon => v1::Reason::BeyondHorizon,
        Reason::Expired => v1::Reason::Expired,
        Reason::NotYetValid => v1::Reason::NotYetValid,
        Reason::UnknownIssuer => v1::Reason::UnknownIssuer,
        Reason::TenantNotServed => v1::Reason::TenantNotServed,
        Reason::Revoked => v1::Reason::Revoked,
        Reason::Account => v1::Reason::Account,
        Reason::Risk => v1::Reason::Risk,
        Reason::Device => v1::Reason::Device,
        Reason::Policy => v1::Reason::Policy,
        Reason::Location => v1::Reason::Location,
        Reason::ConditionsChanged => v1::Reason::ConditionsChanged,
        Reason::SignInFrequency => v1::Reason::SignInFrequency,
        Reason::Outdated => v1::Reason::Outdated,
        Reason::Lifetime => v1::Reason::Lifetime,
        Reason::Stale => v1::Reason::Stale,
        Reason::NotReady => v1::Reason::NotReady,
    }
}

const fn scope_of(scope: ScopeName) -> v1::Scope {
    match scope {
        ScopeName::Tenant => v1::Scope::Tenant,
        ScopeName::User => v1::Scope::User,
        ScopeName::Session => v1::Scope::Session,
        ScopeName::Token => v1::Scope::Token,
        ScopeName::Client => v1::Scope::Client,
        ScopeName::Device => v1::Scope::Device,
        ScopeName::UserSession => v1::Scope::UserSession,
        ScopeName::UserToken => v1::Scope::UserToken,
        ScopeName::UserClient => v1::Scope::UserClient,
        ScopeName::UserDevice => v1::Scope::UserDevice,
    }
}

const fn notice_of(notice: Notice) -> v1::Notice {
    match notice {
        Notice::TimeReadAsSeconds => v1::Notice::TimeReadAsSeconds,
        Notice::CutoffSetToReceipt => v1::Notice::CutoffSetToReceipt,
        Notice::OlderThanHorizon => v1::Notice::OlderThanHorizon,
        Notice::MissesTokensWithoutClaim => v1::Notice::MissesTokensWithoutClaim,
    }
}

fn saturating(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
