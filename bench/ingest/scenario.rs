//! What is measured, as a sentence.

use std::fmt;

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Read a topic of so many events from its beginning.
    CatchUp { events: u64 },
    /// Follow a topic while so many events a turn are appended as fast as that goes.
    Follow { events: u64 },
    /// Decide by each of so many events a turn, of a hundred a second, as soon as it can be.
    Enforce { events: usize },
    /// Read an embedded log of so many events.
    Restart { events: u64 },
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CatchUp { events } => {
                write!(f, "catch up with a Kafka topic of {} events", Count(*events))
            }
            Self::Follow { events } => {
                write!(
                    f,
                    "follow a Kafka topic to which {} events are appended at once",
                    Count(*events)
                )
            }
            Self::Enforce { events } => {
                write!(f, "enforce each of {events} events as they are produced, 100 a second")
            }
            Self::Restart { events } => {
                write!(f, "start again from an embedded log of {} events", Count(*events))
            }
        }
    }
}

struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            count if count >= 1_000_000 => write!(f, "{} M", count / 1_000_000),
            count => write!(f, "{} k", count / 1000),
        }
    }
}
