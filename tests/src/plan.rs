//! How records reach a builder: in which order, how often, in which batches, with what between.

use std::sync::Arc;

use caed_core::builder::Builder;
use caed_core::position::{Offset, Partition, Position, Topic};
use caed_core::snapshot::Snapshot;

use crate::border;
use crate::random::Random;
use crate::world::{Event, Finer, Millis, Record, Request, What, World};

/// How much longer than the horizon a cutoff is kept (E17).
pub const FIVE_MINUTES: Millis = 300_000;

/// One act of the writer.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Applies a record of this partition.
    Apply(Record, u32),
    /// Passes a record that nobody understood (E16).
    Skip(Millis, u32),
    /// Ends a batch: freezes, and lets go of the snapshot before.
    Freeze,
    /// Forgets (E17), so many parts of the state, by this host's clock.
    Forget {
        /// The clock.
        clock: Millis,
        /// How many parts.
        parts: usize,
    },
}

/// What came of it.
pub struct Played {
    /// The state at the end.
    pub snapshot: Snapshot,
    /// How many rows were forgotten.
    pub forgotten: usize,
}

/// Every record once, in order, in one batch.
pub fn plainly(records: &[Record]) -> Vec<Step> {
    records.iter().map(|&record| Step::Apply(record, 0)).collect()
}

/// Every record at least once, in any order, from several partitions, in any batches.
pub fn anyhow(records: &[Record], random: &mut Random) -> Vec<Step> {
    let mut steps = plainly(records);
    for &record in records {
        if random.chance(20) {
            steps.push(Step::Apply(record, 0));
        }
        if random.chance(30) {
            steps.push(Step::Freeze);
        }
    }
    random.shuffle(&mut steps);
    for step in &mut steps {
        if let Step::Apply(_, partition) = step {
            *partition = random.pick(&[0, 0, 1, 3]);
        }
    }
    steps
}

/// The events that were applied, copies left out.
pub fn events(steps: &[Step]) -> Vec<Event> {
    let mut events = Vec::new();
    for step in steps {
        if let Step::Apply(Record { event, .. }, _) = step
            && !events.contains(event)
        {
            events.push(*event);
        }
    }
    events
}

/// Whether a slot holds the token's id only by records that were appended more than five minutes
/// before the token was issued.
///
/// Such a token can't be: what an event revokes by its id existed when it was recorded, give or take
/// the clocks. E17 and L3 let go of the id when every token of that time is dead, and E6's "whatever
/// its `iat`" can't be asked of them beyond that.
pub fn revokes_unissued(steps: &[Step], request: &Request) -> bool {
    let (Some(issued_at), Some(token)) = (request.issued_at, request.token) else { return false };
    let mut slots = Vec::new();
    for step in steps {
        let Step::Apply(Record { event, appended }, _) = step else { continue };
        let What::Revoked(Finer::Token(_, id), _) = event.what else { continue };
        let tenant = request.tenant.is_some_and(|own| own.eq_ignore_ascii_case(event.tenant));
        if tenant && id.eq_ignore_ascii_case(token) {
            let could_exist = issued_at * 1000 <= appended + FIVE_MINUTES;
            slots.push((border::event(event).fact, could_exist));
        }
    }
    let could_exist = |slot| slots.iter().any(|(other, could)| *could && other == slot);
    !slots.iter().all(|(slot, _)| could_exist(slot))
}

/// Goes through the steps with a builder whose rows are placed by `seed`.
pub fn play(world: &World, steps: &[Step], seed: u64) -> Played {
    let mut builder = Builder::new(Arc::new(border::rules(world)), seed);
    builder.set_countries(world.countries.as_deref().map(border::countries));
    if world.caught_up {
        builder.caught_up();
    }
    let mut next = [0; 4];
    let mut place = |partition: u32| {
        let offset = &mut next[partition as usize];
        *offset += 1;
        Position {
            partition: Partition { topic: Topic(0), number: partition },
            offset: Offset(*offset - 1),
        }
    };
    let mut forgotten = 0;
    let mut before = builder.freeze();
    for &step in steps {
        match step {
            Step::Apply(Record { event, appended }, partition) => {
                let event = border::event(&event);
                builder.apply(place(partition), border::millis(appended), &event);
            }
            Step::Skip(appended, partition) => {
                builder.skip(place(partition), border::millis(appended));
            }
            Step::Freeze => before = builder.freeze(),
            Step::Forget { clock, parts } => {
                forgotten +=
                    (0..parts).map(|_| builder.forget_some(border::millis(clock))).sum::<usize>();
            }
        }
    }
    let snapshot = builder.freeze();
    assert!(snapshot.generation() > before.generation(), "generations grow");
    Played { snapshot, forgotten }
}
