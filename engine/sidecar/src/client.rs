//! How the command line reaches a running sidecar.

use std::time::Duration;

use anyhow::Context;
use tonic::transport::{Channel, Endpoint};

/// Where the example configuration listens.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7431";

/// How long connecting may take: the sidecar is on this host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Connects to `HOST:PORT` or `unix:PATH`.
pub async fn connect(address: &str) -> anyhow::Result<Channel> {
    let uri = if address.starts_with("unix:") || address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let endpoint = Endpoint::from_shared(uri)
        .with_context(|| format!("`{address}` is no address; give HOST:PORT or unix:PATH"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    endpoint.connect().await.with_context(|| {
        format!("no sidecar answers at {address}; start one with `caed serve`, or name another with --at")
    })
}
