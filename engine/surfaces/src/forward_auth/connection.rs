//! One connection: its requests answered, and its end.
//!
//! Requests are answered one by one, where they came. From the first on that is not regular ([`head`](super::head)),
//! all of the connection is hyper's: odd ones are seldom, and gateways keep to their ways.

use std::convert::Infallible;
use std::io::Cursor;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer;
use super::convert::Reply;
use super::head::{Asked, Read};
use crate::limits;
use crate::native::Parts;
use crate::rights::Rights;

/// Serves a connection of somebody with these rights until its peer closes it, or `end` is ready; a request that is
/// being answered then is finished.
pub async fn serve<Io>(parts: Arc<Parts>, mut io: Io, rights: Rights, end: impl Future<Output = ()>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut end = pin!(end);
    let mut asked = Vec::with_capacity(limits::HEAD_BYTES);
    let mut told = Vec::new();
    let is_odd = loop {
        tokio::select! {
            () = &mut end => break false,
            read = io.read_buf(&mut asked) => if !matches!(read, Ok(1..)) {
                // Of half a request hyper knows what to say.
                break !asked.is_empty();
            }
        }
        let is_odd = answer_all(&parts, rights, &mut asked, &mut told).await;
        if io.write_all(&told).await.is_err() || io.flush().await.is_err() {
            return;
        }
        told.clear();
        if is_odd {
            break true;
        }
    };
    if is_odd {
        serve_odd(parts, asked, io, rights, end).await;
    } else {
        // Whoever is gone is not told.
        let _ = io.shutdown().await;
    }
}

/// Answers the requests that have come whole, and takes them out; whether an odd one is next.
async fn answer_all(
    parts: &Parts,
    rights: Rights,
    asked: &mut Vec<u8>,
    told: &mut Vec<u8>,
) -> bool {
    let mut rest = asked.as_slice();
    let is_odd = loop {
        if rest.is_empty() {
            break false;
        }
        let mut room = Asked::room();
        match Asked::read(rest, &mut room) {
            Read::Whole(request) => {
                let reply = answer(parts, rights, request.path, request.headers()).await;
                reply.write(request.is_head, parts.pdp.now(), told);
                rest = rest.get(request.length..).unwrap_or_default();
            }
            // One that does not fit is odd as well.
            Read::Partial => break rest.len() == limits::HEAD_BYTES,
            Read::Odd => break true,
        }
    };
    let answered = asked.len() - rest.len();
    asked.drain(..answered);
    is_odd
}

/// Serves what is left of a connection by hyper, after what was read of it.
pub(super) async fn serve_odd(
    parts: Arc<Parts>,
    first: Vec<u8>,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    rights: Rights,
    end: Pin<&mut impl Future<Output = ()>>,
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
    let server = Builder::new(TokioExecutor::new());
    let mut connection = pin!(server.serve_connection(io, service));
    // Whoever breaks the protocol, or hangs up, was told so as far as that is possible.
    tokio::select! {
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
