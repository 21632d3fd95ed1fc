//! Takes connections in, and works out once for each what its peer may do.
//!
//! Handshakes go on beside each other and apart from those who wait to connect, so that a client that never
//! speaks holds nobody up. Whoever serves asks for the next connection; there is no error that would end it.
//!
//! Where somebody connects who may nothing, it may ask whether this process is well. Its connections have a bound
//! of their own and end soon, and of too many the oldest gives way: those who are not known can't use up what those
//! who are need, nor keep a probe out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, connect_info};
use axum::middleware;
use axum::serve::{IncomingStream, Listener};
use caed_surfaces::metrics::Refused;
use caed_surfaces::rights::Rights;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream as Incoming;
use webpki::EndEntityCert;

use super::connection::{Connection, Stream};
use super::tls::{Identity, Protocol};
use crate::access::Access;

/// How long a handshake may take. Guess: a few round trips to anywhere.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at once on a listener; of more, the one that has taken longest gives way. Guess: who means it is
/// done within a round trip, so the oldest are those who don't.
const HANDSHAKES_MAX: usize = 256;

/// Connections at once, of all listeners together, of those who may nothing; of more the oldest is closed.
/// Guess: probes, which are done within a round trip.
const STRANGERS_MAX: usize = 64;

/// How long such a connection lasts at the most. Guess: probes ask every few seconds, and connect anew.
const STRANGER_AGE: Duration = Duration::from_secs(30);

/// How long nothing is accepted after the operating system could not, most often for lack of descriptors.
const REST: Duration = Duration::from_millis(100);

/// How often the same trouble is told. Each is counted.
const TELL_INTERVAL: Duration = Duration::from_mins(1);

/// Where connections come from, as a stream for gRPC and as a listener for HTTP.
pub(crate) struct Acceptor {
    socket: Socket,
    access: Arc<Access>,
    /// What TCP is encrypted with, if it is.
    encryption: Option<(watch::Receiver<Identity>, Protocol)>,
    /// How long a connection may last, where its server does not see to that.
    connection_age: Option<Duration>,
    handshakes: JoinSet<Result<(TlsStream<TcpStream>, Rights), Failure>>,
    /// The same, the oldest first.
    shaking: VecDeque<AbortHandle>,
    strangers: Strangers,
    rest: Option<Pin<Box<Sleep>>>,
    refused: Arc<Refused>,
    troubles: Troubles,
}

/// Connections of those who may nothing, the oldest first: each ends when its sender is dropped.
pub(crate) type Strangers = Arc<Mutex<VecDeque<oneshot::Sender<()>>>>;

/// What all listeners of a process share.
pub(crate) struct Terms {
    pub(crate) strangers: Strangers,
    pub(crate) access: Arc<Access>,
    /// Counts what is refused.
    pub(crate) refused: Arc<Refused>,
    /// What TCP is encrypted with, if it is: always the newest.
    pub(crate) identity: Option<watch::Receiver<Identity>>,
    /// How long a connection over TLS may last.
    pub(crate) connection_age: Option<Duration>,
}

enum Socket {
    /// With what whoever connects may do.
    Tcp(TcpListener, Rights),
    /// With the user that this process runs as.
    Unix(UnixListener, u32),
}

/// A handshake that came to nothing.
struct Failure {
    peer: SocketAddr,
    problem: io::Error,
}

/// When something was last told.
#[derive(Default)]
struct Troubles {
    handshakes: Option<Instant>,
    strangers: Option<Instant>,
    accepting: Option<Instant>,
}

impl Terms {
    /// Accepts over TCP. That somebody is on this host counts where the listener is bound to loopback alone: what
    /// comes to another address from here may come from elsewhere, through a proxy.
    pub(crate) fn tcp(&self, listener: TcpListener, protocol: Protocol) -> io::Result<Acceptor> {
        let is_loopback = listener.local_addr()?.ip().is_loopback();
        let anybody = if is_loopback { self.access.loopback } else { Rights::NONE };
        let mut acceptor = self.acceptor(Socket::Tcp(listener, anybody));
        acceptor.encryption = self.identity.clone().map(|identity| (identity, protocol));
        if let Protocol::Http = protocol {
            acceptor.connection_age = self.connection_age;
        }
        Ok(acceptor)
    }

