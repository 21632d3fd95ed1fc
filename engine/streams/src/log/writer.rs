//! Appending: the one writer of a log.
//!
//! [`LogWriter::append`] returns when the records are durable, and only then are they published to
//! readers. There is one writer by type: it has no `Clone`, and it holds the lock of the folder.
//!
//! The first write, sync or rename that fails poisons the writer. After a failed fsync the page
//! cache may show bytes as clean that never reached the disk, and a second fsync would succeed
//! without writing them; so it is never tried again, and only a restart, which writes the tail anew
//! and reads what is there, goes on. SOURCE: fsync(2), and "Can Applications Recover from fsync
//! Failures?", USENIX ATC 2020.
//!
//! Deliberately absent: batching of callers, which belongs to whoever owns the writer.

use std::ops::Range;
use std::sync::Arc;

use caed_core::position::Offset;
use caed_core::time::UnixMillis;

use super::disk::{Disk, DiskLock};
use super::error::LogError;
use super::frame::{Frame, HEADER_BYTES, Key, SEAL_BYTES};
use super::limits::BATCH_BYTES_MAX;
use super::place::{During, Place};
use super::reader::Shared;
use super::segment::Segment;

/// Appends to a log, and compacts it.
pub struct LogWriter {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) shared: Arc<Shared>,
    pub(super) segment_bytes: u64,
    /// The last segment, the only one that grows.
    pub(super) active: Arc<Segment>,
    /// The first failure after which nobody knows what is on the disk.
    failure: Option<String>,
    /// The bytes of a batch; kept to spare allocations.
    bytes: Vec<u8>,
    /// Keeps other processes out.
    _lock: DiskLock,
}

impl LogWriter {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        segment_bytes: u64,
        active: Arc<Segment>,
        lock: DiskLock,
    ) -> Self {
        let bytes = Vec::new();
        Self { disk, shared, segment_bytes, active, failure: None, bytes, _lock: lock }
    }

    /// Appends `records` in order and returns their offsets once they are durable.
    ///
    /// All have the same append time: `now`, or that of the last record if the clock went back.
    /// After an error none is visible before the next start, which may find some of them: whoever
    /// got the error has to append them again.
    pub fn append<P: AsRef<[u8]>>(
        &mut self,
        now: UnixMillis,
        records: &[(Key, P)],
    ) -> Result<Range<Offset>, LogError> {
        self.check()?;
        let bytes = batch_bytes(records);
        if bytes > BATCH_BYTES_MAX {
            return Err(LogError::BatchTooLarge { bytes, limit: BATCH_BYTES_MAX });
        }
        let extent = self.active.extent();
        if records.is_empty() {
            return Ok(extent.end..extent.end);
        }
        let append_time = now.max(extent.append_time);
        self.bytes.clear();
        for frame in frames(records, extent.end, append_time) {
            frame.encode(self.shared.checksum, &mut self.bytes)?;
        }
        let size_bytes = extent.frames_end.saturating_add((bytes + SEAL_BYTES) as u64);
        if size_bytes > self.segment_bytes {
            self.roll()?;
        }
        let written = self.write_batch();
        self.poison_on_error(written)?;
        self.active.publish(|active| {
            for frame in frames(records, extent.end, append_time) {
                active.add(&frame);
            }
        });
        Ok(extent.end..self.active.extent().end)
    }

    /// Seals the segment that grows and begins a new one; nothing if it has no records.
    ///
    /// Worth calling before a compaction, which leaves that segment alone, and before a planned
    /// stop: damage to a sealed segment is always told from a torn write.
    pub fn roll(&mut self) -> Result<(), LogError> {
        self.check()?;
        if self.active.extent().is_empty() {
            return Ok(());
        }
        let rolled = self.begin_segment();
        self.active = self.poison_on_error(rolled)?;
        Ok(())
    }

    fn write_batch(&self) -> Result<(), LogError> {
        let active = &self.active;
        let position = active.extent().frames_end;
        active.file.write_at(&self.bytes, position).during("write", &active.path)?;
        active.file.sync().during("sync", &active.path)
    }

    fn begin_segment(&self) -> Result<Arc<Segment>, LogError> {
        let (disk, old) = (&*self.disk, &self.active);
        let extent = old.extent();
        // INVARIANT: a seal proves that the next segment is durable, its name included.
        let new = Segment::create(disk, extent.end, self.shared.checksum)?;
        new.publish(|fresh| fresh.append_time = extent.append_time);
        disk.sync_folder().during("sync", Place::folder(disk))?;
        let seal = extent.to_seal();
        let bytes = seal.encode(self.shared.checksum);
        old.file.write_at(&bytes, extent.frames_end).during("write", &old.path)?;
        old.file.sync().during("sync", &old.path)?;
        old.publish(|old| old.seal(seal));
        let new = Arc::new(new);
        let segments = self.shared.segments();
        self.shared.replace(segments.iter().cloned().chain([Arc::clone(&new)]).collect());
        Ok(new)
    }

    /// Refuses everything after a failure.
    pub(super) fn check(&self) -> Result<(), LogError> {
        match &self.failure {
            None => Ok(()),
            Some(cause) => {
                Err(LogError::Poisoned { folder: self.disk.location(), cause: cause.clone() })
            }
        }
    }

    /// Remembers the first failure.
    pub(super) fn poison_on_error<T>(
        &mut self,
        result: Result<T, LogError>,
    ) -> Result<T, LogError> {
        if let Err(error) = &result
            && self.failure.is_none()
        {
            self.failure = Some(error.in_full());
        }
        result
    }
}

/// What a batch takes in a segment.
fn batch_bytes<P: AsRef<[u8]>>(records: &[(Key, P)]) -> usize {
    records.iter().fold(0, |bytes: usize, (_, payload)| {
        bytes.saturating_add(HEADER_BYTES).saturating_add(payload.as_ref().len())
    })
}

/// The records of a batch as they will lie in the segment.
fn frames<P: AsRef<[u8]>>(
    records: &[(Key, P)],
    start: Offset,
    append_time: UnixMillis,
) -> impl Iterator<Item = Frame<'_>> {
    records.iter().zip(0_u32..).map(move |((key, payload), batch_index)| Frame {
        offset: Offset(start.0.saturating_add(u64::from(batch_index))),
        append_time,
        batch_index,
        key: *key,
        payload: payload.as_ref(),
    })
}
