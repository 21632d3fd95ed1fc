//! How old what is known may be, and what becomes of requests when it is older (F2, F3).
//!
//! Two things age. The log: how long ago everything in it was surely known, which only the reader of the
//! log can say, so it comes with each question. And the sources of events: how long ago each one gave a
//! sign of life (E11), which stands in the log and so in the snapshot.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::event::Stream;
use crate::index::names::Number;
use crate::limits;
use crate::request::Token;
use crate::tenant::Tenant;
use crate::time::{UnixMillis, UnixSeconds};

/// What becomes of requests when what is known is too old (F3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenStale {
    /// Tokens older than the plain lifetime are challenged: nobody is believed for longer than without
    /// events.
    #[default]
    Lifetime,
    /// Every token is refused with 503, until more is known.
    Deny,
    /// Tokens are decided by what is known.
    Allow,
}

/// From which age on knowledge is stale (F3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleAfter {
    /// What was read of the log.
    pub log: Duration,
    /// The last sign of life of a source that is declared to give some.
    pub source: Duration,
}

impl Default for StaleAfter {
    fn default() -> Self {
        Self { log: limits::LOG_STALE_AFTER_DEFAULT, source: limits::SOURCE_STALE_AFTER_DEFAULT }
    }
}

/// When a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// By this host's clock.
    pub now: UnixMillis,
    /// How long ago the snapshot was last known to contain everything that its log held (F2).
    pub log_age: Duration,
}

/// The last signs of life of a tenant's sources, and what decisions read of them.
#[derive(Clone, Default)]
pub(crate) struct Signs {
    all: Vec<Sign>,
    /// The oldest last sign of the declared sources whose streams run.
    oldest: Option<UnixMillis>,
    /// Since when the first stream of a declared source has been halted.
    halted: Option<UnixMillis>,
}

/// The last sign of life of one stream of a source.
#[derive(Clone, Copy)]
pub(crate) struct Sign {
    pub(crate) source: Number,
    /// The source's own number for the stream.
    pub(crate) partition: u32,
    pub(crate) at: UnixMillis,
    pub(crate) stream: Stream,
    /// When the newest record about it was appended (L3).
    pub(crate) appended: UnixMillis,
}

/// Something that is known is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// For how long it has been so.
    pub(crate) by: Duration,
    /// When it was last known well.
    pub(crate) since: UnixMillis,
}

impl Sign {
    /// What decides between two signs of one stream: of one instant, the worse news counts.
    pub(crate) const fn order(&self) -> (UnixMillis, Stream) {
        (self.at, self.stream)
    }
}

impl Signs {
    /// Every sign, in no particular order.
    pub(crate) fn of(&self, source: Number) -> impl Iterator<Item = &Sign> + '_ {
        self.all.iter().filter(move |sign| sign.source == source)
    }

    /// Those who gave one.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Number> + '_ {
        self.all.iter().map(|sign| sign.source)
    }

    pub(crate) fn held(&self, source: Number, partition: u32) -> Option<&Sign> {
        self.of(source).find(|sign| sign.partition == partition)
    }

    /// Joins a sign: the later counts.
    pub(crate) fn put(&mut self, new: Sign) {
        let is_same =
            |known: &&mut Sign| (known.source, known.partition) == (new.source, new.partition);
        match self.all.iter_mut().find(is_same) {
            None => self.all.push(new),
            Some(known) => {
                let appended = known.appended.max(new.appended);
                if new.order() > known.order() {
                    *known = new;
                }
                known.appended = appended;
            }
        }
    }

    /// Makes what decisions read anew. Returns whether there is anything to read.
    pub(crate) fn settle(&mut self, tenant: &Tenant) -> bool {
        let (mut oldest, mut halted) = (None, None);
        let earlier = |known: &mut Option<UnixMillis>, at| {
            *known = Some(known.map_or(at, |known: UnixMillis| known.min(at)));
        };
        for declared in tenant.declarations().iter().filter(|declared| declared.gives_signs()) {
            let mut has_sign = false;
            for sign in self.of(declared.source()) {
                has_sign = true;
                match sign.stream {
                    Stream::Enabled => earlier(&mut oldest, sign.at),
                    Stream::Paused | Stream::Disabled => earlier(&mut halted, sign.at),
                    Stream::Ended => {}
                }
            }
            if !has_sign {
                earlier(&mut oldest, declared.at());
            }
        }
        (self.oldest, self.halted) = (oldest, halted);
        oldest.is_some() || halted.is_some()
    }

    /// How long ago the declared source that has been silent the longest gave a sign of life.
    pub(crate) fn age(&self, now: UnixMillis) -> Option<Duration> {
        self.oldest.into_iter().chain(self.halted).min().map(|at| now.since(at))
    }

    /// Whether a declared source has been silent for longer than `after`, or says that it is halted,
    /// which is stale at once.
    pub(crate) fn overdue(&self, now: UnixMillis, after: Duration) -> Option<Overdue> {
        let silent = self.oldest.and_then(|at| overdue(now.since(at), at, after));
        let halted = self.halted.map(|at| Overdue { by: now.since(at), since: at });
        longer(silent, halted)
    }
}

