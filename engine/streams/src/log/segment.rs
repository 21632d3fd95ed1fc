//! One file of records, named by its first offset.
//!
//! ```text
//! segment   checksum 4 | "caedseg1" 8 | base 8 | records … | seal, once it will not grow
//! ```
//!
//! Only the last segment grows. The next one is made, and durable, before the seal is written, so
//! a sealed segment always has a successor: a log whose last segment is sealed has lost one. Each
//! begins where the seal before it says, so a gap between two is noticed as well.
//!
//! INVARIANT: [`Extent`] covers durable records alone. Readers go as far as it says, whatever the
//! file may hold beyond.

use std::ops::ControlFlow;
use std::sync::{PoisonError, RwLock};

use caed_core::position::Offset;
use caed_core::time::UnixMillis;

use super::disk::{Disk, DiskFile};
use super::error::{Flaw, LogError};
use super::frame::{Checksum, Fields, Frame, Item, SEAL_BYTES, Seal};
use super::limits::LANDMARK_BYTES;
use super::place::{During, Place};
use super::scan::{Scan, Step};

/// The bytes of a segment before its first record.
pub(super) const HEADER_BYTES: u64 = 20;

/// What a segment begins with, after its checksum.
const MAGIC: [u8; 8] = *b"caedseg1";

/// An open segment.
pub(super) struct Segment {
    /// The offset of its first record, or of one that was compacted away.
    pub(super) base: Offset,
    pub(super) file: Box<dyn DiskFile>,
    /// Its path, for messages.
    pub(super) path: String,
    extent: RwLock<Extent>,
}

/// Is shown a record and its bytes, and says whether to go on.
pub(super) type Show<'a> = &'a mut dyn FnMut(Frame<'_>, &[u8]) -> Result<ControlFlow<()>, LogError>;

/// What of a segment is durable.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    /// The offset after the last.
    pub(super) end: Offset,
    /// The position after the last record.
    pub(super) frames_end: u64,
    /// The bytes of the file, with the seal.
    pub(super) size_bytes: u64,
    /// When the last record before `end` was appended, even if it has been compacted away.
    pub(super) append_time: UnixMillis,
    /// Some of the records, in order: where look-ups begin.
    landmarks: Vec<Landmark>,
}

/// Where a record begins.
#[derive(Clone, Copy, Debug)]
struct Landmark {
    offset: Offset,
    position: u64,
}

impl Segment {
    /// Makes a segment without records. Its bytes are durable, its name is not yet.
    pub(super) fn create(
        disk: &dyn Disk,
        base: Offset,
        checksum: Checksum,
    ) -> Result<Self, LogError> {
        let name = name_of(base);
        let path = Place { disk, name: &name }.to_string();
        let file = disk.create(&name).during("create", &path)?;
        file.write_at(&header(base, checksum), 0).during("write", &path)?;
        file.sync().during("sync", &path)?;
        Ok(Self::new(base, file, path, Extent::empty(base, UnixMillis::ZERO)))
    }

    pub(super) fn new(base: Offset, file: Box<dyn DiskFile>, path: String, extent: Extent) -> Self {
        Self { base, file, path, extent: RwLock::new(extent) }
    }

    /// What of it is durable, without the landmarks.
    pub(super) fn extent(&self) -> Extent {
        let extent = self.extent.read().unwrap_or_else(PoisonError::into_inner);
        Extent { landmarks: Vec::new(), ..*extent }
    }

    /// Changes what is durable, once it is.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Extent)) {
        change(&mut self.extent.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// A position at or before the record at `offset`, and near it.
    pub(super) fn position_near(&self, offset: Offset) -> u64 {
        let extent = self.extent.read().unwrap_or_else(PoisonError::into_inner);
        let after = extent.landmarks.partition_point(|landmark| landmark.offset <= offset);
        let landmark = after.checked_sub(1).and_then(|index| extent.landmarks.get(index));
        landmark.map_or(HEADER_BYTES, |landmark| landmark.position)
    }

    /// Shows the durable records from `position` on, each with its bytes, until told to stop, and
    /// says where the first one begins that was not taken.
    pub(super) fn visit(
        &self,
        checksum: Checksum,
        position: u64,
        show: Show<'_>,
    ) -> Result<u64, LogError> {
        let mut scan = Scan::new(&*self.file, checksum, position, self.extent().frames_end);
        loop {
            let position = scan.position();
            match scan.next().during("read", &self.path)? {
                Step::Item(Item::Frame(frame), bytes) => {
                    if show(frame, bytes)?.is_break() {
                        return Ok(position);
                    }
                }
                Step::End => return Ok(position),
                Step::Item(Item::Seal(_), _) => {
                    return Err(self.corrupt(position, Flaw::Misplaced));
                }
                Step::Flaw(flaw) => return Err(self.corrupt(position, flaw)),
            }
        }
    }

    /// The error of a bad item at `position`.
    pub(super) fn corrupt(&self, position: u64, flaw: Flaw) -> LogError {
        LogError::Corrupt { file: self.path.clone(), position, flaw }
    }
}

impl Extent {
    /// That of a segment without records, after others whose last record has `append_time`.
    pub(super) const fn empty(base: Offset, append_time: UnixMillis) -> Self {
        Self {
            end: base,
            frames_end: HEADER_BYTES,
            size_bytes: HEADER_BYTES,
            append_time,
            landmarks: Vec::new(),
        }
    }

    /// One more record.
    pub(super) fn add(&mut self, frame: &Frame<'_>) {
        let position = self.frames_end;
        let last = self.landmarks.last().map_or(HEADER_BYTES, |landmark| landmark.position);
        if position >= last.saturating_add(LANDMARK_BYTES) {
            self.landmarks.push(Landmark { offset: frame.offset, position });
        }
        self.end = frame.offset.next();
        self.append_time = frame.append_time;
        self.frames_end = position.saturating_add(frame.size() as u64);
        self.size_bytes = self.frames_end;
    }

    /// No more records.
    pub(super) fn seal(&mut self, seal: Seal) {
        self.end = seal.end;
        self.append_time = seal.append_time;
        self.size_bytes = self.frames_end.saturating_add(SEAL_BYTES as u64);
    }

    /// The seal that belongs behind these records.
    pub(super) const fn to_seal(&self) -> Seal {
        Seal { end: self.end, append_time: self.append_time }
    }

    /// Whether there is no record at all.
    pub(super) const fn is_empty(&self) -> bool {
        self.frames_end == HEADER_BYTES
    }
}

/// The name of the segment that begins at `base`: names in order are offsets in order.
pub(super) fn name_of(base: Offset) -> String {
    format!("{:020}.log", base.0)
}

/// The first offset of the segment with this name, if it is one.
pub(super) fn base_of(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    let base = Offset(digits.parse().ok()?);
    // Refuses other spellings of the same number.
    (name_of(base) == name).then_some(base)
}

/// The bytes that a segment begins with.
pub(super) fn header(base: Offset, checksum: Checksum) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&base.0.to_le_bytes());
    checksum.fill(&mut bytes);
    bytes
}

/// Whether `bytes` are the header of the segment that begins at `base`.
pub(super) fn check_header(bytes: &[u8], base: Offset, checksum: Checksum) -> Result<(), Flaw> {
    let mut fields = Fields(checksum.verify(bytes).map_err(|_| Flaw::Header)?);
    let same = fields.take()? == MAGIC && Offset(u64::from_le_bytes(fields.take()?)) == base;
    if same { fields.finish() } else { Err(Flaw::Header) }
}
