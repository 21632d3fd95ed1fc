//! The gRPC services of `caed.v1`, with health and reflection beside them.

mod convert;
mod service;

pub(crate) use convert::issuers::issuers;

use std::sync::Arc;

use caed_core::ingest::Ingest;
use caed_core::log_view::LogView;
use caed_core::position::Topics;
use caed_core::sink::EventSink;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_server::AccessEvaluationServer;
use caed_proto::v1::event_publisher_server::EventPublisherServer;
use caed_proto::v1::operations_server::OperationsServer;
use caed_trust::verifier::Verifier;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::limits;
use crate::pdp::{Moment, Pdp};
use service::Service;

/// What the services stand on.
#[derive(Clone)]
pub struct Parts {
    /// Decides.
    pub pdp: Pdp,
    /// Verifies raw tokens.
    pub verifier: Verifier,
    /// Takes events.
    pub sink: Arc<dyn EventSink>,
    /// Knows what became of records.
    pub ingest: Arc<Ingest>,
    /// The log.
    pub log: Arc<dyn LogView>,
    /// The names of the log's topics in positions.
    pub topics: Arc<Topics>,
}

/// Reports readiness to whoever asks `grpc.health.v1`.
#[derive(Clone)]
pub struct Health(HealthReporter);

/// The services, ready to be served, and what sets their health. They start as `NOT_SERVING`.
pub async fn routes(parts: Parts) -> Result<(Routes, Health), tonic_reflection::server::Error> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health(reporter);
    health.set(false).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(caed_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let service = Service::new(parts);
    let bytes = limits::MESSAGE_BYTES_MAX;
    let decisions = AccessEvaluationServer::new(service.clone()).max_decoding_message_size(bytes);
    let events = EventPublisherServer::new(service.clone()).max_decoding_message_size(bytes);
    let mut routes = Routes::builder();
    routes
        .add_service(decisions)
        .add_service(events)
        .add_service(OperationsServer::new(service))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        // Older clients, some releases of ghz among them, ask for the version before.
        .add_service(reflection().build_v1alpha()?);
    Ok((routes.routes(), health))
}

/// Explains one decision, with what it knew. That takes as long as it takes: ask on a thread apart.
pub(crate) fn explain(
    moment: &Moment<'_>,
    request: &v1::EvaluateRequest,
    topics: &Topics,
) -> Result<v1::ExplainReply, Status> {
    let mut reply = convert::explain::explain(moment, request, topics)?;
    if let Some(decision) = &mut reply.decision {
        decision.knowledge = Some(convert::knowledge_of(moment, topics));
    }
    Ok(reply)
}

impl Health {
    /// Whether requests are decided. Publishing and status work in either case.
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        // The empty name stands for the whole server.
        self.0.set_service_status("", status).await;
        self.0.set_service_status(v1::access_evaluation_server::SERVICE_NAME, status).await;
    }
}
