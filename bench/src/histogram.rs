//! How long things took, each for itself, in 4 KiB however many there are: 64 classes for each power of two, so
//! that a quantile is at most a sixty-fourth too high.

use std::time::Duration;

/// Bits of a time that tell its class within its power of two.
const BITS: u32 = 6;

/// Times, by class.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; class(u64::MAX) + 1] }
    }
}

impl Histogram {
    /// Adds one.
    #[inline]
    pub fn record(&mut self, taken: Duration) {
        let nanos = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(class(nanos)) {
            *count += 1;
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time, in nanoseconds, that all but so many of a thousand keep to; of none, nothing.
    pub fn all_but_of_thousand(&self, but: u64) -> u64 {
        let within = self.count() - self.count() * but / 1000;
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += count;
            seen >= within
        });
        class.map_or(0, longest)
    }
}

/// The class of a time.
#[expect(clippy::cast_possible_truncation, reason = "a shift and seven bits")]
const fn class(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

/// The longest time of a class.
const fn longest(class: usize) -> u64 {
    let shift = (class >> BITS).saturating_sub(1);
    let first = (class - (shift << BITS)) as u64;
    (first << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::mixed;

    #[test]
    fn a_time_is_in_its_class_and_classes_are_narrow() {
        let powers = (0..64).flat_map(|power| [1 << power, (1 << power) - 1, (1 << power) + 1]);
        let drawn = (0..1000).map(|place| mixed(place) >> (place % 64));
        for nanos in powers.chain(drawn).chain([u64::MAX]) {
            let longest = longest(class(nanos));
            assert!(nanos <= longest && longest - nanos <= nanos / 64, "{nanos} {longest}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let times: Vec<u64> = (0..10_000).map(|place| mixed(place) % 1_000_000).collect();
        let mut histogram = Histogram::default();
        assert_eq!(histogram.all_but_of_thousand(1), 0);
        for time in &times {
            histogram.record(Duration::from_nanos(*time));
        }
        let mut sorted = times;
        sorted.sort_unstable();
        for (but, place) in [(500, 4999), (10, 9899), (1, 9989), (0, 9999)] {
            let (told, exact) = (histogram.all_but_of_thousand(but), sorted[place]);
            assert!(exact <= told && told <= exact + exact / 64, "{but}: {told}, {exact}");
        }
    }
}
