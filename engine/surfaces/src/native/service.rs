//! The handlers. Each loads one snapshot, lets `convert` speak with the core, and adds nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use caed_core::position::Topics;
use caed_decode::asked::Asked;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_server::AccessEvaluation;
use caed_proto::v1::event_publisher_server::EventPublisher;
use caed_proto::v1::operations_server::Operations;
use futures_util::stream::Stream;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Parts;
use super::convert;
use super::replies::Replies;
use crate::limits;
use crate::pdp::Moment;
use crate::rights::Rights;

/// All services of `caed.v1` on the same parts.
#[derive(Clone)]
pub(super) struct Service {
    parts: Arc<Parts>,
}

impl Service {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// How long a call has taken so far.
    fn micros_since(&self, started: Duration) -> u64 {
        let elapsed = self.parts.pdp.uptime().saturating_sub(started);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }

    /// As [`apart`], from one snapshot.
    async fn apart<R: Send + 'static>(
        &self,
        answer: impl FnOnce(&Moment<'_>, &Topics) -> Result<R, Status> + Send + 'static,
    ) -> Result<Response<R>, Status> {
        let parts = Arc::clone(&self.parts);
        apart(move || answer(&parts.pdp.moment(), &parts.topics)).await
    }
}

/// Answers on a thread of its own: so much work would hold up those who ask for decisions.
async fn apart<R: Send + 'static>(
    answer: impl FnOnce() -> Result<R, Status> + Send + 'static,
) -> Result<Response<R>, Status> {
    let answered = tokio::task::spawn_blocking(answer).await;
    let reply = answered.map_err(|_| Status::internal("the answer could not be made"))?;
    reply.map(Response::new)
}

#[tonic::async_trait]
impl AccessEvaluation for Service {
    async fn evaluate(
        &self,
        request: Request<v1::EvaluateRequest>,
    ) -> Result<Response<v1::EvaluateReply>, Status> {
        let rights = Rights::in_request(request.extensions());
        super::evaluate(&self.parts, &request.get_ref().into(), rights).await.map(Response::new)
    }

    async fn evaluate_batch(
        &self,
        request: Request<v1::EvaluateBatchRequest>,
    ) -> Result<Response<v1::EvaluateBatchReply>, Status> {
        let rights = Rights::in_request(request.extensions());
        let requests = &request.get_ref().requests;
        let asked: Vec<_> = requests.iter().map(Asked::from).collect();
        let mut replies = Vec::with_capacity(asked.len());
        let answer = |reply| replies.push(reply);
        let knowledge = super::evaluate_batch(&self.parts, &asked, rights, answer).await?;
        Ok(Response::new(v1::EvaluateBatchReply { replies, knowledge: Some(knowledge) }))
    }

    type EvaluateStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::EvaluateReply, Status>> + Send>>;

    /// Replies are made as they are read, so a client that does not read slows its own requests.
    async fn evaluate_stream(
        &self,
        request: Request<Streaming<v1::EvaluateRequest>>,
    ) -> Result<Response<Self::EvaluateStreamStream>, Status> {
        let rights = Rights::in_request(request.extensions());
        let parts = Arc::clone(&self.parts);
        Ok(Response::new(Box::pin(Replies::new(parts, rights, request.into_inner()))))
    }
}

#[tonic::async_trait]
impl EventPublisher for Service {
    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishReply>, Status> {
        let started = self.parts.pdp.uptime();
        let v1::PublishRequest { events, wait } = request.into_inner();
        convert::check_count("events", events.len(), limits::PUBLISH_EVENTS_MAX)?;
        let wait = v1::Wait::try_from(wait).map_err(|_| {
            Status::invalid_argument(format!("wait: `{wait}` is not known; use DURABLE or APPLIED"))
        })?;
        let events = events.iter().map(Message::encode_to_vec).collect();
        let accepted =
            self.parts.sink.append(events).await.map_err(|error| convert::append_status(&error))?;
        let durable_us = self.micros_since(started);
        let mut applied_us = 0;
        if wait == v1::Wait::Applied {
            // Each of them: they may stand in different partitions.
            for accepted in &accepted {
                let applied = self.parts.sink.applied(accepted.position).await;
                applied.map_err(|error| convert::append_status(&error))?;
            }
            applied_us = self.micros_since(started);
        }
        let published = convert::published_of(accepted, &self.parts.topics);
        Ok(Response::new(v1::PublishReply { published, durable_us, applied_us }))
    }
}

#[tonic::async_trait]
impl Operations for Service {
    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        let Parts { pdp, verifier, ingest, log, topics, .. } = &*self.parts;
        let moment = pdp.moment();
        let notes = ingest.quarantine_notes();
        Ok(Response::new(v1::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: moment.is_caught_up(),
            knowledge: Some(convert::knowledge_of(&moment, topics)),
            uptime_s: pdp.uptime().as_secs(),
            horizon_s: moment.rules().horizon.as_secs(),
            holdings: Some(convert::holdings_of(moment.counts())),
            records: Some(convert::records_of(ingest)),
            quarantined: notes.into_iter().map(convert::quarantined_of).collect(),
            log_bytes: log.bytes(),
            log_notes: log.notes(),
            partitions: convert::partitions_of(&**log, &moment, pdp.uptime(), topics),
            sources: convert::tenant::sources(&moment),
            stale_sources: convert::tenant::stale_sources(&moment),
            countries: moment.countries().map(convert::countries_of),
            issuers: convert::issuers::issuers(&moment, verifier),
        }))
    }

    async fn digest(
        &self,
        _: Request<v1::DigestRequest>,
    ) -> Result<Response<v1::DigestReply>, Status> {
        let digest = |moment: &Moment<'_>, topics: &Topics| {
            let knowledge = Some(convert::knowledge_of(moment, topics));
            Ok(v1::DigestReply { digest: moment.digest().to_string(), knowledge })
        };
        self.apart(digest).await
    }

    async fn explain(
        &self,
        request: Request<v1::EvaluateRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let request = request.into_inner();
        let parts = Arc::clone(&self.parts);
        apart(move || super::explain(&parts, &request)).await
    }

    async fn get_tenant(
        &self,
        request: Request<v1::GetTenantRequest>,
    ) -> Result<Response<v1::GetTenantReply>, Status> {
        let request = request.into_inner();
        self.apart(move |moment, topics| convert::tenant::tenant(moment, &request, topics)).await
    }

    async fn get_subject(
        &self,
        request: Request<v1::GetSubjectRequest>,
    ) -> Result<Response<v1::GetSubjectReply>, Status> {
        let request = request.into_inner();
        self.apart(move |moment, topics| convert::tenant::subject(moment, &request, topics)).await
    }

    type ExportStream = ReceiverStream<Result<v1::ExportReply, Status>>;

    /// Events are made on a thread apart, as they are read.
    async fn export(
        &self,
        request: Request<v1::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let request = request.into_inner();
        let export = self.apart(move |moment, _| convert::export::export(moment, &request)).await?;
        let (sender, receiver) = mpsc::channel(limits::EXPORT_EVENTS_AHEAD);
        tokio::task::spawn_blocking(move || {
            for reply in export.into_inner().replies() {
                if sender.blocking_send(Ok(reply)).is_err() {
                    // Whoever reads has gone.
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
