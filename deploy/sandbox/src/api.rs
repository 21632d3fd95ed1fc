//! The API behind the gateway: it says what it was told.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json};

/// What it serves.
pub(crate) fn router() -> Router {
    Router::new().route("/healthz", get(healthy)).fallback(told)
}

/// Free for all, so that nobody should have told it who asks.
async fn healthy(headers: HeaderMap) -> String {
    let caed = caed_of(&headers);
    if caed.is_empty() { "healthy\n".to_owned() } else { format!("told {caed:?}\n") }
}

/// What came of the request, and who caed says that it is from.
async fn told(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let caed = caed_of(&headers);
    Json(
        json!({"method": method.as_str(), "path": uri.to_string(), "bytes": body.len(), "caed": caed}),
    )
}

/// The headers that only caed may give.
fn caed_of(headers: &HeaderMap) -> Map<String, Value> {
    let mut caed = Map::new();
    for (name, value) in headers {
        let name = name.as_str();
        if name.replace('_', "-").starts_with("x-caed-") {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            // A second one of a name would be somebody else's: it is shown, too.
            let all = caed.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(all) = all {
                all.push(value.into());
            }
        }
    }
    caed
}
