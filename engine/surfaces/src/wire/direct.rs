//! A call that asks for decisions, read here and answered without tonic: one decision where its connection is read, a
//! batch in a task of its own.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use caed_decode::asked::Asked;
use caed_proto::ext_authz::authorization_server::SERVICE_NAME as AUTHORIZATION;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_server::SERVICE_NAME as ACCESS_EVALUATION;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use prost::Message;
use tonic::Status;

use super::Server;
use super::connection::Call;
use super::routed::{self, Sent};
use crate::rights::{Right, Rights};
use crate::{ext_authz, limits, native};

/// A call of one of the methods that ask for decisions, by who may.
pub(super) struct Direct {
    asks: Asks,
    rights: Rights,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    /// What was read of its message.
    first: Option<Bytes>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asks {
    /// A decision.
    Evaluate,
    /// One in Envoy's words.
    Check,
    /// Many decisions.
    Batch,
}

/// How a call that asks for decisions is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// All at once.
    Direct(Asks),
    /// As they are asked for.
    Streamed,
}

/// What all messages are, before and after: gRPC, as protobuf.
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// How messages are compressed, where they may be.
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Bytes before a message: whether it is compressed, and its length. SOURCE: gRPC over HTTP/2, Length-Prefixed-Message.
const PREFIX_BYTES: usize = 5;

impl Way {
    /// How a call of somebody with these rights is answered, if it is one of these.
    pub(super) fn of(request: &Request<RecvStream>, rights: Rights) -> Option<Self> {
        let (service, method) = request.uri().path().strip_prefix('/')?.split_once('/')?;
        let way = match (service, method) {
            (ACCESS_EVALUATION, "Evaluate") => Self::Direct(Asks::Evaluate),
            (AUTHORIZATION, "Check") => Self::Direct(Asks::Check),
            (ACCESS_EVALUATION, "EvaluateBatch") => Self::Direct(Asks::Batch),
            (ACCESS_EVALUATION, "EvaluateStream") => Self::Streamed,
            _ => return None,
        };
        let is_grpc =
            request.method() == Method::POST && request.headers().get(CONTENT_TYPE) == Some(&GRPC);
        let is_plain = !request.headers().contains_key(ENCODING);
        (is_grpc && is_plain && rights.may(Right::Decide)).then_some(way)
    }
}

impl Direct {
    pub(super) fn new(asks: Asks, (request, respond): Call, rights: Rights) -> Self {
        Self { asks, rights, request, respond, first: None }
    }

    /// Answers now, if the call is there as a whole, asks for one decision, and its token need not wait for keys; in
    /// a task of its own, if not.
    pub(super) fn answer(mut self, server: &Arc<Server>, context: &mut Context<'_>) {
        match self.poll_read(context) {
            Poll::Ready(Err(_)) => return,
            Poll::Ready(Ok(())) => {
                if !matches!(self.asks, Asks::Batch)
                    && let Some(message) = self.message()
                {
                    let answered = answered(server, self.asks, self.rights, &message);
                    // A fault in one answer is the end of its call, and not of all on the connection.
                    let polled = AssertUnwindSafe(|| pin!(answered).poll(context));
                    match catch_unwind(polled) {
                        Ok(Poll::Ready(Some(answered))) => {
                            self.send(answered);
                            return;
                        }
                        Ok(Poll::Ready(None) | Poll::Pending) => {}
                        Err(_) => return,
                    }
                }
            }
            Poll::Pending => {}
        }
        tokio::spawn(self.answer_later(Arc::clone(server)));
    }

    /// Answers when that is possible. What can't be read, tonic tells its client.
    async fn answer_later(mut self, server: Arc<Server>) {
        if poll_fn(|context| self.poll_read(context)).await.is_err() {
            return;
        }
        if let Some(message) = self.message() {
            let answered = tokio::select! {
                answered = answered(&server, self.asks, self.rights, &message) => answered,
                _ = poll_fn(|context| self.respond.poll_reset(context)) => return,
            };
            if let Some(answered) = answered {
                self.send(answered);
                return;
            }
        }
        let Self { asks: _, rights, request, respond, first } = self;
        let request = request.map(|rest| Sent { first, rest });
        routed::route(server.routes.clone(), rights, (request, respond)).await;
    }

