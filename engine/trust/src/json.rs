//! JSON that has one meaning.
//!
//! Parsers differ in which of two members of one name they keep, so a token with `"tid"` twice could mean
//! one tenant to the gateway and another one to us. It means nothing here: members that come twice are
//! refused, at every depth, and depth is bounded.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits;

/// What is wrong with bytes that should be one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not encoded as base64url without padding.
    #[error("is no base64url")]
    Encoding,
    /// No JSON.
    #[error("is no JSON")]
    Json,
    /// JSON, but no object.
    #[error("is no JSON object")]
    Object,
    /// A member that stands there twice.
    #[error("has a member twice, so that it could mean two things")]
    Twice,
    /// Objects or lists too deep inside one another.
    #[error("nests deeper than {} levels", limits::JSON_DEPTH_MAX)]
    Depth,
}

/// Reads bytes that are one JSON object and nothing else.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, Flaw> {
    let flaw = Cell::new(Flaw::Json);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, flaw: &flaw }.deserialize(&mut reader);
    match value.and_then(|value| reader.end().map(|()| value)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Flaw::Object),
        Err(_) => Err(flaw.get()),
    }
}

/// Reads one value `depth` levels deep, and leaves in `flaw` why it can't.
#[derive(Clone, Copy)]
struct Strict<'f> {
    depth: usize,
    flaw: &'f Cell<Flaw>,
}

impl Strict<'_> {
    fn refuse<E: Error>(self, flaw: Flaw) -> E {
        self.flaw.set(flaw);
        E::custom(flaw)
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == limits::JSON_DEPTH_MAX {
            return Err(self.refuse(Flaw::Depth));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse(Flaw::Json))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(self.refuse(Flaw::Twice));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_of_two_meanings_is_refused() {
        let nested = |levels: usize| {
            format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        for (text, flaw) in [
            (r#"{"a":1,"a":1}"#, Flaw::Twice),
            (r#"{"a":1,"b":[{"c":{"d":1,"e":2,"d":3}}]}"#, Flaw::Twice),
            (r#"{"tid":"a","\u0074id":"b"}"#, Flaw::Twice),
            (r#"{"a":null,"a":1}"#, Flaw::Twice),
            (&nested(limits::JSON_DEPTH_MAX + 1), Flaw::Depth),
            (&nested(10_000), Flaw::Depth),
            (&"{\"a\":".repeat(10_000), Flaw::Depth),
            ("[]", Flaw::Object),
            ("\"a\"", Flaw::Object),
            ("7", Flaw::Object),
            ("null", Flaw::Object),
            ("", Flaw::Json),
            ("{", Flaw::Json),
            ("{} {}", Flaw::Json),
            ("{}\0", Flaw::Json),
            ("\u{feff}{}", Flaw::Json),
            ("{'a':1}", Flaw::Json),
            ("{\"a\":1,}", Flaw::Json),
            ("{\"a\":NaN}", Flaw::Json),
            ("{\"a\":1e999}", Flaw::Json),
            ("{\"a\":\"\0\"}", Flaw::Json),
            (r#"{"a":"\ud800"}"#, Flaw::Json),
        ] {
            assert_eq!(object(text.as_bytes()), Err(flaw), "{text:.60}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(Flaw::Json));
        assert!(object(nested(limits::JSON_DEPTH_MAX).as_bytes()).is_ok());
    }

    proptest! {
        /// What is read is what the common reader reads.
        #[test]
        fn json_of_one_meaning_is_read_as_ever(text in r#"\{("[a-c]":(1|-2|0\.5|"x"|null|true|\[\{"a":\[\]\}\]),){0,2}"z":0\}"#) {
            let common: Value = serde_json::from_str(&text).unwrap();
            match object(text.as_bytes()) {
                Ok(object) => prop_assert_eq!(Value::Object(object), common),
                Err(flaw) => {
                    prop_assert_eq!(flaw, Flaw::Twice);
                    let members = text.matches("\":").count() - text.matches("{\"a\":[]").count();
                    prop_assert!(members > common.as_object().unwrap().len());
                }
            }
        }

        #[test]
        fn any_bytes_are_an_object_or_are_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }
    }
}
