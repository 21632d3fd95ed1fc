//! The topic of records that could not be understood (E16).
//!
//! A letter holds the original bytes; its headers say why, and where the record stands. Its key is
//! its place, so that copies (every replica writes one, at every start) are one letter in a topic
//! that is compacted. Writing it is a service to people: it never waits, and what becomes of it
//! stops nothing. The count, the status and the record itself remain in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::limits;
use super::settings::KafkaSettings;
use super::status::{KafkaStatus, Shared};
use crate::source::{DeadLetter, DeadLetters};

/// Writes to the dead-letter topic.
pub struct KafkaDeadLetters {
    settings: KafkaSettings,
    shared: Arc<Shared>,
    /// Made for the first letter: most processes never have one.
    producer: Option<ThreadedProducer<Context>>,
}

impl KafkaDeadLetters {
    pub(super) fn new(settings: KafkaSettings, status: &KafkaStatus) -> Self {
        Self { settings, shared: status.shared(), producer: None }
    }

    fn producer(&mut self) -> KafkaResult<&ThreadedProducer<Context>> {
        if let Some(ref producer) = self.producer {
            return Ok(producer);
        }
        let context = Context { shared: Arc::clone(&self.shared), warned: AtomicBool::new(false) };
        let producer = self.settings.producer().create_with_context(context)?;
        Ok(self.producer.insert(producer))
    }

    fn send(&mut self, letter: DeadLetter<'_>) -> KafkaResult<()> {
        let DeadLetter { reason, topic, position, payload } = letter;
        let (partition, offset) =
            (position.partition.number.to_string(), position.offset.0.to_string());
        let key = format!("{topic}/{partition}@{offset}");
        let header = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new_with_capacity(4)
            .insert(header("caed.reason", reason))
            .insert(header("caed.topic", topic))
            .insert(header("caed.partition", partition.as_str()))
            .insert(header("caed.offset", offset.as_str()));
        let to = self.settings.dead_letter_topic.clone();
        let record = BaseRecord::to(&to).key(&key).payload(payload).headers(headers);
        self.producer()?.send(record).map_err(|(error, _)| error)
    }
}

impl DeadLetters for KafkaDeadLetters {
    fn put(&mut self, letter: DeadLetter<'_>) {
        if let Err(error) = self.send(letter) {
            self.shared.letters.failed.add(1);
            tracing::warn!(%error, "a record that was not understood could not be sent on");
        }
    }
}

impl Drop for KafkaDeadLetters {
    fn drop(&mut self) {
        if let Some(producer) = &self.producer {
            // What is not written by then is counted as failed nowhere: the process ends.
            let _ = producer.flush(limits::LETTERS_FLUSH_TIME);
        }
    }
}

struct Context {
    shared: Arc<Shared>,
    /// One line of log until letters arrive again.
    warned: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    /// Errors come with the deliveries that they stop.
    fn error(&self, error: KafkaError, words: &str) {
        tracing::debug!(%error, words, "librdkafka");
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        match delivered {
            Ok(_) => {
                self.shared.letters.written.add(1);
                self.warned.store(false, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.shared.letters.failed.add(1);
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "records that were not understood could not be sent on");
                }
            }
        }
    }
}
