//! What is known of a tenant or of a user, for people.

use caed_core::inspect::titled;
use caed_proto::v1;
use caed_proto::v1::operations_client::OperationsClient;
use caed_surfaces::words::instant;
use tonic::transport::Channel;

use super::output;

/// A source in a line.
pub(super) fn source_line(report: &v1::SourceReport, tenant: Option<&str>) -> String {
    let v1::SourceReport { source, declared, age_ms, stale, streams } = report;
    let mut words = Vec::new();
    words.push(match (age_ms, stale) {
        (None, _) => "not declared to give signs of life, so its age is unknown".to_owned(),
        (Some(age), false) => format!("heard {} s ago", age / 1000),
        (Some(age), true) => format!("stale, heard {} s ago", age / 1000),
    });
    for stream in streams {
        let state = stream.state();
        if matches!(state, v1::StreamState::Unspecified | v1::StreamState::Enabled) {
            continue;
        }
        let state = output::word(state.as_str_name(), "STREAM_STATE_");
        let v1::StreamReport { partition, state: _, at_ms } = stream;
        words.push(format!("stream {partition} {state} {}", instant(*at_ms)));
    }
    if let Some(v1::SourceDeclared { emits_enabled, emits_device_clear, retired_ms, .. }) = declared
    {
        if !emits_enabled {
            words.push("its accounts set cutoffs alone".to_owned());
        }
        if !emits_device_clear {
            words.push("its devices set cutoffs alone".to_owned());
        }
        if *retired_ms > 0 {
            words.push(format!("retired {}", instant(*retired_ms)));
        }
    }
    let of = tenant.map(|tenant| format!(" of {tenant}")).unwrap_or_default();
    format!("source     {source}{of}: {}", words.join(", "))
}

/// Asks for what is known of a tenant, page by page.
pub(super) async fn ask(
    operations: &mut OperationsClient<Channel>,
    tenant: &str,
) -> anyhow::Result<v1::GetTenantReply> {
    let mut request = v1::GetTenantRequest { tenant: tenant.to_owned(), ..Default::default() };
    let mut whole: Option<v1::GetTenantReply> = None;
    loop {
        let reply = operations.get_tenant(request.clone()).await;
        let mut page = reply.map_err(|status| output::refusal(&status))?.into_inner();
        request.page_token = std::mem::take(&mut page.next_page_token);
        let reply = match &mut whole {
            None => whole.insert(page),
            Some(whole) => {
                whole.policies.append(&mut page.policies);
                whole.locations.append(&mut page.locations);
                whole.groups.append(&mut page.groups);
                whole
            }
        };
        if request.page_token.is_empty() {
            return Ok(std::mem::take(reply));
        }
    }
}

/// A tenant that is known.
pub(super) fn tenant(reply: &v1::GetTenantReply) -> Vec<String> {
    let v1::GetTenantReply {
        tenant,
        known: _,
        settings,
        settings_edition,
        cutoff_ms,
        policies,
        locations,
        groups,
        sources,
        knowledge,
        next_page_token: _,
    } = reply;
    let mut lines = vec![format!("tenant {tenant}")];
    lines.extend(settings_lines(settings.as_ref(), settings_edition.as_ref()));
    if let Some(at) = cutoff_ms {
        lines.push(format!("revoked    every token issued before {}", instant(*at)));
    }
    lines.extend(sources.iter().map(|source| source_line(source, None)));
    for policy in policies {
        lines.extend(policy_lines(policy));
    }
    for v1::LocationReport { location, kind, ranges, trusted, edition, display_name } in locations {
        let name = match location.as_str() {
            "" => "(MFA-trusted addresses)".to_owned(),
            id => titled(display_name, id),
        };
        let kind = match v1::LocationKind::try_from(*kind).unwrap_or_default() {
            v1::LocationKind::Ranges => format!("{ranges} ranges"),
            v1::LocationKind::Countries => "countries".to_owned(),
            v1::LocationKind::Unknowable | v1::LocationKind::Unspecified => {
                "nothing that an address tells".to_owned()
            }
        };
        let trusted = if *trusted { ", trusted" } else { "" };
        lines.push(format!("location   {name}: {kind}{trusted}{}", since(edition.as_ref())));
    }
    for v1::GroupReport { group, members, edition } in groups {
        let members = members.map_or_else(
            || "members not known: tokens alone tell".to_owned(),
            |members| format!("{members} members"),
        );
        lines.push(format!("group      {group}: {members}{}", since(edition.as_ref())));
    }
    lines.push(format!(
        "knowledge  {}",
        knowledge.as_ref().map(output::knowledge).unwrap_or_default()
    ));
    lines
}

