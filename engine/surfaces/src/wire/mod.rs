//! gRPC over HTTP/2: every service, on connections that somebody else accepted.
//!
//! What is asked thousands of times a second goes a short way, and all else a long one:
//!
//! | module | noun |
//! |---|---|
//! | `connection` | one connection: its calls taken in, and its end |
//! | `direct` | a call that asks for decisions, answered without tonic |
//! | `streamed` | a stream of questions, read without tonic's codec |
//! | `routed` | any other call, handed to tonic's services |
//!
//! Both ways end in the same handlers. The short one saves what a general server does for each call: a task, a
//! stack of layers, boxed bodies and futures, and a copy of every text. It takes nothing but the regular case, one whole message of one of
//! three methods, not compressed, from who may ask; whatever is odd about a call is left to tonic, and answered as
//! tonic answers it.

mod connection;
mod direct;
mod routed;
mod streamed;

use std::sync::Arc;

use tonic::service::Routes;

use crate::native::{self, Health, Parts};
pub use connection::Terms;

/// All services, ready to be served.
pub struct Server {
    parts: Arc<Parts>,
    routes: Routes,
}

impl Server {
    /// The services, and what sets their health. They start as `NOT_SERVING`.
    pub async fn new(parts: Parts) -> Result<(Arc<Self>, Health), tonic_reflection::server::Error> {
        let (routes, health) = native::routes(parts.clone()).await?;
        let parts = Arc::new(parts);
        Ok((Arc::new(Self { parts, routes: routes.prepare() }), health))
    }
}

#[cfg(test)]
mod tests;
