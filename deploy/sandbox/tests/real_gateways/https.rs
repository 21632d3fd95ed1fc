//! A client of the gateway, as browsers and programs are one: TLS, HTTP/1.1 kept alive or HTTP/2, from an address of
//! its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use caed_sandbox::Sandbox;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long an answer may take, a gateway's own patience included.
const DEADLINE: Duration = Duration::from_secs(20);

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// A connection that is kept.
pub(crate) enum Connection {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// All lines of a header.
    pub(crate) fn lines(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }
}

/// How a client connects.
pub(crate) struct Connector {
    tls: TlsConnector,
    gateway: SocketAddr,
    from: Ipv4Addr,
    version: Version,
}

impl Connector {
    /// To the gateway, from an address of loopback.
    pub(crate) fn new(sandbox: &Sandbox, from: Ipv4Addr, version: Version) -> Self {
        let authority = std::fs::read(sandbox.folder().join("ca.crt")).expect("read");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority).expect("PEM")).expect("a certificate");
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![match version {
            Version::Http1 => b"http/1.1".to_vec(),
            Version::Http2 => b"h2".to_vec(),
        }];
        let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, sandbox.ports.gateway));
        Self { tls: Arc::new(config).into(), gateway, from, version }
    }

    /// Sends these very bytes, and returns the status of what comes back; `None` where nothing does.
    pub(crate) async fn status_of(&self, request: &[u8]) -> Option<u16> {
        let answer = self.answer_to(request).await;
        answer.split(' ').nth(1).map(|status| status.parse().expect("a status"))
    }

    /// Sends these very bytes, and returns what comes back until the gateway closes.
    pub(crate) async fn answer_to(&self, request: &[u8]) -> String {
        let mut stream = self.stream().await;
        // A gateway may refuse before it has read all.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        // It may end the connection without a farewell.
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        let _ = read.unwrap_or_else(|_| panic!("no end in {DEADLINE:?}"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn stream(&self) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(IpAddr::V4(self.from), 0)).expect("an address of loopback");
        let stream = socket.connect(self.gateway).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        let name = ServerName::try_from("localhost").expect("a name");
        self.tls.connect(name, stream).await.expect("TLS")
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TokioIo::new(self.stream().await);
        match self.version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
                tokio::spawn(connection);
                Connection::Http1(sender)
            }
            Version::Http2 => {
                let executor = TokioExecutor::new();
                let (sender, connection) =
                    http2::handshake(executor, stream).await.expect("HTTP/2");
                tokio::spawn(connection);
                Connection::Http2(sender)
            }
        }
    }
}

impl Connection {
    /// Asks the API, where the gateway has not closed the connection meanwhile.
    pub(crate) async fn try_get(&mut self, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let answer = tokio::time::timeout(DEADLINE, self.asked(path, headers)).await;
        answer.unwrap_or_else(|_| panic!("no answer in {DEADLINE:?}")).ok()
    }

    /// Asks the API.
    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = tokio::time::timeout(DEADLINE, self.asked(path, headers)).await;
        answer.unwrap_or_else(|_| panic!("no answer in {DEADLINE:?}")).expect("an answer")
    }

    async fn asked(&mut self, path: &str, headers: &[(&str, &str)]) -> hyper::Result<Answer> {
        let uri = match self {
            Self::Http1(_) => path.to_owned(),
            Self::Http2(_) => format!("https://localhost{path}"),
        };
        let mut request = Request::get(uri);
        if let Self::Http1(_) = self {
            request = request.header("host", "localhost");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).expect("a request");
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}
