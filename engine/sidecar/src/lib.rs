//! The sidecar: wires logs to surfaces, binds, reads clocks and the environment.
//!
//! Law of this crate: **only the binary wires, binds, and reads clocks and the environment**.
//! Nothing else of the engine imports it; tests and benches do, to run what users run.
//!
//! | module | noun |
//! |---|---|
//! | [`access`] | who may do what |
//! | [`app`] | a running sidecar: everything wired together, and its orderly end |
//! | `crew` | the threads that serve |
//! | [`config`] | what the operator decides |
//! | [`cli`] | the command line |
//! | [`client`] | how the command line reaches a running sidecar |
//! | [`clock`] | the clocks of this host |
//! | [`listen`] | sockets |
//! | `log` | the log, whichever the operator chose |
//! | [`telemetry`] | what is written to standard error |
//! | `topic_check` | the look at Kafka's topics, every hour |

pub mod access;
mod alarms;
pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
mod countries;
mod crew;
pub mod descriptors;
pub mod listen;
mod log;
pub mod telemetry;
mod topic_check;
