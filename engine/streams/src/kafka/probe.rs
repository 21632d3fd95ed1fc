//! The thread that asks the brokers where the partitions are and where they end (F1).
//!
//! It has a client of its own, so that an answer does not wait behind records, and one that sees
//! what was appended rather than what was committed: an open transaction must show as age.
//!
//! One asking: the clocks are read; then the topics' partitions are named by the brokers; then each
//! leader tells its high watermark; then the identity record of each partition is read once more.
//! That order makes the statement sound: the ends are those of the very logs that the identities
//! name, at an instant no earlier than the clocks'. If anything is missing nothing is said, and the
//! age of what is known grows.
//!
//! It also is what finds partitions, old and new, and what notices that one is another log now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use caed_core::position::{Frontier, Incarnation, Offset, Partition, Topic};
use caed_core::time::Clock;
use rdkafka::client::Client;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset as At, TopicPartitionList};
use tokio::sync::{mpsc, watch};

use super::consumer::{self, Found, Order};
use super::fault::{Fault, Mend};
use super::identity::LogIdentity;
use super::limits;
use super::listener::{self, Heard, Listener};
use super::names::Names;
use super::producer::KafkaSink;
use super::status::{Answer, Place, Shared};
use crate::source::{LogEnd, PartitionEnd, SourceEvent};

/// The channels of the probe.
pub(super) struct Ends {
    pub(super) orders: Sender<Order>,
    /// Wakes the reader for an order.
    pub(super) wake: SyncSender<()>,
    /// Partitions that the reader finds strange. Disconnected when the reader is gone.
    pub(super) suspects: Receiver<Partition>,
    /// For the word that nothing can be read.
    pub(super) events: mpsc::Sender<SourceEvent>,
    /// The newest statement; an older one that nobody took says less.
    pub(super) said: watch::Sender<Option<LogEnd>>,
    /// Follows the frontier of the published snapshot.
    pub(super) applied: watch::Receiver<Frontier>,
}

pub(super) struct Probe {
    config: ClientConfig,
    names: Names,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    channels: Ends,
    /// The way in, until the brokers have answered: then it is warmed up.
    cold: Option<KafkaSink>,
    /// Until when the brokers may refuse this client; `None` once they have answered.
    gives_up: Option<Instant>,
    suspects: BTreeSet<Partition>,
    /// Partitions whose leader did not answer last time.
    silent: BTreeSet<Partition>,
    warned_of_identities: bool,
}

/// A client with what it says.
struct Asker {
    consumer: BaseConsumer<Listener>,
    heard: Receiver<Heard>,
}

/// A partition, and whether somebody leads it.
struct Led {
    partition: Partition,
    has_leader: bool,
}

/// What identities were found where they were met last.
type Identities = BTreeMap<Partition, Option<Incarnation>>;

impl Probe {
    pub(super) fn new(
        mut config: ClientConfig,
        names: Names,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        channels: Ends,
        sink: KafkaSink,
        patience: Duration,
    ) -> Self {
        // Identity records are all that this client reads.
        config.set("fetch.message.max.bytes", limits::IDENTITY_FETCH_BYTES);
        config.set("queued.min.messages", "1");
        Self {
            config,
            names,
            clock,
            shared,
            channels,
            cold: Some(sink),
            gives_up: Some(Instant::now() + patience),
            suspects: BTreeSet::new(),
            silent: BTreeSet::new(),
            warned_of_identities: false,
        }
    }

    /// Asks again and again until the reader is gone or nothing can be read.
    pub(super) fn run(mut self) {
        let mut asker = match Asker::new(&self.config) {
            Ok(asker) => asker,
            Err(error) => return self.lose(Fault::Other(error.to_string())),
        };
        loop {
            let begun = Instant::now();
            let asked = self.ask(&mut asker);
            // What the client says of itself names a cause; an unanswered question only shows it.
            let causes = asker.listen();
            match asked {
                Ok(()) => {
                    self.gives_up = None;
                    if let Some(sink) = self.cold.take() {
                        sink.warm_up(limits::WARM_UP_TIME_MAX);
                    }
                    if !self.shared.clocks_apart() {
                        self.shared.clear();
                    }
                }
                Err(fault) => {
                    for cause in causes {
                        self.shared.note(cause);
                    }
                    self.shared.note(fault);
                }
            }
            if let Some(fault) = self.fault_that_stays() {
                return self.lose(fault);
            }
            if !self.wait(limits::ASK_INTERVAL.saturating_sub(begun.elapsed())) {
                return;
            }
        }
    }

