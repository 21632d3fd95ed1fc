//! What decisions are compared with: one random `get` in a hash map of the same keys.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::scenario::Drawn;
use crate::subject::{self, Kind, SEED};

/// Keys that are drawn before the clock runs, as tokens are.
const CHUNK: u64 = 64;

/// A flat map from the ids of so many users to when each was revoked.
#[derive(Debug)]
pub struct FlatMap {
    users: u64,
    map: HashMap<[u64; 2], u64, foldhash::fast::FixedState>,
    asked: u64,
}

impl FlatMap {
    /// A map of so many users.
    pub fn new(users: u64) -> Self {
        let mut map = HashMap::with_hasher(foldhash::fast::FixedState::with_seed(SEED));
        map.reserve(usize::try_from(users).unwrap_or(0));
        map.extend((0..users).map(|number| (subject::bits(Kind::User, number), number)));
        Self { users, map, asked: 0 }
    }

    /// Gets so many, the same users in the same order as decisions are asked about.
    ///
    /// # Panics
    ///
    /// Where one is not there.
    pub fn run(&mut self, drawn: Drawn, times: u64) -> Duration {
        let mut spent = Duration::ZERO;
        let end = self.asked + times;
        while self.asked < end {
            let places = self.asked..end.min(self.asked + CHUNK);
            self.asked = places.end;
            let keys: Vec<([u64; 2], u64)> = places
                .map(|place| {
                    let number = subject::drawn(self.users, drawn, place);
                    (subject::bits(Kind::User, number), number)
                })
                .collect();
            let start = Instant::now();
            for (key, number) in &keys {
                assert_eq!(self.map.get(black_box(key)), Some(number), "every user is there");
            }
            spent += start.elapsed();
        }
        spent
    }
}
