//! State and decision of continuous access evaluation, and nothing else.
//!
//! Law of this crate: **deciding is pure**. No clock, no socket, no task, no wire format; `now` and
//! parsed values come in, a [`Decision`](decision::Decision) goes out. So others can embed it, tests
//! can replay it, and the hot path has nothing to wait for.
//!
//! # Floor plan, in the order of the data
//!
//! ```text
//! event ─► consequence ─► builder (state, tenant, row, index) ─► snapshot ─► publish
//!                                                                   │
//!                        request, rules ─► decide ◄─────────────────┘
//!                                            └─► decision ─► challenge
//! ```
//!
//! | module | noun |
//! |---|---|
//! | [`event`] | what happened: the closed set of facts |
//! | [`consequence`] | what each fact does: the one table |
//! | [`policy`] | policies, locations and settings, as events tell them |
//! | [`builder`] | the single writer of state |
//! | `state`, `tenant`, `row`, `index` | the state: tables of plain rows, shared copy-on-write |
//! | [`directory`], `version` | what is known of a tenant's directory, and how its versions are ordered |
//! | [`snapshot`], [`digest`] | an immutable picture of the state, and one number for it |
//! | [`publish`] | the one cell through which snapshots reach requests |
//! | [`retention`] | which records a log may drop |
//! | [`request`], [`rules`] | what is asked, and what the operator decided |
//! | `evaluate` | which policies apply |
//! | [`decide`](mod@decide), [`decision`], [`challenge`], [`refusal`] | who gets in, and how a refusal reads |
//! | [`explain`](mod@explain), [`remedy`], `witness` | why, and what would change it |
//! | [`inspect`] | what is known of a tenant and of a subject |
//! | [`export`] | what is in force, so that it can be told again |
//! | [`sink`], [`log_view`], [`ingest`] | how surfaces reach a log and see it; what became of its records |
//! | [`ids`], [`position`], [`time`], [`limits`] | parsed values and bounds |
//!
//! # Invariants
//!
//! - State is a join: it depends on the set of events, never on their order (E1).
//! - One snapshot answers one request; one batch is published whole or not at all.
//! - [`decide`](decide::decide) is total: it has no error and no panic path.
//! - No row is evicted for lack of room (E17).

pub mod builder;
pub mod challenge;
pub mod consequence;
pub mod countries;
mod cutoffs;
pub mod decide;
pub mod decision;
pub mod digest;
pub mod directory;
mod evaluate;
pub mod event;
pub mod explain;
pub mod export;
pub mod freshness;
pub mod ids;
pub mod index;
pub mod ingest;
pub mod inspect;
pub mod limits;
pub mod log_view;
mod origin;
pub mod policy;
pub mod position;
pub mod publish;
pub mod refusal;
pub mod remedy;
pub mod request;
pub mod retention;
mod row;
pub mod rules;
pub mod sink;
pub mod snapshot;
mod state;
mod tenant;
pub mod time;
mod version;
mod witness;
