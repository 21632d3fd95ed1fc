//! The bytes of a record, and of the seal that ends a segment.
//!
//! ```text
//! record   checksum 4 | length 4    | offset 8 | append time 8 | index in batch 4 | key 16 | payload
//! seal     checksum 4 | 0xffff_ffff | end 8    | append time 8
//! ```
//!
//! Numbers are little-endian. The checksum is CRC-32C over all that follows it, begun with the
//! incarnation of the log, so that a frame of another log never passes for one of this.
//!
//! The index in the batch is what tells damage from a torn write: a batch is only written when
//! everything before it is durable, so one whole frame proves every record before its batch.
//!
//! INVARIANT: decoding never panics and never trusts a length: [`size`] bounds it before any byte
//! is read or memory is taken.
//!
//! Deliberately absent: files ([`scan`](super::scan) reads them) and what a payload means.

use caed_core::position::{Incarnation, Offset};
use caed_core::time::UnixMillis;

use super::error::{Flaw, LogError};
use super::limits;

/// What a record is about, for whoever compacts. The log itself never looks at it.
pub type Key = [u8; 16];

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place, which never changes and is never used again.
    pub offset: Offset,
    /// When it was appended; never earlier than the record before it.
    pub append_time: UnixMillis,
    /// The caller's key.
    pub key: Key,
    /// The caller's bytes.
    pub payload: Vec<u8>,
}

/// The bytes of a frame before its payload.
pub(super) const HEADER_BYTES: usize = 44;

/// The bytes of a header from the offset on.
const RECORD_BYTES: usize = HEADER_BYTES - PREFIX_BYTES;

/// The bytes of a seal.
pub(super) const SEAL_BYTES: usize = 24;

/// The bytes that must be known before the size of an item is.
pub(super) const PREFIX_BYTES: usize = 8;

/// Stands where the length of a payload would, and is none.
pub(super) const SEAL_MARK: u32 = u32::MAX;

/// The checksum of one log.
#[derive(Clone, Copy)]
pub(super) struct Checksum {
    /// The checksum of the incarnation, which every other one begins with.
    seed: u32,
}

/// A record as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) offset: Offset,
    pub(super) append_time: UnixMillis,
    /// How many records of the same batch come before it.
    pub(super) batch_index: u32,
    pub(super) key: Key,
    pub(super) payload: &'a [u8],
}

/// The end of a segment that will not grow any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// The first offset of the next segment: known even when every record has been compacted away.
    pub(super) end: Offset,
    /// The time of the last record that was ever appended, for the same reason.
    pub(super) append_time: UnixMillis,
}

/// Whatever stands in a segment after its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Frame(Frame<'a>),
    Seal(Seal),
}

impl Checksum {
    pub(super) fn of(incarnation: Incarnation) -> Self {
        Self { seed: crc32c::crc32c(&incarnation.0) }
    }

    /// Fills the first four bytes with the checksum of the rest.
    pub(super) fn fill(self, bytes: &mut [u8]) {
        if let Some((sum, body)) = bytes.split_first_chunk_mut() {
            *sum = crc32c::crc32c_append(self.seed, body).to_le_bytes();
        }
    }

    /// The bytes behind the checksum, if they are what it was made of.
    pub(super) fn verify(self, bytes: &[u8]) -> Result<&[u8], Flaw> {
        let (sum, body) = bytes.split_first_chunk().ok_or(Flaw::CutShort)?;
        if crc32c::crc32c_append(self.seed, body) == u32::from_le_bytes(*sum) {
            Ok(body)
        } else {
            Err(Flaw::Checksum)
        }
    }
}

