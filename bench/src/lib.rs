//! The benches' world: a state of many revoked users, the tokens that are asked about, and what each
//! answer must be.
//!
//! - [`scenario`]: what is measured, as a sentence;
//! - [`subject`]: who the users, sessions and devices are, by number;
//! - [`question`]: a token, and the answer that it must get;
//! - [`estate`]: the policies, locations and groups of a tenant;
//! - [`world`]: a builder, a publisher and a reader that live as they do in the sidecar;
//! - [`asker`]: who asks it, on whatever thread;
//! - [`membership`]: large groups;
//! - [`ranges`]: addresses among ranges;
//! - [`verification`]: raw tokens, and what verifying them takes;
//! - [`flat_map`]: what decisions are compared with;
//! - [`histogram`], [`memory`]: how long, and how much;
//! - [`visitors`]: who asks over the wire, and what each must be told;
//! - [`generator`]: the load that asks;
//! - [`sidecar`]: where the program is that is asked over the wire;
//! - [`report`]: the figures, in rows.
//!
//! Everything follows from numbers and one seed (but for the keys of raw tokens, which each run makes): no file
//! is read, and two runs do the same things in the same order. Every answer is checked, also while the clock
//! runs: a fast wrong answer is worth nothing.

pub mod asker;
pub mod estate;
pub mod flat_map;
pub mod generator;
pub mod histogram;
pub mod membership;
pub mod memory;
pub mod question;
pub mod ranges;
pub mod report;
pub mod scenario;
pub mod sidecar;
pub mod subject;
pub mod verification;
pub mod visitors;
pub mod world;
