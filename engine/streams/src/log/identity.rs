//! Which log a folder holds: written once when the log is made, never changed.
//!
//! ```text
//! identity   checksum 4 | "caedlog1" 8 | incarnation 16 | horizon in ms 8
//! ```
//!
//! A log is made in this order: its first segment, empty and synced; then the identity under
//! another name, synced; then its rename. So an identity without segments is a log that lost them,
//! and segments with records but no identity are a log that lost that; both are errors. Only an
//! empty first segment without an identity is a log that was never finished, and is made anew.

use std::time::Duration;

use caed_core::position::{Incarnation, Offset};

use super::disk::Disk;
use super::error::{Flaw, LogError};
use super::frame::{Checksum, Fields};
use super::place::{During, Place};
use super::segment::{self, Segment};

/// The name of the file.
pub(super) const NAME: &str = "identity";

/// Its name until it is whole.
pub(super) const UNFINISHED_NAME: &str = "identity.tmp";

/// What the file begins with, after its checksum; the last letter is the version of all formats.
const MAGIC: [u8; 8] = *b"caedlog1";

/// The bytes of the file.
const BYTES: usize = 36;

/// What a log is, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at random by whoever makes the log, so that offsets of another log are never taken
    /// for offsets of this one.
    pub incarnation: Incarnation,
    /// For how long events matter, in whole milliseconds.
    pub horizon: Duration,
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let horizon_ms = u64::try_from(self.horizon.as_millis()).unwrap_or(u64::MAX);
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&horizon_ms.to_le_bytes());
        checksum().fill(&mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Flaw> {
        let mut fields = Fields(checksum().verify(bytes)?);
        if fields.take()? != MAGIC {
            return Err(Flaw::Header);
        }
        let incarnation = Incarnation(fields.take()?);
        let horizon = Duration::from_millis(u64::from_le_bytes(fields.take()?));
        fields.finish()?;
        Ok(Self { incarnation, horizon })
    }
}

/// The checksum of the identity itself, which can't begin with the incarnation.
fn checksum() -> Checksum {
    Checksum::of(Incarnation([0; 16]))
}

/// Reads the identity of the log, `None` if there is none.
pub(super) fn read(disk: &dyn Disk, names: &[String]) -> Result<Option<Identity>, LogError> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(None);
    }
    let place = Place { disk, name: NAME };
    let file = disk.open(NAME).during("open", place)?;
    // One byte more than there should be, so that a longer file is noticed.
    let mut bytes = [0; BYTES + 1];
    let count = file.read_at(&mut bytes, 0).during("read", place)?;
    match Identity::decode(bytes.get(..count).unwrap_or_default()) {
        Ok(identity) => Ok(Some(identity)),
        Err(_) => Err(LogError::IdentityDamaged { file: place.to_string() }),
    }
}

/// Makes a new log in a folder that has none.
pub(super) fn create(
    disk: &dyn Disk,
    names: &[String],
    identity: Identity,
) -> Result<Identity, LogError> {
    for name in names.iter().filter(|name| segment::base_of(name).is_some()) {
        let place = Place { disk, name };
        let size_bytes =
            disk.open(name).and_then(|file| file.size_bytes()).during("open", place)?;
        if segment::base_of(name) != Some(Offset(0)) || size_bytes > segment::HEADER_BYTES {
            return Err(LogError::IdentityMissing { folder: disk.location() });
        }
        disk.remove(name).during("remove", place)?;
    }
    if names.iter().any(|name| name == UNFINISHED_NAME) {
        disk.remove(UNFINISHED_NAME).during("remove", Place { disk, name: UNFINISHED_NAME })?;
    }
    let identity = Identity {
        // Exactly what a restart will read.
        horizon: Duration::from_millis(
            u64::try_from(identity.horizon.as_millis()).unwrap_or(u64::MAX),
        ),
        ..identity
    };
    Segment::create(disk, Offset(0), Checksum::of(identity.incarnation))?;
    disk.sync_folder().during("sync", Place::folder(disk))?;

    let place = Place { disk, name: UNFINISHED_NAME };
    let file = disk.create(UNFINISHED_NAME).during("create", place)?;
    file.write_at(&identity.encode(), 0).during("write", place)?;
    file.sync().during("sync", place)?;
    disk.rename(UNFINISHED_NAME, NAME).during("rename", place)?;
    disk.sync_folder().during("sync", Place::folder(disk))?;
    Ok(identity)
}