    /// Accepts over a Unix socket.
    pub(crate) fn unix(&self, listener: UnixListener, own_user: u32) -> Acceptor {
        self.acceptor(Socket::Unix(listener, own_user))
    }

    fn acceptor(&self, socket: Socket) -> Acceptor {
        Acceptor {
            socket,
            access: Arc::clone(&self.access),
            encryption: None,
            connection_age: None,
            handshakes: JoinSet::new(),
            shaking: VecDeque::new(),
            strangers: Arc::clone(&self.strangers),
            rest: None,
            refused: Arc::clone(&self.refused),
            troubles: Troubles::default(),
        }
    }
}

impl Acceptor {
    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Connection> {
        loop {
            if let Poll::Ready(Some(ended)) = self.handshakes.poll_join_next(context) {
                let connection = match ended {
                    Ok(Ok((stream, rights))) => {
                        Some(self.admit(Stream::Tls(Box::new(stream)), rights))
                    }
                    Ok(Err(failure)) => self.failed(&failure.to_string()),
                    Err(_) => self.failed("another client had to be let in"),
                };
                match connection {
                    Some(connection) => return Poll::Ready(connection),
                    None => continue,
                }
            }
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            let connection = match ready!(self.poll_socket(context)) {
                Ok((Stream::Tcp(stream), rights, Some(peer))) if self.encryption.is_some() => {
                    self.shake_hands(stream, peer, rights)
                }
                Ok((stream, rights, _)) => Some(self.admit(stream, rights)),
                Err(error) => self.pause(&error),
            };
            if let Some(connection) = connection {
                return Poll::Ready(connection);
            }
        }
    }

    /// The next connection, what its peer may do so far, and its address, if that is of TCP.
    fn poll_socket(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, Rights, Option<SocketAddr>)>> {
        Poll::Ready(match &self.socket {
            Socket::Tcp(listener, anybody) => {
                ready!(listener.poll_accept(context)).map(|(stream, peer)| {
                    // Answers are small: waiting to fill a packet would cost more than it saves. A connection
                    // that can't be told so is gone already, and its server notices.
                    let _ = stream.set_nodelay(true);
                    (Stream::Tcp(stream), *anybody, Some(peer))
                })
            }
            Socket::Unix(listener, own_user) => {
                ready!(listener.poll_accept(context)).map(|(stream, _)| {
                    let rights = of_peer(&stream, *own_user, &self.access);
                    (Stream::Unix(stream), rights, None)
                })
            }
        })
    }

    /// Begins a handshake. What comes of it is found where handshakes end.
    fn shake_hands(
        &mut self,
        stream: TcpStream,
        peer: SocketAddr,
        anybody: Rights,
    ) -> Option<Connection> {
        let (identity, protocol) = self.encryption.as_ref()?;
        let handshake = TlsAcceptor::from(identity.borrow().speaking(*protocol)).accept(stream);
        let access = Arc::clone(&self.access);
        self.shaking.retain(|handshake| !handshake.is_finished());
        if self.shaking.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.shaking.pop_front()
        {
            oldest.abort();
        }
        self.shaking.push_back(self.handshakes.spawn(async move {
            let shaken = timeout(HANDSHAKE_TIMEOUT, handshake).await;
            let shaken = shaken.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
            let stream = shaken.map_err(|problem| Failure { peer, problem })?;
            let rights = anybody.and(of_certificate(&stream, peer, &access));
            Ok((stream, rights))
        }));
        None
    }

    /// Lets a connection in. Too many of those who may nothing make the oldest of them give way.
    fn admit(&mut self, stream: Stream, rights: Rights) -> Connection {
        let is_stranger = rights == Rights::NONE;
        let gives_way = is_stranger.then(|| self.stranger());
        let age = match self.connection_age {
            age if !is_stranger => age,
            age => Some(age.map_or(STRANGER_AGE, |age| age.min(STRANGER_AGE))),
        };
        let end = age.map(|age| Box::pin(sleep(age)));
        Connection { stream, rights, end, gives_way }
    }

