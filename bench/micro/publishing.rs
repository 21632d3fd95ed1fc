//! Publications, each while another thread asks without pause; and decisions, each by itself, while events are
//! published and while none are.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use caed_bench::histogram::Histogram;
use caed_bench::report::{Row, Target};
use caed_bench::scenario::{Drawn, Task, Tokens};
use caed_bench::world::{BATCH, World};

use crate::{Run, each_of, precise};

/// How often a batch is published.
const EVERY: Duration = Duration::from_millis(10);

/// Events that are published one by one after each batch.
const SINGLES: u64 = 250;

/// The events of that time at 10,000 a second.
const CHURN: u64 = 100;

/// One event, and the events of 10 ms at 100,000 a second, in a small state and a large one.
pub(crate) fn publish(run: &mut Run, small: &mut World, large: &mut World) -> io::Result<()> {
    let (events, tokens) = (run.amount.events, tokens(run));
    let single = Task::Publish { events: 1 };
    let batch = Task::Publish { events: BATCH };
    run.say(&format_args!("{}, while others ask", large.scenario(single)))?;
    let mut longest = Histogram::default();
    let figures = run.medians(|| {
        let [small, large] = [&mut *small, &mut *large].map(|world| {
            let asker = world.asker();
            asker.beside(tokens, || Published::by(world, events)).0
        });
        for taken in &large.singles {
            longest.record(*taken);
        }
        let [small_single, small_batch] = small.nanos();
        let [large_single, large_batch] = large.nanos();
        [small_single, large_single, small_batch, large_batch]
    });
    let [small_single, large_single, small_batch, large_batch] = figures;
    let (small_name, name) = (small.scenario(single).name(), large.scenario(single).name());
    let micros = |nanos: f64| nanos / 1e3;
    let share = |nanos: f64| nanos / EVERY.as_secs_f64() / 1e9 * 100.0;
    let row = Row::new(&name, micros(large_single), "µs");
    run.row(row.wanted(Target::AtMost(100.0)));
    let tail = precise(longest.all_but_of_thousand(1)) / 1e3;
    run.row(Row::new(format!("{name}.p999"), tail, "µs"));
    let batch = large.scenario(batch).name();
    run.row(Row::new(&batch, share(large_batch), "% of a core").wanted(Target::AtMost(50.0)));
    let growth = Row::new("publish.growth", micros(large_single), "µs");
    let growth = growth.beside(&small_name, micros(small_single));
    run.row(growth.wanted(Target::RatioAtMost(3.0)));
    let growth = Row::new("publish.batch.growth", micros(large_batch), "µs");
    run.row(growth.beside(format!("{small_name}, {BATCH} events"), micros(small_batch)));
    Ok(())
}

/// How long single decisions take while events are published, and while none are, in turns.
pub(crate) fn churn(run: &mut Run, world: &mut World) -> io::Result<()> {
    let (batches, tokens) = (run.amount.churn, tokens(run));
    let task = Task::Decide(tokens);
    run.say(&format_args!("{}, each by itself, beside publications", world.scenario(task)))?;
    let asker = world.asker();
    let [quiet_50, quiet_99, quiet_999, churn_50, churn_99, churn_999] = run.medians(|| {
        let ((), quiet) = asker.beside(tokens, || thread::sleep(EVERY * batches));
        let ((), churn) = asker.beside(tokens, || {
            let began = Instant::now();
            for batch in 1..=batches {
                world.publish(CHURN);
                thread::sleep((EVERY * batch).saturating_sub(began.elapsed()));
            }
        });
        let [quiet, churn] = [quiet, churn].map(|taken| {
            assert!(taken.count() > 0, "somebody asked");
            [500, 10, 1].map(|but| precise(taken.all_but_of_thousand(but)))
        });
        let ([quiet_50, quiet_99, quiet_999], [churn_50, churn_99, churn_999]) = (quiet, churn);
        [quiet_50, quiet_99, quiet_999, churn_50, churn_99, churn_999]
    });
    for (name, churn, quiet) in [
        ("read.p50.churn", churn_50, quiet_50),
        ("read.p99.churn", churn_99, quiet_99),
        ("read.p999.churn", churn_999, quiet_999),
    ] {
        let row = Row::new(name, churn, "ns").beside("quiet", quiet);
        let is_main = name == "read.p999.churn";
        run.row(if is_main { row.wanted(Target::RatioAtMost(2.0)) } else { row });
    }
    Ok(())
}

/// How long publications took.
#[derive(Default)]
struct Published {
    singles: Vec<Duration>,
    batches: Vec<Duration>,
}

impl Published {
    /// Publishes so many events, some one by one after each batch, so that both kinds bear their share of what is
    /// put off.
    fn by(world: &mut World, events: u64) -> Self {
        let mut published = Self::default();
        for _ in 0..events / (BATCH + SINGLES) {
            published.batches.push(world.publish(BATCH));
            published.singles.extend((0..SINGLES).map(|_| world.publish(1)));
        }
        published
    }

    /// What one of a kind took.
    fn nanos(&self) -> [f64; 2] {
        [&self.singles, &self.batches].map(|taken| each_of(taken.len() as u64, taken.iter().sum()))
    }
}

/// Whom others ask about meanwhile.
const fn tokens(run: &Run) -> Tokens {
    Tokens::Renewed(Drawn::FromSome(run.amount.busy))
}
