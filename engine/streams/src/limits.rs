//! Bounds of this crate's queues and batches.

use std::time::Duration;

/// Bytes of records that a source hands over at once. Guess: large enough that publishing a
/// snapshot per batch costs little while replaying, small enough to keep memory flat.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Records that are decoded before the first of them is applied, so that the memory which they change is waited for
/// once and not for each. Guess: several times as many as a processor can wait for at once.
pub const RECORDS_AHEAD: usize = 64;

/// How long a snapshot waits while there is more to apply. Where nothing else waits it does not. A change that was
/// appended waits so much longer for its decisions while events come faster than each could have a snapshot.
pub const PUBLICATION_DELAY_MAX: Duration = Duration::from_millis(10);

/// Calls to publish that may wait for the disk, of at most 4 MiB each. More are refused as busy.
/// Guess: with one sync for all that wait, a full queue is a disk that has stopped.
pub const APPEND_QUEUE_MAX: usize = 256;

/// Records after which no further call joins those that are synced together. Guess: the sync costs
/// less than writing so many.
pub const GROUP_RECORDS_MAX: usize = 4096;

/// How often a source says where its log ends when nothing else happens: the age that answers show
/// is at most this while all is well.
pub const END_INTERVAL: Duration = Duration::from_millis(250);

/// How often the applier looks for cutoffs to forget. Each look covers a part of the state; all of
/// it is seen within a few minutes, which a horizon of hours does not notice.
pub const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// How often the embedded log is offered for compaction, one segment at a time. Guess: what it
/// drops is at least two horizons old, so nothing hurries.
pub const COMPACT_INTERVAL: Duration = Duration::from_mins(1);

/// How often a long first reading says how far it is.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Statements of a log's end that wait to be reached. At one a second this is half a minute; with
/// more the newest but one is dropped, which costs freshness of the age and nothing else.
pub const ENDS_MAX: usize = 32;

/// So many records of which none can be understood are a fault of the whole, not bad records.
/// Guess: fewer may well be one broken sender.
pub const SYSTEMIC_RECORDS: usize = 16;
