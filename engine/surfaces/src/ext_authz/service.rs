//! The handler: what Envoy tells, asked as every gateway asks.

use caed_proto::ext_authz::authorization_server::Authorization;
use caed_proto::ext_authz::{CheckRequest, CheckResponse};
use tonic::{Request, Response, Status};

use crate::native::Parts;
use crate::rights::Rights;

/// The service on its parts.
pub(crate) struct Service {
    parts: Parts,
}

impl Service {
    pub(super) const fn new(parts: Parts) -> Self {
        Self { parts }
    }
}

#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let rights = Rights::in_request(request.extensions());
        Ok(Response::new(super::check(&self.parts, request.into_inner(), rights).await))
    }
}
