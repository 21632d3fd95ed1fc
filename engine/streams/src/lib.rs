//! Where events come from and are kept: logs, sources, and the one writer of state.
//!
//! Law of this crate: **event logs do not know who asks**. It imports no surface.
//!
//! | module | noun |
//! |---|---|
//! | [`log`] | the embedded log's files |
//! | [`embedded`] | that log as a sink that events are appended to and a source that they are read from |
//! | [`kafka`] | the same two ends on Kafka's topics |
//! | `intake` | what happens to an event before any log appends it |
//! | [`source`] | what every source says |
//! | [`applier`] | the single writer: events in, snapshots out |
//! | [`limits`] | bounds |

pub mod applier;
pub mod embedded;
mod intake;
pub mod kafka;
pub mod limits;
pub mod log;
pub mod source;