impl Frame<'_> {
    /// The bytes that it takes in a segment.
    pub(super) const fn size(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// Appends its bytes to `into`, unless its payload is too large.
    pub(super) fn encode(&self, checksum: Checksum, into: &mut Vec<u8>) -> Result<(), LogError> {
        let length = payload_length(self.payload)?;
        let start = into.len();
        into.reserve(self.size());
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(&self.offset.0.to_le_bytes());
        into.extend_from_slice(&self.append_time.as_millis().to_le_bytes());
        into.extend_from_slice(&self.batch_index.to_le_bytes());
        into.extend_from_slice(&self.key);
        into.extend_from_slice(self.payload);
        checksum.fill(into.get_mut(start..).unwrap_or_default());
        Ok(())
    }

    /// The first offset of its batch: everything below was durable when it was written.
    pub(super) const fn batch_start(&self) -> Offset {
        Offset(self.offset.0.saturating_sub(self.batch_index as u64))
    }

    /// A copy that outlives the bytes.
    pub(super) fn to_record(self) -> Record {
        Record {
            offset: self.offset,
            append_time: self.append_time,
            key: self.key,
            payload: self.payload.to_vec(),
        }
    }
}

impl Seal {
    /// Its bytes.
    pub(super) fn encode(self, checksum: Checksum) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&SEAL_MARK.to_le_bytes());
        bytes.extend_from_slice(&self.end.0.to_le_bytes());
        bytes.extend_from_slice(&self.append_time.as_millis().to_le_bytes());
        checksum.fill(&mut bytes);
        bytes
    }
}

/// The length of a payload, if the log takes it.
fn payload_length(payload: &[u8]) -> Result<u32, LogError> {
    let limit = limits::PAYLOAD_BYTES_MAX;
    match u32::try_from(payload.len()) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(LogError::PayloadTooLarge { bytes: payload.len(), limit }),
    }
}

/// How many bytes the item takes that begins with `prefix`.
pub(super) fn size(prefix: [u8; PREFIX_BYTES]) -> Result<usize, Flaw> {
    let [_, _, _, _, length @ ..] = prefix;
    match u32::from_le_bytes(length) {
        SEAL_MARK => Ok(SEAL_BYTES),
        length if length <= limits::PAYLOAD_BYTES_MAX => Ok(HEADER_BYTES + length as usize),
        _ => Err(Flaw::Length),
    }
}

/// Reads the one item that `bytes` are, with nothing left over.
pub(super) fn decode(bytes: &[u8], checksum: Checksum) -> Result<Item<'_>, Flaw> {
    let mut fields = Fields(checksum.verify(bytes)?);
    let length = u32::from_le_bytes(fields.take()?);
    if length == SEAL_MARK {
        let end = Offset(u64::from_le_bytes(fields.take()?));
        let append_time = UnixMillis::from_millis(u64::from_le_bytes(fields.take()?));
        fields.finish()?;
        return Ok(Item::Seal(Seal { end, append_time }));
    }
    let frame =
        Frame { payload: fields.0.get(RECORD_BYTES..).unwrap_or_default(), ..header(fields)? };
    if frame.payload.len() != length as usize {
        return Err(Flaw::Length);
    }
    Ok(Item::Frame(frame))
}

/// Reads a header without checking that it is one: a first look at bytes that may be anything.
pub(super) fn peek(bytes: &[u8; HEADER_BYTES]) -> Option<Frame<'static>> {
    let mut fields = Fields(bytes);
    let [_checksum, length] = [fields.take().ok()?, fields.take().ok()?].map(u32::from_le_bytes);
    (length <= limits::PAYLOAD_BYTES_MAX).then(|| header(fields).ok())?
}

/// The header of a record, from its offset on, without the payload.
fn header(mut fields: Fields<'_>) -> Result<Frame<'static>, Flaw> {
    Ok(Frame {
        offset: Offset(u64::from_le_bytes(fields.take()?)),
        append_time: UnixMillis::from_millis(u64::from_le_bytes(fields.take()?)),
        batch_index: u32::from_le_bytes(fields.take()?),
        key: fields.take()?,
        payload: &[],
    })
}

/// What is left of an item's bytes.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Flaw::CutShort)?;
        self.0 = rest;
        Ok(*field)
    }

    /// Nothing may be left over.
    pub(super) const fn finish(self) -> Result<(), Flaw> {
        if self.0.is_empty() { Ok(()) } else { Err(Flaw::Length) }
    }
}
