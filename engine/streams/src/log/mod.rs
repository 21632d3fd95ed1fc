//! The embedded log: where events are kept when there is no Kafka.
//!
//! One partition, append-only, of records that are opaque to it: an offset, an append time, a key,
//! a payload. It is a folder of segments, each a file of checksummed frames; what it promises is
//! that a record whose append returned is there after any crash, with the same offset and the same
//! bytes, until a compaction is told that nobody needs it.
//!
//! | file | what it knows |
//! |---|---|
//! | `disk` | what is asked of a disk, and relied on; `folder` is the real one, `simulated` the one that fails |
//! | `frame` | the bytes of a record and of a seal |
//! | `scan` | walking through frames |
//! | `segment` | one file of them: header, extent, look-up |
//! | `identity` | which log this is |
//! | `recovery` | opening: the chain of segments; `survey` reads one, `tail` repairs the last |
//! | `writer` | appending, rolling, and what a failed write means |
//! | `reader` | reading beside the writer |
//! | `compaction` | dropping what is not needed |
//! | `limits`, `error`, `place` | bounds; what can go wrong; where |
//!
//! Invariants:
//! 1. Readers see durable records alone.
//! 2. An offset is given once: never again, not even when its record was compacted away.
//! 3. Append times never decrease.
//! 4. What was acknowledged and is not there is an error at the next start, never a shorter log.
//!    (The one exception is damage to the last batch before a crash: see `tail`.)
//! 5. Nothing is retried after a failed write.
//!
//! Deliberately absent: tasks and waiting (all here is synchronous), a clock (`now` comes in),
//! decoding, more than one partition, replication.

mod compaction;
mod disk;
mod error;
mod folder;
mod frame;
mod identity;
pub mod limits;
mod place;
mod reader;
mod recovery;
mod scan;
mod segment;
#[cfg(any(test, feature = "simulated-disk"))]
pub mod simulated;
mod survey;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use compaction::Compacted;
pub use disk::{Disk, DiskFile, DiskLock};
pub use error::{Fault, Flaw, LogError};
pub use folder::FolderDisk;
pub use frame::{Key, Record};
pub use identity::Identity;
pub use reader::{LogCursor, LogReader};
pub use recovery::{Log, Options, Repair, open};
pub use writer::LogWriter;
