//! Asks the cluster about the topics, and makes them.
//!
//! Everything here is for operators and for the look every hour, never for the way of an event.
//! Reading is librdkafka's blocking kind, so it runs on threads that may block.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use caed_core::position::Incarnation;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use super::survey::{
    IdentityFound, Look, PartitionSurvey, Survey, TopicState, TopicSurvey, TopicUse, Watermarks,
};
use super::{ANSWER_WAIT, CONNECT_WAIT, IDENTITY_LOOK_RECORDS, NEEDED, OTHER_CREATOR_WAIT};
use crate::kafka::fault::{Fault, Mend, words};
use crate::kafka::identity::{self, LogIdentity, READER_VERSION};
use crate::kafka::settings::KafkaSettings;

/// Asks and tells the cluster about the topics.
pub struct TopicAdmin {
    settings: KafkaSettings,
    reader: Arc<BaseConsumer<Told>>,
    admin: AdminClient<Told>,
}

/// What `create` makes.
#[derive(Clone, Copy, Debug)]
pub struct TopicPlan {
    /// Partitions of each topic of live events.
    pub partitions: u32,
    /// Brokers that hold each partition.
    pub replicas: u16,
    /// How long a token can live at the most. It becomes part of the identity.
    pub horizon: Duration,
    /// Drawn at random, for events and policies: what they become where they have no identity yet.
    pub incarnations: [Incarnation; 2],
}

/// What `create` did about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The topic.
    pub topic: String,
    /// Whether it is new; otherwise it was there, and its settings were left alone.
    pub is_new: bool,
    /// Partitions that were given an identity record.
    pub identified: Vec<u32>,
}

/// Why topics can't be asked about or made.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The settings make no client.
    #[error("no Kafka client can be made of these settings: {0}")]
    Settings(String),
    /// No first answer: nobody can be reached, or they refuse this client.
    #[error("{0}")]
    Refusing(Fault),
    /// An answer did not come.
    #[error("the cluster did not say {what}: {why}")]
    NoAnswer {
        /// What was asked.
        what: String,
        /// Why.
        why: String,
    },
    /// A topic could not be made.
    #[error("topic `{topic}` could not be made: {why}")]
    Refused {
        /// The topic.
        topic: String,
        /// Why, and what to do where that is known.
        why: String,
    },
    /// An identity could not be written.
    #[error("the identity of `{topic}`/{partition} could not be written: {why}; run it again")]
    Unwritten {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Why.
        why: String,
    },
    /// A topic already says that it is two logs.
    #[error(
        "topic `{0}` holds identity records of different incarnations, and nothing was written; `caed topics check` says more"
    )]
    TwoIncarnations(String),
    /// A topic was made for tokens of another lifetime.
    #[error(
        "topic `{topic}` was made with a horizon of {found_s} s, which never changes; set tokens.horizon = \"{found_s}s\", or choose another topic"
    )]
    Horizon {
        /// The topic.
        topic: String,
        /// Its horizon.
        found_s: u64,
    },
}

/// What is known of a topic before its identities are looked for.
#[derive(Clone, Copy)]
struct Known {
    is_new: bool,
    horizon: Duration,
    /// What it becomes where it has no identity.
    drawn: Incarnation,
}

/// Keeps the last thing that the client said was wrong: calls that time out do not say why.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<(RDKafkaErrorCode, String)>>>);

impl ClientContext for Told {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // `AllBrokersDown` follows every refusal and says less.
            if code != RDKafkaErrorCode::AllBrokersDown || told.is_none() {
                *told = Some((code, reason.to_owned()));
            }
        }
    }
}

impl ConsumerContext for Told {}

