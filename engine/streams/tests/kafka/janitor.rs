//! The janitor against a real broker (L3): what it takes out is gone after compaction, and a replica
//! that knows nothing else decides as those that were there.

use std::time::{Duration, Instant};

use caed_core::decision::Verdict;
use caed_core::event::RecordKey;
use caed_core::position::Incarnation;
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_streams::kafka::identity::{KEY, LogIdentity, READER_VERSION};
use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::{Pace, PartitionStatus};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::broker::{Broker, broker, put};
use crate::replica::{Options, Replica, event};

const TIME: Duration = Duration::from_secs(30);
const HORIZON: Duration = Duration::from_secs(4);
const PARTITIONS: i32 = 3;
const OPTIONS: Options = Options {
    horizon: HORIZON,
    janitor: Pace { first: Duration::ZERO, interval: Duration::from_secs(2) },
};

/// Segments end soon, and the cleaner does not wait for much to clean.
const EAGER: [(&str, &str); 3] = [
    ("segment.ms", "1000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "600000"),
];

/// A record of a topic: its key, and whether it has a payload.
type Found = (Vec<u8>, bool);

fn create(broker: &Broker, settings: &KafkaSettings) {
    for topic in [&settings.events_topic, &settings.policies_topic] {
        create_one(broker, topic, 1);
    }
    broker.create_one(&settings.dead_letter_topic, 1, None);
}

fn create_one(broker: &Broker, topic: &str, incarnation: u8) {
    broker.create_with(topic, PARTITIONS, &EAGER);
    let writer = broker.writer();
    for number in 0..PARTITIONS {
        let identity = LogIdentity {
            incarnation: Incarnation([incarnation; 16]),
            horizon: HORIZON,
            min_reader_version: READER_VERSION,
            partition: number.unsigned_abs(),
        };
        put(&writer, topic, number, KEY, Some(&identity.encode()));
    }
    writer.flush(TIME).expect("written");
}

/// Everything that the partitions of a topic hold, in order.
fn held(broker: &Broker, topic: &str) -> Vec<Found> {
    let mut client = broker.client();
    client.set("group.id", "test").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = client.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for number in 0..PARTITIONS {
        list.add_partition_offset(topic, number, Offset::Beginning).expect("added");
    }
    consumer.assign(&list).expect("assigned");
    let (mut found, mut ends) = (Vec::new(), 0);
    while ends < PARTITIONS {
        match consumer.poll(TIME).expect("an answer") {
            Ok(message) => {
                let key = message.key().expect("a key").to_vec();
                found.push((key, message.payload().is_some()));
            }
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

fn count(found: &[Found], has_payload: bool) -> usize {
    found.iter().filter(|(key, payload)| key != KEY && *payload == has_payload).count()
}

fn account(number: usize, user: &str, enabled: bool) -> Vec<u8> {
    let user = user.to_owned();
    event(
        number,
        if enabled {
            Fact::AccountEnabled(v1::AccountEnabled { user })
        } else {
            Fact::AccountDisabled(v1::AccountDisabled { user })
        },
    )
}

fn runs(replicas: &[&Replica]) -> u64 {
    replicas.iter().map(|replica| replica.ingest.janitor_runs.value()).sum()
}

fn tombstones(replicas: &[&Replica]) -> u64 {
    replicas.iter().map(|replica| replica.ingest.tombstones.value()).sum()
}

/// Appends something, so that time passes for the log.
fn beat(replica: &Replica, number: usize) {
    let user = "heart".to_owned();
    let revoked = Fact::SessionsRevoked(v1::SessionsRevoked { user });
    replica.publish(vec![event(number, revoked)]).expect("accepted");
    std::thread::sleep(Duration::from_millis(250));
}

#[test]
fn a_janitor_takes_out_what_is_outlived_and_a_new_replica_decides_the_same() {
    const USERS: usize = 50;
    const ROUNDS: usize = 3;
    let broker = broker();
    let settings = broker.settings("janitor");
    create(&broker, &settings);
    let one = Replica::ready_with(&settings, OPTIONS);
    let other = Replica::ready_with(&settings, OPTIONS);
    let replicas = [&one, &other];

    // Each user's password is reset, and the account enabled and disabled in turn. Of the records of
    // each, the last word on the account stays, whatever time passes.
    let user = |number: usize| format!("user-{number}");
    let is_enabled = |round: usize, number: usize| (round + number) % 2 == 1;
    for round in 0..ROUNDS {
        let of_user = |number| {
            let reset = v1::PasswordReset { user: user(number) };
            let account = account(round, &user(number), is_enabled(round, number));
            [account, event(round, Fact::PasswordReset(reset))]
        };
        one.publish((0..USERS).flat_map(of_user).collect()).expect("accepted");
        // So that the words on an account are of different times.
        let now = one.now();
        one.wait("later", |replica| replica.now() > now);
    }
    let declared = Fact::SourceDeclared(v1::SourceDeclared {
        name: "directory".to_owned(),
        declared: true,
        emits_enabled: true,
        ..v1::SourceDeclared::default()
    });
    one.publish(vec![event(0, declared)]).expect("accepted");
    for replica in replicas {
        replica.current();
    }
    let written = USERS * ROUNDS * 2;
    let outlived = written - USERS;
    assert_eq!(count(&held(&broker, &settings.events_topic), true), written);
    assert_eq!(tombstones(&replicas), 0, "not within two horizons");

    // Time is that of the newest append, so that something must be appended.
    let mut beats = 0;
    let mut beat = || {
        beats += 1;
        beat(&one, beats);
        beats
    };
    let begun = Instant::now();
    while tombstones(&replicas) < outlived as u64 {
        beat();
        assert!(begun.elapsed() < TIME, "no janitor worked");
    }
    assert!(begun.elapsed() > HORIZON, "within two horizons");

    // Runs go on, all by one replica, and what has its tombstone gets no other, although compaction
    // may not have taken the record yet.
    let by_each = || replicas.map(|replica| replica.ingest.janitor_runs.value());
    let before = by_each();
    while runs(&replicas) < before.iter().sum::<u64>() + 2 {
        beat();
        assert!(begun.elapsed() < 2 * TIME, "no janitor worked");
    }
    let after = by_each();
    let worked = before.iter().zip(after).filter(|(before, after)| **before != *after).count();
    assert_eq!(worked, 1, "{before:?} {after:?}");
    let found = held(&broker, &settings.events_topic);
    let mut keys: Vec<_> = found.iter().filter(|(_, payload)| !payload).collect();
    let of_all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), of_all, "one tombstone a key");

    // What is written later closes the segments, and then compaction runs.
    let begun = Instant::now();
    loop {
        let beats = beat();
        let left = count(&held(&broker, &settings.events_topic), true);
        assert!(left > USERS, "the last words on accounts stay");
        if left <= USERS + beats {
            break;
        }
        assert!(begun.elapsed() < 2 * TIME, "compaction does not run: {left} records");
    }
    for topic in [&settings.events_topic, &settings.policies_topic] {
        let found = held(&broker, topic);
        let identities = found.iter().filter(|(key, payload)| key == KEY && *payload).count();
        assert_eq!(identities, usize::try_from(PARTITIONS).expect("few"), "{topic}");
    }
    assert_eq!(count(&held(&broker, &settings.policies_topic), true), 1, "the declaration stays");

    let late = Replica::ready_with(&settings, OPTIONS);
    let replicas = [&one, &other, &late];
    for replica in replicas {
        replica.current();
    }
    let now = late.now();
    let users = || (0..USERS).map(user).chain(["heart".to_owned()]);
    let [first, second, third] = replicas.map(|replica| replica.decide(users(), now));
    assert_eq!(first, second);
    assert_eq!(first, third);
    for (number, decision) in third.iter().take(USERS).enumerate() {
        let verdict = decision.verdict == Verdict::Allow;
        assert_eq!(verdict, is_enabled(ROUNDS - 1, number), "{number} {decision:?}");
    }
    for replica in replicas {
        assert_eq!(replica.ingest.quarantined.value(), 0, "tombstones are no events");
    }
}

#[test]
fn a_replica_that_knows_more_than_its_log_leaves_cleaning_to_another() {
    let broker = broker();
    let settings = broker.settings("parted");
    create(&broker, &settings);
    let one = Replica::ready_with(&settings, OPTIONS);
    let (earlier, _) = native::stamp(&account(1, "anna", true), one.now()).expect("an event");
    let now = one.now();
    one.wait("later", |replica| replica.now() > now);
    one.enforce(vec![account(2, "anna", false)]);
    one.wait("janitor", |replica| replica.ingest.janitor_runs.value() > 0);

    // The log is replaced by one that holds the earlier word alone.
    broker.delete(&settings.events_topic);
    create_one(&broker, &settings.events_topic, 2);
    let RecordKey(key) = native::decode(&earlier).expect("an event").event.record_key();
    let writer = broker.writer();
    put(&writer, &settings.events_topic, 0, &key, Some(&earlier));
    writer.flush(TIME).expect("written");
    let is_told = |status: &PartitionStatus| {
        status.partition.topic.0 != 0 || status.incarnation.is_some_and(|known| known.0 == [2; 16])
    };
    one.wait("told", |replica| replica.status.partitions().iter().all(is_told));
    one.current();
    let before = one.ingest.janitor_runs.value();

    // One that knows the new log alone is the janitor in its place, and needs what is there.
    let other = Replica::ready_with(&settings, OPTIONS);
    let begun = Instant::now();
    let mut beats = 0;
    while other.ingest.tombstones.value() == 0 {
        beats += 1;
        beat(&other, beats);
        assert!(begun.elapsed() < TIME, "no janitor worked");
    }
    one.current();
    assert!(!one.allows("anna") && other.allows("anna"));
    let found = held(&broker, &settings.events_topic);
    assert!(found.contains(&(key.to_vec(), true)) && !found.contains(&(key.to_vec(), false)));
    assert_eq!((one.ingest.janitor_runs.value(), one.ingest.tombstones.value()), (before, 0));

    // The end waits for no broker.
    broker.freeze();
    let begun = Instant::now();
    drop(other);
    let took = begun.elapsed();
    broker.thaw();
    assert!(took < Duration::from_secs(8), "less than a process has for its end: {took:?}");
}
