//! The doors between rooms that must not know each other: what appends to a log, as seen by what
//! accepts events.

use std::future::Future;
use std::pin::Pin;

use crate::event::Event;
use crate::position::Position;

/// What an async method of a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Appends events to the log that everything is read from. Nothing reaches the state another way.
pub trait EventSink: Send + Sync + 'static {
    /// Appends events, all or none, and returns when they are durable.
    fn append(&self, events: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, AppendError>>;

    /// Returns when the published snapshot contains `position`.
    fn applied(&self, position: Position) -> BoxFuture<'_, Result<(), AppendError>>;
}

/// An event on its way into a log.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The event, for its key.
    pub event: Event,
    /// Its bytes, as they will be read again.
    pub payload: Vec<u8>,
}

/// Why an event was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log refuses everything since an earlier fault. The caller may try again after a restart.
    #[error("the log takes no more events: {0}")]
    Broken(String),
    /// The queue before the log is full. The caller should try again soon.
    #[error("the log is busy; try again")]
    Busy,
    /// The record can't be stored at all.
    #[error("the event can not be stored: {0}")]
    Unstorable(String),
    /// This process is about to end.
    #[error("the log is closing")]
    Closing,
}
