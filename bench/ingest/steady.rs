//! Following: records as another process appends them, as fast as it can, from the first one that comes to the last.
//!
//! Producer, broker and consumer share the machine, so whoever needs more of it slows all three down.

use caed_streams::kafka::settings::KafkaSettings;

use crate::consumer::{Bare, From};
use crate::pipeline::Pipeline;
use crate::producer;
use crate::stream::Stream;
use crate::turn::{self, Begun, Measured, Who};

/// Both in turns, with so many new events for each turn.
pub(crate) fn measure(
    settings: &KafkaSettings,
    stream: Stream,
    events: u64,
    rounds: usize,
) -> Measured {
    let mut written = 0;
    turn::measure(rounds, |who| {
        let numbers = written..written + events;
        written = numbers.end;
        match who {
            Who::Bare => {
                let bare = Bare::open(settings, From::End);
                let mut child = producer::spawn(settings, stream, &numbers);
                bare.read(1);
                let begun = Begun::now();
                bare.read(events - 1);
                let turn = begun.end(events - 1);
                assert!(child.wait().expect("a process").success());
                turn
            }
            Who::Caed => {
                let mut pipeline = Pipeline::of_kafka(settings);
                pipeline.catch_up();
                let known = pipeline.records();
                let mut child = producer::spawn(settings, stream, &numbers);
                pipeline.reach(known + 1);
                let (begun, first) = (Begun::now(), pipeline.records());
                pipeline.reach(known + events);
                let turn = begun.end(known + events - first);
                assert!(child.wait().expect("a process").success());
                pipeline.check(stream, written);
                turn
            }
        }
    })
}
