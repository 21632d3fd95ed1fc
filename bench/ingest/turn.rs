//! Taking turns: caed and a bare consumer, one after the other, so that what else the machine does meets both.

use std::fs;
use std::time::{Duration, Instant};

use caed_bench::report::median;

use crate::precise;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Bare,
    Caed,
}

/// caed's figure, and the bare consumer's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) caed: f64,
    pub(crate) bare: f64,
}

/// What reading takes.
pub(crate) struct Measured {
    /// Records a second.
    pub(crate) rate: Pair,
    /// Microseconds of processor time for each record, of all threads of this process.
    pub(crate) cost_us: Pair,
}

/// What one turn took.
pub(crate) struct Turn {
    records: u64,
    took: Duration,
    spent: Duration,
}

/// A turn that goes on.
pub(crate) struct Begun {
    at: Instant,
    spent: Duration,
}

impl Begun {
    pub(crate) fn now() -> Self {
        Self { spent: spent_by_this_process(), at: Instant::now() }
    }

    /// So many records later. Whoever read them must still be there, or what they cost is not counted.
    pub(crate) fn end(self, records: u64) -> Turn {
        let Self { at, spent } = self;
        Turn { records, took: at.elapsed(), spent: spent_by_this_process().saturating_sub(spent) }
    }
}

/// So many rounds of both; who goes first changes.
pub(crate) fn all(rounds: usize) -> impl Iterator<Item = Who> {
    (0..rounds).flat_map(|round| {
        if round % 2 == 0 { [Who::Bare, Who::Caed] } else { [Who::Caed, Who::Bare] }
    })
}

/// The medians of so many rounds.
pub(crate) fn measure(rounds: usize, mut turn: impl FnMut(Who) -> Turn) -> Measured {
    let (mut rates, mut costs) = (Figures::default(), Figures::default());
    for who in all(rounds) {
        let Turn { records, took, spent } = turn(who);
        rates.push(who, precise(records) / took.as_secs_f64());
        costs.push(who, spent.as_secs_f64() * 1e6 / precise(records));
    }
    Measured { rate: rates.medians(), cost_us: costs.medians() }
}

/// Figures of both, one for each round.
#[derive(Default)]
pub(crate) struct Figures {
    bare: Vec<f64>,
    caed: Vec<f64>,
}

impl Figures {
    pub(crate) fn push(&mut self, who: Who, figure: f64) {
        match who {
            Who::Bare => self.bare.push(figure),
            Who::Caed => self.caed.push(figure),
        }
    }

    pub(crate) fn medians(self) -> Pair {
        Pair { caed: median(self.caed), bare: median(self.bare) }
    }
}

/// Processor time of the threads of this process that live.
fn spent_by_this_process() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
