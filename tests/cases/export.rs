//! What is exported and told to a state that knows nothing decides the same, and is exported the same again;
//! in worlds that nobody thought of, and with everything that may stand in an event.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where it fails")]

use std::sync::Arc;

use caed_core::builder::Builder;
use caed_core::decision::{Decision, Verdict};
use caed_core::event::{Event, Fact};
use caed_core::export::{Statement, Word};
use caed_core::ids::Name;
use caed_core::limits::SECONDS_BELOW;
use caed_core::policy::{Part, Version};
use caed_core::position::{Offset, Partition, Position};
use caed_core::snapshot::Snapshot;
use caed_core::time::UnixMillis;
use caed_decode::{message, native, parts};
use caed_tests::random::Random;
use caed_tests::world::{What, World};
use caed_tests::{border, generate, plan};

/// How many worlds, with so many requests each.
const WORLDS: u64 = 6000;
const REQUESTS: usize = 25;

#[test]
fn an_export_decides_the_same_and_is_exported_the_same() {
    let (mut told, mut asked, mut refused, mut spoken) = (0, 0, 0, 0);
    for seed in 0..WORLDS {
        let mut random = Random::new(seed);
        let world = generate::world(&mut random);
        let mut records = generate::records(&world, world.now, &mut random);
        records.extend(generate::records(&world, world.now, &mut random));
        records.retain(|record| is_of_a_directory(record.event.what));
        let steps = plan::plainly(&records);
        let events = plan::events(&steps);
        let snapshot = plan::play(&world, &steps, seed).snapshot;
        let tenants: Vec<Name> = snapshot.tenants().cloned().collect();
        let exported = export(&snapshot, &tenants);
        let again = retold(&world, &exported, seed);
        let again_exported = export(&again, &tenants);
        for (one, other) in exported.iter().zip(&again_exported) {
            let differs = |(one, other): &(&Statement, &Statement)| one != other;
            let pair = one.1.iter().zip(&other.1).find(differs);
            assert_eq!(pair, None, "seed {seed}");
        }
        assert_eq!(again_exported, exported, "seed {seed}");
        for _ in 0..REQUESTS {
            let request = generate::request(&world, &events, &mut random);
            let ask = |snapshot| {
                let decision = border::ask(snapshot, &request, border::at(&world));
                Decision { generation: 0, ..decision }
            };
            let answer = ask(&snapshot);
            assert_eq!(ask(&again), answer, "seed {seed}: {request:?}");
            refused += usize::from(answer.verdict != Verdict::Allow);
            asked += 1;
        }
        for (tenant, statement) in exported
            .iter()
            .flat_map(|(tenant, all)| all.iter().map(move |statement| (tenant, statement)))
        {
            spoken += usize::from(is_read_as_it_was_meant(tenant, statement));
            told += 1;
        }
    }
    println!("{told} statements, {spoken} of them on the wire; {refused} of {asked} refused");
    assert!(spoken * 2 > told && refused * 10 > asked, "{spoken} of {told}, {refused} of {asked}");
}

const fn is_of_a_directory(what: What) -> bool {
    matches!(what, What::Told(..) | What::Member(..) | What::Source(..))
}

fn export(snapshot: &Snapshot, tenants: &[Name]) -> Vec<(Name, Vec<Statement>)> {
    let of = |tenant: &Name| snapshot.in_force(tenant).map(|all| (tenant.clone(), all));
    // A tenant of which everything was deleted is known, with nothing to tell.
    tenants.iter().filter_map(of).filter(|(_, all)| !all.is_empty()).collect()
}

/// A state that was told an export and nothing else.
fn retold(world: &World, exported: &[(Name, Vec<Statement>)], seed: u64) -> Snapshot {
    let mut builder = Builder::new(Arc::new(border::rules(world)), seed);
    builder.set_countries(world.countries.as_deref().map(border::countries));
    if world.caught_up {
        builder.caught_up();
    }
    let mut offset = 0;
    for (tenant, statements) in exported {
        for statement in statements {
            let position = Position { partition: Partition::default(), offset: Offset(offset) };
            let event = event(tenant, statement, world);
            builder.apply(position, event.received, &event);
            offset += 1;
        }
    }
    builder.freeze()
}

fn event(tenant: &Name, statement: &Statement, world: &World) -> Event {
    let Statement { at, word, title } = statement.clone();
    Event {
        tenant: tenant.clone(),
        source: Name::parse("export").expect("a name"),
        id: String::new(),
        occurred: at,
        received: border::millis(world.now).max(at),
        fact: fact(word, title),
    }
}

fn fact(word: Word, title: String) -> Fact {
    match word {
        Word::Source(source, declaration) => Fact::Source { source, declaration },
        Word::Object(body) => Fact::Version(Version { part: Part::WHOLE, body, title }),
        Word::Member { group, user, membership } => Fact::Member { group, user, membership },
    }
}

/// Whether it can be told on the wire. If so, it is read as it was meant.
fn is_read_as_it_was_meant(tenant: &Name, statement: &Statement) -> bool {
    if statement.at < UnixMillis::from_millis(SECONDS_BELOW) {
        // No event has such a time: it would be read as seconds.
        return false;
    }
    let Ok(event) = message::event(tenant.as_str(), "export", statement) else { return false };
    let told = parts::split(event).expect("valid");
    let [told] = told.as_slice() else { panic!("small") };
    let received_ms = told.event_time_ms;
    let read = native::event_of(caed_proto::v1::Event { received_ms, ..told.clone() });
    let read = read.unwrap_or_else(|error| panic!("{error}: {statement:?}")).event;
    assert_eq!(
        (read.occurred, &read.fact),
        (statement.at, &fact(statement.word.clone(), statement.title.clone()))
    );
    true
}
