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

/// An instant as a day and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc(UnixMillis);

impl UnixMillis {
    /// As a day and a time of day, in RFC 3339.
    pub const fn utc(self) -> Utc {
        Utc(self)
    }
}

impl Utc {
    /// Reads a day and a time of day as people write them: `2026-01-15T12:00:00Z`, with a space for the
    /// `T`, and without seconds, fractions or the `Z`. `None`: it is none, or not of this era.
    pub fn parse(text: &str) -> Option<UnixMillis> {
        let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
        let (day, time) = text.split_once(['T', 't', ' '])?;
        let [year, month, day] = numbers(day, '-')?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let [hour, minute, second] = match time.len() {
            5 => numbers(&format!("{time}:00"), ':'),
            8 => numbers(time, ':'),
            _ => None,
        }?;
        let is_fraction = (1..=9).contains(&fraction.len())
            && fraction.bytes().all(|digit| digit.is_ascii_digit());
        let thousandths: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        if !is_fraction || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // As in `Display`: years begin in March.
        let (year_of_march, month_of_march) =
            if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
        let leap_days = year_of_march / 4 - year_of_march / 100 + year_of_march / 400;
        let days = 365 * year_of_march + leap_days + (153 * month_of_march + 2) / 5 + day - 1;
        let seconds =
            (days - DAYS_FROM_0000_03_01_TO_1970) * 86_400 + hour * 3600 + minute * 60 + second;
        let at = UnixMillis(seconds * 1000 + thousandths);
        // The 30th of February would be one of March.
        at.utc().to_string().starts_with(text.get(..10)?).then_some(at)
    }
}

/// Three numbers: of four digits or two, and of two.
fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let is_number =
            matches!(part.len(), 2 | 4) && part.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then_some(part)?.parse().ok()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// Days between the first of March before the epoch of the calendar and 1970.
const DAYS_FROM_0000_03_01_TO_1970: u64 = 719_468;

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Years begin in March, so that a leap day is a year's last. 400 of them are always as long.
        const DAYS_OF_400_YEARS: u64 = 146_097;
        let Self(UnixMillis(millis)) = *self;
        let (days, millis) = (millis / 86_400_000, millis % 86_400_000);
        let days = days + DAYS_FROM_0000_03_01_TO_1970;
        let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + later;
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if millis > 0 {
            write!(f, ".{millis:03}")?;
        }
        f.write_str("Z")
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

    #[test]
    fn an_instant_is_a_day_and_a_time_of_day() {
        // By GNU date.
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59Z"),
            (1_768_478_400_000, "2026-01-15T12:00:00Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (limits::TIME_MS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(UnixMillis::from_millis(millis).utc().to_string(), text);
            assert_eq!(Utc::parse(text), Some(UnixMillis(millis)), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let noon = Some(UnixMillis(1_768_478_400_000));
        for text in ["2026-01-15T12:00:00Z", "2026-01-15 12:00", "2026-01-15t12:00:00.000z"] {
            assert_eq!(Utc::parse(text), noon, "{text}");
        }
        assert_eq!(Utc::parse("1970-01-01T00:00:00.25Z"), Some(UnixMillis(250)));
        for text in [
            "",
            "noon",
            "2026-01-15",
            "2026-01-15T12",
            "2026-01-15T12:00:00+02:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-01-00T12:00:00Z",
            "2026-01-15T24:00:00Z",
            "2026-01-15T12:60:00Z",
            "2026-01-15T12:00:60Z",
            "2026-01-15T12:00:00.Z",
            "2026-01-15T12:00:00.é00Z",
            "2026-1-15T12:00:00Z",
            "26-01-15T12:00:00Z",
            "2026-01-15-01T12:00:00Z",
            "+026-01-15T12:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(Utc::parse(text), None, "{text}");
        }
    }
}
