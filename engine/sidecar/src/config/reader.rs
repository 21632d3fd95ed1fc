//! Reads a TOML document and collects every fault in it.
//!
//! A configuration with six faults reports six, each with its line and key: nobody should have to
//! run a program six times to learn what it wants. So nothing here returns at the first fault; a
//! value that is wrong is noted and stands for its default, and in the end the notes decide.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// At least one.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line in the file, counted from 1; 0 for a value from the environment or one that is
    /// missing altogether.
    pub line: usize,
    /// The key, with its section, or the environment variable.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A document on its way to becoming a configuration.
pub(super) struct Document<'a> {
    text: &'a str,
    environment: &'a BTreeMap<String, String>,
    /// Environment variables that some key has asked for.
    used: RefCell<Vec<String>>,
    faults: RefCell<Vec<Fault>>,
}

/// One table of the document.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    table: Option<&'a DeTable<'a>>,
    line: usize,
    /// Whether keys may come from the environment. Elements of lists have no name there.
    overridable: bool,
    known: RefCell<Vec<&'static str>>,
}

/// A value with where it stands.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) line: usize,
    key: String,
}

impl<T> Found<T> {
    /// Another value that stands in the same place.
    pub(super) fn with<U>(&self, value: U) -> Found<U> {
        Found { value, line: self.line, key: self.key.clone() }
    }
}

/// A value before its type is known.
enum Raw<'a> {
    File(&'a Spanned<DeValue<'a>>),
    Environment(&'a str),
}

/// Begins every environment variable that overrides a key.
const PREFIX: &str = "CAED_";

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, environment: &'a BTreeMap<String, String>) -> Self {
        Self { text, environment, used: RefCell::default(), faults: RefCell::default() }
    }

    /// The document's tables. What is no TOML is noted; the rest is read as far as it goes.
    pub(super) fn parse(&self) -> DeTable<'a> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let line = error.span().map_or(0, |span| self.line(&span));
            self.fault(line, "syntax", error.message());
        }
        table.into_inner()
    }

    pub(super) fn root(&'a self, table: &'a DeTable<'a>) -> Section<'a> {
        Section {
            document: self,
            path: String::new(),
            table: Some(table),
            line: 0,
            overridable: true,
            known: RefCell::default(),
        }
    }

    pub(super) fn fault(&self, line: usize, key: impl Into<String>, problem: impl Into<String>) {
        let (key, problem) = (key.into(), problem.into());
        self.faults.borrow_mut().push(Fault { line, key, problem });
    }

    /// The value, unless something was wrong.
    pub(super) fn finish<T>(&self, value: T) -> Result<T, Faults> {
        let used = self.used.borrow();
        for name in self.environment.keys() {
            if name.starts_with(PREFIX) && !used.contains(name) {
                self.fault(0, name.clone(), "overrides no key of the configuration");
            }
        }
        let mut faults = self.faults.borrow().clone();
        faults.sort();
        if faults.is_empty() { Ok(value) } else { Err(Faults { faults }) }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }
}

