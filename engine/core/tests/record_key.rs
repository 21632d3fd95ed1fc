//! The name of a record (L1): copies of one event share it, different events never do.

use std::collections::HashMap;

use caed_core::event::{Event, RecordKey};
use caed_tests::random::Random;
use caed_tests::world::{self, What};
use caed_tests::{border, generate};

/// How many worlds are drawn. Their ids, instants and texts are few, so events differ in little.
const WORLDS: u64 = 3000;
/// How often two equal events must have been drawn, and how many different ones.
const OFTEN: usize = 500;

#[test]
fn copies_share_their_key_and_different_events_never_do() {
    let mut known: HashMap<RecordKey, Event> = HashMap::new();
    let mut copies = 0;
    for seed in 0..WORLDS {
        let mut random = Random::new(seed);
        let world = generate::world(&mut random);
        for record in generate::records(&world, world.now, &mut random) {
            for drawn in neighbours(record.event) {
                let event = border::event(&drawn);
                let key = event.record_key();
                assert_eq!(key, event.clone().record_key());
                if let Some(other) = known.get(&key) {
                    assert_eq!(*other, event, "one key for two events");
                    copies += 1;
                } else {
                    known.insert(key, event);
                }
            }
        }
    }
    let mut different: Vec<&Event> = known.values().collect();
    different.sort_unstable_by_key(|event| (event.received, event.occurred));
    for pair in different
        .chunk_by(|one, other| (one.received, one.occurred) == (other.received, other.occurred))
    {
        for (at, one) in pair.iter().enumerate() {
            for other in pair.iter().skip(at + 1) {
                assert_ne!(one, other, "two keys for one event");
            }
        }
    }
    println!("{} different events, {copies} copies", known.len());
    assert!(known.len() >= OFTEN && copies >= OFTEN, "{} {copies}", known.len());
}

/// An event, a copy of it, and events that differ from it in one thing.
fn neighbours(event: world::Event) -> Vec<world::Event> {
    let mut neighbours = vec![
        event,
        event,
        world::Event { id: "4", ..event },
        world::Event { occurred: event.occurred + 1, ..event },
        world::Event { received: event.received + 1, ..event },
        world::Event { source: "another", ..event },
        world::Event { tenant: "another", ..event },
        world::Event { what: What::TenantRevoked, ..event },
    ];
    // Texts that meet at another place are not the same texts.
    neighbours.push(world::Event { source: "ab", id: "c", ..event });
    neighbours.push(world::Event { source: "a", id: "bc", ..event });
    neighbours
}
