//! What gateways ask, whatever they speak: the part of their dialects that is one.
//!
//! A gateway tells of a request that it was sent; what it tells becomes the question that an API would ask, and is
//! answered by the same code ([`native::answered`]). Only [`ext_authz`](crate::ext_authz) and
//! [`forward_auth`](crate::forward_auth) know how that is written.
//!
//! # Invariants
//!
//! - A refusal is an answer and never an error, since gateways may let errors pass: so is what can't be read, or
//!   asks for more than the gateway may. (Over gRPC who may not decide at all gets no further than the door.)
//! - What a client writes chooses nothing but its token: the peer, the profile and what a route demands come from
//!   where only the gateway writes.
//! - A resource that finds one of our headers has it from us.

pub(crate) mod convert;

use caed_core::refusal::HttpRefusal;
use caed_decode::asked::Asked;
use caed_proto::v1;
use caed_trust::route::Route;

use crate::native::{self, Parts};
use crate::rights::Rights;
pub(crate) use convert::Heard;

/// What a gateway tells of a request.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The headers that count.
    pub(crate) heard: Heard,
    /// The address that connected to the gateway; empty: not told.
    pub(crate) peer: String,
    /// The claims of a token that the gateway has verified.
    pub(crate) claims: Option<v1::TokenClaims>,
    /// The name of a profile; empty: the configured one.
    pub(crate) profile: String,
    /// What is demanded of the token.
    pub(crate) route: Route,
}

/// What is asked, as an API would ask it.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) request: v1::EvaluateRequest,
    pub(crate) route: Route,
}

/// What a gateway is answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) said: Said,
}

/// Whether the request goes on.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// To the resource.
    Pass {
        /// Headers that it gets, instead of any of these names that the client sent.
        headers: Vec<(&'static str, String)>,
        /// Names of headers that it must not get.
        removed: Vec<String>,
    },
    /// The client is answered.
    Refuse(HttpRefusal),
}

/// What the gateway may log.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// The verdict.
    pub(crate) decision: String,
    /// The primary reason; empty: none.
    pub(crate) reason: String,
    /// The code of the challenge; empty: none.
    pub(crate) code: String,
    /// What is wrong with the question or the token, for operators; empty: nothing.
    pub(crate) detail: String,
    /// What the decision knew: the snapshot's number, where there was a decision …
    pub(crate) generation: Option<u64>,
    /// … and how old that was, in milliseconds, where that is known.
    pub(crate) age_ms: Option<u64>,
}

/// Answers a gateway.
pub(crate) async fn ask(parts: &Parts, rights: Rights, mut told: Told) -> Answer {
    let ours = std::mem::take(&mut told.heard.ours);
    let Some(Question { request, route }) = convert::question(told) else {
        return convert::without_token();
    };
    let asked = Asked::from(&request);
    match native::answered(parts, &asked, &route, rights).await {
        Ok(answered) => convert::answer(&answered, ours),
        // Not the client's fault, nor what it should be told.
        Err(status) => convert::unasked(status.message()),
    }
}
