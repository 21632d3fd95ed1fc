//! How caed's Kafka clients are set up.
//!
//! Five clients, one set of settings: the consumer reads, the producer appends, the probe asks
//! where the partitions end, the admin client makes and checks topics, the janitor's takes part in
//! choosing it. Any librdkafka property can be set and reaches all five; those that correctness rests on can't (`FIXED`), and trying to is
//! an error that says why. Fixed properties are also set last, so that nothing gets past them.

use std::collections::BTreeMap;
use std::fmt;

use caed_core::position::{Topic, Topics};
use rdkafka::ClientConfig;

/// The topic of events, by its place in [`KafkaSettings::topics`].
pub const EVENTS: Topic = Topic(0);
/// The topic of policies, locations and settings, by its place in [`KafkaSettings::topics`].
pub const POLICIES: Topic = Topic(1);

/// Where Kafka is, and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Brokers to begin with: HOST:PORT, separated by commas.
    pub brokers: String,
    /// The topic of events.
    pub events_topic: String,
    /// The topic of policies, locations and settings.
    pub policies_topic: String,
    /// The topic of records that could not be understood.
    pub dead_letter_topic: String,
    /// Properties of librdkafka over the defaults here, each checked by [`check_property`].
    pub properties: BTreeMap<String, String>,
}

/// Why a property of librdkafka can't be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProperty {
    /// Correctness rests on it.
    #[error("is always `{value}`: {reason}")]
    Fixed {
        /// What it is.
        value: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// It has a key of its own, or no meaning here.
    #[error("{0}")]
    Elsewhere(&'static str),
    /// librdkafka does not take it.
    #[error("librdkafka does not take it: {0}")]
    Refused(String),
}

/// Which clients a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Consumer,
    Producer,
    /// Consumer and probe. They differ in what they may see.
    Readers,
    All,
}

/// Properties that can't be set, because correctness rests on them, each with the reason. The
/// probe differs in `isolation.level` alone.
const FIXED: [(&str, &str, For, &str); 9] = [
    (
        "auto.offset.reset",
        "error",
        For::Readers,
        "an offset that is outside the log means another log, and skipping to its end would lose revocations",
    ),
    (
        "enable.auto.commit",
        "false",
        For::Readers,
        "every replica reads everything by itself, and no group keeps its place",
    ),
    (
        "enable.auto.offset.store",
        "false",
        For::Readers,
        "every replica reads everything by itself, and no group keeps its place",
    ),
    (
        "isolation.level",
        "read_committed",
        For::Consumer,
        "an event of a transaction that is given up never happened",
    ),
    (
        "enable.partition.eof",
        "true",
        For::Readers,
        "the end of a partition tells that everything below it has been read",
    ),
    (
        "statistics.interval.ms",
        "1000",
        For::Consumer,
        "it tells how far a partition was read where its last records carry no event",
    ),
    ("acks", "all", For::Producer, "an event that only one broker has can be lost"),
    (
        "enable.idempotence",
        "true",
        For::Producer,
        "sending again after a fault must not store an event twice or in another order",
    ),
    (
        "allow.auto.create.topics",
        "false",
        For::All,
        "a topic with a broker's default settings may delete live events; `caed topics create` makes it as it must be",
    ),
];

/// Other names of fixed properties.
const ALIASES: [(&str, &str); 2] =
    [("request.required.acks", "acks"), ("auto.commit.enable", "enable.auto.commit")];

/// Properties that are set in another place, or that can't be meant.
const ELSEWHERE: [(&str, &str); 3] = [
    ("bootstrap.servers", "has a key of its own: set kafka.brokers"),
    ("metadata.broker.list", "has a key of its own: set kafka.brokers"),
    ("transactional.id", "can not be set: events are published without transactions"),
];

