//! Reading the log, from any number of threads, beside the one that writes.
//!
//! A [`LogReader`] is a handle that is cheap to clone. A [`LogCursor`] remembers where its last read
//! ended, so that following the tail costs what is new and nothing else.
//!
//! INVARIANT: a reader sees durable records alone, each whole and in order. A cursor that stands in
//! a segment that is compacted meanwhile goes on in the old file until its end.
//!
//! Deliberately absent: waiting for new records. Whoever appends knows when there are some.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use caed_core::position::Offset;

use super::error::LogError;
use super::frame::{Checksum, Record};
use super::identity::Identity;
use super::limits::READ_BYTES_MAX;
use super::segment::Segment;

/// The segments of a log, in order; never empty. Replaced as a whole, never changed.
pub(super) type Segments = Arc<[Arc<Segment>]>;

/// What the writer shares with its readers.
pub(super) struct Shared {
    pub(super) identity: Identity,
    pub(super) checksum: Checksum,
    segments: RwLock<Segments>,
}

/// Reads the durable part of a log.
#[derive(Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

/// Reads a log in order and remembers where it stands.
#[derive(Clone)]
pub struct LogCursor {
    reader: LogReader,
    next: Offset,
    /// Where the record at `next`, or the first after it, begins, and in which segment. Holding
    /// the segment keeps its file readable when compaction has replaced it.
    place: Option<(Arc<Segment>, u64)>,
}

impl Shared {
    pub(super) fn new(identity: Identity, checksum: Checksum, segments: Segments) -> Self {
        Self { identity, checksum, segments: RwLock::new(segments) }
    }

    pub(super) fn segments(&self) -> Segments {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, segments: Segments) {
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = segments;
    }
}

impl LogReader {
    /// Which log this is.
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// The offset after the last durable record: the one that the next append will give.
    pub fn durable_end(&self) -> Offset {
        self.shared.segments().last().map_or(Offset(0), |segment| segment.extent().end)
    }

    /// The bytes of all segments on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.shared.segments().iter().map(|segment| segment.extent().size_bytes).sum()
    }

    /// The records from `from` on, as [`LogCursor::read`] gives them. To read on, take a cursor.
    pub fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        self.cursor(from).read(bytes_max)
    }

    /// A cursor that stands before the record at `from`, or before the first one after it.
    pub fn cursor(&self, from: Offset) -> LogCursor {
        LogCursor { reader: self.clone(), next: from, place: None }
    }

    /// The segment that holds `offset`, unless that is not durable yet.
    fn segment_of(&self, offset: Offset) -> Option<Arc<Segment>> {
        let segments = self.shared.segments();
        let after = segments.partition_point(|segment| segment.base <= offset);
        let segment = segments.get(after.checked_sub(1)?)?;
        (offset < segment.extent().end).then(|| Arc::clone(segment))
    }
}

impl LogCursor {
    /// The offset that the next read begins at. Offsets below have been read, or hold no record.
    pub const fn next_offset(&self) -> Offset {
        self.next
    }

    /// A handle on the log that it reads.
    pub const fn reader(&self) -> &LogReader {
        &self.reader
    }

    /// The next records in order of their offsets: as many as fit into `bytes_max` with their
    /// headers (and into [`READ_BYTES_MAX`]), but at least one if there is one; none at the end.
    pub fn read(&mut self, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        self.read_below(Offset(u64::MAX), bytes_max)
    }

    /// As [`Self::read`], but no record at `end` or after it. So whoever knows where an append ended
    /// can read to there and no further.
    pub fn read_below(&mut self, end: Offset, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        let before = self.next;
        let bytes_max = bytes_max.min(READ_BYTES_MAX);
        let mut batch = Batch { records: Vec::new(), end, bytes: 0, bytes_max };
        match self.fill(&mut batch) {
            Ok(()) => Ok(batch.records),
            Err(error) => {
                // What was read before the error is not returned, so it has to be read again.
                self.next = before;
                self.place = None;
                Err(error)
            }
        }
    }

    /// Adds records to `batch` until it is full or the log ends.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), LogError> {
        while let Some((segment, position)) = self.locate() {
            let extent = segment.extent();
            let stopped_at = self.read_segment(&segment, position, batch)?;
            self.place = Some((segment, stopped_at));
            if stopped_at < extent.frames_end {
                break;
            }
            self.next = self.next.max(extent.end);
        }
        Ok(())
    }

    /// Where to read on; `None` at the end.
    fn locate(&mut self) -> Option<(Arc<Segment>, u64)> {
        if let Some((segment, position)) = &self.place
            && self.next < segment.extent().end
        {
            return Some((Arc::clone(segment), *position));
        }
        let segment = self.reader.segment_of(self.next)?;
        let position = segment.position_near(self.next);
        Some((segment, position))
    }

    /// Adds records of one segment, and says where the first one begins that was not added.
    fn read_segment(
        &mut self,
        segment: &Segment,
        position: u64,
        batch: &mut Batch,
    ) -> Result<u64, LogError> {
        let next = &mut self.next;
        segment.visit(self.reader.shared.checksum, position, &mut |frame, bytes| {
            if frame.offset >= *next {
                if frame.offset >= batch.end {
                    // Below it there is no record that was not read.
                    *next = (*next).max(batch.end);
                    return Ok(ControlFlow::Break(()));
                }
                if !batch.admit(bytes.len()) {
                    return Ok(ControlFlow::Break(()));
                }
                *next = frame.offset.next();
                batch.records.push(frame.to_record());
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// The records of one read.
struct Batch {
    records: Vec<Record>,
    end: Offset,
    bytes: usize,
    bytes_max: usize,
}

impl Batch {
    /// Counts one more frame, if it fits or is the first.
    fn admit(&mut self, size: usize) -> bool {
        self.bytes = self.bytes.saturating_add(size);
        self.records.is_empty() || self.bytes <= self.bytes_max
    }
}
