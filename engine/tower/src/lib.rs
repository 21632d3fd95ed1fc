//! The decision inside a Rust API: a layer of `tower` around any HTTP service, axum's, tonic's or hyper's.
//!
//! Law of this crate: **others embed the decision without a sidecar**. It asks core and trust in the API's own
//! process. There is no surface, no source of events, no listener, no task and no clock in it: the API feeds the
//! snapshot, keeps the issuers' keys and tells the time, on its own runtime (tokio, whose timers bound how long a
//! token waits for new keys).
//!
//! A request is answered as a sidecar answers a gateway about it, byte by byte: the same belief in its token (T2) and
//! address (T3), the same rules, the same refusal.
//!
//! ```
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//!
//! use axum::body::Body;
//! use axum::extract::{ConnectInfo, Request};
//! use axum::routing::get;
//! use axum::{Extension, Router};
//! use caed_core::{builder::Builder, publish, rules::Rules};
//! use caed_tower::{Access, Admitted};
//! use caed_trust::verifier::Verifier;
//! use tower::ServiceExt;
//! # struct Clock;
//! # impl caed_core::time::Clock for Clock {
//! #     fn now(&self) -> caed_core::time::UnixMillis {
//! #         caed_core::time::UnixMillis::from_millis(1_800_000_000_000)
//! #     }
//! #     fn monotonic(&self) -> std::time::Duration {
//! #         std::time::Duration::ZERO
//! #     }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Whoever has the publisher and the builder feeds what requests are decided by: see `examples/axum.rs`.
//! let mut builder = Builder::new(Arc::new(Rules::default()), 7);
//! let (_publisher, snapshots) = publish::cell(builder.freeze());
//!
//! let access = Access::new(snapshots, Verifier::default(), Arc::new(Clock))
//!     .with_peer(|request| request.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
//! let api: Router = Router::new()
//!     .route("/files", get(|Extension(caller): Extension<Admitted>| async { caller.subject }))
//!     .layer(access);
//!
//! let response = api.oneshot(Request::get("/files").body(Body::empty())?).await?;
//! assert_eq!(response.status(), 401);
//! assert_eq!(response.headers()["www-authenticate"], "Bearer");
//! # Ok(())
//! # }
//! ```
//!
//! | module | noun |
//! |---|---|
//! | `access` | what is enforced, and the decision about one request |
//! | `service` | the layer, and the service that it makes |
//!
//! # Invariants
//!
//! - A refused request never reaches the service within.
//! - What a request was let in for stands in its extensions, where no client can write.
//!
//! # Deliberately absent
//!
//! - Metrics and logs: a layer around this one finds in a response's extensions why it was [`Refused`], and the
//!   service within finds in the request's what it was [`Admitted`] for, the note of D5 included.
//! - Claims that somebody else vouches for: the token itself is verified.
//! - Answers in gRPC's own form: its clients read the HTTP status (401 `UNAUTHENTICATED`, 403 `PERMISSION_DENIED`,
//!   503 `UNAVAILABLE`). The body must be made of a text, as axum's is: `tonic::service::Routes::into_axum_router`.

mod access;
mod service;

pub use access::{Access, Admitted, Refused};
pub use service::Protected;
