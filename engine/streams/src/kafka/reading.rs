//! One client that reads a fixed set of partitions, each from an offset on.
//!
//! Whatever changes (a partition more, a partition to be read again) ends a reading, and a new one
//! is opened from the places reached: a client costs some tens of milliseconds, and no record, error
//! or statistic of an earlier reading can then be mistaken for one of this. An error in a partition
//! ends it a little later; until then that partition is left out, and the others go on.
//!
//! Each partition has a queue of its own, because an error or an end that comes by the common one
//! does not say which topic it belongs to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use caed_core::position::{Offset, Partition};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::{BaseConsumer, PartitionQueue};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message, Timestamp};
use rdkafka::topic_partition_list::{Offset as At, TopicPartitionList};

use super::limits;
use super::listener::{self, Heard, Listener};
use super::names::Names;
use crate::limits::BATCH_BYTES_MAX;

/// A client at work.
pub(super) struct Reading {
    /// Before the client in this list, and so gone before it: librdkafka wants a queue let go of
    /// while its client still is.
    queues: BTreeMap<Partition, PartitionQueue<Listener>>,
    consumer: Arc<BaseConsumer<Listener>>,
    heard: Receiver<Heard>,
    /// Up to where the fetcher says that it has handed over everything, where no record says so.
    ends: BTreeMap<Partition, Offset>,
}

/// What one look at a partition brought.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The records, in order.
    pub(super) records: Vec<Raw>,
    /// Their keys and payloads, one after the other: so many small pieces of memory would cost as much again.
    pub(super) bytes: Vec<u8>,
    /// There is nothing to read below this offset, although no record stands right before it.
    pub(super) up_to: Option<Offset>,
    /// More may be waiting.
    pub(super) more: bool,
    /// After the records: an error, after which the partition must be left out of this reading.
    pub(super) error: Option<RDKafkaErrorCode>,
}

/// A record as it came.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) offset: Offset,
    /// Where its key lies among the bytes.
    pub(super) key: Option<Range<usize>>,
    /// And its payload; `None` is a tombstone.
    pub(super) payload: Option<Range<usize>>,
    /// When the log appended it, in milliseconds; `None` where the topic keeps the sender's time.
    pub(super) appended_ms: Option<i64>,
}

impl Reading {
    /// Opens a client that reads each partition from its offset on, and signals `wake` whenever
    /// something came.
    pub(super) fn open(
        config: &ClientConfig,
        names: &Names,
        from: impl Iterator<Item = (Partition, Offset)>,
        wake: &SyncSender<()>,
    ) -> Result<Self, KafkaError> {
        let (listener, heard) = Listener::new();
        let mut consumer: BaseConsumer<Listener> = config.create_with_context(listener)?;
        consumer.set_nonempty_callback(waker(wake));
        let consumer = Arc::new(consumer);
        let mut list = TopicPartitionList::new();
        let mut queues = BTreeMap::new();
        for (partition, offset) in from {
            let (topic, number) = names.wire(partition);
            list.add_partition_offset(topic, number, At::Offset(signed(offset)))?;
            // Before the assignment, so that nothing comes by the common queue.
            if let Some(mut queue) = consumer.split_partition_queue(topic, number) {
                queue.set_nonempty_callback(waker(wake));
                queues.insert(partition, queue);
            }
        }
        consumer.assign(&list)?;
        Ok(Self { queues, consumer, heard, ends: BTreeMap::new() })
    }

    /// Serves the client's callbacks, and returns what they said.
    pub(super) fn listen(&mut self, names: &Names) -> Vec<super::fault::Fault> {
        // Errors of the client as a whole also come by the callback, with their words.
        listener::serve(&self.consumer);
        let mut faults = Vec::new();
        while let Ok(heard) = self.heard.try_recv() {
            match heard {
                Heard::Fault(fault) => faults.push(fault),
                Heard::Ends(ends) => {
                    for (topic, number, end) in ends {
                        if let Some(partition) = names.partition(&topic, number)
                            && let Ok(end) = u64::try_from(end)
                        {
                            self.ends.insert(partition, Offset(end));
                        }
                    }
                }
            }
        }
        faults
    }

