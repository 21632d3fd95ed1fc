//! What can go wrong between the log and its disk, in one enum.
//!
//! Every variant says who can do something about it ([`LogError::fault`]). None is worth a retry
//! as it stands: a batch that is too large stays so, and after a failed write only a restart tells
//! what reached the disk.

use std::io;

use caed_core::position::Offset;

/// Why the log could not be opened, read, written or compacted.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process, or another writer in this one, has the folder.
    #[error(
        "the log in `{folder}` is in use by another process; stop that one, or configure another folder"
    )]
    Locked {
        /// Where the log is.
        folder: String,
    },
    /// The operating system refused.
    #[error("cannot {action} `{file}`")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        file: String,
        /// Its answer.
        source: io::Error,
    },
    /// Bytes that had been acknowledged are not what was written.
    #[error(
        "`{file}` is damaged at byte {position}: {flaw}; acknowledged events are missing, so restore the folder from a copy"
    )]
    Corrupt {
        /// The segment.
        file: String,
        /// Where in it the first bad item begins.
        position: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A segment that the others prove to have existed is not there.
    #[error(
        "the log in `{folder}` lacks the segment that begins at offset {}; restore it from a copy", .base.0
    )]
    SegmentMissing {
        /// Where the log is.
        folder: String,
        /// The first offset of the segment.
        base: Offset,
    },
    /// There are events, but nothing says which log they belong to.
    #[error("the log in `{folder}` has events but no `identity`; restore that file from a copy")]
    IdentityMissing {
        /// Where the log is.
        folder: String,
    },
    /// The identity is not what was written.
    #[error("`{file}` is damaged; restore it from a copy")]
    IdentityDamaged {
        /// The identity file.
        file: String,
    },
    /// The caller's record is larger than [`PAYLOAD_BYTES_MAX`](super::limits::PAYLOAD_BYTES_MAX).
    #[error("a record of {bytes} bytes exceeds the limit of {limit}")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: u32,
    },
    /// The caller's batch is larger than [`BATCH_BYTES_MAX`](super::limits::BATCH_BYTES_MAX).
    #[error("a batch of {bytes} bytes exceeds the limit of {limit}; append it in parts")]
    BatchTooLarge {
        /// Its size, with the headers of its records.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An earlier write failed, so that nobody knows what is on the disk.
    #[error(
        "the log in `{folder}` takes no more events because an earlier write failed ({cause}); restart once the disk is well"
    )]
    Poisoned {
        /// Where the log is.
        folder: String,
        /// The first failure.
        cause: String,
    },
}

/// What is wrong with an item in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The file ends before it.
    #[error("the file ends in the middle of a record")]
    CutShort,
    /// Its length is one that no record has.
    #[error("the length of a record is impossible")]
    Length,
    /// Its bytes are not those that were written.
    #[error("a checksum does not match")]
    Checksum,
    /// It is whole, but not the one that belongs here.
    #[error("a record stands in the place of another")]
    Misplaced,
    /// The segment begins with something else.
    #[error("this is not the beginning of a segment of this log")]
    Header,
    /// The segment stops before its seal.
    #[error("the end of the segment is missing")]
    Unsealed,
    /// The segment goes on after its seal.
    #[error("something follows the end of the segment")]
    LeftOver,
}

/// Who can do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever called: the same call will fail again.
    Caller,
    /// Whoever runs the machine: the disk failed or is full. Restart once it is well.
    Disk,
    /// Whoever keeps the folder: something has to be stopped, or restored, before a restart.
    Folder,
}

impl LogError {
    /// The error with what the operating system said, in one line.
    pub fn in_full(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    /// Who can do something about it.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::PayloadTooLarge { .. } | Self::BatchTooLarge { .. } => Fault::Caller,
            Self::Io { .. } | Self::Poisoned { .. } => Fault::Disk,
            Self::Locked { .. }
            | Self::Corrupt { .. }
            | Self::SegmentMissing { .. }
            | Self::IdentityMissing { .. }
            | Self::IdentityDamaged { .. } => Fault::Folder,
        }
    }
}
