//! The thread that reads every partition of both topics.
//!
//! The probe finds partitions and tells where each begins; this thread reads them, cuts what comes
//! into batches, and hands them over through a bounded channel: when the applier is slow nothing is
//! polled, and librdkafka's own queue fills and stops fetching.
//!
//! A partition is read again from its beginning when the probe orders it: the log is another one
//! (L5), or the offset reached is outside it. What was read before stays in the state. Until the
//! identity record is met again the partition goes by an incarnation drawn for this reading, so that
//! no offset of before is compared with one of now.
//!
//! INVARIANT: what the applier was told and what the other threads see of it never differ in the
//! wrong order: a place changes only after its event is in the channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Instant;

use caed_core::position::{Incarnation, Offset, Partition, Position};
use caed_core::time::{Clock, UnixMillis};
use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::mpsc;

use super::fault::{Fault, Mend};
use super::identity::{self, LogIdentity};
use super::limits;
use super::names::Names;
use super::reading::{Raw, Reading, Taken};
use super::settings::KafkaSettings;
use super::status::{Answer, Place, Shared};
use crate::source::{Batch, Records, SourceEvent, SourceFault};

/// What the probe has the reader do.
#[derive(Debug)]
pub(super) enum Order {
    /// Read partitions that are new, all that there are at once when it is the first order.
    Add(Vec<Found>),
    /// Read a partition again from its beginning.
    Restart(Found),
    /// A partition is no more.
    Remove(Partition),
}

/// A partition as the brokers tell of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) partition: Partition,
    /// The offset of the first record that is left.
    pub(super) low: Offset,
    /// The offset that the next record will have.
    pub(super) high: Offset,
}

/// The channels of the reading thread.
pub(super) struct Ends {
    pub(super) orders: Receiver<Order>,
    /// Partitions that the probe should look at.
    pub(super) suspects: SyncSender<Partition>,
    pub(super) events: mpsc::Sender<SourceEvent>,
    /// Ends a wait: from callbacks and from whoever sends an order.
    pub(super) wake: SyncSender<()>,
    pub(super) woken: Receiver<()>,
}

pub(super) struct Reader {
    settings: KafkaSettings,
    names: Names,
    /// The horizon of the configuration, which the log's must equal.
    horizon: std::time::Duration,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    channels: Ends,
    places: BTreeMap<Partition, Place>,
    /// Where each partition ended at the start, until everything below has been handed over.
    opened: Option<BTreeMap<Partition, Offset>>,
    reading: Option<Reading>,
    /// When to open the next reading.
    resume: Instant,
    /// A partition was left out of this reading: the next one tries it again.
    incomplete: bool,
    warned_of_times: bool,
}

/// Nobody takes events any more, or nothing can be read any more.
struct Over;

impl Reader {
    pub(super) fn new(
        settings: KafkaSettings,
        names: Names,
        horizon: std::time::Duration,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        channels: Ends,
    ) -> Self {
        Self {
            settings,
            names,
            horizon,
            clock,
            shared,
            channels,
            places: BTreeMap::new(),
            opened: Some(BTreeMap::new()),
            reading: None,
            resume: Instant::now(),
            incomplete: false,
            warned_of_times: false,
        }
    }

    /// Runs until nobody takes events any more, or until the log can't be read.
    pub(super) fn run(mut self) {
        while !self.channels.events.is_closed() {
            match self.round() {
                Ok(true) => {}
                Ok(false) => match self.channels.woken.recv_timeout(limits::IDLE_TIME) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                Err(Over) => return,
            }
        }
    }

    /// Looks once at everything; says whether more is waiting.
    fn round(&mut self) -> Result<bool, Over> {
        while let Ok(order) = self.channels.orders.try_recv() {
            self.obey(order)?;
        }
        self.open_if_due();
        let Some(reading) = &mut self.reading else { return Ok(false) };
        for fault in reading.listen(&self.names) {
            self.shared.note(fault);
        }
        let mut more = false;
        for partition in reading.partitions() {
            let Some(reading) = &self.reading else { break };
            let taken = reading.take(partition);
            more |= taken.more;
            self.hand_over(partition, taken)?;
        }
        self.catch_up()?;
        Ok(more)
    }

