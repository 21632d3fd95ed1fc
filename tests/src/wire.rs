//! From plain data to what goes over the wire.

use caed_core::event::{AccountState, Compliance, DeviceState, RevocationCause, RiskLevel, Stream};
use caed_core::policy::{Evaluation, Frequency, Incapable, Mode, PolicyMode};
use caed_proto::v1;
use caed_proto::v1::event::Fact;

use crate::world::{
    Event, Finer, Location, Millis, Part, Policy, Request, Settings, Text, Told, What,
};

/// An event, as caed stores it: with the time of its receipt.
pub fn event(event: &Event) -> v1::Event {
    let millis = |at: Millis| i64::try_from(at).expect("a time");
    v1::Event {
        id: event.id.to_owned(),
        tenant: event.tenant.to_owned(),
        source: event.source.to_owned(),
        event_time_ms: millis(event.occurred),
        received_ms: millis(event.received),
        fact: Some(fact(event.what)),
    }
}

/// The claims of a request.
pub fn claims(request: &Request) -> v1::TokenClaims {
    let text = |text: Option<Text>| text.map(str::to_owned);
    let values = |claim: &Option<Vec<Text>>| {
        let owned = |values: &Vec<Text>| values.iter().map(|text| (*text).to_owned()).collect();
        claim.as_ref().map(|values| v1::ClaimValues { values: owned(values) })
    };
    let seconds = |at: Option<i128>| at.map(|at| i64::try_from(at).expect("a claim of 64 bits"));
    v1::TokenClaims {
        iss: text(request.issuer),
        tid: text(request.tenant),
        sub: text(request.subject),
        iat: seconds(request.issued_at),
        exp: seconds(request.expires),
        nbf: seconds(request.not_before),
        sid: text(request.session),
        jti: text(request.token),
        azp: text(request.client),
        deviceid: text(request.device),
        xms_cc: if request.cp1 { vec!["cp1".to_owned()] } else { Vec::new() },
        aud: request.audiences.iter().map(|text| (*text).to_owned()).collect(),
        ipaddr: text(request.address),
        acct: request.guest.then_some(1),
        auth_time: seconds(request.authenticated),
        idtyp: request.workload.then(|| "app".to_owned()),
        groups: values(&request.groups),
        wids: values(&request.roles),
        judged: text(request.judged),
    }
}

fn fact(what: What) -> Fact {
    let owned = str::to_owned;
    match what {
        What::Account(user, state) => {
            let user = owned(user);
            match state {
                AccountState::Enabled => Fact::AccountEnabled(v1::AccountEnabled { user }),
                AccountState::Disabled => Fact::AccountDisabled(v1::AccountDisabled { user }),
                AccountState::Deleted => Fact::AccountDeleted(v1::AccountDeleted { user }),
            }
        }
        What::UserRevoked(user, cause) => user_revoked(owned(user), cause),
        What::Risk(user, level) => {
            let level = match level {
                RiskLevel::Low => v1::RiskLevel::Low,
                RiskLevel::Medium => v1::RiskLevel::Medium,
                RiskLevel::High => v1::RiskLevel::High,
            };
            Fact::UserRiskChanged(v1::UserRiskChanged { user: owned(user), level: level.into() })
        }
        What::Revoked(finer, user) => finer_revoked(finer, user),
        What::TenantRevoked => Fact::TenantRevoked(v1::TenantRevoked {}),
        What::Device(device, state) => {
            let device = owned(device);
            match state {
                DeviceState::Cleared => Fact::DeviceCleared(v1::DeviceCleared { device }),
                DeviceState::Disabled => Fact::DeviceDisabled(v1::DeviceDisabled { device }),
                DeviceState::Deleted => Fact::DeviceDeleted(v1::DeviceDeleted { device }),
            }
        }
        What::Compliance(device, compliance) => {
            let device = owned(device);
            match compliance {
                Compliance::Compliant => Fact::DeviceCompliant(v1::DeviceCompliant { device }),
                Compliance::NotCompliant => {
                    Fact::DeviceNotCompliant(v1::DeviceNotCompliant { device })
                }
            }
        }
        What::Told(told, part) => self::told(told, part),
        What::Member(group, user, came) => {
            let (group, user) = (owned(group), owned(user));
            if came {
                Fact::MemberAdded(v1::MemberAdded { group, user })
            } else {
                Fact::MemberRemoved(v1::MemberRemoved { group, user })
            }
        }
        What::Heartbeat(partition, stream) => {
            let state = match stream {
                Stream::Enabled => v1::StreamState::Enabled,
                Stream::Paused => v1::StreamState::Paused,
                Stream::Disabled => v1::StreamState::Disabled,
                Stream::Ended => v1::StreamState::Ended,
            };
            Fact::Heartbeat(v1::Heartbeat { partition, state: state.into() })
        }
        What::Source(name, declaration) => Fact::SourceDeclared(v1::SourceDeclared {
            name: owned(name),
            declared: declaration.declared,
            emits_enabled: declaration.emits_enabled,
            emits_device_clear: declaration.emits_device_clear,
            retired_ms: declaration
                .retired
                .map_or(0, |retired| i64::try_from(retired).expect("a time")),
        }),
    }
}

