//! What is known of a tenant and of a subject, for people.
//!
//! This searches and sorts, and may look at every row: never on the path of a request.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::consequence::{Facet, FinerKind};
use crate::decision::ScopeName;
use crate::directory::Directory;
pub use crate::directory::inspect::{
    Edition, Fingerprint, GroupView, LocationKind, LocationView, MembershipView, Obstacle,
    PolicyView, SettingsView, titled,
};
use crate::event::{Declaration, RiskLevel, Stream};
use crate::freshness::{Sign, Signs};
use crate::ids::{Name, ObjectKey};
use crate::index::Row;
use crate::index::names::Number;
use crate::position::Position;
use crate::row::{Cutoff, CutoffKind, Hint, NO_ISSUER, PairKey, UserRow};
use crate::snapshot::Snapshot;
use crate::tenant::{DeclaredSource, Tenant};
use crate::time::UnixMillis;

/// What is known of a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantView {
    /// Its name.
    pub name: Name,
    /// What it decided; `None`: nothing was told, so that CAE is on for everybody.
    pub settings: Option<SettingsView>,
    /// Tokens issued before are revoked.
    pub cutoff: Option<UnixMillis>,
    /// Its sources that are declared or gave signs of life, by name.
    pub sources: Vec<SourceView>,
    /// Its policies, by id.
    pub policies: Vec<PolicyView>,
    /// Its locations, by id.
    pub locations: Vec<LocationView>,
    /// Its groups and roles, by id.
    pub groups: Vec<GroupView>,
}

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// Its name.
    pub name: Name,
    /// What is declared of it (E13).
    pub declaration: Option<Declaration>,
    /// Its last signs of life (E11), by stream; one of the declaration, where none came yet.
    pub signs: Vec<SignView>,
}

/// The last sign of life of a stream of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignView {
    /// The source's own number for the stream.
    pub partition: u32,
    /// How the stream was; `None`: the source is declared, and was not heard since.
    pub stream: Option<Stream>,
    /// When.
    pub at: UnixMillis,
}

impl SourceView {
    /// Whether it is declared to give signs of life.
    pub fn is_expected(&self) -> bool {
        self.declaration.is_some_and(|declared| declared.gives_signs())
    }

    /// How long ago its stream that has been silent the longest gave a sign of life (F2); `None`: not known,
    /// since it is not declared to give any.
    pub fn age(&self, now: UnixMillis) -> Option<Duration> {
        if !self.is_expected() {
            return None;
        }
        let runs = |sign: &&SignView| sign.stream != Some(Stream::Ended);
        self.signs.iter().filter(runs).map(|sign| now.since(sign.at)).max()
    }

    /// Whether it is stale (F3).
    pub fn is_stale(&self, now: UnixMillis, after: Duration) -> bool {
        self.is_expected() && self.signs.iter().any(|sign| sign.is_stale(now, after))
    }
}

impl SignView {
    /// Whether the stream is halted, or was heard too long ago, where something is expected of it (F3).
    pub fn is_stale(&self, now: UnixMillis, after: Duration) -> bool {
        match self.stream {
            Some(Stream::Paused | Stream::Disabled) => true,
            Some(Stream::Ended) => false,
            Some(Stream::Enabled) | None => now.since(self.at) > after,
        }
    }
}

/// What is known of a subject.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubjectView {
    /// Cutoffs of the user, and of things of the user's, the highest first.
    pub cutoffs: Vec<CutoffView>,
    /// The last word of each source about the account, by source.
    pub registers: Vec<RegisterView>,
    /// Groups and roles of which it is or was a member, by id.
    pub memberships: Vec<MembershipView>,
}

/// A cutoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutoffView {
    /// Which tokens of the user.
    pub scope: ScopeName,
    /// Counts where a resource minds a risk of this level.
    pub risk: Option<RiskLevel>,
    /// The session, token, client or device; `None` with such a scope: tokens that name none.
    pub finer: Option<ObjectKey>,
    /// Tokens issued before are revoked.
    pub at: UnixMillis,
    /// The later of the cutoff and the append time of its records, to the second.
    pub kept: UnixMillis,
    /// What the record said that set it, where that is known.
    pub kind: Option<&'static str>,
    /// Where that record stands.
    pub position: Option<Position>,
}