/// Checks that a property may be set, and that librdkafka takes it.
pub fn check_property(name: &str, value: &str) -> Result<(), InvalidProperty> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    if let Some((_, value, _, reason)) = FIXED.iter().find(|(fixed, ..)| *fixed == name) {
        return Err(InvalidProperty::Fixed { value, reason });
    }
    if let Some((_, problem)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
        return Err(InvalidProperty::Elsewhere(problem));
    }
    let mut alone = ClientConfig::new();
    alone.set(name, value);
    // librdkafka's text may hold the value, and the value may be a secret.
    let problem = |_| InvalidProperty::Refused("no such property, or not a value of it".to_owned());
    alone.create_native_config().map(drop).map_err(problem)
}

impl KafkaSettings {
    /// The brokers with the usual topics and no properties.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            events_topic: "caed.events".to_owned(),
            policies_topic: "caed.policies".to_owned(),
            dead_letter_topic: "caed.dead-letter".to_owned(),
            properties: BTreeMap::new(),
        }
    }

    /// The topics that are read, in the order of [`EVENTS`] and [`POLICIES`].
    pub fn topics(&self) -> Topics {
        Topics::new([self.events_topic.clone(), self.policies_topic.clone()])
    }

    /// The client that reads events.
    pub fn consumer(&self) -> ClientConfig {
        let defaults = [
            // librdkafka assigns partitions only to a client that names a group. It never joins it.
            ("group.id", "caed"),
            // A bit that flipped on the way must not become another event. Costs well under 1 %.
            ("check.crcs", "true"),
            // A broker that does not answer is given up, and the next one tried, after this time
            // instead of a minute. Longer than a fetch may wait.
            ("socket.timeout.ms", "10000"),
            // A new leader is found within seconds even where no request failed.
            ("topic.metadata.refresh.interval.ms", "5000"),
            // What may wait between the broker and the applier: 16 MiB, so that reading a long
            // log does not take memory in proportion to it.
            ("queued.max.messages.kbytes", "16384"),
            // How long fetching pauses where that much waits. By default a second, in which all of it has long been
            // taken: a long log was read at a quarter of the speed.
            ("fetch.queue.backoff.ms", "10"),
        ];
        self.client(&defaults, &[For::Consumer, For::Readers], &[])
    }

    /// The client that appends events.
    pub fn producer(&self) -> ClientConfig {
        let defaults = [
            // Waiting for company would cost every lone event its wait (5 ms by default).
            ("linger.ms", "0"),
            // A publisher learns within this time that its event was not stored. Default: 5 min.
            ("message.timeout.ms", "10000"),
            // A broker that does not answer is given up soon enough to try another in that time.
            ("request.timeout.ms", "4000"),
            ("socket.timeout.ms", "4000"),
            // The rule by which Kafka's own Java clients choose a partition, so that copies of an
            // event meet whoever wrote them.
            ("partitioner", "murmur2_random"),
        ];
        self.client(&defaults, &[For::Producer], &[])
    }

    /// The client that makes and checks topics.
    pub fn admin(&self) -> ClientConfig {
        self.client(&[("socket.timeout.ms", "10000")], &[], &[])
    }

    /// The client that asks where partitions end.
    pub fn probe(&self) -> ClientConfig {
        let defaults = [
            ("group.id", "caed"),
            // No answer within this time is no answer: the age of what is known grows meanwhile.
            ("socket.timeout.ms", "3000"),
            // Partitions are looked into one after the other: a fetch at the end of one would hold
            // up the next for half a second.
            ("fetch.wait.max.ms", "10"),
        ];
        // The end is that of everything that was appended. Up to the last stable offset only, an
        // open transaction would hide what waits behind it.
        self.client(&defaults, &[For::Readers], &[("isolation.level", "read_uncommitted")])
    }

    /// The client that takes part in choosing the janitor. It reads nothing.
    pub fn janitor(&self) -> ClientConfig {
        let prefix = self.properties.get("group.id").map_or("caed", String::as_str);
        let group = format!("{prefix}.janitor");
        // How the choice is made must be the same in all replicas.
        let choice = [
            ("group.id", group.as_str()),
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "range"),
        ];
        // Leaving the group waits for an answer, and the end of the process for that.
        self.client(&[("socket.timeout.ms", "2000")], &[For::Readers], &choice)
    }

    /// What every client has: defaults first, then the operator's, then what is fixed.
    fn client(
        &self,
        defaults: &[(&str, &str)],
        fixed: &[For],
        more: &[(&str, &str)],
    ) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            // Shows in the broker's logs and quotas.
            .set("client.id", "caed")
            // Back within half a second of a broker's return, instead of up to ten seconds.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            // A connection that a firewall dropped silently is noticed.
            .set("socket.keepalive.enable", "true")
            // Answers are small: waiting to fill a packet would cost more than it saves.
            .set("socket.nagle.disable", "true");
        for (name, value) in defaults {
            client.set(*name, *value);
        }
        for (name, value) in &self.properties {
            client.set(name, value);
        }
        client.set("bootstrap.servers", &self.brokers);
        for (name, value, to, _) in FIXED {
            if to == For::All || fixed.contains(&to) {
                client.set(name, value);
            }
        }
        for (name, value) in more {
            client.set(*name, *value);
        }
        client
    }
}

