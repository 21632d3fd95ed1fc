//! A sandbox on loopback: a gateway that asks caed about every request to an API, and an issuer whose tokens both
//! believe. `make sandbox-envoy` and its like bring it up for people; tests of gateways and of client libraries run
//! the same.
//!
//! | port | what | |
//! |---|---|---|
//! | 8443 | the gateway | HTTPS, by the example configuration of `deploy/` |
//! | 8444 | the issuer | HTTPS: metadata, keys, tokens |
//! | 8080 | the API | plain HTTP, for the gateway alone |
//! | 7431, 7433, 9464 | caed | gRPC, forward authorization, probes |
//!
//! Certificates are made anew by an authority that lives as long as the sandbox. Everything that it writes is in one
//! folder, which goes with it.

mod api;
pub mod certificates;
pub mod gateway;
pub mod issuer;
mod running;
mod tls;

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

use certificates::Certificates;
use gateway::Gateway;
use issuer::Issuer;
use running::Running;
use tls::TlsListener;

/// How long anything may take to come up.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where paths of the examples lead in a sandbox.
const FOLDERS: [(&str, &str); 2] = [("/etc/gateway/", ""), ("/var/lib/caed", "log")];

/// Who listens where, on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The gateway.
    pub gateway: u16,
    /// The issuer.
    pub issuer: u16,
    /// The API.
    pub api: u16,
    /// caed, over gRPC.
    pub grpc: u16,
    /// caed, for gateways over HTTP.
    pub http: u16,
    /// caed's probes.
    pub admin: u16,
}

impl Ports {
    /// Those of the examples.
    pub const USUAL: Self =
        Self { gateway: 8443, issuer: 8444, api: 8080, grpc: 7431, http: 7433, admin: 9464 };

    /// Some that nobody listens on.
    ///
    /// # Errors
    ///
    /// Where there are none.
    pub fn free() -> Result<Self> {
        let [gateway, issuer, api, grpc, http, admin] = free_ports()?;
        Ok(Self { gateway, issuer, api, grpc, http, admin })
    }

    /// An example's text, with these ports and with paths of this folder.
    fn put_into(&self, example: &str, folder: &Path) -> Result<String> {
        let folder = folder.to_str().context("the folder's name is no UTF-8")?;
        let mut text = example.to_owned();
        for (path, name) in FOLDERS {
            text = text.replace(path, &format!("{folder}/{name}"));
        }
        let usual = Self::USUAL.all();
        // Through words that are no ports, so that none is changed twice.
        for port in usual {
            text = text.replace(&port.to_string(), &format!("<{port}>"));
        }
        for (port, mine) in usual.into_iter().zip(self.all()) {
            text = text.replace(&format!("<{port}>"), &mine.to_string());
        }
        Ok(text)
    }

    const fn all(&self) -> [u16; 6] {
        [self.gateway, self.issuer, self.api, self.grpc, self.http, self.admin]
    }
}

/// So many ports of loopback in a row that nobody listens on, and that nobody else of this process is given.
///
/// # Errors
///
/// Where there are none.
pub fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    // Below those that the system gives to whoever connects, so that none is taken in between.
    const ALL: Range<u16> = 15_000..30_000;
    // Where the search goes on. Each port is offered once in a round: else two who ask at the same time, before either
    // listens, would be given the same.
    static NEXT: LazyLock<Mutex<u16>> = LazyLock::new(|| {
        let process = u16::try_from(std::process::id() % 1000).unwrap_or_default();
        Mutex::new(ALL.start + process * 15)
    });
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in ALL {
        if usize::from(ALL.end - *next) < COUNT {
            *next = ALL.start;
        }
        let ports = std::array::from_fn(|_| {
            *next += 1;
            *next - 1
        });
        if ports.iter().all(|port| StdListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
            return Ok(ports);
        }
    }
    bail!("no {COUNT} ports of loopback in a row are free, from {} to {}", ALL.start, ALL.end)
}

/// What a sandbox is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'s> {
    /// The gateway.
    pub gateway: Gateway,
    /// Who listens where.
    pub ports: Ports,
    /// What is different in the gateway's configuration.
    pub gateway_changes: &'s [(&'s str, &'s str)],
    /// What is different in caed's configuration.
    pub caed_changes: &'s [(&'s str, &'s str)],
}

/// Everything, running. What is dropped ends.
pub struct Sandbox {
    /// The issuer.
    pub issuer: Issuer,
    /// Who listens where.
    pub ports: Ports,
    /// The secret of every client.
    pub secret: String,
    folder: TempDir,
    gateway: Running,
    sidecar: Option<Running>,
    served: Vec<JoinHandle<()>>,
}

