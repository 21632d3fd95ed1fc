//! Makes what was dealt to one member of the crew into connections, and works out once for each what its peer may do.
//!
//! Handshakes go on beside each other and apart from those who wait to connect, so that a client that never
//! speaks holds nobody up. Whoever serves asks for the next connection; there is no error that would end it.
//!
//! Where somebody connects who may nothing, it may ask whether this process is well. Its connections have a bound
//! of their own and end soon, and of too many the oldest gives way: those who are not known can't use up what those
//! who are need, nor keep a probe out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, connect_info};
use axum::middleware;
use axum::serve::{IncomingStream, Listener};
use caed_surfaces::metrics::Refused;
use caed_surfaces::rights::Rights;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use super::connection::{Connection, Stream};
use super::dealer::{Dealer, Dealt, Guest, Raw, Seat, Socket};
use super::is_due;
use super::tls::{Identity, Protocol};
use crate::access::Access;
use crate::crew::{Member, Place};

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

/// Where the connections of one member come from.
pub(crate) struct Acceptor {
    dealt: mpsc::UnboundedReceiver<Dealt>,
    access: Arc<Access>,
    /// What TCP is encrypted with, if it is.
    encryption: Option<(watch::Receiver<Identity>, Protocol)>,
    /// How long a connection may last, where its server does not see to that.
    connection_age: Option<Duration>,
    handshakes: JoinSet<Result<Shaken, Failure>>,
    /// The same, the oldest first.
    shaking: VecDeque<AbortHandle>,
    /// How many there are at all members.
    under_way: Arc<AtomicUsize>,
    strangers: Strangers,
    refused: Arc<Refused>,
    troubles: Troubles,
}

/// Connections of those who may nothing, the oldest first: each ends when its sender is dropped.
pub(crate) type Strangers = Arc<Mutex<VecDeque<(Instant, oneshot::Sender<()>)>>>;

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

/// A handshake that is done: what was made of a connection, and whose it is.
type Shaken = (TlsStream<TcpStream>, Guest);

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
}

/// What takes connections in, and who has them dealt, each with where it serves.
pub(crate) type Dealing = (Dealer, Vec<(Acceptor, Handle)>);

impl Terms {
    /// Accepts over TCP. That somebody is on this host counts where the listener is bound to loopback alone: what
    /// comes to another address from here may come from elsewhere, through a proxy.
    pub(crate) fn tcp(
        &self,
        listener: TcpListener,
        protocol: Protocol,
        members: &[Member],
    ) -> io::Result<Dealing> {
        let is_loopback = listener.local_addr()?.ip().is_loopback();
        let anybody = if is_loopback { self.access.loopback } else { Rights::NONE };
        let (dealer, mut acceptors) = self.dealing(Socket::Tcp(listener, anybody), members);
        for (acceptor, _) in &mut acceptors {
            acceptor.encryption = self.identity.clone().map(|identity| (identity, protocol));
            if let Protocol::Http = protocol {
                acceptor.connection_age = self.connection_age;
            }
        }
        Ok((dealer, acceptors))
    }

    /// Accepts over a Unix socket.
    pub(crate) fn unix(
        &self,
        listener: UnixListener,
        own_user: u32,
        members: &[Member],
    ) -> Dealing {
        self.dealing(Socket::Unix(listener, own_user, Arc::clone(&self.access)), members)
    }

    fn dealing(&self, socket: Socket, members: &[Member]) -> Dealing {
        let under_way = Arc::default();
        let acceptor = |dealt| Acceptor {
            dealt,
            access: Arc::clone(&self.access),
            encryption: None,
            connection_age: None,
            handshakes: JoinSet::new(),
            shaking: VecDeque::new(),
            under_way: Arc::clone(&under_way),
            strangers: Arc::clone(&self.strangers),
            refused: Arc::clone(&self.refused),
            troubles: Troubles::default(),
        };
        let seats = members.iter().map(|member| {
            let (sender, dealt) = mpsc::unbounded_channel();
            let seat = Seat { member: member.clone(), dealt: sender };
            (seat, (acceptor(dealt), member.runtime.clone()))
        });
        let (seats, acceptors) = seats.unzip();
        (Dealer { socket, seats, told: None }, acceptors)
    }
}

