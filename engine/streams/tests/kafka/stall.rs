//! What stands still shows as age, and holds up nothing else.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use caed_streams::kafka::fault::Fault;
use caed_streams::source::{DeadLetter, DeadLetters};
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::Producer;

use crate::TIME;
use crate::broker::{Broker, Second, broker, put};
use crate::replica::{Options, Replica, revoked};

/// Further than the age of a log that is read as it should be.
const STALE: Duration = Duration::from_secs(3);

#[test]
fn one_stuck_partition_of_three_ages_everything_and_holds_up_nothing() {
    let broker = broker();
    let settings = broker.settings("stuck");
    broker.create_one(&settings.policies_topic, 1, Some(1));
    let second = broker.second();
    let placed: [&[i32]; 3] = [&[1], &[1], &[Second::NUMBER]];
    let placed = TopicReplication::Variable(&placed);
    broker.create_as(NewTopic::new(&settings.events_topic, 3, placed), Some(1));
    let replica = Replica::ready(&settings);
    let writer = broker.writer();
    let revoke = |number: i32, user: &str| {
        let record = replica.stamped(&revoked(user));
        put(&writer, &settings.events_topic, number, user.as_bytes(), Some(&record));
    };
    let enforced = |user: &str| replica.wait(user, |replica| !replica.allows(user));
    for number in 0..3 {
        revoke(number, &format!("before-{number}"));
        enforced(&format!("before-{number}"));
    }
    replica.current();

    // Silent first; then, while it still is, without a leader.
    for state in ["silent", "leaderless"] {
        second.freeze();
        if state == "leaderless" {
            replica.wait(state, |_| !is_led(&broker, &settings.events_topic, 2));
        }
        let named = Fault::Leaderless(format!("{}/2", settings.events_topic));
        replica.wait("stale", |replica| {
            replica.age() > STALE && replica.status.fault().as_ref() == Some(&named)
        });
        let led = is_led(&broker, &settings.events_topic, 2);
        println!(
            "{state}: named at an age of {:?}; the controller names a leader: {led}",
            replica.age()
        );
        for number in 0..2 {
            revoke(number, &format!("{state}-{number}"));
            enforced(&format!("{state}-{number}"));
        }
        assert!(replica.age() > STALE, "{:?}", replica.age());
        second.thaw();
        replica.current();
        replica.wait("mended", |replica| replica.status.fault().is_none());
        revoke(2, &format!("{state}-2"));
        enforced(&format!("{state}-2"));
    }
    drop(replica);
    broker.delete(&settings.events_topic);
}

/// Whether the first broker names a leader of a partition.
fn is_led(broker: &Broker, topic: &str, number: i32) -> bool {
    // A client that is new asks the broker that it was given.
    let metadata = broker.writer().client().fetch_metadata(Some(topic), TIME).expect("an answer");
    let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let mut found = partitions.filter(|found| found.id() == number);
    found.all(|found| found.leader() >= 0)
}

/// Takes a letter only when told to.
struct Held(Receiver<()>);

impl DeadLetters for Held {
    fn put(&mut self, _: DeadLetter<'_>) {
        // A sender that is gone holds nothing any more.
        let _ = self.0.recv();
    }
}

#[test]
fn a_stalled_applier_shows_as_age() {
    let broker = broker();
    let settings = broker.settings("stalled");
    broker.create(&settings, 2, 1);
    let (release, held) = channel();
    let replica = Replica::start_with(&settings, Options::default(), |_| Box::new(Held(held)));
    replica.current();
    let writer = broker.writer();
    put(&writer, &settings.events_topic, 0, b"poison", Some(b"poison"));
    replica.wait("stalled", |replica| replica.ingest.quarantined.value() == 1);
    // All partitions have the one applier.
    let record = replica.stamped(&revoked("behind"));
    put(&writer, &settings.events_topic, 1, b"behind", Some(&record));
    writer.flush(TIME).expect("written");
    replica.wait("stale", |replica| replica.age() > STALE);
    assert!(replica.allows("behind") && replica.status.fault().is_none());

    release.send(()).expect("held");
    replica.current();
    assert!(!replica.allows("behind"));
}
