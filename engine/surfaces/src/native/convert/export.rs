//! What is in force in a tenant, as events on the wire.

use caed_core::export::Statement;
use caed_core::ids::Name;
use caed_decode::{message, parts};
use caed_proto::v1;
use caed_proto::v1::export_reply::What;
use tonic::Status;

use super::tenant::name_of;
use crate::pdp::Moment;

/// What is in force, before it is told.
pub(in crate::native) struct Export {
    tenant: Name,
    source: Name,
    statements: Vec<Statement>,
}

/// Takes what is in force out of the snapshot: whoever reads it slowly holds up no snapshot.
pub(in crate::native) fn export(
    moment: &Moment<'_>,
    request: &v1::ExportRequest,
) -> Result<Export, Status> {
    let v1::ExportRequest { tenant, source } = request;
    let tenant = name_of(tenant)?;
    let source = Name::parse(source)
        .map_err(|problem| Status::invalid_argument(format!("source: `{source}` {problem}")))?;
    if !moment.is_caught_up() {
        let problem = "the log is still being read; ask again when the sidecar is ready";
        return Err(Status::unavailable(problem));
    }
    let statements = moment
        .in_force(&tenant)
        .ok_or_else(|| Status::not_found(format!("tenant: no event names `{tenant}`")))?;
    Ok(Export { tenant, source, statements })
}

impl Export {
    /// Tells it, one after the other.
    pub(in crate::native) fn replies(self) -> impl Iterator<Item = v1::ExportReply> {
        let Self { tenant, source, statements } = self;
        statements.into_iter().flat_map(move |statement| {
            let told = message::event(tenant.as_str(), source.as_str(), &statement)
                .map_err(|hashed| hashed.to_string())
                .and_then(|event| parts::split(event).map_err(|error| error.to_string()));
            let whats = match told {
                Ok(events) => events.into_iter().map(What::Event).collect(),
                Err(why) => vec![What::LeftOut(why)],
            };
            whats.into_iter().map(|what| v1::ExportReply { what: Some(what) })
        })
    }
}
