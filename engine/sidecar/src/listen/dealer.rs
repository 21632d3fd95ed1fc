//! Takes connections in, and deals each to the member of the crew that has the fewest.

use std::io::{self, ErrorKind};
use std::net::{self, SocketAddr};
use std::os::unix;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use caed_surfaces::rights::Rights;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::is_due;
use crate::access::Access;
use crate::crew::{Member, Place};

/// How long nothing is accepted after the operating system could not, most often for lack of descriptors.
const REST: Duration = Duration::from_millis(100);

/// One listener.
pub(crate) struct Dealer {
    pub(super) socket: Socket,
    pub(super) seats: Vec<Seat>,
    pub(super) told: Option<Instant>,
}

/// What is listened on.
pub(super) enum Socket {
    /// With what whoever connects may do.
    Tcp(TcpListener, Rights),
    /// With the user that this process runs as.
    Unix(UnixListener, u32, Arc<Access>),
}

/// Where connections are dealt to.
pub(super) struct Seat {
    pub(super) member: Member,
    pub(super) dealt: mpsc::UnboundedSender<Dealt>,
}

/// A connection, on its way to who serves it.
pub(super) struct Dealt {
    pub(super) stream: Raw,
    pub(super) guest: Guest,
}

/// Who connected.
pub(super) struct Guest {
    /// What its peer may do, as far as that is known.
    pub(super) rights: Rights,
    /// When it connected: threads take over what they are dealt in no order.
    pub(super) since: Instant,
    pub(super) place: Place,
}

/// A connection that belongs to no runtime.
pub(super) enum Raw {
    Tcp(net::TcpStream, SocketAddr),
    Unix(unix::net::UnixStream),
}

impl Dealer {
    /// Deals until the end.
    pub(crate) async fn run(mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut end = pin!(end);
        loop {
            let accepted = tokio::select! {
                () = &mut end => return Ok(()),
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, rights)) => self.deal(stream, rights),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    if is_due(&mut self.told) {
                        tracing::error!(%error, "connections can not be accepted at the moment");
                    }
                    sleep(REST).await;
                }
            }
        }
    }

    fn deal(&self, stream: Raw, rights: Rights) {
        if let Some(seat) = self.seats.iter().min_by_key(|seat| seat.member.open()) {
            let guest = Guest { rights, since: Instant::now(), place: seat.member.place() };
            // Nobody takes it once all is about to end.
            let _ = seat.dealt.send(Dealt { stream, guest });
        }
    }
}

impl Socket {
    /// The next connection, and what its peer may do so far.
    async fn accept(&self) -> io::Result<(Raw, Rights)> {
        match self {
            Self::Tcp(listener, anybody) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small: waiting to fill a packet would cost more than it saves. A connection that can't
                // be told so is gone already, and its server notices.
                let _ = stream.set_nodelay(true);
                Ok((Raw::Tcp(stream.into_std()?, peer), *anybody))
            }
            Self::Unix(listener, own_user, access) => {
                let (stream, _) = listener.accept().await?;
                let rights = of_peer(&stream, *own_user, access);
                Ok((Raw::Unix(stream.into_std()?), rights))
            }
        }
    }
}

/// What a peer of a Unix socket may do, by the user that it ran as when it connected.
fn of_peer(stream: &UnixStream, own_user: u32, access: &Access) -> Rights {
    let peer = stream.peer_cred();
    let rights = peer.as_ref().map_or(Rights::NONE, |peer| access.of_user(peer.uid(), own_user));
    tracing::debug!(?peer, ?rights, "connected over the Unix socket");
    rights
}

/// Whether a fault was the peer's: it is over with its connection.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}
