//! The members of a group: a roaring bitmap over interned subjects, shared in chunks.
//!
//! A membership change copies one chunk of at most 2^14 subjects and the pointers to the others, so
//! it costs what changed, not what the group holds.
//!
//! A group's members are those of its *baseline* (the whole set, with the time its reading began) with
//! every single change of that time or later over it (E9). Two opposite words of one instant tie: the
//! subject counts as a member where a policy includes the group, and as none where it excludes it
//! (E15).
//!
//! INVARIANT: `members` and `tied` follow from the baseline and `changes` alone, in whatever order these
//! came.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::policy::Membership;
use crate::time::UnixMillis;

/// Subjects of a chunk: 14 bits of their number. Larger chunks copy more for each change, smaller ones
/// more pointers. Guess: 10 M subjects are 611 pointers.
const CHUNK_BITS: u32 = 14;

/// Who belongs to a group.
#[derive(Clone, Default)]
pub(crate) struct Members {
    chunks: Arc<BTreeMap<u32, Arc<Chunk>>>,
    /// When the reading of the baseline began; `None` where there is none, and so no members.
    baseline: Option<UnixMillis>,
    /// Single changes from before this say nothing any more.
    oldest: UnixMillis,
}

#[derive(Clone, Default)]
struct Chunk {
    /// Members where a policy includes the group.
    members: RoaringBitmap,
    /// Those among them who are none where a policy excludes it.
    tied: RoaringBitmap,
    /// The last word about each subject.
    changes: BTreeMap<u32, Change>,
}

/// The last single word about a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: UnixMillis,
    pub(crate) added: bool,
    pub(crate) removed: bool,
}

/// What a group is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Include,
    Exclude,
}

impl Members {
    /// Whether the whole set was ever told.
    #[inline]
    pub(crate) const fn is_known(&self) -> bool {
        self.baseline.is_some()
    }

    #[inline]
    pub(crate) fn contains(&self, subject: u32, side: Side) -> bool {
        let Some(chunk) = self.chunk(subject) else { return false };
        let low = low(subject);
        chunk.members.contains(low) && (side == Side::Include || !chunk.tied.contains(low))
    }

    /// How many members there are, where a policy includes the group.
    pub(crate) fn len(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.members.len()).sum()
    }

    /// When a single change brought the subject into (out of) the group, where that is the last
    /// word about it (P8).
    pub(crate) fn changed(&self, subject: u32, side: Side) -> Option<UnixMillis> {
        let change = self.change(subject)?;
        let counts = match side {
            Side::Include => change.added,
            Side::Exclude => change.removed,
        };
        counts.then_some(change.at)
    }

    /// The last single word about a subject.
    pub(crate) fn change(&self, subject: u32) -> Option<Change> {
        self.chunk(subject)?.changes.get(&low(subject)).copied()
    }

    /// The last single word about each subject.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (u32, Change)> {
        self.chunks.iter().flat_map(|(number, chunk)| {
            chunk.changes.iter().map(move |(low, change)| ((number << CHUNK_BITS) | low, *change))
        })
    }

    /// Puts the whole set in force. What was said before `oldest` says nothing any more about a living
    /// token.
    pub(crate) fn put_baseline(
        &mut self,
        began: UnixMillis,
        oldest: UnixMillis,
        subjects: &RoaringBitmap,
    ) {
        self.baseline = Some(began);
        self.oldest = oldest;
        let mut rest = std::mem::take(Arc::make_mut(&mut self.chunks));
        let mut parts: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
        for subject in subjects {
            parts.entry(subject >> CHUNK_BITS).or_default().insert(low(subject));
        }
        for number in rest.keys() {
            parts.entry(*number).or_default();
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        for (number, members) in parts {
            let mut changes = rest
                .remove(&number)
                .map(|chunk| Arc::unwrap_or_clone(chunk).changes)
                .unwrap_or_default();
            changes.retain(|_, change| change.at >= oldest);
            let mut chunk = Chunk { members, tied: RoaringBitmap::new(), changes: BTreeMap::new() };
            for (subject, change) in &changes {
                chunk.apply(*subject, *change, began);
            }
            chunk.changes = changes;
            if !chunk.members.is_empty() || !chunk.changes.is_empty() {
                chunks.insert(number, Arc::new(chunk));
            }
        }
    }

    /// Joins a single change.
    pub(crate) fn put_change(&mut self, subject: u32, at: UnixMillis, membership: Membership) {
        let baseline = self.baseline;
        if at < self.oldest {
            return;
        }
        let added = membership == Membership::Added;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.entry(subject >> CHUNK_BITS).or_default());
        let mut change = Change { at, added, removed: !added };
        if let Some(known) = chunk.changes.get(&low(subject)) {
            if known.at > at {
                return;
            }
            if known.at == at {
                change.added |= known.added;
                change.removed |= known.removed;
            }
            if *known == change {
                // A copy. Applied again, it would take a tie with the baseline for its own word.
                return;
            }
        }
        chunk.changes.insert(low(subject), change);
        if let Some(began) = baseline {
            chunk.apply(low(subject), change, began);
        }
    }

    /// Bytes of heap memory, give or take.
    pub(crate) fn heap_bytes(&self) -> usize {
        let bytes = |chunk: &Arc<Chunk>| {
            chunk.members.serialized_size()
                + chunk.tied.serialized_size()
                + chunk.changes.len() * size_of::<(u32, Change)>()
                + size_of::<Chunk>()
        };
        self.chunks.values().map(bytes).sum()
    }

    fn chunk(&self, subject: u32) -> Option<&Chunk> {
        self.chunks.get(&(subject >> CHUNK_BITS)).map(Arc::as_ref)
    }
}

