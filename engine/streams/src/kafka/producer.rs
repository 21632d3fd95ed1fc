//! The way in: stamps and checks events, and has the brokers append them.
//!
//! Every event is acknowledged by all in-sync replicas before it counts as accepted. Checking is all
//! or none; appending is not: records of one call may go to several partitions, and without
//! transactions one may be stored where another fails. The error then says which were. Publishing
//! all of them again is safe: an event that says what the state says already changes nothing.
//!
//! Deliberately absent: transactions. They would make readers wait for markers, and one producer
//! that hangs would hold back everybody's events.

use std::sync::Arc;
use std::time::Duration;

use caed_core::event::{Fact, RecordKey};
use caed_core::position::{Frontier, Offset, Partition, Position, Topic};
use caed_core::sink::{Accepted, AppendError, BoxFuture, EventSink};
use caed_core::time::Clock;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::sync::watch;

use super::fault::{Fault, words};
use super::names::Names;
use super::settings::{EVENTS, KafkaSettings, POLICIES};
use crate::intake::{self, Admitted};

/// Appends events to the topics.
#[derive(Clone)]
pub struct KafkaSink {
    producer: FutureProducer<Context>,
    names: Names,
    applied: watch::Receiver<Frontier>,
    clock: Arc<dyn Clock>,
    horizon: Duration,
}

/// What became of one event.
type Delivered = Result<Position, String>;

impl KafkaSink {
    /// A sink; `applied` follows the frontier of the published snapshot.
    pub(super) fn new(
        settings: &KafkaSettings,
        names: Names,
        applied: watch::Receiver<Frontier>,
        clock: Arc<dyn Clock>,
        horizon: Duration,
    ) -> Result<Self, KafkaError> {
        let producer = settings.producer().create_with_context(Context)?;
        Ok(Self { producer, names, applied, clock, horizon })
    }

    /// Has the client find the brokers and the topics' leaders, so that the first event does not
    /// wait for it. Blocks for at most so long; what fails here fails again, loudly, with an event.
    pub(super) fn warm_up(&self, time: Duration) {
        for (_, name) in self.names.iter() {
            if let Err(error) = self.producer.client().fetch_metadata(Some(name), time) {
                tracing::debug!(%error, topic = name, "the producer found no leader yet");
                return;
            }
        }
    }

