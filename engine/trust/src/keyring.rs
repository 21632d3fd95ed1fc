//! The keys of one issuer as they are now: replaced while tokens are verified.
//!
//! Keys have a version, which changes only where their content does: a token that was verified once counts for
//! as long as the version stands that verified it. They have an age, too: keys that nobody could look at for
//! too long may have been withdrawn, so they count no more.
//!
//! What fills a keyring reports each look here, good or bad; whoever met an unknown key waits here for the
//! next one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::keys::{InvalidKeys, Keys, Skipped};
use crate::limits;

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keyring {
    held: ArcSwapOption<Held>,
    /// How long after they were last seen keys count; `None`: for ever.
    max_age: Option<Duration>,
    looks: watch::Sender<Looks>,
    /// Told when a token names a key that is not here. Heeded by nobody where looking again is of no use.
    asked: Option<Notify>,
}

/// Keys as they were read.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) keys: Arc<Keys>,
    /// Changes only with the content.
    pub(crate) version: u64,
    skipped: Skipped,
    bytes: Arc<[u8]>,
    /// When they were last seen to be the issuer's.
    seen: Instant,
}

/// Looks for keys so far.
#[derive(Clone, Debug, Default)]
struct Looks {
    /// When the last one began.
    began: Option<Instant>,
    /// Whether it goes on still.
    looking: bool,
    ended: u64,
    failures: u64,
    /// Why the last one failed, if it did.
    fault: Option<String>,
}

/// Why what was read is no key set to believe by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not a key set.
    #[error(transparent)]
    Invalid(#[from] InvalidKeys),
    /// Without one key that verifies anything.
    #[error("the key set holds no key that verifies a token")]
    Empty,
}

/// Whether keys that were read are other ones than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Anew,
    Same,
}

/// The keys are not known, or too old to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// What became of a look for newer keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    /// What is here is what the issuer has.
    Current,
    /// The issuer could not be asked, or has not answered in time.
    Failed,
}

/// How a keyring is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysReport {
    /// How many keys there are.
    pub keys: usize,
    /// How many were passed over.
    pub skipped: usize,
    /// How long ago they were seen to be the issuer's; `None` where they never were.
    pub age: Option<Duration>,
    /// Whether they count: they are known, and not too old.
    pub counts: bool,
    /// How many looks failed.
    pub failures: u64,
    /// Why the last one did, if it did.
    pub fault: Option<String>,
}

impl Keyring {
    /// Keys that are given, and stay.
    pub fn fixed(keys: Keys) -> Self {
        let ring = Self::new(None, None);
        ring.held.store(Some(Arc::new(Held {
            keys: Arc::new(keys),
            version: 0,
            skipped: Skipped::default(),
            bytes: Arc::default(),
            seen: Instant::now(),
        })));
        ring
    }

    /// No keys yet. Somebody looks for them in turns, and soon after a token asked for one that is not here.
    pub(crate) fn asking(max_age: Duration) -> Self {
        Self::new(Some(max_age), Some(Notify::new()))
    }

    /// No keys yet. Somebody looks for them so often that asking is of no use.
    pub(crate) fn watching(max_age: Duration) -> Self {
        Self::new(Some(max_age), None)
    }

    fn new(max_age: Option<Duration>, asked: Option<Notify>) -> Self {
        let (looks, _) = watch::channel(Looks::default());
        Self { held: ArcSwapOption::empty(), max_age, looks, asked }
    }

    /// The keys, if there are any that count now.
    pub(crate) fn current(&self) -> Result<Arc<Held>, Unavailable> {
        let held = self.held.load_full().ok_or(Unavailable)?;
        if self.counts(&held, Instant::now()) { Ok(held) } else { Err(Unavailable) }
    }

    fn counts(&self, held: &Held, now: Instant) -> bool {
        self.max_age.is_none_or(|max_age| now.saturating_duration_since(held.seen) < max_age)
    }

