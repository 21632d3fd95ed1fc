//! The way in: stamps, checks and queues events, and waits until they are durable or applied.

use std::sync::Arc;
use std::time::Duration;

use caed_core::event::RecordKey;
use caed_core::position::{Frontier, Offset, Position};
use caed_core::sink::{Accepted, AppendError, BoxFuture, EventSink};
use caed_core::time::Clock;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::source::position;
use super::writer::{Call, Message};
use crate::intake::{self, Admitted};

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
        let admitted = intake::admit(&events, received, self.horizon)?;
        let mut records = Vec::with_capacity(admitted.len());
        let mut notices = Vec::with_capacity(admitted.len());
        for Admitted { key: RecordKey(key), bytes, decoded: _, notices: said } in admitted {
            records.push((key, bytes));
            notices.push(said);
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
        Box::pin(intake::applied(self.applied.clone(), position))
    }
}
