//! Many requests in one call, answered from one snapshot.

use caed_proto::v1;
use caed_trust::route::Route;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tonic::Status;

use super::answer::check_vouched;
use super::belief::Belief;
use super::{Parts, convert};
use crate::limits;
use crate::rights::Rights;

/// Answers a batch. The tokens first: some may wait for keys, and what is decided by is as new as the answers.
pub(crate) async fn evaluate_batch(
    parts: &Parts,
    request: &v1::EvaluateBatchRequest,
    rights: Rights,
) -> Result<v1::EvaluateBatchReply, Status> {
    let v1::EvaluateBatchRequest { requests } = request;
    convert::check_batch(requests)?;
    requests.iter().try_for_each(|request| check_vouched(request, rights))?;
    let beliefs = beliefs(parts, requests).await?;
    let moment = parts.pdp.moment();
    let mut replies = Vec::with_capacity(requests.len());
    for (request, belief) in requests.iter().zip(&beliefs) {
        if !replies.is_empty() && replies.len() % limits::DECISIONS_IN_A_ROW == 0 {
            // Others of this thread wait, too.
            tokio::task::yield_now().await;
        }
        replies.push(convert::evaluate(&moment, request, belief)?);
    }
    let knowledge = Some(convert::knowledge_of(&moment, &parts.topics));
    Ok(v1::EvaluateBatchReply { replies, knowledge })
}

/// What is believed of each: most need no verification, and the others are verified several at once.
async fn beliefs<'r>(
    parts: &Parts,
    requests: &'r [v1::EvaluateRequest],
) -> Result<Vec<Belief<'r>>, Status> {
    let route = &Route::default();
    let belief = |(index, request)| {
        Belief::of(request, route, parts, move || format!("requests[{index}].token"))
    };
    let mut beliefs = Vec::with_capacity(requests.len());
    let mut rest = requests.iter().enumerate();
    for numbered in rest.by_ref() {
        if !beliefs.is_empty() && beliefs.len() % limits::DECISIONS_IN_A_ROW == 0 {
            tokio::task::yield_now().await;
        }
        if let Some(known) = belief(numbered).now_or_never() {
            beliefs.push(known?);
            continue;
        }
        let waiting = std::iter::once(numbered).chain(rest);
        let waiting = stream::iter(waiting.map(belief).collect::<Vec<_>>());
        let waiting = waiting.buffered(limits::VERIFICATIONS_AT_ONCE);
        beliefs.extend(waiting.try_collect::<Vec<_>>().await?);
        break;
    }
    Ok(beliefs)
}
