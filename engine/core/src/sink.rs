//! The door between rooms that must not know each other: what appends to a log, as seen by what
//! accepts events.

use std::future::Future;
use std::pin::Pin;

use crate::position::Position;

/// What an async method of a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Appends events to the log that everything is read from. Nothing reaches the state another way.
pub trait EventSink: Send + Sync + 'static {
    /// Stamps, checks and appends events, and returns when they are durable. Checking is all or
    /// none; so is appending in the embedded log, while Kafka may take some and refuse the rest
    /// ([`AppendError::Unavailable`] says which).
    ///
    /// An event comes as its sender wrote it, in the native form. Checking it is the log's part,
    /// because whoever reads the log must come to the same result.
    fn append(&self, events: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Accepted>, AppendError>>;

    /// Returns when the published snapshot contains `position`.
    fn applied(&self, position: Position) -> BoxFuture<'_, Result<(), AppendError>>;
}

/// An event that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Where it stands.
    pub position: Position,
    /// What its sender should know.
    pub notices: Vec<Notice>,
}

/// Something about an accepted event that its sender should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A time was too small for milliseconds and was read as seconds (E14).
    TimeReadAsSeconds,
    /// The event lies too far after its receipt; its cutoff is the receipt (E14).
    CutoffSetToReceipt,
    /// The event is older than the horizon (E14).
    OlderThanHorizon,
    /// The event names no user, so tokens that lack the finer claim are out of its reach (E7).
    MissesTokensWithoutClaim,
}

/// Why events were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// An event can't be understood. The caller's fault; trying again is no use.
    #[error("events[{index}].{field}: {problem}")]
    Invalid {
        /// Which of the events.
        index: usize,
        /// Which of its fields.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The events can't be stored. The caller's fault; trying again is no use.
    #[error("{0}")]
    Unstorable(String),
    /// The queue before the log is full. Trying again soon will help.
    #[error("the log is busy; try again in a moment")]
    Busy,
    /// The log could not be reached, or did not acknowledge every event. Trying again will help:
    /// copies of an event change nothing.
    #[error("the log did not take all events; publish them again: {0}")]
    Unavailable(String),
    /// The log refuses everything since an earlier fault. Trying again after a restart may help.
    #[error("the log takes no more events: {0}")]
    Broken(String),
    /// This process is about to end.
    #[error("the log is closing; try again at another replica or after the restart")]
    Closing,
}
