//! Catching up: a topic from its beginning, from opening a client until its last record is there, or decided by.

use caed_streams::kafka::settings::KafkaSettings;

use crate::consumer::{Bare, From};
use crate::pipeline::Pipeline;
use crate::producer;
use crate::stream::Stream;
use crate::turn::{self, Begun, Measured, Who};

/// Both in turns, with a topic that holds so many events.
pub(crate) fn measure(
    settings: &KafkaSettings,
    stream: Stream,
    events: u64,
    rounds: usize,
) -> Measured {
    producer::write(settings, stream, 0..events);
    turn::measure(rounds, |who| {
        let begun = Begun::now();
        match who {
            Who::Bare => {
                let bare = Bare::open(settings, From::Beginning);
                let read = bare.read(bare.waiting());
                assert!(read.records > events && read.bytes > events, "{read:?}");
                begun.end(read.records)
            }
            Who::Caed => {
                let mut pipeline = Pipeline::of_kafka(settings);
                pipeline.catch_up();
                let turn = begun.end(pipeline.records());
                pipeline.check(stream, events);
                turn
            }
        }
    })
}
