//! Kafka as the source of truth, against a real broker.
//!
//! The broker is obtained by `tests/tools/kafka.sh` and ends with this process. Time is real here:
//! what is waited for is always something that happens, and each wait has an end.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where something is wrong")]

mod broker;
mod compaction;
mod damage;
mod janitor;
mod outage;
mod replica;
mod stall;

use std::time::{Duration, Instant};

use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_streams::kafka::PartitionStatus;
use caed_streams::kafka::fault::Fault;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use broker::{broker, put, write_identity};
use replica::{PATIENCE, Replica, event, revoked};

const TIME: Duration = Duration::from_secs(20);
const USERS: usize = 2000;

fn user(number: usize) -> String {
    format!("user-{}", number % USERS)
}

/// Event number so-and-so of a stream in which most users meet several kinds.
fn nth(number: usize) -> Vec<u8> {
    let user = user(number.wrapping_mul(7919));
    let fact = match number % 7 {
        0 => Fact::AccountDisabled(v1::AccountDisabled { user }),
        1 => Fact::AccountEnabled(v1::AccountEnabled { user }),
        2 => Fact::UserRiskChanged(v1::UserRiskChanged { user, level: 3 }),
        3 if number.is_multiple_of(2) => Fact::SourceDeclared(v1::SourceDeclared {
            name: "directory".to_owned(),
            declared: true,
            emits_enabled: true,
            ..v1::SourceDeclared::default()
        }),
        _ if number.is_multiple_of(3) => Fact::PasswordReset(v1::PasswordReset { user }),
        _ => Fact::MfaEnabled(v1::MfaEnabled { user }),
    };
    event(number, fact)
}

/// Publishes a range from several senders, half by each replica, again and again until accepted.
fn publish_all(replicas: [&Replica; 2], numbers: std::ops::Range<usize>) {
    const SENDERS: usize = 4;
    const CALL: usize = 50;
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (start, end) = (numbers.start + sender * CALL, numbers.end);
            let [one, other] = replicas;
            let replica = if sender % 2 == 0 { one } else { other };
            scope.spawn(move || {
                for first in (start..end).step_by(SENDERS * CALL) {
                    let call: Vec<_> = (first..end.min(first + CALL)).map(nth).collect();
                    while replica.publish(call.clone()).is_err() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            });
        }
    });
}

#[test]
fn two_replicas_agree_through_poison_copies_a_killed_broker_and_new_partitions() {
    let broker = broker();
    let settings = broker.settings("agree");
    broker.create(&settings, 3, 1);
    let writer = broker.writer();
    let one = Replica::ready(&settings);
    let other = Replica::ready(&settings);

    publish_all([&one, &other], 0..8000);
    // Between good ones: what nobody understands, a tombstone, and a copy of a record.
    put(&writer, &settings.events_topic, 1, b"k", Some(b"poison"));
    put(&writer, &settings.events_topic, 1, b"k", None);
    let copy = one.stamped(&nth(0));
    put(&writer, &settings.events_topic, 0, b"copy", Some(&copy));
    put(&writer, &settings.events_topic, 2, b"copy", Some(&copy));
    writer.flush(TIME).expect("written");
    for replica in [&one, &other] {
        replica.wait("with a letter", |replica| replica.status.letters_written() == 1);
    }

    std::thread::scope(|scope| {
        scope.spawn(|| publish_all([&one, &other], 8000..16_000));
        scope.spawn(|| {
            broker.kill();
            broker.start();
        });
    });
    broker.grow(&settings.events_topic, 5);
    for number in [3, 4] {
        write_identity(&writer, &settings.events_topic, number, 1);
    }
    // One that reads everything at once, in another order, and knows the new partitions.
    let late = Replica::ready(&settings);
    publish_all([&one, &late], 16_000..24_000);
    let replicas = [&one, &other, &late];
    for replica in replicas {
        replica.current();
    }
    let now = one.now();
    let [first, second, third] = replicas.map(|replica| replica.decide((0..USERS).map(user), now));
    assert_eq!(first, second);
    assert_eq!(first, third);
    assert!(!one.allows(&user(0)) && one.allows("somebody-else"));
    for replica in replicas {
        assert_eq!(replica.ingest.quarantined.value(), 1);
        replica.wait("with a letter", |replica| replica.status.letters_written() == 1);
        let partitions = replica.status.partitions();
        assert_eq!(partitions.len(), 5 + 3);
        let is_used =
            |status: &PartitionStatus| status.incarnation.is_some() && status.next.0 > 100;
        assert!(partitions.iter().all(is_used), "{partitions:?}");
    }

    let consumer: BaseConsumer = broker.client().set("group.id", "test").create().expect("made");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&settings.dead_letter_topic, 0, Offset::Offset(0)).expect("added");
    consumer.assign(&list).expect("assigned");
    let letter = consumer.poll(TIME).expect("a letter").expect("a record");
    let headers = letter.headers().expect("headers");
    let header = |name| {
        let found = headers.iter().find(|header| header.key == name).expect("a header");
        String::from_utf8_lossy(found.value.expect("a value")).into_owned()
    };
    assert_eq!(letter.payload(), Some(&b"poison"[..]));
    assert_eq!(header("caed.topic"), settings.events_topic);
    assert_eq!(header("caed.partition"), "1");
    assert!(header("caed.reason").starts_with("not a protobuf"), "{}", header("caed.reason"));
    assert!(header("caed.offset").parse::<u64>().is_ok());
}

