//! Sockets: bound before anything starts, so that a port in use is the first thing one learns.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

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

/// Binds a Unix socket that its owner alone may use. A socket that a dead process left behind is
/// replaced; anything else at the path is not.
pub async fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |cause| ListenError::Socket { path: path.to_owned(), cause };
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if UnixStream::connect(path).await.is_ok() {
            return Err(ListenError::InUse { path: path.to_owned() });
        }
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}