impl fmt::Debug for KafkaSettings {
    /// Without the values of properties, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { brokers, events_topic, policies_topic, dead_letter_topic, properties } = self;
        f.debug_struct("KafkaSettings")
            .field("brokers", brokers)
            .field("events_topic", events_topic)
            .field("policies_topic", policies_topic)
            .field("dead_letter_topic", dead_letter_topic)
            .field("properties", &properties.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        check_property(name, value).expect_err(name).to_string()
    }

    #[test]
    fn what_correctness_rests_on_can_not_be_set() {
        for (name, value, ..) in FIXED {
            assert!(refused(name, value).starts_with("is always `"), "{name}");
        }
        assert!(refused("request.required.acks", "1").starts_with("is always `all`: "));
        assert!(refused("bootstrap.servers", "here:9092").ends_with("set kafka.brokers"));
        assert_eq!(check_property("fetch.min.bytes", "1"), Ok(()));
        assert_eq!(check_property("sasl.password", "anything"), Ok(()));
    }

    #[test]
    fn what_librdkafka_does_not_know_is_refused_without_the_value() {
        for (name, value) in [("fetch.min.byte", "hush"), ("fetch.min.bytes", "hush")] {
            let text = refused(name, value);
            assert!(text.starts_with("librdkafka does not take it") && !text.contains("hush"));
        }
    }

    #[test]
    fn what_is_fixed_wins_and_the_rest_is_the_operators() {
        let mut settings = KafkaSettings::new("here:9092");
        let properties =
            [("acks", "0"), ("linger.ms", "3"), ("isolation.level", "read_uncommitted")];
        let owned = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.properties = owned.into();
        assert_eq!(settings.producer().get("acks"), Some("all"));
        assert_eq!(settings.producer().get("linger.ms"), Some("3"));
        assert_eq!(settings.consumer().get("isolation.level"), Some("read_committed"));
        assert_eq!(settings.probe().get("isolation.level"), Some("read_uncommitted"));
        assert_eq!(settings.janitor().get("group.id"), Some("caed.janitor"));
        assert_eq!(settings.admin().get("allow.auto.create.topics"), Some("false"));
    }

    #[test]
    fn librdkafka_takes_every_default() {
        let settings = KafkaSettings::new("here:9092");
        for client in [
            settings.consumer(),
            settings.producer(),
            settings.admin(),
            settings.probe(),
            settings.janitor(),
        ] {
            client.create_native_config().expect("taken");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut settings = KafkaSettings::new("here:9092");
        settings.properties.insert("sasl.password".to_owned(), "hush".to_owned());
        let shown = format!("{settings:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hush"), "{shown}");
    }
}
