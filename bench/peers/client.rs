//! A client that asks once, tells a server something, or loads it with data. The generator is who measures load.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use caed_bench::generator::{Answer, Call, Calls, Outcome, Target};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// A connection.
pub(crate) enum Client {
    /// Of HTTP/1.1.
    Http(http1::SendRequest<Full<Bytes>>),
    /// Of gRPC.
    Grpc(http2::SendRequest<Full<Bytes>>),
}

/// What was answered.
pub(crate) struct Reply {
    status: u16,
    grpc_status: Option<u32>,
    body: Bytes,
}

impl Client {
    /// Connects over HTTP/1.1.
    pub(crate) async fn http(address: SocketAddr) -> Result<Self, String> {
        let stream = connected(address).await?;
        let (sender, connection) = http1::handshake(stream).await.map_err(told)?;
        tokio::spawn(connection);
        Ok(Self::Http(sender))
    }

    /// Connects for gRPC.
    pub(crate) async fn grpc(address: SocketAddr) -> Result<Self, String> {
        let stream = connected(address).await?;
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(stream).await.map_err(told)?;
        tokio::spawn(connection);
        Ok(Self::Grpc(sender))
    }

    /// Calls a method of gRPC, which must succeed.
    pub(crate) async fn call(&self, path: &str, message: &[u8]) -> Result<Bytes, String> {
        let Self::Grpc(sender) = self else { return Err("this is no client of gRPC".to_owned()) };
        let reply = unary(sender.clone(), path, message).await?;
        match reply.grpc_status {
            Some(0) => Ok(reply.body),
            _ => Err(format!("{path}: status {:?}", reply.grpc_status)),
        }
    }

    /// Makes a request of HTTP/1.1, which must succeed.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Bytes, String> {
        let json = [("content-type".to_owned(), "application/json".to_owned())];
        let reply = self.plain(method, path, &json, body).await?;
        match reply.status {
            200..300 => Ok(reply.body),
            status => {
                let body = String::from_utf8_lossy(&reply.body);
                Err(format!("{method} {path}: {status} {body}"))
            }
        }
    }

    /// Makes one of the calls, and reads the answer.
    pub(crate) async fn ask(&mut self, calls: &Calls, call: &Call) -> Result<Outcome, String> {
        let reply = match (&calls.target, &*self) {
            (Target::Grpc { path }, Self::Grpc(sender)) => {
                unary(sender.clone(), path, &call.body).await?
            }
            (Target::Http { method, path, headers }, Self::Http(_)) => {
                self.plain(method, path, headers, call.body.clone()).await?
            }
            (target, _) => return Err(format!("{target:?} can't be asked here")),
        };
        let Reply { status, grpc_status, body } = reply;
        let answer = Answer { status, grpc_status, body: &body };
        (calls.outcome)(&answer).ok_or_else(|| format!("{answer:?} says nothing"))
    }

    async fn plain(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Reply, String> {
        let Self::Http(sender) = self else { return Err("this is a client of gRPC".to_owned()) };
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into())).map_err(told)?;
        sender.ready().await.map_err(told)?;
        read(sender.send_request(request).await.map_err(told)?).await
    }
}

async fn unary(
    mut sender: http2::SendRequest<Full<Bytes>>,
    path: &str,
    message: &[u8],
) -> Result<Reply, String> {
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.extend_from_slice(&[0]);
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(message);
    let request = Request::builder()
        .method("POST")
        .uri(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.freeze()))
        .map_err(told)?;
    sender.ready().await.map_err(told)?;
    let mut reply = read(sender.send_request(request).await.map_err(told)?).await?;
    // Where there is an error there is no message.
    reply.body = reply.body.slice(reply.body.len().min(5)..);
    Ok(reply)
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Reply, String> {
    let status = response.status().as_u16();
    let grpc_status = |headers: &hyper::HeaderMap| {
        headers.get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok())
    };
    let at_once = grpc_status(response.headers());
    let collected = response.into_body().collect().await.map_err(told)?;
    let grpc_status = collected.trailers().and_then(grpc_status).or(at_once);
    Ok(Reply { status, grpc_status, body: collected.to_bytes() })
}

async fn connected(address: SocketAddr) -> Result<TokioIo<TcpStream>, String> {
    let stream =
        TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
    stream.set_nodelay(true).map_err(told)?;
    Ok(TokioIo::new(stream))
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
