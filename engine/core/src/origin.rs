//! The record that set a cutoff, for people who ask why.
//!
//! There is one to each row of the largest table, so it is packed into eight bytes: what the record said,
//! and where it stands. A position that does not fit is not kept; no decision reads it.

use crate::position::{Offset, Partition, Position, Topic};

/// What a record said, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin(u64);

/// What can set a cutoff, by the names of [`Fact::kind`](crate::event::Fact::kind). Their order is nobody's
/// business but this process's.
const KINDS: [&str; 17] = [
    "account_disabled",
    "account_deleted",
    "password_changed",
    "password_reset",
    "sessions_revoked",
    "mfa_enabled",
    "authenticator_changed",
    "token_claims_changed",
    "assurance_lowered",
    "user_risk_changed",
    "session_revoked",
    "token_revoked",
    "client_revoked",
    "device_revoked",
    "tenant_revoked",
    "device_disabled",
    "device_deleted",
];

const OFFSET_BITS: u32 = 43;
const PARTITION_BITS: u32 = 14;
const TOPIC_BITS: u32 = 2;
const PARTITION_SHIFT: u32 = OFFSET_BITS;
const TOPIC_SHIFT: u32 = PARTITION_SHIFT + PARTITION_BITS;
const KIND_SHIFT: u32 = TOPIC_SHIFT + TOPIC_BITS;
/// Stands for a position that does not fit.
const NOWHERE: u64 = (1 << PARTITION_BITS) - 1;

const _: () = assert!(KINDS.len() < 1 << (u64::BITS - KIND_SHIFT), "every kind has a number");

impl Origin {
    /// No record.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(kind: &str, position: Position) -> Self {
        let Position { partition: Partition { topic, number }, offset: Offset(offset) } = position;
        let kind = KINDS.iter().zip(1..).find(|(known, _)| **known == kind);
        let kind = kind.map_or(0, |(_, number)| number) << KIND_SHIFT;
        let (topic, number) = (u64::from(topic.0), u64::from(number));
        let fits = topic < 1 << TOPIC_BITS && number < NOWHERE && offset < 1 << OFFSET_BITS;
        Self(if fits {
            kind | topic << TOPIC_SHIFT | number << PARTITION_SHIFT | offset
        } else {
            kind | NOWHERE << PARTITION_SHIFT
        })
    }

    /// What the record said.
    pub(crate) fn kind(self) -> Option<&'static str> {
        let number = usize::try_from(self.0 >> KIND_SHIFT).ok()?;
        KINDS.get(number.checked_sub(1)?).copied()
    }

    /// Where it stands.
    pub(crate) fn position(self) -> Option<Position> {
        self.kind()?;
        let part = |shift: u32, bits: u32| self.0 >> shift & ((1 << bits) - 1);
        let number = part(PARTITION_SHIFT, PARTITION_BITS);
        if number == NOWHERE {
            return None;
        }
        let topic = Topic(u8::try_from(part(TOPIC_SHIFT, TOPIC_BITS)).ok()?);
        let partition = Partition { topic, number: u32::try_from(number).ok()? };
        Some(Position { partition, offset: Offset(part(0, OFFSET_BITS)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(topic: u8, number: u32, offset: u64) -> Position {
        let partition = Partition { topic: Topic(topic), number };
        Position { partition, offset: Offset(offset) }
    }

    #[test]
    fn what_is_packed_is_read_again() {
        let last = (1 << OFFSET_BITS) - 1;
        for at in [
            position(0, 0, 0),
            position(1, 0, 7),
            position(3, 16_382, last),
            position(2, 1, last - 1),
        ] {
            for kind in KINDS {
                let origin = Origin::new(kind, at);
                assert_eq!((origin.kind(), origin.position()), (Some(kind), Some(at)));
            }
        }
    }

    #[test]
    fn a_position_that_does_not_fit_is_not_kept() {
        for at in [position(4, 0, 0), position(0, 16_383, 0), position(0, 0, 1 << OFFSET_BITS)] {
            let origin = Origin::new("tenant_revoked", at);
            assert_eq!(
                (origin.kind(), origin.position()),
                (Some("tenant_revoked"), None),
                "{at:?}"
            );
        }
    }

    #[test]
    fn what_sets_no_cutoff_is_nothing() {
        for origin in [Origin::default(), Origin::new("heartbeat", position(0, 0, 5))] {
            assert_eq!((origin.kind(), origin.position()), (None, None));
        }
    }
}
