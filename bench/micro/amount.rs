//! How much is done: in full, or as a test.

use std::time::Duration;

use caed_bench::estate::{Estate, Stay};
use caed_bench::membership::Dense;
use caed_bench::scenario::Users;

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    /// Revoked users of a small state.
    pub(crate) few: Users,
    /// Those of a large one.
    pub(crate) most: Users,
    /// What a tenant has.
    pub(crate) estate: Estate,
    /// Ranges of locations.
    pub(crate) ranges: [u64; 4],
    /// Large groups.
    pub(crate) dense: Dense,
    /// Users who are asked about again and again.
    pub(crate) hot: u64,
    /// Users who are asked about while events are published.
    pub(crate) busy: u64,
    /// Events before anything is measured: half of what a table's groups collect before all of them have
    /// settled.
    pub(crate) lived: u64,
    /// At least and at most.
    pub(crate) rounds: (u32, u32),
    /// No more rounds than the least after so long: others may use the machine.
    pub(crate) enough: Duration,
    /// Decisions of a round.
    pub(crate) decisions: u64,
    /// Events of a round: as many as a table's groups collect before all of them have settled, so that each
    /// round bears its share of that.
    pub(crate) events: u64,
    /// Batches of a round of churn, one every 10 ms.
    pub(crate) churn: u32,
    /// Looks for what to forget, of a round: everything once.
    pub(crate) looks: u64,
    /// Raw tokens of a round.
    pub(crate) verifications: u64,
}

impl Amount {
    pub(crate) const FULL: Self = Self {
        few: Users(10_000),
        most: Users(10_000_000),
        estate: Estate::HEAD_OFFICE,
        ranges: [10, 1_000, 100_000, 1_000_000],
        dense: Dense { groups: 20, subjects: 1_000_000 },
        hot: 5_000,
        busy: 1_000_000,
        lived: 4096 * 32,
        rounds: (3, 7),
        enough: Duration::from_secs(25),
        decisions: 100_000,
        events: 4096 * 64,
        churn: 100,
        looks: 64,
        verifications: 5_000,
    };

    pub(crate) const SMALL: Self = Self {
        few: Users(1_000),
        most: Users(10_000),
        estate: Estate { ranges: 1_000, ..Estate::HEAD_OFFICE },
        ranges: [10, 100, 1_000, 10_000],
        dense: Dense { groups: 2, subjects: 10_000 },
        hot: 500,
        busy: 1_000,
        lived: 5_000,
        rounds: (1, 1),
        enough: Duration::ZERO,
        decisions: 1_000,
        events: 5_000,
        churn: 10,
        looks: 64,
        verifications: 1_000,
    };

    /// The same tenant, whose users are elsewhere.
    pub(crate) const fn roaming(&self) -> Estate {
        Estate { stay: Stay::Roaming, ..self.estate }
    }
}
