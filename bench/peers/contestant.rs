//! Whoever is measured: caed, or a peer in one of the ways of writing it.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;

use caed_bench::generator::{Call, Calls, Outcome, Target};
use caed_bench::subject::{self, Kind};
use caed_bench::visitors::{Visitor, Visitors};

use crate::client::Client;

/// What comes later.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + 'a>>;

/// A server that is loaded and asked.
pub(crate) trait Contestant {
    /// Its processes, all of them.
    fn pids(&self) -> Vec<u32>;

    /// Where it is asked.
    fn address(&self) -> SocketAddr;

    /// Asks a question of each of these visitors.
    fn calls(&self, question: Question, visitors: &[Asked]) -> Calls;

    /// Tells it of everybody who is revoked; it decides by that when this is done, or soon after.
    fn load<'a>(&'a mut self, visitors: &'a Visitors) -> Later<'a, ()>;

    /// Tells it of one more user.
    fn revoke<'a>(&'a mut self, user: &'a str) -> Later<'a, ()>;

    /// Tells it of the office outside of which nobody passes. A peer that can't be told does not come here.
    fn furnish<'a>(&'a mut self, _: &'a Visitors) -> Later<'a, ()> {
        Box::pin(async { Err("it knows no ranges".to_owned()) })
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether the user was revoked after the token was issued, in the form that is the server's own: caed's
    /// `Evaluate` and the same messages of tonic and Redis, the REST interface of OPA, `Check` of `OpenFGA`.
    Own,
    /// The same, as Envoy asks.
    Envoy,
    /// The same in its own form, and whether the address is outside of the office.
    Ranges,
}

/// A visitor who asks, and what must be answered.
pub(crate) struct Asked {
    pub(crate) visitor: Visitor,
    pub(crate) expected: Outcome,
}

impl Asked {
    /// All visitors of these. One in twenty is a revoked user's who signed in again since.
    pub(crate) fn all(visitors: Visitors) -> Vec<Self> {
        let returned = |(number, mut visitor): (u64, Visitor)| {
            if number % 20 == 5 && visitors.revoked > 0 {
                visitor.user = subject::id(Kind::User, subject::mixed(number) % visitors.revoked);
                visitor.issued_s = visitors.now_s - 600;
            }
            let expected = visitors.expected(&visitor);
            Self { visitor, expected }
        };
        (0..).zip(visitors.all()).map(returned).collect()
    }

    /// A visitor of whom nothing was told yet, by number.
    pub(crate) fn newcomer(visitors: Visitors, number: u64) -> Self {
        let user = subject::id(Kind::User, (1 << 40) + number);
        let session = subject::id(Kind::Session, 1 << 40);
        let device = subject::id(Kind::Device, 1 << 40);
        let issued_s = visitors.now_s - 3600;
        let visitor = Visitor {
            user,
            session,
            device,
            address: Ipv4Addr::LOCALHOST,
            is_revoked: false,
            is_outside: false,
            issued_s,
        };
        Self { visitor, expected: Outcome::Allowed }
    }

    /// A call with this body.
    pub(crate) fn call(&self, body: Vec<u8>) -> Call {
        Call { body, expected: self.expected, ..Call::default() }
    }
}

/// How many connections so many callers need.
pub(crate) const fn connections(calls: &Calls, callers: usize) -> usize {
    match calls.target {
        Target::Http { .. } => callers,
        Target::Grpc { .. } | Target::GrpcStream { .. } => 1,
    }
}

/// A client that can make these calls.
pub(crate) async fn client(calls: &Calls, address: SocketAddr) -> Result<Client, String> {
    match calls.target {
        Target::Http { .. } => Client::http(address).await,
        Target::Grpc { .. } | Target::GrpcStream { .. } => Client::grpc(address).await,
    }
}