    fn obey(&mut self, order: Order) -> Result<(), Over> {
        self.reading = None;
        self.incomplete = false;
        self.resume = Instant::now();
        match order {
            Order::Add(found) => {
                for found in found {
                    self.add(found)?;
                }
            }
            Order::Restart(found) => self.restart(found)?,
            Order::Remove(partition) => {
                self.shared.set_parted();
                self.places.remove(&partition);
                self.shared.remove_place(partition);
                if let Some(opened) = &mut self.opened {
                    opened.remove(&partition);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, Found { partition, low, high }: Found) -> Result<(), Over> {
        if let Some(opened) = &mut self.opened {
            opened.insert(partition, high);
        }
        let place = self.names.place(partition);
        tracing::info!(partition = place, low = low.0, high = high.0, "reading a partition");
        self.begin(partition, low, Place::default())
    }

    fn restart(&mut self, Found { partition, low, high }: Found) -> Result<(), Over> {
        if let Some(opened) = &mut self.opened {
            opened.insert(partition, high);
        }
        self.shared.set_parted();
        let fault = Fault::Recreated(self.names.place(partition));
        tracing::error!(%fault, low = low.0, high = high.0, "a partition is read again");
        let drawn = draw_incarnation();
        self.say(SourceEvent::Begin { partition, incarnation: drawn })?;
        self.begin(partition, low, Place { incarnation: Some(drawn), ..Place::default() })?;
        self.shared.restarted(partition);
        Ok(())
    }

    /// Sets a partition to its first record.
    fn begin(&mut self, partition: Partition, low: Offset, place: Place) -> Result<(), Over> {
        let place = Place { low, next: low, ..place };
        // Also where nothing lies below: a restart must show in a snapshot before anything else.
        self.pass(partition, Records::default(), low)?;
        self.set_place(partition, place);
        Ok(())
    }

    fn open_if_due(&mut self) {
        let runs = self.reading.is_some() && !self.incomplete;
        if runs || self.places.is_empty() || Instant::now() < self.resume {
            return;
        }
        self.incomplete = false;
        // Gone before the next one comes: one client at a time.
        self.reading = None;
        let from = self.places.iter().map(|(partition, place)| (*partition, place.next));
        let config = self.settings.consumer();
        match Reading::open(&config, &self.names, from, &self.channels.wake) {
            Ok(reading) => self.reading = Some(reading),
            Err(error) => {
                self.shared.note(Fault::Other(error.to_string()));
                self.resume = Instant::now() + limits::RETRY_PAUSE;
            }
        }
    }

    /// Hands over what was taken of a partition.
    fn hand_over(&mut self, partition: Partition, taken: Taken) -> Result<(), Over> {
        let Taken { records, bytes, up_to, more: _, error } = taken;
        let Some(mut place) = self.places.get(&partition).copied() else { return Ok(()) };
        let before = place;
        let bytes = Arc::new(bytes);
        let none = || Records::among(Arc::clone(&bytes));
        let mut ready = none();
        // Once for all of them: they came at once, and asking costs as much as a record does.
        let now = self.clock.now();
        let newest = self.shared.newest_answer(partition);
        for Raw { offset, key, payload, appended_ms } in records {
            // librdkafka hands over nothing twice within a reading; a frontier must not rest on it.
            if offset < place.next {
                continue;
            }
            let appended = self.append_time(partition, offset, appended_ms, now, newest);
            // What has no payload is a tombstone, which changes no state (L3).
            if let Some(payload) = payload {
                let key = key.and_then(|key| bytes.get(key));
                let said = bytes.get(payload.clone()).unwrap_or_default();
                // An identity that can't be read is a record like any other: it will be quarantined.
                if let Some(identity) = LogIdentity::of_record(key, said) {
                    self.pass(partition, std::mem::replace(&mut ready, none()), offset)?;
                    self.adopt(partition, offset, identity, &mut place)?;
                } else {
                    ready.push(Position { partition, offset }, appended, payload);
                }
            }
            place.next = offset.next();
        }
        place.next = place.next.max(up_to.unwrap_or_default());
        if place != before {
            self.pass(partition, ready, place.next)?;
            self.set_place(partition, place);
        }
        error.map_or(Ok(()), |code| self.fail(partition, code))
    }

    /// Takes an identity record to heart.
    fn adopt(
        &mut self,
        partition: Partition,
        offset: Offset,
        identity: LogIdentity,
        place: &mut Place,
    ) -> Result<(), Over> {
        let LogIdentity { incarnation, horizon, min_reader_version, partition: _ } = identity;
        let topic = || self.names.name(partition.topic).to_owned();
        if min_reader_version > identity::READER_VERSION {
            let has = identity::READER_VERSION;
            let fault = Fault::ReaderTooOld { topic: topic(), needs: min_reader_version, has };
            return self.lose(fault);
        }
        if horizon != self.horizon {
            let (log_s, own_s) = (horizon.as_secs(), self.horizon.as_secs());
            return self.lose(Fault::Horizon { topic: topic(), log_s, own_s });
        }
        if place.identity.is_some_and(|(_, before)| before != incarnation) {
            self.shared.set_parted();
        }
        place.identity = Some((offset, incarnation));
        if place.incarnation != Some(incarnation) {
            place.incarnation = Some(incarnation);
            self.say(SourceEvent::Begin { partition, incarnation })?;
            self.pass(partition, Records::default(), offset.next())?;
        }
        Ok(())
    }

    /// What to do about an error in a partition's queue. Whatever it is, this partition is read no
    /// further before the next reading: what comes after the error must not pass for what comes
    /// after the records before it. The others go on.
    fn fail(&mut self, partition: Partition, code: Code) -> Result<(), Over> {
        if let Some(reading) = &mut self.reading {
            reading.leave_out(partition, &self.names);
        }
        if !std::mem::replace(&mut self.incomplete, true) {
            self.resume = Instant::now() + limits::RETRY_PAUSE;
        }
        let place = self.names.place(partition);
        let fault = match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                // The probe knows where the partition begins; a full channel is being looked at.
                let _ = self.channels.suspects.try_send(partition);
                tracing::warn!(partition = place, "the offset reached lies outside the log");
                return Ok(());
            }
            Code::NotImplemented | Code::UnsupportedCompressionType => Fault::Codec(place),
            Code::BadMessage | Code::BadCompression | Code::InvalidMessage => Fault::Damaged(place),
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::UnknownPartition => {
                Fault::UnknownTopic(self.names.name(partition.topic).to_owned())
            }
            code => Fault::of(code, &format!("{place}: {code}")),
        };
        if fault.mend() == Mend::Never {
            return self.lose(fault);
        }
        self.shared.fail(partition, fault);
        Ok(())
    }

    /// When a record was appended. Where the topic keeps the sender's time, this host's own stands
    /// in: later than the truth at the worst, so that nothing is forgotten early.
    fn append_time(
        &mut self,
        partition: Partition,
        offset: Offset,
        appended_ms: Option<i64>,
        now: UnixMillis,
        newest: Option<Answer>,
    ) -> UnixMillis {
        let Some(appended) = appended_ms.and_then(|millis| u64::try_from(millis).ok()) else {
            if !std::mem::replace(&mut self.warned_of_times, true) {
                let topic = self.names.name(partition.topic);
                tracing::warn!(
                    topic,
                    "the topic keeps its senders' times; set message.timestamp.type=LogAppendTime"
                );
            }
            return now;
        };
        let appended = UnixMillis::from_millis(appended);
        // A record beyond the end that was asked for was appended since.
        if let Some(Answer { wall, end, .. }) = newest
            && offset >= end
        {
            let apart = appended.since(now).max(wall.since(appended));
            let apart = apart > limits::CLOCKS_APART_MAX;
            if apart != self.shared.set_clocks_apart(apart) && apart {
                self.shared.note(Fault::ClocksApart(self.names.place(partition)));
            }
        }
        appended
    }

    fn catch_up(&mut self) -> Result<(), Over> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let reached = |(partition, end): (&Partition, &Offset)| {
            self.places.get(partition).is_some_and(|place| place.next >= *end)
        };
        if !opened.is_empty() && opened.iter().all(reached) {
            self.opened = None;
            return self.say(SourceEvent::CaughtUp);
        }
        Ok(())
    }

