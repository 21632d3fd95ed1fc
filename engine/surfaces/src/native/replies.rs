//! The answers to a stream of requests, in their order.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use caed_decode::asked::Asked;
use caed_proto::v1;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{FuturesOrdered, Stream, StreamExt};
use prost::DecodeError;
use tonic::Status;

use super::Parts;
use crate::limits;
use crate::rights::Rights;

type Reply = Result<v1::EvaluateReply, Status>;

/// Replies are made as they are read, so a client that does not read slows its own requests. A token that waits for
/// keys holds up the answers behind it, and no verification.
pub(crate) struct Replies<Requests> {
    parts: Arc<Parts>,
    rights: Rights,
    /// Until its end.
    requests: Option<Requests>,
    /// The first that waits, and all behind it that were read.
    waiting: FuturesOrdered<BoxFuture<'static, Reply>>,
}

impl<Requests> Replies<Requests> {
    pub(crate) fn new(parts: Arc<Parts>, rights: Rights, requests: Requests) -> Self {
        Self { parts, rights, requests: Some(requests), waiting: FuturesOrdered::new() }
    }
}

/// A question, as it came.
pub(crate) trait Question: Send + Sync + 'static {
    /// What is asked. What the generated code must read is put there.
    fn asked<'a>(
        &'a self,
        decoded: &'a mut Option<v1::EvaluateRequest>,
    ) -> Result<Asked<'a>, DecodeError>;
}

impl Question for v1::EvaluateRequest {
    fn asked<'a>(&'a self, _: &'a mut Option<Self>) -> Result<Asked<'a>, DecodeError> {
        Ok(Asked::from(self))
    }
}

impl Question for Bytes {
    fn asked<'a>(
        &'a self,
        decoded: &'a mut Option<v1::EvaluateRequest>,
    ) -> Result<Asked<'a>, DecodeError> {
        Asked::decode(self, decoded)
    }
}

async fn reply(parts: &Parts, question: &impl Question, rights: Rights) -> Reply {
    let mut decoded = None;
    let asked = question.asked(&mut decoded);
    // As tonic says it.
    let asked = asked.map_err(|error| Status::internal(error.to_string()))?;
    super::evaluate(parts, &asked, rights).await
}

impl<Requests, Asking> Stream for Replies<Requests>
where
    Requests: Stream<Item = Result<Asking, Status>> + Unpin,
    Asking: Question,
{
    type Item = Reply;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Reply>> {
        let Self { parts, rights, requests, waiting } = self.get_mut();
        while waiting.len() < limits::VERIFICATIONS_AT_ONCE
            && let Some(asked) = requests
            && let Poll::Ready(request) = asked.poll_next_unpin(context)
        {
            let reply = match request {
                None => {
                    *requests = None;
                    break;
                }
                Some(Err(status)) => Poll::Ready(Err(status)),
                Some(Ok(request)) => {
                    let answered = pin!(reply(parts, &request, *rights)).poll(context);
                    if answered.is_pending() {
                        let (parts, rights) = (Arc::clone(parts), *rights);
                        let answered = async move { reply(&parts, &request, rights).await };
                        waiting.push_back(Box::pin(answered));
                    }
                    answered
                }
            };
            match reply {
                Poll::Ready(reply) if waiting.is_empty() => return Poll::Ready(Some(reply)),
                Poll::Ready(reply) => waiting.push_back(Box::pin(ready(reply))),
                Poll::Pending => {}
            }
        }
        match waiting.poll_next_unpin(context) {
            Poll::Ready(None) if requests.is_some() => Poll::Pending,
            reply => reply,
        }
    }
}
