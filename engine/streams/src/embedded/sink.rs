//! The way in: stamps, checks and queues events, and waits until they are durable or applied.

use std::sync::Arc;
use std::time::Duration;

use caed_core::event::RecordKey;
use caed_core::position::{Frontier, Offset, Position};
use caed_core::sink::{Accepted, AppendError, BoxFuture, EventSink, Notice};
use caed_core::time::Clock;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::source::position;
use super::writer::{Call, Message};
use crate::decode::native::{self, Decoded, InvalidEvent};

/// Appends events to the embedded log.
#[derive(Clone)]
pub struct EmbeddedSink {
    messages: mpsc::Sender<Message>,
    applied: watch::Receiver<Frontier>,
    clock: Arc<dyn Clock>,
    horizon: Duration,
}

impl EmbeddedSink {
    pub(super) fn new(
        messages: mpsc::Sender<Message>,
        applied: watch::Receiver<Frontier>,
        clock: Arc<dyn Clock>,
        horizon: Duration,
    ) -> Self {
        Self { messages, applied, clock, horizon }
    }

    async fn append_all(&self, events: Vec<Vec<u8>>) -> Result<Vec<Accepted>, AppendError> {
        let received = self.clock.now();
        let mut records = Vec::with_capacity(events.len());
        let mut notices = Vec::with_capacity(events.len());
        for (index, payload) in events.iter().enumerate() {
            let (bytes, decoded) = native::stamp(payload, received).map_err(invalid(index))?;
            let RecordKey(key) = decoded.event.record_key();
            records.push((key, bytes));
            notices.push(notices_of(&decoded, self.horizon));
        }
        let (reply, durable) = oneshot::channel();
        self.messages.try_send(Message::Append(Call { records, reply })).map_err(|error| {
            match error {
                TrySendError::Full(_) => AppendError::Busy,
                TrySendError::Closed(_) => AppendError::Closing,
            }
        })?;
        let Offset(first) = durable.await.map_err(|_| AppendError::Closing)??;
        let offsets = (first..).map(Offset);
        let accepted = |(notices, offset)| Accepted { position: position(offset), notices };
        Ok(notices.into_iter().zip(offsets).map(accepted).collect())
    }
}

impl EventSink for EmbeddedSink {
    fn append(&self, events: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Accepted>, AppendError>> {
        Box::pin(self.append_all(events))
    }

    fn applied(&self, position: Position) -> BoxFuture<'_, Result<(), AppendError>> {
        let mut applied = self.applied.clone();
        Box::pin(async move {
            let contained = applied.wait_for(|frontier| frontier.contains(position)).await;
            contained.map(drop).map_err(|_| AppendError::Closing)
        })
    }
}

/// What the sender of an event should know.
fn notices_of(decoded: &Decoded, horizon: Duration) -> Vec<Notice> {
    let Decoded { event, time_read_as_seconds } = decoded;
    let all = [
        (*time_read_as_seconds, Notice::TimeReadAsSeconds),
        (event.cutoff_is_clamped(), Notice::CutoffSetToReceipt),
        (event.is_late(horizon), Notice::OlderThanHorizon),
        (event.misses_tokens_without_claim(), Notice::MissesTokensWithoutClaim),
    ];
    all.into_iter().filter_map(|(holds, notice)| holds.then_some(notice)).collect()
}

fn invalid(index: usize) -> impl FnOnce(InvalidEvent) -> AppendError {
    move |error| match error {
        InvalidEvent::Field { field, problem } => AppendError::Invalid { index, field, problem },
        InvalidEvent::Encoding(problem) => AppendError::Invalid { index, field: "event", problem },
    }
}