impl Sandbox {
    /// Brings everything up, and waits until the gateway answers and caed lets in whom the issuer names.
    ///
    /// # Errors
    ///
    /// Where a part can't be had or does not come up; its log is in the message.
    pub async fn start(setup: Setup<'_>) -> Result<Self> {
        let Setup { gateway, ports, gateway_changes, caed_changes } = setup;
        for port in ports.all() {
            // Else whoever is there would be taken for one of ours.
            drop(bound(port).await?);
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let certificates = Certificates::new()?;
        std::fs::write(path.join("ca.crt"), &certificates.authority)?;
        std::fs::write(path.join("tls.crt"), &certificates.certificate)?;
        std::fs::write(path.join("tls.key"), &certificates.key)?;
        let mut text = ports.put_into(include_str!("../caed.toml"), path)?;
        for (from, to) in gateway.caed_changes().iter().chain(caed_changes) {
            ensure!(text.contains(from), "the configuration of caed has no `{from}`");
            text = text.replace(from, to);
        }
        std::fs::write(path.join("caed.toml"), text)?;

        let secret = format!("{:016x}", getrandom::u64()?);
        let issuer = Issuer::new(&format!("https://localhost:{}", ports.issuer), &secret);
        let listener = TlsListener::new(bound(ports.issuer).await?, &certificates)?;
        let served = vec![
            tokio::spawn(serve(listener, issuer.clone().router())),
            tokio::spawn(serve(bound(ports.api).await?, api::router())),
        ];
        let gateway = gateway.start(path, &ports, gateway_changes).await?;
        let mut sandbox = Self { issuer, ports, secret, folder, gateway, sidecar: None, served };
        sandbox.start_sidecar().await?;
        sandbox.gateway_listens().await?;
        sandbox.keys_are_had().await?;
        Ok(sandbox)
    }

    /// Its folder: `ca.crt`, `caed.toml`, `caed.log`, `gateway.log`, caed's log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts caed, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Where it does not come up; its log is in the message.
    pub async fn start_sidecar(&mut self) -> Result<()> {
        let path = self.folder.path();
        let log = std::fs::File::create(path.join("caed.log"))?;
        let mut command = Command::new(sidecar_program()?);
        command.arg("serve").arg("--config").arg(path.join("caed.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.sidecar = Some(Running::start(&mut command)?);
        self.sidecar_is_fine(self.ports.admin, "/readyz", "").await
    }

    /// Kills caed without a word.
    ///
    /// # Errors
    ///
    /// Where that can't be done.
    pub async fn kill_sidecar(&mut self) -> Result<()> {
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.kill().await?;
        }
        Ok(())
    }

    /// The process of caed, while it runs.
    pub fn sidecar_id(&self) -> Option<u32> {
        self.sidecar.as_ref().and_then(Running::id)
    }

    /// What one of its parts said.
    pub fn said(&self, log: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(log)).unwrap_or_default()
    }

    /// Waits until the gateway ends by itself.
    ///
    /// # Errors
    ///
    /// Always: with what it said.
    pub async fn gateway_ended(&mut self) -> Result<()> {
        let status = self.gateway.end().await?;
        bail!("the gateway ended ({status}): {}", self.said("gateway.log"))
    }

    async fn gateway_listens(&mut self) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.gateway)).await.is_err() {
            if self.gateway.ended()?.is_some() || started.elapsed() > DEADLINE {
                bail!("the gateway did not come up: {}", self.said("gateway.log"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until caed can verify tokens: on a busy machine the issuer's keys take longer than a first token waits.
    async fn keys_are_had(&mut self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let token = self.issuer.token("sandbox", now, false);
        let headers = format!(
            "x-forwarded-for: {}\r\nx-forwarded-method: GET\r\nx-forwarded-uri: /\r\nauthorization: Bearer {token}\r\n",
            Ipv4Addr::LOCALHOST
        );
        self.sidecar_is_fine(self.ports.http, "/forward-auth/caddy", &headers).await
    }

    /// Waits until caed answers to a path, with these headers besides, that all is well.
    async fn sidecar_is_fine(&mut self, port: u16, path: &str, headers: &str) -> Result<()> {
        let started = Instant::now();
        while !is_fine(port, path, headers).await {
            let ended = self.sidecar.as_mut().map(Running::ended).transpose()?.flatten();
            if ended.is_some() || started.elapsed() > DEADLINE {
                bail!("caed did not come up, by {path}: {}", self.said("caed.log"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for served in &self.served {
            served.abort();
        }
    }
}

/// The program `caed` that was built beside this one.
///
/// # Errors
///
/// Where there is none.
pub fn sidecar_program() -> Result<PathBuf> {
    let mine = std::env::current_exe()?;
    // Tests are one folder further down.
    let mut folders = mine.ancestors().skip(1).take(2);
    let found = folders.find_map(|folder| Some(folder.join("caed")).filter(|path| path.is_file()));
    found.context("caed is not built: run `cargo build --package caed`")
}

async fn bound(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.with_context(|| format!("{address} can't be listened on"))
}

async fn serve<L: axum::serve::Listener>(listener: L, router: Router)
where
    L::Addr: std::fmt::Debug,
{
    // It serves until it is dropped.
    let _ = axum::serve(listener, router).await;
}

/// Whether caed answers to a path, with these headers besides, that all is well.
async fn is_fine(port: u16, path: &str, headers: &str) -> bool {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    let asked = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    asked.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Sandboxes come up side by side, and none listens yet when the next asks.
    #[test]
    fn no_port_is_given_twice() {
        let asked = std::iter::repeat_with(|| Ports::free().expect("free ports").all()).take(200);
        let given: Vec<u16> = asked.flatten().collect();
        let different: BTreeSet<u16> = given.iter().copied().collect();
        assert_eq!(different.len(), given.len());
    }
}
