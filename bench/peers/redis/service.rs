//! The services of both: whether the token was issued before the cutoff that Redis holds for its user.
//!
//! They speak caed's messages and Envoy's, and know of a token what the look-up needs: its tenant, its user and when
//! it was issued. A user who is not in Redis passes; where Redis does not answer, nobody does.

use std::io::{self, Write};

use caed_proto::ext_authz::authorization_server::{Authorization, AuthorizationServer};
use caed_proto::ext_authz::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HttpStatus, Status as CheckStatus,
    check_response::HttpResponse,
};
use caed_proto::v1::access_evaluation_server::{AccessEvaluation, AccessEvaluationServer};
use caed_proto::v1::{
    EvaluateBatchReply, EvaluateBatchRequest, EvaluateReply, EvaluateRequest, Verdict,
    evaluate_request,
};
use prost_types::value::Kind;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use tokio::net::TcpListener;
use tokio_stream::Empty;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

/// The filter of Envoy that verifies tokens.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// What is told a client whose token was revoked.
const SIGN_IN_AGAIN: &str = "Bearer error=\"invalid_token\"";

/// Serves on a free port of loopback, which it prints, by the Redis at the address that is the first argument.
pub(crate) async fn serve() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.ok_or_else(|| io::Error::other("the address of Redis is missing"))?;
    let client = redis::Client::open(address).map_err(io::Error::other)?;
    // A machine that is busy elsewhere for half a second must not fail a run.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let revocations = client.get_multiplexed_async_connection_with_config(&patient).await;
    let revocations = revocations.map_err(io::Error::other)?;
    let service = Service { revocations };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    Server::builder()
        .tcp_nodelay(true)
        .add_service(AccessEvaluationServer::new(service.clone()))
        .add_service(AuthorizationServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .map_err(io::Error::other)
}

#[derive(Clone)]
struct Service {
    revocations: MultiplexedConnection,
}

impl Service {
    /// Whether a token of this user, issued at this second, passes.
    async fn passes(&self, tenant: &str, user: &str, issued_at: i64) -> Result<bool, Status> {
        let mut revocations = self.revocations.clone();
        let cutoff: Option<i64> = revocations
            .get(format!("revoked:{tenant}:{user}"))
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(cutoff.is_none_or(|cutoff| issued_at > cutoff))
    }
}

#[tonic::async_trait]
impl AccessEvaluation for Service {
    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateReply>, Status> {
        let Some(evaluate_request::Token::Claims(claims)) = request.into_inner().token else {
            return Err(Status::invalid_argument("no claims"));
        };
        let (Some(tenant), Some(user), Some(issued_at)) = (claims.tid, claims.sub, claims.iat)
        else {
            return Err(Status::invalid_argument("tid, sub or iat is missing"));
        };
        let reply = if self.passes(&tenant, &user, issued_at).await? {
            EvaluateReply {
                verdict: Verdict::Allow.into(),
                http_status: 200,
                ..EvaluateReply::default()
            }
        } else {
            EvaluateReply {
                verdict: Verdict::Challenge.into(),
                http_status: 401,
                www_authenticate: SIGN_IN_AGAIN.to_owned(),
                ..EvaluateReply::default()
            }
        };
        Ok(Response::new(reply))
    }

    async fn evaluate_batch(
        &self,
        _: Request<EvaluateBatchRequest>,
    ) -> Result<Response<EvaluateBatchReply>, Status> {
        Err(Status::unimplemented("one at a time"))
    }

    type EvaluateStreamStream = Empty<Result<EvaluateReply, Status>>;

    async fn evaluate_stream(
        &self,
        _: Request<Streaming<EvaluateRequest>>,
    ) -> Result<Response<Self::EvaluateStreamStream>, Status> {
        Err(Status::unimplemented("one at a time"))
    }
}

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let (tenant, user, issued_at) = claims(request.into_inner())
            .ok_or_else(|| Status::invalid_argument("tid, sub or iat is missing"))?;
        let response = if self.passes(&tenant, &user, issued_at).await? {
            CheckResponse {
                status: Some(CheckStatus { code: Code::Ok.into() }),
                ..CheckResponse::default()
            }
        } else {
            let denied = DeniedHttpResponse {
                status: Some(HttpStatus { code: 401 }),
                ..DeniedHttpResponse::default()
            };
            CheckResponse {
                status: Some(CheckStatus { code: Code::Unauthenticated.into() }),
                http_response: Some(HttpResponse::DeniedResponse(denied)),
                dynamic_metadata: None,
            }
        };
        Ok(Response::new(response))
    }
}

/// Tenant, user and second of issue, of the claims that Envoy verified.
fn claims(request: CheckRequest) -> Option<(String, String, i64)> {
    let mut filters = request.attributes?.metadata_context?.filter_metadata;
    let payload = filters.remove(JWT_AUTHN)?.fields.into_values().next()?;
    let Kind::StructValue(mut payload) = payload.kind? else { return None };
    let mut claim = |name| payload.fields.remove(name)?.kind;
    match (claim("tid")?, claim("sub")?, claim("iat")?) {
        (Kind::StringValue(tenant), Kind::StringValue(user), Kind::NumberValue(issued_at)) => {
            #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
            let issued_at = issued_at as i64;
            Some((tenant, user, issued_at))
        }
        _ => None,
    }
}
