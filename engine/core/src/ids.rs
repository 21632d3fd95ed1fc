//! Identifiers, parsed once into keys that compare exactly.
//!
//! State is keyed by [`ObjectKey`], 128 bits and a form:
//!
//! - a GUID is its own key, whatever the case of its digits;
//! - any other id of at most 16 bytes is its own key too;
//! - a longer one is keyed by the first 128 bits of its SHA-256, which nobody can steer to meet a
//!   given id, and which is the same in every replica.
//!
//! So no two ids that occur in practice share a key, and no id need be stored or compared as text
//! (SEMANTICS.md T4). The form is part of the key: a chosen GUID can't imitate a short id.
//!
//! Tenants, issuers and sources are few and are kept as text ([`Name`]), because answers and status
//! show them again.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::limits;

/// An identifier as it came, checked. A GUID is read by that, and its key known; other keys are made when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    text: &'a str,
    guid: Option<[u64; 2]>,
}

/// The exact key of a directory object, session, token, client or device id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub(crate) bits: [u64; 2],
    pub(crate) form: Form,
}

/// What the 128 bits of an [`ObjectKey`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Form {
    /// The GUID itself.
    Guid,
    /// The bytes of the id, padded with zeros (no id holds a NUL).
    Inline,
    /// The first half of the id's SHA-256.
    Digest,
}

/// The name of a tenant, an issuer or a source: text that is compared exactly and shown again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// An identifier that can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than [`limits::ID_BYTES_MAX`].
    #[error("has {0} bytes; at most {max} are allowed", max = limits::ID_BYTES_MAX)]
    TooLong(usize),
    /// A control character, NUL among them.
    #[error("contains a control character")]
    ControlCharacter,
}

impl<'a> Id<'a> {
    /// Parses an id as an event or a token carries it.
    pub fn parse(id: &'a str) -> Result<Self, InvalidId> {
        let guid = guid(id.as_bytes());
        if guid.is_none() {
            check(id)?;
        }
        Ok(Self { text: id, guid })
    }

    /// The id as text.
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The key. A long id is hashed here, so ask only when there is something to look up.
    #[inline]
    pub fn key(self) -> ObjectKey {
        match self.guid {
            Some(bits) => ObjectKey { bits, form: Form::Guid },
            None => Self::made(self.text),
        }
    }

    /// The key of what is no GUID.
    fn made(id: &str) -> ObjectKey {
        let mut padded = [0u8; 16];
        if let Some(head) = padded.get_mut(..id.len()) {
            head.copy_from_slice(id.as_bytes());
            return ObjectKey { bits: words(padded), form: Form::Inline };
        }
        let digest = Sha256::digest(id.as_bytes());
        for (to, from) in padded.iter_mut().zip(digest) {
            *to = from;
        }
        ObjectKey { bits: words(padded), form: Form::Digest }
    }
}

impl ObjectKey {
    /// Parses an id and takes its key.
    pub fn parse(id: &str) -> Result<Self, InvalidId> {
        Id::parse(id).map(Id::key)
    }

    /// Whether its text is the id itself, and not what is left of a long one.
    pub const fn is_whole(self) -> bool {
        !matches!(self.form, Form::Digest)
    }
}

impl fmt::Display for ObjectKey {
    /// The id, as far as the key tells: GUIDs in lower case, short ids as they came, of a longer one what
    /// it is keyed by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.bits;
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
        let hex = u128::from_be_bytes(bytes);
        match self.form {
            Form::Guid => {
                let text = format!("{hex:032x}");
                let mut rest = text.as_str();
                for (place, digits) in [8, 4, 4, 4, 12].into_iter().enumerate() {
                    let (group, more) = rest.split_at_checked(digits).unwrap_or((rest, ""));
                    rest = more;
                    write!(f, "{}{group}", if place == 0 { "" } else { "-" })?;
                }
                Ok(())
            }
            Form::Inline => {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                let text = bytes.get(..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
                f.write_str(text.unwrap_or_default())
            }
            Form::Digest => write!(f, "sha256:{hex:032x}"),
        }
    }
}

/// A name as it came with a token: what [`Name`] is compared with, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NameText<'a> {
    /// As it came.
    Same(&'a str),
    /// A GUID that came with upper-case digits, in lower case.
    Lowered([u8; GUID_BYTES]),
}

