//! Which records a janitor may take out of the topics (L3): the choice alone, without any client.
//!
//! A sweep is shown every record of the log, partition by partition, and marks what core says is
//! outlived. Nothing is given out before all of it has been seen, because what a record is dominated
//! by may lie anywhere: a log that holds one thing which speaks against the whole is left as it is.
//!
//! Against the whole speaks:
//! - a partition that has no identity record, or another one than the snapshot was made from. The
//!   snapshot might then know what this log does not hold;
//! - a `min_reader_version` that is not this version;
//! - a record that is understood but was not written by a caed of this version: it says more than
//!   this version reads (its bytes are not those that its meaning is written in), or its key is not
//!   the computed one (L1). The first may mean less than it seems to here, and the second may be gone
//!   tomorrow under a later record of the same key; neither may be what another is dropped for.
//!
//! That is how "only if both records' versions are at most the log's `min_reader_version`" is kept
//! while there is one version: a record says what version 1 can say, and so does every other one, or
//! nothing is dropped.
//!
//! Copies of a record share its key, so a tombstone takes all of them that stand before it in its
//! partition. The last one that a sweep is shown decides, so what was delivered again lately stays
//! two more horizons. Only a copy that is appended between the sweep and its tombstone is taken
//! early, and that is harmless: it says what the record said. If that was dominated, what dominates
//! it is in the log and two horizons old; if it was a cutoff that had expired, every token that it
//! could reject is dead, and no copy reaches another one. (A token that is revoked by its id existed
//! when the first of the copies was appended, E17.)

use std::collections::{BTreeMap, BTreeSet};

use caed_core::event::{Fact, RecordKey};
use caed_core::position::{Partition, Position};
use caed_core::snapshot::Snapshot;
use caed_core::time::UnixMillis;

use super::identity::{LogIdentity, READER_VERSION};
use super::limits;
use caed_decode::native;

/// A record as it stands in a topic.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'r> {
    /// Where it stands.
    pub position: Position,
    /// When the log appended it; `None` where the topic keeps the sender's time.
    pub appended: Option<UnixMillis>,
    /// Its key.
    pub key: Option<&'r [u8]>,
    /// `None` is a tombstone.
    pub payload: Option<&'r [u8]>,
}

/// Everything that one run of a janitor has seen.
#[derive(Debug, Default)]
pub struct Sweep {
    partitions: BTreeMap<Partition, Swept>,
    marks: usize,
    stranger: Option<Position>,
}

#[derive(Debug, Default)]
struct Swept {
    /// The newest identity record.
    identity: Option<LogIdentity>,
    /// The keys whose last record may go.
    marked: BTreeSet<RecordKey>,
}

/// What speaks against dropping anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objection {
    /// This record was not written by a caed of this version.
    Stranger(Position),
    /// This partition is not known to be the one that the snapshot was made from.
    Unidentified(Partition),
    /// This partition may hold records of another version.
    Version(Partition),
}

/// What a record is to a janitor.
enum Judged {
    Outlived(RecordKey),
    Needed,
    Stranger,
}

impl Sweep {
    /// Looks at a record, which stands behind all of its partition that were looked at before.
    /// `clock` is this host's own.
    pub fn look(&mut self, seen: &Seen<'_>, snapshot: &Snapshot, clock: UnixMillis) {
        let swept = self.partitions.entry(seen.position.partition).or_default();
        // Whatever an earlier record under this key was, this one stands for it now.
        if let Some(key) = seen.key.and_then(record_key)
            && swept.marked.remove(&key)
        {
            self.marks -= 1;
        }
        let Some(payload) = seen.payload else { return };
        if let Some(identity) = LogIdentity::of_record(seen.key, payload) {
            swept.identity = Some(identity);
            return;
        }
        match judge(seen, payload, snapshot, clock) {
            Judged::Outlived(key) => {
                if self.marks < limits::TOMBSTONES_MAX && swept.marked.insert(key) {
                    self.marks += 1;
                }
            }
            Judged::Needed => {}
            Judged::Stranger => {
                self.stranger.get_or_insert(seen.position);
            }
        }
    }

    /// The keys that may get a tombstone, each in its partition, once everything that `snapshot`
    /// was made from has been looked at.
    pub fn tombstones(self, snapshot: &Snapshot) -> Result<Vec<(Partition, RecordKey)>, Objection> {
        for reached in snapshot.frontier().iter() {
            let partition = reached.partition;
            let identity = self.partitions.get(&partition).and_then(|swept| swept.identity);
            match identity {
                Some(identity) if Some(identity.incarnation) == reached.incarnation => {
                    if identity.min_reader_version != READER_VERSION {
                        return Err(Objection::Version(partition));
                    }
                }
                _ => return Err(Objection::Unidentified(partition)),
            }
        }
        if let Some(position) = self.stranger {
            return Err(Objection::Stranger(position));
        }
        let of_partition = |(partition, swept): (Partition, Swept)| {
            swept.marked.into_iter().map(move |key| (partition, key))
        };
        Ok(self.partitions.into_iter().flat_map(of_partition).collect())
    }
}

fn judge(seen: &Seen<'_>, payload: &[u8], snapshot: &Snapshot, clock: UnixMillis) -> Judged {
    // What nobody understands is in no state: it dominates nothing, and stays for people to see.
    let Ok(decoded) = native::decode(payload) else { return Judged::Needed };
    let key = decoded.event.record_key();
    if seen.key.and_then(record_key) != Some(key) || !native::says_all(payload) {
        return Judged::Stranger;
    }
    let Some(appended) = seen.appended else { return Judged::Needed };
    let now = clock.min(snapshot.newest_append());
    // A tombstone would take the newest of its key along; compaction alone leaves just that.
    let is_sign = matches!(decoded.event.fact, Fact::Heartbeat { .. });
    if !is_sign
        && snapshot.frontier().contains(seen.position)
        && snapshot.outlives(&decoded.event, appended, now)
    {
        Judged::Outlived(key)
    } else {
        Judged::Needed
    }
}

fn record_key(key: &[u8]) -> Option<RecordKey> {
    key.try_into().ok().map(RecordKey)
}
