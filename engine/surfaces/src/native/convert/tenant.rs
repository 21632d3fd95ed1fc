//! Tenants and subjects on the wire.

use std::convert::Infallible;
use std::time::Duration;

use caed_core::event::{Declaration, RiskLevel, Stream};
use caed_core::ids::{Name, ObjectKey};
use caed_core::inspect::{
    CutoffView, Edition, GroupView, LocationKind, LocationView, MembershipView, PolicyView,
    RegisterView, SettingsView, SignView, SourceView, SubjectView, TenantView,
};
use caed_core::policy::Frequency;
use caed_core::position::Topics;
use caed_core::time::UnixMillis;
use caed_decode::message;
use caed_proto::v1;
use tonic::Status;

use super::page::{self, Item};
use super::{knowledge_of, millis, saturating, scope_of};
use crate::pdp::Moment;

/// What is known of a tenant.
pub(in crate::native) fn tenant(
    moment: &Moment<'_>,
    request: &v1::GetTenantRequest,
    topics: &Topics,
) -> Result<v1::GetTenantReply, Status> {
    let v1::GetTenantRequest { tenant, page_token } = request;
    let name = name_of(tenant)?;
    let begin = page::Place::parse(page_token)?;
    let knowledge = Some(knowledge_of(moment, topics));
    let Some(view) = moment.tenant(&name) else {
        let tenant = name.to_string();
        return Ok(v1::GetTenantReply { tenant, knowledge, ..v1::GetTenantReply::default() });
    };
    let TenantView { name, settings, cutoff, sources, policies, locations, groups } = view;
    let (now, after) = (moment.now(), moment.rules().stale_after.source);
    let mut reply = v1::GetTenantReply {
        tenant: name.to_string(),
        known: true,
        knowledge,
        ..v1::GetTenantReply::default()
    };
    if begin.is_none() {
        reply.settings_edition = settings.as_ref().map(|view| edition_of(view.edition));
        reply.settings = settings.as_ref().map(settings_of);
        reply.cutoff_ms = cutoff.map(time);
        reply.sources = sources.iter().map(|view| source_of(view, now, after)).collect();
    }
    let policies = policies.into_iter().map(policy_of).map(Item::Policy);
    let locations = locations.iter().map(location_of).map(Item::Location);
    let groups = groups.iter().map(group_of).map(Item::Group);
    page::fill(&mut reply, policies.chain(locations).chain(groups), begin.as_ref());
    Ok(reply)
}

/// What is known of a subject.
pub(in crate::native) fn subject(
    moment: &Moment<'_>,
    request: &v1::GetSubjectRequest,
    topics: &Topics,
) -> Result<v1::GetSubjectReply, Status> {
    let v1::GetSubjectRequest { tenant, user } = request;
    let name = match tenant.as_str() {
        "" => only_tenant(moment)?,
        tenant => name_of(tenant)?,
    };
    let user = ObjectKey::parse(user)
        .map_err(|problem| Status::invalid_argument(format!("user: `{user}` {problem}")))?;
    let view = moment.subject(&name, user);
    let tenant_known = view.is_some();
    let SubjectView { cutoffs, registers, memberships } = view.unwrap_or_default();
    Ok(v1::GetSubjectReply {
        tenant: name.to_string(),
        tenant_known,
        known: !(cutoffs.is_empty() && registers.is_empty() && memberships.is_empty()),
        cutoffs: cutoffs.iter().map(|cutoff| cutoff_of(cutoff, topics)).collect(),
        registers: registers.into_iter().map(register_of).collect(),
        memberships: memberships.into_iter().map(membership_of).collect(),
        knowledge: Some(knowledge_of(moment, topics)),
    })
}

pub(super) fn name_of(tenant: &str) -> Result<Name, Status> {
    Name::parse(tenant)
        .map_err(|problem| Status::invalid_argument(format!("tenant: `{tenant}` {problem}")))
}

/// The tenant that is meant where none is named.
fn only_tenant(moment: &Moment<'_>) -> Result<Name, Status> {
    let mut tenants = moment.tenants();
    match (tenants.next(), tenants.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(Status::invalid_argument("tenant: is missing, and none is known here")),
        (Some(_), Some(_)) => {
            Err(Status::invalid_argument("tenant: is missing, and several are known here"))
        }
    }
}

fn time(at: UnixMillis) -> i64 {
    saturating(at.as_millis())
}

fn edition_of(edition: Edition) -> v1::Edition {
    let Edition { since, fingerprint } = edition;
    v1::Edition { since_ms: time(since), content_hash: fingerprint.to_string() }
}

fn settings_of(view: &SettingsView) -> v1::TenantSettings {
    let texts = |keys: &[ObjectKey]| Ok(keys.iter().map(ToString::to_string).collect());
    let Ok(settings) = message::tenant_settings::<Infallible>(&view.settings, texts);
    settings
}

