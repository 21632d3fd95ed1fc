//! How what Graph said is shown, and whether it says anything.

use caed_core::limits;
use serde_json::{Map, Value};

use crate::limits::GRAPH_TEXT_CHARS_MAX;

/// A text for one line of a terminal: without control characters, and not endless.
pub(super) fn shown(text: &str) -> String {
    line(text, GRAPH_TEXT_CHARS_MAX)
}

/// What is wrong with a member. It quotes what stands there, which may be anything.
pub(super) fn fault(error: &serde_json::Error) -> String {
    line(&error.to_string(), 3 * GRAPH_TEXT_CHARS_MAX)
}

/// A name as a record takes it: without control characters, and not endless.
pub(super) fn named(name: &str) -> String {
    let mut name = name.replace(char::is_control, "\u{fffd}");
    let end = (0..=limits::ID_BYTES_MAX).rev().find(|end| name.is_char_boundary(*end));
    name.truncate(end.unwrap_or_default());
    name
}

fn line(text: &str, characters_max: usize) -> String {
    let mut characters = text.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one });
    let mut line: String = characters.by_ref().take(characters_max).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// So many of something.
pub(super) fn count(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Whether a member says that nothing is set: null, or empty through and through.
pub(super) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => said(members).next().is_none(),
    }
}

/// The members that say something. Annotations (`…@odata.…`) describe others.
pub(super) fn said(members: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    members.iter().filter(|(name, value)| !name.contains('@') && !says_nothing(value))
}