#[test]
fn age_grows_while_the_broker_is_silent_and_while_a_transaction_is_open() {
    let broker = broker();
    let settings = broker.settings("age");
    broker.create(&settings, 3, 1);
    let replica = Replica::ready(&settings);

    // A quiet log is current as of a moment ago, for as long as it is quiet.
    replica.current();
    let begun = Instant::now();
    let is_current_later = |replica: &Replica| {
        begun.elapsed() > Duration::from_secs(4) && replica.age() < Duration::from_secs(2)
    };
    replica.wait("current for as long as it is quiet", is_current_later);

    let transaction = broker
        .client()
        .set("transactional.id", "age")
        .create::<rdkafka::producer::BaseProducer>()
        .expect("a producer");
    transaction.init_transactions(TIME).expect("initialised");
    for commits in [true, false] {
        transaction.begin_transaction().expect("begun");
        put(&transaction, &settings.events_topic, 0, b"k", Some(b"?"));
        transaction.flush(TIME).expect("written");
        // What is behind it is not lost, and not shown as known.
        replica.wait("ageing", |replica| replica.age() > Duration::from_secs(3));
        if commits {
            transaction.commit_transaction(TIME).expect("committed");
        } else {
            transaction.abort_transaction(TIME).expect("given up");
        }
        replica.current();
    }
    assert_eq!(replica.ingest.quarantined.value(), 1, "what was given up never happened");

    broker.freeze();
    replica.wait("ageing", |replica| replica.age() > Duration::from_secs(5));
    assert!(replica.status.fault().is_some());
    broker.thaw();
    replica.current();
    replica.enforce(vec![revoked("after")]);
    assert!(!replica.allows("after"));
    replica.wait("mended", |replica| replica.status.fault().is_none());
}

#[test]
fn a_topic_that_is_made_anew_is_noticed_and_nothing_is_forgotten() {
    let broker = broker();
    let settings = broker.settings("anew");
    broker.create(&settings, 2, 1);
    let replica = Replica::ready(&settings);
    replica.enforce(vec![revoked("before")]);

    for (incarnation, written) in [(2, 0), (3, 300)] {
        broker.delete(&settings.events_topic);
        broker.create_one(&settings.events_topic, 2, Some(incarnation));
        // So many that offsets alone would not tell the one log from the other.
        let writer = broker.writer();
        for number in 0..written {
            let user = format!("written-{number}");
            let payload = replica.stamped(&revoked(&user));
            put(&writer, &settings.events_topic, number % 2, user.as_bytes(), Some(&payload));
        }
        writer.flush(TIME).expect("written");
        replica.wait("told", |replica| {
            let told = |status: &PartitionStatus| {
                status.partition.topic.0 != 0
                    || status.incarnation.is_some_and(|known| known.0 == [incarnation; 16])
            };
            replica.status.partitions().iter().all(told)
        });
        replica.current();
        let user = format!("after-{incarnation}");
        replica.enforce(vec![revoked(&user)]);
        assert!(!replica.allows("before") && !replica.allows(&user));
        assert!(written == 0 || (!replica.allows("written-0") && !replica.allows("written-299")));
    }
}

#[test]
fn every_codec_is_read() {
    let broker = broker();
    let settings = broker.settings("codec");
    broker.create(&settings, 1, 1);
    let replica = Replica::ready(&settings);
    for codec in ["zstd", "gzip", "lz4", "snappy"] {
        let mut client = broker.client();
        client.set("compression.type", codec);
        let writer: rdkafka::producer::BaseProducer = client.create().expect("a producer");
        let payload = replica.stamped(&revoked(codec));
        put(&writer, &settings.events_topic, 0, codec.as_bytes(), Some(&payload));
        writer.flush(TIME).expect("written");
    }
    replica.current();
    assert!(["zstd", "gzip", "lz4", "snappy"].iter().all(|codec| !replica.allows(codec)));
}

#[test]
fn what_the_operator_must_mend_has_a_name_and_an_end() {
    let broker = broker();
    let settings = broker.settings("mend");
    let text = Replica::start(&settings).lost();
    assert!(text.contains("topic `mend.events` does not exist"), "{text}");

    broker.create(&settings, 1, 1);
    let text = Replica::start(&broker.secure_settings("mend", "wrong")).lost();
    assert!(text.starts_with("authentication failed: "), "{text}");

    let mut other = broker.secure_settings("mend", "caed-secret");
    other.properties.remove("ssl.ca.location");
    let text = Replica::start(&other).lost();
    assert!(text.starts_with("the secure connection failed: "), "{text}");

    let secure = Replica::ready(&broker.secure_settings("mend", "caed-secret"));
    secure.enforce(vec![revoked("known")]);
    assert!(!secure.allows("known"));
    drop(secure);

    // A broker that is away is waited for.
    broker.kill();
    let waiting = Replica::start(&settings);
    waiting.wait("told", |replica| matches!(replica.status.fault(), Some(Fault::Unreachable(_))));
    std::thread::sleep(PATIENCE + Duration::from_millis(500));
    broker.start();
    waiting.wait("ready", |replica| replica.age() < Duration::from_secs(1));
    assert!(!waiting.allows("known"));
}
