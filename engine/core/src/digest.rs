//! One number for everything that a snapshot knows, so that two replicas can be compared (T5).
//!
//! Each row is hashed by what it means (names and ids, never numbers or places, which differ between
//! processes) and the hashes are added up, so that neither order nor layout shows. What is expired by
//! the newest append time read is left out, because replicas forget at their own pace.
//!
//! A digest finds replicas that went apart by a fault. It is no proof against somebody who forges
//! state: that would need a hash that can't be steered.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use crate::consequence::FinerKind;
use crate::directory::{Directory, InForce};
use crate::event::{Declaration, RecordKey};
use crate::ids::ObjectKey;
use crate::index::Row;
use crate::index::names::{Names, Number};
use crate::index::sets::Change;
use crate::index::table::Table as Tree;
use crate::origin::Origin;
use crate::row::{Cutoff, CutoffKey, CutoffKind, NO_ISSUER, PairKey, RegisterKey, SubjectRow};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::time::UnixMillis;
use crate::version::Stamp;

/// The digest of a snapshot's state. Comparable between snapshots of one frontier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest(u128);

/// What a row is, so that rows of different tables never hash alike.
#[derive(Clone, Copy)]
enum Table {
    TenantCutoff,
    Declaration,
    Cutoff,
    Pair,
    Register,
    Version,
    Member,
}

/// Tells what is expired by the newest append time read.
struct Alive {
    now: UnixMillis,
    horizon: Duration,
}

/// The hashes of names, by number.
struct Hashes(Vec<u128>);

/// The parts of one row, one after the other.
struct Parts {
    bytes: [u8; Self::ROOM],
    len: usize,
}

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Snapshot {
    /// The digest of the state. Looks at every row, so it is not for the path of a request.
    pub fn digest(&self) -> StateDigest {
        let State {
            tenants,
            issuers,
            sources,
            cutoffs,
            pairs,
            registers,
            subjects,
            directories,
            // A log keeps the last sign that was appended, which need not be the newest.
            signs: _,
            // Numbers, and what is made of the rest.
            stale: _,
            horizon: _,
            countries: _,
        } = &self.state;
        let alive = Alive { now: self.newest_append, horizon: self.rules.horizon };
        let (names, issuers, sources) =
            (Hashes::of(tenants.names()), Hashes::of(issuers), Hashes::of(sources));
        let mut digest = StateDigest::default();
        for (number, tenant) in tenants.iter() {
            let name = names.get(number);
            if let Some(at) = alive.cutoff(tenant.cutoff, false) {
                digest.add(Parts::new(Table::TenantCutoff, name).time(at));
            }
            if let Some(directory) = directories.get(number) {
                digest.add_directory(directory, name, number, subjects);
            }
            for declared in tenant.declarations() {
                let (at, RecordKey(tie)) = declared.order();
                let Declaration {
                    declared: is_declared,
                    emits_enabled,
                    emits_device_clear,
                    retired,
                } = declared.declaration;
                let flags = [is_declared, emits_enabled, emits_device_clear, retired.is_some()];
                let row = Parts::new(Table::Declaration, name)
                    .hash(sources.get(declared.source()))
                    .time(at)
                    .bytes(&tie)
                    .bytes(&flags.map(u8::from))
                    .time(retired.unwrap_or_default());
                digest.add(row);
            }
        }
        for (CutoffKey { tenant, kind, issuer, id }, cutoff) in cutoffs.iter() {
            let cutoff = alive.cutoff(cutoff, matches!(kind, CutoffKind::Token));
            let Some(at) = cutoff else { continue };
            let row = Parts::new(Table::Cutoff, names.get(tenant))
                .bytes(&[kind as u8])
                .hash(issuers.get(issuer))
                .id(id)
                .time(at);
            digest.add(row);
        }
        for row in pairs.iter() {
            let PairKey { tenant, kind, issuer, user, finer } = row.key();
            let cutoff = alive.cutoff(row.cutoff(), matches!(kind, FinerKind::Token));
            let Some(at) = cutoff else { continue };
            let row = Parts::new(Table::Pair, names.get(tenant))
                .bytes(&[kind as u8])
                .hash(issuers.get(issuer))
                .id(user)
                .id(finer)
                .time(at);
            digest.add(row);
        }
        for row in registers.iter() {
            // Sources are numbered as they came, so the index says nothing.
            let RegisterKey { tenant, facet, object, index: _ } = row.key();
            let row = Parts::new(Table::Register, names.get(tenant))
                .bytes(&[facet as u8, row.standing])
                .hash(sources.get(row.source))
                .id(object)
                .time(row.at);
            digest.add(row);
        }
        digest
    }
}

