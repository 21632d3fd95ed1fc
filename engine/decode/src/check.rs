//! What Envoy asks, in the bytes that it came in, of which nothing is copied but the claims that it hands on.
//!
//! What is usual is read here: one payload of `jwt_authn` at the most, and no other filter's metadata. Whatever is
//! wrong, or seldom told so, is left to the generated code ([`caed_proto::ext_authz`]), which everything here agrees
//! with.

use serde_json::{Map, Number, Value as Json};

use crate::fields::{Fields, Value, text};

/// The filter that verifies tokens, under whose name Envoy hands on their payloads.
pub const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// Whole numbers up to this one are exact as Envoy hands them on: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Lists and objects within each other; deeper ones are left to the generated code.
const DEPTH_MAX: usize = 16;

/// A name and a value.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// A check.
#[derive(Debug, Default, PartialEq)]
pub struct Check<'a> {
    /// The address that connected to Envoy; empty: not told.
    pub peer: &'a str,
    /// The headers of its client's request.
    pub headers: Vec<Header<'a>>,
    /// What the configuration of Envoy says of the route. Of several of a name the last counts.
    pub extensions: Vec<(&'a str, &'a str)>,
    /// What the token says that Envoy verified.
    pub payload: Option<Map<String, Json>>,
}

impl<'a> Check<'a> {
    /// Reads a [`CheckRequest`](caed_proto::ext_authz::CheckRequest); `None` where the generated code is to read it.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut check = Self::default();
        let (mut has_source, mut has_request, mut has_metadata) = (false, false, false);
        for field in Fields::of(only(message, 1)?) {
            match field? {
                (1, Value::Bytes(source)) if !has_source => {
                    has_source = true;
                    check.peer = peer(source)?;
                }
                (4, Value::Bytes(request)) if !has_request => {
                    has_request = true;
                    check.headers = headers(only(request, 2)?)?;
                }
                (10, Value::Bytes(entry)) => {
                    let (key, value) = pair(entry)?;
                    check.extensions.push((key, text(value)?));
                }
                (11, Value::Bytes(metadata)) if !has_metadata => {
                    has_metadata = true;
                    check.payload = payload(metadata)?;
                }
                (1 | 4 | 10 | 11, _) => return None,
                _ => {}
            }
        }
        has_request.then_some(check)
    }

    /// What the configuration of Envoy says under this name.
    pub fn extension(&self, name: &str) -> &'a str {
        let told = self.extensions.iter().rev().find(|(told, _)| *told == name);
        told.map(|(_, value)| *value).unwrap_or_default()
    }
}

/// The one field of this number that must be there, and hold bytes; others are passed over.
fn only(message: &[u8], number: u64) -> Option<&[u8]> {
    at_most_one(message, number)?
}

/// As [`only`], of a field that may be missing.
#[expect(clippy::option_option, reason = "what can't be read is not what is missing")]
fn at_most_one(message: &[u8], number: u64) -> Option<Option<&[u8]>> {
    let mut found = None;
    for field in Fields::of(message) {
        match field? {
            (field, Value::Bytes(bytes)) if field == number && found.is_none() => {
                found = Some(bytes);
            }
            (field, _) if field == number => return None,
            _ => {}
        }
    }
    Some(found)
}

fn peer(source: &[u8]) -> Option<&str> {
    // Absent where a client came over something else than IP.
    let Some(address) = at_most_one(source, 1)? else { return Some("") };
    let Some(socket_address) = at_most_one(address, 1)? else { return Some("") };
    text(at_most_one(socket_address, 2)?.unwrap_or_default())
}

fn headers(http: &[u8]) -> Option<Vec<Header<'_>>> {
    // As many as most requests have.
    let mut headers = Vec::with_capacity(16);
    let mut raw = None;
    for field in Fields::of(http) {
        match field? {
            (3, Value::Bytes(entry)) => headers.push(header(entry)?),
            (13, Value::Bytes(map)) if raw.is_none() => raw = Some(map),
            (3 | 13, _) => return None,
            _ => {}
        }
    }
    for field in Fields::of(raw.unwrap_or_default()) {
        match field? {
            (1, Value::Bytes(entry)) => headers.push(header(entry)?),
            (1, _) => return None,
            _ => {}
        }
    }
    Some(headers)
}

