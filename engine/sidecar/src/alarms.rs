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
                    "a source of events is silent for too long, or halted: what it knows is not enforced"
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
