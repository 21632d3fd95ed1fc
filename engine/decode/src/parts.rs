//! A version that is too large for one record, as the parts that make it.
//!
//! Lists are shared out; everything else stands in each part. A version is named by a hash of its content, so
//! that telling it again is the same version.

use caed_core::event::Fact;
use caed_core::inspect::Fingerprint;
use caed_core::limits::SECONDS_BELOW;
use caed_core::policy::{Body, Version};
use caed_proto::v1;
use caed_proto::v1::event::Fact as WireFact;
use prost::Message;

use crate::limits;
use crate::native::{self, InvalidEvent};

/// What goes with an entry of a list in its encoding.
const ENTRY_BYTES: usize = 4;

/// The events that say what one says: itself, where a record holds it.
pub fn split(mut event: v1::Event) -> Result<Vec<v1::Event>, InvalidEvent> {
    if event.encoded_len() <= limits::RECORD_BYTES_MAX {
        return Ok(vec![event]);
    }
    let Some(body) = body_of(&event)? else { return Ok(vec![event]) };
    let version = Fingerprint::of(&[body]).to_string();
    let mut chunks: Vec<Vec<(usize, String)>> = Vec::new();
    let mut bytes = 0;
    let whole = event.fact.as_mut().map(lists).unwrap_or_default();
    for (place, list) in whole.into_iter().enumerate() {
        for entry in std::mem::take(list) {
            let size = entry.len() + ENTRY_BYTES;
            match chunks.last_mut() {
                Some(chunk) if bytes + size <= limits::PART_BYTES_MAX => {
                    bytes += size;
                    chunk.push((place, entry));
                }
                _ => {
                    bytes = size;
                    chunks.push(vec![(place, entry)]);
                }
            }
        }
    }
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let parts = chunks.into_iter().zip(0..).map(|(chunk, index)| {
        let mut part = event.clone();
        if let Some(fact) = &mut part.fact {
            put_part(fact, v1::Part { version: version.clone(), index, count });
            let mut lists = lists(fact);
            for (place, entry) in chunk {
                if let Some(list) = lists.get_mut(place) {
                    list.push(entry);
                }
            }
        }
        part
    });
    Ok(parts.collect())
}

/// One number for what a version says that these events tell, as [`GetTenant`](v1::GetTenantReply) shows it.
pub fn fingerprint(parts: &[v1::Event]) -> Result<Option<Fingerprint>, InvalidEvent> {
    let bodies = parts.iter().map(body_of).collect::<Result<Option<Vec<_>>, _>>()?;
    Ok(bodies.map(|bodies| Fingerprint::of(&bodies)))
}

fn body_of(event: &v1::Event) -> Result<Option<Body>, InvalidEvent> {
    let received_ms = event.event_time_ms.max(i64::try_from(SECONDS_BELOW).unwrap_or(i64::MAX));
    let decoded = native::event_of(v1::Event { received_ms, ..event.clone() })?;
    Ok(match decoded.event.fact {
        Fact::Version(Version { part: _, body, title: _ }) => Some(body),
        _ => None,
    })
}

/// The lists that parts share out.
fn lists(fact: &mut WireFact) -> Vec<&mut Vec<String>> {
    match fact {
        WireFact::PolicyChanged(policy) => policy_lists(policy),
        WireFact::LocationChanged(v1::LocationChanged { ranges, .. }) => {
            ranges.iter_mut().map(|v1::IpRanges { cidrs }| cidrs).collect()
        }
        WireFact::MfaTrustedRangesChanged(v1::MfaTrustedRangesChanged { cidrs, part: _ }) => {
            vec![cidrs]
        }
        WireFact::TenantSettings(v1::TenantSettings { only, except, .. }) => {
            let selected = only.iter_mut().chain(except);
            selected.flat_map(|v1::UsersAndGroups { users, groups }| [users, groups]).collect()
        }
        WireFact::GroupRead(v1::GroupRead { group: _, members, part: _ }) => vec![members],
        _ => Vec::new(),
    }
}

/// Taken apart whole: a list that was forgotten here would stand in every part.
fn policy_lists(policy: &mut v1::PolicyChanged) -> Vec<&mut Vec<String>> {
    let v1::PolicyChanged {
        policy: _,
        display_name: _,
        state: _,
        users,
        workloads,
        applications,
        locations,
        other_conditions,
        // The first part's count, like everything that is no list.
        grant_controls: _,
        require_all_controls: _,
        sign_in_frequency_s: _,
        sign_in_every_time: _,
        cae: _,
        part: _,
    } = policy;
    let mut lists = vec![other_conditions];
    if let Some(users) = users {
        let v1::PolicyUsers {
            include_users,
            exclude_users,
            include_groups,
            exclude_groups,
            include_roles,
            exclude_roles,
        } = users;
        lists.extend([include_users, exclude_users, include_groups]);
        lists.extend([exclude_groups, include_roles, exclude_roles]);
    }
    if let Some(v1::PolicyWorkloads { include, exclude }) = workloads {
        lists.extend([include, exclude]);
    }
    if let Some(v1::PolicyApplications { include, exclude, user_actions }) = applications {
        lists.extend([include, exclude, user_actions]);
    }
    if let Some(v1::PolicyLocations { include, exclude }) = locations {
        lists.extend([include, exclude]);
    }
    lists
}

