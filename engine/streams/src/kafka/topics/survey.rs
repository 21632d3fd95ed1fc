//! What the topics are like, as the cluster says it.

use std::collections::BTreeMap;

use caed_core::position::Incarnation;

use crate::kafka::identity::LogIdentity;

/// What is there of the three topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The brokers that were asked, as configured: for commands to run.
    pub brokers: String,
    /// Events, policies, dead letters.
    pub topics: Vec<TopicSurvey>,
}

/// What is there of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSurvey {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub used_for: TopicUse,
    /// How it is.
    pub state: TopicState,
}

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicUse {
    /// Live events: nothing in it may be lost.
    Live,
    /// Records that could not be understood, for people to look at.
    DeadLetter,
}

/// How a topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// There is none of that name.
    Missing,
    /// The cluster does not say; why.
    Hidden(String),
    /// There it is.
    Present {
        /// In the order of their numbers.
        partitions: Vec<PartitionSurvey>,
        /// Settings in force by name, or why the cluster does not say.
        settings: Result<BTreeMap<String, String>, String>,
    },
}

/// How a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSurvey {
    /// Its number.
    pub number: u32,
    /// The broker that leads it; `None` while nobody does.
    pub leader: Option<i32>,
    /// How many brokers should hold it.
    pub replicas: usize,
    /// How many of them hold everything.
    pub in_sync: usize,
    /// Where it begins and ends; `None` while nobody leads it.
    pub watermarks: Option<Watermarks>,
    /// Its identity record; meant for topics of live events alone.
    pub identity: IdentityFound,
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The offset of the oldest record.
    pub low: u64,
    /// The offset that the next record will have.
    pub high: u64,
}

/// What was found of an identity record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityFound {
    /// Nobody looked, or nobody could answer.
    Unknown,
    /// There is none, up to the end or to where was looked.
    Absent,
    /// Under its key stands something else.
    Invalid(String),
    /// There it is. Of several the last one, which compaction keeps.
    Found {
        /// Its place.
        offset: u64,
        /// What it says.
        identity: LogIdentity,
        /// Whether another incarnation stands in the same partition.
        disputed: bool,
    },
}

/// How far to look for an identity record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Through the first records, where `create` writes it; what a look every hour can afford.
    Beginning,
    /// Until it is found, or the partition ends.
    Whole,
    /// To the end, so that a second one is found too.
    Every,
}

impl TopicSurvey {
    /// Every incarnation that the topic's partitions name, each once.
    pub fn incarnations(&self) -> Vec<Incarnation> {
        let mut named: Vec<_> = self.identities().map(|identity| identity.incarnation).collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    /// Every identity that was found.
    pub fn identities(&self) -> impl Iterator<Item = &LogIdentity> + '_ {
        self.partitions().iter().filter_map(|partition| match &partition.identity {
            IdentityFound::Found { identity, .. } => Some(identity),
            IdentityFound::Unknown | IdentityFound::Absent | IdentityFound::Invalid(_) => None,
        })
    }

    /// Its partitions; none where it is missing or hidden.
    pub fn partitions(&self) -> &[PartitionSurvey] {
        match &self.state {
            TopicState::Present { partitions, .. } => partitions,
            TopicState::Missing | TopicState::Hidden(_) => &[],
        }
    }
}
