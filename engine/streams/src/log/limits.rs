//! Every bound of the embedded log, with its unit, its source and what happens at it.
//!
//! INVARIANT: what a bound once let into a file must be readable for ever, so that
//! [`PAYLOAD_BYTES_MAX`] may grow from one release to the next but never shrink.

use super::frame;

/// The largest payload, in bytes. A larger one is refused by `append`; a length field above it is
/// damage. Guess: Kafka refuses larger records by default (`max.message.bytes`), and events have a
/// few hundred bytes.
pub const PAYLOAD_BYTES_MAX: u32 = 1024 * 1024;

/// The largest batch, in bytes of frames, headers included. A larger one is refused by `append`.
/// Guess: it is held in memory twice, when it is written and once at the next start.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The size in bytes at which a segment is sealed and a new one begun, unless the options say
/// otherwise. Guess: appends wait while one segment is compacted, which takes some tenths of a
/// second at this size; and one file is kept open per segment, 48 for a log of 1.5 GB.
pub const SEGMENT_BYTES_DEFAULT: u64 = 32 * 1024 * 1024;

/// The most that one read returns, in bytes of frames, whatever the caller asks for. Guess: as
/// much as the largest batch.
pub const READ_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// How many bytes a scan reads at a time. A longer frame is read in one piece. Guess: the cost of
/// a system call vanishes at this size.
pub(super) const SCAN_BYTES: usize = 64 * 1024;

/// How many bytes compaction collects before it writes them.
pub(super) const COPY_BYTES: usize = 1024 * 1024;

/// The distance in bytes between two places in a segment whose offsets are remembered: a look-up
/// reads at most this much before it meets its record. 16 bytes of memory for each. Guess.
pub(super) const LANDMARK_BYTES: u64 = 64 * 1024;

const _: () = assert!(
    frame::HEADER_BYTES + PAYLOAD_BYTES_MAX as usize <= BATCH_BYTES_MAX,
    "the largest payload must fit into a batch"
);
const _: () = assert!(
    BATCH_BYTES_MAX / frame::HEADER_BYTES < u32::MAX as usize,
    "the place of a record in its batch must fit into 32 bits"
);
const _: () = assert!(PAYLOAD_BYTES_MAX < frame::SEAL_MARK, "no length may look like a seal");
