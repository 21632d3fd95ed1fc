//! What a segment on the disk holds: its header and every item, read once when the log is opened.
//!
//! A survey finds out and judges nothing: whether a flaw is damage or a torn write depends on where
//! the segment stands, which [`recovery`](super::recovery) and [`tail`](super::tail) know.

use caed_core::position::Offset;
use caed_core::time::UnixMillis;

use super::disk::{Disk, DiskFile};
use super::error::{Flaw, LogError};
use super::frame::{Checksum, Item, Seal};
use super::place::{During, Place};
use super::scan::{Scan, Step};
use super::segment::{self, Extent, Segment};

/// A segment file that is open but not yet part of the log.
pub(super) struct Found {
    pub(super) base: Offset,
    pub(super) path: String,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) size_bytes: u64,
}

/// What was found in it.
pub(super) struct Survey {
    /// The whole records at its beginning.
    pub(super) extent: Extent,
    /// Where the last batch among them begins: everything before it is proved durable by it.
    pub(super) last_batch: u64,
    pub(super) ending: Ending,
}

/// What comes after the whole records.
pub(super) enum Ending {
    /// A seal, and nothing behind it.
    Sealed(Seal),
    /// Nothing.
    Open,
    /// Something else, from this position on.
    Flawed(u64, Flaw),
}

/// Whether records may have been compacted away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Density {
    /// One record for each offset: the segment has never been sealed.
    Dense,
    /// Some offsets may have none.
    Sparse,
}

impl Found {
    pub(super) fn open(disk: &dyn Disk, base: Offset) -> Result<Self, LogError> {
        let name = segment::name_of(base);
        let path = Place { disk, name: &name }.to_string();
        let file = disk.open(&name).during("open", &path)?;
        let size_bytes = file.size_bytes().during("read", &path)?;
        Ok(Self { base, path, file, size_bytes })
    }

    /// Reads it through. `append_time` is that of the last record before it.
    pub(super) fn survey(
        &self,
        checksum: Checksum,
        append_time: UnixMillis,
        density: Density,
    ) -> Result<Survey, LogError> {
        self.check_header(checksum)?;
        let mut extent = Extent::empty(self.base, append_time);
        let mut last_batch = segment::HEADER_BYTES;
        let mut scan = Scan::new(&*self.file, checksum, segment::HEADER_BYTES, self.size_bytes);
        let ending = loop {
            let position = scan.position();
            match scan.next().during("read", &self.path)? {
                Step::Item(Item::Frame(frame), _) => {
                    let expected = frame.offset == extent.end
                        || (density == Density::Sparse && frame.offset > extent.end);
                    if !expected || frame.append_time < extent.append_time {
                        break Ending::Flawed(position, Flaw::Misplaced);
                    }
                    if frame.batch_index == 0 {
                        last_batch = position;
                    }
                    extent.add(&frame);
                }
                Step::Item(Item::Seal(seal), _) => {
                    let end = scan.position();
                    if seal.end < extent.end || seal.append_time < extent.append_time {
                        break Ending::Flawed(position, Flaw::Misplaced);
                    }
                    if end < self.size_bytes {
                        break Ending::Flawed(end, Flaw::LeftOver);
                    }
                    break Ending::Sealed(seal);
                }
                Step::End => break Ending::Open,
                Step::Flaw(flaw) => break Ending::Flawed(position, flaw),
            }
        };
        Ok(Survey { extent, last_batch, ending })
    }

    fn check_header(&self, checksum: Checksum) -> Result<(), LogError> {
        let mut bytes = segment::header(self.base, checksum);
        let count = self.file.read_at(&mut bytes, 0).during("read", &self.path)?;
        let bytes = bytes.get(..count).unwrap_or_default();
        segment::check_header(bytes, self.base, checksum).map_err(|flaw| self.corrupt(0, flaw))
    }

    /// Makes it part of the log.
    pub(super) fn into_segment(self, extent: Extent) -> Segment {
        Segment::new(self.base, self.file, self.path, extent)
    }

    /// The error of a bad item at `position`.
    pub(super) fn corrupt(&self, position: u64, flaw: Flaw) -> LogError {
        LogError::Corrupt { file: self.path.clone(), position, flaw }
    }

    /// Writes the bytes from `from` to `to` once more, as they are.
    ///
    /// They may be in the page cache alone, marked clean by an fsync that failed in an earlier
    /// process; only a new write makes the next sync carry them to the disk.
    pub(super) fn rewrite(&self, from: u64, to: u64) -> Result<(), LogError> {
        let size = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size];
        let count = self.file.read_at(&mut bytes, from).during("read", &self.path)?;
        bytes.truncate(count);
        self.file.write_at(&bytes, from).during("write", &self.path)
    }
}
