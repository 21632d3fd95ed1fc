//! A tenant whose policies name places: many ranges, and policies of which some are for everybody and some for a
//! group each.
//!
//! Everybody may be in the head office, which is the first location. A fifth of the policies block everybody outside
//! it and one branch; as many demand more of a group; the rest block a group outside the head office and a branch.

use std::net::{IpAddr, Ipv4Addr};

use caed_core::event::Event;
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;

use crate::subject::{self, Kind, SEED, mixed};
use crate::world::TENANT;

/// How much a tenant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estate {
    /// Ranges of all locations.
    pub ranges: u64,
    /// Policies that are enabled.
    pub policies: u64,
}

/// Members of each group.
const MEMBERS: u64 = 1000;

/// Locations, of which the first is the head office.
const LOCATIONS: u64 = 50;

impl Estate {
    /// No policies at all.
    pub const NONE: Self = Self { ranges: 0, policies: 0 };

    /// What is told of it; its groups have members among so many users.
    ///
    /// # Panics
    ///
    /// Where one of these is no event.
    #[expect(clippy::expect_used, reason = "events that stand in this file")]
    pub fn events(self, users: u64, at_ms: u64) -> impl Iterator<Item = Event> {
        let locations = (0..LOCATIONS.min(self.ranges)).map(move |number| self.location(number));
        let policies = (0..self.policies).flat_map(move |number| self.policy(number, users));
        locations.chain(policies).map(move |fact| {
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
        })
    }

    /// An address in the head office, drawn at random.
    pub fn address(self, drawn: u64) -> IpAddr {
        let offices = self.ranges.div_ceil(LOCATIONS).max(1);
        self.range(drawn % offices * LOCATIONS.min(self.ranges)).into()
    }

    /// The one address of the `number`th range.
    fn range(self, number: u64) -> Ipv4Addr {
        let room = (1 << 32) / self.ranges.max(1);
        let at = number * room + mixed(SEED ^ number << 8) % room;
        Ipv4Addr::from(u32::try_from(at).unwrap_or(0))
    }

    fn location(self, number: u64) -> Fact {
        let step = usize::try_from(LOCATIONS.min(self.ranges)).unwrap_or(1);
        let cidrs = (number..self.ranges).step_by(step).map(|range| self.range(range).to_string());
        let ranges = Some(v1::IpRanges { cidrs: cidrs.collect() });
        let location = location_id(number);
        Fact::LocationChanged(v1::LocationChanged { location, ranges, ..Default::default() })
    }

    fn policy(self, number: u64, users: u64) -> Vec<Fact> {
        let all = || vec!["All".to_owned()];
        let group = format!("group {number}");
        let is_for_all = number.is_multiple_of(5);
        let demands_more = number % 5 == 1;
        let include = if is_for_all {
            v1::PolicyUsers { include_users: all(), ..Default::default() }
        } else {
            v1::PolicyUsers { include_groups: vec![group.clone()], ..Default::default() }
        };
        let branch = location_id(1 + number % (LOCATIONS.min(self.ranges).max(2) - 1));
        let places = v1::PolicyLocations { include: all(), exclude: vec![location_id(0), branch] };
        let policy = v1::PolicyChanged {
            policy: format!("policy {number}"),
            state: v1::PolicyState::Enabled.into(),
            users: Some(include),
            applications: Some(v1::PolicyApplications { include: all(), ..Default::default() }),
            locations: (self.ranges > 0 && !demands_more).then_some(places),
            grant_controls: vec![if demands_more { "mfa" } else { "block" }.to_owned()],
            ..Default::default()
        };
        let member = |place: u64| {
            let drawn = mixed(SEED ^ number << 32 ^ place) % users;
            subject::id(Kind::User, drawn)
        };
        let members = (0..MEMBERS.min(users)).map(member).collect();
        let read = v1::GroupRead { group, members, ..Default::default() };
        let mut facts = vec![Fact::PolicyChanged(policy)];
        if !is_for_all {
            facts.push(Fact::GroupRead(read));
        }
        facts
    }
}

fn location_id(number: u64) -> String {
    format!("location {number}")
}
