//! A lean generator of load over HTTP/2 (gRPC) and HTTP/1.1: one thread, pinned to a core of its own, and no more
//! work for an answer than to read it and compare it.
//!
//! It frames by itself. A client that costs as much as the server would be what is measured where two cores are all
//! there is: ghz stops at 14,000 requests a second, whatever the server. Requests are encoded before the clock runs,
//! and header blocks are as those of usual clients: whole in a connection's first request, and indexed in the others.
//!
//! Every answer is compared with the expected one, while the clock runs, and the first other one ends the run.
//! Closed, so many callers each ask again as soon as they are answered. Open, requests are due at times that are
//! drawn beforehand, and latency counts from then, however late one could be sent: a server that stalls is
//! measured stalling, and not merely asked less.
//!
//! | module | noun |
//! |---|---|
//! | [`self`] | what is asked, of whom, how fast, and what came out |
//! | `pace` | when the next request is due |
//! | `run` | the loop |
//! | `socket` | bytes in and out, without waiting |
//! | `http1`, `http2` | requests and answers in those bytes |
//! | `header_block` | compressed headers of HTTP/2 |
//! | `processor` | the server's processor time, and the generator's core |
//! | [`wire`] | a look into messages of protobuf, without decoding them |

use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

mod header_block;
mod http1;
mod http2;
mod pace;
mod processor;
mod run;
mod socket;
#[cfg(test)]
mod tests;
pub mod wire;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On TCP.
    Tcp(SocketAddr),
    /// At this path.
    Unix(PathBuf),
}

/// What is asked, ready to be sent, and what each answer must be. Calls are made in turn.
#[derive(Clone, Debug)]
pub struct Calls {
    /// How they are made.
    pub target: Target,
    /// Each of them.
    pub calls: Vec<Call>,
    /// What an answer says; `None` where it can't be read.
    pub outcome: fn(&Answer<'_>) -> Option<Outcome>,
}

/// How calls are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Unary calls of gRPC.
    Grpc {
        /// `/caed.v1.AccessEvaluation/Evaluate`.
        path: String,
    },
    /// Messages in one stream of gRPC for each connection, answered in their order.
    GrpcStream {
        /// `/caed.v1.AccessEvaluation/EvaluateStream`.
        path: String,
    },
    /// Requests of HTTP/1.1, one at a time on each connection.
    Http {
        /// `GET`.
        method: String,
        /// The path of calls that have none.
        path: String,
        /// Headers of every call, beside `host` and `content-length`, which are written anyway.
        headers: Vec<(String, String)>,
    },
}

/// One call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Its path, where it has its own. HTTP/1.1 alone.
    pub path: Option<String>,
    /// Its own headers. HTTP/1.1 alone.
    pub headers: Vec<(String, String)>,
    /// The message, without the prefix that gRPC puts before it; or the body.
    pub body: Vec<u8>,
    /// What its answer must say.
    pub expected: Outcome,
}

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status of HTTP.
    pub status: u16,
    /// The status of gRPC, where it is one; of a message in a stream that goes on, 0.
    pub grpc_status: Option<u32>,
    /// The message, without the prefix that gRPC puts before it; or the body.
    pub body: &'a [u8],
}

/// What an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The request may pass.
    #[default]
    Allowed,
    /// The client is told to sign in again: a new token would pass.
    Challenged,
    /// The request is refused.
    Denied,
    /// Of many questions in one: as many as there are, and in their order.
    Many {
        /// How many questions.
        count: u32,
        /// By [`Outcome::many`].
        sum: u64,
    },
}

/// How fast is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many callers, who each ask again when they are answered.
    Closed {
        /// How many requests are under way at any time.
        callers: usize,
    },
    /// At times drawn beforehand, whatever was answered.
    Open {
        /// How many in a second, on average; times between them are exponential.
        per_second: f64,
    },
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The server.
    pub address: &'a Address,
    /// What it is asked.
    pub calls: &'a Calls,
    /// How many connections are held. HTTP/1.1 needs one for each caller.
    pub connections: usize,
    /// How fast.
    pub pace: Pace,
    /// For how long figures are taken. Before that the server is warmed up for a tenth of it, at most a second.
    pub duration: Duration,
    /// The server's processes, whose processor time is summed.
    pub server: &'a [u32],
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// How many answers there were, all as expected.
    pub answers: u64,
    /// So many in a second.
    pub per_second: f64,
    /// Microseconds of the server's processor time for each.
    pub cpu_us: f64,
    /// Microseconds of this generator's processor time for each.
    pub own_cpu_us: f64,
    /// What half of them took at most, in microseconds.
    pub p50_us: f64,
    /// What 99 of 100 took at most.
    pub p99_us: f64,
    /// What 999 of 1,000 took at most.
    pub p999_us: f64,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The server can't be reached, or has gone.
    #[error("{address}: {cause}")]
    Connection {
        /// The server.
        address: Address,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The server ended a connection, or a stream of it.
    #[error("the server ended a connection: {0}")]
    Ended(String),
    /// What came is no HTTP that is understood here.
    #[error("what the server sent can't be read: {0}")]
    Unreadable(String),
    /// An answer that is not the expected one.
    #[error("call {call} was answered wrongly: expected {expected:?}, got {got:?}: {answer}")]
    Wrong {
        /// The number of the call.
        call: usize,
        /// What it must be.
        expected: Outcome,
        /// What it says.
        got: Option<Outcome>,
        /// As it came.
        answer: String,
    },
    /// No answer for long.
    #[error("{under_way} requests were under way, and nothing came for {for_s} s")]
    Silent {
        /// How many.
        under_way: usize,
        /// Seconds.
        for_s: u64,
    },
    /// What was asked for can't be done.
    #[error("{0}")]
    Asked(&'static str),
}

/// Loads a server, and measures it, on a thread of its own: the caller's, and what it starts, stay where they are.
///
/// # Errors
///
/// Where any answer is not the expected one, or a connection ends.
pub fn load(load: &Load<'_>) -> Result<Measured, Problem> {
    let ended = std::thread::scope(|scope| scope.spawn(|| run::run(load)).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Outcome {
    /// Several outcomes as one, which differs where any of them does, or their order.
    #[must_use]
    pub fn many(outcomes: impl IntoIterator<Item = Self>) -> Self {
        let (mut count, mut sum) = (0, 0_u64);
        for outcome in outcomes {
            count += 1;
            sum = crate::subject::mixed(sum ^ outcome.number());
        }
        Self::Many { count, sum }
    }

    const fn number(self) -> u64 {
        match self {
            Self::Allowed => 1,
            Self::Challenged => 2,
            Self::Denied => 3,
            Self::Many { count, sum } => sum ^ (count as u64) << 32,
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}
