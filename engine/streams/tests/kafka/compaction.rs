//! What a real compaction leaves decides as what was there before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use prost::Message as _;
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::TIME;
use crate::broker::{Broker, broker, put};
use crate::replica::{Replica, event};

const PARTITIONS: i32 = 3;
const USERS: usize = 400;
const EVENTS: usize = 3000;
const HOUR_MS: i64 = 3_600_000;
/// The key of records that only make segments end.
const FILLER: &[u8] = b"filler";

/// Per key of a partition: what stands under it, oldest first.
type Records = BTreeMap<(i32, Vec<u8>), Vec<Option<Vec<u8>>>>;

fn user(number: usize) -> String {
    format!("user-{}", number % USERS)
}

/// An event that happened so long ago.
fn past(number: usize, ago_ms: i64, now_ms: i64, fact: Fact) -> Vec<u8> {
    let mut message = v1::Event::decode(&*event(number, fact)).expect("an event");
    message.event_time_ms = now_ms - ago_ms;
    message.encode_to_vec()
}

/// Event number so-and-so, of up to two hours ago, in no order of time.
fn nth(number: usize, now_ms: i64) -> Vec<u8> {
    let user = user(number.wrapping_mul(7919));
    let fact = match number % 5 {
        0 => Fact::AccountDisabled(v1::AccountDisabled { user }),
        1 | 2 => Fact::AccountEnabled(v1::AccountEnabled { user }),
        3 => Fact::UserRiskChanged(v1::UserRiskChanged { user, level: 3 }),
        _ => Fact::SessionsRevoked(v1::SessionsRevoked { user }),
    };
    let ago = number.wrapping_mul(2_654_435_761) % 7200;
    past(number, i64::try_from(ago).expect("small") * 1000, now_ms, fact)
}

/// Everything that a topic holds.
fn read(broker: &Broker, topic: &str) -> Records {
    let mut client = broker.client();
    client.set("group.id", "test").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = client.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for number in 0..PARTITIONS {
        list.add_partition_offset(topic, number, Offset::Offset(0)).expect("added");
    }
    consumer.assign(&list).expect("assigned");
    let mut records = Records::new();
    let mut left = PARTITIONS;
    while left > 0 {
        match consumer.poll(TIME).expect("an answer") {
            Ok(message) => {
                let key = (message.partition(), message.key().expect("a key").to_vec());
                records.entry(key).or_default().push(message.payload().map(<[u8]>::to_vec));
            }
            Err(KafkaError::PartitionEOF(_)) => left -= 1,
            Err(error) => panic!("{error}"),
        }
    }
    records
}

#[test]
fn an_older_event_after_a_newer_one_survives_compaction_and_a_restart_from_nothing() {
    let broker = broker();
    let settings = broker.settings("compacted");
    broker.create_one(&settings.policies_topic, 1, Some(1));
    let new = NewTopic::new(&settings.events_topic, PARTITIONS, TopicReplication::Fixed(1))
        .set("segment.ms", "200")
        .set("min.cleanable.dirty.ratio", "0.01")
        .set("delete.retention.ms", "100");
    broker.create_as(new, Some(1));
    let replica = Replica::ready(&settings);
    let writer = broker.writer();
    // What must be left: whatever was written last under a key, unless it was a tombstone.
    let mut live = read(&broker, &settings.events_topic);
    let mut written = 0;
    let mut write = |number: i32, key: &[u8], payload: Option<&[u8]>| {
        // Neighbours share a partition.
        let number = number / 2 % PARTITIONS;
        put(&writer, &settings.events_topic, number, key, payload);
        written += 1;
        let place = (number, key.to_vec());
        match payload {
            Some(payload) => live.insert(place, vec![Some(payload.to_vec())]),
            None => live.remove(&place),
        };
    };

    // As caed writes them, by the key of each. Every third is there twice, and every fifth also
    // under a key that is deleted again.
    let now = replica.now();
    let now_ms = i64::try_from(now.as_millis()).expect("in range");
    let newer_first = [
        past(0, HOUR_MS / 4, now_ms, disabled("first")),
        past(1, HOUR_MS / 2, now_ms, enabled("first")),
        past(2, 2 * HOUR_MS, now_ms, enabled("second")),
        past(3, 3 * HOUR_MS, now_ms, disabled("second")),
    ];
    let events = newer_first.into_iter().chain((4..EVENTS).map(|number| nth(number, now_ms)));
    let mut copies = Vec::new();
    for (number, event) in (0..).zip(events) {
        let (bytes, decoded) = native::stamp(&event, now).expect("an event");
        let key = decoded.event.record_key().0;
        write(number, &key, Some(&bytes));
        if number % 3 == 0 {
            copies.push((number, key.to_vec(), bytes.clone()));
        }
        if number % 5 == 0 {
            write(number, format!("gone-{number}").as_bytes(), Some(&bytes));
        }
    }
    for (number, key, bytes) in &copies {
        write(*number, key, Some(bytes));
    }
    for number in (0..i32::try_from(EVENTS).expect("small")).step_by(5) {
        write(number, format!("gone-{number}").as_bytes(), None);
    }
    writer.flush(TIME).expect("written");
    replica.current();

    let begun = Instant::now();
    loop {
        // The segment that is written to is never compacted: another record ends it.
        for number in 0..PARTITIONS {
            let filler = replica.stamped(&event(0, enabled("filler")));
            put(&writer, &settings.events_topic, number, FILLER, Some(&filler));
        }
        writer.flush(TIME).expect("written");
        let mut after = read(&broker, &settings.events_topic);
        after.retain(|(_, key), written| key != FILLER && *written != [None]);
        let lost = live.keys().find(|key| !after.contains_key(*key));
        assert_eq!(lost, None, "compaction took what is live");
        if after == live {
            break;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{} of {}", after.len(), live.len());
        std::thread::sleep(Duration::from_millis(250));
    }
    let (took, left) = (begun.elapsed(), live.len());
    println!("compacted after {took:?}: of {written} records {left} are left");

    let fresh = Replica::ready(&settings);
    fresh.current();
    replica.current();
    let users = || (0..USERS).map(user).chain(["first".to_owned(), "second".to_owned()]);
    let now = fresh.now();
    let [old, new] = [&replica, &fresh].map(|replica| replica.decide(users(), now));
    assert_eq!(old, new);
    // The later event counts, whichever was appended later: disabled here, enabled there, and the
    // token is younger than that disabling.
    assert!(!fresh.allows("first") && fresh.allows("second"));
    let allowed = users().filter(|user| fresh.allows(user)).count();
    assert!((20..USERS - 20).contains(&allowed), "{allowed} users tell little");
}

fn disabled(user: &str) -> Fact {
    Fact::AccountDisabled(v1::AccountDisabled { user: user.to_owned() })
}

fn enabled(user: &str) -> Fact {
    Fact::AccountEnabled(v1::AccountEnabled { user: user.to_owned() })
}
