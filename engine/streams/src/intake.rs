//! What happens to an event before any log appends it: it is stamped (E14), checked, and keyed (L1);
//! and how its sender learns that decisions follow it.
//!
//! Every sink comes through here, so that what is accepted does not depend on the log behind it.

use std::time::Duration;

use caed_core::event::RecordKey;
use caed_core::position::{Frontier, Position};
use caed_core::sink::{AppendError, Notice};
use caed_core::time::UnixMillis;
use tokio::sync::watch;

use caed_decode::native::{self, Decoded, InvalidEvent};

/// An event that may be appended.
pub(crate) struct Admitted {
    /// The key of its record.
    pub(crate) key: RecordKey,
    /// The bytes of its record.
    pub(crate) bytes: Vec<u8>,
    /// What they mean.
    pub(crate) decoded: Decoded,
    /// What its sender should know.
    pub(crate) notices: Vec<Notice>,
}

/// Stamps, checks and keys events as their sender wrote them, all or none.
pub(crate) fn admit(
    events: &[Vec<u8>],
    received: UnixMillis,
    horizon: Duration,
) -> Result<Vec<Admitted>, AppendError> {
    let admitted = events.iter().enumerate().map(|(index, payload)| {
        let (bytes, decoded) = native::stamp(payload, received).map_err(invalid(index))?;
        let key = decoded.event.record_key();
        let notices = notices_of(&decoded, horizon);
        Ok(Admitted { key, bytes, decoded, notices })
    });
    admitted.collect()
}

/// Waits until the published snapshot contains a position.
pub(crate) async fn applied(
    mut frontier: watch::Receiver<Frontier>,
    position: Position,
) -> Result<(), AppendError> {
    let contained = frontier.wait_for(|frontier| frontier.contains(position)).await;
    contained.map(drop).map_err(|_| AppendError::Closing)
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
