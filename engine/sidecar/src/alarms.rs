//! What an operator is told when knowledge grows old (F3): once when it begins, and once when it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use caed_core::ids::Name;
use caed_surfaces::pdp::{Pdp, Readiness};

/// The age from which on it is an alarm. SOURCE: SEMANTICS.md F3.
const ALARM_AGE: Duration = Duration::from_secs(30);

/// What was said last of how old the knowledge is.
#[derive(Default)]
pub(crate) struct Alarms {
    is_alarmed: bool,
    is_stale: bool,
    sources: BTreeSet<(Name, Name)>,
}

/// Something new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Decisions rest on what was known so long ago.
    Old(Duration),
    /// They don't any more.
    Followed,
    /// What is known of the log is stale: another process should be asked.
    Unready(Duration),
    /// It is not any more.
    Ready,
    /// A source of a tenant is silent for too long, or halted.
    SourceStale {
        /// The tenant.
        tenant: Name,
        /// The source.
        source: Name,
        /// How long ago it gave a sign of life.
        age: Duration,
    },
    /// It is well again, or nothing is expected of it any more.
    SourceWell {
        /// The tenant.
        tenant: Name,
        /// The source.
        source: Name,
    },
}

impl Alarms {
    /// Looks at the ages. Returns what is new about them.
    pub(crate) fn look(&mut self, pdp: &Pdp) -> Vec<Word> {
        let mut words = Vec::new();
        let moment = pdp.moment();
        let age = moment.age.unwrap_or_default();
        let is_alarmed = age > ALARM_AGE;
        if is_alarmed != std::mem::replace(&mut self.is_alarmed, is_alarmed) {
            words.push(if is_alarmed { Word::Old(age) } else { Word::Followed });
        }
        let is_stale = matches!(pdp.readiness(), Readiness::Stale(_));
        if is_stale != std::mem::replace(&mut self.is_stale, is_stale) {
            words.push(if is_stale { Word::Unready(age) } else { Word::Ready });
        }
        let mut stale = BTreeSet::new();
        for (tenant, view) in moment.stale_sources(moment.now()) {
            let key = (tenant.clone(), view.name.clone());
            if !self.sources.contains(&key) {
                let age = view.age(moment.now()).unwrap_or_default();
                words.push(Word::SourceStale { tenant: tenant.clone(), source: view.name, age });
            }
            stale.insert(key);
        }
        let before = std::mem::replace(&mut self.sources, stale);
        let well = before.into_iter().filter(|key| !self.sources.contains(key));
        words.extend(well.map(|(tenant, source)| Word::SourceWell { tenant, source }));
        words
    }
}

impl Word {
    /// Says it in the log.
    pub(crate) fn tell(&self) {
        match self {
            Self::Old(age) => {
                tracing::error!(age_s = age.as_secs(), "decisions rest on old knowledge");
            }
            Self::Followed => tracing::info!("the log is followed again"),
            Self::Unready(age) => {
                let age_s = age.as_secs();
                tracing::error!(age_s, "not ready any more: the knowledge is stale");
            }
            Self::Ready => tracing::info!("ready again"),
            Self::SourceStale { tenant, source, age } => {
                let age_s = age.as_secs();
                tracing::error!(
                    %tenant, %source, age_s,
                    "a source of events is silent for too long, or halted: what happens there is not known here"
                );
            }
            Self::SourceWell { tenant, source } => {
                tracing::info!(%tenant, %source, "a source of events is well again");
            }
        }
    }

    /// What health turns to.
    pub(crate) const fn health(&self) -> Option<bool> {
        match self {
            Self::Unready(_) => Some(false),
            Self::Ready => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use caed_core::builder::Builder;
    use caed_core::event::{Declaration, Event, Fact, Stream};
    use caed_core::position::{Offset, Partition, Position};
    use caed_core::publish;
    use caed_core::rules::{Profile, Rules};
    use caed_core::time::{Clock, UnixMillis};

    use super::*;

    /// Shows so many seconds after `START`, on both clocks; asleep, on the wall's alone.
    #[derive(Default)]
    struct Virtual {
        awake_s: AtomicU64,
        asleep_s: AtomicU64,
    }

    const START: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);

    impl Clock for Virtual {
        fn now(&self) -> UnixMillis {
            let asleep = Duration::from_secs(self.asleep_s.load(Ordering::Relaxed));
            START.saturating_add(self.monotonic() + asleep)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.awake_s.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn each_alarm_is_given_once_and_taken_back_once() {
        let name = |text| Name::parse(text).expect("a name");
        let (tenant, source) = (name("contoso"), name("directory"));
        let mut builder = Builder::new(Arc::new(Rules::default()), 7);
        builder.caught_up();
        let mut offset = 0;
        let mut tell = |builder: &mut Builder, at: UnixMillis, fact| {
            let (tenant, source) = (tenant.clone(), source.clone());
            let id = String::new();
            let event = Event { tenant, source, id, occurred: at, received: at, fact };
            let position = Position { partition: Partition::default(), offset: Offset(offset) };
            builder.apply(position, at, &event);
            offset += 1;
        };
        let declared = Fact::Source {
            source: source.clone(),
            declaration: Declaration {
                declared: true,
                emits_enabled: true,
                emits_device_clear: true,
                retired: None,
            },
        };
        tell(&mut builder, START, declared);
        let (mut publisher, reader) = publish::cell(builder.freeze());
        let clock = Arc::new(Virtual::default());
        let pdp = Pdp::new(reader, Arc::<Virtual>::clone(&clock), Arc::new(Profile::default()));
        let mut alarms = Alarms::default();
        let seconds = Duration::from_secs;
        let key = (tenant.clone(), source.clone());
        let stale = |age| Word::SourceStale { tenant: key.0.clone(), source: key.1.clone(), age };
        let well = || Word::SourceWell { tenant: key.0.clone(), source: key.1.clone() };

        publisher.confirm_current(START, Duration::ZERO);
        for (awake_s, words) in [
            (0, vec![]),
            (30, vec![]),
            (31, vec![Word::Old(seconds(31))]),
            (300, vec![]),
            (301, vec![Word::Unready(seconds(301))]),
            (900, vec![]),
            (901, vec![stale(seconds(901))]),
            (902, vec![]),
        ] {
            clock.awake_s.store(awake_s, Ordering::Relaxed);
            assert_eq!(alarms.look(&pdp), words, "after {awake_s} s");
        }

        // The log is read again, and the source is heard.
        let beat = |stream| Fact::Heartbeat { partition: 0, stream };
        tell(&mut builder, clock.now(), beat(Stream::Enabled));
        publisher.publish(builder.freeze());
        publisher.confirm_current(clock.now(), clock.monotonic());
        assert_eq!(alarms.look(&pdp), [Word::Followed, Word::Ready, well()]);

        // The machine sleeps for ten minutes.
        clock.asleep_s.store(600, Ordering::Relaxed);
        assert_eq!(alarms.look(&pdp), [Word::Old(seconds(600)), Word::Unready(seconds(600))]);
        publisher.confirm_current(clock.now(), clock.monotonic());
        assert_eq!(alarms.look(&pdp), [Word::Followed, Word::Ready]);

        // A halted stream is stale at once.
        tell(&mut builder, clock.now(), beat(Stream::Disabled));
        publisher.publish(builder.freeze());
        assert_eq!(alarms.look(&pdp), [stale(Duration::ZERO)]);
    }
}
