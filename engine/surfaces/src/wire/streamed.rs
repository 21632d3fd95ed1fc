//! A stream of questions: tonic's stream, with messages that are read where they stand.

use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use caed_proto::v1;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::Server;
use super::connection::Call;
use super::routed;
use crate::limits;
use crate::native::Replies;
use crate::rights::Rights;

/// Answers the questions of a call, of whoever may ask.
pub(super) async fn answer(server: Arc<Server>, rights: Rights, call: Call) {
    let mut grpc = Grpc::new(Untouched);
    grpc = grpc.max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let service = Answers { server, rights };
    let ask = async |request| grpc.streaming(service, request).await;
    routed::answer(routed::unread(call), ask).await;
}

/// Hands messages on as they came.
struct Untouched;

impl Codec for Untouched {
    type Encode = v1::EvaluateReply;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Untouched {
    type Item = v1::EvaluateReply;
    type Error = Status;

    fn encode(&mut self, reply: v1::EvaluateReply, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        reply.encode_raw(to);
        Ok(())
    }
}

impl Decoder for Untouched {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Answers a stream.
struct Answers {
    server: Arc<Server>,
    rights: Rights,
}

impl StreamingService<Bytes> for Answers {
    type Response = v1::EvaluateReply;
    type ResponseStream = Replies<Streaming<Bytes>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let parts = Arc::clone(&self.server.parts);
        ready(Ok(Response::new(Replies::new(parts, self.rights, request.into_inner()))))
    }
}