    /// A place among those who may nothing: ready when it has to be given up.
    fn stranger(&mut self) -> oneshot::Receiver<()> {
        let (place, gives_way) = oneshot::channel();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.retain(|place| !place.is_closed());
        strangers.push_back(place);
        let has_given_way = strangers.len() > STRANGERS_MAX && strangers.pop_front().is_some();
        drop(strangers);
        if has_given_way {
            self.refused.strangers.add(1);
            if is_due(&mut self.troubles.strangers) {
                let count = self.refused.strangers.value();
                tracing::warn!(
                    count,
                    "connections of callers who may nothing were closed: too many at once"
                );
            }
        }
        gives_way
    }

    fn failed(&mut self, problem: &str) -> Option<Connection> {
        self.refused.handshakes.add(1);
        let count = self.refused.handshakes.value();
        tracing::debug!(problem, count, "a TLS handshake failed");
        if is_due(&mut self.troubles.handshakes) {
            tracing::warn!(problem, count, "TLS handshakes fail; this is the newest");
        }
        None
    }

    /// Rests after a fault of our own; one of the peer's is over with its connection.
    fn pause(&mut self, error: &io::Error) -> Option<Connection> {
        let is_the_peers = matches!(
            error.kind(),
            ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionRefused
                | ErrorKind::Interrupted
        );
        if !is_the_peers {
            if is_due(&mut self.troubles.accepting) {
                tracing::error!(%error, "connections can not be accepted at the moment");
            }
            self.rest = Some(Box::pin(sleep(REST)));
        }
        None
    }
}

/// Whether a trouble is to be told, and from then on not for a while.
fn is_due(told: &mut Option<Instant>) -> bool {
    let is_due = told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
    if is_due {
        *told = Some(Instant::now());
    }
    is_due
}

/// What a peer of a Unix socket may do, by the user that it ran as when it connected.
fn of_peer(stream: &UnixStream, own_user: u32, access: &Access) -> Rights {
    let peer = stream.peer_cred();
    let rights = peer.as_ref().map_or(Rights::NONE, |peer| access.of_user(peer.uid(), own_user));
    tracing::debug!(?peer, ?rights, "connected over the Unix socket");
    rights
}

/// What the holder of a certificate may do. That it is one of a trusted authority is verified already.
fn of_certificate(stream: &TlsStream<TcpStream>, peer: SocketAddr, access: &Access) -> Rights {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let Some(Ok(certificate)) = certificate.map(EndEntityCert::try_from) else {
        tracing::debug!(%peer, "connected over TLS without a certificate");
        return Rights::NONE;
    };
    let (names, uris) = (|| certificate.valid_dns_names(), || certificate.valid_uri_names());
    let rights = access.of_certificate(names(), uris());
    let (names, uris): (Vec<_>, Vec<_>) = (names().collect(), uris().collect());
    tracing::debug!(%peer, ?names, ?uris, ?rights, "connected over TLS");
    rights
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.peer, self.problem)
    }
}

impl Incoming for Acceptor {
    type Item = Result<Connection, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_accept(context).map(|connection| Some(Ok(connection)))
    }
}

impl Listener for Acceptor {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        (std::future::poll_fn(|context| self.poll_accept(context)).await, ())
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What a peer may do, on its way from its connection to its requests.
#[derive(Clone, Copy)]
pub(crate) struct Peer(Rights);

impl Connected<IncomingStream<'_, Acceptor>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Acceptor>) -> Self {
        Self(stream.io().rights())
    }
}

/// Leaves what a peer may do in the extensions of each request, as gRPC's connections do by themselves.
pub(crate) fn with_rights(
    router: Router,
) -> connect_info::IntoMakeServiceWithConnectInfo<Router, Peer> {
    let hand_on = async |ConnectInfo(Peer(rights)): ConnectInfo<Peer>, mut request: Request| {
        request.extensions_mut().insert(rights);
        request
    };
    router.layer(middleware::map_request(hand_on)).into_make_service_with_connect_info()
}