fn told(told: &Told, part: Part) -> Fact {
    let Part { version, index, count } = part;
    let part = (count > 1).then(|| v1::Part { version: version.to_owned(), index, count });
    match told {
        Told::Policy(id, None) => {
            Fact::PolicyDeleted(v1::PolicyDeleted { policy: (*id).to_owned() })
        }
        Told::Policy(id, Some(policy)) => {
            Fact::PolicyChanged(v1::PolicyChanged { part, ..policy_of(id, policy) })
        }
        Told::Location(id, None) => {
            Fact::LocationDeleted(v1::LocationDeleted { location: (*id).to_owned() })
        }
        Told::Location(id, Some(Location { trusted, ranges, countries })) => {
            Fact::LocationChanged(v1::LocationChanged {
                location: (*id).to_owned(),
                display_name: String::new(),
                trusted: *trusted,
                ranges: ranges.as_ref().map(|ranges| v1::IpRanges { cidrs: texts(ranges) }),
                countries: countries.as_ref().map(|(codes, include_unknown)| v1::Countries {
                    codes: texts(codes),
                    include_unknown: *include_unknown,
                }),
                part,
            })
        }
        Told::MfaTrusted(None) => Fact::MfaTrustedRangesDeleted(v1::MfaTrustedRangesDeleted {}),
        Told::MfaTrusted(Some(ranges)) => {
            let cidrs = texts(ranges);
            Fact::MfaTrustedRangesChanged(v1::MfaTrustedRangesChanged { cidrs, part })
        }
        Told::Settings(None) => Fact::TenantSettingsDeleted(v1::TenantSettingsDeleted {}),
        Told::Settings(Some(Settings { mode, only, except, strict, incapable })) => {
            let selected = |[users, groups]: &[Vec<Text>; 2]| v1::UsersAndGroups {
                users: texts(users),
                groups: texts(groups),
            };
            let cae = match mode {
                Mode::On => v1::CaeMode::On,
                Mode::ReportOnly => v1::CaeMode::ReportOnly,
                Mode::Off => v1::CaeMode::Off,
            };
            let incapable_clients = match incapable {
                Incapable::Enforce => v1::IncapableClients::Enforce,
                Incapable::Lifetime => v1::IncapableClients::Lifetime,
            };
            Fact::TenantSettings(v1::TenantSettings {
                cae: cae.into(),
                only: only.as_ref().map(selected),
                except: Some(selected(except)),
                strict_location: *strict,
                incapable_clients: incapable_clients.into(),
                part,
            })
        }
        Told::Group(id, members) => {
            let (group, members) = ((*id).to_owned(), texts(members));
            Fact::GroupRead(v1::GroupRead { group, members, part })
        }
    }
}