impl CutoffView {
    fn new(
        scope: ScopeName,
        risk: Option<RiskLevel>,
        finer: Option<ObjectKey>,
        cutoff: Cutoff,
    ) -> Self {
        let Cutoff { at, kept, origin } = cutoff;
        Self { scope, risk, finer, at, kept, kind: origin.kind(), position: origin.position() }
    }
}

/// The last word of a source about an account or a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterView {
    /// Who says so.
    pub source: Name,
    /// What.
    pub standing: Standing,
    /// Since when.
    pub at: UnixMillis,
    /// When the newest record about it was appended.
    pub appended: UnixMillis,
    /// Whether it counts (E13).
    pub counts: bool,
}

/// What a source says of an account or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    facet: Facet,
    standing: u8,
}

impl Standing {
    /// Whether it refuses nobody.
    pub const fn is_harmless(self) -> bool {
        self.standing == 0
    }

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match (self.facet, self.standing) {
            (Facet::Account, 0) => "enabled",
            (Facet::DeviceState, 0) => "cleared",
            (Facet::DeviceCompliance, 0) => "compliant",
            (Facet::DeviceCompliance, _) => "not compliant",
            (Facet::Account | Facet::DeviceState, 1) => "disabled",
            (Facet::Account | Facet::DeviceState, _) => "deleted",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Snapshot {
    /// The tenants of which an event was seen, in no particular order.
    pub fn tenants(&self) -> impl Iterator<Item = &Name> {
        self.state.tenants.names().iter().map(|(name, _)| name)
    }

    /// What is known of a tenant; `None` where no event ever named it.
    pub fn tenant(&self, tenant: &Name) -> Option<TenantView> {
        let (number, row) = self.state.tenants.get(tenant.as_str())?;
        let directory = self.state.directories.get(number);
        Some(TenantView {
            name: tenant.clone(),
            settings: directory.and_then(Directory::settings_view),
            cutoff: Some(row.cutoff.at).filter(|at| *at > UnixMillis::ZERO),
            sources: self.sources(number, row),
            policies: directory.map(Directory::policy_views).unwrap_or_default(),
            locations: directory.map(Directory::location_views).unwrap_or_default(),
            groups: directory.map(Directory::group_views).unwrap_or_default(),
        })
    }

    /// The sources that are declared to give signs of life, with their tenants.
    pub fn expected_sources(&self) -> impl Iterator<Item = (&Name, SourceView)> {
        self.sources_where(|_| true)
    }

    /// Those of them that are stale (F3).
    pub fn stale_sources(&self, now: UnixMillis) -> impl Iterator<Item = (&Name, SourceView)> {
        let after = self.rules.stale_after.source;
        let has_stale = move |signs: &Signs| signs.overdue(now, after).is_some();
        self.sources_where(has_stale).filter(move |(_, view)| view.is_stale(now, after))
    }

    fn sources_where(
        &self,
        is_looked_at: impl Fn(&Signs) -> bool,
    ) -> impl Iterator<Item = (&Name, SourceView)> {
        let expecting = self.state.tenants.iter().filter(move |(number, row)| {
            row.gives_signs && self.state.signs.get(*number).is_some_and(&is_looked_at)
        });
        expecting.flat_map(|(number, row)| {
            let tenant = self.state.tenants.names().name(number);
            let views = self.sources(number, row).into_iter().filter(SourceView::is_expected);
            views.filter_map(move |view| Some((tenant?, view)))
        })
    }

    pub(crate) fn sources(&self, number: Number, tenant: &Tenant) -> Vec<SourceView> {
        let signs = self.state.signs.get(number);
        let heard = signs.into_iter().flat_map(Signs::sources);
        let declared = tenant.declarations().iter().map(DeclaredSource::source);
        let all: BTreeSet<Number> = heard.chain(declared).collect();
        let view = |source| {
            let name = self.state.sources.name(source)?.clone();
            let declared = tenant.declared(source);
            let mut signs: Vec<_> = signs
                .into_iter()
                .flat_map(|signs| signs.of(source))
                .map(|sign| {
                    let Sign { partition, stream, at, .. } = *sign;
                    SignView { partition, stream: Some(stream), at }
                })
                .collect();
            if let (true, Some(declared)) = (signs.is_empty(), declared) {
                signs.push(SignView { partition: 0, stream: None, at: declared.at() });
            }
            signs.sort_unstable_by_key(|sign| sign.partition);
            let declaration = declared.map(|declared| declared.declaration);
            Some(SourceView { name, declaration, signs })
        };
        let mut sources: Vec<_> = all.into_iter().filter_map(view).collect();
        sources.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        sources
    }

    /// What is known of a subject of a tenant; `None` where no event ever named the tenant. A subject
    /// that no event named has nothing. Looks at every cutoff within one user, where this one has any.
    pub fn subject(&self, tenant: &Name, subject: ObjectKey) -> Option<SubjectView> {
        let (number, row) = self.state.tenants.get(tenant.as_str())?;
        let directory = self.state.directories.get(number);
        let memberships = self
            .state
            .subject(number, subject)
            .and_then(|row| Some(directory?.membership_views(row.number)))
            .unwrap_or_default();
        let mut registers: Vec<_> = self.words(number, row, Facet::Account, subject).collect();
        registers.sort_unstable_by(|one, other| one.source.cmp(&other.source));
        Some(SubjectView { cutoffs: self.cutoffs(number, row, subject), registers, memberships })
    }

    fn cutoffs(&self, number: Number, tenant: &Tenant, user: ObjectKey) -> Vec<CutoffView> {
        use ScopeName::{User, UserClient, UserDevice, UserSession, UserToken};
        let pair = |kind| match kind {
            FinerKind::Session => UserSession,
            FinerKind::Token => UserToken,
            FinerKind::Client => UserClient,
            FinerKind::Device => UserDevice,
        };
        let levels = [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High];
        let risks = levels.map(|level| (CutoffKind::risk(level), User, Some(level)));
        let without = FinerKind::ALL.map(|kind| (CutoffKind::without(kind), pair(kind), None));
        let others = risks.into_iter().chain(without).filter_map(|(kind, scope, risk)| {
            let row = self.state.cutoff(number, tenant, kind, NO_ISSUER, user)?;
            Some((scope, risk, row.cutoff()))
        });
        let own = self.state.user(number, tenant, user);
        let hints = own.map_or(Hint::NONE, UserRow::hints);
        let own = own.map(|row| (User, None, row.cutoff()));
        let set = own.into_iter().chain(others).filter(|(.., cutoff)| cutoff.at > UnixMillis::ZERO);
        let mut cutoffs: Vec<_> =
            set.map(|(scope, risk, cutoff)| CutoffView::new(scope, risk, None, cutoff)).collect();
        if FinerKind::ALL.into_iter().any(|kind| hints.has(Hint::pair(kind))) {
            let rows = self.state.pairs.iter().map(|row| (row.key(), row.cutoff()));
            let own = rows.filter(|(key, _)| key.tenant == number && key.user == user);
            let view = |(key, cutoff): (PairKey, Cutoff)| {
                CutoffView::new(pair(key.kind), None, Some(key.finer), cutoff)
            };
            cutoffs.extend(own.map(view));
        }
        cutoffs.sort_by_key(|cutoff| (std::cmp::Reverse(cutoff.at), cutoff.scope, cutoff.finer));
        cutoffs
    }

    /// What sources say of an object in one respect, whether it counts or not.
    pub(crate) fn words<'s>(
        &'s self,
        number: Number,
        tenant: &'s Tenant,
        facet: Facet,
        object: ObjectKey,
    ) -> impl Iterator<Item = RegisterView> + 's {
        self.state.registers_of(number, facet, object).filter_map(move |register| {
            Some(RegisterView {
                source: self.state.sources.name(register.source)?.clone(),
                standing: Standing { facet, standing: register.standing },
                at: register.at,
                appended: register.appended,
                counts: tenant.counts(facet, register),
            })
        })
    }
}
