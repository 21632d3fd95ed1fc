//! What fills the topics.

use std::ops::Range;
use std::process::{Child, Command};
use std::time::Duration;

use caed_core::time::UnixMillis;
use caed_streams::kafka::settings::KafkaSettings;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::stream::{Record, Stream};

const TIME: Duration = Duration::from_mins(2);

/// The argument by which this program becomes a producer.
pub(crate) const PRODUCE: &str = "--produce";

/// A producer with the settings of caed's own, which waits a little so that many records go together.
pub(crate) fn of_many(settings: &KafkaSettings) -> BaseProducer {
    let mut settings = settings.clone();
    settings.properties.insert("linger.ms".to_owned(), "5".to_owned());
    settings.producer().create().expect("a producer")
}

/// Writes a range of a stream, and waits until the broker has it.
pub(crate) fn write(settings: &KafkaSettings, stream: Stream, numbers: Range<u64>) {
    let producer = of_many(settings);
    for number in numbers {
        put(&producer, settings, &stream.record(number));
    }
    producer.flush(TIME).expect("written");
}

/// Queues a record; where the queue is full, when there is room.
pub(crate) fn put(producer: &BaseProducer, settings: &KafkaSettings, record: &Record) {
    let topics = settings.topics();
    let Record { topic, key, payload } = record;
    let mut wire = BaseRecord::to(topics.name(*topic)).key(&key.0).payload(payload);
    while let Err((error, refused)) = producer.send(wire) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
        wire = refused;
        producer.poll(Duration::from_millis(10));
    }
}

/// A process that writes a range, so that what it costs is not counted here.
pub(crate) fn spawn(settings: &KafkaSettings, stream: Stream, numbers: &Range<u64>) -> Child {
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new(program);
    let KafkaSettings { brokers, events_topic, policies_topic, .. } = settings;
    command.args([PRODUCE, brokers, events_topic, policies_topic]);
    let numbers = [stream.begun.as_millis(), numbers.start, numbers.end];
    command.args(numbers.map(|number| number.to_string()));
    command.spawn().expect("a process")
}

/// That process: writes what its arguments say.
pub(crate) fn run(arguments: &[String]) {
    let [brokers, events_topic, policies_topic, numbers @ ..] = arguments else {
        panic!("{PRODUCE} is for this program alone")
    };
    let mut settings = KafkaSettings::new(brokers);
    settings.events_topic.clone_from(events_topic);
    settings.policies_topic.clone_from(policies_topic);
    let numbers: Vec<u64> =
        numbers.iter().map(|number| number.parse().expect("a number")).collect();
    let [begun_ms, start, end] = numbers[..] else { panic!("three numbers") };
    write(&settings, Stream { begun: UnixMillis::from_millis(begun_ms) }, start..end);
}
