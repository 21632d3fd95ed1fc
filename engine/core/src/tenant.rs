//! Tenants: what is known of each as a whole.
//!
//! A tenant needs no configuration: its first event makes it known. Rows are copied when a tenant
//! as a whole changes (its first event of a kind, a tenant-wide cutoff, a source declaration),
//! which is rare; everything frequent stands in tables.

use std::sync::Arc;

use crate::consequence::Facet;
use crate::event::{Declaration, RecordKey};
use crate::ids::Name;
use crate::index::names::{Names, Number};
use crate::row::{Cutoff, CutoffKind, RegisterRow};
use crate::time::UnixMillis;

/// Every tenant of which an event was seen.
#[derive(Clone)]
pub(crate) struct Tenants {
    names: Names,
    /// Indexed by the tenant's number.
    rows: Arc<Vec<Tenant>>,
}

/// One tenant.
#[derive(Clone, Default)]
pub(crate) struct Tenant {
    /// The kinds of cutoff that ever occurred in it: the others need no look-up.
    present: u16,
    /// Whether anything of its directory was told.
    pub(crate) has_directory: bool,
    /// Whether a source of it is declared to give signs of life.
    pub(crate) gives_signs: bool,
    pub(crate) cutoff: Cutoff,
    declarations: Arc<Vec<DeclaredSource>>,
}

/// The newest word about a source of events.
#[derive(Clone, Copy)]
pub(crate) struct DeclaredSource {
    source: Number,
    at: UnixMillis,
    /// Orders declarations of one instant (E15).
    tie: RecordKey,
    pub(crate) declaration: Declaration,
    /// When the newest record about it was appended (L3).
    pub(crate) appended: UnixMillis,
}

impl Tenants {
    pub(crate) fn new(seed: u64) -> Self {
        Self { names: Names::new(seed), rows: Arc::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Every tenant with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Number, &Tenant)> {
        (0..).zip(self.rows.iter())
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<(Number, &Tenant)> {
        let number = self.names.get(name)?;
        Some((number, self.row(number)?))
    }

    pub(crate) fn row(&self, number: Number) -> Option<&Tenant> {
        self.rows.get(number as usize)
    }

    pub(crate) fn intern(&mut self, name: &Name) -> Number {
        let number = self.names.intern(name);
        if number as usize == self.rows.len() {
            Arc::make_mut(&mut self.rows).push(Tenant::default());
        }
        number
    }

    /// Changes a tenant that is known, copying its row where a snapshot shares it.
    pub(crate) fn update(&mut self, number: Number, change: impl FnOnce(&mut Tenant)) {
        if let Some(tenant) = Arc::make_mut(&mut self.rows).get_mut(number as usize) {
            change(tenant);
        }
    }

    /// Remembers that the tenant has cutoffs of this kind.
    pub(crate) fn mark(&mut self, number: Number, kind: CutoffKind) {
        if self.row(number).is_some_and(|tenant| !tenant.has(kind)) {
            self.update(number, |tenant| tenant.present |= kind.bit());
        }
    }
}

impl Tenant {
    /// Whether a cutoff of this kind ever occurred.
    #[inline]
    pub(crate) const fn has(&self, kind: CutoffKind) -> bool {
        self.present & kind.bit() != 0
    }

    /// Whether cutoffs of sessions, tokens, clients or devices ever occurred.
    #[inline]
    pub(crate) const fn has_finer(&self) -> bool {
        self.present & CutoffKind::FINER != 0
    }

    /// The newest word about each source.
    pub(crate) fn declarations(&self) -> &[DeclaredSource] {
        &self.declarations
    }

    /// Whether what a register says counts (E13).
    pub(crate) fn counts(&self, facet: Facet, register: &RegisterRow) -> bool {
        let Some(DeclaredSource { declaration, .. }) = self.declared(register.source) else {
            return true;
        };
        let corrects = match facet {
            Facet::Account => declaration.emits_enabled,
            Facet::DeviceState | Facet::DeviceCompliance => declaration.emits_device_clear,
        };
        corrects && declaration.retired.is_none_or(|retired| register.at > retired)
    }

    pub(crate) fn declared(&self, source: Number) -> Option<&DeclaredSource> {
        self.declarations.iter().find(|declared| declared.source == source)
    }

    /// Joins a declaration: the later wins, and of two of one instant the greater hash.
    pub(crate) fn declare(&mut self, new: DeclaredSource) {
        let declarations = Arc::make_mut(&mut self.declarations);
        match declarations.iter_mut().find(|known| known.source == new.source) {
            None => declarations.push(new),
            Some(known) => {
                let appended = known.appended.max(new.appended);
                if new.order() > known.order() {
                    *known = new;
                }
                known.appended = appended;
            }
        }
    }
}

impl DeclaredSource {
    pub(crate) const fn new(
        source: Number,
        at: UnixMillis,
        tie: RecordKey,
        declaration: Declaration,
        appended: UnixMillis,
    ) -> Self {
        Self { source, at, tie, declaration, appended }
    }

    pub(crate) const fn source(&self) -> Number {
        self.source
    }

    /// Since when it stands so.
    pub(crate) const fn at(&self) -> UnixMillis {
        self.at
    }

    /// Whether it is expected to give signs of life, and to be alive (E11).
    pub(crate) const fn gives_signs(&self) -> bool {
        self.declaration.gives_signs()
    }

    /// What decides between two declarations of one source.
    pub(crate) const fn order(&self) -> (UnixMillis, RecordKey) {
        (self.at, self.tie)
    }
}