impl Chunk {
    /// Applies the last word about a subject over a baseline that began to be read at `began`.
    fn apply(&mut self, subject: u32, change: Change, began: UnixMillis) {
        if change.at < began {
            return;
        }
        let Change { at, mut added, mut removed } = change;
        if at == began {
            // The baseline is a word of this instant, too.
            if self.members.contains(subject) {
                added = true;
            } else {
                removed = true;
            }
        }
        if added {
            self.members.insert(subject);
        } else {
            self.members.remove(subject);
        }
        if added && removed {
            self.tied.insert(subject);
        } else {
            self.tied.remove(subject);
        }
    }
}

const fn low(subject: u32) -> u32 {
    subject & ((1 << CHUNK_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    #[derive(Clone, Debug)]
    enum Word {
        Baseline(u64, Vec<u32>),
        Change(u64, u32, bool),
    }

    fn subject() -> impl Strategy<Value = u32> {
        prop::sample::select(vec![0u32, 1, 2, (1 << CHUNK_BITS) - 1, 1 << CHUNK_BITS, 70_000])
    }

    fn word() -> impl Strategy<Value = Word> {
        prop_oneof![
            1 => (0u64..6, prop::collection::vec(subject(), 0..5)).prop_map(|(at, all)| Word::Baseline(at, all)),
            6 => (0u64..6, subject(), any::<bool>()).prop_map(|(at, one, added)| Word::Change(at, one, added)),
        ]
    }

    /// The newest baseline counts; its caller sees to that, and to one per time.
    fn play(words: &[Word]) -> Members {
        let mut members = Members::default();
        for word in words {
            match word {
                Word::Baseline(at, all) if members.baseline.is_none_or(|known| known < ms(*at)) => {
                    members.put_baseline(ms(*at), UnixMillis::ZERO, &all.iter().copied().collect());
                }
                Word::Baseline(..) => {}
                Word::Change(at, subject, added) => {
                    let change = if *added { Membership::Added } else { Membership::Removed };
                    members.put_change(*subject, ms(*at), change);
                }
            }
        }
        members
    }

    /// The same from the plain list: what was said last, by whom it is heard.
    fn naive(words: &[Word], subject: u32, side: Side) -> Option<bool> {
        let baselines = words.iter().filter_map(|word| match word {
            Word::Baseline(at, all) => Some((*at, all)),
            Word::Change(..) => None,
        });
        let newest = baselines.max_by_key(|(at, _)| *at)?;
        let mut said = vec![(newest.0, newest.1.contains(&subject))];
        said.extend(words.iter().filter_map(|word| match word {
            Word::Change(at, about, added) if *about == subject && *at >= newest.0 => {
                Some((*at, *added))
            }
            _ => None,
        }));
        let last = said.iter().map(|(at, _)| *at).max()?;
        let mut last = said.iter().filter(|(at, _)| *at == last).map(|(_, is_in)| *is_in);
        Some(if side == Side::Include { last.any(|is_in| is_in) } else { last.all(|is_in| is_in) })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn members_are_what_the_last_words_say_in_any_order(
            mut words in prop::collection::vec(word(), 0..30),
            seed in any::<u64>(),
        ) {
            // One baseline per time.
            let mut times = Vec::new();
            words.retain(|word| match word {
                Word::Baseline(at, _) if times.contains(at) => false,
                Word::Baseline(at, _) => { times.push(*at); true }
                Word::Change(..) => true,
            });
            let mut shuffled = words.clone();
            let len = shuffled.len();
            for at in (1..len).rev() {
                let drawn = xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed);
                let other = usize::try_from(drawn % 64).expect("small") % (at + 1);
                shuffled.swap(at, other);
            }
            let (one, other) = (play(&words), play(&shuffled));
            for subject in [0u32, 1, 2, (1 << CHUNK_BITS) - 1, 1 << CHUNK_BITS, 70_000, 9] {
                for side in [Side::Include, Side::Exclude] {
                    let expected = naive(&words, subject, side);
                    prop_assert_eq!(one.is_known().then(|| one.contains(subject, side)), expected);
                    prop_assert_eq!(other.contains(subject, side), one.contains(subject, side));
                    prop_assert_eq!(other.changed(subject, side), one.changed(subject, side));
                }
            }
        }
    }

    #[test]
    fn a_change_copies_one_chunk_and_shares_the_others() {
        let mut members = Members::default();
        let all: RoaringBitmap = (0..200_000).collect();
        members.put_baseline(ms(1), UnixMillis::ZERO, &all);
        let before = members.clone();
        members.put_change(3, ms(2), Membership::Removed);
        assert!(before.contains(3, Side::Include) && !members.contains(3, Side::Include));
        let shared = before.chunks.iter().filter(|(number, chunk)| {
            members.chunks.get(number).is_some_and(|now| Arc::ptr_eq(chunk, now))
        });
        assert_eq!(shared.count(), before.chunks.len() - 1);
    }

    #[test]
    fn its_bytes_are_those_of_its_chunks() {
        let mut members = Members::default();
        members.put_baseline(ms(1), UnixMillis::ZERO, &RoaringBitmap::from([1]));
        for membership in [Membership::Added, Membership::Removed] {
            members.put_change(2, ms(2), membership);
        }
        let bitmaps = [RoaringBitmap::from([1, 2]), RoaringBitmap::from([2])];
        let bitmaps: usize = bitmaps.iter().map(RoaringBitmap::serialized_size).sum();
        let chunk = bitmaps + size_of::<(u32, Change)>() + size_of::<Chunk>();
        assert_eq!(members.heap_bytes(), chunk);
        members.put_change(70_000, ms(2), Membership::Added);
        assert!(members.heap_bytes() > chunk + size_of::<Chunk>());
    }

    #[test]
    fn every_last_word_is_told_under_its_subject() {
        let mut members = Members::default();
        let subjects = [0, 5, (1 << CHUNK_BITS) - 1, 1 << CHUNK_BITS, 70_001];
        for (at, subject) in (1..).zip(subjects) {
            members.put_change(subject, ms(at), Membership::Added);
        }
        let told: Vec<(u32, u64)> =
            members.changes().map(|(subject, change)| (subject, change.at.as_millis())).collect();
        assert_eq!(
            told,
            (1..).zip(subjects).map(|(at, subject)| (subject, at)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_was_said_before_the_oldest_living_token_says_nothing() {
        let words = [(1, 4), (2, 5), (3, 6)];
        let played = |baseline_first: bool| {
            let mut members = Members::default();
            let baseline = |members: &mut Members| {
                members.put_baseline(ms(9), ms(5), &RoaringBitmap::from([1, 2]));
            };
            if baseline_first {
                baseline(&mut members);
            }
            for (subject, at) in words {
                members.put_change(subject, ms(at), Membership::Added);
            }
            if !baseline_first {
                baseline(&mut members);
            }
            words.map(|(subject, _)| members.changed(subject, Side::Include))
        };
        assert_eq!(played(true), [None, Some(ms(5)), Some(ms(6))]);
        assert_eq!(played(false), played(true));
    }
}
