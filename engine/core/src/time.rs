//! Instants and durations, as values.
//!
//! Core never reads a clock: `now` comes in as a [`UnixMillis`]. Tokens speak in whole seconds
//! ([`UnixSeconds`]), events in milliseconds; the two types keep them apart, and the one place
//! where they meet is [`UnixMillis::floor_to_second`].

use std::fmt;
use std::time::Duration;

use crate::limits;

/// An instant in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

/// An instant in whole seconds since the Unix epoch, as JWT claims carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(i64);

/// A time on the wire that no clock can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// Before 1970.
    #[error("time `{0}` is negative; give milliseconds since 1970-01-01T00:00:00Z")]
    Negative(i64),
    /// After the year 9999.
    #[error("time `{0}` lies after the year 9999; give milliseconds since 1970-01-01T00:00:00Z")]
    TooLarge(i64),
}

/// How a time on the wire was understood (E14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAs {
    /// As written, in milliseconds.
    Millis,
    /// Too small to be milliseconds of this century: taken for seconds.
    Seconds,
}

impl UnixMillis {
    /// The epoch itself, which stands for "never" in rows that hold no cutoff.
    pub const ZERO: Self = Self(0);

    /// From a count of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The count of milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Reads a time as a source wrote it: milliseconds, or seconds where the number is too small
    /// to be milliseconds (E14).
    pub fn from_wire(value: i64) -> Result<(Self, ReadAs), InvalidTime> {
        let number = u64::try_from(value).map_err(|_| InvalidTime::Negative(value))?;
        let (millis, read_as) = if number < limits::SECONDS_BELOW {
            (number * 1000, ReadAs::Seconds)
        } else {
            (number, ReadAs::Millis)
        };
        if millis > limits::TIME_MS_MAX {
            return Err(InvalidTime::TooLarge(value));
        }
        Ok((Self(millis), read_as))
    }

    /// The whole second that this instant lies in.
    pub const fn floor_to_second(self) -> UnixSeconds {
        // At most u64::MAX / 1000, which an i64 holds.
        UnixSeconds((self.0 / 1000).cast_signed())
    }

    /// This instant, later by `duration`; the end of time where that would overflow.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// This instant, earlier by `duration`; the epoch where that would be before it.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// Whether this instant is later than the beginning of a second.
    pub fn is_after(self, second: UnixSeconds) -> bool {
        u64::try_from(second.0).is_err() || self.0 > second.0.unsigned_abs().saturating_mul(1000)
    }

    /// How long after `earlier` this instant lies; nothing where it does not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl UnixSeconds {
    /// From a count of seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// The count of seconds.
    pub const fn as_seconds(self) -> i64 {
        self.0
    }

    /// This instant, later by `duration` in whole seconds.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(duration.as_secs()))
    }

    /// This instant, earlier by `duration` in whole seconds.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(duration.as_secs()))
    }

    /// The second after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where time comes from: implemented once, by the binary, and by tests.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> UnixMillis;
    /// Time since an arbitrary fixed instant that never jumps, not even when the wall clock does.
    fn monotonic(&self) -> Duration;
}

/// Whole milliseconds of a duration, saturating.
const fn millis(duration: Duration) -> u64 {
    let whole = duration.as_millis();
    if whole > u64::MAX as u128 {
        u64::MAX
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the branch above")]
        {
            whole as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_time_is_seconds_and_says_so() {
        let just_below = i64::try_from(limits::SECONDS_BELOW).expect("fits") - 1;
        assert_eq!(
            UnixMillis::from_wire(just_below),
            Ok((UnixMillis(99_999_999_999_000), ReadAs::Seconds))
        );
        assert_eq!(
            UnixMillis::from_wire(just_below + 1),
            Ok((UnixMillis(100_000_000_000), ReadAs::Millis))
        );
    }

    #[test]
    fn times_that_no_clock_shows_are_refused() {
        assert_eq!(UnixMillis::from_wire(-1), Err(InvalidTime::Negative(-1)));
        assert_eq!(UnixMillis::from_wire(i64::MAX), Err(InvalidTime::TooLarge(i64::MAX)));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixMillis(u64::MAX).saturating_add(Duration::MAX).as_millis(), u64::MAX);
        assert_eq!(UnixMillis(5).since(UnixMillis(9)), Duration::ZERO);
        assert_eq!(UnixSeconds(i64::MAX).next().as_seconds(), i64::MAX);
    }
}