fn header(entry: &[u8]) -> Option<Header<'_>> {
    let (mut key, mut value, mut raw_value): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    for field in Fields::of(entry) {
        match field? {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            (3, Value::Bytes(bytes)) => raw_value = bytes,
            (1..=3, _) => return None,
            _ => {}
        }
    }
    Some((key, if raw_value.is_empty() { value } else { raw_value }))
}

/// An entry of a map: a text, and the one value that it has.
fn pair(entry: &[u8]) -> Option<(&str, &[u8])> {
    let mut key = "";
    let mut value = None;
    for field in Fields::of(entry) {
        match field? {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(bytes)) if value.is_none() => value = Some(bytes),
            _ => return None,
        }
    }
    Some((key, value?))
}

/// The payload of the one token that Envoy verified, where there is one. Beside it may stand a header, or why a token
/// was refused.
#[expect(clippy::option_option, reason = "what can't be read is not what is missing")]
fn payload(metadata: &[u8]) -> Option<Option<Map<String, Json>>> {
    let mut entries = Fields::of(metadata);
    let Some(field) = entries.next() else { return Some(None) };
    let (1, Value::Bytes(entry)) = field? else { return None };
    let (JWT_AUTHN, told) = pair(entry)? else { return None };
    if entries.next().is_some() {
        return None;
    }
    let mut told = object(told, DEPTH_MAX)?.into_iter().filter_map(|(_, value)| match value {
        Json::Object(payload) if payload.contains_key("iss") => Some(payload),
        _ => None,
    });
    let payload = told.next();
    // Of several none counts, which the generated code's reader says.
    told.next().is_none().then_some(payload)
}

/// A `google.protobuf.Struct`.
fn object(message: &[u8], depth: usize) -> Option<Map<String, Json>> {
    let members = Fields::of(message).map(|field| match field? {
        (1, Value::Bytes(entry)) => {
            let (name, value) = pair(entry)?;
            Some((name.to_owned(), json(value, depth)?))
        }
        _ => None,
    });
    members.collect()
}

/// A `google.protobuf.Value`.
fn json(message: &[u8], depth: usize) -> Option<Json> {
    let depth = depth.checked_sub(1)?;
    let mut fields = Fields::of(message);
    let value = match fields.next()?? {
        (1, Value::Number(_)) => Json::Null,
        (2, Value::Eight(bytes)) => Json::Number(number(f64::from_le_bytes(bytes))?),
        (3, Value::Bytes(bytes)) => text(bytes)?.into(),
        (4, Value::Number(truth)) => (truth != 0).into(),
        (5, Value::Bytes(members)) => Json::Object(object(members, depth)?),
        (6, Value::Bytes(list)) => {
            let values = Fields::of(list).map(|field| match field? {
                (1, Value::Bytes(value)) => json(value, depth),
                _ => None,
            });
            Json::Array(values.collect::<Option<_>>()?)
        }
        _ => return None,
    };
    fields.next().is_none().then_some(value)
}

/// A number that Envoy made a double of; `None`: it is no JSON. Whole ones are whole again, as far as they are exact.
pub fn number(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() < EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and smaller than 2^53")]
        let whole = number as i64;
        return Some(whole.into());
    }
    Number::from_f64(number)
}

