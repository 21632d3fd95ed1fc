//! Clients of others, as they are: the Azure SDKs' pipelines before a real gateway and a real caed, and callers of
//! caed's own interface as `deploy/clients` shows them.
//!
//! The programs (`tests/clients`, `deploy/clients`) go into the cache folder with what their lock files name.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

#[path = "clients/callers.rs"]
mod callers;
#[path = "clients/pipelines.rs"]
mod pipelines;
#[path = "clients/scene.rs"]
mod scene;
mod sidecar;
