//! Who asks what was published, on whatever thread, and checks every answer.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use caed_core::decide::decide;
use caed_core::decision::Decision;
use caed_core::publish::SnapshotReader;
use caed_core::request::{AccessRequest, Claims, Seen, Token};
use caed_core::rules::Profile;

use crate::estate::Estate;
use crate::histogram::Histogram;
use crate::question::Question;
use crate::scenario::{Tokens, Users};
use crate::subject::{SEED, mixed};
use crate::world::AT;

/// Questions that are drawn before the clock runs, so that they are in cache, as they are right after
/// decoding; what is asked about is not.
const CHUNK: u64 = 64;

/// Asks about a state of so many revoked users.
#[derive(Clone)]
pub struct Asker {
    users: u64,
    pub(crate) estate: Estate,
    reader: SnapshotReader,
    profile: Profile,
    asked: u64,
}

impl Asker {
    /// One who has not asked yet.
    pub fn new(Users(users): Users, reader: SnapshotReader) -> Self {
        let estate = Estate::NONE;
        Self { users, estate, reader, profile: Profile::default(), asked: 0 }
    }

    /// The snapshots that are asked.
    pub const fn reader(&self) -> &SnapshotReader {
        &self.reader
    }

    /// Decides so many tokens whose claims have been parsed, and returns how long that took.
    ///
    /// # Panics
    ///
    /// Where an answer is not the one that it must be.
    pub fn decide(&mut self, tokens: Tokens, times: u64) -> Duration {
        let mut taken = Duration::ZERO;
        self.draw(tokens, times, |asker, drawn| {
            let requests: Vec<(AccessRequest<'_>, &Question)> = drawn
                .iter()
                .map(|(question, seen)| (asker.request(question, *seen), question))
                .collect();
            let start = Instant::now();
            for (request, question) in &requests {
                check(question, &decide(&asker.reader.load(), request, AT));
            }
            taken += start.elapsed();
        });
        taken
    }

    /// The same, and parses the claims while the clock runs.
    ///
    /// # Panics
    ///
    /// Where an answer is not the one that it must be.
    pub fn ask(&mut self, tokens: Tokens, times: u64) -> Duration {
        let mut taken = Duration::ZERO;
        self.draw(tokens, times, |asker, drawn| {
            let profile = &asker.profile;
            let claims: Vec<(Claims<'_>, Seen, &Question)> =
                drawn.iter().map(|(question, seen)| (question.claims(), *seen, question)).collect();
            let start = Instant::now();
            for (claims, seen, question) in &claims {
                let request = AccessRequest { token: Token::parse(claims), profile, seen: *seen };
                check(question, &decide(&asker.reader.load(), &request, AT));
            }
            taken += start.elapsed();
        });
        taken
    }

    /// Decides until it is told to stop, and records how long each decision took.
    ///
    /// # Panics
    ///
    /// Where an answer is not the one that it must be.
    pub fn decide_until(&mut self, stop: &AtomicBool, tokens: Tokens) -> Histogram {
        let mut taken = Histogram::default();
        loop {
            self.draw(tokens, CHUNK, |asker, drawn| {
                for (question, seen) in drawn {
                    let request = asker.request(question, *seen);
                    let start = Instant::now();
                    let decision = decide(&asker.reader.load(), &request, AT);
                    taken.record(start.elapsed());
                    check(question, &decision);
                }
            });
            if stop.load(Ordering::Relaxed) {
                return taken;
            }
        }
    }

    /// Acts while another thread asks about such tokens without pause; returns what came of both.
    pub fn beside<T>(&self, tokens: Tokens, act: impl FnOnce() -> T) -> (T, Histogram) {
        let stop = AtomicBool::new(false);
        let mut asker = self.clone();
        thread::scope(|scope| {
            // Told to stop also where `act` panics, so that the panic is heard.
            let told = Told(&stop);
            let asking = scope.spawn(|| asker.decide_until(&stop, tokens));
            let acted = act();
            drop(told);
            let heard = asking.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
            (acted, heard)
        })
    }

    /// What the snapshot says of these claims.
    pub(crate) fn answer(&self, claims: &Claims<'_>, seen: Seen) -> Decision {
        let request = AccessRequest { token: Token::parse(claims), profile: &self.profile, seen };
        decide(&self.reader.load(), &request, AT)
    }

    /// Where the client of the question at this place is.
    pub(crate) fn seen(&self, place: u64) -> Seen {
        self.estate.address(mixed(SEED ^ place << 1)).map_or(Seen::Unknown, Seen::At)
    }

    fn request<'a>(&'a self, question: &'a Question, seen: Seen) -> AccessRequest<'a> {
        AccessRequest { token: Token::parse(&question.claims()), profile: &self.profile, seen }
    }

    /// Draws so many questions, some at a time.
    fn draw(
        &mut self,
        tokens: Tokens,
        times: u64,
        mut some: impl FnMut(&Self, &[(Question, Seen)]),
    ) {
        let end = self.asked + times;
        while self.asked < end {
            let places = self.asked..end.min(self.asked + CHUNK);
            self.asked = places.end;
            let question = |place: u64| {
                let signed_in_at = self.estate.signed_in_at(mixed(SEED ^ place << 1));
                let question = Question::draw(tokens, self.users, place, signed_in_at);
                (question, self.seen(place))
            };
            let drawn: Vec<(Question, Seen)> = places.map(question).collect();
            some(self, &drawn);
        }
    }
}

/// Tells another thread to stop, at the latest when it goes.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[inline]
fn check(question: &Question, decision: &Decision) {
    assert!(question.is_answered_by(decision), "{question:?}: {decision:?}");
}