#[cfg(test)]
mod tests {
    use caed_proto::ext_authz::{
        Address, AttributeContext, CheckRequest, HeaderMap, HeaderValue, HttpRequest, Metadata,
        Peer, Request, SocketAddress,
    };
    use prost::Message;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value as Said};
    use serde_json::json;

    use super::*;

    fn said(kind: Kind) -> Said {
        Said { kind: Some(kind) }
    }

    fn of(members: impl IntoIterator<Item = (&'static str, Kind)>) -> Struct {
        let members = members.into_iter().map(|(name, kind)| (name.to_owned(), said(kind)));
        Struct { fields: members.collect() }
    }

    fn payload() -> Struct {
        let groups = vec![said(Kind::StringValue("g-1".to_owned())), said(Kind::BoolValue(true))];
        of([
            ("iss", Kind::StringValue("https://idp.example".to_owned())),
            ("iat", Kind::NumberValue(1_768_478_400.0)),
            ("half", Kind::NumberValue(-0.5)),
            ("none", Kind::NullValue(0)),
            ("groups", Kind::ListValue(ListValue { values: groups })),
            ("act", Kind::StructValue(of([("sub", Kind::StringValue("b".to_owned()))]))),
        ])
    }

    fn metadata(filter: &str, told: Struct) -> Metadata {
        Metadata { filter_metadata: [(filter.to_owned(), told)].into() }
    }

    fn handed_on() -> Metadata {
        let verified = Kind::StructValue(payload());
        let header = Kind::StructValue(of([("alg", Kind::StringValue("RS256".to_owned()))]));
        metadata(JWT_AUTHN, of([("verified", verified), ("header", header)]))
    }

    fn header(key: &[u8], value: &[u8], raw_value: &[u8]) -> HeaderValue {
        HeaderValue { key: key.into(), value: value.into(), raw_value: raw_value.into() }
    }

    fn attributes() -> AttributeContext {
        let socket_address = Some(SocketAddress { address: "192.0.2.1".to_owned() });
        let http = HttpRequest {
            headers: vec![header(b"accept", b"*/*", b"")],
            header_map: Some(HeaderMap { headers: vec![header(b"cookie", b"", b"\xff")] }),
        };
        AttributeContext {
            source: Some(Peer { address: Some(Address { socket_address }) }),
            request: Some(Request { http: Some(http) }),
            context_extensions: [("tenant".to_owned(), "contoso".to_owned())].into(),
            metadata_context: Some(handed_on()),
        }
    }

    fn bytes(attributes: AttributeContext) -> Vec<u8> {
        CheckRequest { attributes: Some(attributes) }.encode_to_vec()
    }

    #[test]
    fn what_is_usual_is_read_where_it_stands() {
        let message = bytes(attributes());
        let mut check = Check::read(&message).expect("it is usual");
        assert_eq!((check.extension("tenant"), check.extension("profile")), ("contoso", ""));
        check.extensions.clear();
        let json = json!({
            "iss": "https://idp.example", "iat": 1_768_478_400, "half": -0.5, "none": null,
            "groups": ["g-1", true], "act": {"sub": "b"},
        });
        let expected = Check {
            peer: "192.0.2.1",
            headers: vec![(b"accept", b"*/*"), (b"cookie", b"\xff")],
            extensions: Vec::new(),
            payload: json.as_object().cloned(),
        };
        assert_eq!(check, expected);
    }

    /// Envoy says of a size that it is not known by -1, and when it asks by a time.
    #[test]
    fn what_is_not_read_is_passed_over() {
        let size = [&[0x50][..], &[0xff; 9], &[1]].concat();
        let time = [0x0a, 2, 0x08, 1];
        let request = [&time[..], &[0x12, 11], &size, &[0x1d, 1, 2, 3, 4]].concat();
        let length = u8::try_from(request.len()).expect("short");
        let attributes = [&[0x22, length], request.as_slice()].concat();
        let length = u8::try_from(attributes.len()).expect("short");
        let message = [&[0x0a, length], attributes.as_slice()].concat();
        assert_eq!(Check::read(&message), Some(Check::default()));
    }

    #[test]
    fn everything_else_is_left_to_the_generated_code() {
        let told =
            |metadata| bytes(AttributeContext { metadata_context: Some(metadata), ..attributes() });
        let jwt_authn = |kind| told(metadata(JWT_AUTHN, of([("verified", kind)])));
        let mut two = payload();
        two.fields.insert("act".to_owned(), Said { kind: None });
        let deep = (0..DEPTH_MAX).fold(Kind::BoolValue(true), |inner, _| {
            Kind::ListValue(ListValue { values: vec![said(inner)] })
        });
        let several =
            of([("one", Kind::StructValue(payload())), ("two", Kind::StructValue(payload()))]);
        let mut filters = handed_on();
        filters.filter_metadata.insert("another".to_owned(), Struct::default());
        let whole = bytes(attributes());
        for (what, message) in [
            ("nothing", Vec::new()),
            ("no request", bytes(AttributeContext { request: None, ..attributes() })),
            ("no HTTP", {
                let request = Some(Request { http: None });
                bytes(AttributeContext { request, ..attributes() })
            }),
            ("it twice", [whole.as_slice(), &whole].concat()),
            ("another filter", told(metadata("another", payload()))),
            ("two filters", told(filters)),
            ("two payloads", told(metadata(JWT_AUTHN, several))),
            ("a value of no kind", jwt_authn(Kind::StructValue(two))),
            ("no number", jwt_authn(Kind::NumberValue(f64::NAN))),
            ("too deep", jwt_authn(deep)),
            ("the first bytes", whole[..whole.len() - 1].to_vec()),
        ] {
            assert_eq!(Check::read(&message), None, "{what}");
        }
    }
}