fn policy_of(view: PolicyView) -> v1::PolicyReport {
    let PolicyView {
        id,
        title,
        mode,
        grant: _,
        controls,
        frequency,
        evaluation,
        obstacles,
        changed,
        edition,
    } = view;
    v1::PolicyReport {
        display_name: title,
        policy: id.to_string(),
        state: message::policy_state(mode).into(),
        enforceable: obstacles.is_empty(),
        obstacles: obstacles.iter().map(ToString::to_string).collect(),
        grant_controls: controls,
        sign_in_frequency_s: match frequency {
            Some(Frequency::Within(within)) => within.as_secs(),
            // It stands among the obstacles.
            Some(Frequency::EveryTime) | None => 0,
        },
        cae: message::cae_control(evaluation).into(),
        changed_ms: time(changed),
        edition: Some(edition_of(edition)),
    }
}

fn location_of(view: &LocationView) -> v1::LocationReport {
    let LocationView { id, ref title, kind, ranges, trusted, edition } = *view;
    let kind = match kind {
        LocationKind::Ranges => v1::LocationKind::Ranges,
        LocationKind::Countries => v1::LocationKind::Countries,
        LocationKind::Unknowable => v1::LocationKind::Unknowable,
    };
    v1::LocationReport {
        display_name: title.clone(),
        location: id.map(|id| id.to_string()).unwrap_or_default(),
        kind: kind.into(),
        ranges: ranges as u64,
        trusted,
        edition: Some(edition_of(edition)),
    }
}

fn group_of(view: &GroupView) -> v1::GroupReport {
    let GroupView { id, members, edition } = *view;
    v1::GroupReport { group: id.to_string(), members, edition: edition.map(edition_of) }
}

pub(super) fn source_of(view: &SourceView, now: UnixMillis, after: Duration) -> v1::SourceReport {
    let SourceView { name, declaration, signs } = view;
    let declared = declaration.map(|declaration| {
        let Declaration { declared, emits_enabled, emits_device_clear, retired } = declaration;
        v1::SourceDeclared {
            name: name.to_string(),
            declared,
            emits_enabled,
            emits_device_clear,
            retired_ms: retired.map(time).unwrap_or_default(),
        }
    });
    let stream = |sign: &SignView| {
        let SignView { partition, stream, at } = *sign;
        let state = match stream {
            None => v1::StreamState::Unspecified,
            Some(Stream::Enabled) => v1::StreamState::Enabled,
            Some(Stream::Paused) => v1::StreamState::Paused,
            Some(Stream::Disabled) => v1::StreamState::Disabled,
            Some(Stream::Ended) => v1::StreamState::Ended,
        };
        v1::StreamReport { partition, state: state.into(), at_ms: time(at) }
    };
    v1::SourceReport {
        source: name.to_string(),
        declared,
        age_ms: view.age(now).map(millis),
        stale: view.is_stale(now, after),
        streams: signs.iter().map(stream).collect(),
    }
}

/// How many of the sources that are declared to give signs of life are stale.
pub(in crate::native) fn stale_sources(moment: &Moment<'_>) -> u64 {
    let stale = moment.stale_sources(moment.now());
    stale.fold(0, |count: u64, _| count.saturating_add(1))
}

/// Sources that are declared to give signs of life, the one that has been silent the longest first.
pub(in crate::native) fn sources(moment: &Moment<'_>) -> Vec<v1::TenantSource> {
    let (now, after) = (moment.now(), moment.rules().stale_after.source);
    let of = |(tenant, view): &(&Name, SourceView)| v1::TenantSource {
        tenant: tenant.to_string(),
        source: Some(source_of(view, now, after)),
    };
    moment.silent_sources().iter().map(of).collect()
}

fn cutoff_of(view: &CutoffView, topics: &Topics) -> v1::CutoffReport {
    let CutoffView { scope, risk, finer, at, kept, kind, position } = *view;
    let risk = match risk {
        None => v1::RiskLevel::Unspecified,
        Some(RiskLevel::Low) => v1::RiskLevel::Low,
        Some(RiskLevel::Medium) => v1::RiskLevel::Medium,
        Some(RiskLevel::High) => v1::RiskLevel::High,
    };
    v1::CutoffReport {
        scope: scope_of(scope).into(),
        id: finer.map(|id| id.to_string()).unwrap_or_default(),
        risk: risk.into(),
        cutoff_ms: time(at),
        kept_ms: time(kept),
        kind: kind.unwrap_or_default().to_owned(),
        position: position.map(|position| topics.place(position)).unwrap_or_default(),
    }
}

fn register_of(view: RegisterView) -> v1::RegisterReport {
    let RegisterView { source, standing, at, appended, counts } = view;
    v1::RegisterReport {
        source: source.to_string(),
        standing: standing.to_string(),
        since_ms: time(at),
        appended_ms: time(appended),
        counts,
    }
}

fn membership_of(view: MembershipView) -> v1::MembershipReport {
    let MembershipView { group, is_known, is_member, changed } = view;
    v1::MembershipReport {
        group: group.to_string(),
        member: is_member,
        group_known: is_known,
        changed_ms: changed.map(time),
    }
}
