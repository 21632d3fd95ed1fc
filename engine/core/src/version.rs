//! The register of something that a directory holds: its versions by time.
//!
//! The newest complete version is in force. A version that is split over several records is complete
//! when all of them have come; until then, and where the rest never comes, the one before stays in
//! force. Of two versions of one time the one with the greater hash of its content counts (E15).
//!
//! Versions that are no longer in force are remembered by time and hash, because content that is
//! published again keeps the time since when it has stood so (P8).
//!
//! Two records that claim to be one part of one version must say the same; writers name a version by a
//! hash of its content.
//!
//! INVARIANT: what is in force, and since when, follows from the set of parts that came, in whatever
//! order.

use std::time::Duration;

use crate::limits;
use crate::policy::{Body, Part};
use crate::state::Joined;
use crate::time::UnixMillis;

/// The hash of a content.
pub(crate) type ContentHash = [u8; 16];

/// The versions of one object.
#[derive(Clone)]
pub(crate) struct Versions<T> {
    /// Ascending, one of each time: of several the lesser never stood (E15). The last one is in force. Of
    /// those before the oldest living token, the newest alone.
    history: Vec<Stamp>,
    /// The parts of the version in force.
    parts: Vec<T>,
    pending: Vec<Pending<T>>,
    /// When the newest record about it was appended (L3).
    pub(crate) appended: UnixMillis,
}

/// A version by what orders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) at: UnixMillis,
    pub(crate) hash: ContentHash,
    /// Whether `AllTrusted` means it: locations only.
    pub(crate) trusted: bool,
}

/// A version of which not every part has come.
#[derive(Clone)]
struct Pending<T> {
    at: UnixMillis,
    name: String,
    parts: Vec<Option<Arrived<T>>>,
}

/// A part that has come.
#[derive(Clone)]
struct Arrived<T> {
    hash: ContentHash,
    trusted: bool,
    value: T,
}

/// One part of a version, as a record brings it.
pub(crate) struct Offered<'e, T> {
    pub(crate) part: &'e Part,
    /// The time of the version; with the part's name it tells which one.
    pub(crate) at: UnixMillis,
    pub(crate) hash: ContentHash,
    pub(crate) trusted: bool,
    pub(crate) value: T,
    pub(crate) appended: UnixMillis,
}

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self {
            history: Vec::new(),
            parts: Vec::new(),
            pending: Vec::new(),
            appended: UnixMillis::ZERO,
        }
    }
}