    async fn append_all(&self, events: Vec<Vec<u8>>) -> Result<Vec<Accepted>, AppendError> {
        let admitted = intake::admit(&events, self.clock.now(), self.horizon)?;
        // All are on their way before the first is waited for: one round trip, not many.
        let mut sent = Vec::with_capacity(admitted.len());
        for event in &admitted {
            let result = self.send(event);
            let refused = result.is_err();
            sent.push(result);
            if refused {
                break;
            }
        }
        let mut delivered: Vec<Delivered> = Vec::with_capacity(admitted.len());
        let mut too_large = None;
        for (index, sent) in sent.into_iter().enumerate() {
            let outcome = match sent {
                Ok((topic, delivery)) => match delivery.await {
                    Ok(Ok(delivery)) => Ok((topic, delivery.partition, delivery.offset)),
                    Ok(Err((error, _))) => Err(error),
                    Err(_) => Err(KafkaError::Canceled),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = &outcome
                && is_too_large(error)
            {
                too_large.get_or_insert(index);
            }
            let position = outcome.map_err(|error| words(&error)).and_then(position);
            delivered.push(position);
        }
        if let Some(refusal) = refusal(&delivered, admitted.len(), too_large) {
            return Err(refusal);
        }
        let accepted = delivered.into_iter().zip(admitted).filter_map(|(delivered, admitted)| {
            let notices = admitted.notices;
            Some(Accepted { position: delivered.ok()?, notices })
        });
        Ok(accepted.collect())
    }

    fn send(
        &self,
        event: &Admitted,
    ) -> Result<(Topic, rdkafka::producer::future_producer::DeliveryFuture), KafkaError> {
        let RecordKey(key) = &event.key;
        let topic = topic_of(&event.decoded.event.fact);
        let record = FutureRecord::to(self.names.name(topic)).key(key).payload(&event.bytes);
        self.producer.send_result(record).map(|sent| (topic, sent)).map_err(|(error, _)| error)
    }
}

impl EventSink for KafkaSink {
    fn append(&self, events: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Accepted>, AppendError>> {
        Box::pin(self.append_all(events))
    }

    fn applied(&self, position: Position) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(intake::applied(self.applied.clone(), position))
    }
}

/// The topic that an event belongs to: what is settings and policy has its own, with its own
/// permissions (L2).
pub const fn topic_of(fact: &Fact) -> Topic {
    match fact {
        Fact::Source { .. } | Fact::Version(_) | Fact::Member { .. } => POLICIES,
        Fact::Account { .. }
        | Fact::UserRevoked { .. }
        | Fact::UserRisk { .. }
        | Fact::Revoked { .. }
        | Fact::TenantRevoked
        | Fact::Device { .. }
        | Fact::Compliance { .. }
        | Fact::Heartbeat { .. } => EVENTS,
    }
}

fn position((topic, number, offset): (Topic, i32, i64)) -> Delivered {
    let odd = || "the broker acknowledged no offset".to_owned();
    let number = u32::try_from(number).map_err(|_| odd())?;
    let offset = u64::try_from(offset).map(Offset).map_err(|_| odd())?;
    Ok(Position { partition: Partition { topic, number }, offset })
}

/// What to tell of a call whose events were not all appended.
fn refusal(
    delivered: &[Delivered],
    wanted: usize,
    too_large: Option<usize>,
) -> Option<AppendError> {
    let at = delivered.iter().position(Result::is_err);
    let error = at.and_then(|at| delivered.get(at)?.as_ref().err());
    let (at, error) = (at?, error?);
    if let Some(index) = too_large
        && delivered.iter().all(Result::is_err)
    {
        let text = format!("events[{index}] is larger than the brokers take; nothing was appended");
        return Some(AppendError::Unstorable(text));
    }
    let appended = delivered.iter().enumerate().filter(|(_, delivered)| delivered.is_ok());
    let appended: Vec<String> = appended.map(|(index, _)| index.to_string()).collect();
    let so_far = if appended.is_empty() {
        "none of them is known to be appended".to_owned()
    } else {
        format!("of {wanted} appended: {}", appended.join(", "))
    };
    Some(AppendError::Unavailable(format!("events[{at}]: {error} ({so_far})")))
}

fn is_too_large(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge)
    )
}

/// The producer's callbacks. What concerns an event comes with its delivery; the rest is for those
/// who look closely.
#[derive(Clone, Copy, Debug)]
struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, words: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            tracing::warn!(fault = %Fault::of(code, words), "the producer can not work as it should");
        }
    }
}

#[cfg(test)]
mod tests {
    use caed_core::event::Declaration;
    use caed_core::ids::Name;
    use caed_core::ids::ObjectKey;
    use caed_core::policy::{Body, Membership, Part, Version};

    use super::*;

    #[test]
    fn every_event_goes_to_the_topic_of_its_kind() {
        let declaration = Declaration {
            declared: true,
            emits_enabled: true,
            emits_device_clear: true,
            retired: None,
        };
        let source =
            Fact::Source { source: Name::parse("directory").expect("a name"), declaration };
        assert_eq!(topic_of(&source), POLICIES);
        let group = ObjectKey::parse("g").expect("an id");
        let version =
            Version { part: Part::WHOLE, body: Body::Settings(None), title: String::new() };
        assert_eq!(topic_of(&Fact::Version(version)), POLICIES);
        let membership = Membership::Added;
        assert_eq!(topic_of(&Fact::Member { group, user: group, membership }), POLICIES);
        assert_eq!(topic_of(&Fact::TenantRevoked), EVENTS);
    }

    #[test]
    fn a_call_that_is_appended_in_part_says_which_part() {
        let position = Position { partition: Partition::default(), offset: Offset(7) };
        let failed = || Err("Local: Message timed out".to_owned());
        let text = |delivered: &[Delivered]| refusal(delivered, 3, None).map(|e| e.to_string());
        assert_eq!(text(&[Ok(position)]), None);
        let partly = text(&[Ok(position), failed(), Ok(position)]).expect("refused");
        assert!(
            partly.contains("events[1]: Local: Message timed out (of 3 appended: 0, 2)"),
            "{partly}"
        );
        let none = text(&[failed()]).expect("refused");
        assert!(none.contains("none of them is known"), "{none}");
    }
}
