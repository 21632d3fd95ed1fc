//! A tenant whose policies name places: many ranges, and policies of which some are for everybody and some for a
//! group each.
//!
//! The first location is the head office. A fifth of the policies block everybody outside it and one branch; as
//! many demand more of a group, wherever; the rest block a group outside the head office and a branch. So whoever
//! is in the head office passes. Those who roam are not blocked but asked for more, and have done what was
//! asked when they signed in where they are.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr};

use caed_core::event::Event;
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;

use crate::scenario::counted;
use crate::subject::{self, Kind, SEED, mixed};
use crate::world::TENANT;

/// What a tenant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estate {
    /// Ranges of all locations.
    pub ranges: u64,
    /// Policies that are enabled.
    pub policies: u64,
    /// One of so many users is in groups that policies name.
    pub one_member_of: u64,
    /// Where clients are.
    pub stay: Stay,
}

/// Where clients are, and what policies do with those outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// At an address of the head office; policies block those outside.
    HeadOffice,
    /// At an address that no location covers, where they signed in, too; policies demand more of those outside.
    Roaming,
}

/// Locations, of which the first is the head office.
const LOCATIONS: u64 = 50;

/// Groups to which a user belongs who belongs to any.
const GROUPS_EACH: u64 = 3;

impl Estate {
    /// No policies at all.
    pub const NONE: Self =
        Self { ranges: 0, policies: 0, one_member_of: 1, stay: Stay::HeadOffice };

    /// A large tenant in which every tenth user is in three groups.
    pub const HEAD_OFFICE: Self =
        Self { ranges: 100_000, policies: 50, one_member_of: 10, stay: Stay::HeadOffice };

    /// What is told of it at this time; its groups have members among so many users.
    ///
    /// # Panics
    ///
    /// Where one of these is no event.
    pub fn events(self, users: u64, at_ms: u64) -> impl Iterator<Item = Event> {
        let locations = (0..self.locations()).map(move |number| self.location(number));
        let policies = (0..self.policies).map(move |number| self.policy(number));
        let groups = 0..self.groups().len() as u64;
        let groups = groups.map(move |place| self.group(place, users));
        locations.chain(policies).chain(groups).map(move |fact| told(fact, at_ms))
    }

    /// Where the client is, drawn at random; `None` where there are no places.
    pub fn address(self, drawn: u64) -> Option<IpAddr> {
        if self.ranges == 0 {
            return None;
        }
        Some(match self.stay {
            Stay::HeadOffice => {
                let offices = self.ranges.div_ceil(self.locations());
                self.range(drawn % offices * self.locations()).into()
            }
            Stay::Roaming => {
                let covered = u32::from(self.range(drawn % self.ranges));
                Ipv4Addr::from(covered + 1).into()
            }
        })
    }

    /// Where the identity provider saw the client, as the token tells it.
    pub fn signed_in_at(self, drawn: u64) -> Option<IpAddr> {
        match self.stay {
            Stay::HeadOffice => None,
            Stay::Roaming => self.address(drawn),
        }
    }

    fn locations(self) -> u64 {
        LOCATIONS.min(self.ranges)
    }

    /// The one address of the `number`th range; the next one is in none.
    fn range(self, number: u64) -> Ipv4Addr {
        let room = (1 << 32) / self.ranges.max(1);
        let at = number * room + mixed(SEED ^ number << 8) % (room - 1);
        Ipv4Addr::from(u32::try_from(at).unwrap_or(0))
    }

    fn location(self, number: u64) -> Fact {
        let step = usize::try_from(self.locations()).unwrap_or(1);
        let cidrs = (number..self.ranges).step_by(step).map(|range| self.range(range).to_string());
        let ranges = Some(v1::IpRanges { cidrs: cidrs.collect() });
        let location = location_id(number);
        Fact::LocationChanged(v1::LocationChanged { location, ranges, ..Default::default() })
    }

