//! One connection: its calls taken in, and its end.

use std::collections::VecDeque;
use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::direct::{Direct, Way};
use super::{Server, routed, streamed};
use crate::limits;
use crate::rights::Rights;

/// A call, as HTTP/2 has it.
pub(super) type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// How a connection is served.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What its peer may do.
    pub rights: Rights,
    /// How long it may last, if not for ever.
    pub age: Option<Duration>,
    /// How long its calls may go on when it is to end.
    pub grace: Duration,
}

impl Server {
    /// Serves a connection until its peer closes it, it is too old, or `end` is ready; calls in progress may
    /// finish then.
    pub async fn serve<Io>(self: Arc<Self>, io: Io, terms: Terms, end: impl Future<Output = ()>)
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let Terms { rights, age, grace } = terms;
        let end = async {
            match age {
                None => end.await,
                Some(age) => tokio::select! {
                    () = end => {}
                    () = sleep(age) => {}
                },
            }
        };
        let mut end = pin!(end);
        let handshake = server::Builder::new()
            .max_concurrent_streams(limits::CALLS_MAX)
            .initial_window_size(limits::WINDOW_BYTES)
            .initial_connection_window_size(limits::WINDOW_BYTES)
            .max_header_list_size(limits::HEADERS_BYTES_MAX)
            .handshake(io);
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = &mut end => return,
        };
        // Whoever breaks the protocol, or hangs up, was told so by the library as far as that is possible.
        let Ok(connection) = shaken else { return };
        let mut calls = Calls { server: self, rights, connection, taken: VecDeque::new() };
        tokio::select! {
            () = future::poll_fn(|context| calls.poll(context)) => return,
            () = &mut end => {}
        }
        calls.connection.graceful_shutdown();
        let _ = timeout(grace, future::poll_fn(|context| calls.poll(context))).await;
    }
}

/// The calls of a connection.
struct Calls<Io> {
    server: Arc<Server>,
    rights: Rights,
    connection: server::Connection<Io, Bytes>,
    /// Taken in, and not looked at yet.
    taken: VecDeque<Call>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Calls<Io> {
    /// Ready when the connection is over. All calls that have come are taken in before the first is answered, so
    /// that their answers leave together, when this is polled next; sending them wakes it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(accepted) = self.connection.poll_accept(context) {
            match accepted {
                Some(Ok(call)) => self.taken.push_back(call),
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
        for _ in 0..limits::DECISIONS_IN_A_ROW {
            let Some(call) = self.taken.pop_front() else { return Poll::Pending };
            self.answer(call, context);
        }
        // Other connections of this thread wait, too.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Answers a call here and now if that is possible, and in a task of its own if not.
    fn answer(&self, call: Call, context: &mut Context<'_>) {
        let (server, rights) = (&self.server, self.rights);
        match Way::of(&call.0, rights) {
            Some(Way::Streamed) => {
                tokio::spawn(streamed::answer(Arc::clone(server), rights, call));
            }
            Some(Way::Direct(asks)) => Direct::new(asks, call, rights).answer(server, context),
            None => {
                let call = routed::unread(call);
                tokio::spawn(routed::route(server.routes.clone(), rights, call));
            }
        }
    }
}
