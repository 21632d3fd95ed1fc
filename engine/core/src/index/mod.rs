//! The data structures below the state: the only folder that names hashers and bitmaps.
//!
//! - [`flat`]: one small open-addressing table of plain rows, copied as memory;
//! - [`table`]: ten million of such rows as a copy-on-write tree whose publication costs what
//!   changed;
//! - [`names`]: tenants, issuers and sources as small numbers;
//! - [`ranges`]: addresses, and the locations that cover them;
//! - [`sets`]: the members of groups;
//! - [`slots`]: a vector that snapshots share.

pub(crate) mod flat;
pub(crate) mod names;
pub mod ranges;
pub(crate) mod sets;
pub(crate) mod slots;
pub(crate) mod table;

/// A row of a table: plain data, found by a key that is part of it.
pub(crate) trait Row: Copy + PartialEq {
    /// What identifies the row.
    type Key: Copy + Eq;

    /// An unoccupied slot's content; never compared.
    const VACANT: Self;

    /// The row's key.
    fn key(&self) -> Self::Key;

    /// Places the key. The seed is drawn per process, so that nobody can aim ids at one shard.
    fn hash(key: &Self::Key, seed: u64) -> u64;
}