impl Alive {
    /// What a cutoff still says: `None` where nothing. An instant that only dead tokens lie before
    /// says nothing by itself; it is there where a replica has not forgotten it and gone where it
    /// has, even if a late record keeps the row. A token that is revoked by its id is so whatever
    /// the instant.
    fn cutoff(&self, cutoff: Cutoff, by_id: bool) -> Option<UnixMillis> {
        let Self { now, horizon } = *self;
        let Cutoff { at, kept: _, origin: _ } = cutoff;
        // Rows that stand for nothing but other rows lie before every instant.
        if at == UnixMillis::ZERO || Cutoff::new(at, at, Origin::NONE).is_expired(now, horizon) {
            return (by_id && !cutoff.is_expired(now, horizon)).then_some(UnixMillis::ZERO);
        }
        Some(at)
    }
}

impl StateDigest {
    /// What is in force in a directory. Parts of versions that are not complete yet say nothing.
    fn add_directory(
        &mut self,
        directory: &Directory,
        tenant: u128,
        number: Number,
        subjects: &Tree<SubjectRow>,
    ) {
        for InForce { kind, id, stamp, since, trusted_since } in directory.in_force() {
            let Stamp { at, hash, trusted } = stamp;
            let row = Parts::new(Table::Version, tenant)
                .bytes(&[kind as u8, u8::from(trusted)])
                .bytes(&hash)
                .time(at)
                .time(since)
                .time(trusted_since.unwrap_or_default());
            self.add(match id {
                Some(id) => row.id(id),
                None => row,
            });
        }
        let mut changes = directory.changes().peekable();
        if changes.peek().is_none() {
            return;
        }
        let named = subjects.iter().map(Row::key).zip(subjects.iter());
        let of_tenant = named.filter(|(key, _)| key.tenant == number);
        let ids: HashMap<u32, ObjectKey> =
            of_tenant.map(|(key, row)| (row.number, key.subject)).collect();
        for (group, subject, change) in changes {
            let Some(subject) = ids.get(&subject) else { continue };
            let Change { at, added, removed } = change;
            let row = Parts::new(Table::Member, tenant)
                .id(group)
                .id(*subject)
                .bytes(&[added, removed].map(u8::from))
                .time(at);
            self.add(row);
        }
    }

    fn add(&mut self, Parts { bytes, len }: Parts) {
        self.0 = self.0.wrapping_add(xxh3_128(bytes.get(..len).unwrap_or(&bytes)));
    }
}

impl Hashes {
    fn of(names: &Names) -> Self {
        let mut hashes = vec![0; names.len()];
        for (name, number) in names.iter() {
            if let Some(hash) = hashes.get_mut(number as usize) {
                *hash = xxh3_128(name.as_str().as_bytes());
            }
        }
        Self(hashes)
    }

    /// The hash of a name; 0 where there is none ([`NO_ISSUER`]).
    fn get(&self, number: Number) -> u128 {
        debug_assert!(number == NO_ISSUER || (number as usize) < self.0.len());
        self.0.get(number as usize).copied().unwrap_or_default()
    }
}

impl Parts {
    /// Bytes of the longest row, a pair: table and kind, two names, two ids, a time.
    const ROOM: usize = 2 + 2 * 16 + 2 * 17 + 8;

    fn new(table: Table, tenant: u128) -> Self {
        Self { bytes: [0; Self::ROOM], len: 0 }.bytes(&[table as u8]).hash(tenant)
    }

    fn bytes(mut self, part: &[u8]) -> Self {
        debug_assert!(self.len + part.len() <= Self::ROOM);
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(part) {
            *to = *from;
        }
        self.len += part.len();
        self
    }

    fn hash(self, hash: u128) -> Self {
        self.bytes(&hash.to_le_bytes())
    }

    fn id(self, ObjectKey { bits: [high, low], form }: ObjectKey) -> Self {
        self.bytes(&high.to_le_bytes()).bytes(&low.to_le_bytes()).bytes(&[form as u8])
    }

    fn time(self, time: UnixMillis) -> Self {
        self.bytes(&time.as_millis().to_le_bytes())
    }
}
