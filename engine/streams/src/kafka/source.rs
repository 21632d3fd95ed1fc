//! The way out: what the reading thread and the probe say, one event at a time.

use caed_core::position::Topics;
use caed_core::sink::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::source::{LogEnd, Source, SourceEvent, SourceFault};

/// Reads both topics.
pub struct KafkaSource {
    topics: Topics,
    events: mpsc::Receiver<SourceEvent>,
    /// Beside the queue: where the log ended must be known also while the queue is full.
    ends: watch::Receiver<Option<LogEnd>>,
}

/// The reading thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the thread that reads Kafka has ended")]
struct ReaderGone;

impl KafkaSource {
    pub(super) const fn new(
        topics: Topics,
        events: mpsc::Receiver<SourceEvent>,
        ends: watch::Receiver<Option<LogEnd>>,
    ) -> Self {
        Self { topics, events, ends }
    }

    async fn next_event(&mut self) -> SourceEvent {
        let Self { events, ends, .. } = self;
        loop {
            tokio::select! {
                biased;
                // Ends come once a second; they can't starve the records.
                Ok(()) = ends.changed() => {
                    if let Some(end) = ends.borrow_and_update().clone() {
                        return SourceEvent::End(end);
                    }
                }
                event = events.recv() => {
                    return event.unwrap_or_else(|| {
                        SourceEvent::Lost(SourceFault { cause: Box::new(ReaderGone) })
                    });
                }
            }
        }
    }
}

impl Source for KafkaSource {
    fn next(&mut self) -> BoxFuture<'_, SourceEvent> {
        Box::pin(self.next_event())
    }

    fn topics(&self) -> Topics {
        self.topics.clone()
    }
}
