//! One question, answered: the way that every surface takes, however it was asked.
//!
//! What gateways ask, each in its own dialect, is asked here as an API would ask it, so that no gateway can be
//! answered otherwise than the rest.

use caed_decode::asked::{Asked, Token};
use caed_proto::v1;
use caed_trust::route::Route;
use tonic::Status;

use super::belief::Belief;
use super::{Parts, convert};
use crate::pdp::Moment;
use crate::rights::{Right, Rights};

/// An answer, with what it rests on.
pub(crate) struct Answered<'r> {
    /// What is believed of the question.
    pub(crate) belief: Belief<'r>,
    /// What it was decided by.
    pub(crate) moment: Moment<'r>,
    /// The answer, without its knowledge.
    pub(crate) reply: v1::EvaluateReply,
}

/// The token first: it may wait for keys, and what is decided by is as new as the answer.
pub(crate) async fn answered<'r>(
    parts: &'r Parts,
    asked: &'r Asked<'r>,
    route: &Route,
    rights: Rights,
) -> Result<Answered<'r>, Status> {
    check_vouched(asked, rights)?;
    let belief = Belief::of(asked, route, parts, || "token".to_owned()).await?;
    let moment = parts.pdp.moment();
    let reply = convert::evaluate(&moment, asked, &belief)?;
    Ok(Answered { belief, moment, reply })
}

/// Claims count only from those who are believed about them (T2).
pub(super) fn check_vouched(asked: &Asked<'_>, rights: Rights) -> Result<(), Status> {
    match asked.token {
        Some(Token::Claims(_)) => rights.demand(Right::Vouch).map_err(Status::permission_denied),
        Some(Token::Jwt(_)) | None => Ok(()),
    }
}
