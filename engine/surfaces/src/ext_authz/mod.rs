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
use prost::Message as _;

use crate::gateway::{self, Question, Told, convert as common};
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
    answer(parts, convert::told(request, &parts.verifier), rights).await
}

/// Answers one request in the bytes that it came in; `None` where they are none.
pub(crate) async fn check_in(
    parts: &Parts,
    message: &[u8],
    rights: Rights,
) -> Option<CheckResponse> {
    let told = match convert::read(message, &parts.verifier) {
        Some(told) => Ok(told),
        None => convert::told(CheckRequest::decode(message).ok()?, &parts.verifier),
    };
    Some(answer(parts, told, rights).await)
}

async fn answer(parts: &Parts, told: Result<Told, &'static str>, rights: Rights) -> CheckResponse {
    let answer = match told {
        Ok(told) => gateway::ask(parts, rights, told).await,
        Err(problem) => common::unasked(problem),
    };
    convert::response(answer)
}

/// What Envoy asks, as an API would ask it; `None` where it tells of no token. What its route demands of a token is
/// not in it.
pub fn question(request: CheckRequest, verifier: &Verifier) -> Option<v1::EvaluateRequest> {
    let told = convert::told(request, verifier).ok()?;
    common::question(told).map(|Question { request, route: _ }| request)
}

/// The same of the bytes that it came in, if they are read where they stand.
pub fn question_in(message: &[u8], verifier: &Verifier) -> Option<Option<v1::EvaluateRequest>> {
    let told = convert::read(message, verifier)?;
    Some(common::question(told).map(|Question { request, route: _ }| request))
}

#[cfg(test)]
mod tests;
