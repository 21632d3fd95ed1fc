//! The admin listener: plain HTTP for probes and scrapers.
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200 while the process runs |
//! | `/readyz` | 200 once requests are decided, before that 503 with the reason |
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

use crate::pdp::Pdp;

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
    if shown.pdp.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the log is being read\n")
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
