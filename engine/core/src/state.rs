//! The state itself: what a builder changes and a snapshot shares.
//!
//! Only [`State::join`] changes it, one consequence at a time, and every change is a raise: see
//! [`crate::consequence`] for why that makes the order of events irrelevant.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::consequence::{Consequence, Facet, FinerKey, FinerKind, Scope};
use crate::countries::Countries;
use crate::cutoffs::Cutoffs;
use crate::directory::{Compilation, CompiledRanges, Directory, Intern, Told};
use crate::event::{AccountState, DeviceState};
use crate::freshness::{Sign, Signs};
use crate::ids::{Name, ObjectKey};
use crate::index::names::{Names, Number};
use crate::index::slots::Slots;
use crate::index::table::Table;
use crate::origin::Origin;
use crate::row::{
    Cutoff, CutoffKey, CutoffKind, CutoffRow, Hint, NO_ISSUER, PairKey, PairRow, RegisterKey,
    RegisterRow, SubjectKey, SubjectRow, UserKey, UserRow,
};
use crate::tenant::{DeclaredSource, Tenant, Tenants};
use crate::time::UnixMillis;
use crate::version::{Offered, Stamp};

/// Everything that events have left behind. Cloning it shares all of it.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) tenants: Tenants,
    pub(crate) issuers: Names,
    pub(crate) sources: Names,
    pub(crate) cutoffs: Cutoffs,
    pub(crate) pairs: Table<PairRow>,
    pub(crate) registers: Table<RegisterRow>,
    pub(crate) subjects: Table<SubjectRow>,
    /// By the tenant's number.
    pub(crate) directories: Slots<Directory>,
    /// Signs of life of sources, by the tenant's number.
    pub(crate) signs: Slots<Signs>,
    /// Tenants whose view is out of date.
    pub(crate) stale: BTreeSet<Number>,
    pub(crate) horizon: Duration,
    /// In which countries addresses are, where there is a database that tells it.
    pub(crate) countries: Option<Arc<Countries>>,
}

/// What joining one value did to its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Joined {
    /// The slot held this very value.
    Equal,
    /// The slot held a greater one.
    Lower,
    /// The slot holds it now.
    Raised,
}

/// A slot's value of the kind that a consequence offers, for comparison.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    /// Nothing, or a cutoff: where a later one has expired, so has an earlier one.
    Vacant,
    /// A register, with the append time of its newest record.
    Register { at: UnixMillis, standing: u8, appended: UnixMillis },
    /// A version in force, with the append time of the newest record about it.
    Version { stamp: Stamp, appended: UnixMillis },
    /// The time of the last word about a membership, with the append time of the newest record about
    /// the group.
    Member { at: UnixMillis, appended: UnixMillis },
    /// The last sign of life of a stream.
    Sign(Sign),
    /// A declaration.
    Declaration(DeclaredSource),
}

impl State {
    pub(crate) fn new(seed: u64, horizon: Duration) -> Self {
        Self {
            subjects: Table::new(seed),
            directories: Slots::default(),
            signs: Slots::default(),
            stale: BTreeSet::new(),
            horizon,
            countries: None,
            tenants: Tenants::new(seed),
            issuers: Names::new(seed),
            sources: Names::new(seed),
            cutoffs: Cutoffs::new(seed),
            pairs: Table::new(seed),
            registers: Table::new(seed),
        }
    }

