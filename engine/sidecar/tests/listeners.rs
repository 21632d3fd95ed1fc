//! Who may do what over which listener, and what listeners do about those who mean harm.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod authority;
mod process;

use std::fs;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authority::{Authority, Held, Use, files};
use caed_proto::ext_authz::CheckRequest;
use caed_proto::ext_authz::authorization_client::AuthorizationClient;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_proto::v1::operations_client::OperationsClient;
use caed_sidecar::client::{self, ClientTls};
use process::{Sidecar, Site, ask, caed, publish, replace, revoked, stderr, stdout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Files of the sidecar, next to its configuration.
const TLS: &str = "[listen.tls]\ncertificate = 'SITE/server.crt'\nkey = 'SITE/server.key'\nclient_ca = 'SITE/ca.pem'\n";

const OFF_LOOPBACK: &str = "grpc = \"0.0.0.0:0\"\nadmin = \"0.0.0.0:0\"\n";
const ON_LOOPBACK: &str = "grpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
const MIXED: &str = "grpc = \"0.0.0.0:0\"\nadmin = \"127.0.0.1:0\"\n";
const SOCKET: &str = "grpc_socket = 'SITE/caed.sock'\n";

/// Grants to certificates, and to this user over the socket.
const GRANTS: &str = "\
[[access]]
certificate = \"decider.internal\"
may = [\"decide\"]
[[access]]
certificate = \"voucher.internal\"
may = [\"decide\", \"vouch\"]
[[access]]
certificate = \"publisher.internal\"
may = [\"publish\"]
[[access]]
certificate = \"spiffe://internal/operator\"
may = [\"administer\"]
";

const OWN_USER: &str = "[[access]]\nuid = OWN\nmay = [\"decide\", \"vouch\"]\n";
const LOOPBACK_PUBLISHES: &str = "[[access]]\nloopback = true\nmay = [\"publish\"]\n";
const LOOPBACK_ADMINISTERS: &str = "[[access]]\nloopback = true\nmay = [\"administer\"]\n";

/// A caller: over TCP with a certificate of these names or with none, or over the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Names(&'static [&'static str]),
    Peer,
}

/// Listeners with grants, and what each caller may do over them: D, V, P, A for the rights.
type Row = (&'static [&'static str], &'static [(Who, &'static str)]);

const TABLE: [Row; 5] = [
    (
        &[OFF_LOOPBACK, SOCKET, TLS, GRANTS, OWN_USER],
        &[
            (Who::Nobody, ""),
            (Who::Names(&["decider.internal"]), "D"),
            (Who::Names(&["voucher.internal"]), "DV"),
            (Who::Names(&["publisher.internal"]), "P"),
            (Who::Names(&["spiffe://internal/operator"]), "A"),
            (Who::Names(&["other.internal", "decider.internal", "publisher.internal"]), "DP"),
            (Who::Names(&["stranger.internal"]), ""),
            (Who::Names(&["*.internal"]), ""),
            (Who::Names(&["spiffe://internal/operator/other"]), ""),
            (Who::Peer, "DV"),
        ],
    ),
    (&[ON_LOOPBACK, SOCKET], &[(Who::Nobody, "DPA"), (Who::Peer, "DPA")]),
    (
        &[ON_LOOPBACK, SOCKET, TLS, GRANTS, LOOPBACK_PUBLISHES],
        &[
            (Who::Nobody, "P"),
            (Who::Names(&["decider.internal"]), "DP"),
            (Who::Names(&["stranger.internal"]), "P"),
            (Who::Peer, ""),
        ],
    ),
    (
        &[OFF_LOOPBACK, SOCKET, TLS],
        &[(Who::Nobody, ""), (Who::Names(&["decider.internal"]), ""), (Who::Peer, "DPA")],
    ),
    // gRPC is off loopback, the admin listener is not.
    (&[MIXED, TLS, LOOPBACK_ADMINISTERS], &[(Who::Nobody, "a")]),
];

/// What can be called over gRPC, and the rights that it takes; `*` is any.
const METHODS: [(&str, &str); 15] = [
    ("health", ""),
    ("reflection", "*"),
    ("evaluate", "DV"),
    ("evaluate without claims", "D"),
    ("evaluate a batch", "DV"),
    ("evaluate a batch without claims", "D"),
    ("evaluate a stream", "DV"),
    ("check", "D"),
    ("publish", "P"),
    ("status", "A"),
    ("digest", "A"),
    ("explain", "A"),
    ("tenant", "A"),
    ("subject", "A"),
    ("export", "A"),
];

/// What can be asked of the admin listener, and the rights that it takes.
const PATHS: [(&str, &str); 7] = [
    ("/healthz", ""),
    ("/readyz", ""),
    ("/", "A"),
    ("/live", "A"),
    ("/explain", "A"),
    ("/page.js", "A"),
    ("/metrics", "A"),
];

/// A sidecar with a folder, an authority of callers, and whom they believe.
struct Scene {
    site: Site,
    authority: Authority,
    sidecar: Sidecar,
}

impl Scene {
    fn new(parts: &[&str]) -> Self {
        let (site, authority) = (Site::new(), Authority::new("authority"));
        authority.server().store(&site, "server");
        // Of callers, and of sidecars.
        replace(&site.path("ca.pem"), authority.pem());
        replace(&site.path("servers.pem"), authority.pem());
        let mut sidecar = Sidecar::start(&config(&site, parts));
        sidecar.logged("ready");
        Self { site, authority, sidecar }
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.site.path("caed.sock").display())
    }

    /// A client's certificate, in files of this name.
    fn hold(&self, name: &str, names: &[&str], used: Use) -> Held {
        let held = self.authority.issue(names, used);
        held.store(&self.site, name);
        held
    }

    async fn connect(&self, held: Option<&str>) -> anyhow::Result<Channel> {
        let tls = files(&self.site, "servers.pem", held);
        client::connect(&format!("https://{}", here(self.sidecar.grpc())), &tls).await
    }

    /// What the counter of refused connections says.
    async fn refused(&self, held: &Held, cause: &str) -> u64 {
        let (_, metrics) = self.get(Some(held), "/metrics").await;
        let name = format!("caed_connections_refused_total{{cause=\"{cause}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
        line.unwrap_or_else(|| panic!("no {name}: {metrics}"))
    }

    async fn get(&self, held: Option<&Held>, path: &str) -> (u16, String) {
        let address = here(self.sidecar.admin());
        let mut stream =
            shake_hands(address, &self.authority, held, "http/1.1").await.expect("TLS");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        answer(&mut stream).await
    }
}

/// A configuration of these parts.
fn config(site: &Site, parts: &[&str]) -> PathBuf {
    let folder = site.path("");
    let own = fs::metadata(&folder).expect("a folder of ours").uid();
    // The sections of lists come last, so that no key falls into them.
    let (access, listen): (Vec<&str>, Vec<&str>) =
        parts.iter().partition(|part| part.starts_with("[[access]]"));
    let listen = listen.concat().replace("SITE/", &format!("{}/", folder.display()));
    let access = access.concat().replace("OWN", &own.to_string());
    site.guarded("caed.toml", &listen, "", &access)
}

/// The same port, on loopback.
fn here(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, address.port()).into()
}

