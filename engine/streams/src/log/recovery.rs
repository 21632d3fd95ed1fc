//! Opening a log: finding out what a crash left, and what only a failing disk can have left.
//!
//! Segments form a chain: the first begins at offset 0, each is sealed and says where the next
//! begins, and the last one grows. Everything is read and judged before anything is changed, so
//! that an error leaves the folder as it was. A crash may leave exactly this:
//!
//! - a torn end of the last segment: cut ([`tail`](super::tail));
//! - a new last segment without records, and none or a torn seal before it: the roll is undone;
//! - segments that a compaction has merged into an earlier one: removed;
//! - files that were never finished: removed.
//!
//! Anything else is damage, and an error that says where. All of the log is read for this, at the
//! speed of the disk: what can't be read is noticed now, not when it is needed.
//!
//! INVARIANT: whatever is visible after opening is durable. An earlier process may have died
//! between a write and its sync, so the folder is synced before names are trusted, and what no
//! later write proves durable is written and synced again.

use std::sync::Arc;

use caed_core::position::Offset;
use caed_core::time::UnixMillis;

use super::disk::Disk;
use super::error::{Flaw, LogError};
use super::frame::Checksum;
use super::identity::{self, Identity};
use super::place::{During, Place};
use super::reader::{LogReader, Shared};
use super::segment::{self, Segment};
use super::survey::{Density, Ending, Found};
use super::tail::Tail;
use super::writer::LogWriter;
use super::{compaction, limits};

/// How to open a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size at which a segment is sealed. May differ from one start to the next.
    pub segment_bytes: u64,
    /// What a log becomes that is made now; one that exists keeps its own.
    pub identity_if_new: Identity,
}

/// An open log.
pub struct Log {
    /// The one writer.
    pub writer: LogWriter,
    /// A reader; clone it for more.
    pub reader: LogReader,
    /// What had to be put right. Worth a line in the operator's log.
    pub repair: Repair,
}

/// What a crash had left, and opening has put right. Nothing of it had been acknowledged, unless
/// the disk damaged the very last batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Bytes cut from the end of the last segment.
    pub torn_bytes: u64,
    /// That segment, and the position from which it was cut.
    pub torn_at: Option<(String, u64)>,
    /// Files that were superseded or never finished.
    pub files_removed: usize,
}

impl Options {
    /// The usual ones.
    pub const fn new(identity_if_new: Identity) -> Self {
        Self { segment_bytes: limits::SEGMENT_BYTES_DEFAULT, identity_if_new }
    }
}

/// Opens the log in a folder, or makes it if there is none.
pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Log, LogError> {
    let folder = Place::folder(&*disk);
    let Some(lock) = disk.lock().during("lock", folder)? else {
        return Err(LogError::Locked { folder: disk.location() });
    };
    disk.sync_folder().during("sync", folder)?;
    let mut names = disk.list().during("list", folder)?;
    let identity = if let Some(identity) = identity::read(&*disk, &names)? {
        identity
    } else {
        let identity = identity::create(&*disk, &names, options.identity_if_new)?;
        names = disk.list().during("list", folder)?;
        identity
    };
    let checksum = Checksum::of(identity.incarnation);
    let (segments, repair) = Chain::read(&*disk, checksum, &names)?.repair(&*disk, checksum)?;
    let Some(active) = segments.last().map(Arc::clone) else {
        return Err(LogError::SegmentMissing { folder: disk.location(), base: Offset(0) });
    };
    let shared = Arc::new(Shared::new(identity, checksum, segments.into()));
    let reader = LogReader { shared: Arc::clone(&shared) };
    let writer = LogWriter::new(disk, shared, options.segment_bytes, active, lock);
    Ok(Log { writer, reader, repair })
}

/// A log that is found to be whole, apart from what a crash explains.
struct Chain {
    sealed: Vec<Segment>,
    tail: Tail,
    /// The names of files that are of no use.
    leftovers: Vec<String>,
}