fn settings_lines(
    settings: Option<&v1::TenantSettings>,
    edition: Option<&v1::Edition>,
) -> Vec<String> {
    let Some(settings) = settings else {
        return vec!["cae        not configured: on, for everybody".to_owned()];
    };
    let v1::TenantSettings { cae, only, except, strict_location, incapable_clients, part: _ } =
        settings;
    let mode = match v1::CaeMode::try_from(*cae).unwrap_or_default() {
        v1::CaeMode::Unspecified | v1::CaeMode::On => "on",
        v1::CaeMode::ReportOnly => "report-only",
        v1::CaeMode::Off => "off",
    };
    let strict = if *strict_location { ", locations strict" } else { "" };
    let mut lines = vec![format!("cae        {mode}{strict}{}", since(edition))];
    let chosen = |selected: &v1::UsersAndGroups| {
        let v1::UsersAndGroups { users, groups } = selected;
        format!("{} users and {} groups", users.len(), groups.len())
    };
    lines.push(match only {
        None => "scope      everybody".to_owned(),
        Some(only) => format!("scope      limited to {}", chosen(only)),
    });
    lines.extend(except.iter().map(|except| format!("           without {}", chosen(except))));
    if *incapable_clients == i32::from(v1::IncapableClients::Lifetime) {
        lines.push(
            "           clients that are not capable are honoured for the plain lifetime, whatever \
             happens: an attacker may choose this"
                .to_owned(),
        );
    }
    lines
}

fn policy_lines(policy: &v1::PolicyReport) -> Vec<String> {
    let v1::PolicyReport {
        policy: id,
        state,
        enforceable,
        obstacles,
        grant_controls,
        sign_in_frequency_s,
        cae,
        changed_ms,
        edition,
        display_name,
    } = policy;
    let name = titled(display_name, id);
    let mut words = vec![match v1::PolicyState::try_from(*state).unwrap_or_default() {
        v1::PolicyState::Enabled | v1::PolicyState::Unspecified => "enabled".to_owned(),
        v1::PolicyState::ReportOnly => "report-only".to_owned(),
        v1::PolicyState::Disabled => "disabled".to_owned(),
    }];
    if !grant_controls.is_empty() {
        words.push(grant_controls.join(" "));
    }
    if *sign_in_frequency_s > 0 {
        words.push(format!("sign-in every {sign_in_frequency_s} s"));
    }
    match v1::CaeControl::try_from(*cae).unwrap_or_default() {
        v1::CaeControl::Unspecified => {}
        v1::CaeControl::Disabled => words.push("out of CAE".to_owned()),
        v1::CaeControl::Strict => words.push("locations strict".to_owned()),
    }
    words.push(if *enforceable { "enforceable" } else { "not enforceable" }.to_owned());
    let mut lines =
        vec![format!("policy     {name}: {}{}", words.join(", "), since(edition.as_ref()))];
    if edition.as_ref().is_some_and(|edition| edition.since_ms != *changed_ms) {
        lines.push(format!("           its locations changed {}", instant(*changed_ms)));
    }
    lines.extend(obstacles.iter().map(|obstacle| format!("           {obstacle}")));
    lines
}

fn since(edition: Option<&v1::Edition>) -> String {
    edition.map_or_else(String::new, |v1::Edition { since_ms, content_hash }| {
        format!(", since {} [{content_hash}]", instant(*since_ms))
    })
}

/// A user of a tenant that is known.
pub(super) fn subject(user: &str, reply: &v1::GetSubjectReply) -> Vec<String> {
    let v1::GetSubjectReply {
        tenant,
        tenant_known: _,
        known,
        cutoffs,
        registers,
        memberships,
        knowledge,
    } = reply;
    let mut lines = vec![format!("user {user} of tenant {tenant}")];
    if !known {
        lines.push("nothing is known: no event names this user".to_owned());
    }
    for v1::CutoffReport { scope, id, risk, cutoff_ms, kept_ms: _, kind, position } in cutoffs {
        let scope = v1::Scope::try_from(*scope).unwrap_or_default();
        let scope = output::word(scope.as_str_name(), "SCOPE_");
        let risk = match v1::RiskLevel::try_from(*risk).unwrap_or_default() {
            v1::RiskLevel::Unspecified => String::new(),
            level => format!(", {} risk", output::word(level.as_str_name(), "RISK_LEVEL_")),
        };
        let id = match (id.as_str(), scope.as_str()) {
            ("", "user") => String::new(),
            ("", _) => ", tokens that name none".to_owned(),
            (id, _) => format!(" {id}"),
        };
        let by = match (kind.as_str(), position.as_str()) {
            ("", _) => String::new(),
            (kind, "") => format!(", by {}", kind.replace('_', " ")),
            (kind, position) => format!(", by {} at {position}", kind.replace('_', " ")),
        };
        lines.push(format!("cutoff     {}  {scope}{id}{risk}{by}", instant(*cutoff_ms)));
    }
    for v1::RegisterReport { source, standing, since_ms, appended_ms: _, counts } in registers {
        let counts = if *counts { "" } else { ", which does not count" };
        lines.push(format!("account    {}  {standing} by {source}{counts}", instant(*since_ms)));
    }
    for v1::MembershipReport { group, member, group_known, changed_ms } in memberships {
        let word = if *member { "in" } else { "not in" };
        let by = changed_ms.map_or_else(String::new, |at| format!(", changed {}", instant(at)));
        let known = if *group_known { "" } else { "; its members are not known, tokens tell" };
        lines.push(format!("group      {word} {group}{by}{known}"));
    }
    lines.push(format!(
        "knowledge  {}",
        knowledge.as_ref().map(output::knowledge).unwrap_or_default()
    ));
    lines
}
