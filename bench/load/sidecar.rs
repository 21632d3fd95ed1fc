//! caed, as it is installed: a process with a configuration and a log of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use caed_bench::generator::Address;
use caed_bench::sidecar;
use caed_bench::visitors::{ISSUER, TENANT, Visitors};
use caed_trust::maker::Maker;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::questions::{AUDIENCE, KEY};
use crate::server::{Server, on_core};

/// Its folder: it can be started there again, and knows what it knew.
pub(crate) struct Site {
    program: PathBuf,
    folder: TempDir,
}

/// A sidecar that serves.
pub(crate) struct Sidecar {
    server: Server,
    pub(crate) tcp: Address,
    pub(crate) unix: Address,
    pub(crate) http: Address,
    admin: SocketAddr,
}

impl Site {
    pub(crate) fn new() -> Result<Self, String> {
        let site =
            Self { program: sidecar::program()?, folder: tempfile::tempdir().map_err(told)? };
        let path = |name: &str| site.folder.path().join(name);
        let keys = json!({"keys": [Maker::ours().rsa_jwk(KEY)]}).to_string();
        fs::write(path("keys.json"), keys).map_err(told)?;
        let config = format!(
            r#"
            [log]
            directory = '{log}'
            [listen]
            grpc = "127.0.0.1:0"
            grpc_socket = '{socket}'
            http = "127.0.0.1:0"
            admin = "127.0.0.1:0"
            [[access]]
            loopback = true
            may = ["decide", "vouch", "publish", "administer"]
            [[access]]
            uid = {uid}
            may = ["decide", "vouch"]
            [[issuers]]
            issuer = "{ISSUER}"
            tenants = ["{TENANT}"]
            audiences = ["{AUDIENCE}"]
            algorithms = ["RS256"]
            keys = '{keys}'
            [telemetry]
            format = "json"
            "#,
            log = path("log").display(),
            socket = path("socket").display(),
            keys = path("keys.json").display(),
            uid = rustix::process::getuid().as_raw(),
        );
        fs::write(path("caed.toml"), config).map_err(told)?;
        Ok(site)
    }

    /// Starts it, and waits until it decides.
    pub(crate) fn start(&self) -> Result<Sidecar, String> {
        let mut command = on_core(0, &self.program);
        command.args(["serve", "--config"]).arg(self.folder.path().join("caed.toml"));
        let mut server = Server::start(alone(&mut command).stderr(Stdio::piped()))?;
        let errors = server.child().stderr.take().ok_or("a sidecar without output")?;
        let mut lines = BufReader::new(errors).lines().map_while(Result::ok);
        let (mut serving, mut is_ready) = (None, false);
        let mut said = String::new();
        while !is_ready || serving.is_none() {
            let Some(line) = lines.next() else {
                return Err(format!("the sidecar did not get ready: {said}"));
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            match event.get("message").and_then(Value::as_str) {
                Some("serving") => serving = Some(event),
                Some("ready") => is_ready = true,
                _ => said += &line,
            }
        }
        // Somebody must go on reading, or the sidecar would wait once the pipe is full.
        thread::spawn(move || lines.for_each(drop));
        let address = |key: &str| {
            let text = serving.as_ref()?.get(key)?.as_str()?;
            text.strip_prefix("Some(")?.strip_suffix(')')?.parse::<SocketAddr>().ok()
        };
        let address = |key| address(key).ok_or_else(|| format!("no listener is called {key}"));
        Ok(Sidecar {
            server,
            tcp: Address::Tcp(address("grpc")?),
            unix: Address::Unix(self.folder.path().join("socket")),
            http: Address::Tcp(address("http")?),
            admin: address("admin")?,
        })
    }

    /// Tells a sidecar what happened to the visitors.
    pub(crate) fn publish(&self, sidecar: &Sidecar, visitors: Visitors) -> Result<(), String> {
        let file = self.folder.path().join("events.json");
        let mut lines = String::new();
        for event in visitors.events() {
            lines += &serde_json::to_string(&event).map_err(told)?;
            lines.push('\n');
        }
        fs::write(&file, lines).map_err(told)?;
        let mut command = Command::new(&self.program);
        command.args(["publish", "--at", &sidecar.tcp.to_string(), "--file"]).arg(file);
        let output = alone(&mut command).output().map_err(told)?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("caed publish: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Sidecar {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }

    /// How many decisions it has made with each verdict that is asked about, as its metrics tell.
    pub(crate) fn decisions(&self, verdict: &str) -> Result<u64, String> {
        let mut stream = TcpStream::connect(self.admin).map_err(told)?;
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).map_err(told)?;
        let mut metrics = String::new();
        stream.read_to_string(&mut metrics).map_err(told)?;
        let label = format!("verdict=\"{verdict}\"");
        let of_verdict = metrics
            .lines()
            .filter(|line| line.starts_with("caed_decisions_total") && line.contains(&label));
        Ok(of_verdict.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

/// What stands in its file counts, and nothing of the environment.
fn alone(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAED_") {
            command.env_remove(name);
        }
    }
    command
}

#[expect(clippy::needless_pass_by_value, reason = "as errors come")]
fn told(error: impl ToString) -> String {
    error.to_string()
}
