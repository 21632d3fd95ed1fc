//! What is produced: the events of one large tenant, by number.
//!
//! Of a thousand events 850 revoke a user each, 60 a session, 40 disable a device, 30 find a user's risk
//! high, 10 disable an account, and 10 bring a user into a group; before all there are groups, and a policy for each. No two are about the same user,
//! session or device, so that the state grows with each.

use caed_bench::subject::{self, Kind};
use caed_bench::world::{ISSUER, TENANT};
use caed_core::decision::{Decision, Reason, Verdict};
use caed_core::event::RecordKey;
use caed_core::position::Topic;
use caed_core::request::Claims;
use caed_core::time::UnixMillis;
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_streams::kafka::topic_of;
use prost::Message;

/// Events of which the mix is made up.
const MIX: u64 = 1000;

/// Policies, each for a group of its own.
const POLICIES: u64 = 20;

/// Events that happen in one millisecond.
const RATE_PER_MS: u64 = 16;

/// From before the first event to the token of before it, and from the first event to a token of after the last: half an
/// hour.
const AFTER_MS: i64 = 1_800_000;

/// From here on no number is that of an event.
const NOBODY: u64 = 1 << 40;

/// An endless stream of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// When the first one happened.
    pub(crate) begun: UnixMillis,
}

/// A record as caed's producer writes it.
pub(crate) struct Record {
    pub(crate) topic: Topic,
    pub(crate) key: RecordKey,
    pub(crate) payload: Vec<u8>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    User,
    Session,
    Device,
    Risk,
    Account,
    Group(u64),
    Policy(u64),
    Member { group: u64 },
}

/// A token of from before every event, and what must become of it.
#[derive(Debug)]
pub(crate) struct Question {
    user: String,
    session: String,
    device: String,
    issued_s: i64,
    answer: (Verdict, Option<Reason>),
}

/// What so many events leave behind, where that can be counted. How many rows a cutoff takes is the state's own
/// affair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) registers: usize,
    pub(crate) policies: usize,
    pub(crate) groups: usize,
}

impl About {
    const fn of(number: u64) -> Self {
        if number < POLICIES {
            return Self::Group(number);
        }
        if number < 2 * POLICIES {
            return Self::Policy(number - POLICIES);
        }
        match number % MIX {
            0..850 => Self::User,
            850..910 => Self::Session,
            910..950 => Self::Device,
            950..980 => Self::Risk,
            980..990 => Self::Account,
            _ => Self::Member { group: (number / MIX) % POLICIES },
        }
    }
}

impl Stream {
    /// The record of an event.
    pub(crate) fn record(self, number: u64) -> Record {
        let user = || subject::id(Kind::User, number);
        let session = || subject::id(Kind::Session, number);
        let device = || subject::id(Kind::Device, number);
        let fact = match About::of(number) {
            About::User => Fact::SessionsRevoked(v1::SessionsRevoked { user: user() }),
            About::Session => Fact::SessionRevoked(v1::SessionRevoked {
                issuer: ISSUER.to_owned(),
                session: session(),
                user: String::new(),
            }),
            About::Device => Fact::DeviceDisabled(v1::DeviceDisabled { device: device() }),
            About::Risk => Fact::UserRiskChanged(v1::UserRiskChanged {
                user: user(),
                level: v1::RiskLevel::High.into(),
            }),
            About::Account => Fact::AccountDisabled(v1::AccountDisabled { user: user() }),
            About::Group(group) => {
                let (group, members) = (group_id(group), Vec::new());
                Fact::GroupRead(v1::GroupRead { group, members, part: None })
            }
            About::Policy(policy) => Fact::PolicyChanged(blocking(policy)),
            About::Member { group } => {
                Fact::MemberAdded(v1::MemberAdded { group: group_id(group), user: user() })
            }
        };
        Self::record_of(number, fact, self.at(number))
    }

    /// The record of a user's revocation.
    pub(crate) fn revocation(number: u64, at: UnixMillis) -> Record {
        let user = subject::id(Kind::User, number);
        Self::record_of(number, Fact::SessionsRevoked(v1::SessionsRevoked { user }), at)
    }