impl Told {
    fn last(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TopicAdmin {
    /// Connects, and signs in. Takes at most [`CONNECT_WAIT`]; a refusal is known sooner.
    pub async fn connect(settings: &KafkaSettings) -> Result<Self, TopicError> {
        let told = Told::default();
        let unmade = |error: KafkaError| TopicError::Settings(error.to_string());
        let reader: BaseConsumer<Told> =
            settings.probe().create_with_context(told.clone()).map_err(unmade)?;
        let admin = settings.admin().create_with_context(told.clone()).map_err(unmade)?;
        let reader = Arc::new(reader);
        let asked = Arc::clone(&reader);
        blocking(move || first_answer(&asked, &told)).await?;
        Ok(Self { settings: settings.clone(), reader, admin })
    }

    /// What the topics are like.
    pub async fn survey(&self, look: Look) -> Result<Survey, TopicError> {
        let brokers = self.settings.brokers.clone();
        let mut topics = Vec::new();
        for (name, used_for) in self.used() {
            let settings = self.settings_of(&name).await;
            let reader = Arc::clone(&self.reader);
            let topic = name.clone();
            let look = (used_for == TopicUse::Live).then_some(look);
            let state = blocking(move || state_of(&reader, &topic, settings, look)).await?;
            topics.push(TopicSurvey { name, used_for, state });
        }
        Ok(Survey { brokers, topics })
    }

    /// Makes the topics that are missing, and writes the identity records that are. What is there is
    /// left as it is, so running it again, or at two places at once, does no harm.
    pub async fn create(&self, plan: TopicPlan) -> Result<Vec<Created>, TopicError> {
        let producer = self.settings.producer();
        let producer: FutureProducer =
            producer.create().map_err(|error| TopicError::Settings(error.to_string()))?;
        let mut all = Vec::new();
        let mut drawn = plan.incarnations.into_iter();
        for (topic, used_for) in self.used() {
            let is_new = self.make(&topic, used_for, plan).await?;
            let identified = match drawn.next().filter(|_| used_for == TopicUse::Live) {
                Some(drawn) => {
                    let known = Known { is_new, horizon: plan.horizon, drawn };
                    self.identify(&topic, known, &producer).await?
                }
                None => Vec::new(),
            };
            all.push(Created { topic, is_new, identified });
        }
        Ok(all)
    }

    fn used(&self) -> [(String, TopicUse); 3] {
        let KafkaSettings { events_topic, policies_topic, dead_letter_topic, .. } = &self.settings;
        [
            (events_topic.clone(), TopicUse::Live),
            (policies_topic.clone(), TopicUse::Live),
            (dead_letter_topic.clone(), TopicUse::DeadLetter),
        ]
    }

    /// The settings in force, the broker's defaults among them.
    async fn settings_of(&self, topic: &str) -> Result<BTreeMap<String, String>, String> {
        let which = [ResourceSpecifier::Topic(topic)];
        let answer = self.admin.describe_configs(&which, &options()).await;
        let mut resources = answer.map_err(|error| words(&error))?;
        let resource = resources.pop().ok_or_else(|| "an empty answer".to_owned())?;
        let resource = resource.map_err(|code| code.to_string())?;
        let entries = resource.entries.into_iter();
        Ok(entries.filter_map(|entry| entry.value.map(|value| (entry.name, value))).collect())
    }

    /// Makes a topic, unless it is there. Says whether it was made.
    async fn make(
        &self,
        name: &str,
        used_for: TopicUse,
        plan: TopicPlan,
    ) -> Result<bool, TopicError> {
        let refused = |why: String| TopicError::Refused { topic: name.to_owned(), why };
        let partitions = match used_for {
            TopicUse::Live => plan.partitions,
            // People read it; order and spread are nothing to them.
            TopicUse::DeadLetter => 1,
        };
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let replication = TopicReplication::Fixed(i32::from(plan.replicas));
        let mut topic = NewTopic::new(name, partitions, replication);
        // All but one broker must have an event before it counts as stored: then one may fail without
        // anything being lost or refused. With one or two brokers that is not to be had.
        let in_sync = plan.replicas.saturating_sub(1).max(1).to_string();
        if used_for == TopicUse::Live {
            for needed in &NEEDED {
                topic = topic.set(needed.name, needed.value);
            }
            topic = topic.set("min.insync.replicas", &in_sync);
        }
        let made = self.admin.create_topics([&topic], &options()).await;
        let made = made.map_err(|error| refused(words(&error)))?.pop();
        match made {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => Err(refused(format!(
                "the cluster has fewer than {} brokers; give --replicas",
                plan.replicas
            ))),
            Some(Err((_, RDKafkaErrorCode::TopicAuthorizationFailed))) => Err(refused(
                "the principal may not; run it as one that may CREATE, WRITE, READ and DESCRIBE it"
                    .to_owned(),
            )),
            Some(Err((_, code))) => Err(refused(code.to_string())),
            None => Err(refused("an empty answer".to_owned())),
        }
    }

    /// Writes the identity records that are missing. Says to which partitions.
    async fn identify(
        &self,
        topic: &str,
        Known { is_new, horizon, drawn }: Known,
        producer: &FutureProducer,
    ) -> Result<Vec<u32>, TopicError> {
        let mut found = self.identities(topic, Look::Whole).await?;
        if found.incarnations().is_empty() && !is_new {
            // Somebody else may have made it this very moment, and is about to write what it is.
            tokio::time::sleep(OTHER_CREATOR_WAIT).await;
            found = self.identities(topic, Look::Whole).await?;
        }
        let two = || TopicError::TwoIncarnations(topic.to_owned());
        let incarnation = match found.incarnations().as_slice() {
            [] => drawn,
            [one] => *one,
            [_, _, ..] => return Err(two()),
        };
        if let Some(other) = found.identities().find(|identity| identity.horizon != horizon) {
            let (topic, found_s) = (topic.to_owned(), other.horizon.as_secs());
            return Err(TopicError::Horizon { topic, found_s });
        }
        let absent = found.partitions().iter();
        let absent: Vec<_> = absent
            .filter(|partition| partition.identity == IdentityFound::Absent)
            .map(|partition| partition.number)
            .collect();
        for &partition in &absent {
            let min_reader_version = READER_VERSION;
            let identity = LogIdentity { incarnation, horizon, min_reader_version, partition };
            write(producer, topic, &identity).await?;
        }
        if !absent.is_empty() {
            let after = self.identities(topic, Look::Every).await?;
            let disputed = after.partitions().iter().any(|partition| {
                matches!(partition.identity, IdentityFound::Found { disputed: true, .. })
            });
            if disputed || after.incarnations() != [incarnation] {
                return Err(two());
            }
        }
        Ok(absent)
    }

    /// The identities of a topic, or an error where a partition does not tell.
    async fn identities(&self, topic: &str, look: Look) -> Result<TopicSurvey, TopicError> {
        let (reader, name) = (Arc::clone(&self.reader), topic.to_owned());
        let deadline = Instant::now() + ANSWER_WAIT;
        loop {
            let (reader, name) = (Arc::clone(&reader), name.clone());
            let settings = Ok(BTreeMap::new());
            let of = name.clone();
            let state = blocking(move || state_of(&reader, &of, settings, Some(look))).await?;
            let survey = TopicSurvey { name, used_for: TopicUse::Live, state };
            let told = !survey.partitions().is_empty()
                && survey.partitions().iter().all(|one| one.identity != IdentityFound::Unknown);
            if told {
                return Ok(survey);
            }
            // A topic that has just been made takes a moment to be known everywhere.
            if Instant::now() >= deadline {
                let what = format!("what stands in topic `{topic}`");
                let why = "some partition has no leader, or is not known yet; run it again";
                return Err(TopicError::NoAnswer { what, why: why.to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER_WAIT))
        // A topic is there when the call returns.
        .operation_timeout(Some(ANSWER_WAIT))
}

async fn write(
    producer: &FutureProducer,
    topic: &str,
    identity: &LogIdentity,
) -> Result<(), TopicError> {
    let payload = identity.encode();
    let partition = i32::try_from(identity.partition).unwrap_or(i32::MAX);
    let record = FutureRecord::to(topic).partition(partition).key(identity::KEY).payload(&payload);
    match producer.send(record, Timeout::After(ANSWER_WAIT)).await {
        Ok(_) => Ok(()),
        Err((error, _)) => Err(TopicError::Unwritten {
            topic: topic.to_owned(),
            partition: identity.partition,
            why: words(&error),
        }),
    }
}

/// Runs what blocks where that holds up nobody.
async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, TopicError> + Send + 'static,
) -> Result<T, TopicError> {
    tokio::task::spawn_blocking(what).await.unwrap_or_else(|panicked| {
        Err(TopicError::NoAnswer { what: "anything".to_owned(), why: panicked.to_string() })
    })
}

/// Waits for the first answer, and turns what the client says meanwhile into a name.
fn first_answer(reader: &BaseConsumer<Told>, told: &Told) -> Result<(), TopicError> {
    let started = Instant::now();
    loop {
        let Err(error) = reader.fetch_metadata(None, Duration::from_millis(500)) else {
            return Ok(());
        };
        // Errors are told while polling.
        for _ in 0..10 {
            let _ = reader.poll(Duration::ZERO);
        }
        let fault = told.last().map(|(code, words)| Fault::of(code, &words));
        if let Some(fault) = fault.as_ref().filter(|fault| fault.mend() == Mend::Operator) {
            return Err(TopicError::Refusing(fault.clone()));
        }
        if started.elapsed() >= CONNECT_WAIT {
            let fault = fault.unwrap_or_else(|| Fault::Unreachable(words(&error)));
            return Err(TopicError::Refusing(fault));
        }
    }
}

fn state_of(
    reader: &BaseConsumer<Told>,
    topic: &str,
    settings: Result<BTreeMap<String, String>, String>,
    look: Option<Look>,
) -> Result<TopicState, TopicError> {
    let unanswered = |error: &KafkaError| TopicError::NoAnswer {
        what: format!("how topic `{topic}` is"),
        why: words(error),
    };
    let metadata =
        reader.fetch_metadata(Some(topic), ANSWER_WAIT).map_err(|error| unanswered(&error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(TopicState::Missing);
    };
    if let Some(error) = found.error() {
        return Ok(match RDKafkaErrorCode::from(error) {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                TopicState::Missing
            }
            code => TopicState::Hidden(code.to_string()),
        });
    }
    let partitions = partitions_of(reader, found, look);
    Ok(TopicState::Present { partitions, settings })
}

fn partitions_of(
    reader: &BaseConsumer<Told>,
    topic: &MetadataTopic,
    look: Option<Look>,
) -> Vec<PartitionSurvey> {
    let survey = |partition: &MetadataPartition| {
        let leader = Some(partition.leader()).filter(|broker| *broker >= 0);
        let watermarks = leader.and_then(|_| {
            let (low, high) =
                reader.fetch_watermarks(topic.name(), partition.id(), ANSWER_WAIT).ok()?;
            Some(Watermarks { low: u64::try_from(low).ok()?, high: u64::try_from(high).ok()? })
        });
        let identity = match (look, watermarks) {
            (Some(look), Some(watermarks)) => {
                identity_of(reader, topic.name(), partition.id(), watermarks, look)
            }
            _ => IdentityFound::Unknown,
        };
        PartitionSurvey {
            number: u32::try_from(partition.id()).unwrap_or_default(),
            leader,
            replicas: partition.replicas().len(),
            in_sync: partition.isr().len(),
            watermarks,
            identity,
        }
    };
    let mut partitions: Vec<_> = topic.partitions().iter().map(survey).collect();
    partitions.sort_by_key(|partition| partition.number);
    partitions
}

/// Looks for the identity record of a partition.
fn identity_of(
    reader: &BaseConsumer<Told>,
    topic: &str,
    partition: i32,
    Watermarks { low, high }: Watermarks,
    look: Look,
) -> IdentityFound {
    let end = match look {
        Look::Beginning => high.min(low.saturating_add(IDENTITY_LOOK_RECORDS)),
        Look::Whole | Look::Every => high,
    };
    let mut found = IdentityFound::Absent;
    if low >= end {
        return found;
    }
    let mut which = TopicPartitionList::new();
    let from = Offset::Offset(i64::try_from(low).unwrap_or(i64::MAX));
    let assigned =
        which.add_partition_offset(topic, partition, from).and_then(|()| reader.assign(&which));
    if assigned.is_err() {
        return IdentityFound::Unknown;
    }
    let mut deadline = Instant::now() + ANSWER_WAIT;
    loop {
        if Instant::now() >= deadline {
            found = IdentityFound::Unknown;
            break;
        }
        match reader.poll(Duration::from_millis(100)) {
            Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => break,
            // What the partition before had left in the queue.
            Some(Ok(record)) if record.topic() != topic || record.partition() != partition => {}
            // Connections come and go; what stays is the deadline.
            None | Some(Err(_)) => {}
            Some(Ok(record)) => {
                deadline = Instant::now() + ANSWER_WAIT;
                let offset = u64::try_from(record.offset()).unwrap_or_default();
                if offset >= end {
                    break;
                }
                if record.key() == Some(identity::KEY) {
                    found = after(&found, offset, record.payload().unwrap_or_default());
                    if look != Look::Every {
                        break;
                    }
                }
                if offset.saturating_add(1) >= end {
                    break;
                }
            }
        }
    }
    let _ = reader.unassign();
    found
}

/// What is found after one more record under the identity's key.
fn after(found: &IdentityFound, offset: u64, payload: &[u8]) -> IdentityFound {
    match LogIdentity::decode(payload) {
        Ok(identity) => {
            let disputed = match found {
                IdentityFound::Found { identity: earlier, disputed, .. } => {
                    *disputed || earlier.incarnation != identity.incarnation
                }
                _ => false,
            };
            IdentityFound::Found { offset, identity, disputed }
        }
        Err(error) => IdentityFound::Invalid(error.to_string()),
    }
}
