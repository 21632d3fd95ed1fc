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
//!
//! | module | noun |
//! |---|---|
//! | `connection` | one connection: its requests answered, and its end |
//! | `head` | a request that is read where it came, and an answer as it is sent |
//! | `convert` | what a gateway tells and understands |

mod connection;
mod convert;
mod head;

use crate::gateway;
use crate::native::Parts;
use crate::rights::{Right, Rights};
pub use connection::serve;
use convert::{Dialect, Headers, Reply};

/// Answers a request of somebody with these rights.
async fn answer<'h>(parts: &Parts, rights: Rights, path: &str, headers: impl Headers<'h>) -> Reply {
    let (dialect, options) = Dialect::of(path);
    let told = rights.demand(Right::Decide).and_then(|()| dialect.told(options, &headers));
    let answer = match told {
        Ok(told) => gateway::ask(parts, rights, told).await,
        Err(problem) => gateway::convert::unasked(&problem),
    };
    dialect.reply(answer)
}

#[cfg(test)]
mod tests;