impl<T: Clone> Versions<T> {
    /// The version in force.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.history.last().copied()
    }

    /// What the version in force says, part by part.
    pub(crate) fn parts(&self) -> &[T] {
        &self.parts
    }

    /// Since when its content has stood so.
    pub(crate) fn since(&self) -> Option<UnixMillis> {
        self.since_by(|stamp| stamp.hash)
    }

    /// Since when what it adds to the trusted addresses has stood so; `None` where it never added any.
    pub(crate) fn trusted_since(&self) -> Option<UnixMillis> {
        self.history.iter().any(|stamp| stamp.trusted).then_some(())?;
        self.since_by(|stamp| if stamp.trusted { Some(stamp.hash) } else { None })
    }

    fn since_by<K: PartialEq>(&self, content: impl Fn(&Stamp) -> K) -> Option<UnixMillis> {
        let last = content(self.history.last()?);
        let same = self.history.iter().rev().take_while(|stamp| content(stamp) == last);
        same.last().map(|stamp| stamp.at)
    }

    /// Joins a part. Returns what it did; [`Joined::Raised`] where the version in force is another now,
    /// or has stood so since another time.
    pub(crate) fn join(&mut self, offered: Offered<'_, T>, horizon: Duration) -> Joined {
        let Offered { part, at, hash, trusted, value, appended } = offered;
        self.appended = self.appended.max(appended);
        if part.count <= 1 {
            let stamp = Stamp { at, hash, trusted };
            return self.complete(stamp, vec![value], horizon);
        }
        if self.is_forgotten(at, horizon) {
            return Joined::Lower;
        }
        let is_it = |pending: &Pending<T>| {
            pending.at == at
                && pending.name == part.version
                && pending.parts.len() == part.count as usize
        };
        let place = self.pending.iter().position(is_it).unwrap_or_else(|| {
            let parts = (0..part.count).map(|_| None).collect();
            self.pending.push(Pending { at, name: part.version.clone(), parts });
            self.pending.len() - 1
        });
        let Some(pending) = self.pending.get_mut(place) else { return Joined::Lower };
        let Some(slot) = pending.parts.get_mut(part.index as usize) else { return Joined::Lower };
        if slot.is_some() {
            return Joined::Equal;
        }
        *slot = Some(Arrived { hash, trusted, value });
        if pending.parts.iter().any(Option::is_none) {
            return Joined::Raised;
        }
        let arrived: Vec<Arrived<T>> =
            self.pending.swap_remove(place).parts.into_iter().flatten().collect();
        let hashes: Vec<ContentHash> = arrived.iter().map(|part| part.hash).collect();
        let trusted = arrived.first().is_some_and(|part| part.trusted);
        let stamp = Stamp { at, hash: Body::joined_hash(&hashes), trusted };
        self.complete(stamp, arrived.into_iter().map(|part| part.value).collect(), horizon)
    }

    fn complete(&mut self, stamp: Stamp, parts: Vec<T>, horizon: Duration) -> Joined {
        let known = self.stamp();
        let place = self.history.partition_point(|other| other.at < stamp.at);
        let tied = self.history.get(place).copied().filter(|other| other.at == stamp.at);
        if tied.is_some_and(|tied| tied >= stamp) {
            return if known == Some(stamp) { Joined::Equal } else { Joined::Lower };
        }
        let before = self.standing();
        self.history.splice(place..place + usize::from(tied.is_some()), [stamp]);
        if known.is_none_or(|known| stamp > known) {
            self.parts = parts;
        }
        self.forget(horizon);
        if self.standing() == before { Joined::Lower } else { Joined::Raised }
    }

    /// Everything that decisions take from the history.
    fn standing(&self) -> (Option<Stamp>, Option<UnixMillis>, Option<UnixMillis>) {
        (self.stamp(), self.since(), self.trusted_since())
    }

    /// Lets go of versions that no living token can be older than, but for the newest of them.
    fn forget(&mut self, horizon: Duration) {
        let Some(newest) = self.stamp() else { return };
        let oldest = oldest(newest.at, horizon);
        let before = self.history.partition_point(|stamp| stamp.at < oldest);
        self.history.drain(..before.saturating_sub(1));
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|pending| !self.is_forgotten(pending.at, horizon));
        self.pending = pending;
    }

    /// Whether a version of this time is before the one that is kept for all that are too old, whatever
    /// its content.
    fn is_forgotten(&self, at: UnixMillis, horizon: Duration) -> bool {
        let (Some(first), Some(newest)) = (self.history.first(), self.stamp()) else {
            return false;
        };
        at < first.at && first.at < oldest(newest.at, horizon)
    }
}

