//! What the commands print. The only place that writes to standard output and error.
//!
//! Whoever reads may have seen enough and gone (`caed status | head -1`). That is no fault of the
//! command, and does not change how it ends.

use std::io::{self, Write};

use caed_proto::v1;
use serde::Serialize;
use tonic::{Code, Status};

/// Prints a line of an answer.
pub(super) fn line(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout(), "{}", text.as_ref());
}

/// Prints something beside the answer.
pub(super) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Prints why a command failed, with every cause.
pub(super) fn error(error: &anyhow::Error) {
    note(format!("caed: {error:#}"));
}

/// What a sidecar says instead of an answer. What is wrong with a request it says in full; anything
/// else is named first.
pub(super) fn refusal(status: &Status) -> anyhow::Error {
    match status.code() {
        Code::InvalidArgument => anyhow::anyhow!("{}", status.message()),
        code => anyhow::anyhow!("{code}: {}", status.message()),
    }
}

/// Prints a message as proto3 JSON.
pub(super) fn json<M: Serialize>(message: &M) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(message)?);
    Ok(())
}

/// A name of an enum without its prefix, in lower case: `VERDICT_ALLOW` is `allow`.
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// A decision for people, over several lines.
pub(super) fn decision(reply: &v1::EvaluateReply) -> Vec<String> {
    let verdict = reply.verdict().as_str_name().trim_start_matches("VERDICT_");
    let mut lines = vec![format!("{verdict}  (HTTP {})", reply.http_status)];
    for finding in &reply.findings {
        let mut text = format!("  reason    {}", word(finding.reason().as_str_name(), "REASON_"));
        if finding.scope() != v1::Scope::Unspecified {
            text.push_str(" · scope ");
            text.push_str(&word(finding.scope().as_str_name(), "SCOPE_"));
        }
        if !finding.policy.is_empty() {
            text.push_str(" · policy ");
            text.push_str(&finding.policy);
        }
        if finding.since_ms > 0 {
            text.push_str(" · since ");
            text.push_str(&finding.since_ms.to_string());
            text.push_str(" ms");
        }
        lines.push(text);
    }
    for note in reply.notes() {
        lines.push(format!("  note      {}", word(note.as_str_name(), "DECISION_NOTE_")));
    }
    if let Some(report) = &reply.report {
        let verdict = word(report.verdict().as_str_name(), "VERDICT_");
        let reasons = report.reasons().map(|reason| word(reason.as_str_name(), "REASON_"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        lines.push(format!("  report    would be {verdict}  {reasons}"));
    }
    if !reply.detail.is_empty() {
        lines.push(format!("  detail    {}", reply.detail));
    }
    if let Some(challenge) = &reply.challenge {
        lines.push(format!("  challenge {}", challenge.claims.trim_end()));
        lines.push(format!("  code      {}", challenge.code));
    }
    if !reply.www_authenticate.is_empty() {
        lines.push(format!("  header    WWW-Authenticate: {}", reply.www_authenticate));
    }
    if reply.retry_after_s > 0 {
        lines.push(format!("  wait      {} s", reply.retry_after_s));
    }
    if let Some(knowledge) = &reply.knowledge {
        lines.push(format!("  knowledge {}", self::knowledge(knowledge)));
    }
    lines
}

/// What decisions know, in one line.
pub(super) fn knowledge(knowledge: &v1::Knowledge) -> String {
    let v1::Knowledge { generation, age_ms, frontier } = knowledge;
    let age = age_ms.map_or_else(|| "never current".to_owned(), |age| format!("{age} ms old"));
    let reached = frontier.as_ref().map(|frontier| frontier.reached.as_slice()).unwrap_or_default();
    let place = |reached: &v1::Reached| {
        let v1::Reached { log, partition, next, incarnation: _ } = reached;
        format!("{log}/{partition}@{next}")
    };
    let places: Vec<_> = reached.iter().map(place).collect();
    format!("generation {generation}, {age}, up to {}", places.join(" "))
}

/// A position in one word.
pub(super) fn position(position: &v1::Position) -> String {
    format!("{}/{}@{}", position.log, position.partition, position.offset)
}
