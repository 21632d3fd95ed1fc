//! Walks through the items of a segment, from one position to another.
//!
//! The file is read in pieces of [`SCAN_BYTES`]; memory is bounded by the largest frame.
//! A flaw does not move the scan: its position stays at the item that is not whole.

use std::io;

use super::disk::DiskFile;
use super::error::Flaw;
use super::frame::{self, Checksum, Item, PREFIX_BYTES};
use super::limits::SCAN_BYTES;

/// A walk through part of a segment.
pub(super) struct Scan<'a> {
    file: &'a dyn DiskFile,
    checksum: Checksum,
    /// Where the next item begins.
    position: u64,
    /// Where to stop: at the end of what is durable, not of the file.
    limit: u64,
    /// Bytes of the file, of which those before `consumed` lie before `position`.
    buffer: Vec<u8>,
    consumed: usize,
}

/// What a scan found next.
pub(super) enum Step<'a> {
    /// A whole item, with its bytes.
    Item(Item<'a>, &'a [u8]),
    /// The limit, right after a whole item.
    End,
    /// Something else.
    Flaw(Flaw),
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        file: &'a dyn DiskFile,
        checksum: Checksum,
        position: u64,
        limit: u64,
    ) -> Self {
        Self { file, checksum, position, limit, buffer: Vec::new(), consumed: 0 }
    }

    /// Where the next item begins, or where the one that is not whole does.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The next item.
    pub(super) fn next(&mut self) -> io::Result<Step<'_>> {
        let left = self.limit.saturating_sub(self.position);
        if left == 0 {
            return Ok(Step::End);
        }
        if left < PREFIX_BYTES as u64 {
            return Ok(Step::Flaw(Flaw::CutShort));
        }
        self.fill(PREFIX_BYTES)?;
        let prefix = self.buffer.get(self.consumed..).and_then(|bytes| bytes.first_chunk());
        let size = match prefix.copied().map(frame::size) {
            Some(Ok(size)) if size as u64 <= left => size,
            Some(Err(flaw)) => return Ok(Step::Flaw(flaw)),
            Some(Ok(_)) | None => return Ok(Step::Flaw(Flaw::CutShort)),
        };
        self.fill(size)?;
        let end = self.consumed + size;
        let bytes = self.buffer.get(self.consumed..end).unwrap_or_default();
        match frame::decode(bytes, self.checksum) {
            Ok(item) => {
                self.position += size as u64;
                self.consumed = end;
                Ok(Step::Item(item, bytes))
            }
            Err(flaw) => Ok(Step::Flaw(flaw)),
        }
    }

    /// Makes sure that the next `needed` bytes, which lie before the limit, are in memory.
    fn fill(&mut self, needed: usize) -> io::Result<()> {
        if self.buffer.len() - self.consumed >= needed {
            return Ok(());
        }
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let known = self.buffer.len();
        let left = self.limit.saturating_sub(self.position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(needed.max(SCAN_BYTES));
        self.buffer.resize(wanted.max(known), 0);
        let fresh = self.buffer.get_mut(known..).unwrap_or_default();
        let count = self.file.read_at(fresh, self.position.saturating_add(known as u64))?;
        self.buffer.truncate(known + count);
        if self.buffer.len() < needed {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