/// Whether the log was read too long ago.
pub(crate) fn log_overdue(age: Duration, now: UnixMillis, after: Duration) -> Option<Overdue> {
    overdue(age, now.saturating_sub(age), after)
}

fn overdue(age: Duration, since: UnixMillis, after: Duration) -> Option<Overdue> {
    (age > after).then(|| Overdue { by: age.saturating_sub(after), since })
}

/// The one that has been so for longer.
pub(crate) fn longer(one: Option<Overdue>, other: Option<Overdue>) -> Option<Overdue> {
    match (one, other) {
        (Some(one), Some(other)) if other.by > one.by => Some(other),
        (one, other) => one.or(other),
    }
}

/// How much later than the first token this one is challenged, so that they don't all come at once. The
/// same for every process.
pub(crate) fn spread(token: &Token<'_>, issued_at: UnixSeconds) -> Duration {
    let seed = issued_at.as_seconds().cast_unsigned();
    let drawn = xxh3_64_with_seed(token.subject.as_str().as_bytes(), seed);
    let span = limits::STALE_SPREAD.as_secs() * 1000;
    Duration::from_millis(drawn % span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    fn sign(source: Number, partition: u32, at: u64, stream: Stream) -> Sign {
        Sign { source, partition, at: ms(at), stream, appended: ms(at) }
    }

    #[test]
    fn the_last_sign_of_each_stream_is_held() {
        let mut signs = Signs::default();
        for one in [
            sign(1, 0, 50, Stream::Enabled),
            sign(1, 0, 40, Stream::Disabled),
            sign(1, 0, 50, Stream::Paused),
            sign(1, 7, 10, Stream::Enabled),
            sign(2, 0, 20, Stream::Enabled),
        ] {
            signs.put(one);
        }
        let held = |source, partition| signs.held(source, partition).map(Sign::order);
        assert_eq!(held(1, 0), Some((ms(50), Stream::Paused)));
        assert_eq!(held(1, 7), Some((ms(10), Stream::Enabled)));
        assert_eq!(held(2, 7), None);
        let mut sources: Vec<Number> = signs.sources().collect();
        sources.dedup();
        assert_eq!(sources, [1, 2]);
        assert_eq!(signs.age(ms(100)), None, "nothing is expected of anybody");
    }

    #[test]
    fn the_age_is_that_of_the_stream_that_was_silent_the_longest() {
        let age = |oldest, halted| {
            Signs { all: Vec::new(), oldest, halted }.age(ms(100)).map(|age| age.as_millis())
        };
        assert_eq!(age(None, None), None);
        assert_eq!(age(Some(ms(40)), None), Some(60));
        assert_eq!(age(Some(ms(40)), Some(ms(30))), Some(70));
        assert_eq!(age(None, Some(ms(120))), Some(0), "a clock that runs ahead");
    }

    #[test]
    fn what_has_been_stale_for_longer_counts() {
        let overdue = |by, since| Some(Overdue { by: Duration::from_millis(by), since: ms(since) });
        let (short, long) = (overdue(5, 1), overdue(6, 2));
        assert_eq!(longer(short, long), long);
        assert_eq!(longer(long, short), long);
        assert_eq!(longer(short, None), short);
        assert_eq!(longer(None, long), long);
        // Of two that are equal, the first.
        assert_eq!(longer(short, overdue(5, 3)), short);
    }
}
