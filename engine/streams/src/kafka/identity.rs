//! The identity record: what tells a topic from another one of the same name (L5).
//!
//! `caed topics create` writes one to each partition; compaction keeps it, because its key is its
//! own and nothing ever writes a tombstone under it. A reader that meets one knows which
//! incarnation the offsets of that partition belong to, and notices a topic that was deleted and
//! made again even where its offsets happen to fit.
//!
//! Deliberately absent: the topic's name. A topic that was mirrored whole under another name is
//! still the same log.

use std::time::Duration;

use caed_core::position::Incarnation;
use caed_proto::v1;
use prost::Message;

/// The key of every identity record. Keys of events have 16 bytes, so none can be this one.
pub const KEY: &[u8] = b"caed.identity";

/// The version of the record format that this program reads and writes.
pub const READER_VERSION: u32 = 1;

/// What an identity record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The incarnation of the topic.
    pub incarnation: Incarnation,
    /// How long a token can live at the most, in whole seconds.
    pub horizon: Duration,
    /// The oldest version of the record format that every reader of the log understands.
    pub min_reader_version: u32,
    /// The partition that the record was written to.
    pub partition: u32,
}

/// Why bytes under the key [`KEY`] are no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// Not even the message.
    #[error("not a protobuf caed.v1.LogIdentity: {0}")]
    Encoding(String),
    /// The incarnation is something else.
    #[error("incarnation: `{0}` is not 32 hexadecimal digits")]
    Incarnation(String),
    /// No horizon.
    #[error("horizon_s: is missing")]
    Horizon,
    /// No version.
    #[error("min_reader_version: is missing")]
    Version,
}

/// Hexadecimal digits of an incarnation.
const INCARNATION_DIGITS: usize = 32;

impl LogIdentity {
    /// The bytes of the record.
    pub fn encode(&self) -> Vec<u8> {
        let Self { incarnation, horizon, min_reader_version, partition } = *self;
        let message = v1::LogIdentity {
            incarnation: incarnation.to_string(),
            horizon_s: horizon.as_secs(),
            min_reader_version,
            partition,
        };
        message.encode_to_vec()
    }

    /// The identity that a record holds, if it is an identity record that can be read.
    pub fn of_record(key: Option<&[u8]>, payload: &[u8]) -> Option<Self> {
        if key == Some(KEY) { Self::decode(payload).ok() } else { None }
    }

    /// What the bytes of a record say.
    pub fn decode(payload: &[u8]) -> Result<Self, InvalidIdentity> {
        let message = v1::LogIdentity::decode(payload)
            .map_err(|error| InvalidIdentity::Encoding(error.to_string()))?;
        let v1::LogIdentity { incarnation, horizon_s, min_reader_version, partition } = message;
        let incarnation =
            incarnation_of(&incarnation).ok_or(InvalidIdentity::Incarnation(incarnation))?;
        if horizon_s == 0 {
            return Err(InvalidIdentity::Horizon);
        }
        if min_reader_version == 0 {
            return Err(InvalidIdentity::Version);
        }
        let horizon = Duration::from_secs(horizon_s);
        Ok(Self { incarnation, horizon, min_reader_version, partition })
    }
}

fn incarnation_of(text: &str) -> Option<Incarnation> {
    // A sign is no digit, though numbers are parsed with one.
    if text.len() != INCARNATION_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(|number| Incarnation(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: LogIdentity = LogIdentity {
        incarnation: Incarnation([0x0a; 16]),
        horizon: Duration::from_hours(30),
        min_reader_version: READER_VERSION,
        partition: 2,
    };

    #[test]
    fn what_is_written_is_what_is_read() {
        assert_eq!(LogIdentity::decode(&IDENTITY.encode()), Ok(IDENTITY));
    }

    #[test]
    fn what_is_no_identity_says_why() {
        let message = |change: fn(&mut v1::LogIdentity)| {
            let mut message = v1::LogIdentity::decode(&*IDENTITY.encode()).expect("valid");
            change(&mut message);
            LogIdentity::decode(&message.encode_to_vec()).expect_err("invalid").to_string()
        };
        assert!(message(|m| m.incarnation = "+".repeat(32)).starts_with("incarnation: `+"));
        assert!(message(|m| m.incarnation.push('0')).starts_with("incarnation: `0a0a"));
        assert_eq!(message(|m| m.horizon_s = 0), "horizon_s: is missing");
        assert_eq!(message(|m| m.min_reader_version = 0), "min_reader_version: is missing");
        let noise = LogIdentity::decode(b"\xff\xff").expect_err("noise");
        assert!(noise.to_string().starts_with("not a protobuf caed.v1.LogIdentity: "));
    }
}
