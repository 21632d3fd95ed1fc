//! Which objects the files hold: one each, a list, or a list in pages.
//!
//! Graph hands out a list page by page. A page that is not the last one has an `@odata.nextLink`; that the
//! next file is the page behind it can't be proven, so it must be a page of the same collection and hold
//! nothing that was given before.

use caed_core::time::UnixMillis;
use serde_json::{Map, Value};

use super::text::{says_nothing, shown};
use super::{File, InvalidImport, List, Problem};
use crate::limits;

const NEXT_LINK: &str = "@odata.nextLink";
const CONTEXT: &str = "@odata.context";
const TYPE: &str = "@odata.type";
/// PowerShell 5 writes UTF-8 with a byte order mark, and UTF-16 where it redirects.
const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// An object in a file.
pub(super) struct Found<'a> {
    pub(super) file: &'a str,
    pub(super) written: Option<UnixMillis>,
    pub(super) form: Form,
    pub(super) value: Map<String, Value>,
}

/// What an object is, by its type or its members.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Policy,
    Ranges,
    Countries,
    /// A named location of another kind: no address tells it.
    Elsewhere,
    Settings,
}

/// Of what the whole was given.
#[derive(Clone, Copy, Default)]
pub(super) struct Whole {
    pub(super) policies: Option<List>,
    pub(super) locations: Option<List>,
}

impl Found<'_> {
    /// How messages name it.
    pub(super) fn label(&self) -> String {
        let word = match self.form {
            Form::Policy => "policy",
            Form::Ranges | Form::Countries | Form::Elsewhere => "location",
            Form::Settings => "CAE policy",
        };
        match self.value.get("id").and_then(Value::as_str) {
            Some(id) => format!("{word} `{}`", shown(id)),
            None => word.to_owned(),
        }
    }
}

/// Every object of the files, in their order.
pub(super) fn objects<'a>(files: &[File<'a>]) -> Result<(Vec<Found<'a>>, Whole), InvalidImport> {
    let (mut found, mut whole) = (Vec::new(), Whole::default());
    // The file whose next page must come, and of which collection.
    let mut open: Option<(&str, Option<String>)> = None;
    for file in files {
        let failed = |file: &str, problem| InvalidImport { file: file.to_owned(), problem };
        let mut add = |value: Value| {
            if found.len() >= limits::GRAPH_OBJECTS_MAX {
                return Err(failed(file.name, Problem::TooMany));
            }
            let object = recognised(file, value).map_err(|problem| failed(file.name, problem))?;
            let form = object.form;
            found.push(object);
            Ok(form)
        };
        let value = parsed(file.bytes).map_err(|problem| failed(file.name, problem))?;
        let (items, page) = match value {
            Value::Object(mut page) if page.get("value").is_some_and(Value::is_array) => {
                let items = page.remove("value");
                (items, Some(page))
            }
            Value::Array(items) => (Some(Value::Array(items)), None),
            value => {
                if let Some((first, _)) = open {
                    return Err(failed(first, Problem::Unfinished));
                }
                add(value)?;
                continue;
            }
        };
        let collection = page.as_ref().and_then(collection);
        if let Some((first, expected)) = open.take()
            && (page.is_none()
                || (collection.is_some() && expected.is_some() && collection != expected))
        {
            return Err(failed(first, Problem::Unfinished));
        }
        whole.add_collection(collection.as_deref().unwrap_or_default(), file);
        let Some(Value::Array(items)) = items else { continue };
        for item in items {
            whole.add(add(item)?, file);
        }
        let next = page.as_ref().and_then(|page| page.get(NEXT_LINK));
        if next.is_some_and(|next| !says_nothing(next)) {
            open = Some((file.name, collection));
        }
    }
    match open {
        Some((file, _)) => {
            Err(InvalidImport { file: file.to_owned(), problem: Problem::Unfinished })
        }
        None => Ok((found, whole)),
    }
}

impl Whole {
    /// Notes a list, or one page of it, by what it holds.
    fn add(&mut self, form: Form, file: &File<'_>) {
        match form {
            Form::Policy => add_page(&mut self.policies, file),
            Form::Ranges | Form::Countries | Form::Elsewhere => {
                add_page(&mut self.locations, file);
            }
            Form::Settings => {}
        }
    }

    /// An empty list says what it is a list of, at best.
    fn add_collection(&mut self, collection: &str, file: &File<'_>) {
        if collection.ends_with("conditionalAccess/policies") {
            add_page(&mut self.policies, file);
        }
        if collection.ends_with("conditionalAccess/namedLocations") {
            add_page(&mut self.locations, file);
        }
    }
}

fn add_page(list: &mut Option<List>, file: &File<'_>) {
    let written = match list {
        None => file.written,
        Some(list) => list.written.zip(file.written).map(|(one, other)| one.min(other)),
    };
    *list = Some(List { written });
}

fn parsed(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.len() > limits::GRAPH_FILE_BYTES_MAX {
        return Err(Problem::TooLong(bytes.len()));
    }
    if UTF_16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(Problem::Utf16);
    }
    let text = bytes.strip_prefix(UTF_8_MARK).unwrap_or(bytes);
    serde_json::from_slice(text).map_err(|error| Problem::Json(error.to_string()))
}

/// What a page is a page of: the fragment of its context.
fn collection(page: &Map<String, Value>) -> Option<String> {
    let (_, fragment) = page.get(CONTEXT)?.as_str()?.split_once('#')?;
    Some(fragment.to_owned())
}

fn recognised<'a>(file: &File<'a>, value: Value) -> Result<Found<'a>, Problem> {
    let Value::Object(value) = value else {
        return Err(Problem::Unrecognised(format!("`{}`", shown(&value.to_string()))));
    };
    if let Some(error) = value.get("error") {
        let code = error.get("code").and_then(Value::as_str).unwrap_or("error");
        return Err(Problem::Refusal(shown(code)));
    }
    if let Some(list) = truncated(&value) {
        return Err(Problem::Truncated(shown(list)));
    }
    let has = |member| value.contains_key(member);
    let kind = value.get(TYPE).and_then(Value::as_str);
    let kind = kind.map(|kind| kind.trim_start_matches("#microsoft.graph."));
    let form = match kind {
        Some("conditionalAccessPolicy") => Form::Policy,
        Some("ipNamedLocation") => Form::Ranges,
        Some("countryNamedLocation") => Form::Countries,
        Some("continuousAccessEvaluationPolicy") => Form::Settings,
        Some(other) if other.ends_with("NamedLocation") => Form::Elsewhere,
        None if has("conditions") => Form::Policy,
        None if has("ipRanges") => Form::Ranges,
        None if has("countriesAndRegions") => Form::Countries,
        None if has("isEnabled") && has("users") && has("groups") => Form::Settings,
        Some(other) => return Err(Problem::Unrecognised(format!("a `{}`", shown(other)))),
        None => {
            let members: Vec<_> = value.keys().map(String::as_str).collect();
            let members = shown(&members.join(", "));
            return Err(Problem::Unrecognised(format!("an object with the members `{members}`")));
        }
    };
    Ok(Found { file: file.name, written: file.written, form, value })
}

/// A list within an object of which Graph handed out the beginning alone.
fn truncated(members: &Map<String, Value>) -> Option<&str> {
    members.iter().find_map(|(name, value)| match value {
        Value::Object(inner) => truncated(inner),
        value => name.strip_suffix(NEXT_LINK).filter(|_| !says_nothing(value)),
    })
}