impl Chain {
    /// Reads and judges; changes nothing.
    fn read(disk: &dyn Disk, checksum: Checksum, names: &[String]) -> Result<Self, LogError> {
        let missing = |base| LogError::SegmentMissing { folder: disk.location(), base };
        let mut bases: Vec<Offset> = names.iter().filter_map(|n| segment::base_of(n)).collect();
        bases.sort_unstable();
        let unfinished = [identity::UNFINISHED_NAME, compaction::UNFINISHED_NAME];
        let mut leftovers: Vec<String> =
            names.iter().filter(|name| unfinished.contains(&name.as_str())).cloned().collect();
        let mut sealed: Vec<Segment> = Vec::new();
        let (mut end, mut append_time) = (Offset(0), UnixMillis::ZERO);

        let Some((&last, earlier)) = bases.split_last() else { return Err(missing(end)) };
        for &base in earlier {
            if base < end {
                leftovers.push(segment::name_of(base));
                continue;
            }
            if base > end {
                return Err(missing(end));
            }
            let found = Found::open(disk, base)?;
            let survey = found.survey(checksum, append_time, Density::Sparse)?;
            let Ending::Sealed(seal) = survey.ending else {
                if earlier.last() == Some(&base) && is_unused(disk, last)? {
                    let survey = found.survey(checksum, append_time, Density::Dense)?;
                    let tail = Tail::new(found, survey, checksum, last)?;
                    leftovers.push(segment::name_of(last));
                    return Ok(Self { sealed, tail, leftovers });
                }
                let (position, flaw) = match survey.ending {
                    Ending::Flawed(position, flaw) => (position, flaw),
                    _ => (survey.extent.frames_end, Flaw::Unsealed),
                };
                return Err(found.corrupt(position, flaw));
            };
            let mut extent = survey.extent;
            extent.seal(seal);
            (end, append_time) = (extent.end, extent.append_time);
            sealed.push(found.into_segment(extent));
        }

        if last != end {
            return Err(missing(end));
        }
        let found = Found::open(disk, last)?;
        let survey = found.survey(checksum, append_time, Density::Dense)?;
        if let Ending::Sealed(seal) = survey.ending {
            return Err(missing(seal.end));
        }
        let tail = Tail::new(found, survey, checksum, last)?;
        Ok(Self { sealed, tail, leftovers })
    }

    /// Puts right what a crash left.
    fn repair(
        self,
        disk: &dyn Disk,
        checksum: Checksum,
    ) -> Result<(Vec<Arc<Segment>>, Repair), LogError> {
        let mut repair = Repair::default();
        let tail = &self.tail;
        if tail.torn_bytes() > 0 {
            repair.torn_bytes = tail.torn_bytes();
            repair.torn_at = Some((tail.found.path.clone(), tail.survey.extent.frames_end));
        }
        if tail.survey.extent.is_empty()
            && let Some(last) = self.sealed.last()
        {
            // No record proves yet that this seal reached the disk.
            let extent = last.extent();
            let bytes = extent.to_seal().encode(checksum);
            last.file.write_at(&bytes, extent.frames_end).during("write", &last.path)?;
            last.file.sync().during("sync", &last.path)?;
        }
        let active = self.tail.repair()?;
        repair.files_removed = self.leftovers.len();
        for name in &self.leftovers {
            disk.remove(name).during("remove", Place { disk, name })?;
        }
        if !self.leftovers.is_empty() {
            disk.sync_folder().during("sync", Place::folder(disk))?;
        }
        let segments = self.sealed.into_iter().chain([active]).map(Arc::new).collect();
        Ok((segments, repair))
    }
}

/// Whether nothing was ever appended to the last segment.
fn is_unused(disk: &dyn Disk, last: Offset) -> Result<bool, LogError> {
    Ok(Found::open(disk, last)?.size_bytes <= segment::HEADER_BYTES)
}