fn policy_of(id: Text, policy: &Policy) -> v1::PolicyChanged {
    let [include_users, include_groups, include_roles] = policy.include.each_ref().map(words);
    let [exclude_users, exclude_groups, exclude_roles] = policy.exclude.each_ref().map(words);
    let pair = |lists: &[Vec<Text>; 2]| lists.each_ref().map(words);
    let [included, excluded] = pair(&policy.workloads);
    let [resources, not_resources] = pair(&policy.applications);
    let action = policy.user_action.then(|| "urn:user:registersecurityinfo".to_owned());
    v1::PolicyChanged {
        display_name: String::new(),
        policy: id.to_owned(),
        state: match policy.mode {
            PolicyMode::Enabled => v1::PolicyState::Enabled,
            PolicyMode::ReportOnly => v1::PolicyState::ReportOnly,
            PolicyMode::Disabled => v1::PolicyState::Disabled,
        }
        .into(),
        users: Some(v1::PolicyUsers {
            include_users,
            exclude_users,
            include_groups,
            exclude_groups,
            include_roles,
            exclude_roles,
        }),
        workloads: Some(v1::PolicyWorkloads { include: included, exclude: excluded }),
        applications: Some(v1::PolicyApplications {
            include: resources,
            exclude: not_resources,
            user_actions: action.into_iter().collect(),
        }),
        locations: policy
            .places
            .as_ref()
            .map(pair)
            .map(|[include, exclude]| v1::PolicyLocations { include, exclude }),
        other_conditions: policy.narrowed.then(|| "platforms".to_owned()).into_iter().collect(),
        grant_controls: texts(&policy.controls),
        require_all_controls: policy.all_controls,
        sign_in_frequency_s: match policy.frequency {
            Some(Frequency::Within(within)) => within.as_secs(),
            Some(Frequency::EveryTime) | None => 0,
        },
        sign_in_every_time: policy.frequency == Some(Frequency::EveryTime),
        cae: match policy.evaluation {
            Evaluation::Unset => v1::CaeControl::Unspecified,
            Evaluation::Strict => v1::CaeControl::Strict,
            Evaluation::Disabled => v1::CaeControl::Disabled,
        }
        .into(),
        part: None,
    }
}

fn texts(texts: &[Text]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// With the words that the wire has for everybody of a kind.
fn words(texts: &Vec<Text>) -> Vec<String> {
    let word = |text: &Text| match *text {
        "Guests" => "GuestsOrExternalUsers",
        "Workloads" => "ServicePrincipalsInMyTenant",
        text => text,
    };
    texts.iter().map(|text| word(text).to_owned()).collect()
}

fn user_revoked(user: String, cause: RevocationCause) -> Fact {
    use RevocationCause as Cause;
    match cause {
        Cause::PasswordChanged => Fact::PasswordChanged(v1::PasswordChanged { user }),
        Cause::PasswordReset => Fact::PasswordReset(v1::PasswordReset { user }),
        Cause::SessionsRevoked => Fact::SessionsRevoked(v1::SessionsRevoked { user }),
        Cause::MfaEnabled => Fact::MfaEnabled(v1::MfaEnabled { user }),
        Cause::AuthenticatorChanged => {
            Fact::AuthenticatorChanged(v1::AuthenticatorChanged { user })
        }
        Cause::TokenClaimsChanged => Fact::TokenClaimsChanged(v1::TokenClaimsChanged { user }),
        Cause::AssuranceLowered => Fact::AssuranceLowered(v1::AssuranceLowered { user }),
    }
}

fn finer_revoked(finer: Finer, user: Option<Text>) -> Fact {
    let user = user.unwrap_or_default().to_owned();
    match finer {
        Finer::Session(issuer, session) => {
            let (issuer, session) = (issuer.to_owned(), session.to_owned());
            Fact::SessionRevoked(v1::SessionRevoked { issuer, session, user })
        }
        Finer::Token(issuer, token) => {
            let (issuer, token) = (issuer.to_owned(), token.to_owned());
            Fact::TokenRevoked(v1::TokenRevoked { issuer, token, user })
        }
        Finer::Client(client) => {
            Fact::ClientRevoked(v1::ClientRevoked { client: client.to_owned(), user })
        }
        Finer::Device(device) => {
            Fact::DeviceRevoked(v1::DeviceRevoked { device: device.to_owned(), user })
        }
    }
}
