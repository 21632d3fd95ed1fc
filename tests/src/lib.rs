//! What the tests of all of caed share: a naive [`oracle`] of the decision, small [`world`]s in
//! plain data, a seeded generator of them ([`generate`]), the way from there into core ([`border`],
//! [`plan`]) and onto the [`wire`], and the [`scenario`] files, also as [`plain`] data, with the way from
//! them into core ([`question`]) and back ([`answer`]).
//! [`fuzz`] holds what every decoder must do with any bytes.
//!
//! The oracle was written from `engine/SEMANTICS.md` alone and shares no code with the engine but
//! the names at its border (reasons, scopes, answers) and the hashes that order ties. Where the two
//! differ, one of them has a bug, and the text says which.
//!
//! Deliberately absent: anything fast.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "test support stops where something is not as it was drawn"
)]

pub mod answer;
pub mod border;
pub mod fuzz;
pub mod generate;
pub mod mmdb;
pub mod oracle;
pub mod plain;
pub mod plan;
pub mod question;
pub mod random;
pub mod scenario;
pub mod wire;
pub mod world;
