//! The name of a record (L1): copies of one event share it, different events never do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use caed_core::builder::Builder;
use caed_core::event::{Event, Fact, RecordKey, Stream};
use caed_core::ids::ObjectKey;
use caed_core::index::ranges::RangeSet;
use caed_core::policy::{Body, PlaceList, Places, Policy, Selected, Settings, Version};
use caed_core::position::{Offset, Partition, Position};
use caed_core::rules::Rules;
use caed_core::time::UnixMillis;
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
                if matches!(event.fact, Fact::Heartbeat { .. }) {
                    continue;
                }
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

#[test]
fn signs_of_life_share_their_key_by_source_and_stream() {
    let sign = |tenant, source, partition, occurred, stream| {
        let what = What::Heartbeat(partition, stream);
        let (id, received) = ("", occurred);
        let event = world::Event { tenant, source, id, occurred, received, what };
        border::event(&event).record_key()
    };
    let one = sign("contoso", "directory", 0, 1000, Stream::Enabled);
    assert_eq!(one, sign("contoso", "directory", 0, 2000, Stream::Paused));
    for other in [
        sign("fabrikam", "directory", 0, 1000, Stream::Enabled),
        sign("contoso", "personnel", 0, 1000, Stream::Enabled),
        sign("contoso", "directory", 1, 1000, Stream::Enabled),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn contents_that_differ_in_one_list_have_different_hashes() {
    let key = |id| ObjectKey::parse(id).expect("an id");
    let (users, groups) = (vec![key("anna")], vec![key("anna")]);
    let none = Selected::default();
    let user = Selected { users, groups: Vec::new() };
    let group = Selected { users: Vec::new(), groups };
    let settings = |only: Option<&Selected>, except: &Selected| {
        let settings =
            Settings { only: only.cloned(), except: except.clone(), ..Settings::default() };
        Body::Settings(Some(Arc::new(settings)))
    };
    let mut bodies = vec![
        settings(None, &none),
        settings(Some(&none), &none),
        settings(Some(&user), &none),
        settings(Some(&group), &none),
        settings(None, &user),
        settings(None, &group),
    ];
    let policy = policy();
    let nowhere = PlaceList::default();
    let all = PlaceList { all: true, ..nowhere.clone() };
    let trusted = PlaceList { all_trusted: true, ..nowhere.clone() };
    let office = PlaceList { ids: vec![key("office")], ..nowhere.clone() };
    let mut lists = vec![None];
    for place in [all, trusted, office] {
        lists.push(Some(Places { include: place.clone(), exclude: nowhere.clone() }));
        lists.push(Some(Places { include: nowhere.clone(), exclude: place }));
    }
    bodies.extend(lists.into_iter().map(|locations| {
        let policy = Policy { locations, ..policy.clone() };
        Body::Policy(key("policy"), Some(Arc::new(policy)))
    }));
    // The same numbers in another family of addresses.
    let trusts =
        |range| Body::MfaTrusted(Some(Arc::new(RangeSet::parse([range]).expect("a range"))));
    bodies.extend(["0.0.0.1/32", "::1/128"].map(trusts));
    let hashes: HashSet<[u8; 16]> = bodies.iter().map(Body::content_hash).collect();
    assert_eq!(hashes.len(), bodies.len());
}

/// Some policy.
fn policy() -> Policy {
    for seed in 0.. {
        let world = generate::world(&mut Random::new(seed));
        for (told, part) in world.told {
            let what = What::Told(told, part);
            let event =
                world::Event { tenant: "a", source: "a", id: "", occurred: 0, received: 0, what };
            if let Fact::Version(Version { body: Body::Policy(_, Some(policy)), .. }) =
                border::event(&event).fact
            {
                return Policy::clone(&policy);
            }
        }
    }
    unreachable!("a world has policies sooner or later")
}

#[test]
fn tenants_are_counted() {
    let mut builder = Builder::new(Arc::new(Rules::default()), 7);
    for (count, tenant) in ["contoso", "fabrikam", "contoso"].into_iter().enumerate() {
        let what = What::TenantRevoked;
        let event = world::Event { tenant, source: "a", id: "", occurred: 0, received: 0, what };
        let position = Position { partition: Partition::default(), offset: Offset(0) };
        builder.apply(position, UnixMillis::ZERO, &border::event(&event));
        assert_eq!(builder.freeze().counts().tenants, (count + 1).min(2));
    }
}