    /// Offers one value of an event of `source` to its slot.
    pub(crate) fn join(
        &mut self,
        tenant: &Name,
        source: &Name,
        appended: UnixMillis,
        origin: Origin,
        consequence: &Consequence<'_>,
    ) -> Joined {
        let tenant = self.tenants.intern(tenant);
        match *consequence {
            Consequence::Cutoff { scope, at } => {
                self.join_cutoff(tenant, scope, Cutoff::new(at, appended, origin))
            }
            Consequence::Register { object, facet, at, standing } => {
                let source = self.sources.intern(source);
                self.join_register(tenant, source, object, facet, at, standing, appended)
            }
            Consequence::Version { version, at, hash } => {
                let part = &version.part;
                let offered = Offered { part, at, hash, trusted: false, value: (), appended };
                let (body, title) = (&version.body, &*version.title);
                let told = Told { body, title, offered, horizon: self.horizon };
                self.change_directory(tenant, |directory, intern| directory.put(&told, intern))
            }
            Consequence::Member { group, user, at, membership } => {
                let joined = self.change_directory(tenant, |directory, intern| {
                    directory.put_member(group, user, at, membership, appended, intern)
                });
                let key = SubjectKey { tenant, subject: user };
                if let Some(row) = self.subjects.get(&key).copied() {
                    let moved = |row: &mut SubjectRow| row.moved = row.moved.max(at);
                    self.subjects.upsert(&key, || row, moved);
                }
                joined
            }
            Consequence::Declaration { source, at, declaration, tie } => {
                let source = self.sources.intern(source);
                let new = DeclaredSource::new(source, at, tie, declaration, appended);
                let known = self.tenants.row(tenant).and_then(|row| row.declared(source));
                let joined = compare(known.map(DeclaredSource::order), new.order());
                self.tenants.update(tenant, |row| row.declare(new));
                self.change_signs(tenant, |_| {});
                joined
            }
            Consequence::Sign { partition, at, stream } => {
                let source = self.sources.intern(source);
                let new = Sign { source, partition, at, stream, appended };
                let known = self.signs.get(tenant).and_then(|signs| signs.held(source, partition));
                let joined = compare(known.map(Sign::order), new.order());
                self.change_signs(tenant, |signs| signs.put(new));
                joined
            }
        }
    }