/// A TLS connection, for what gRPC's client does not show.
async fn shake_hands(
    address: SocketAddr,
    authority: &Authority,
    held: Option<&Held>,
    protocol: &str,
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM");
    roots.add(root).expect("an authority");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match held {
        Some(held) => {
            let key = PrivateKeyDer::from_pem_slice(held.key.as_bytes()).expect("PEM");
            config.with_client_auth_cert(vec![held.der.clone().into()], key).expect("a pair")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that a listener shows.
fn shown(stream: &TlsStream<tokio::net::TcpStream>) -> Vec<u8> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().expect("shown")[0].to_vec()
}

/// The status and the body of an answer whose connection is closed.
async fn answer(stream: &mut TlsStream<tokio::net::TcpStream>) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// Calls a method so that nothing but a right can be missing.
async fn call(channel: &Channel, method: &str) -> Result<(), Status> {
    let mut decisions = AccessEvaluationClient::new(channel.clone());
    let mut operations = OperationsClient::new(channel.clone());
    let bare = v1::EvaluateRequest { token: None, ..ask("alice") };
    let batch = |request: v1::EvaluateRequest| v1::EvaluateBatchRequest { requests: vec![request] };
    let called = match method {
        "health" => {
            let request = HealthCheckRequest { service: String::new() };
            HealthClient::new(channel.clone()).check(request).await.map(drop)
        }
        "reflection" => {
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut client = ServerReflectionClient::new(channel.clone());
            client.server_reflection_info(tokio_stream::iter([request])).await.map(drop)
        }
        "evaluate" => decisions.evaluate(ask("alice")).await.map(drop),
        "evaluate without claims" => decisions.evaluate(bare).await.map(drop),
        "evaluate a batch" => decisions.evaluate_batch(batch(ask("alice"))).await.map(drop),
        "evaluate a batch without claims" => decisions.evaluate_batch(batch(bare)).await.map(drop),
        "evaluate a stream" => {
            let requests = tokio_stream::iter([ask("alice")]);
            match decisions.evaluate_stream(requests).await {
                Ok(replies) => replies.into_inner().message().await.map(drop),
                Err(status) => Err(status),
            }
        }
        "check" => {
            let mut gateway = AuthorizationClient::new(channel.clone());
            gateway.check(CheckRequest::default()).await.map(drop)
        }
        "publish" => {
            let request = publish(vec![revoked("mallory")], v1::Wait::Durable);
            EventPublisherClient::new(channel.clone()).publish(request).await.map(drop)
        }
        "status" => operations.status(v1::StatusRequest {}).await.map(drop),
        "digest" => operations.digest(v1::DigestRequest {}).await.map(drop),
        // Whatever it is told of: who explains, decides nothing.
        "explain" => operations.explain(ask("alice")).await.map(drop),
        "tenant" => {
            let tenant = process::TENANT.to_owned();
            let request = v1::GetTenantRequest { tenant, ..Default::default() };
            operations.get_tenant(request).await.map(drop)
        }
        "subject" => {
            let (tenant, user) = (process::TENANT.to_owned(), "alice".to_owned());
            operations.get_subject(v1::GetSubjectRequest { tenant, user }).await.map(drop)
        }
        "export" => {
            let request =
                v1::ExportRequest { tenant: process::TENANT.to_owned(), ..Default::default() };
            operations.export(request).await.map(drop)
        }
        other => panic!("`{other}` is no method"),
    };
    match called {
        // It was let in, and asked nothing that can be answered.
        Err(status) if status.code() == Code::InvalidArgument => Ok(()),
        called => called,
    }
}

/// Whether rights are enough for what is wanted.
fn is_enough(rights: &str, wanted: &str) -> bool {
    match wanted {
        "*" => !rights.is_empty(),
        wanted => wanted.chars().all(|right| rights.contains(right)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_may_do_what_they_were_granted_and_nothing_else() {
    let mut asked = 0;
    for (parts, callers) in TABLE {
        let scene = Scene::new(parts);
        let is_encrypted = parts.contains(&TLS);
        for (who, rights) in callers {
            // Lower case: over the admin listener alone.
            let (over_grpc, over_admin) = (rights.replace('a', ""), rights.to_uppercase());
            let held = match who {
                Who::Names(names) => Some(scene.hold("caller", names, Use::Client)),
                Who::Nobody | Who::Peer => None,
            };
            let channel = match who {
                Who::Peer => client::connect(&scene.socket(), &ClientTls::default()).await,
                _ if !is_encrypted => Ok(scene.sidecar.connect().await),
                _ => scene.connect(held.as_ref().map(|_| "caller")).await,
            };
            let channel = channel.expect("connected");
            for (method, wanted) in METHODS {
                let called = call(&channel, method).await;
                let context = format!("{method} by {who:?} at {parts:?}: {called:?}");
                match called {
                    Ok(()) => assert!(is_enough(&over_grpc, wanted), "{context}"),
                    Err(status) => {
                        assert_eq!(status.code(), Code::PermissionDenied, "{context}");
                        assert!(!is_enough(&over_grpc, wanted), "{context}");
                        assert!(status.message().contains("[[access]]"), "{context}");
                        let lacks_vouch = wanted == "DV" && over_grpc.contains('D');
                        let words = "send the raw token, or add `vouch`";
                        assert_eq!(status.message().contains(words), lacks_vouch, "{context}");
                    }
                }
                asked += 1;
            }
            if *who == Who::Peer {
                continue;
            }
            for (path, wanted) in PATHS {
                let (status, body) = if is_encrypted {
                    scene.get(held.as_ref(), path).await
                } else {
                    process::get(scene.sidecar.admin(), path)
                };
                let expected = if is_enough(&over_admin, wanted) { 200 } else { 403 };
                assert_eq!(status, expected, "{path} by {who:?} at {parts:?}: {body}");
                assert!(status == 200 || body.contains("may not `administer`"), "{body}");
                asked += 1;
            }
        }
        assert_eq!(scene.sidecar.terminate().code, Some(0));
    }
    println!("{asked} questions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_count_end_the_handshake() {
    let scene = Scene::new(&[OFF_LOOPBACK, TLS, GRANTS]);
    let operator = scene.hold("operator", &["spiffe://internal/operator"], Use::Client);
    let names = ["voucher.internal", "publisher.internal"];
    scene.hold("expired", &names, Use::ExpiredClient);
    scene.hold("server-only", &names, Use::Server);
    Authority::new("authority").issue(&names, Use::Client).store(&scene.site, "foreign");
    let mut failed = 0;
    for held in ["expired", "server-only", "foreign"] {
        // In TLS 1.3 a client learns only from the answer to its first request that it is not wanted.
        if let Ok(channel) = scene.connect(Some(held)).await {
            let status = call(&channel, "health").await.expect_err(held);
            assert_ne!(status.code(), Code::PermissionDenied, "{held}: {status:?}");
        }
        let before = failed;
        failed = scene.refused(&operator, "handshake").await;
        assert!(failed > before, "{held}");
    }
    // What is spoken on the other listener is not spoken here.
    for (address, protocol) in [(scene.sidecar.grpc(), "http/1.1"), (scene.sidecar.admin(), "h2")] {
        let shaken = shake_hands(here(address), &scene.authority, None, protocol).await;
        shaken.expect_err(protocol);
    }
    // Nobody else's certificate is believed of the sidecar either.
    let tls = files(&scene.site, "server.crt", None);
    let address = format!("https://{}", here(scene.sidecar.grpc()));
    let error = client::connect(&address, &tls).await.expect_err("an authority that is none");
    assert!(error.to_string().contains("is not whom --tls-ca vouches for"), "{error:#}");
    // All that while, who is wanted is served.
    assert!(call(&scene.connect(None).await.expect("connected"), "health").await.is_ok());
}

/// Waits until a new connection is shown this certificate.
async fn until_shown(scene: &Scene, expected: &Held) {
    let begun = Instant::now();
    loop {
        let address = here(scene.sidecar.grpc());
        let stream = shake_hands(address, &scene.authority, None, "h2").await.expect("TLS");
        if shown(&stream) == expected.der {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not replaced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a decision is had with a certificate.
async fn is_served(scene: &Scene, held: &str) -> bool {
    match scene.connect(Some(held)).await {
        Ok(channel) => call(&channel, "evaluate").await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_while_serving() {
    let mut scene = Scene::new(&[OFF_LOOPBACK, TLS, GRANTS]);
    scene.hold("voucher", &["voucher.internal"], Use::Client);
    let operator = scene.hold("operator", &["spiffe://internal/operator"], Use::Client);
    let lasting = scene.connect(Some("voucher")).await.expect("connected");
    let request = HealthCheckRequest { service: String::new() };
    let watched = HealthClient::new(lasting.clone()).watch(request).await.expect("watched");
    let mut watched = watched.into_inner();
    watched.message().await.expect("a status").expect("one");

    let second = scene.authority.server();
    second.store(&scene.site, "server");
    until_shown(&scene, &second).await;

    // Nothing that can't be used is used: rubbish, half a file, a key of another certificate, no file.
    let third = scene.authority.server();
    let half = third.certificate[..third.certificate.len() / 2].to_owned();
    let key = scene.site.path("server.key");
    let said = "the files of [listen.tls] can not be used; those before stay in force";
    for (file, rubbish, problem) in [
        ("server.crt", Some("rubbish".to_owned()), "listen.tls.certificate: "),
        ("server.key", Some(third.key.clone()), "do not fit together"),
        ("server.crt", Some(half), "listen.tls.certificate: "),
        ("ca.pem", Some("rubbish".to_owned()), "holds no authorities"),
        ("ca.pem", None, "can not be read"),
    ] {
        second.store(&scene.site, "server");
        replace(&scene.site.path("ca.pem"), scene.authority.pem());
        let path = scene.site.path(file);
        match &rubbish {
            Some(rubbish) => replace(&path, rubbish),
            None => fs::remove_file(&path).expect("removed"),
        }
        // A look may come between two files, and find fault with that.
        while !scene.sidecar.logged_anew(said)["error"].to_string().contains(problem) {}
        until_shown(&scene, &second).await;
        assert!(is_served(&scene, "voucher").await, "{problem}");
    }
    replace(&scene.site.path("ca.pem"), scene.authority.pem());

    // The key first, then the certificate: in between they do not fit together, and nothing happens.
    replace(&key, &third.key);
    while !scene.sidecar.logged_anew(said)["error"].to_string().contains("do not fit") {}
    third.store(&scene.site, "server");
    until_shown(&scene, &third).await;

    // Another authority of callers: its certificates count from now on, and the others no more.
    let successor = Authority::new("successor");
    successor.issue(&["voucher.internal"], Use::Client).store(&scene.site, "new-voucher");
    replace(&scene.site.path("ca.pem"), successor.pem());
    let begun = Instant::now();
    while !is_served(&scene, "new-voucher").await {
        assert!(begun.elapsed() < PATIENCE, "not replaced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!is_served(&scene, "voucher").await, "by an authority that counts no more");
    let address = here(scene.sidecar.admin());
    let mut stream =
        shake_hands(address, &scene.authority, Some(&operator), "http/1.1").await.expect("begun");
    let refused = stream.read(&mut [0]).await.expect_err("a certificate that counts no more");
    assert!(refused.to_string().contains("UnknownCA"), "{refused}");

    // The first connection has seen nothing of all that.
    call(&lasting, "evaluate").await.expect("answered");
    let still = tokio::time::timeout(Duration::ZERO, watched.message()).await;
    assert!(still.is_err(), "the stream goes on: {still:?}");
    assert_eq!(scene.sidecar.terminate().code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_over_tls_lasts_as_long_as_it_may() {
    let short = format!("{TLS}connection_age = \"1s\"\n");
    let scene = Scene::new(&[OFF_LOOPBACK, &short, GRANTS]);
    scene.hold("voucher", &["voucher.internal"], Use::Client);
    let channel = scene.connect(Some("voucher")).await.expect("connected");
    let request = HealthCheckRequest { service: String::new() };
    let watched = HealthClient::new(channel.clone()).watch(request).await.expect("watched");
    let mut watched = watched.into_inner();
    let begun = Instant::now();
    let ended = async { while let Ok(Some(_)) = watched.message().await {} };
    let address = here(scene.sidecar.admin());
    let mut idle =
        shake_hands(address, &scene.authority, None, "http/1.1").await.expect("connected");
    let ended_idle = async { while let Ok(1..) = idle.read(&mut [0]).await {} };
    tokio::time::timeout(PATIENCE, async { tokio::join!(ended, ended_idle) }).await.expect("ended");
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    // Calls go over connections of their own from then on. One that is sent while a connection ends is cut off with
    // it, as the caller is told.
    let begun = Instant::now();
    while let Err(status) = call(&channel, "evaluate").await {
        assert!(matches!(status.code(), Code::Cancelled | Code::Unavailable), "{status:?}");
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
    }
    assert_eq!(scene.sidecar.terminate().code, Some(0));
}

/// Connects so often that what is bounded is full, and says nothing.
fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).expect("connected")).collect()
}

/// Waits until the other side has closed a connection.
fn until_closed(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    // Whatever it says before.
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_speak_hold_nobody_up() {
    let scene = Scene::new(&[OFF_LOOPBACK, TLS, GRANTS]);
    scene.hold("voucher", &["voucher.internal"], Use::Client);
    // More than there may be handshakes at once: the oldest give way.
    let silent = silent(here(scene.sidecar.grpc()), 300);
    let begun = Instant::now();
    let channel = scene.connect(Some("voucher")).await.expect("connected");
    call(&channel, "evaluate").await.expect("answered");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for stream in &silent[..40] {
        until_closed(stream);
    }
    let operator = scene.hold("operator", &["spiffe://internal/operator"], Use::Client);
    assert!(scene.refused(&operator, "handshake").await >= 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_may_nothing_have_a_bound_of_their_own() {
    let scene = Scene::new(&["grpc = \"127.0.0.1:0\"\n", SOCKET, OWN_USER]);
    // All listeners together: the oldest gives way.
    let strangers = silent(scene.sidecar.grpc(), 65);
    until_closed(&strangers[0]);
    let peer = client::connect(&scene.socket(), &ClientTls::default()).await.expect("connected");
    call(&peer, "evaluate").await.expect("answered");
    // So a probe gets in, however many hold on to what they have.
    let probe = scene.sidecar.connect().await;
    call(&probe, "health").await.expect("answered");
    until_closed(&strangers[1]);
    // What anybody may ask is short.
    let request = HealthCheckRequest { service: "long".repeat(1000) };
    let refused = HealthClient::new(probe).check(request).await.expect_err("too long");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
}

/// Asks, and reads no answer, until there is no room for another question.
fn ask_deafly(stream: &mut TcpStream) {
    stream.set_write_timeout(Some(Duration::from_millis(200))).expect("set");
    let questions = "GET / HTTP/1.1\r\n\r\n".repeat(1000);
    while stream.write_all(questions.as_bytes()).is_ok() {}
}

/// Waits until the other side wants no more, and reads nothing meanwhile.
fn until_reset(stream: &mut TcpStream) {
    let begun = Instant::now();
    while let Err(ErrorKind::WouldBlock) | Ok(_) =
        stream.write(b"GET").map_err(|error| error.kind())
    {
        assert!(begun.elapsed() < PATIENCE, "not reset");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_may_nothing_give_way_in_the_midst_of_what_they_say() {
    let scene = Scene::new(&["http = \"127.0.0.1:0\"\n", SOCKET, OWN_USER]);
    let http = scene.sidecar.http();
    let [mut half, mut deaf] = [http; 2].map(|http| TcpStream::connect(http).expect("connected"));
    half.write_all(b"GET / HT").expect("sent");
    ask_deafly(&mut deaf);
    let begun = Instant::now();
    let _others = silent(http, 64);
    until_closed(&half);
    until_reset(&mut deaf);
    // By themselves they end after half a minute.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let ended = scene.sidecar.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(!ended.lines.iter().any(|line| line.contains("panicked")), "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lack_of_descriptors_passes() {
    let site = Site::new();
    let config = config(&site, &["grpc = \"127.0.0.1:0\"\n", process::OPEN]);
    let mut sidecar = Sidecar::start_with_descriptors(&config, 64);
    sidecar.logged("ready");
    let many = silent(sidecar.grpc(), 80);
    sidecar.logged("connections can not be accepted at the moment");
    drop(many);
    call(&sidecar.connect().await, "evaluate").await.expect("answered");
    let ended = sidecar.terminate();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let told = ended.lines.iter().filter(|line| line.contains("can not be accepted")).count();
    assert_eq!(told, 1, "{ended:#?}");
}

/// A user that is neither this one nor root.
const OTHER_USER: u32 = 54_321;

/// Runs `caed status` over the socket as another user, from a folder that it may enter.
fn status_as(user: u32, socket: &Path) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let program = folder.path().join("caed");
    fs::copy(env!("CARGO_BIN_EXE_caed"), &program).expect("copied");
    let mut command = Command::new(program);
    command.args(["status", "--at", &format!("unix:{}", socket.display())]);
    let output = command.env_clear().uid(user).gid(user).output().expect("runs");
    (output.status.code(), format!("{}{}", stdout(&output), stderr(&output)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_a_socket_are_told_by_their_user() {
    let other = format!("[[access]]\nuid = {OTHER_USER}\nmay = [\"administer\"]\n");
    for (grants, mode, other_may, own_may) in [
        ("", 0o600, None, true),
        (OWN_USER, 0o600, None, false),
        (other.as_str(), 0o666, Some(true), false),
        (
            &format!("{}{OWN_USER}", other.replace("administer", "publish")),
            0o666,
            Some(false),
            false,
        ),
    ] {
        let scene = Scene::new(&[SOCKET, grants]);
        let (folder, socket) = (scene.site.path(""), scene.site.path("caed.sock"));
        let found = fs::metadata(&socket).expect("there").permissions().mode();
        assert_eq!(found & 0o777, mode, "{grants}");
        let channel = client::connect(&scene.socket(), &ClientTls::default()).await;
        let channel = channel.expect("connected");
        let called = call(&channel, "status").await;
        assert_eq!(called.is_ok(), own_may, "{grants}: {called:?}");
        assert!(call(&channel, "health").await.is_ok(), "{grants}");
        // Only root can become another user.
        if fs::metadata(&folder).expect("ours").uid() == 0 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("opened");
            let (code, said) = status_as(OTHER_USER, &socket);
            let (expected, words) = match other_may {
                None => (1, "no sidecar answers"),
                Some(false) => (1, "may not `administer`"),
                Some(true) => (0, "knowledge"),
            };
            assert_eq!(code, Some(expected), "{grants}: {said}");
            assert!(said.contains(words), "{grants}: {said}");
        }
    }
}

/// A command, where it asks, what it shows, its exit code, and some of its words.
type Said<'a> = (&'a [&'a str], &'a str, Vec<&'a [String]>, i32, &'a str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_speak_tls_and_say_why_they_are_refused() {
    let scene = Scene::new(&[OFF_LOOPBACK, TLS, GRANTS]);
    scene.hold("operator", &["spiffe://internal/operator"], Use::Client);
    scene.hold("decider", &["decider.internal"], Use::Client);
    let bare = here(scene.sidecar.grpc()).to_string();
    let (secure, plain) = (format!("https://{bare}"), format!("http://{bare}"));
    let path = |name: &str| scene.site.path(name).to_str().expect("UTF-8").to_owned();
    let ca = ["--tls-ca".to_owned(), path("ca.pem")];
    let other_ca = ["--tls-ca".to_owned(), path("server.crt")];
    let shown = |name: &str| {
        [
            "--tls-certificate".to_owned(),
            path(&format!("{name}.crt")),
            "--tls-key".to_owned(),
            path(&format!("{name}.key")),
        ]
    };
    let (operator, decider) = (shown("operator"), shown("decider"));
    let decide: Vec<_> = [
        "decide",
        "--iss",
        process::ISSUER,
        "--tid",
        process::TENANT,
        "--sub",
        "alice",
        "--iat",
        "1",
    ]
    .to_vec();
    let cases: [Said<'_>; 9] = [
        (&["status"], &secure, vec![&ca, &operator], 0, "knowledge"),
        (&["status"], &bare, vec![&ca, &operator], 0, "knowledge"),
        (&["status"], &secure, vec![&ca], 1, "this caller may not `administer`; add"),
        (&["status"], &secure, vec![&ca, &decider], 1, "this caller may not `administer`; add"),
        (&decide, &secure, vec![&ca, &decider], 1, "this caller may not `vouch`"),
        (&["status"], &secure, vec![&operator], 1, "give --tls-ca"),
        (&["status"], &plain, vec![&ca], 1, "is not encrypted"),
        (&["status"], &secure, vec![&other_ca], 1, "is not whom --tls-ca vouches for"),
        (&["status"], &secure, vec![&ca, &operator[..2]], 2, "--tls-key"),
    ];
    for (command, at, more, code, words) in cases {
        let more = more.iter().flat_map(|more| more.iter().map(String::as_str));
        let arguments: Vec<_> = command.iter().copied().chain(["--at", at]).chain(more).collect();
        let output = caed(&arguments).output().expect("runs");
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_sidecar_does_not_start_with_files_that_it_can_not_use() {
    let (site, authority) = (Site::new(), Authority::new("authority"));
    let refused = |expected: &str| {
        let refused = Sidecar::refused(&config(&site, &[OFF_LOOPBACK, TLS]));
        assert_eq!(refused.code, Some(1), "{refused:#?}");
        let said = refused.lines.join("\n");
        assert!(said.contains(expected), "{expected}: {said}");
    };
    refused("listen.tls.certificate: ");
    authority.server().store(&site, "server");
    refused("listen.tls.client_ca: ");
    replace(&site.path("ca.pem"), "rubbish");
    refused("listen.tls.client_ca: ");
    replace(&site.path("ca.pem"), authority.pem());
    replace(&site.path("server.key"), &authority.server().key);
    refused("listen.tls.certificate and listen.tls.key do not fit together");
    let config = site.file("plain.toml", "[log]\ndirectory = 'log'\n[listen]\ngrpc = \"0.0.0.0:0\"\n[[issuers]]\nissuer = \"https://idp.example\"\ntenants = \"all\"\n");
    let refused = Sidecar::refused(&config);
    assert!(refused.lines.concat().contains("is not on loopback"), "{refused:#?}");
}