    fn record_of(number: u64, fact: Fact, at: UnixMillis) -> Record {
        let at = i64::try_from(at.as_millis()).expect("before the year 9999");
        let event = v1::Event {
            id: subject::id(Kind::Session, NOBODY + number),
            tenant: TENANT.to_owned(),
            source: "directory".to_owned(),
            event_time_ms: at,
            received_ms: at,
            fact: Some(fact),
        };
        let payload = event.encode_to_vec();
        let event = native::event_of(event).expect("an event").event;
        Record { topic: topic_of(&event.fact), key: event.record_key(), payload }
    }

    fn at(self, number: u64) -> UnixMillis {
        UnixMillis::from_millis(self.begun.as_millis() + number / RATE_PER_MS)
    }

    /// A token that the event with this number is about.
    pub(crate) fn question(self, number: u64) -> Question {
        let mut question = self.untouched(number);
        let user = || subject::id(Kind::User, number);
        match About::of(number) {
            About::User => {
                question.user = user();
                question.answer = (Verdict::Challenge, Some(Reason::Revoked));
            }
            About::Session => {
                question.session = subject::id(Kind::Session, number);
                question.answer = (Verdict::Challenge, Some(Reason::Revoked));
            }
            About::Device => {
                question.device = subject::id(Kind::Device, number);
                question.issued_s = self.seconds(AFTER_MS);
                question.answer = (Verdict::Deny, Some(Reason::Device));
            }
            About::Risk => {
                question.user = user();
                question.answer = (Verdict::Challenge, Some(Reason::Risk));
            }
            About::Account => {
                question.user = user();
                question.issued_s = self.seconds(AFTER_MS);
                question.answer = (Verdict::Deny, Some(Reason::Account));
            }
            About::Member { .. } => {
                question.user = user();
                question.answer = (Verdict::Deny, Some(Reason::Policy));
            }
            About::Group(_) | About::Policy(_) => {}
        }
        question
    }

    /// A token of a user of [`revocation`](Self::revocation).
    pub(crate) fn revoked(self, number: u64) -> Question {
        let answer = (Verdict::Challenge, Some(Reason::Revoked));
        Question { user: subject::id(Kind::User, number), answer, ..self.untouched(number) }
    }

    /// A token of somebody to whom nothing happened.
    pub(crate) fn untouched(self, number: u64) -> Question {
        Question {
            user: subject::id(Kind::User, NOBODY + number),
            session: subject::id(Kind::Session, 2 * NOBODY + number),
            device: subject::id(Kind::Device, NOBODY + number),
            issued_s: self.seconds(-AFTER_MS),
            answer: (Verdict::Allow, None),
        }
    }

    /// So long after the beginning.
    fn seconds(self, after_ms: i64) -> i64 {
        let begun_ms = i64::try_from(self.begun.as_millis()).expect("before the year 9999");
        (begun_ms + after_ms) / 1000
    }

    /// What the first so many events leave behind.
    pub(crate) fn left(events: u64) -> Left {
        let mut left = Left::default();
        for number in 0..events {
            match About::of(number) {
                About::Device | About::Account => left.registers += 1,
                About::Group(_) => left.groups += 1,
                About::Policy(_) => left.policies += 1,
                About::User | About::Session | About::Risk | About::Member { .. } => {}
            }
        }
        left
    }
}

impl Question {
    pub(crate) fn claims(&self) -> Claims<'_> {
        Claims {
            issuer: Some(ISSUER),
            tenant: Some(TENANT),
            subject: Some(&self.user),
            issued_at: Some(self.issued_s),
            session: Some(&self.session),
            device: Some(&self.device),
            answers_challenges: true,
            ..Claims::default()
        }
    }

    /// Whether this is the answer.
    pub(crate) fn is_answered_by(&self, decision: &Decision) -> bool {
        (decision.verdict, decision.primary) == self.answer
    }
}

/// A policy that keeps a group out of everything.
fn blocking(number: u64) -> v1::PolicyChanged {
    let users = v1::PolicyUsers { include_groups: vec![group_id(number)], ..Default::default() };
    let include = vec!["All".to_owned()];
    v1::PolicyChanged {
        policy: format!("policy {number}"),
        state: v1::PolicyState::Enabled.into(),
        users: Some(users),
        applications: Some(v1::PolicyApplications { include, ..Default::default() }),
        grant_controls: vec!["block".to_owned()],
        ..Default::default()
    }
}

fn group_id(number: u64) -> String {
    format!("group {number}")
}
