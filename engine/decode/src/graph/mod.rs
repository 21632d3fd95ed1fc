//! Microsoft Graph's JSON of conditional access: what `caed import` reads.
//!
//! ```text
//! files ─► page: which objects ─► policy, location, settings: typed, tolerant ─► Object ─► report
//! ```
//!
//! Graph leaves out what is not set, writes it as null, or as an empty list, and grows: what is not known
//! here is kept by name. A condition that is not understood makes its policy not enforceable (P6), and
//! what might include more subjects or resources is taken to include all: so such a policy decides
//! nothing, and its reach is never smaller than it was meant.
//!
//! INVARIANT: the same files give the same events, so importing them again changes nothing.
//! INVARIANT: what is read here is understood by [`native`], or named as a fault.
//!
//! Deliberately absent: asking Graph for anything, and who belongs to a group.

mod location;
mod page;
mod policy;
mod report;
mod settings;
mod text;

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use caed_core::ids::ObjectKey;
use caed_core::limits::{SECONDS_BELOW, TIME_MS_MAX};
use caed_core::time::UnixMillis;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use prost::Message;
use prost_types::Timestamp;

use crate::native::{self, InvalidEvent};
use crate::{limits, parts};
use page::{Form, Found};

/// A file as it was given.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name, for what is said about it.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
    /// When it was written: the time of what has no time of its own.
    pub written: Option<UnixMillis>,
}

/// What files of Graph JSON say.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// Each policy, location and setting, in the order of the files.
    pub objects: Vec<Object>,
    /// The list of every policy of the tenant, where they came as one.
    pub policies: Option<List>,
    /// The list of every location of the tenant, where they came as one.
    pub locations: Option<List>,
    /// Where they go beyond what Microsoft itself takes or enforces.
    pub remarks: Vec<String>,
}

/// A whole list of one kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// When the first of its files was written: later objects may not stand in it.
    pub written: Option<UnixMillis>,
}

/// A policy, a location, or the CAE policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its id; of the CAE policy it may be empty.
    pub id: String,
    /// What people call it; may be empty.
    pub name: String,
    /// Since when it says this: its own word, else when its file was written.
    pub at: Option<UnixMillis>,
    /// When its file was written: it said this then, too.
    pub written: Option<UnixMillis>,
    /// What it says.
    pub fact: Fact,
    /// What was understood, under a word each.
    pub understood: Vec<(&'static str, String)>,
    /// Why it is not enforceable; for policies.
    pub obstacles: Vec<Obstacle>,
    /// What else should be known about it.
    pub remarks: Vec<String>,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A conditional access policy.
    Policy,
    /// A named location.
    Location,
    /// The CAE policy: the tenant's settings.
    Settings,
}

/// Why a policy is not enforceable at a resource (P6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Whatever else is known.
    Always(String),
    /// While something is not known that could be.
    While(String),
}

/// Why files are not what can be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct InvalidImport {
    file: String,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("has {0} bytes; at most {max} are read", max = limits::GRAPH_FILE_BYTES_MAX)]
    TooLong(usize),
    #[error("is UTF-16; save it as UTF-8")]
    Utf16,
    #[error("is no JSON: {0}; save the answer of Graph as it is")]
    Json(String),
    #[error(
        "holds no answer of Graph but its refusal `{0}`; ask again, or leave it out where nothing is set"
    )]
    Refusal(String),
    #[error(
        "is not the last page (it has an @odata.nextLink), and the next one is missing; download that, too, and name it right after this one"
    )]
    Unfinished,
    #[error("its list `{0}` is not whole (it has an @odata.nextLink of its own); export it whole")]
    Truncated(String),
    #[error(
        "{0} is no policy, named location or CAE policy; save what /identity/conditionalAccess/policies, …/namedLocations or /identity/continuousAccessEvaluationPolicy answers"
    )]
    Unrecognised(String),
    #[error("more than {max} objects are too many for one import", max = limits::GRAPH_OBJECTS_MAX)]
    TooMany,
    #[error("{object}: {problem}")]
    Object { object: String, problem: String },
}