    fn policy(self, number: u64) -> Fact {
        let all = || vec!["All".to_owned()];
        let demands_more = number % 5 == 1;
        let users = if is_for_all(number) {
            v1::PolicyUsers { include_users: all(), ..Default::default() }
        } else {
            v1::PolicyUsers { include_groups: vec![group_id(number)], ..Default::default() }
        };
        let branch = location_id(1 + number % (self.locations().max(2) - 1));
        let places = v1::PolicyLocations { include: all(), exclude: vec![location_id(0), branch] };
        let blocks = !demands_more && self.stay == Stay::HeadOffice;
        Fact::PolicyChanged(v1::PolicyChanged {
            policy: format!("policy {number}"),
            state: v1::PolicyState::Enabled.into(),
            users: Some(users),
            applications: Some(v1::PolicyApplications { include: all(), ..Default::default() }),
            locations: (self.ranges > 0 && !demands_more).then_some(places),
            grant_controls: vec![if blocks { "block" } else { "mfa" }.to_owned()],
            ..Default::default()
        })
    }

    /// The policies that name a group.
    fn groups(self) -> Vec<u64> {
        (0..self.policies).filter(|number| !is_for_all(*number)).collect()
    }

    /// Who is in the group of the policy at this place among those that name one.
    fn group(self, place: u64, users: u64) -> Fact {
        let groups = self.groups();
        let count = groups.len() as u64;
        let policy = usize::try_from(place).ok().and_then(|place| groups.get(place).copied());
        let is_in = |member: &u64| {
            (0..GROUPS_EACH).any(|turn| mixed(SEED ^ member << 2 ^ turn) % count == place)
        };
        let members = (0..users).step_by(usize::try_from(self.one_member_of).unwrap_or(1));
        let members = members.filter(is_in).map(|member| subject::id(Kind::User, member));
        Fact::GroupRead(v1::GroupRead {
            group: group_id(policy.unwrap_or_default()),
            members: members.collect(),
            ..Default::default()
        })
    }
}

impl Display for Estate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ranges, policies, one_member_of: _, stay } = self;
        if *self == Self::NONE {
            return f.write_str("no policies");
        }
        let stay = match stay {
            Stay::HeadOffice => "the head office",
            Stay::Roaming => "anywhere",
        };
        write!(f, "{policies} policies and {} ranges, asked from {stay}", counted(*ranges))
    }
}

/// An event of the tenant's directory.
#[expect(clippy::expect_used, reason = "facts that benches make are events")]
pub(crate) fn told(fact: Fact, at_ms: u64) -> Event {
    let at = i64::try_from(at_ms).expect("before the year 9999");
    let event = v1::Event {
        tenant: TENANT.to_owned(),
        source: "directory".to_owned(),
        event_time_ms: at,
        received_ms: at,
        fact: Some(fact),
        ..v1::Event::default()
    };
    native::event_of(event).expect("an event").event
}

const fn is_for_all(policy: u64) -> bool {
    policy.is_multiple_of(5)
}

fn location_id(number: u64) -> String {
    format!("location {number}")
}

fn group_id(policy: u64) -> String {
    format!("group {policy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_user_is_in_groups_that_policies_name() {
        let estate = Estate::HEAD_OFFICE;
        let mut members = Vec::new();
        for place in 0..estate.groups().len() as u64 {
            let Fact::GroupRead(read) = estate.group(place, 10_000) else { panic!("no group") };
            assert!(!read.members.is_empty(), "{}", read.group);
            members.extend(read.members);
        }
        assert!((2800..=3000).contains(&members.len()), "{}", members.len());
        members.sort();
        members.dedup();
        assert_eq!(members.len(), 1000);
    }

    #[test]
    fn clients_are_in_the_head_office_or_nowhere() {
        let estate = Estate { ranges: 1000, ..Estate::HEAD_OFFICE };
        let Fact::LocationChanged(office) = estate.location(0) else { panic!("no location") };
        let office = office.ranges.expect("ranges").cidrs;
        let everywhere: Vec<String> =
            (0..estate.ranges).map(|number| estate.range(number).to_string()).collect();
        let roaming = Estate { stay: Stay::Roaming, ..estate };
        for place in 0..2000 {
            let address = |estate: Estate| estate.address(mixed(place)).expect("a place");
            assert!(office.contains(&address(estate).to_string()));
            assert!(!everywhere.contains(&address(roaming).to_string()));
        }
    }
}