    /// Waits, but not while a suspect does; false when the reader is gone.
    fn wait(&mut self, time: Duration) -> bool {
        match self.channels.suspects.recv_timeout(time) {
            Ok(suspect) => {
                self.suspects.insert(suspect);
                self.suspects.extend(self.channels.suspects.try_iter());
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// The fault that trying again does not mend, once it has been tried for long enough.
    fn fault_that_stays(&self) -> Option<Fault> {
        let gives_up = self.gives_up?;
        let fault = self.shared.fault()?;
        (fault.mend() != Mend::Wait && Instant::now() >= gives_up).then_some(fault)
    }

    fn lose(&self, fault: Fault) {
        consumer::lose(&self.shared, &self.channels.events, fault);
    }

    fn ask(&mut self, asker: &mut Asker) -> Result<(), Fault> {
        // The places before the clocks, the clocks before the brokers.
        let places = self.shared.places();
        let (wall, monotonic) = (self.clock.now(), self.clock.monotonic());
        let deadline = Instant::now() + limits::ANSWER_TIME_MAX;
        self.shared.reach(&self.channels.applied.borrow().clone());
        let mut partitions = Vec::new();
        for (topic, name) in self.names.iter() {
            partitions.extend(asker.partitions(topic, name, deadline)?);
        }
        // Those that did not answer last time come last: they may take the time of the others.
        partitions.sort_by_key(|Led { partition, .. }| self.silent.contains(partition));
        let mut found = BTreeMap::new();
        let mut silent = None;
        for Led { partition, has_leader } in partitions {
            let until = deadline.min(Instant::now() + limits::LEADER_TIME_MAX);
            let leaderless = || Err(Fault::Leaderless(self.names.place(partition)));
            let watermarks = || asker.watermarks(&self.names, partition, until);
            match if has_leader { watermarks() } else { leaderless() } {
                Ok((low, high)) => {
                    self.silent.remove(&partition);
                    self.shared.answered(partition, Answer { wall, monotonic, end: high });
                    found.insert(partition, Found { partition, low, high });
                }
                Err(fault) => {
                    self.silent.insert(partition);
                    silent.get_or_insert(fault);
                }
            }
        }
        if let Some(fault) = silent {
            return Err(fault);
        }
        let orders = self.follow(&places, &found);
        if self.order(orders) || self.shared.is_restarting() {
            return Ok(());
        }
        // Only where the offsets make sense: an identity that is not there is waited for.
        let identities = asker.identities(&self.names, &places, deadline)?;
        if self.order(replaced(&places, &found, &identities)) {
            return Ok(());
        }
        self.warn_of_identities(&places);
        if self.shared.clocks_apart() {
            return Ok(());
        }
        let end = |(partition, place): (&Partition, &Place)| {
            let end = found.get(partition)?.high;
            Some(PartitionEnd { partition: *partition, incarnation: place.incarnation, end })
        };
        let ends = places.iter().map(end).collect::<Option<Vec<_>>>();
        if let Some(ends) = ends {
            self.channels.said.send_replace(Some(LogEnd { wall, monotonic, ends }));
        }
        Ok(())
    }

    /// What the reader has to do about partitions that came, went, or lost their end.
    fn follow(
        &mut self,
        places: &BTreeMap<Partition, Place>,
        found: &BTreeMap<Partition, Found>,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        let new = found.values().filter(|found| !places.contains_key(&found.partition)).copied();
        let new: Vec<Found> = new.collect();
        if !new.is_empty() {
            orders.push(Order::Add(new));
        }
        for (partition, place) in places {
            let Some(found) = found.get(partition) else {
                orders.push(Order::Remove(*partition));
                continue;
            };
            // An offset that was read can't lie beyond the end, nor one that is wanted before the
            // beginning, unless the log lost what it held.
            let is_suspect = self.suspects.contains(partition);
            if found.high < place.next || is_suspect && place.next < found.low {
                orders.push(Order::Restart(*found));
            }
        }
        self.suspects.clear();
        orders
    }

    /// Has the reader do this. Says whether there was anything: if so, what was asked is no
    /// statement about what is read.
    fn order(&self, orders: Vec<Order>) -> bool {
        let any = !orders.is_empty();
        for order in orders {
            if let Order::Restart(found) = &order {
                self.shared.mark_restarting(found.partition);
            }
            // A reader that is gone ends this thread at the next wait.
            let _ = self.channels.orders.send(order);
            let _ = self.channels.wake.try_send(());
        }
        any
    }

    fn warn_of_identities(&mut self, places: &BTreeMap<Partition, Place>) {
        let without = places.iter().find(|(_, place)| place.identity.is_none() && place.next.0 > 0);
        if let Some((partition, _)) = without
            && !std::mem::replace(&mut self.warned_of_identities, true)
        {
            let partition = self.names.place(*partition);
            tracing::warn!(
                partition,
                "no identity record was met; a topic made anew under this name may go unnoticed: run `caed topics create`"
            );
        }
    }
}

impl Asker {
    fn new(config: &ClientConfig) -> KafkaResult<Self> {
        let (listener, heard) = Listener::new();
        Ok(Self { consumer: config.create_with_context(listener)?, heard })
    }

    fn client(&self) -> &Client<Listener> {
        self.consumer.client()
    }

    /// Serves the client's callbacks, and returns the faults that they named.
    fn listen(&self) -> Vec<Fault> {
        listener::serve(&self.consumer);
        let fault = |heard| match heard {
            Heard::Fault(fault) => Some(fault),
            Heard::Ends(_) => None,
        };
        self.heard.try_iter().filter_map(fault).collect()
    }

    /// The partitions of a topic.
    fn partitions(&self, topic: Topic, name: &str, deadline: Instant) -> Result<Vec<Led>, Fault> {
        let metadata = self
            .client()
            .fetch_metadata(Some(name), left(deadline))
            .map_err(|error| unanswered(&error, "the topics' partitions"))?;
        let found = metadata.topics().iter().find(|found| found.name() == name);
        let found = found.ok_or_else(|| Fault::UnknownTopic(name.to_owned()))?;
        if let Some(error) = found.error() {
            return Err(topic_fault(error.into(), name));
        }
        let led = |partition: &rdkafka::metadata::MetadataPartition| {
            let odd = |_| Fault::Other(format!("{name}/{}", partition.id()));
            let number = u32::try_from(partition.id()).map_err(odd)?;
            let has_leader = partition.leader() >= 0;
            Ok(Led { partition: Partition { topic, number }, has_leader })
        };
        let partitions: Vec<_> = found.partitions().iter().map(led).collect::<Result<_, _>>()?;
        if partitions.is_empty() {
            return Err(Fault::UnknownTopic(name.to_owned()));
        }
        Ok(partitions)
    }

    /// Where a partition begins and ends, by its leader.
    fn watermarks(
        &self,
        names: &Names,
        partition: Partition,
        deadline: Instant,
    ) -> Result<(Offset, Offset), Fault> {
        let (name, number) = names.wire(partition);
        let (low, high) =
            self.client().fetch_watermarks(name, number, left(deadline)).map_err(|error| {
                match error.rdkafka_error_code() {
                    Some(Code::OperationTimedOut | Code::RequestTimedOut) => {
                        Fault::Leaderless(names.place(partition))
                    }
                    _ => unanswered(&error, &names.place(partition)),
                }
            })?;
        match (u64::try_from(low), u64::try_from(high)) {
            (Ok(low), Ok(high)) => Ok((Offset(low), Offset(high))),
            _ => Err(Fault::Leaderless(names.place(partition))),
        }
    }

    /// Reads the identity record of every partition again, where it was met last. `None` stands for
    /// something else in its place.
    fn identities(
        &mut self,
        names: &Names,
        places: &BTreeMap<Partition, Place>,
        deadline: Instant,
    ) -> Result<Identities, Fault> {
        let mut list = TopicPartitionList::new();
        let mut wanted = BTreeMap::new();
        for (partition, place) in places {
            if let Some((offset, _)) = place.identity {
                let (name, number) = names.wire(*partition);
                let at = At::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
                list.add_partition_offset(name, number, at).map_err(|error| odd(&error))?;
                wanted.insert(*partition, offset);
            }
        }
        let mut identities = Identities::new();
        if wanted.is_empty() {
            return Ok(identities);
        }
        self.consumer.assign(&list).map_err(|error| odd(&error))?;
        while identities.len() < wanted.len() {
            let left = left(deadline);
            if left.is_zero() {
                break;
            }
            // What is no record is the end of a partition, before anything in it or after: it does
            // not say of which topic, so the time runs out, and the watermarks tell.
            let Some(Ok(message)) = self.consumer.poll(left) else { continue };
            let Some(partition) = names.partition(message.topic(), message.partition()) else {
                continue;
            };
            let Some(offset) = wanted.get(&partition) else { continue };
            let is_there = u64::try_from(message.offset()) == Ok(offset.0);
            let identity = message
                .payload()
                .filter(|_| is_there)
                .and_then(|payload| LogIdentity::of_record(message.key(), payload));
            let found = identity.map(|identity| identity.incarnation);
            identities.entry(partition).or_insert(found);
        }
        self.consumer.unassign().map_err(|error| odd(&error))?;
        let missing = wanted.keys().find(|partition| !identities.contains_key(partition));
        missing.map_or(Ok(identities), |partition| Err(Fault::Leaderless(names.place(*partition))))
    }
}

/// Orders for the partitions whose identity is another one now.
fn replaced(
    places: &BTreeMap<Partition, Place>,
    found: &BTreeMap<Partition, Found>,
    identities: &Identities,
) -> Vec<Order> {
    let is_replaced = |(partition, now): &(&Partition, &Option<Incarnation>)| {
        let known = places.get(partition).and_then(|place| place.identity);
        known.is_some_and(|(_, known)| **now != Some(known))
    };
    let replaced = identities.iter().filter(is_replaced);
    replaced
        .filter_map(|(partition, _)| found.get(partition).copied())
        .map(Order::Restart)
        .collect()
}

fn topic_fault(code: Code, name: &str) -> Fault {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition => Fault::UnknownTopic(name.to_owned()),
        Code::LeaderNotAvailable => Fault::Leaderless(name.to_owned()),
        code => Fault::of(code, &format!("{name}: {code}")),
    }
}

fn unanswered(error: &KafkaError, what: &str) -> Fault {
    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
    Fault::of(code, &format!("no answer about {what} ({code})"))
}

fn odd(error: &KafkaError) -> Fault {
    Fault::Other(error.to_string())
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
