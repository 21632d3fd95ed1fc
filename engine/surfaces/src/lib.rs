//! Who asks: the surfaces through which decisions are requested and events come in.
//!
//! Law of this crate: **surfaces do not know where facts come from**. It imports no source; what it
//! needs of one comes through the traits of `caed-core`.
//!
//! | module | noun |
//! |---|---|
//! | [`pdp`] | the policy decision point: the only caller of `decide` here |
//! | [`native`] | the gRPC services of `caed.v1` |
//! | `gateway` | what gateways ask, whatever they speak |
//! | [`ext_authz`] | Envoy's external authorization over gRPC |
//! | [`forward_auth`] | what nginx, Caddy, Traefik and Envoy ask over HTTP |
//! | [`admin`] | health, readiness, metrics and pages for people, over HTTP |
//! | [`rights`] | what a caller may do |
//! | [`words`] | answers and explanations in words |
//! | [`metrics`] | what is counted |
//! | [`wire`] | gRPC over HTTP/2, on connections that somebody else accepted |
//! | [`limits`] | bounds |

pub mod admin;
pub mod ext_authz;
pub mod forward_auth;
mod gateway;
pub mod limits;
pub mod metrics;
pub mod native;
pub mod pdp;
pub mod rights;
pub mod wire;
pub mod words;

#[cfg(test)]
mod fixture;
