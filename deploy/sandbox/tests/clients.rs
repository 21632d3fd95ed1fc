//! Clients of others, as they are: the Azure SDKs' pipelines before a real gateway and a real caed.
//!
//! The programs (`tests/clients`) go into the cache folder with what their lock files name.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

#[path = "clients/pipelines.rs"]
mod pipelines;
#[path = "clients/scene.rs"]
mod scene;
