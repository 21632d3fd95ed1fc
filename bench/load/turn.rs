//! Taking turns: everybody is loaded in the same way, one after the other, several rounds of all, and the medians
//! are compared; so what else the machine does meets all of them.

use std::time::Duration;

use caed_bench::generator::{Address, Calls, Load, Measured, Pace, load};
use caed_bench::report::median;

/// One who is loaded.
#[derive(Clone, Copy)]
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    pub(crate) address: &'a Address,
    pub(crate) process: u32,
    pub(crate) calls: &'a Calls,
}

/// How.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    pub(crate) rounds: usize,
    pub(crate) duration: Duration,
}

impl Turns {
    /// The medians of each, in their order.
    pub(crate) fn measure<const N: usize>(
        self,
        contenders: [Contender<'_>; N],
        connections: usize,
        pace: Pace,
    ) -> Result<[Measured; N], String> {
        let mut figures = [const { Vec::new() }; N];
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..N).collect();
            // Who goes first changes.
            order.rotate_left(round % N);
            for place in order {
                let measured = contenders[place].measure(connections, pace, self.duration)?;
                figures[place].push(measured);
            }
        }
        Ok(figures.map(|figures| medians(&figures)))
    }
}

impl Contender<'_> {
    /// One turn.
    pub(crate) fn measure(
        self,
        connections: usize,
        pace: Pace,
        duration: Duration,
    ) -> Result<Measured, String> {
        let Self { name, address, process, calls } = self;
        let server = &[process];
        let measured = load(&Load { address, calls, connections, pace, duration, server });
        measured.map_err(|problem| format!("{name}: {problem}"))
    }
}

/// The median of each figure.
pub(crate) fn medians(figures: &[Measured]) -> Measured {
    let of = |figure: fn(&Measured) -> f64| median(figures.iter().map(figure).collect());
    Measured {
        answers: figures.iter().map(|figures| figures.answers).sum(),
        per_second: of(|figures| figures.per_second),
        cpu_us: of(|figures| figures.cpu_us),
        own_cpu_us: of(|figures| figures.own_cpu_us),
        p50_us: of(|figures| figures.p50_us),
        p99_us: of(|figures| figures.p99_us),
        p999_us: of(|figures| figures.p999_us),
    }
}
