//! What the commands print. The only place that writes to standard output and error.
//!
//! Whoever reads may have seen enough and gone (`caed status | head -1`). That is no fault of the
//! command, and does not change how it ends.

use std::error::Error;
use std::io::{self, Write};

use caed_proto::v1;
use caed_surfaces::words;
pub(super) use caed_surfaces::words::word;
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

/// What a sidecar says instead of an answer. What is wrong with a request or with who sends it, it says in full;
/// anything else is named first, with its cause.
pub(super) fn refusal(status: &Status) -> anyhow::Error {
    match status.code() {
        Code::InvalidArgument | Code::PermissionDenied => anyhow::anyhow!("{}", status.message()),
        code => {
            let mut said = format!("{code}: {}", status.message());
            let mut cause = status.source();
            while let Some(error) = cause {
                said = format!("{said}: {error}");
                cause = error.source();
            }
            anyhow::anyhow!("{said}")
        }
    }
}

/// Prints a message as proto3 JSON.
pub(super) fn json<M: Serialize>(message: &M) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(message)?);
    Ok(())
}

/// A decision for people, over several lines.
pub(super) fn decision(reply: &v1::EvaluateReply) -> Vec<String> {
    let mut lines = vec![format!("{}  (HTTP {})", words::verdict(reply), reply.http_status)];
    lines.extend(words::answer(reply).iter().map(|(label, text)| format!("  {label:<9} {text}")));
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