    fn change_directory(
        &mut self,
        tenant: Number,
        change: impl FnOnce(&mut Directory, &mut Intern<'_>) -> Joined,
    ) -> Joined {
        if self.tenants.row(tenant).is_some_and(|row| !row.has_directory) {
            self.tenants.update(tenant, |row| row.has_directory = true);
        }
        self.stale.insert(tenant);
        let subjects = &mut self.subjects;
        self.directories.change(tenant, |directory| {
            change(directory, &mut |next, subject| intern(subjects, tenant, next, subject))
        })
    }

    fn change_signs(&mut self, tenant: Number, change: impl FnOnce(&mut Signs)) {
        let Some(row) = self.tenants.row(tenant) else { return };
        let gives_signs = self.signs.change(tenant, |signs| {
            change(signs);
            signs.settle(row)
        });
        if row.gives_signs != gives_signs {
            self.tenants.update(tenant, |row| row.gives_signs = gives_signs);
        }
    }

    /// Makes what decisions read of directories anew, where something has changed. Returns what is
    /// to be compiled apart.
    pub(crate) fn settle(&mut self) -> Vec<Compilation> {
        let mut compilations = Vec::new();
        for tenant in std::mem::take(&mut self.stale) {
            let (subjects, countries) = (&mut self.subjects, self.countries.as_ref());
            compilations.extend(self.directories.change(tenant, |directory| {
                let mut intern = |next: &mut u32, subject| intern(subjects, tenant, next, subject);
                directory.settle(tenant, countries, &mut intern)
            }));
        }
        compilations
    }

    /// Puts a database of countries in place of the one before.
    pub(crate) fn set_countries(&mut self, countries: Option<Arc<Countries>>) {
        self.countries = countries;
        for (number, _) in self.tenants.iter() {
            if self.directories.get(number).is_some_and(Directory::has_countries) {
                self.stale.insert(number);
                self.directories.change(number, Directory::outdate);
            }
        }
    }

    /// Puts an index in place that was compiled apart.
    pub(crate) fn install(&mut self, compiled: CompiledRanges) {
        let tenant = compiled.tenant();
        self.stale.insert(tenant);
        self.directories.change(tenant, |directory| directory.install(compiled));
    }

    /// What is kept of a subject that a policy or a group named.
    #[inline]
    pub(crate) fn subject(&self, tenant: Number, subject: ObjectKey) -> Option<&SubjectRow> {
        self.subjects.get(&SubjectKey { tenant, subject })
    }

    fn join_cutoff(&mut self, tenant: Number, scope: Scope<'_>, cutoff: Cutoff) -> Joined {
        match scope {
            Scope::Tenant => {
                let known = self.tenants.row(tenant).map(|row| row.cutoff).unwrap_or_default();
                self.tenants.update(tenant, |row| row.cutoff = row.cutoff.join(cutoff));
                compare(Some(known.at), cutoff.at)
            }
            Scope::User(user) => {
                self.raise(tenant, CutoffKind::User, NO_ISSUER, user, cutoff, Hint::NONE)
            }
            Scope::Risk(user, level) => {
                self.hint(tenant, CutoffKind::User, user, cutoff.kept, Hint::risk(level));
                let kind = CutoffKind::risk(level);
                self.raise(tenant, kind, NO_ISSUER, user, cutoff, Hint::NONE)
            }
            Scope::Finer(FinerKey { kind, issuer, key }) => {
                let issuer = issuer.map_or(NO_ISSUER, |issuer| self.issuers.intern(issuer));
                self.raise(tenant, CutoffKind::finer(kind), issuer, key, cutoff, Hint::NONE)
            }
            Scope::UserWithout(user, kind) => {
                self.hint(tenant, CutoffKind::User, user, cutoff.kept, Hint::pair(kind));
                let kind = CutoffKind::without(kind);
                self.raise(tenant, kind, NO_ISSUER, user, cutoff, Hint::NONE)
            }
            Scope::UserAnd(user, FinerKey { kind, issuer, key }) => {
                let issuer = issuer.map_or(NO_ISSUER, |issuer| self.issuers.intern(issuer));
                self.hint(tenant, CutoffKind::User, user, cutoff.kept, Hint::pair(kind));
                let key = PairKey { tenant, kind, issuer, user, finer: key };
                let known = self.pairs.get(&key).map(|row| row.cutoff().at);
                self.pairs.upsert(&key, || PairRow::vacant(&key), |row| row.raise(cutoff));
                compare(known, cutoff.at)
            }
        }
    }

    /// Raises a cutoff row.
    fn raise(
        &mut self,
        tenant: Number,
        kind: CutoffKind,
        issuer: Number,
        id: ObjectKey,
        cutoff: Cutoff,
        hints: Hint,
    ) -> Joined {
        self.tenants.mark(tenant, kind);
        let key = CutoffKey { tenant, kind, issuer, id };
        compare(Some(self.cutoffs.raise(&key, cutoff, hints)), cutoff.at)
    }

    /// Notes on a user's or device's row that other rows exist about it, and keeps it as long.
    fn hint(
        &mut self,
        tenant: Number,
        kind: CutoffKind,
        id: ObjectKey,
        kept: UnixMillis,
        hints: Hint,
    ) {
        let cutoff = Cutoff { at: UnixMillis::ZERO, kept, origin: Origin::NONE };
        self.raise(tenant, kind, NO_ISSUER, id, cutoff, hints);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one register, once")]
    fn join_register(
        &mut self,
        tenant: Number,
        source: Number,
        object: ObjectKey,
        facet: Facet,
        at: UnixMillis,
        standing: u8,
        appended: UnixMillis,
    ) -> Joined {
        let owner = match facet {
            Facet::Account => CutoffKind::User,
            Facet::DeviceState | Facet::DeviceCompliance => CutoffKind::Device,
        };
        self.hint(tenant, owner, object, appended, Hint::register(facet));
        let mut key = RegisterKey { tenant, facet, object, index: 0 };
        let mut known = None;
        while let Some(row) = self.registers.get(&key) {
            if row.source == source {
                known = Some((row.at, row.standing));
                break;
            }
            // 65,536 sources about one object: the last one would be shared. Sources are named in
            // configuration, a handful to a tenant.
            key.index = key.index.saturating_add(1);
        }
        self.registers.upsert(
            &key,
            || RegisterRow::new(&key, source),
            |row| row.join(at, standing, appended),
        );
        compare(known, (at, standing))
    }

    /// What the slot of a consequence holds.
    pub(crate) fn held(&self, tenant: &Name, source: &Name, consequence: &Consequence<'_>) -> Held {
        let Some((number, row)) = self.tenants.get(tenant.as_str()) else { return Held::Vacant };
        match *consequence {
            Consequence::Cutoff { .. } => Held::Vacant,
            Consequence::Register { object, facet, .. } => self
                .registers_of(number, facet, object)
                .find(|register| Some(register.source) == self.sources.get(source.as_str()))
                .map_or(Held::Vacant, |register| Held::Register {
                    at: register.at,
                    standing: register.standing,
                    appended: register.appended,
                }),
            Consequence::Version { version, .. } => self
                .directories
                .get(number)
                .and_then(|directory| directory.held(&version.body))
                .map_or(Held::Vacant, |(stamp, appended)| Held::Version { stamp, appended }),
            Consequence::Member { group, user, .. } => self
                .subject(number, user)
                .map(|row| row.number)
                .and_then(|user| self.directories.get(number)?.held_member(group, user))
                .map_or(Held::Vacant, |(at, appended)| Held::Member { at, appended }),
            Consequence::Sign { partition, .. } => self
                .sources
                .get(source.as_str())
                .and_then(|source| self.signs.get(number)?.held(source, partition))
                .map_or(Held::Vacant, |sign| Held::Sign(*sign)),
            Consequence::Declaration { source, .. } => self
                .sources
                .get(source.as_str())
                .and_then(|source| row.declared(source))
                .map_or(Held::Vacant, |declared| Held::Declaration(*declared)),
        }
    }

    /// The number of an issuer that an event named.
    #[inline]
    pub(crate) fn issuer(&self, issuer: &str) -> Option<Number> {
        self.issuers.get(issuer)
    }

    /// A user's own row; no look-up where the tenant never had one.
    #[inline]
    pub(crate) fn user(
        &self,
        number: Number,
        tenant: &Tenant,
        user: ObjectKey,
    ) -> Option<&UserRow> {
        if !tenant.has(CutoffKind::User) {
            return None;
        }
        self.cutoffs.user(&UserKey { tenant: number, user })
    }

    /// A cutoff row of any other kind; no look-up where the tenant never had one of the kind.
    #[inline]
    pub(crate) fn cutoff(
        &self,
        number: Number,
        tenant: &Tenant,
        kind: CutoffKind,
        issuer: Number,
        id: ObjectKey,
    ) -> Option<&CutoffRow> {
        if !tenant.has(kind) {
            return None;
        }
        self.cutoffs.other(&CutoffKey { tenant: number, kind, issuer, id })
    }

    /// The cutoff of one user's tokens that carry a finer id.
    pub(crate) fn pair(
        &self,
        tenant: Number,
        kind: FinerKind,
        issuer: Number,
        user: ObjectKey,
        finer: ObjectKey,
    ) -> Option<Cutoff> {
        let key = PairKey { tenant, kind, issuer, user, finer };
        self.pairs.get(&key).map(PairRow::cutoff)
    }

    /// Everything that sources say of an object in one respect, whether it counts or not.
    pub(crate) fn registers_of(
        &self,
        tenant: Number,
        facet: Facet,
        object: ObjectKey,
    ) -> impl Iterator<Item = &RegisterRow> + '_ {
        (0..=u16::MAX).map_while(move |index| {
            self.registers.get(&RegisterKey { tenant, facet, object, index })
        })
    }

    /// The registers that count and restrict (E13): not those of a source that has retired since,
    /// nor those of a source that never takes such a word back.
    pub(crate) fn restricting<'s>(
        &'s self,
        number: Number,
        tenant: &'s Tenant,
        facet: Facet,
        object: ObjectKey,
    ) -> impl Iterator<Item = &'s RegisterRow> + 's {
        let counts = move |register: &&RegisterRow| tenant.counts(facet, register);
        let restricts = |register: &&RegisterRow| register.standing > HARMLESS;
        self.registers_of(number, facet, object).filter(restricts).filter(counts)
    }

