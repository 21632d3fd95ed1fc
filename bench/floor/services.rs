//! Empty services of tonic and axum.

use std::io;
use std::pin::Pin;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use caed_proto::ext_authz::authorization_server::{Authorization, AuthorizationServer};
use caed_proto::ext_authz::{CheckRequest, CheckResponse};
use caed_proto::v1;
use caed_proto::v1::access_evaluation_server::{AccessEvaluation, AccessEvaluationServer};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::answers;
use crate::floor::Listener;

struct Empty;

#[tonic::async_trait]
impl AccessEvaluation for Empty {
    async fn evaluate(
        &self,
        _: Request<v1::EvaluateRequest>,
    ) -> Result<Response<v1::EvaluateReply>, Status> {
        Ok(Response::new(answers::evaluate()))
    }

    async fn evaluate_batch(
        &self,
        request: Request<v1::EvaluateBatchRequest>,
    ) -> Result<Response<v1::EvaluateBatchReply>, Status> {
        let count = request.into_inner().requests.len();
        let v1::EvaluateReply { knowledge, .. } = answers::evaluate();
        // What they knew stands once.
        let reply = v1::EvaluateReply { knowledge: None, ..answers::evaluate() };
        Ok(Response::new(v1::EvaluateBatchReply { replies: vec![reply; count], knowledge }))
    }

    type EvaluateStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::EvaluateReply, Status>> + Send>>;

    async fn evaluate_stream(
        &self,
        request: Request<Streaming<v1::EvaluateRequest>>,
    ) -> Result<Response<Self::EvaluateStreamStream>, Status> {
        let replies = request.into_inner().map(|request| request.map(|_| answers::evaluate()));
        Ok(Response::new(Box::pin(replies)))
    }
}

#[tonic::async_trait]
impl Authorization for Empty {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(answers::check()))
    }
}

pub(crate) async fn grpc(listener: Listener) -> io::Result<()> {
    let server = tonic::transport::Server::builder()
        .add_service(AccessEvaluationServer::new(Empty))
        .add_service(AuthorizationServer::new(Empty));
    let served = match listener {
        Listener::Tcp(listener) => {
            let incoming = TcpListenerStream::new(listener).map(|stream| {
                let stream = stream?;
                stream.set_nodelay(true)?;
                Ok::<_, io::Error>(stream)
            });
            server.serve_with_incoming(incoming).await
        }
        Listener::Unix(listener) => {
            server.serve_with_incoming(UnixListenerStream::new(listener)).await
        }
    };
    served.map_err(io::Error::other)
}

pub(crate) async fn http(listener: Listener) -> io::Result<()> {
    let answer = || async {
        (StatusCode::OK, [("cache-control", "no-store")], answers::HEADERS).into_response()
    };
    let router = Router::new().fallback(answer);
    match listener {
        Listener::Tcp(listener) => {
            use axum::serve::ListenerExt;
            let listener = listener.tap_io(|stream| {
                let _ = stream.set_nodelay(true);
            });
            axum::serve(listener, router).await
        }
        Listener::Unix(listener) => axum::serve(listener, router).await,
    }
}