    /// Reads until the end, or until the call is known to be odd.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while !self.request.body().is_end_stream() && !self.is_odd() {
            match ready!(routed::poll_data(self.request.body_mut(), context)?) {
                None => break,
                Some(data) => match self.first.take() {
                    None => self.first = Some(data),
                    Some(first) => {
                        // Copied once, and then as rarely as it grows.
                        let mut all = BytesMut::from(first);
                        all.extend_from_slice(&data);
                        self.first = Some(all.freeze());
                    }
                },
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the message is compressed, how long it is told to be, and what has come of it.
    fn split(&self) -> Option<(bool, usize, &[u8])> {
        let ([compressed, length @ ..], message) =
            self.first.as_ref()?.split_first_chunk::<PREFIX_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        Some((*compressed != 0, length, message))
    }

    /// Whether what has come is compressed, too long, or more than one message.
    fn is_odd(&self) -> bool {
        self.split().is_some_and(|(is_compressed, length, message)| {
            is_compressed || length > limits::MESSAGE_BYTES_MAX || message.len() > length
        })
    }

    /// The message, if it came whole and nothing is odd about it.
    fn message(&self) -> Option<Bytes> {
        let (_, length, message) = self.split()?;
        let is_whole = self.request.body().is_end_stream() && message.len() == length;
        let first = self.first.as_ref().filter(|_| is_whole && !self.is_odd())?;
        Some(first.slice(PREFIX_BYTES..))
    }

    fn send(mut self, answered: Result<Bytes, Status>) {
        let message = match answered {
            Ok(message) => message,
            Err(status) => {
                let _ = self.respond.send_response(status.into_http(), true);
                return;
            }
        };
        let mut head = Response::new(());
        head.headers_mut().insert(CONTENT_TYPE, GRPC);
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        // Each fails where the client or its connection is gone.
        if let Ok(mut stream) = self.respond.send_response(head, false) {
            let _ = stream.send_data(message, false);
            let _ = stream.send_trailers(trailers);
        }
    }
}

/// The answer to a message, as it is sent, by the handlers of all calls; `None` where the message can't be read
/// here.
async fn answered(
    server: &Server,
    asks: Asks,
    rights: Rights,
    message: &[u8],
) -> Option<Result<Bytes, Status>> {
    Some(match asks {
        Asks::Evaluate => {
            let mut decoded = None;
            let asked = Asked::decode(message, &mut decoded).ok()?;
            let reply = native::evaluate(&server.parts, &asked, rights).await;
            reply.map(|reply| framed(&reply))
        }
        Asks::Check => Ok(framed(&ext_authz::check_in(&server.parts, message, rights).await?)),
        Asks::Batch => {
            let mut framed = Framed::new(message.len());
            // What is written one after the other is one message, the batch's replies before what they knew.
            let mut one = v1::EvaluateBatchReply::default();
            let answer = |reply| {
                one.replies.push(reply);
                framed.add(&one);
                one.replies.clear();
            };
            let asked = Asked::read_batch(message, limits::BATCH_REQUESTS_MAX)?;
            let knowledge = native::evaluate_batch(&server.parts, &asked, rights, answer).await;
            knowledge.map(|knowledge| {
                framed.add(&v1::EvaluateBatchReply {
                    replies: Vec::new(),
                    knowledge: Some(knowledge),
                });
                framed.done()
            })
        }
    })
}

fn framed(message: &impl Message) -> Bytes {
    let mut framed = Framed::new(message.encoded_len());
    framed.add(message);
    framed.done()
}

/// A message on its way.
struct Framed(BytesMut);

impl Framed {
    /// With room for so many bytes.
    fn new(room: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + room);
        bytes.put_bytes(0, PREFIX_BYTES);
        Self(bytes)
    }

    /// Writes some of its fields.
    fn add(&mut self, fields: &impl Message) {
        fields.encode_raw(&mut self.0);
    }

    fn done(mut self) -> Bytes {
        // A thousand answers of a few kilobytes each, at most.
        let length = u32::try_from(self.0.len() - PREFIX_BYTES).unwrap_or(u32::MAX);
        if let Some((_, prefix)) =
            self.0.first_chunk_mut::<PREFIX_BYTES>().and_then(|prefix| prefix.split_first_mut())
        {
            prefix.copy_from_slice(&length.to_be_bytes());
        }
        self.0.freeze()
    }
}