    /// How it is.
    pub fn report(&self) -> KeysReport {
        let (held, now) = (self.held.load_full(), Instant::now());
        let Looks { failures, fault, .. } = self.looks.borrow().clone();
        let held = held.as_deref();
        KeysReport {
            keys: held.map_or(0, |held| held.keys.len()),
            skipped: held.map_or(0, |held| held.skipped.all()),
            age: held.map(|held| now.saturating_duration_since(held.seen)),
            counts: held.is_some_and(|held| self.counts(held, now)),
            failures,
            fault,
        }
    }

    /// A look begins.
    pub(crate) fn look_began(&self) {
        self.looks.send_modify(|looks| {
            looks.began = Some(Instant::now());
            looks.looking = true;
        });
    }

    /// A look ended with these bytes, or with a fault. What is no usable key set takes nothing away.
    /// INVARIANT: one task alone looks, so no two of these are about the same version.
    pub(crate) fn look_ended(&self, read: Result<Vec<u8>, String>) -> Result<Taken, String> {
        let outcome = read.and_then(|bytes| self.take(bytes).map_err(|fault| fault.to_string()));
        // After the keys are in place: whoever waits for the look finds them.
        self.looks.send_modify(|looks| {
            looks.looking = false;
            looks.ended += 1;
            looks.failures += u64::from(outcome.is_err());
            looks.fault = outcome.as_ref().err().cloned();
        });
        outcome
    }

    fn take(&self, bytes: Vec<u8>) -> Result<Taken, Unusable> {
        let (seen, held) = (Instant::now(), self.held.load_full());
        let (taken, held) = match held {
            Some(held) if *held.bytes == *bytes => {
                let Held { keys, version, skipped, bytes, seen: _ } = &*held;
                let (keys, bytes) = (Arc::clone(keys), Arc::clone(bytes));
                let held = Held { keys, version: *version, skipped: *skipped, bytes, seen };
                (Taken::Same, held)
            }
            before => {
                let (keys, skipped) = Keys::parse(&bytes)?;
                if keys.is_empty() {
                    return Err(Unusable::Empty);
                }
                let version = before.map_or(0, |before| before.version + 1);
                let (keys, bytes) = (Arc::new(keys), bytes.into());
                (Taken::Anew, Held { keys, version, skipped, bytes, seen })
            }
        };
        self.held.store(Some(Arc::new(held)));
        Ok(taken)
    }

    /// How many looks have ended: what [`newer`](Self::newer) is asked to go beyond.
    pub(crate) fn looks_ended(&self) -> u64 {
        self.looks.borrow().ended
    }

    /// Waits until so many looks have ended.
    #[cfg(test)]
    pub(crate) async fn looked(&self, times: u64) {
        let mut following = self.looks.subscribe();
        following.wait_for(|looks| looks.ended >= times).await.expect("the keyring is there");
    }

    /// Waits, for a bounded time, for a look that ends after so many. Asks for one unless the last one was a
    /// moment ago: whatever tokens name, an issuer is not asked more often than that.
    pub(crate) async fn newer(&self, than: u64) -> Looked {
        let Some(asked) = &self.asked else { return Looked::Current };
        let mut following = self.looks.subscribe();
        {
            let looks = following.borrow();
            let is_settled = looks.ended > than || (!looks.looking && looks.is_recent());
            if is_settled {
                return looks.outcome();
            }
        }
        asked.notify_one();
        let ended = following.wait_for(|looks| looks.ended > than);
        match timeout(limits::KEYS_WAIT, ended).await {
            Ok(Ok(looks)) => looks.outcome(),
            Ok(Err(_)) | Err(_) => Looked::Failed,
        }
    }

    /// Ready once somebody asks for a look, and the last one was not a moment ago.
    pub(crate) async fn asked(&self) {
        let Some(asked) = &self.asked else { return std::future::pending().await };
        loop {
            asked.notified().await;
            // Whoever asked while the last look went on was answered by it.
            if !self.looks.borrow().is_recent() {
                return;
            }
        }
    }
}

impl Looks {
    fn is_recent(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() < limits::KEYS_ASKED_INTERVAL)
    }

    fn outcome(&self) -> Looked {
        if self.fault.is_none() { Looked::Current } else { Looked::Failed }
    }
}
