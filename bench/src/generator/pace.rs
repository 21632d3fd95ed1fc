//! When the next request is due.

use super::{Pace, Problem};
use crate::subject::{SEED, mixed};

/// The times of requests, in nanoseconds from the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// As soon as fewer than so many are under way.
    Closed { callers: usize },
    /// At the next of times that are drawn.
    Open { next: f64, mean_ns: f64, drawn: u64 },
}

impl Due {
    pub(super) fn of(pace: Pace) -> Result<Self, Problem> {
        match pace {
            Pace::Closed { callers: callers @ 1.. } => Ok(Self::Closed { callers }),
            Pace::Open { per_second } if per_second > 0.0 => {
                Ok(Self::Open { next: 0.0, mean_ns: 1e9 / per_second, drawn: 0 })
            }
            _ => Err(Problem::Asked("nothing is to be asked: give a caller, or a rate")),
        }
    }

    /// When the next request is due, if that is now or was before; then the one after it is next.
    #[inline]
    pub(super) fn next(&mut self, now: u64, under_way: usize) -> Option<u64> {
        match self {
            Self::Closed { callers } => (under_way < *callers).then_some(now),
            Self::Open { next, mean_ns, drawn } => {
                let due = whole(*next);
                (due <= now).then(|| {
                    *next += *mean_ns * exponential(*drawn);
                    *drawn += 1;
                    due
                })
            }
        }
    }

    /// When somebody must look again, whatever is answered.
    pub(super) const fn at(&self) -> Option<u64> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { next, .. } => Some(whole(*next)),
        }
    }
}

/// A time between requests, of which the mean is 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits")]
fn exponential(place: u64) -> f64 {
    let uniform = (mixed(SEED ^ place) >> 11) as f64 / (1_u64 << 53) as f64;
    -(1.0 - uniform).ln()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and days at most"
)]
const fn whole(ns: f64) -> u64 {
    ns as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_asks_when_it_is_answered() {
        let mut due = Due::of(Pace::Closed { callers: 2 }).expect("a pace");
        assert_eq!([due.next(5, 0), due.next(5, 1), due.next(5, 2)], [Some(5), Some(5), None]);
        assert!(Due::of(Pace::Closed { callers: 0 }).is_err());
        assert!(Due::of(Pace::Open { per_second: 0.0 }).is_err());
    }

    #[test]
    fn times_are_drawn_at_the_rate_and_stay_due() {
        let mut due = Due::of(Pace::Open { per_second: 1000.0 }).expect("a pace");
        let second = std::iter::from_fn(|| due.next(1_000_000_000, 9999));
        let times: Vec<u64> = second.collect();
        assert!((900..1100).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted() && due.at() > Some(1_000_000_000));
        let within = times.windows(2).filter(|pair| pair[1] - pair[0] < 1_000_000).count();
        assert!((580..680).contains(&(within * 1000 / times.len())), "1 - 1/e: {within}");
    }
}
