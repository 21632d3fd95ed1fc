//! How long an event takes from its sender to the first decision that sees it, beside how long a bare consumer
//! takes to have it in hand.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use caed_streams::kafka::settings::KafkaSettings;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, Producer};

use crate::consumer::{Bare, From};
use crate::pipeline::{self, Pipeline};
use crate::producer;
use crate::stream::{Record, Stream};
use crate::turn::{self, Figures, Pair, Who};

/// Between two events: a hundred in a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Events before those that count: the first wait for what clients do once.
const WARM_UP: usize = 20;

/// The percentiles, in milliseconds.
pub(crate) struct Enforce {
    pub(crate) p50_ms: Pair,
    pub(crate) p99_ms: Pair,
}

/// What is sent in one turn, and when each was.
struct Sent<'a> {
    settings: &'a KafkaSettings,
    records: Vec<Record>,
    times: Vec<OnceLock<Instant>>,
}

/// Both in turns, with so many events for each turn.
pub(crate) fn measure(
    settings: &KafkaSettings,
    stream: Stream,
    events: usize,
    rounds: usize,
) -> Enforce {
    let producer: BaseProducer = settings.producer().create().expect("a producer");
    let (mut middle, mut late) = (Figures::default(), Figures::default());
    let mut written = 0;
    for who in turn::all(rounds) {
        let numbers = written..written + (WARM_UP + events) as u64;
        written = numbers.end;
        let at = pipeline::now();
        let records: Vec<_> =
            numbers.clone().map(|number| Stream::revocation(number, at)).collect();
        let times = records.iter().map(|_| OnceLock::new()).collect();
        let sent = Sent { settings, records, times };
        let mut took = match who {
            Who::Bare => to_a_bare_consumer(&sent, &producer),
            Who::Caed => to_a_decision(&sent, &producer, stream, numbers.start),
        };
        took.drain(..WARM_UP);
        took.sort_unstable();
        middle.push(who, percentile_ms(&took, 50));
        late.push(who, percentile_ms(&took, 99));
    }
    Enforce { p50_ms: middle.medians(), p99_ms: late.medians() }
}

impl Sent<'_> {
    /// Sends one after the other, whether or not they have arrived.
    fn send(&self, producer: &BaseProducer) {
        let begun = Instant::now();
        for (number, (record, time)) in (0..).zip(self.records.iter().zip(&self.times)) {
            std::thread::sleep((begun + PAUSE * number).saturating_duration_since(Instant::now()));
            time.get_or_init(Instant::now);
            producer::put(producer, self.settings, record);
            producer.poll(Duration::ZERO);
        }
        producer.flush(Duration::from_secs(10)).expect("written");
    }

    /// How long ago a record was sent.
    fn since(&self, place: usize) -> Duration {
        self.times[place].get().map_or(Duration::ZERO, Instant::elapsed)
    }
}

fn to_a_bare_consumer(sent: &Sent<'_>, producer: &BaseProducer) -> Vec<Duration> {
    let bare = Bare::open(sent.settings, From::End);
    let places: HashMap<&[u8], usize> =
        sent.records.iter().enumerate().map(|(at, record)| (&record.key.0[..], at)).collect();
    let mut took = vec![Duration::ZERO; sent.records.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| sent.send(producer));
        let mut left = took.len();
        while left > 0 {
            if let Some(message) = bare.next() {
                let place = places[message.key().expect("a key")];
                took[place] = sent.since(place);
                left -= 1;
            }
        }
    });
    took
}

fn to_a_decision(
    sent: &Sent<'_>,
    producer: &BaseProducer,
    stream: Stream,
    first: u64,
) -> Vec<Duration> {
    let mut pipeline = Pipeline::of_kafka(sent.settings);
    pipeline.catch_up();
    let questions: Vec<_> =
        (first..).take(sent.records.len()).map(|number| stream.revoked(number)).collect();
    let mut took = vec![Duration::ZERO; questions.len()];
    std::thread::scope(|scope| {
        scope.spawn(|| sent.send(producer));
        let mut waiting: Vec<usize> = (0..questions.len()).collect();
        while !waiting.is_empty() {
            pipeline.change();
            // Whoever was not sent yet is not asked about.
            waiting.retain(|place| {
                let is_sent = sent.times[*place].get().is_some();
                let is_seen = is_sent
                    && questions[*place].is_answered_by(&pipeline.decide(&questions[*place]));
                if is_seen {
                    took[*place] = sent.since(*place);
                }
                !is_seen
            });
        }
    });
    took
}

fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}