/// Before when nothing that happened matters to a token that lives when something newer happens.
pub(crate) fn oldest(newest: UnixMillis, horizon: Duration) -> UnixMillis {
    newest.saturating_sub(horizon).saturating_sub(limits::FORGET_MARGIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HORIZON: Duration = Duration::from_secs(1000);

    const fn ms(millis: u64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    /// Three of these are longer than a version is kept.
    const UNIT: u64 = (1000 * (HORIZON.as_secs() + limits::FORGET_MARGIN.as_secs())) / 3 + 1;

    /// A record: the time of its version, its content, and which part it is.
    #[derive(Clone, Debug, PartialEq)]
    struct Told {
        at: u64,
        content: u8,
        part: Part,
    }

    /// Whole ones, and those of versions in two parts, which are named by their content.
    fn told() -> impl Strategy<Value = Told> {
        let whole =
            (0u64..8, 0u8..3).prop_map(|(at, content)| Told { at, content, part: Part::WHOLE });
        let part = (0u64..8, 0u8..3, 0u32..2).prop_map(|(at, content, index)| {
            let part = Part { version: content.to_string(), index, count: 2 };
            Told { at, content: 10 * content + 100 + u8::from(index == 1), part }
        });
        prop_oneof![2 => whole, 3 => part]
    }

    /// Whether a content is trusted; of parts the first says it.
    const fn is_trusted(content: u8) -> bool {
        content == 1 || content == 110
    }

    fn play(all: &[Told]) -> Versions<u8> {
        let mut versions = Versions::default();
        for Told { at, content, part } in all {
            let offered = Offered {
                part,
                at: ms(at * UNIT),
                hash: [*content; 16],
                trusted: is_trusted(*content),
                value: *content,
                appended: ms(*at),
            };
            let said = |versions: &Versions<_>| {
                (versions.stamp(), versions.since(), versions.trusted_since())
            };
            let before = said(&versions);
            if versions.join(offered, HORIZON) != Joined::Raised {
                assert_eq!(said(&versions), before, "a change is said");
            }
        }
        versions
    }

    /// Every complete version by what orders it, with what it says.
    fn complete(all: &[Told]) -> Vec<(u64, ContentHash, Vec<u8>)> {
        let mut complete = Vec::new();
        for one in all {
            if one.part.count == 1 {
                complete.push((one.at, [one.content; 16], vec![one.content]));
            } else if one.part.index == 0 {
                let is_other = |other: &&Told| {
                    other.at == one.at
                        && other.part.version == one.part.version
                        && other.part.count == 2
                        && other.part.index == 1
                };
                if let Some(other) = all.iter().find(is_other) {
                    let hash = Body::joined_hash(&[[one.content; 16], [other.content; 16]]);
                    complete.push((one.at, hash, vec![one.content, other.content]));
                }
            }
        }
        complete.sort();
        complete.dedup();
        complete
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn the_newest_complete_version_is_in_force_in_any_order(
            all in prop::collection::vec(told(), 0..20),
            seed in any::<u64>(),
        ) {
            let mut shuffled = all.clone();
            for at in (1..shuffled.len()).rev() {
                let drawn = xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed);
                shuffled.swap(at, usize::try_from(drawn % 64).expect("small") % (at + 1));
            }
            let mut complete = complete(&all);
            // Of one time the one with the greatest hash (E15).
            let all_complete = complete.clone();
            complete.retain(|(at, hash, _)| {
                !all_complete.iter().any(|(other, greater, _)| other == at && greater > hash)
            });
            // Of those before the oldest living token, the newest alone.
            let newest = complete.last().map_or(0, |(at, ..)| *at);
            let old = complete.iter().filter(|(at, ..)| at + 3 <= newest).count();
            complete.drain(..old.saturating_sub(1));
            let since = complete.last().and_then(|(_, hash, _)| {
                let same = complete.iter().rev().take_while(|(_, other, _)| other == hash);
                same.last().map(|(at, ..)| ms(at * UNIT))
            });
            let adds = |hash: &ContentHash, says: &[u8]| says.first().is_some_and(|it| is_trusted(*it)).then_some(*hash);
            let trusted_since = complete.last().and_then(|(_, hash, says)| {
                let last = adds(hash, says);
                let same = complete.iter().rev().take_while(|(_, other, says)| adds(other, says) == last);
                same.last().map(|(at, ..)| ms(at * UNIT))
            });
            let ever = complete.iter().any(|(_, hash, says)| adds(hash, says).is_some());
            for versions in [play(&all), play(&shuffled)] {
                let newest = complete.last();
                prop_assert_eq!(versions.stamp().map(|it| it.hash), newest.map(|(_, hash, _)| *hash));
                prop_assert_eq!(versions.parts(), newest.map_or(&[][..], |(.., parts)| parts));
                prop_assert_eq!(versions.since(), since);
                prop_assert_eq!(versions.trusted_since(), trusted_since.filter(|_| ever));
            }
        }
    }

    #[test]
    fn versions_that_no_living_token_is_older_than_are_let_go_but_for_the_newest() {
        let same = |at| Told { at, content: 1, part: Part::WHOLE };
        let versions = play(&[same(0), same(1), same(2), same(5)]);
        assert_eq!(versions.history.len(), 2);
        assert_eq!(versions.since(), Some(ms(2 * UNIT)), "long enough ago to be as good as 0");
    }

    #[test]
    fn parts_that_no_living_token_is_older_than_are_let_go() {
        let part = Part { version: "late".to_owned(), index: 0, count: 2 };
        let late = |at| Told { at, content: 100, part: part.clone() };
        let whole = |at| Told { at, content: 1, part: Part::WHOLE };
        let pending = |all: &[Told]| play(all).pending.len();
        assert_eq!(pending(&[whole(1), whole(9), late(0)]), 0, "too late");
        assert_eq!(pending(&[whole(1), late(0), whole(9)]), 0, "overtaken");
        assert_eq!(pending(&[whole(1), whole(9), late(2)]), 1, "it can still count");
    }
}
