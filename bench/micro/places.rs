//! How decisions grow with the ranges of a tenant's locations, and what looking an address up takes.

use std::io;

use caed_bench::estate::Estate;
use caed_bench::flat_map::{FlatMap, Gets};
use caed_bench::ranges::Lookups;
use caed_bench::report::{Row, Target};
use caed_bench::scenario::{Drawn, Task, Tokens, size};
use caed_bench::world::World;

use crate::{Run, each_of, precise};

/// How decisions grow with the ranges, beside how look-ups grow with as many keys.
pub(crate) fn growth(run: &mut Run) -> io::Result<()> {
    let (times, users) = (run.amount.decisions, run.amount.few);
    let [few, .., most] = run.amount.ranges;
    let task = Task::Decide(Tokens::Renewed(Drawn::FromAll));
    let estate = |ranges| Estate { ranges, ..run.amount.estate };
    let mut worlds = [few, most].map(|ranges| World::new(users).with(estate(ranges)));
    let mut maps = [few, most].map(FlatMap::new);
    for world in &worlds {
        run.say(&world.scenario(task))?;
    }
    let [few_nanos, most_nanos, few_gets, most_gets] = run.medians(|| {
        let [few, most] = worlds.each_mut().map(|world| world.run(task, times));
        let [few_gets, most_gets] =
            maps.each_mut().map(|map| map.run(Drawn::FromAll, Gets::AtOnce, times));
        [few, most, few_gets, most_gets].map(|spent| each_of(times, spent))
    });
    let grown = Row::new("decide.growth.ranges", most_nanos / few_nanos, "×");
    let gets = format!("gets, {} to {}", size(few), size(most));
    run.row(grown.beside(gets, most_gets / few_gets).wanted(Target::RatioAtMost(1.5)));
    Ok(())
}

/// Looking addresses up, in turns, and what the indexes take.
pub(crate) fn look_up(run: &mut Run) -> io::Result<()> {
    let times = run.amount.decisions;
    let mut indexes = run.amount.ranges.map(Lookups::new);
    run.say(&"look addresses up among the ranges of a tenant")?;
    let nanos = run.medians(|| indexes.each_mut().map(|index| each_of(times, index.run(times))));
    for (index, nanos) in indexes.iter().zip(nanos) {
        run.row(Row::new(index.name(), nanos, "ns"));
    }
    for index in &indexes {
        let bytes = u64::try_from(index.heap_bytes()).unwrap_or(u64::MAX);
        run.row(Row::new(format!("{}.heap", index.name()), precise(bytes) / 1024.0, "KiB"));
    }
    Ok(())
}
