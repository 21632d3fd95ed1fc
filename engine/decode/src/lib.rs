//! The wire to core: bytes to events and questions, claims to tokens.
//!
//! Law of this crate: **reading the wire is pure**. A record is understood or not by itself alone, and
//! never fatal (E16); nothing here knows a log, a socket or a clock.
//!
//! | module | noun |
//! |---|---|
//! | [`native`] | caed's own events |
//! | [`asked`] | what is asked |
//! | [`claims`] | the claims of a token |
//! | [`check`] | what Envoy asks |
//! | [`countries`] | a database of countries |
//! | [`graph`] | Microsoft Graph's JSON of conditional access, as those events |
//! | [`message`] | what is in force, as events again |
//! | [`parts`] | a version that needs several records |
//! | [`limits`] | bounds |

pub mod asked;
pub mod check;
pub mod claims;
pub mod countries;
mod directory;
mod fields;
pub mod graph;
pub mod limits;
pub mod message;
pub mod native;
pub mod parts;
