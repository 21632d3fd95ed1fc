//! What caed is compared with: a client that reads every record, and does nothing with it.

use std::time::Duration;

use caed_streams::kafka::settings::KafkaSettings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const TIME: Duration = Duration::from_secs(20);

/// A bare consumer of all partitions, with the settings of caed's.
pub(crate) struct Bare {
    consumer: BaseConsumer,
    /// Records below the ends that the topics had when this began.
    waiting: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    End,
}

impl Bare {
    pub(crate) fn open(settings: &KafkaSettings, from: From) -> Self {
        let mut config = settings.consumer();
        // Nobody looks at them here.
        config.set("statistics.interval.ms", "0");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        let mut waiting = 0;
        for topic in [&settings.events_topic, &settings.policies_topic] {
            let metadata = consumer.fetch_metadata(Some(topic), TIME).expect("metadata");
            for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
                let number = partition.id();
                let (low, high) = consumer.fetch_watermarks(topic, number, TIME).expect("ends");
                let start = if from == From::End { high } else { low };
                waiting += u64::try_from(high - start).expect("an end above the beginning");
                list.add_partition_offset(topic, number, Offset::Offset(start)).expect("added");
            }
        }
        consumer.assign(&list).expect("assigned");
        Self { consumer, waiting }
    }

    /// How many records there were when this began.
    pub(crate) const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Reads so many records.
    pub(crate) fn read(&self, records: u64) -> Read {
        let mut read = Read::default();
        while read.records < records {
            if let Some(message) = self.next() {
                read.records += 1;
                read.bytes += message.payload_len() as u64;
            }
        }
        read
    }

    /// The next record, if one comes within a while.
    pub(crate) fn next(&self) -> Option<BorrowedMessage<'_>> {
        match self.consumer.poll(TIME) {
            Some(Ok(message)) => Some(message),
            Some(Err(KafkaError::PartitionEOF(_))) => None,
            Some(Err(error)) => panic!("{error}"),
            None => panic!("nothing came for {TIME:?}"),
        }
    }
}
