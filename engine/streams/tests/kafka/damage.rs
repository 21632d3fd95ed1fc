//! Batches on a broker's disk that can't be read.

#![expect(clippy::indexing_slicing, reason = "a test stops where something is wrong")]

use std::path::Path;
use std::time::Duration;

use caed_streams::kafka::fault::Fault;
use rdkafka::producer::{BaseProducer, Producer};

use crate::TIME;
use crate::broker::{Broker, broker, put};
use crate::replica::{Replica, revoked};

// SOURCE: Kafka's record batch, version 2: base offset (8), length (4), leader epoch (4), magic (1),
// CRC-32C (4) of all that follows, attributes (2), …
const LENGTH_AT: usize = 8;
const BODY_AT: usize = 12;
const CHECKSUM_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
/// The low byte of the attributes, whose low three bits are the codec. Five to seven are none.
const CODEC_AT: usize = ATTRIBUTES_AT + 1;
const UNKNOWN_CODEC: u8 = 7;

/// Changes the batch that begins at an offset, in a file of batches.
fn change(file: &Path, offset: u64, change: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(file).expect("a segment");
    let mut rest = &mut bytes[..];
    loop {
        let length = rest[LENGTH_AT..BODY_AT].try_into().expect("four bytes");
        let length = usize::try_from(u32::from_be_bytes(length)).expect("small");
        let (batch, behind) = rest.split_at_mut(BODY_AT + length);
        if batch[..LENGTH_AT] == offset.to_be_bytes() {
            change(batch);
            break;
        }
        rest = behind;
    }
    std::fs::write(file, bytes).expect("written");
}

fn set_unknown_codec(batch: &mut [u8]) {
    batch[CODEC_AT] |= UNKNOWN_CODEC;
    let checksum = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CHECKSUM_AT..ATTRIBUTES_AT].copy_from_slice(&checksum.to_be_bytes());
}

fn flip_a_bit(batch: &mut [u8]) {
    *batch.last_mut().expect("a batch") ^= 1;
}

/// A producer with a transaction.
fn transaction(broker: &Broker) -> BaseProducer {
    let producer: BaseProducer =
        broker.client().set("transactional.id", "damage").create().expect("a producer");
    producer.init_transactions(TIME).expect("initialised");
    producer
}

#[test]
fn what_can_not_be_read_on_disk_is_named() {
    let broker = broker();
    let [unknown, damaged] = ["unknown", "damaged"].map(|name| broker.settings(name));
    broker.create(&unknown, 2, 1);
    broker.create(&damaged, 2, 1);
    let replica = Replica::ready(&damaged);
    let writer = broker.writer();
    let revoke = |topic: &str, number: i32, user: &str| {
        let record = replica.stamped(&revoked(user));
        put(&writer, topic, number, user.as_bytes(), Some(&record));
        // Each a batch of its own.
        writer.flush(TIME).expect("written");
    };
    for (number, user) in [(0, "fine"), (1, "before"), (1, "unreadable"), (1, "behind")] {
        revoke(&unknown.events_topic, number, user);
    }
    // What stands behind an open transaction is not handed over before it ends: the replica meets
    // the damage in the midst of its work.
    revoke(&damaged.events_topic, 0, "before");
    replica.current();
    let open = transaction(&broker);
    open.begin_transaction().expect("begun");
    put(&open, &damaged.events_topic, 0, b"k", Some(b"?"));
    open.flush(TIME).expect("written");
    revoke(&damaged.events_topic, 0, "unreadable");
    revoke(&damaged.events_topic, 0, "behind");

    broker.stop();
    // The identity record stands first.
    change(&broker.segment(&unknown.events_topic, 1), 2, set_unknown_codec);
    change(&broker.segment(&damaged.events_topic, 0), 3, flip_a_bit);
    broker.start();

    // Another build may read the codec, and this one never will.
    let text = Replica::start(&unknown).lost();
    assert!(text.starts_with("partition unknown.events/1 holds records in a codec"), "{text}");

    assert!(!matches!(replica.status.fault(), Some(Fault::Damaged(_))), "not reached yet");
    // Whoever takes its name ends the transaction that was left open.
    drop(transaction(&broker));
    let named = Some(Fault::Damaged("damaged.events/0".to_owned()));
    replica.wait("told", |replica| replica.status.fault() == named);
    // It stays, and age with it: what is behind the damage may revoke, and is not known.
    revoke(&damaged.events_topic, 1, "elsewhere");
    replica.wait("enforced", |replica| !replica.allows("elsewhere"));
    let age = replica.age();
    replica.wait("ageing", |replica| {
        // A broker that has just started may be in trouble of its own for a moment; there is never none.
        let fault = replica.status.fault();
        assert!(fault.is_some());
        fault == named && replica.age() > age + Duration::from_secs(4)
    });
    assert!(!replica.allows("before") && replica.allows("behind"));

    broker.stop();
    change(&broker.segment(&damaged.events_topic, 0), 3, flip_a_bit);
    broker.start();
    // A copy that is whole mends it.
    replica.current();
    replica.wait("mended", |replica| replica.status.fault().is_none());
    assert!(!replica.allows("unreadable") && !replica.allows("behind"));
    drop(open);
}
