//! The admin listener: plain HTTP for probes and scrapers.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200 while the process runs |
//! | `/readyz` | 200 while requests are decided by fresh knowledge, else 503 with the reason |
//! | `/metrics` | everything counted, in the OpenMetrics text format |
//!
//! Deliberately absent: anything that changes something. The listener trusts whoever reaches it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::pdp::{Pdp, Readiness};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the listener shows.
#[derive(Clone)]
struct Shown {
    pdp: Pdp,
    registry: Arc<Registry>,
}

/// The routes of the admin listener.
pub fn router(pdp: Pdp, registry: Registry) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Shown { pdp, registry: Arc::new(registry) })
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    let refuse = |reason| (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"));
    match shown.pdp.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::Reading => refuse("the log is being read".to_owned()),
        Readiness::Stale(age) => {
            let age = age.as_secs();
            refuse(format!("the log could not be followed for {age} s; `caed status` says why"))
        }
    }
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let mut body = String::new();
    match text::encode(&mut body, &shown.registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], body),
        Err(error) => {
            tracing::error!(%error, "encoding the metrics failed");
            let body = "encoding the metrics failed\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], body)
        }
    }
}