impl<'a> Section<'a> {
    /// A table below this one; empty where it is missing.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        self.known.borrow_mut().push(key);
        let found = self.table.and_then(|table| table.get(key));
        let line = found.map_or(0, |value| self.document.line(&value.span()));
        let table = found.and_then(|value| {
            if let DeValue::Table(table) = value.get_ref() {
                Some(table)
            } else {
                self.document.fault(line, self.name(key), "must be a table");
                None
            }
        });
        let path = self.name(key);
        let overridable = self.overridable;
        Section {
            document: self.document,
            path,
            table,
            line,
            overridable,
            known: RefCell::default(),
        }
    }

    /// The tables of a list of tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        self.known.borrow_mut().push(key);
        let Some(found) = self.table.and_then(|table| table.get(key)) else { return Vec::new() };
        let line = self.document.line(&found.span());
        let DeValue::Array(elements) = found.get_ref() else {
            self.document.fault(
                line,
                self.name(key),
                format!("must be a list of [[{key}]] tables"),
            );
            return Vec::new();
        };
        let section = |(index, element): (usize, &'a Spanned<DeValue<'a>>)| {
            let line = self.document.line(&element.span());
            let path = format!("{}[{index}]", self.name(key));
            let table = if let DeValue::Table(table) = element.get_ref() {
                Some(table)
            } else {
                self.document.fault(line, path.clone(), "must be a table");
                None
            };
            let (document, known) = (self.document, RefCell::default());
            Section { document, path, table, line, overridable: false, known }
        };
        elements.iter().enumerate().map(section).collect()
    }

    /// Notes the keys that nobody asked for. Call it when the section has been read.
    pub(super) fn finish(&self) {
        let known = self.known.borrow();
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            if !known.contains(&key.get_ref().as_ref()) {
                let line = self.document.line(&key.span());
                let problem = match known.as_slice() {
                    [] => "is not known".to_owned(),
                    known => format!("is not known; known here: {}", known.join(", ")),
                };
                self.document.fault(line, self.name(key.get_ref()), problem);
            }
        }
    }

    /// Whether a key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        let variable = self.variable(key);
        self.table.is_some_and(|table| table.contains_key(key))
            || variable.is_some_and(|name| self.document.environment.contains_key(&name))
    }

    /// Whether anything of the section is there, in the file or in the environment.
    pub(super) fn is_present(&self) -> bool {
        let prefix = self.variables();
        self.table.is_some()
            || self.document.environment.keys().any(|name| name.starts_with(&prefix))
    }

    /// What the names of variables over this section begin with.
    fn variables(&self) -> String {
        format!("{PREFIX}{}_", self.path.replace('.', "_").to_uppercase())
    }

    /// Every scalar in the section as text, under dotted names: tables within tables are parts of
    /// a name, so that quotes around it are a matter of taste. In the environment the underscores
    /// stand for the dots, and a variable needs no key in the file to override.
    pub(super) fn flat(&self) -> Vec<(String, Found<String>)> {
        let mut all = Vec::new();
        if let Some(table) = self.table {
            self.flatten("", table, &mut all);
        }
        let prefix = self.variables();
        for (variable, value) in self.document.environment {
            if let Some(rest) = variable.strip_prefix(&prefix) {
                self.document.used.borrow_mut().push(variable.clone());
                let name = rest.replace('_', ".").to_lowercase();
                all.retain(|(other, _)| *other != name);
                let found = Found { value: value.clone(), line: 0, key: variable.clone() };
                all.push((name, found));
            }
        }
        all
    }

    fn flatten(&self, path: &str, table: &'a DeTable<'a>, all: &mut Vec<(String, Found<String>)>) {
        for (key, value) in table {
            let key = key.get_ref();
            let name = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
            let line = self.document.line(&value.span());
            let text = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.flatten(&name, inner, all);
                    continue;
                }
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Boolean(value) => value.to_string(),
                _ => {
                    let problem = "must be a text, a whole number, true or false";
                    self.document.fault(line, self.name(&name), problem);
                    continue;
                }
            };
            let found = Found { value: text, line, key: self.name(&name) };
            all.push((name, found));
        }
    }

    /// Whether a key has this very text.
    pub(super) fn holds(&self, key: &str, text: &str) -> bool {
        self.table
            .and_then(|table| table.get(key))
            .is_some_and(|value| matches!(value.get_ref(), DeValue::String(found) if found == text))
    }

    /// Notes a fault of the section as a whole.
    pub(super) fn fault(&self, problem: impl Into<String>) {
        self.document.fault(self.line, self.path.clone(), problem);
    }

    /// Notes a fault of a key, whatever its value; of the section where the key is missing.
    pub(super) fn wrong(&self, key: &str, problem: impl Into<String>) {
        let found = self.table.and_then(|table| table.get(key));
        let line = found.map_or(self.line, |value| self.document.line(&value.span()));
        self.document.fault(line, self.name(key), problem);
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, key: &'static str, problem: &str) {
        self.document.fault(self.line, self.name(key), format!("is missing; {problem}"));
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Found<String>> {
        self.read(key, "must be a text in quotes", |raw| match raw {
            Raw::Environment(text) => Some(text.to_owned()),
            Raw::File(value) => match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            },
        })
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<Found<bool>> {
        self.read(key, "must be true or false", |raw| match raw {
            Raw::Environment(text) => text.parse().ok(),
            Raw::File(value) => match value.get_ref() {
                DeValue::Boolean(value) => Some(*value),
                _ => None,
            },
        })
    }

    /// A whole number that is not negative.
    pub(super) fn whole(&self, key: &'static str) -> Option<Found<u32>> {
        self.read(key, "must be a whole number from 0 to 4294967295", |raw| match raw {
            Raw::Environment(text) => text.parse().ok(),
            Raw::File(value) => match value.get_ref() {
                DeValue::Integer(number) => {
                    u32::from_str_radix(number.as_str(), number.radix()).ok()
                }
                _ => None,
            },
        })
    }

    /// A list of texts; in the environment separated by commas.
    pub(super) fn strings(&self, key: &'static str) -> Option<Found<Vec<String>>> {
        self.read(key, "must be a list of texts in quotes", |raw| match raw {
            Raw::Environment(text) => {
                Some(text.split(',').map(|part| part.trim().to_owned()).collect())
            }
            Raw::File(value) => match value.get_ref() {
                DeValue::Array(elements) => elements
                    .iter()
                    .map(|element| match element.get_ref() {
                        DeValue::String(text) => Some(text.to_string()),
                        _ => None,
                    })
                    .collect(),
                _ => None,
            },
        })
    }

    /// A list of texts, or one text that stands for something else.
    pub(super) fn strings_or_word(
        &self,
        key: &'static str,
        word: &'static str,
    ) -> Option<Found<Option<Vec<String>>>> {
        if self.holds(key, word) {
            return self.string(key).map(|found| Found {
                value: None,
                line: found.line,
                key: found.key,
            });
        }
        let found = self.strings(key)?;
        Some(Found { value: Some(found.value), line: found.line, key: found.key })
    }

    /// A time span in whole seconds, such as `"30h"`, `"5m"` or `"300s"`.
    pub(super) fn duration(&self, key: &'static str) -> Option<Found<Duration>> {
        let problem = "must be a whole number with a unit, such as \"300s\", \"5m\" or \"30h\", at most \"366d\"";
        self.read(key, problem, |raw| match raw {
            Raw::Environment(text) => duration(text),
            Raw::File(value) => match value.get_ref() {
                DeValue::String(text) => duration(text),
                _ => None,
            },
        })
    }

    /// A text that is parsed further.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        problem: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Found<T>> {
        let found = self.string(key)?;
        let Some(value) = parse(&found.value) else {
            self.document.fault(found.line, found.key, format!("`{}` {problem}", found.value));
            return None;
        };
        Some(Found { value, line: found.line, key: found.key })
    }

    /// Notes a fault of a value that was found.
    pub(super) fn reject<T>(&self, found: &Found<T>, problem: impl Into<String>) {
        self.document.fault(found.line, found.key.clone(), problem);
    }

    fn read<T>(
        &self,
        key: &'static str,
        problem: &str,
        take: impl FnOnce(Raw<'_>) -> Option<T>,
    ) -> Option<Found<T>> {
        self.known.borrow_mut().push(key);
        let variable = self.variable(key);
        let overriding = variable.and_then(|name| {
            let value = self.document.environment.get(&name)?;
            self.document.used.borrow_mut().push(name.clone());
            Some((name, value))
        });
        let (raw, line, key) = if let Some((name, value)) = overriding {
            (Raw::Environment(value), 0, name)
        } else {
            let value = self.table?.get(key)?;
            (Raw::File(value), self.document.line(&value.span()), self.name(key))
        };
        let value = take(raw);
        if value.is_none() {
            self.document.fault(line, key.clone(), problem);
        }
        value.map(|value| Found { value, line, key })
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The environment variable that overrides a key: `listen.grpc` is `CAED_LISTEN_GRPC`.
    fn variable(&self, key: &str) -> Option<String> {
        self.overridable
            .then(|| format!("{PREFIX}{}", self.name(key).replace('.', "_").to_uppercase()))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.faults.len() == 1 { "fault" } else { "faults" };
        write!(f, "the configuration has {} {plural}:", self.faults.len())?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, key, problem } = self;
        if *line == 0 {
            write!(f, "{key}: {problem}")
        } else {
            write!(f, "line {line}: {key}: {problem}")
        }
    }
}

/// The longest time span. No token and no clock needs a longer one, and sums of a few can't overflow.
const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

/// A whole number and a unit.
fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    let total = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
    (total <= DURATION_MAX).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        assert_eq!(duration("30h"), Some(Duration::from_hours(30)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "5.5m",
            "5ms",
            "367d",
            "18446744073709551615s",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