fn put_part(fact: &mut WireFact, part: v1::Part) {
    let place = match fact {
        WireFact::PolicyChanged(policy) => &mut policy.part,
        WireFact::LocationChanged(location) => &mut location.part,
        WireFact::MfaTrustedRangesChanged(ranges) => &mut ranges.part,
        WireFact::TenantSettings(settings) => &mut settings.part,
        WireFact::GroupRead(group) => &mut group.part,
        _ => return,
    };
    *place = Some(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_760_000_000_000;

    fn event(fact: WireFact) -> v1::Event {
        v1::Event {
            tenant: "contoso".to_owned(),
            source: "importer".to_owned(),
            event_time_ms: AT,
            fact: Some(fact),
            ..v1::Event::default()
        }
    }

    fn texts(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("{at:08}-0000-4000-8000-000000000000")).collect()
    }

    /// Everything that lists of parts say, list by list.
    fn joined(parts: &[v1::Event]) -> Vec<Vec<String>> {
        let mut joined: Vec<Vec<String>> = Vec::new();
        for part in parts {
            let mut fact = part.fact.clone().expect("a fact");
            let lists = lists(&mut fact);
            joined.resize(lists.len(), Vec::new());
            for (all, list) in joined.iter_mut().zip(lists) {
                all.append(list);
            }
        }
        joined
    }

    #[test]
    fn what_fits_a_record_stays_whole() {
        let small = event(WireFact::GroupRead(v1::GroupRead {
            group: "staff".to_owned(),
            members: texts(10_000),
            part: None,
        }));
        assert_eq!(split(small.clone()), Ok(vec![small]));
    }

    #[test]
    fn every_kind_is_split_by_its_lists_and_named_by_its_content() {
        let many = texts(30_000);
        let users = v1::PolicyUsers {
            include_users: many.clone(),
            exclude_groups: many.clone(),
            ..v1::PolicyUsers::default()
        };
        let policy = v1::PolicyChanged {
            policy: "p-1".to_owned(),
            state: v1::PolicyState::Enabled.into(),
            users: Some(users),
            locations: Some(v1::PolicyLocations {
                include: vec!["All".to_owned()],
                exclude: many.clone(),
            }),
            grant_controls: vec!["block".to_owned()],
            ..v1::PolicyChanged::default()
        };
        let cidr = |at: u32| format!("2001:db8:{:x}:{:x}::/64", at >> 8, at & 255);
        let cidrs: Vec<String> = (0..80_000).map(cidr).collect();
        let location = v1::LocationChanged {
            location: "hq".to_owned(),
            trusted: true,
            ranges: Some(v1::IpRanges { cidrs: cidrs.clone() }),
            ..v1::LocationChanged::default()
        };
        let ranges = v1::MfaTrustedRangesChanged { cidrs, part: None };
        let selected = v1::UsersAndGroups { users: many.clone(), groups: many.clone() };
        let settings = v1::TenantSettings {
            only: Some(selected.clone()),
            except: Some(selected),
            ..v1::TenantSettings::default()
        };
        let group = v1::GroupRead { group: "staff".to_owned(), members: many, part: None };
        for fact in [
            WireFact::PolicyChanged(policy),
            WireFact::LocationChanged(location),
            WireFact::MfaTrustedRangesChanged(ranges),
            WireFact::TenantSettings(settings),
            WireFact::GroupRead(group),
        ] {
            let whole = event(fact);
            let parts = split(whole.clone()).expect("valid");
            assert!(parts.len() > 1, "{}", parts.len());
            assert_eq!(joined(&parts), joined(std::slice::from_ref(&whole)));
            assert_eq!(split(whole.clone()).expect("valid"), parts, "the same again");
            for part in &parts {
                assert!(part.encoded_len() <= limits::RECORD_BYTES_MAX);
                let part = v1::Event { received_ms: AT, ..part.clone() };
                native::event_of(part).expect("understood");
            }
            let of_parts = fingerprint(&parts).expect("valid").expect("a version");
            assert_ne!(Some(of_parts), fingerprint(&[whole]).expect("valid"), "of its parts");
        }
    }
}
