//! What TCP is encrypted with, and how callers are told apart by their certificates: files that are followed
//! while they are replaced.
//!
//! New connections get what the files say now. What is damaged, half written or does not fit together is said
//! once and takes nothing away: what was read before stays in force.
//!
//! A client need not show a certificate: probes have none. Which one counts for what is decided where its
//! connection is accepted. Deliberately absent: resumed sessions, which would outlive the certificate and the
//! authority that they began with, and lists of revoked certificates: take the name out of `[[access]]`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::Tls;

/// How often the files are looked at. Guess: nobody replaces a certificate and connects within a second.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes of the largest file that is read. Guess: an authority takes 2 KiB, and few trust hundreds.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is spoken over a connection: one thing on each listener.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    /// gRPC.
    Grpc,
    /// HTTP/1.1, for gateways, probes and people.
    Http,
}

/// What handshakes are made with.
#[derive(Clone)]
pub(crate) struct Identity {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

/// The files, and what they were at the last look.
pub(crate) struct Files {
    tls: Tls,
    seen: Result<Contents, String>,
    found: watch::Sender<Identity>,
}

/// What the files hold. Compared as a whole: times of files are too coarse to tell one from the next.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Identity {
    /// What a handshake is made with, for what is spoken after it.
    pub(super) fn speaking(&self, protocol: Protocol) -> Arc<ServerConfig> {
        match protocol {
            Protocol::Grpc => Arc::clone(&self.grpc),
            Protocol::Http => Arc::clone(&self.http),
        }
    }
}

impl Files {
    /// Reads the files for the first time: nobody is served without them.
    pub(crate) fn open(tls: Tls) -> anyhow::Result<(Self, watch::Receiver<Identity>)> {
        let contents = Contents::read(&tls)?;
        let (found, identity) = watch::channel(contents.identity(&tls)?);
        Ok((Self { tls, seen: Ok(contents), found }, identity))
    }

    /// Hands over what replaces the files, until nobody wants it any more.
    pub(crate) async fn follow(mut self) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = self.found.closed() => return Ok(()),
                () = sleep(LOOK_INTERVAL) => {}
            }
            let looked = tokio::task::spawn_blocking(move || (self.look(), self));
            let (changed, files) = looked.await.context("reading the files of [listen.tls]")?;
            self = files;
            match changed {
                None => {}
                Some(Ok(identity)) => {
                    self.found.send_replace(identity);
                    tracing::info!("the files of [listen.tls] were replaced and are in force");
                }
                Some(Err(error)) => tracing::error!(
                    error = format!("{error:#}"),
                    "the files of [listen.tls] can not be used; those before stay in force"
                ),
            }
        }
    }

    /// What is there now, where it is something else than at the last look.
    fn look(&mut self) -> Option<anyhow::Result<Identity>> {
        let seen = Contents::read(&self.tls).map_err(|error| format!("{error:#}"));
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        Some(match &self.seen {
            Ok(contents) => contents.identity(&self.tls),
            Err(problem) => Err(anyhow!("{problem}")),
        })
    }
}

impl Contents {
    fn read(tls: &Tls) -> anyhow::Result<Self> {
        let Tls { certificate, key, client_ca, connection_age: _ } = tls;
        Ok(Self {
            certificate: file("certificate", certificate)?,
            key: file("key", key)?,
            client_ca: client_ca.as_ref().map(|path| file("client_ca", path)).transpose()?,
        })
    }

    fn identity(&self, tls: &Tls) -> anyhow::Result<Identity> {
        let chain = certificates(&self.certificate).with_context(|| {
            let path = tls.certificate.display();
            format!("listen.tls.certificate: {path} holds no certificate in PEM")
        })?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).with_context(|| {
            let path = tls.key.display();
            format!("listen.tls.key: {path} holds no private key in PEM that is not encrypted")
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        let config = if let Some(client_ca) = &self.client_ca {
            let authorities = authorities(client_ca).with_context(|| {
                let path = tls.client_ca.as_deref().unwrap_or(Path::new("")).display();
                format!("listen.tls.client_ca: {path} holds no authorities in PEM")
            })?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            config.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        } else {
            config.with_no_client_auth()
        };
        let mut config = config
            .with_single_cert(chain, key)
            .context("listen.tls.certificate and listen.tls.key do not fit together")?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Identity { grpc: speaking(b"h2"), http: speaking(b"http/1.1") })
    }
}

fn file(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= FILE_BYTES_MAX, "has more than {FILE_BYTES_MAX} bytes");
        Ok(bytes)
    };
    read().with_context(|| format!("listen.tls.{key}: {} can not be read", path.display()))
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!all.is_empty(), "no certificate is in it");
    Ok(all)
}

fn authorities(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}