    fn pass(&self, partition: Partition, records: Records, next: Offset) -> Result<(), Over> {
        // Each record was appended by itself: any number of them may be seen without the next.
        self.say(SourceEvent::Batch(Batch { is_whole: true, partition, records, next }))
    }

    fn set_place(&mut self, partition: Partition, place: Place) {
        self.places.insert(partition, place);
        self.shared.set_place(partition, place);
    }

    fn lose(&self, fault: Fault) -> Result<(), Over> {
        lose(&self.shared, &self.channels.events, fault);
        Err(Over)
    }

    fn say(&self, event: SourceEvent) -> Result<(), Over> {
        self.channels.events.blocking_send(event).map_err(|_| Over)
    }
}

/// Says that nothing can be read any more. Returns when that was heard, or nobody is there to hear it:
/// the word must come from whoever takes it, before this thread is seen to end.
pub(super) fn lose(shared: &Shared, events: &mpsc::Sender<SourceEvent>, fault: Fault) {
    shared.note(fault.clone());
    let fault = SourceFault { cause: Box::new(fault) };
    if events.blocking_send(SourceEvent::Lost(fault)).is_ok() {
        while !events.is_closed() {
            std::thread::sleep(limits::IDLE_TIME);
        }
    }
}

/// An incarnation for a reading whose identity is not known yet.
fn draw_incarnation() -> Incarnation {
    use std::hash::{BuildHasher, RandomState};
    // Unlike any other, which is all it has to be: each state is keyed anew.
    let word = || RandomState::new().hash_one(0);
    let number = (u128::from(word()) << 64) | u128::from(word());
    Incarnation(number.to_be_bytes())
}
