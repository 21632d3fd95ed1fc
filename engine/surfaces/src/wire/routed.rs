//! Any other call, handed to tonic's services, until its client's deadline.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::time::timeout;
use tonic::Status;
use tonic::service::Routes;
use tower_service::Service;

use super::connection::Call;
use crate::rights::Rights;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What a client sends, as tonic reads it.
pub(super) struct Sent {
    /// What was read of it already.
    pub(super) first: Option<Bytes>,
    pub(super) rest: RecvStream,
}

/// A call of which nothing was read yet.
pub(super) fn unread((request, respond): Call) -> (Request<Sent>, SendResponse<Bytes>) {
    (request.map(|rest| Sent { first: None, rest }), respond)
}

/// Has a call of somebody with these rights answered by the services.
pub(super) async fn route(
    mut routes: Routes,
    rights: Rights,
    (mut request, respond): (Request<Sent>, SendResponse<Bytes>),
) {
    request.extensions_mut().insert(rights);
    let ask = async |request| {
        let Ok(answer) = routes.call(request).await;
        answer
    };
    answer((request, respond), ask).await;
}

/// Has a call answered, unless its client gives it up.
pub(super) async fn answer(
    (request, mut respond): (Request<Sent>, SendResponse<Bytes>),
    ask: impl AsyncFnOnce(Request<Sent>) -> Response<tonic::body::Body>,
) {
    let deadline = request.headers().get(TIMEOUT).and_then(time_left);
    let answering = async {
        match deadline {
            None => ask(request).await,
            Some(left) => timeout(left, ask(request))
                .await
                .unwrap_or_else(|_| Status::deadline_exceeded("Timeout expired").into_http()),
        }
    };
    let answer = tokio::select! {
        answer = answering => answer,
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
    };
    // Fails where the client or its connection is gone.
    let _ = send(answer, respond).await;
}

/// How long a client waits for an answer. SOURCE: gRPC over HTTP/2, Timeout.
fn time_left(value: &HeaderValue) -> Option<Duration> {
    let (amount, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&amount.len()) && amount.bytes().all(|b| b.is_ascii_digit());
    let amount = amount.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

async fn send(
    answer: Response<tonic::body::Body>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, body) = answer.into_parts();
    let mut body = pin!(body);
    let is_over = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), is_over)?;
    if is_over {
        return Ok(());
    }
    loop {
        let frame = tokio::select! {
            frame = poll_fn(|context| body.as_mut().poll_frame(context)) => frame,
            _ = poll_fn(|context| stream.poll_reset(context)) => return Ok(()),
        };
        match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return stream.send_data(Bytes::new(), true),
            Some(Ok(Ok(data))) => {
                has_room(&mut stream).await?;
                stream.send_data(data, false)?;
            }
            Some(Ok(Err(frame))) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return stream.send_trailers(trailers);
                }
            }
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
        }
    }
}

/// Ready when the client takes more: no more than one piece is made that it does not read.
async fn has_room(stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Err(Reason::CANCEL.into()),
        }
    }
    Ok(())
}

impl Body for Sent {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(data) = ready!(poll_data(&mut this.rest, context)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        let trailers: Option<HeaderMap> = ready!(this.rest.poll_trailers(context)?);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

/// The next piece of what a client sends, for which it may send as much again.
pub(super) fn poll_data(
    stream: &mut RecvStream,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, h2::Error>>> {
    let data = ready!(stream.poll_data(context));
    if let Some(Ok(data)) = &data {
        stream.flow_control().release_capacity(data.len())?;
    }
    Poll::Ready(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_clients_write_them() {
        for (text, expected) in [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1 S", None),
            ("123456789S", None),
        ] {
            let value = HeaderValue::from_static(text);
            assert_eq!(time_left(&value), expected, "{text}");
        }
    }
}
