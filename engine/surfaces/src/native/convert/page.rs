//! What is known of a tenant, page by page.
//!
//! A page ends before it would be too large, and the next one begins behind the id with which it ended: so
//! nothing is left out or told twice that stood all the while, whatever comes and goes in between.

use std::cmp::Ordering;

use caed_proto::v1;
use prost::Message;
use tonic::Status;

use crate::limits;

/// One thing on a page.
pub(super) enum Item {
    Policy(v1::PolicyReport),
    Location(v1::LocationReport),
    Group(v1::GroupReport),
}

/// Which kind of things, in the order of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Policy,
    Location,
    Group,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    section: Section,
    id: String,
}

impl Place {
    /// Reads a token. An empty one is the beginning.
    pub(super) fn parse(token: &str) -> Result<Option<Self>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let place = token.split_once(':').and_then(|(section, id)| {
            let section = match section {
                "policy" => Section::Policy,
                "location" => Section::Location,
                "group" => Section::Group,
                _ => return None,
            };
            Some(Self { section, id: id.to_owned() })
        });
        let fault = || Status::invalid_argument("page_token: give a reply's next_page_token");
        place.map(Some).ok_or_else(fault)
    }

    fn token(&self) -> String {
        let section = match self.section {
            Section::Policy => "policy",
            Section::Location => "location",
            Section::Group => "group",
        };
        format!("{section}:{}", self.id)
    }
}

impl Item {
    fn place(&self) -> (Section, &str) {
        match self {
            Self::Policy(policy) => (Section::Policy, &policy.policy),
            Self::Location(location) => (Section::Location, &location.location),
            Self::Group(group) => (Section::Group, &group.group),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Policy(policy) => policy.encoded_len(),
            Self::Location(location) => location.encoded_len(),
            Self::Group(group) => group.encoded_len(),
        }
    }
}

/// Fills a page with what comes behind a place. Items come in the order of their places.
pub(super) fn fill(
    reply: &mut v1::GetTenantReply,
    items: impl Iterator<Item = Item>,
    begin: Option<&Place>,
) {
    let is_behind = |item: &Item| {
        begin.is_none_or(|begin| item.place().cmp(&(begin.section, &begin.id)) == Ordering::Greater)
    };
    let mut bytes = 0;
    let mut last: Option<Place> = None;
    for item in items.filter(is_behind) {
        bytes += item.bytes();
        if bytes > limits::PAGE_BYTES_MAX
            && let Some(last) = last
        {
            reply.next_page_token = last.token();
            return;
        }
        let (section, id) = item.place();
        last = Some(Place { section, id: id.to_owned() });
        match item {
            Item::Policy(policy) => reply.policies.push(policy),
            Item::Location(location) => reply.locations.push(location),
            Item::Group(group) => reply.groups.push(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<Item> {
        let policies = (0..9000).map(|at| v1::PolicyReport {
            policy: format!("p-{at:05}"),
            obstacles: vec!["x".repeat(200)],
            ..v1::PolicyReport::default()
        });
        let mfa_trusted = v1::LocationReport::default();
        let locations = (0..9000).map(|at| v1::LocationReport {
            location: format!("{at:0200}"),
            ..v1::LocationReport::default()
        });
        let groups = (0..9000).map(|at| v1::GroupReport {
            group: format!("{at:0200}"),
            ..v1::GroupReport::default()
        });
        let policies = policies.map(Item::Policy);
        let locations = std::iter::once(mfa_trusted).chain(locations).map(Item::Location);
        policies.chain(locations).chain(groups.map(Item::Group)).collect()
    }

    #[test]
    fn pages_hold_everything_once_and_none_is_too_large() {
        let mut all = v1::GetTenantReply::default();
        let (mut begin, mut pages) = (None, 0);
        loop {
            let mut page = v1::GetTenantReply::default();
            fill(&mut page, items().into_iter(), begin.as_ref());
            assert!(page.encoded_len() < limits::MESSAGE_BYTES_MAX, "{}", page.encoded_len());
            all.policies.append(&mut page.policies);
            all.locations.append(&mut page.locations);
            all.groups.append(&mut page.groups);
            pages += 1;
            begin = Place::parse(&page.next_page_token).expect("its own token");
            if begin.is_none() {
                break;
            }
        }
        assert!(pages > 4, "{pages}");
        assert_eq!((all.policies.len(), all.locations.len(), all.groups.len()), (9000, 9001, 9000));
        assert!(all.policies.is_sorted_by(|one, other| one.policy < other.policy));
        assert!(all.locations.is_sorted_by(|one, other| one.location < other.location));
        assert!(all.groups.is_sorted_by(|one, other| one.group < other.group));
    }

    #[test]
    fn a_page_begins_behind_an_id_that_is_gone() {
        let mut page = v1::GetTenantReply::default();
        let begin = Place::parse("policy:p-08998a").expect("a token");
        fill(&mut page, items().into_iter(), begin.as_ref());
        assert_eq!(page.policies.len(), 1);
        assert!(Place::parse("user:anna").is_err());
        assert!(Place::parse("p-1").is_err());
    }
}
