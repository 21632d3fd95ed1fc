//! Looking an address up among the ranges of a tenant's locations.
//!
//! Half of the addresses asked about lie in a range, half between ranges. Ranges are drawn all over the
//! IPv4 space, and spread evenly over at most 195 locations.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use caed_core::index::ranges::{RangeIndex, RangeSet};

use crate::scenario::size;
use crate::subject::{SEED, mixed};

/// How many locations share the ranges.
const LOCATIONS: u64 = 195;

/// Addresses that are drawn before the clock runs.
const CHUNK: u64 = 64;

/// An index over so many ranges.
#[derive(Debug)]
pub struct Lookups {
    ranges: u64,
    index: RangeIndex,
    asked: u64,
}

impl Lookups {
    /// Draws so many ranges and compiles them.
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "addresses are ranges")]
    pub fn new(ranges: u64) -> Self {
        let mut texts = vec![Vec::new(); usize::try_from(LOCATIONS.min(ranges)).unwrap_or(1)];
        for number in 0..ranges {
            let location = usize::try_from(number % LOCATIONS).unwrap_or(0);
            if let Some(texts) = texts.get_mut(location) {
                texts.push(range(number, ranges).to_string());
            }
        }
        let set = |texts: &Vec<String>| RangeSet::parse(texts.iter().map(String::as_str));
        let sets: Vec<RangeSet> = texts.iter().map(|texts| set(texts).expect("ranges")).collect();
        Self { ranges, index: RangeIndex::new((0..).zip(&sets)), asked: 0 }
    }

    /// The row's name: `ranges.lookup.100k`.
    pub fn name(&self) -> String {
        format!("ranges.lookup.{}", size(self.ranges))
    }

    /// Bytes of heap memory.
    pub fn heap_bytes(&self) -> usize {
        self.index.heap_bytes()
    }

    /// Looks so many addresses up.
    ///
    /// # Panics
    ///
    /// Where one is not found in its location, or found where it is not.
    pub fn run(&mut self, times: u64) -> Duration {
        let mut spent = Duration::ZERO;
        let mut left = times;
        while left > 0 {
            let count = left.min(CHUNK);
            let asked: Vec<(u32, IpAddr, bool)> =
                (self.asked..self.asked + count).map(|place| self.question(place)).collect();
            let start = Instant::now();
            let right = asked
                .iter()
                .filter(|(location, address, inside)| {
                    self.index.covers(black_box(*location), black_box(*address)) == *inside
                })
                .count();
            spent += start.elapsed();
            assert_eq!(right, asked.len(), "every address is found where it is");
            self.asked += count;
            left -= count;
        }
        spent
    }

    fn question(&self, place: u64) -> (u32, IpAddr, bool) {
        let drawn = mixed(SEED ^ place);
        let number = drawn / 2 % self.ranges;
        let inside = drawn.is_multiple_of(2);
        let range = u32::from(range(number, self.ranges)) + u32::from(!inside);
        let location = u32::try_from(number % LOCATIONS).unwrap_or(0);
        (location, Ipv4Addr::from(range).into(), inside)
    }
}

/// The one address of the `number`th range; the next one is in none.
fn range(number: u64, ranges: u64) -> Ipv4Addr {
    let room = (1 << 32) / ranges;
    let at = number * room + mixed(SEED ^ number << 8) % (room - 1);
    Ipv4Addr::from(u32::try_from(at).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_by_size_and_every_answer_is_right() {
        for (ranges, name) in [(10, "ranges.lookup.10"), (1000, "ranges.lookup.1k")] {
            let mut lookups = Lookups::new(ranges);
            assert_eq!(lookups.name(), name);
            lookups.run(500);
        }
    }
}
