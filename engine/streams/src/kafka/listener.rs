//! What librdkafka's callbacks say, as a closed enum in a bounded queue.
//!
//! Callbacks come on whatever thread polls the client, in the middle of something else. They only
//! note what they heard; the thread that owns the client listens when it is ready to act.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;

use super::fault::Fault;
use super::limits;

/// Something that a client said of itself.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something is wrong with the client as a whole.
    Fault(Fault),
    /// The fetcher has met the end of these partitions, by topic and number, at these offsets. It
    /// counts what carries no record: the markers of transactions, and what they gave up.
    Ends(Vec<(String, i32, i64)>),
}

/// The callbacks of a client.
pub(super) struct Listener {
    heard: SyncSender<Heard>,
    /// A callback came since this was looked at last.
    called: AtomicBool,
}

/// Serves everything that a client has to say by now.
pub(super) fn serve(consumer: &BaseConsumer<Listener>) {
    // A poll that served a line of log or a statistic looks like one that found nothing, and an
    // error may stand behind hundreds of lines.
    let called = &consumer.context().called;
    while consumer.poll(Duration::ZERO).is_some() || called.swap(false, Ordering::Relaxed) {}
}

impl Listener {
    pub(super) fn new() -> (Self, Receiver<Heard>) {
        let (heard, listen) = sync_channel(limits::HEARD_MAX);
        (Self { heard, called: AtomicBool::new(false) }, listen)
    }

    fn say(&self, heard: Heard) {
        // A full queue drops it: everything here is said again.
        let _ = self.heard.try_send(heard);
    }
}

impl ClientContext for Listener {
    /// librdkafka's own words are for those who look closely; what matters comes as a fault.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.called.store(true, Ordering::Relaxed);
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn stats(&self, statistics: Statistics) {
        self.called.store(true, Ordering::Relaxed);
        let mut ends = Vec::new();
        for (name, topic) in statistics.topics {
            for (number, partition) in topic.partitions {
                if number >= 0 && partition.eof_offset >= 0 {
                    ends.push((name.clone(), number, partition.eof_offset));
                }
            }
        }
        self.say(Heard::Ends(ends));
    }

    fn error(&self, error: KafkaError, words: &str) {
        // The end of a partition comes this way, too, and is no fault.
        if let KafkaError::PartitionEOF(_) = error {
            return;
        }
        if let Some(code) = error.rdkafka_error_code()
            && !is_of_records(code)
        {
            self.say(Heard::Fault(Fault::of(code, words)));
        }
    }
}

impl ConsumerContext for Listener {}

/// Whether a code is about what a partition holds. Its own queue brings the same with its name.
const fn is_of_records(code: Code) -> bool {
    matches!(
        code,
        Code::PartitionEOF
            | Code::BadMessage
            | Code::BadCompression
            | Code::InvalidMessage
            | Code::NotImplemented
            | Code::UnsupportedCompressionType
            | Code::AutoOffsetReset
            | Code::OffsetOutOfRange
    )
}
