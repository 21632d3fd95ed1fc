//! The gRPC services of `caed.v1`, with health, reflection and what Envoy asks beside them.
//!
//! Each wants a right of its own of whoever asks ([`Rights`]). Health is open to all who can connect: a probe has
//! no identity, and learns nothing but whether to come back.

mod answer;
mod batch;
mod belief;
mod convert;
mod replies;
mod service;

pub(crate) use answer::{Answered, answered};
pub(crate) use batch::evaluate_batch;
pub(crate) use convert::issuers::issuers;
pub(crate) use replies::Replies;

use std::sync::Arc;

use caed_core::ingest::Ingest;
use caed_core::log_view::LogView;
use caed_core::position::Topics;
use caed_core::sink::EventSink;
use caed_decode::asked::Asked;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_server::AccessEvaluationServer;
use caed_proto::v1::event_publisher_server::EventPublisherServer;
use caed_proto::v1::operations_server::OperationsServer;
use caed_trust::address::Forwarding;
use caed_trust::route::Route;
use caed_trust::verifier::Verifier;
use tokio::runtime::Handle;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::pdp::Pdp;
use crate::rights::{Right, Rights};
use crate::{ext_authz, limits};
use belief::Belief;
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
    /// How proxies tell the address of a client.
    pub forwarding: Arc<Forwarding>,
}

/// Reports readiness to whoever asks `grpc.health.v1`.
#[derive(Clone)]
pub struct Health(HealthReporter);

/// The services, ready to be served, and what sets their health. They start as `NOT_SERVING`.
pub(crate) async fn routes(
    parts: Parts,
) -> Result<(Routes, Health), tonic_reflection::server::Error> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health(reporter);
    health.set(false).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(caed_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let gateways = ext_authz::server(parts.clone());
    let service = Service::new(parts);
    let bytes = limits::MESSAGE_BYTES_MAX;
    let decisions = AccessEvaluationServer::new(service.clone()).max_decoding_message_size(bytes);
    let events = EventPublisherServer::new(service.clone()).max_decoding_message_size(bytes);
    let operations = OperationsServer::new(service);
    let mut routes = Routes::builder();
    routes
        .add_service(InterceptedService::new(decisions, only(Right::Decide)))
        .add_service(InterceptedService::new(gateways, only(Right::Decide)))
        .add_service(InterceptedService::new(events, only(Right::Publish)))
        .add_service(InterceptedService::new(operations, only(Right::Administer)))
        .add_service(health_service.max_decoding_message_size(limits::PROBE_BYTES_MAX))
        .add_service(InterceptedService::new(reflection().build_v1()?, whoever_may_anything))
        // Older clients, some releases of ghz among them, ask for the version before.
        .add_service(InterceptedService::new(reflection().build_v1alpha()?, whoever_may_anything));
    Ok((routes.routes(), health))
}

/// Lets those through who have a right.
fn only(right: Right) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request| {
        let demanded = Rights::in_request(request.extensions()).demand(right);
        demanded.map_or_else(|why| Err(Status::permission_denied(why)), |()| Ok(request))
    }
}

/// Lets those through who have any right: who may call something may see what it looks like.
fn whoever_may_anything(request: Request<()>) -> Result<Request<()>, Status> {
    if Rights::in_request(request.extensions()) == Rights::NONE {
        let why = "this caller may nothing here; give it an [[access]] table in the configuration of caed";
        return Err(Status::permission_denied(why));
    }
    Ok(request)
}

/// Answers one request, and tells what it knew.
pub(crate) async fn evaluate(
    parts: &Parts,
    asked: &Asked<'_>,
    rights: Rights,
) -> Result<v1::EvaluateReply, Status> {
    let answered = answered(parts, asked, &Route::default(), rights).await?;
    let Answered { belief: _, moment, mut reply } = answered;
    reply.knowledge = Some(convert::knowledge_of(&moment, &parts.topics));
    Ok(reply)
}

/// Explains one decision, with what it knew. That takes as long as it takes: ask on a thread apart.
pub(crate) fn explain(
    parts: &Parts,
    request: &v1::EvaluateRequest,
) -> Result<v1::ExplainReply, Status> {
    let (asked, route) = (Asked::from(request), Route::default());
    let belief = Belief::of(&asked, &route, parts, || "token".to_owned());
    let belief = Handle::current().block_on(belief)?;
    let moment = parts.pdp.moment();
    let mut reply = convert::explain::explain(&moment, &asked, &belief, parts)?;
    if let Some(decision) = &mut reply.decision {
        decision.knowledge = Some(convert::knowledge_of(&moment, &parts.topics));
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
