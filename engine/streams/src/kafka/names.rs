//! The names of the topics that are read, on the wire and here.

use caed_core::position::{Partition, Topic, Topics};

use super::settings::{EVENTS, KafkaSettings, POLICIES};

/// Which name stands for which topic.
#[derive(Clone, Debug)]
pub(super) struct Names {
    named: [(Topic, String); 2],
    topics: Topics,
}

impl Names {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        let named =
            [(EVENTS, settings.events_topic.clone()), (POLICIES, settings.policies_topic.clone())];
        Self { named, topics: settings.topics() }
    }

    /// The topics, with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Topic, &str)> {
        self.named.iter().map(|(topic, name)| (*topic, name.as_str()))
    }

    /// The name of a topic.
    pub(super) fn name(&self, topic: Topic) -> &str {
        self.topics.name(topic)
    }

    /// A partition as the wire names it.
    pub(super) fn wire(&self, partition: Partition) -> (&str, i32) {
        let Partition { topic, number } = partition;
        (self.name(topic), i32::try_from(number).unwrap_or(i32::MAX))
    }

    /// A partition that the wire names; `None` where it is none of ours.
    pub(super) fn partition(&self, name: &str, number: i32) -> Option<Partition> {
        let (topic, _) = self.iter().find(|(_, known)| *known == name)?;
        Some(Partition { topic, number: u32::try_from(number).ok()? })
    }

    /// A partition for people.
    pub(super) fn place(&self, partition: Partition) -> String {
        format!("{}/{}", self.name(partition.topic), partition.number)
    }
}
