//! Envoy's external authorization over gRPC: `envoy.service.auth.v3.Authorization`, which Istio, Envoy Gateway and
//! others speak, too.
//!
//! It stands beside the services of `caed.v1`, on their listener, and wants the right to decide; where it is
//! handed claims that Envoy's `jwt_authn` verified, the right to vouch as well.
//!
//! Whatever is asked is answered with status `OK` of gRPC: Envoy takes any other for an error, and may be
//! configured to let errors pass.

mod convert;
mod service;

use caed_proto::ext_authz::authorization_server::AuthorizationServer;
use caed_proto::ext_authz::{CheckRequest, CheckResponse};
use caed_proto::v1;
use caed_trust::verifier::Verifier;

use crate::gateway::{self, Question, convert as common};
use crate::limits;
use crate::native::Parts;
use crate::rights::Rights;
use service::Service;

/// The service, ready to be served.
pub(crate) fn server(parts: Parts) -> AuthorizationServer<Service> {
    let server = AuthorizationServer::new(Service::new(parts));
    server.max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}

/// Answers one request.
pub(crate) async fn check(parts: &Parts, request: CheckRequest, rights: Rights) -> CheckResponse {
    let answer = match convert::told(request, &parts.verifier) {
        Ok(told) => gateway::ask(parts, rights, told).await,
        Err(problem) => gateway::convert::unasked(problem),
    };
    convert::response(answer)
}

/// What Envoy asks, as an API would ask it; `None` where it tells of no token. What its route demands of a token is
/// not in it.
pub fn question(request: CheckRequest, verifier: &Verifier) -> Option<v1::EvaluateRequest> {
    let told = convert::told(request, verifier).ok()?;
    common::question(told).map(|Question { request, route: _ }| request)
}

#[cfg(test)]
mod tests;
