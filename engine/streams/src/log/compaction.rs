//! Compaction: sealed segments lose the records that nobody needs any more.
//!
//! Offsets of the others never change; the log becomes sparse, as in Kafka. Neighbours that fit
//! into one segment become one, so that a log of few live records has few files.
//!
//! Safe at every instant: the new file is written under another name and synced, then renamed over
//! the first segment of its run, then the rename is made durable, and only then do the others of
//! the run go. A crash leaves either a file to throw away, or segments that the new one covers,
//! which the next start removes. A failure before the rename is no danger to the log and does not
//! poison the writer.
//!
//! Deliberately absent: knowing what is needed; the caller's `keep` says so. The segment that
//! still grows is left alone: see [`LogWriter::roll`].

use std::ops::ControlFlow;
use std::sync::Arc;

use caed_core::position::Offset;
use caed_core::time::UnixMillis;

use super::error::LogError;
use super::frame::{Record, SEAL_BYTES};
use super::limits::COPY_BYTES;
use super::place::{During, Place};
use super::segment::{self, Extent, Segment};
use super::writer::LogWriter;

/// Where the new file is written.
pub(super) const UNFINISHED_NAME: &str = "compaction.tmp";

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Records that are gone.
    pub records_removed: u64,
    /// Bytes that the files of the log take less.
    pub bytes_freed: u64,
}

/// Sealed segments, one after the other, that become one.
struct Run {
    segments: Vec<Arc<Segment>>,
    /// For each record of each segment, in order, whether it stays. 1 byte a record, of at most
    /// one segment's worth of them.
    keep: Vec<bool>,
    /// The size of what they become.
    size_bytes: u64,
}

impl LogWriter {
    /// Removes every record of the sealed segments that `keep` refuses, which it sees once each,
    /// in order. Appends wait meanwhile; where that matters, go by [`Self::compact_from`].
    pub fn compact(
        &mut self,
        keep: &mut dyn FnMut(&Record) -> bool,
    ) -> Result<Compacted, LogError> {
        let mut total = Compacted::default();
        let mut from = Offset(0);
        while let Some((compacted, next)) = self.compact_from(from, keep)? {
            total.records_removed += compacted.records_removed;
            total.bytes_freed += compacted.bytes_freed;
            from = next;
        }
        Ok(total)
    }

    /// Compacts the sealed segment that holds `from`, with those after it that fit into the same
    /// file, and says where to go on; `None` if all that is left still grows.
    pub fn compact_from(
        &mut self,
        from: Offset,
        keep: &mut dyn FnMut(&Record) -> bool,
    ) -> Result<Option<(Compacted, Offset)>, LogError> {
        self.check()?;
        let segments = self.shared.segments();
        let sealed = segments.split_last().map_or(&[][..], |(_, sealed)| sealed);
        let first = sealed.partition_point(|segment| segment.extent().end <= from);
        let run = self.choose(sealed.get(first..).unwrap_or_default(), keep)?;
        let Some(last) = run.segments.last() else { return Ok(None) };
        let next = last.extent().end;
        let removed = run.keep.iter().filter(|keep| !**keep).count() as u64;
        if removed == 0 && run.segments.len() == 1 {
            return Ok(Some((Compacted::default(), next)));
        }
        let before: u64 = run.segments.iter().map(|segment| segment.extent().size_bytes).sum();
        let merged = match self.merge(&run) {
            Ok(merged) => Arc::new(merged),
            Err(error) => {
                // Whatever is left of it, the next compaction or the next start removes.
                let _ = self.disk.remove(UNFINISHED_NAME);
                return Err(error);
            }
        };
        let compacted = Compacted {
            records_removed: removed,
            bytes_freed: before.saturating_sub(merged.extent().size_bytes),
        };
        let installed = self.install(&run, merged);
        self.poison_on_error(installed)?;
        Ok(Some((compacted, next)))
    }

    /// The first of `sealed`, and those after it that fit into one segment with what is kept of it.
    fn choose(
        &self,
        sealed: &[Arc<Segment>],
        keep: &mut dyn FnMut(&Record) -> bool,
    ) -> Result<Run, LogError> {
        let empty = segment::HEADER_BYTES + SEAL_BYTES as u64;
        let mut run = Run { segments: Vec::new(), keep: Vec::new(), size_bytes: empty };
        for segment in sealed {
            // Judged by its size as it is, so that `keep` never sees a record twice.
            let size_bytes =
                run.size_bytes.saturating_add(segment.extent().size_bytes.saturating_sub(empty));
            if !run.segments.is_empty() && size_bytes > self.segment_bytes {
                break;
            }
            segment.visit(self.shared.checksum, segment::HEADER_BYTES, &mut |frame, bytes| {
                let keeps = keep(&frame.to_record());
                run.keep.push(keeps);
                run.size_bytes += if keeps { bytes.len() as u64 } else { 0 };
                Ok(ControlFlow::Continue(()))
            })?;
            run.segments.push(Arc::clone(segment));
        }
        Ok(run)
    }

    /// Writes what is kept of a run into a file of its own, durable but not yet part of the log.
    fn merge(&self, run: &Run) -> Result<Segment, LogError> {
        let disk = &*self.disk;
        let checksum = self.shared.checksum;
        let base = run.segments.first().map_or(Offset(0), |segment| segment.base);
        let unfinished = Place { disk, name: UNFINISHED_NAME };
        if disk.list().during("list", Place::folder(disk))?.iter().any(|n| n == UNFINISHED_NAME) {
            disk.remove(UNFINISHED_NAME).during("remove", unfinished)?;
        }
        let file = disk.create(UNFINISHED_NAME).during("create", unfinished)?;
        let mut extent = Extent::empty(base, UnixMillis::ZERO);
        let mut written = 0;
        let mut pending = segment::header(base, checksum);
        let mut keep = run.keep.iter();
        for segment in &run.segments {
            segment.visit(checksum, segment::HEADER_BYTES, &mut |frame, bytes| {
                if keep.next().copied().unwrap_or(true) {
                    extent.add(&frame);
                    pending.extend_from_slice(bytes);
                }
                if pending.len() >= COPY_BYTES {
                    file.write_at(&pending, written).during("write", unfinished)?;
                    written += pending.len() as u64;
                    pending.clear();
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        if let Some(last) = run.segments.last() {
            extent.seal(last.extent().to_seal());
        }
        pending.extend(extent.to_seal().encode(checksum));
        file.write_at(&pending, written).during("write", unfinished)?;
        file.sync().during("sync", unfinished)?;
        let path = Place { disk, name: &segment::name_of(base) }.to_string();
        Ok(Segment::new(base, file, path, extent))
    }

    /// Puts the merged segment in the place of its run.
    fn install(&self, run: &Run, merged: Arc<Segment>) -> Result<(), LogError> {
        let disk = &*self.disk;
        let base = merged.base;
        let name = segment::name_of(base);
        disk.rename(UNFINISHED_NAME, &name).during("rename", &merged.path)?;
        disk.sync_folder().during("sync", Place::folder(disk))?;
        let end = merged.extent().end;
        let segments = self.shared.segments();
        let before = segments.iter().filter(|segment| segment.base < base).cloned();
        let after = segments.iter().filter(|segment| segment.base >= end).cloned();
        self.shared.replace(before.chain([merged]).chain(after).collect());
        // INVARIANT: these go only now that the segment that covers them is durable.
        for covered in run.segments.iter().skip(1) {
            disk.remove(&segment::name_of(covered.base)).during("remove", &covered.path)?;
        }
        disk.sync_folder().during("sync", Place::folder(disk))
    }
}