impl Acceptor {
    /// The next connection.
    pub(crate) async fn next(&mut self) -> Connection {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Connection> {
        loop {
            if let Poll::Ready(Some(ended)) = self.handshakes.poll_join_next(context) {
                match ended {
                    Ok(Ok((stream, guest))) => {
                        return Poll::Ready(self.admit(Stream::Tls(Box::new(stream)), guest));
                    }
                    Ok(Err(failure)) => self.failed(&failure.to_string()),
                    Err(_) => self.failed("another client had to be let in"),
                }
                continue;
            }
            // After the last one the end is near, and whoever asks is told so by others.
            let Poll::Ready(Some(Dealt { stream, guest })) = self.dealt.poll_recv(context) else {
                return Poll::Pending;
            };
            let stream = match stream {
                Raw::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
                Raw::Tcp(stream, peer) => match TcpStream::from_std(stream) {
                    Ok(stream) if self.encryption.is_some() => {
                        self.shake_hands(stream, peer, guest);
                        continue;
                    }
                    stream => stream.map(Stream::Tcp),
                },
            };
            match stream {
                Ok(stream) => return Poll::Ready(self.admit(stream, guest)),
                Err(error) => tracing::error!(%error, "a connection could not be taken over"),
            }
        }
    }

    /// Begins a handshake. What comes of it is found where handshakes end.
    fn shake_hands(&mut self, stream: TcpStream, peer: SocketAddr, guest: Guest) {
        let Some((identity, protocol)) = &self.encryption else { return };
        let handshake = TlsAcceptor::from(identity.borrow().speaking(*protocol)).accept(stream);
        let access = Arc::clone(&self.access);
        self.shaking.retain(|handshake| !handshake.is_finished());
        if self.under_way.load(Ordering::Relaxed) >= HANDSHAKES_MAX
            && let Some(oldest) = self.shaking.pop_front()
        {
            oldest.abort();
        }
        let under_way = Place::among(&self.under_way);
        self.shaking.push_back(self.handshakes.spawn(async move {
            let _under_way = under_way;
            let shaken = timeout(HANDSHAKE_TIMEOUT, handshake).await;
            let shaken = shaken.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
            let stream = shaken.map_err(|problem| Failure { peer, problem })?;
            let rights = guest.rights.and(of_certificate(&stream, peer, &access));
            Ok((stream, Guest { rights, ..guest }))
        }));
    }

    /// Lets a connection in. Too many of those who may nothing make the oldest of them give way.
    fn admit(&mut self, stream: Stream, guest: Guest) -> Connection {
        let Guest { rights, since, place } = guest;
        let is_stranger = rights == Rights::NONE;
        let gives_way = is_stranger.then(|| self.stranger(since));
        let age = match self.connection_age {
            age if !is_stranger => age,
            age => Some(age.map_or(STRANGER_AGE, |age| age.min(STRANGER_AGE))),
        };
        let end = age.map(|age| Box::pin(sleep(age)));
        Connection { stream, rights, end, gives_way, is_over: false, _place: place }
    }

    /// A place among those who may nothing: ready when it has to be given up.
    fn stranger(&mut self, since: Instant) -> oneshot::Receiver<()> {
        let (place, gives_way) = oneshot::channel();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.retain(|(_, place)| !place.is_closed());
        let at = strangers.partition_point(|(other, _)| *other <= since);
        strangers.insert(at, (since, place));
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

    fn failed(&mut self, problem: &str) {
        self.refused.handshakes.add(1);
        let count = self.refused.handshakes.value();
        tracing::debug!(problem, count, "a TLS handshake failed");
        if is_due(&mut self.troubles.handshakes) {
            tracing::warn!(problem, count, "TLS handshakes fail; this is the newest");
        }
    }
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

impl Listener for Acceptor {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        (self.next().await, ())
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
