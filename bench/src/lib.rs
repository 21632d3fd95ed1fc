//! The benches' world: a state of many revoked users, the tokens that are asked about, and what each
//! answer must be.
//!
//! - [`scenario`]: what is measured, as a sentence;
//! - [`subject`]: who the users, sessions and devices are, by number;
//! - [`question`]: a token, and the answer that it must get;
//! - [`world`]: a builder, a publisher and a reader that live as they do in the sidecar;
//! - [`verification`]: raw tokens, and what verifying them takes;
//! - [`report`]: the figures, in rows.
//!
//! Everything follows from numbers and one seed (but for the keys of raw tokens, which each run makes): no file
//! is read, and two runs do the same things in the same order. Every answer is checked, also while the clock runs: a fast wrong answer is
//! worth nothing.

pub mod estate;
pub mod flat_map;
pub mod question;
pub mod ranges;
pub mod report;
pub mod scenario;
pub mod subject;
pub mod verification;
pub mod world;
