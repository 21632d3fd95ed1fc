//! One connection: its requests answered, and its end.
//!
//! Requests are answered one by one, where they came. From the first on that is not regular ([`head`](super::head)),
//! all of the connection is hyper's: odd ones are seldom, and gateways keep to their ways.

use std::convert::Infallible;
use std::future::ready;
use std::io::Cursor;
use std::pin::pin;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;

use super::answer;
use super::convert::Reply;
use super::head::{Asked, Read};
use crate::limits;
use crate::native::Parts;
use crate::rights::Rights;

/// What is left when requests were answered.
enum Left {
    /// Nothing, or a part of one.
    Part,
    /// More of them: others of this thread go first.
    More,
    /// An odd one.
    Odd,
}

/// Serves a connection of somebody with these rights until its peer closes it, or `end` is ready; what was asked by
/// then is answered.
pub async fn serve<Io>(parts: Arc<Parts>, mut io: Io, rights: Rights, end: impl Future<Output = ()>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut end = pin!(end);
    let mut asked = Vec::with_capacity(limits::HEAD_BYTES);
    let mut told = Vec::new();
    loop {
        tokio::select! {
            () = &mut end => {
                if !asked.is_empty() {
                    // The rest of it is on its way.
                    return serve_odd(parts, asked, io, rights, ready(())).await;
                }
                break;
            }
            read = io.read_buf(&mut asked) => if !matches!(read, Ok(1..)) {
                break;
            }
        }
        loop {
            let left = answer_some(&parts, rights, &mut asked, &mut told).await;
            if io.write_all(&told).await.is_err() || io.flush().await.is_err() {
                return;
            }
            told.clear();
            match left {
                Left::Part => break,
                Left::More => yield_now().await,
                Left::Odd => return serve_odd(parts, asked, io, rights, end).await,
            }
        }
    }
    // Whoever is gone is not told.
    let _ = io.shutdown().await;
}

/// Answers requests that have come whole, and takes them out.
async fn answer_some(
    parts: &Parts,
    rights: Rights,
    asked: &mut Vec<u8>,
    told: &mut Vec<u8>,
) -> Left {
    let mut rest = asked.as_slice();
    let mut left = Left::More;
    for _ in 0..limits::DECISIONS_IN_A_ROW {
        let mut room = Asked::room();
        match Asked::read(rest, &mut room) {
            Read::Whole(request) => {
                let reply = answer(parts, rights, request.path, request.headers()).await;
                reply.write(request.is_head, parts.pdp.now(), told);
                rest = rest.get(request.length..).unwrap_or_default();
            }
            Read::Partial if rest.len() < limits::HEAD_BYTES => {
                left = Left::Part;
                break;
            }
            // One that does not fit is odd as well.
            Read::Partial | Read::Odd => {
                left = Left::Odd;
                break;
            }
        }
    }
    let answered = asked.len() - rest.len();
    asked.drain(..answered);
    left
}

/// Serves what is left of a connection by hyper, after what was read of it.
pub(super) async fn serve_odd(
    parts: Arc<Parts>,
    first: Vec<u8>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    rights: Rights,
    end: impl Future<Output = ()>,
) {
    let (reader, writer) = io::split(io);
    let io = TokioIo::new(io::join(Cursor::new(first).chain(reader), writer));
    let service = service_fn(move |request: Request<Incoming>| {
        let parts = Arc::clone(&parts);
        async move {
            let headers = request.headers().iter();
            let headers: Vec<_> =
                headers.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect();
            let path = request.uri().path();
            let reply = answer(&parts, rights, path, headers.iter().copied()).await;
            Ok::<_, Infallible>(reply.into_response())
        }
    });
    // Who has said all is answered nonetheless.
    let mut connection = pin!(Builder::new().half_close(true).serve_connection(io, service));
    // Whoever breaks the protocol, or hangs up, was told so as far as that is possible.
    tokio::select! {
        // What was read already is begun.
        biased;
        _ = connection.as_mut() => return,
        () = end => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

impl Reply {
    fn into_response(self) -> Response<String> {
        let Self { status, headers, body } = self;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}
