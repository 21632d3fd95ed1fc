//! Who is the janitor: the member of a group to which Kafka gives the first partition of the events.
//!
//! The group serves this one choice. Its members read nothing by it and commit nothing; each reads
//! all partitions with another client, as every replica does.
//!
//! Two may think that they are chosen for as long as the brokers take to notice that one of them is
//! silent. Two janitors at once do no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::fault::{Fault, Mend};
use super::settings::KafkaSettings;

/// A place in the group, given up when it is dropped.
pub(super) struct Membership {
    consumer: BaseConsumer<Choice>,
}

/// The callbacks of the group.
struct Choice {
    topic: String,
    is_chosen: Arc<AtomicBool>,
}

/// The partition whose owner is the janitor.
const TOKEN: i32 = 0;

impl Membership {
    /// Asks to join. Who is chosen turns out some seconds later.
    pub(super) fn join(settings: &KafkaSettings) -> KafkaResult<Self> {
        let topic = settings.events_topic.clone();
        let choice = Choice { topic, is_chosen: Arc::new(AtomicBool::new(false)) };
        let consumer: BaseConsumer<Choice> = settings.janitor().create_with_context(choice)?;
        consumer.subscribe(&[settings.events_topic.as_str()])?;
        Ok(Self { consumer })
    }

    /// Whether this member is chosen, as far as the brokers have said; or what keeps it out of the
    /// group. To be called every few minutes at the least, else the group goes on without it.
    pub(super) fn is_chosen(&self) -> Result<bool, Fault> {
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            let Err(KafkaError::MessageConsumption(code)) = polled else { continue };
            let fault = Fault::of(code, &code.to_string());
            // Anything else passes by itself, and until then nobody is chosen by mistake for long.
            if fault.mend() != Mend::Wait {
                return Err(fault);
            }
        }
        Ok(self.consumer.context().is_chosen.load(Ordering::Acquire))
    }
}

impl Choice {
    /// Owns the partitions as Kafka wants it, and fetches nothing of them.
    fn own(consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        // An offset of its own spares the question for one that the group has committed.
        partitions.set_all_offsets(Offset::End)?;
        consumer.assign(partitions)?;
        consumer.pause(partitions)
    }
}

impl ClientContext for Choice {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    /// Errors that matter also come by polling.
    fn error(&self, error: KafkaError, words: &str) {
        tracing::debug!(%error, words, "librdkafka");
    }
}

impl ConsumerContext for Choice {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let gets = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let is_chosen = gets && partitions.find_partition(&self.topic, TOKEN).is_some();
        self.is_chosen.store(is_chosen, Ordering::Release);
        let done = if gets { Self::own(consumer, partitions) } else { consumer.unassign() };
        if let Err(error) = done {
            tracing::debug!(%error, "the janitor's place in the group could not be taken as given");
        }
    }
}
