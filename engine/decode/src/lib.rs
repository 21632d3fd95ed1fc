//! Bytes to events.
//!
//! Law of this crate: **reading an event is pure**. A record is understood or not by itself alone, and
//! never fatal (E16); nothing here knows a log, a socket or a clock.
//!
//! | module | noun |
//! |---|---|
//! | [`native`] | caed's own events |

mod directory;
pub mod native;
