//! What happened while the brokers or this process were away.

use std::time::{Duration, Instant};

use rdkafka::producer::Producer;

use crate::TIME;
use crate::broker::{broker, put, write_identity};
use crate::replica::{Replica, revoked};

#[test]
fn a_topic_that_was_made_anew_while_nobody_read_is_read_whole() {
    const WRITTEN: i32 = 300;
    let broker = broker();
    let settings = broker.settings("meanwhile");
    broker.create(&settings, 2, 1);
    let replica = Replica::ready(&settings);
    replica.enforce((0..20).map(|number| revoked(&format!("before-{number}"))).collect());
    let incarnations = |replica: &Replica| {
        let partitions = replica.status.partitions().into_iter();
        let events = partitions.filter(|status| status.partition.topic.0 == 0);
        events.map(|status| status.incarnation.expect("known").0).collect::<Vec<_>>()
    };
    assert_eq!(incarnations(&replica), [[1; 16]; 2]);
    let revoke = |number: i32| replica.stamped(&revoked(&format!("written-{number}")));
    let records: Vec<Vec<u8>> = (0..WRITTEN).map(revoke).collect();
    drop(replica);

    broker.delete(&settings.events_topic);
    broker.create_one(&settings.events_topic, 2, Some(2));
    let writer = broker.writer();
    for (number, record) in (0..).zip(&records) {
        put(&writer, &settings.events_topic, number % 2, &number.to_be_bytes(), Some(record));
    }
    writer.flush(TIME).expect("written");
    let replica = Replica::ready(&settings);
    assert_eq!(incarnations(&replica), [[2; 16]; 2]);
    for number in 0..WRITTEN {
        assert!(!replica.allows(&format!("written-{number}")), "{number}");
    }
    assert!(replica.allows("before-0"), "it is in no log any more");
    replica.enforce(vec![revoked("after")]);
    assert!(!replica.allows("after"));
    replica.current();
}

#[test]
fn after_an_outage_and_a_growth_reading_goes_on_within_moments() {
    let broker = broker();
    let settings = broker.settings("return");
    broker.create(&settings, 1, 1);
    let replica = Replica::ready(&settings);
    let writer = broker.writer();
    let revoke = |number: i32, user: &str| {
        let record = replica.stamped(&revoked(user));
        put(&writer, &settings.events_topic, number, user.as_bytes(), Some(&record));
    };
    // As long as it takes until the record is appended: what is measured begins then.
    let appended = || {
        writer.flush(Duration::from_mins(2)).expect("appended");
        Instant::now()
    };
    let enforced = |user: &str| {
        replica.wait(user, |replica| !replica.allows(user));
        Instant::now()
    };
    revoke(0, "before");
    enforced("before");

    broker.kill();
    replica.wait("told", |replica| replica.status.fault().is_some());
    revoke(0, "meanwhile");
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| broker.start());
        appended()
    });
    let took = enforced("meanwhile").saturating_duration_since(answers);
    println!("a killed broker answers again: its next event is enforced after {took:?}");
    replica.wait("mended", |replica| replica.status.fault().is_none());

    let begun = Instant::now();
    broker.grow(&settings.events_topic, 2);
    write_identity(&writer, &settings.events_topic, 1, 1);
    revoke(1, "new");
    let appended = appended();
    let took = enforced("new").saturating_duration_since(begun);
    let of_it = appended.saturating_duration_since(begun);
    println!(
        "a new partition: its first event is enforced after {took:?}; appended after {of_it:?}"
    );
    replica.current();
}
