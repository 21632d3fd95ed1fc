//! How the command line reaches a running sidecar.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Where the example configuration listens.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7431";

/// How long connecting may take. Guess: sidecars are near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a command believes and shows where the sidecar serves TLS.
#[derive(Args, Clone, Debug, Default)]
pub struct ClientTls {
    /// The authority of the sidecar's certificate, in PEM. Needed for https.
    #[arg(long = "tls-ca", value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// The certificate that tells the sidecar who asks, in PEM.
    #[arg(long = "tls-certificate", value_name = "FILE", global = true, requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(
        id = "key",
        long = "tls-key",
        value_name = "FILE",
        global = true,
        requires = "certificate"
    )]
    pub key: Option<PathBuf>,
}

/// Connects to `HOST:PORT`, `https://HOST:PORT` or `unix:PATH`. Where an authority is given, TLS is meant.
pub async fn connect(address: &str, tls: &ClientTls) -> anyhow::Result<Channel> {
    let uri = if address.starts_with("unix:") || address.contains("://") {
        address.to_owned()
    } else if tls.ca.is_some() {
        format!("https://{address}")
    } else {
        format!("http://{address}")
    };
    let mut endpoint = Endpoint::from_shared(uri.clone())
        .with_context(|| format!("`{address}` is no address; give HOST:PORT or unix:PATH"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    if let Some(config) = encryption(&uri, tls)? {
        endpoint = endpoint.tls_config(config).context("the files of --tls-… can not be used")?;
        return endpoint.connect().await.with_context(|| {
            format!("the sidecar at {address} does not answer, or is not whom --tls-ca vouches for")
        });
    }
    endpoint.connect().await.with_context(|| {
        format!("no sidecar answers at {address}; start one with `caed serve`, or name another with --at")
    })
}

fn encryption(uri: &str, tls: &ClientTls) -> anyhow::Result<Option<ClientTlsConfig>> {
    let ClientTls { ca, certificate, key } = tls;
    if !uri.starts_with("https://") {
        if ca.is_some() || certificate.is_some() {
            bail!("{uri} is not encrypted; leave out --tls-…, or give https://HOST:PORT");
        }
        return Ok(None);
    }
    let Some(ca) = ca else {
        bail!("give --tls-ca, the authority of the certificate that {uri} shows");
    };
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    Ok(Some(match (certificate, key) {
        (Some(certificate), Some(key)) => {
            config.identity(Identity::from_pem(read(certificate)?, read(key)?))
        }
        _ => config,
    }))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} can not be read", path.display()))
}
