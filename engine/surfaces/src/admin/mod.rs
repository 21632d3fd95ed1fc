//! The admin listener: plain HTTP for probes, scrapers, and people who look.
//!
//! | path | answers |
//! |---|---|
//! | `/` | the status page; `/live` is the part of it that changes |
//! | `/explain` | a form that asks why a token is answered as it is, and the explanation |
//! | `/healthz` | 200 while the process runs |
//! | `/readyz` | 200 while requests are decided by fresh knowledge, else 503 with the reason |
//! | `/metrics` | everything counted, in the OpenMetrics text format |
//!
//! Whoever reaches the listener may ask `/healthz` and `/readyz`; everything else wants the right to administer.
//!
//! Deliberately absent: anything that changes something.

mod explain;
mod form;
mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::limits;
use crate::native::Parts;
use crate::pdp::Readiness;
use crate::rights::{Right, Rights};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the listener shows.
#[derive(Clone)]
struct Shown {
    parts: Parts,
    registry: Arc<Registry>,
}

/// The routes of the admin listener.
pub fn router(parts: Parts, registry: Registry) -> Router {
    let text = |kind, text| get(move || async move { ([(header::CONTENT_TYPE, kind)], text) });
    Router::new()
        .route("/", get(page))
        .route("/live", get(live))
        .route("/explain", get(explain::blank).post(explain::asked))
        .layer(DefaultBodyLimit::max(limits::FORM_BYTES_MAX))
        .route("/page.css", text("text/css; charset=utf-8", page::STYLE))
        .route("/page.js", text("text/javascript; charset=utf-8", page::SCRIPT))
        .route("/metrics", get(metrics))
        .route_layer(middleware::from_fn(administrators))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Shown { parts, registry: Arc::new(registry) })
}

/// Lets those through who may administer.
async fn administrators(request: Request, next: Next) -> Response {
    match Rights::in_request(request.extensions()).demand(Right::Administer) {
        Ok(()) => next.run(request).await,
        Err(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
    }
}

async fn page(State(shown): State<Shown>) -> impl IntoResponse {
    (shielded(page::POLICY), Html(page::page(&shown).into_string()))
}

/// What keeps a page to itself: it loads what its policy says, and nobody else frames, stores or guesses it.
fn shielded(policy: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        // Not `no-referrer`: with it, browsers hide even from ourselves that a form is our own.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
}

async fn live(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], Html(page::live(&shown).into_string()))
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    let refuse = |reason| (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"));
    match shown.parts.pdp.readiness() {
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
