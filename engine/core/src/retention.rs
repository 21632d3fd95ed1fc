//! Which records a log may drop without any answer changing, now or later (L3).
//!
//! A record does nothing but offer values to slots, so it is needed as long as one of them counts.
//! A cutoff no longer counts once every token that it could reject is dead ([`expired`]); any other
//! value no longer counts once its slot holds a greater one from another record ([`dominated`]). Both wait
//! for two horizons, for the record itself and for what dominates it, so that no replica that lags
//! behind is ever asked to do without either.
//!
//! A value that equals what its slot holds is kept: it may be the one record that gave it.

use std::time::Duration;

use crate::consequence::Consequence;
use crate::event::Event;
use crate::snapshot::Snapshot;
use crate::state::Held;
use crate::time::UnixMillis;

impl Snapshot {
    /// Whether a record appended at `appended` is old enough to be dropped at all. Records are
    /// appended in order, so where the first of many is not, none is.
    pub fn is_settled(&self, appended: UnixMillis, now: UnixMillis) -> bool {
        is_settled(appended, now, self.rules.horizon)
    }

    /// Whether the log may drop a record that it appended at `appended`: everything that the event
    /// says is expired or dominated. `now` must not be ahead of the newest append time read.
    pub fn outlives(&self, event: &Event, appended: UnixMillis, now: UnixMillis) -> bool {
        let horizon = self.rules.horizon;
        if !is_settled(appended, now, horizon) {
            return false;
        }
        let mut droppable = true;
        event.consequences(|consequence| {
            let held = self.state.held(&event.tenant, &event.source, &consequence);
            droppable &= expired(&consequence, appended, now, horizon)
                || dominated(&consequence, &held, now, horizon);
        });
        droppable
    }
}

/// Whether a value can no longer change an answer by itself: a cutoff that could only reject tokens
/// that are dead. Nothing else ever expires.
fn expired(
    consequence: &Consequence<'_>,
    appended: UnixMillis,
    now: UnixMillis,
    horizon: Duration,
) -> bool {
    match consequence {
        Consequence::Cutoff { at, .. } => is_settled((*at).max(appended), now, horizon),
        Consequence::Register { .. }
        | Consequence::Version { .. }
        | Consequence::Member { .. }
        | Consequence::Sign { .. }
        | Consequence::Declaration { .. } => false,
    }
}

/// Whether the slot of a value holds a greater one, of a record that is old enough itself. Of cutoffs it
/// need not be asked: where the greater one is old enough, so is this one, and [`expired`].
fn dominated(
    consequence: &Consequence<'_>,
    held: &Held,
    now: UnixMillis,
    horizon: Duration,
) -> bool {
    match (consequence, held) {
        (
            Consequence::Register { at, standing, .. },
            Held::Register { at: held_at, standing: held_standing, appended },
        ) => (held_at, held_standing) > (at, standing) && is_settled(*appended, now, horizon),
        (Consequence::Declaration { at, tie, .. }, Held::Declaration(held)) => {
            held.order() > (*at, *tie) && is_settled(held.appended, now, horizon)
        }
        (Consequence::Version { version, at, hash }, Held::Version { stamp, appended }) => {
            let is_greater = match version.part.count {
                1 => (stamp.at, stamp.hash) > (*at, *hash),
                _ => stamp.at > *at,
            };
            is_greater && is_settled(*appended, now, horizon)
        }
        (Consequence::Member { at, .. }, Held::Member { at: held, appended }) => {
            held > at && is_settled(*appended, now, horizon)
        }
        (Consequence::Sign { at, stream, .. }, Held::Sign(held)) => {
            held.order() > (*at, *stream) && is_settled(held.appended, now, horizon)
        }
        _ => false,
    }
}

/// Whether two horizons have passed since.
fn is_settled(since: UnixMillis, now: UnixMillis, horizon: Duration) -> bool {
    now > since.saturating_add(horizon).saturating_add(horizon)
}