/// Reads files in the order in which they are given; of a list of several pages, page after page.
pub fn read(files: &[File<'_>]) -> Result<Import, InvalidImport> {
    let (found, whole) = page::objects(files)?;
    let mut objects = Vec::with_capacity(found.len());
    let mut seen = HashMap::new();
    for found in found {
        let (file, label, written) = (found.file, found.label(), found.written);
        let failed = |problem| InvalidImport {
            file: file.to_owned(),
            problem: Problem::Object { object: label.clone(), problem },
        };
        let mut object = understood(found).map_err(&failed)?;
        object.written = written;
        object.at = object.at.or(written);
        check(&object).map_err(&failed)?;
        // Of the CAE policy there is one, whatever its id.
        let key = match object.kind {
            Kind::Settings => None,
            Kind::Policy | Kind::Location => ObjectKey::parse(&object.id).ok(),
        };
        if let Some(first) = seen.insert((object.kind, key), file) {
            return Err(failed(format!("stands in {first}, too; name each page once")));
        }
        objects.push(object);
    }
    let places = objects.iter().filter_map(location::place).collect();
    for object in &mut objects {
        policy::look_up(object, &places);
    }
    let remarks = location::beyond(&objects);
    Ok(Import { objects, policies: whole.policies, locations: whole.locations, remarks })
}

impl Kind {
    /// What messages call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Location => "location",
            Self::Settings => "CAE policy",
        }
    }
}

impl Import {
    /// The policies and locations among `in_force` that are gone: of kinds of which the files hold the whole
    /// list, and not these. They are given as they are shown ([`shown_id`]).
    pub fn gone<'a>(
        &self,
        in_force: impl IntoIterator<Item = (Kind, &'a str)>,
    ) -> Vec<(Kind, &'a str)> {
        let here: HashSet<_> =
            self.objects.iter().map(|object| (object.kind, shown_id(&object.id))).collect();
        let is_gone = |(kind, id): &(Kind, &str)| {
            self.list(*kind).is_some() && !here.contains(&(*kind, (*id).to_owned()))
        };
        in_force.into_iter().filter(is_gone).collect()
    }

    /// The whole list of a kind.
    pub const fn list(&self, kind: Kind) -> Option<List> {
        match kind {
            Kind::Policy => self.policies,
            Kind::Location => self.locations,
            Kind::Settings => None,
        }
    }
}

/// An id as what is in force is shown by: a GUID in lower case, of a long one its hash.
pub fn shown_id(id: &str) -> String {
    ObjectKey::parse(id).map(|key| key.to_string()).unwrap_or_default()
}

impl Object {
    /// The events that say it: one, or as many as it needs. Their ids and times come from what was read.
    pub fn events(&self, tenant: &str, source: &str) -> Result<Vec<v1::Event>, InvalidEvent> {
        parts::split(v1::Event {
            id: self.id.clone(),
            tenant: tenant.to_owned(),
            source: source.to_owned(),
            event_time_ms: self.at.map_or(0, millis),
            received_ms: 0,
            fact: Some(self.fact.clone()),
        })
    }
}

fn understood(found: Found<'_>) -> Result<Object, String> {
    match found.form {
        Form::Policy => policy::read(found.value),
        Form::Ranges => location::by_ranges(found.value),
        Form::Countries => location::by_countries(found.value),
        Form::Elsewhere => location::elsewhere(found.value),
        Form::Settings => settings::read(found.value),
    }
}

/// Whether readers of the log will understand it, and records hold it.
fn check(object: &Object) -> Result<(), String> {
    for event in object.events("any", "any").map_err(|error| error.to_string())? {
        let bytes = event.encoded_len();
        if bytes > limits::RECORD_BYTES_MAX {
            let most = limits::RECORD_BYTES_MAX;
            return Err(format!(
                "needs {bytes} bytes as an event; at most {most} fit into a record"
            ));
        }
        let received_ms = millis(UnixMillis::from_millis(TIME_MS_MAX));
        let event = v1::Event { received_ms, ..event };
        native::event_of(event).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// When an object was changed last. A time before 1973, such as the year 1, stands for none.
fn changed(
    modified: Option<&String>,
    created: Option<&String>,
) -> Result<Option<UnixMillis>, String> {
    for text in [modified, created].into_iter().flatten() {
        let time = Timestamp::from_str(text).map_err(|_| {
            format!("`{}` is no time; write it as 2026-01-31T12:00:00Z", text::shown(text))
        })?;
        let seconds = u64::try_from(time.seconds).unwrap_or_default();
        let fraction = u64::try_from(time.nanos).unwrap_or_default() / 1_000_000;
        let at = seconds.saturating_mul(1000).saturating_add(fraction);
        if (SECONDS_BELOW..=TIME_MS_MAX).contains(&at) {
            return Ok(Some(UnixMillis::from_millis(at)));
        }
    }
    Ok(None)
}
