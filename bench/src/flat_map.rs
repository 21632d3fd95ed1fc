//! What decisions are compared with: one random `get` in a hash map of the same keys.
//!
//! A loop of gets has several of them in the air at once, while the processor waits for memory. A request waits
//! for one: that is a get that waits for the one before ([`Gets::InTurn`]).

use std::hint::black_box;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::scenario::Drawn;
use crate::subject::{self, Kind, SEED};

/// Keys that are drawn before the clock runs, as tokens are.
const CHUNK: u64 = 64;

/// Whether a get waits for the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gets {
    /// It need not.
    AtOnce,
    /// Its key is chosen by the answer before it.
    InTurn,
}

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
    pub fn run(&mut self, drawn: Drawn, gets: Gets, times: u64) -> Duration {
        // What an answer adds to the next key's place: nothing, which the compiler must not know.
        let mask = black_box(0);
        let mut before = 0;
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
            match gets {
                Gets::AtOnce => {
                    for (key, number) in &keys {
                        let found = self.map.get(black_box(key));
                        assert_eq!(found, Some(number), "every user is there");
                    }
                }
                Gets::InTurn => {
                    for place in 0..keys.len() {
                        let Some((key, number)) = keys.get(place + before) else { break };
                        let found = self.map.get(black_box(key)).copied().unwrap_or(u64::MAX);
                        assert_eq!(found, *number, "every user is there");
                        before = usize::try_from(found & mask).unwrap_or(0);
                    }
                }
            }
            spent += start.elapsed();
        }
        spent
    }
}