    /// Forgets the cutoffs of one branch of each table that no token alive can meet (E17). The
    /// caller goes round the branches. Returns how many went.
    pub(crate) fn forget(&mut self, branch: usize, now: UnixMillis, horizon: Duration) -> usize {
        self.cutoffs.forget(branch, now, horizon)
            + self.pairs.retain_in(branch, |row| !row.cutoff().is_expired(now, horizon))
    }
}

/// The number of a subject, given now where it has none.
fn intern(
    subjects: &mut Table<SubjectRow>,
    tenant: Number,
    next: &mut u32,
    subject: ObjectKey,
) -> u32 {
    let key = SubjectKey { tenant, subject };
    if let Some(row) = subjects.get(&key) {
        return row.number;
    }
    let number = *next;
    subjects.upsert(&key, || SubjectRow::new(key, number), |_| {});
    *next = next.saturating_add(1);
    number
}

/// The standing that restricts nothing, in every facet.
const HARMLESS: u8 = 0;
const _: () = assert!(AccountState::Enabled as u8 == HARMLESS);
const _: () = assert!(DeviceState::Cleared as u8 == HARMLESS);
const _: () = assert!(crate::event::Compliance::Compliant as u8 == HARMLESS);

fn compare<T: Ord + Copy>(known: Option<T>, offered: T) -> Joined {
    match known.map(|known| offered.cmp(&known)) {
        None | Some(std::cmp::Ordering::Greater) => Joined::Raised,
        Some(std::cmp::Ordering::Equal) => Joined::Equal,
        Some(std::cmp::Ordering::Less) => Joined::Lower,
    }
}