    /// The partitions that are read.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.queues.keys().copied().collect()
    }

    /// Takes nothing more of a partition.
    pub(super) fn leave_out(&mut self, partition: Partition, names: &Names) {
        self.queues.remove(&partition);
        let (topic, number) = names.wire(partition);
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, number);
        // Spares fetching what nobody takes. Where it fails, librdkafka's queue is bounded.
        if let Err(error) = self.consumer.pause(&list) {
            tracing::debug!(%error, topic, number, "a partition could not be paused");
        }
    }

    /// Takes what waits of one partition, up to a batch.
    pub(super) fn take(&self, partition: Partition) -> Taken {
        let mut taken = Taken::default();
        let Some(queue) = self.queues.get(&partition) else { return taken };
        while taken.bytes.len() < BATCH_BYTES_MAX && taken.records.len() < limits::BATCH_RECORDS_MAX
        {
            match queue.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    let raw = raw(&message, &mut taken.bytes);
                    taken.records.push(raw);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    taken.error =
                        Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
                    return taken;
                }
                None => {
                    // The fetcher queues all records below an end before it tells of the end, and
                    // the end was heard before the queue was found empty.
                    taken.up_to = self.ends.get(&partition).copied();
                    return taken;
                }
            }
        }
        taken.more = true;
        taken
    }
}

/// A record, whose key and payload go to the end of `bytes`.
fn raw(message: &BorrowedMessage<'_>, bytes: &mut Vec<u8>) -> Raw {
    let mut keep = |part: &[u8]| {
        let start = bytes.len();
        bytes.extend_from_slice(part);
        start..bytes.len()
    };
    Raw {
        offset: Offset(u64::try_from(message.offset()).unwrap_or_default()),
        key: message.key().map(&mut keep),
        payload: message.payload().map(&mut keep),
        appended_ms: match message.timestamp() {
            Timestamp::LogAppendTime(millis) => Some(millis),
            Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
        },
    }
}

/// What librdkafka calls when a queue is no longer empty.
fn waker(wake: &SyncSender<()>) -> impl Fn() + Send + Sync + 'static {
    let wake = wake.clone();
    move || {
        // A full channel holds a signal already.
        let _ = wake.try_send(());
    }
}

fn signed(Offset(offset): Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    use super::*;
    use crate::kafka::settings::{EVENTS, KafkaSettings};

    const RECORDS: usize = 3000;
    const PARTITIONS: i32 = 3;
    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn a_reading_may_end_while_records_wait_in_it() {
        let cluster = MockCluster::new(1).expect("a cluster");
        let settings = KafkaSettings::new(cluster.bootstrap_servers());
        cluster.create_topic(&settings.events_topic, PARTITIONS, 1).expect("a topic");
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        let writer: BaseProducer = client.create().expect("a producer");
        for number in 0..RECORDS {
            let key = number.to_string();
            let record = BaseRecord::to(&settings.events_topic).key(&key).payload(&[0; 200]);
            writer.send(record).map_err(|(error, _)| error).expect("queued");
        }
        writer.flush(TIME).expect("written");

        let names = Names::new(&settings);
        let partitions = |number| Partition { topic: EVENTS, number };
        for _ in 0..20 {
            let (wake, woken) = std::sync::mpsc::sync_channel(1);
            let from = [0, 1, 2].map(|number| (partitions(number), Offset(0)));
            let config = settings.consumer();
            let mut reading =
                Reading::open(&config, &names, from.into_iter(), &wake).expect("opened");
            let mut taken = 0;
            while taken == 0 {
                woken.recv_timeout(TIME).expect("something comes");
                assert!(reading.listen(&names).is_empty());
                let records = reading.queues.get(&partitions(1)).map(|queue| queue.poll(TIME));
                taken += usize::from(matches!(records, Some(Some(Ok(_)))));
            }
        }
    }
}
