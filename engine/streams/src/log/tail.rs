//! The end of the segment that grows: telling a torn write from damage, and repairing the former.
//!
//! A crash may leave any part of the writes that were not synced: a record cut short, a hole of
//! zeros with whole records behind it. None of that was ever acknowledged, and it is cut off at
//! the first item that is not whole. But if what is not whole *was* acknowledged, the disk has lost
//! it, and the log must not go on as if nothing had happened. There are two proofs:
//!
//! - a whole frame further on whose batch begins after the flaw: a batch is only written when
//!   everything before it is durable;
//! - the name of the next segment, which is made only when everything below it is durable.
//!
//! What neither reaches is the last batch: damage to it looks like a torn write, and is repaired
//! as one, which [`Repair`](super::recovery::Repair) reports. A planned stop therefore seals the
//! segment ([`LogWriter::roll`](super::writer::LogWriter::roll)).
//!
//! A payload that holds a forged frame can pass for a proof after a torn write, and the log then
//! refuses to open. It takes someone who may publish, knows the incarnation and meets a power cut;
//! nothing is lost by it.

use caed_core::position::Offset;

use super::error::{Flaw, LogError};
use super::frame::{self, Checksum, HEADER_BYTES, PREFIX_BYTES};
use super::limits::SCAN_BYTES;
use super::place::During;
use super::segment::Segment;
use super::survey::{Ending, Found, Survey};

/// The last segment as it will be once it is repaired.
pub(super) struct Tail {
    pub(super) found: Found,
    pub(super) survey: Survey,
}

impl Tail {
    /// Refuses a segment that lacks acknowledged records. Everything below `proved` is known to
    /// have been acknowledged.
    pub(super) fn new(
        found: Found,
        survey: Survey,
        checksum: Checksum,
        proved: Offset,
    ) -> Result<Self, LogError> {
        let end = survey.extent.end;
        let (position, flaw) = match survey.ending {
            Ending::Flawed(position, flaw) => (position, flaw),
            Ending::Open | Ending::Sealed(_) => (survey.extent.frames_end, Flaw::Unsealed),
        };
        let from = survey.extent.frames_end;
        if end < proved || find_proof(&found, checksum, from, end)? {
            return Err(found.corrupt(position, flaw));
        }
        Ok(Self { found, survey })
    }

    /// The bytes that have to go.
    pub(super) fn torn_bytes(&self) -> u64 {
        self.found.size_bytes.saturating_sub(self.survey.extent.frames_end)
    }

    /// Makes durable what is whole and cuts the rest.
    pub(super) fn repair(self) -> Result<Segment, LogError> {
        let extent = self.survey.extent;
        let unproved = if extent.is_empty() { 0 } else { self.survey.last_batch };
        self.found.rewrite(unproved, extent.frames_end)?;
        if self.found.size_bytes > extent.frames_end {
            self.found.file.truncate(extent.frames_end).during("truncate", &self.found.path)?;
        }
        self.found.file.sync().during("sync", &self.found.path)?;
        Ok(self.found.into_segment(extent))
    }
}

/// Whether a whole frame from `from` on proves that the record at `end` was durable.
///
/// Nothing says where frames begin behind a flaw, so every byte is tried. The fields that are
/// looked at first rule out nearly all of them before a checksum is made.
fn find_proof(found: &Found, checksum: Checksum, from: u64, end: Offset) -> Result<bool, LogError> {
    let mut window = vec![0; SCAN_BYTES];
    let mut window_start = from;
    while window_start < found.size_bytes {
        let count = found.file.read_at(&mut window, window_start).during("read", &found.path)?;
        let bytes = window.get(..count).unwrap_or_default();
        let headers = bytes.windows(HEADER_BYTES).filter_map(|header| header.first_chunk());
        for (candidate, position) in headers.zip(window_start..) {
            if may_be_proof(candidate, end, position.saturating_sub(from))
                && let Some(frame_bytes) = read_frame(found, candidate, position)?
                && frame::decode(&frame_bytes, checksum).is_ok()
            {
                return Ok(true);
            }
        }
        // The next window begins with the first place that had too few bytes behind it.
        window_start = window_start.saturating_add((SCAN_BYTES - HEADER_BYTES + 1) as u64);
    }
    Ok(false)
}

/// Whether these, if they are the first bytes of a frame, `distance` bytes behind the flaw, belong
/// to a batch that begins after `end`.
fn may_be_proof(header: &[u8; HEADER_BYTES], end: Offset, distance: u64) -> bool {
    let Some(frame) = frame::peek(header) else { return false };
    let records_between = distance / HEADER_BYTES as u64;
    frame.batch_start() > end && frame.offset.0 <= end.0.saturating_add(records_between)
}

/// All bytes of the frame with this header, if the file has them.
fn read_frame(
    found: &Found,
    header: &[u8; HEADER_BYTES],
    position: u64,
) -> Result<Option<Vec<u8>>, LogError> {
    let prefix: Option<[u8; PREFIX_BYTES]> = header.first_chunk().copied();
    let Some(Ok(size)) = prefix.map(frame::size) else { return Ok(None) };
    if position.saturating_add(size as u64) > found.size_bytes {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let count = found.file.read_at(&mut bytes, position).during("read", &found.path)?;
    Ok((count == size).then_some(bytes))
}
