//! Decisions, beside one look-up in a flat map of the same users.

use std::io;

use caed_bench::estate::{Estate, Stay};
use caed_bench::flat_map::{FlatMap, Gets};
use caed_bench::report::{Row, Target};
use caed_bench::scenario::{Drawn, Task, Tokens, Users, size};
use caed_bench::world::World;

use crate::{Part, Run, each_of};

const COLD: Tokens = Tokens::Renewed(Drawn::FromAll);

/// Flat maps of the most users and of few, where decisions are measured.
pub(crate) fn gets(run: &Run) -> Option<(FlatMap, FlatMap)> {
    let map = |Users(users)| FlatMap::new(users);
    run.does(Part::Deciding).then(|| (map(run.amount.most), map(run.amount.few)))
}

/// Decisions about all users and about some again and again, parsed before and while the clock runs.
pub(crate) fn beside_gets(run: &mut Run, world: &mut World, map: &mut FlatMap) -> io::Result<()> {
    let (times, hot) = (run.amount.decisions, Drawn::FromSome(run.amount.hot));
    let hot_tokens = Tokens::Renewed(hot);
    let tasks =
        [Task::Decide(COLD), Task::Decide(hot_tokens), Task::Ask(COLD), Task::Ask(hot_tokens)];
    run.say(&world.scenario(Task::Decide(COLD)))?;
    let [cold, hot, ask_cold, ask_hot, get_cold, get_hot, turn_cold, turn_hot] =
        run.medians(|| {
            let [cold, hot_, ask_cold, ask_hot] =
                tasks.map(|task| each_of(times, world.run(task, times)));
            let gets = [
                (Drawn::FromAll, Gets::AtOnce),
                (hot, Gets::AtOnce),
                (Drawn::FromAll, Gets::InTurn),
                (hot, Gets::InTurn),
            ];
            let [get_cold, get_hot, turn_cold, turn_hot] =
                gets.map(|(drawn, gets)| each_of(times, map.run(drawn, gets, times)));
            [cold, hot_, ask_cold, ask_hot, get_cold, get_hot, turn_cold, turn_hot]
        });
    let figures = [
        (cold, get_cold, turn_cold),
        (hot, get_hot, turn_hot),
        (ask_cold, get_cold, turn_cold),
        (ask_hot, get_hot, turn_hot),
    ];
    for (task, (value, get, in_turn)) in tasks.into_iter().zip(figures) {
        let scenario = world.scenario(task);
        let row = Row::new(scenario.name(), value, "ns").beside("a get", get);
        let is_main = scenario.estate != Estate::NONE && scenario.estate.stay == Stay::HeadOffice;
        let name = format!("{}.in_turn", scenario.name());
        run.row(Row::new(name, value, "ns").beside("a get in turn", in_turn));
        run.row(match task {
            Task::Decide(COLD) if is_main => row.wanted(Target::RatioAtMost(3.0)),
            Task::Decide(_) if is_main => row.wanted(Target::RatioAndValueAtMost(3.0, 150.0)),
            _ => row,
        });
    }
    Ok(())
}

/// How decisions and look-ups grow with the users.
pub(crate) fn growth(
    run: &mut Run,
    (small, large): (&mut World, &mut World),
    (few, most): (&mut FlatMap, &mut FlatMap),
) -> io::Result<()> {
    let times = run.amount.decisions;
    let task = Task::Decide(COLD);
    run.say(&small.scenario(task))?;
    let [small_nanos, large_nanos, few_nanos, most_nanos] = run.medians(|| {
        let [small, large] = [&mut *small, &mut *large].map(|world| world.run(task, times));
        let [few, most] =
            [&mut *few, &mut *most].map(|map| map.run(Drawn::FromAll, Gets::AtOnce, times));
        [small, large, few, most].map(|spent| each_of(times, spent))
    });
    let sizes = format!("{} to {}", size(small.users().0), size(large.users().0));
    let grown = Row::new("decide.growth.subjects", large_nanos / small_nanos, "×");
    let grown = grown.beside(format!("gets, {sizes}"), most_nanos / few_nanos);
    run.row(Row::new(small.scenario(task).name(), small_nanos, "ns").beside("a get", few_nanos));
    run.row(grown.wanted(Target::RatioAtMost(1.5)));
    Ok(())
}

/// Other answers, and looking for what can be forgotten.
pub(crate) fn others(run: &mut Run, world: &mut World) -> io::Result<()> {
    let (times, looks) = (run.amount.decisions, run.amount.looks);
    let tasks = [Tokens::Untouched, Tokens::Revoked, Tokens::Mixed].map(Task::Decide);
    run.say(&world.scenario(Task::Decide(Tokens::Mixed)))?;
    let [untouched, revoked, mixed, forget] = run.medians(|| {
        let [untouched, revoked, mixed] = tasks.map(|task| each_of(times, world.run(task, times)));
        [untouched, revoked, mixed, each_of(looks, world.run(Task::Forget, looks))]
    });
    for (task, nanos) in tasks.into_iter().zip([untouched, revoked, mixed]) {
        run.row(Row::new(world.scenario(task).name(), nanos, "ns"));
    }
    run.row(Row::new(world.scenario(Task::Forget).name(), forget / 1e3, "µs"));
    Ok(())
}
