//! HTTP/2 with nothing above it: every request is read to its end, and answered with the same bytes.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::answers;
use crate::floor::Listener;

/// The two answers, each behind gRPC's prefix.
#[derive(Clone)]
struct Answers {
    evaluate: Bytes,
    check: Bytes,
}

pub(crate) async fn serve(listener: Listener) -> io::Result<()> {
    let answers =
        Answers { evaluate: framed(&answers::evaluate()), check: framed(&answers::check()) };
    loop {
        match &listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(connection(stream, answers.clone()));
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(connection(stream, answers.clone()));
            }
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, answers: Answers) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let is_check = request.uri().path().ends_with("Check");
        let answer = if is_check { answers.check.clone() } else { answers.evaluate.clone() };
        // A client that goes away is not answered; the others are.
        tokio::spawn(async move { _ = answered(request, respond, answer).await });
    }
}

async fn answered(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    answer: Bytes,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(bytes) = body.data().await {
        let count = bytes?.len();
        body.flow_control().release_capacity(count)?;
    }
    let mut response = Response::new(());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(answer, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap_or(0));
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}
