//! Forward authorization over HTTP: nginx's `auth_request`, Caddy's and Traefik's forward auth, and Envoy's
//! `ext_authz` with an HTTP service.
//!
//! A gateway repeats its client's request, without the body, and reads the answer's status and headers. One handler
//! answers all of them by the same code as every other surface; what a gateway can say and hear is in `convert`.
//!
//! | path | asked by |
//! |---|---|
//! | `/forward-auth/nginx/…` | nginx |
//! | `/forward-auth/caddy/…` | Caddy |
//! | `/forward-auth/traefik/…` | Traefik |
//! | `/forward-auth/envoy` | Envoy; what stands behind it is the client's, and is not read |
//! | any other | nobody |
//!
//! Who may not decide, or asks at another path, gets a refusal as every other: 403. Anything else but 401 is an error
//! to nginx, and errors can be configured away.

mod convert;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::gateway;
use crate::native::Parts;
use crate::rights::{Right, Rights};
use convert::Dialect;

/// The routes by which gateways ask.
pub fn router(parts: Parts) -> Router {
    Router::new().fallback(asked).with_state(Arc::new(parts))
}

async fn asked(State(parts): State<Arc<Parts>>, request: Request) -> Response {
    let rights = Rights::in_request(request.extensions());
    let (dialect, options) = Dialect::of(request.uri().path());
    let told = rights.demand(Right::Decide).and_then(|()| dialect.told(options, request.headers()));
    let answer = match told {
        Ok(told) => gateway::ask(&parts, rights, told).await,
        Err(problem) => gateway::convert::unasked(&problem),
    };
    dialect.response(answer)
}

#[cfg(test)]
mod tests;