impl Name {
    /// Parses the name of a tenant, an issuer or a source. A GUID is the same in either case of its
    /// digits and is kept in lower case.
    pub fn parse(name: &str) -> Result<Self, InvalidId> {
        check(name)?;
        Ok(Self(NameText::new(name).as_str().into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> NameText<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        if name.len() == GUID_BYTES
            && name.bytes().any(|byte| byte.is_ascii_uppercase())
            && guid(name.as_bytes()).is_some()
        {
            let mut lowered = [0; GUID_BYTES];
            for (to, from) in lowered.iter_mut().zip(name.bytes()) {
                *to = from.to_ascii_lowercase();
            }
            return Self::Lowered(lowered);
        }
        Self::Same(name)
    }

    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Same(name) => name,
            // The bytes of a GUID are ASCII.
            Self::Lowered(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Lets maps keyed by [`Name`] be asked with text that has not been parsed.
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The length of a GUID's text.
const GUID_BYTES: usize = 36;

/// What makes a text an identifier, wherever it stands.
pub(crate) fn check(id: &str) -> Result<(), InvalidId> {
    if id.is_empty() {
        Err(InvalidId::Empty)
    } else if id.len() > limits::ID_BYTES_MAX {
        Err(InvalidId::TooLong(id.len()))
    } else if !is_printable(id) && id.chars().any(char::is_control) {
        Err(InvalidId::ControlCharacter)
    } else {
        Ok(())
    }
}

/// Whether a text is visible ASCII and blanks, as most are. Without an early end: a few instructions for all bytes at
/// once.
fn is_printable(text: &str) -> bool {
    text.bytes().fold(true, |is, byte| is & matches!(byte, b' '..=b'~'))
}

/// The 128 bits of `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, in either case; `None` for anything else.
fn guid(text: &[u8]) -> Option<[u64; 2]> {
    let text: &[u8; GUID_BYTES] = text.try_into().ok()?;
    if [8, 13, 18, 23].iter().any(|at| text.get(*at) != Some(&b'-')) {
        return None;
    }
    let four = |at: usize| {
        let four = text.get(at..at + 4)?;
        Some(u64::from(u32::from_be_bytes(four.try_into().ok()?)))
    };
    let eight = |one, other| hex((four(one)? << 32) | four(other)?);
    let word = |high: u32, low: u32| ((u64::from(high) << 32) | u64::from(low)).swap_bytes();
    Some([word(eight(0, 4)?, eight(9, 14)?), word(eight(19, 24)?, eight(28, 32)?)])
}

/// The lowest bit of each byte, and the highest.
const EACH: u64 = 0x0101_0101_0101_0101;
const TOP: u64 = 0x80 * EACH;

/// The top bit of each byte that is at least so much. No byte carries into another, where none has its top bit set.
const fn at_least(bytes: u64, least: u8) -> u64 {
    (bytes + (0x80 - least as u64) * EACH) & TOP
}

/// The number that eight hexadecimal digits write, the first one in the top byte. All of them at once: most of what a
/// decision costs would else be reading its token's ids.
const fn hex(digits: u64) -> Option<u32> {
    if digits & TOP != 0 {
        return None;
    }
    let small = digits | (0x20 * EACH);
    let is_number = at_least(digits, b'0') & !at_least(digits, b'9' + 1);
    let is_letter = at_least(small, b'a') & !at_least(small, b'f' + 1);
    if is_number | is_letter != TOP {
        return None;
    }
    let values = (digits & (0x0f * EACH)) + (is_letter >> 7) * 9;
    let pairs = (values | (values >> 4)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is left")]
    {
        Some((fours | (fours >> 16)) as u32)
    }
}

/// Sixteen bytes as two words.
const fn words(bytes: [u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
    {
        [all as u64, (all >> 64) as u64]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> ObjectKey {
        ObjectKey::parse(id).expect("a valid id")
    }

    #[test]
    fn a_guid_is_its_own_key_in_either_case() {
        let lower = key("3d46dbda-8382-466a-856d-eb00cbc6b910");
        assert_eq!(lower, key("3D46DBDA-8382-466A-856D-EB00CBC6B910"));
        assert_ne!(lower, key("3d46dbda-8382-466a-856d-eb00cbc6b911"));
        assert_eq!(lower.form, Form::Guid);
    }

    /// The same, digit by digit.
    fn guid_slowly(text: &[u8]) -> Option<[u64; 2]> {
        let mut bits = 0u128;
        for (index, &byte) in text.iter().enumerate() {
            if [8, 13, 18, 23].contains(&index) {
                (byte == b'-').then_some(())?;
            } else {
                bits = bits << 4 | u128::from(char::from(byte).to_digit(16)?);
            }
        }
        (text.len() == GUID_BYTES).then(|| words(bits.to_be_bytes()))
    }

    #[test]
    fn guids_are_read_at_once_as_digit_by_digit() {
        let guid_text = b"3d46dbda-8382-466A-856D-EB00CBC6B910";
        assert!(guid(guid_text).is_some());
        for place in 0..guid_text.len() {
            for byte in 0..=u8::MAX {
                let mut text = *guid_text;
                text[place] = byte;
                assert_eq!(guid(&text), guid_slowly(&text), "{}", text.escape_ascii());
            }
            assert_eq!(guid(&guid_text[..place]), None);
        }
        assert_eq!(guid(&[guid_text.as_slice(), b"0"].concat()), None);
    }

    #[test]
    fn a_guid_is_the_same_name_in_either_case_and_other_names_are_not() {
        let name = |text: &str| Name::parse(text).expect("a valid name");
        let lower = "3d46dbda-8382-466a-856d-eb00cbc6b910";
        assert_eq!(name(&lower.to_uppercase()), name(lower));
        assert_eq!(name(&lower.to_uppercase()).as_str(), lower);
        assert_ne!(name("Contoso"), name("contoso"));
        let not_hexadecimal = "3D46DBDA-8382-466A-856D-EB00CBC6B91G";
        assert_eq!(name(not_hexadecimal).as_str(), not_hexadecimal);
    }

    #[test]
    fn a_key_shows_the_id_as_far_as_it_tells() {
        let guid = "3d46dbda-8382-466a-856d-eb00cbc6b910";
        assert_eq!(key(&guid.to_uppercase()).to_string(), guid);
        for id in ["u", "zürich", "0123456789abcdef"] {
            assert_eq!(key(id).to_string(), id);
        }
        // The first half of what sha256sum says.
        let long = key("0123456789abcdefg").to_string();
        assert_eq!(long, "sha256:8378b19d693ee89e2ca594b6ec0abfaa");
    }

    #[test]
    fn short_ids_are_kept_whole_and_long_ones_hashed() {
        assert_ne!(key("u-1001"), key("U-1001"));
        assert_eq!(key("0123456789abcdef").form, Form::Inline);
        assert_eq!(key("0123456789abcdefg").form, Form::Digest);
        assert_ne!(key("0123456789abcdefg"), key("0123456789abcdefh"));
    }

    #[test]
    fn a_chosen_guid_does_not_imitate_a_short_id() {
        // The GUID whose 16 bytes are the text `victim-user-0001`.
        let text = "victim-user-0001";
        let imitation = key("76696374-696d-2d75-7365-722d30303031");
        assert_eq!(imitation.bits, key(text).bits);
        assert_ne!(imitation, key(text));
    }

    #[test]
    fn what_looks_almost_like_a_guid_is_text() {
        for id in [
            "3d46dbda+8382-466a-856d-eb00cbc6b910",
            "3d46dbda-8382-466a-856d-eb00cbc6b91g",
            "3d46dbda8382466a856deb00cbc6b910",
        ] {
            assert_ne!(key(id).form, Form::Guid, "{id}");
        }
    }

    #[test]
    fn what_can_not_be_an_id_is_refused() {
        assert_eq!(ObjectKey::parse(""), Err(InvalidId::Empty));
        assert_eq!(ObjectKey::parse("a\0b"), Err(InvalidId::ControlCharacter));
        let long = "x".repeat(limits::ID_BYTES_MAX + 1);
        assert_eq!(ObjectKey::parse(&long), Err(InvalidId::TooLong(long.len())));
        assert!(ObjectKey::parse(&long[1..]).is_ok());
    }
}
