//! Sockets: bound before anything starts, so that a port in use is the first thing one learns.
//!
//! | module | noun |
//! |---|---|
//! | `dealer` | takes connections in, and deals them to those who serve |
//! | `acceptor` | makes them ready to be served, and works out what each peer may do |
//! | `connection` | one of them, however it came |
//! | `tls` | what TCP is encrypted with, followed while its files are replaced |

mod acceptor;
mod connection;
mod dealer;
mod tls;

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::Instant;

use crate::access::Access;
pub(crate) use acceptor::{Acceptor, Dealing, Terms, with_rights};
pub(crate) use connection::Connection;
pub(crate) use tls::{Files, Protocol};

/// How often the same trouble is told. Each is counted.
const TELL_INTERVAL: Duration = Duration::from_mins(1);

/// Why a socket can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address.
    #[error("listen.{key}: {address} can not be bound: {cause}")]
    Address {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A Unix socket.
    #[error("listen.grpc_socket: {} can not be bound: {cause}", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A Unix socket that somebody serves.
    #[error("listen.grpc_socket: {} is served by another process", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
}

/// Binds an address.
pub async fn tcp(key: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|cause| ListenError::Address { key, address, cause })
}

/// A Unix socket that is bound.
pub(crate) struct Unix {
    pub(crate) listener: UnixListener,
    /// The user that this process runs as.
    pub(crate) own_user: u32,
    pub(crate) file: SocketFile,
}

/// A Unix socket's file: removed with this value, unless another process has replaced it by its own.
pub struct SocketFile {
    path: PathBuf,
    /// Device and number of the file.
    identity: (u64, u64),
}

/// Binds a Unix socket. Its mode lets nobody connect but its owner, unless others may do something over it. A
/// socket that a dead process left behind is replaced; anything else at the path is not.
pub(crate) async fn unix(path: &Path, access: &Access) -> Result<Unix, ListenError> {
    let failed = |cause| ListenError::Socket { path: path.to_owned(), cause };
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(failed(ErrorKind::AlreadyExists.into()));
        }
        match UnixStream::connect(path).await {
            // Nobody listens.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) | Err(_) => return Err(ListenError::InUse { path: path.to_owned() }),
        }
    }
    // Bound where nobody else can look and moved when its mode is right, so that there is no moment
    // at which others can connect.
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder =
        tempfile::Builder::new().prefix(".caed-").tempdir_in(beside.unwrap_or(Path::new(".")));
    bind_within(folder.map_err(failed)?.path(), path, access).map_err(failed)
}

fn bind_within(folder: &Path, path: &Path, access: &Access) -> io::Result<Unix> {
    let private = folder.join("socket");
    let listener = UnixListener::bind(&private)?;
    // A peer of our own runs as who we are.
    let own_user = UnixStream::pair()?.0.peer_cred()?.uid();
    let mode = if access.is_private(own_user) { 0o600 } else { 0o666 };
    fs::set_permissions(&private, fs::Permissions::from_mode(mode))?;
    let identity = identity(&private)?;
    fs::rename(&private, path)?;
    Ok(Unix { listener, own_user, file: SocketFile { path: path.to_owned(), identity } })
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Somebody may have removed it already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Whether a trouble is to be told, and from then on not for a while.
fn is_due(told: &mut Option<Instant>) -> bool {
    let is_due = told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
    if is_due {
        *told = Some(Instant::now());
    }
    is_due
}
