//! The real binary as users run it: a child process with a folder of its own, and what a client
//! says to it.
//!
//! Nothing here waits for a time to pass: a start is over when the process says so in its log, and
//! an end when its standard error closes. A process that is dropped is killed.

#![allow(dead_code, reason = "each test uses a part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use caed_proto::v1;
use caed_proto::v1::event::Fact;
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// The issuer that the configuration of a [`Site`] trusts.
pub(crate) const ISSUER: &str = "https://idp.example";

/// The tenant that it speaks for.
pub(crate) const TENANT: &str = "contoso";

/// Listeners on ports that are free.
pub(crate) const ANY_PORTS: &str = "grpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"";

/// Whoever is on this host may do everything.
pub(crate) const OPEN: &str =
    "[[access]]\nloopback = true\nmay = [\"decide\", \"vouch\", \"publish\", \"administer\"]\n";

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(20);

/// A temporary folder with a log and configurations.
pub(crate) struct Site {
    folder: TempDir,
}

/// A process that serves.
pub(crate) struct Sidecar {
    child: Child,
    lines: Receiver<String>,
    /// What it has logged so far, as far as somebody has waited for it.
    logged: Vec<String>,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if it was killed.
    pub(crate) code: Option<i32>,
    /// What it said on standard error.
    pub(crate) lines: Vec<String>,
    /// How long its end took.
    pub(crate) took: Duration,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Writes a configuration with these listeners and, after them, whatever else. Over a listener on loopback
    /// everything is allowed.
    pub(crate) fn config(&self, name: &str, listen: &str, more: &str) -> PathBuf {
        let access = if listen.contains("127.0.0.1") { OPEN } else { "" };
        self.guarded(name, listen, more, access)
    }

    /// The same, with who may do what.
    pub(crate) fn guarded(&self, name: &str, listen: &str, more: &str, access: &str) -> PathBuf {
        let log = self.path("log");
        let text = format!(
            "[log]\ndirectory = '{}'\n[listen]\n{listen}\n[telemetry]\nformat = \"json\"\n\
             [[issuers]]\nissuer = \"{ISSUER}\"\ntenants = [\"{TENANT}\"]\n{more}\n{access}",
            log.display()
        );
        self.file(name, &text)
    }
}

/// Puts a file in place of another one at once, as those who renew files do.
pub(crate) fn replace(file: &Path, bytes: impl AsRef<[u8]>) {
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).expect("written");
    std::fs::rename(&new, file).expect("in place");
}

/// The binary, without the variables that would change what it does.
pub(crate) fn caed(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_caed"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAED_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    caed(arguments).output().expect("runs")
}

/// Standard output as text.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Sidecar {
    /// Starts `caed serve` and waits until its sockets are served.
    pub(crate) fn start(config: &Path) -> Self {
        Self::spawn(config).serving()
    }

    fn serving(mut self) -> Self {
        let serving = self.logged("serving");
        let address = |key: &str| {
            let text = serving[key].as_str()?;
            text.strip_prefix("Some(")?.strip_suffix(')')?.parse().ok()
        };
        (self.grpc, self.http, self.admin) = (address("grpc"), address("http"), address("admin"));
        self
    }

    /// Starts `caed serve` where it can't, and returns how it ended.
    pub(crate) fn refused(config: &Path) -> Ended {
        Self::spawn(config).ended(Instant::now())
    }

    /// Starts `caed serve` with so few file descriptors, and waits until its sockets are served.
    pub(crate) fn start_with_descriptors(config: &Path, descriptors: u32) -> Self {
        let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let caed = caed(&["serve", "--config", config.to_str().expect("UTF-8")]);
        let mut command = Command::new("sh");
        command.args(["-c", &limited]).arg(caed.get_program()).args(caed.get_args());
        Self::run(command.stdin(Stdio::null())).serving()
    }

    fn spawn(config: &Path) -> Self {
        Self::run(&mut caed(&["serve", "--config", config.to_str().expect("UTF-8")]))
    }

    fn run(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("spawned");
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                // The pipe is emptied even if nobody listens: a full one would stop the process.
                let _ = sender.send(line);
            }
        });
        Self { child, lines, logged: Vec::new(), grpc: None, http: None, admin: None }
    }

    /// The event with this message, as soon as it is logged. Events may come in any order.
    pub(crate) fn logged(&mut self, message: &str) -> Value {
        self.logged_from(0, message)
    }

    /// The next event with this message, after all that were waited for.
    pub(crate) fn logged_anew(&mut self, message: &str) -> Value {
        self.logged_from(self.logged.len(), message)
    }

    fn logged_from(&mut self, mut seen: usize, message: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            for line in &self.logged[seen..] {
                let event: Value = serde_json::from_str(line).unwrap_or_default();
                if event["message"] == message {
                    return event;
                }
            }
            seen = self.logged.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.logged.push(line),
                Err(error) => panic!("no `{message}` ({error}): {:#?}", self.logged),
            }
        }
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        self.grpc.expect("serves gRPC over TCP")
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http.expect("has a listener for gateways")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("has an admin listener")
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Channel {
        connect(&format!("http://{}", self.grpc())).await
    }

    /// Asks the process to end, as an orchestrator does.
    pub(crate) fn terminate(self) -> Ended {
        let started = Instant::now();
        let kill = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("sh runs");
        assert!(status.success(), "{kill}");
        self.ended(started)
    }

    /// Kills the process without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }

    /// Waits for its end.
    fn ended(mut self, started: Instant) -> Ended {
        let deadline = started + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.logged.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it has not ended after {DEADLINE:?}: {:#?}", self.logged)
                }
            }
        }
        let code = self.child.wait().expect("waited for").code();
        Ended { code, lines: std::mem::take(&mut self.logged), took: started.elapsed() }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // One that has ended already can't be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// What it said, if that is one line.
    pub(crate) fn one_line(&self) -> &str {
        match self.lines.as_slice() {
            [line] => line,
            lines => panic!("not one line: {lines:#?}"),
        }
    }
}

/// Connects to a URI.
pub(crate) async fn connect(uri: &str) -> Channel {
    let endpoint = Endpoint::from_shared(uri.to_owned()).expect("an address").tcp_nodelay(true);
    endpoint.connect().await.expect("connected")
}

/// Asks the admin listener, and returns the status and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let (status, _, body) = http(address, &request);
    (status, body)
}

/// Asks with these headers, and returns the status and the head as it came.
pub(crate) fn get_with(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    let (status, head, _) = exchanged(address, &format!("{request}\r\n"));
    (status, head)
}

/// Sends a form to the admin listener with these headers besides, and returns the status, the head and the
/// body.
pub(crate) fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    form: &str,
) -> (u16, String, String) {
    let mut request = format!("POST {path} HTTP/1.1\r\nConnection: close\r\n");
    let length = form.len().to_string();
    let host = address.to_string();
    let kind = "application/x-www-form-urlencoded";
    let usual = [("host", host.as_str()), ("content-type", kind), ("content-length", &length)];
    let is_given = |name: &str| headers.iter().any(|(given, _)| *given == name);
    let usual = usual.into_iter().filter(|(name, _)| !is_given(name));
    for (name, value) in headers.iter().copied().chain(usual) {
        request.extend([name, ": ", value, "\r\n"]);
    }
    http(address, &format!("{request}\r\n{form}"))
}

fn http(address: SocketAddr, request: &str) -> (u16, String, String) {
    let (status, head, body) = exchanged(address, request);
    (status, head.to_ascii_lowercase(), body)
}

fn exchanged(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 9999")
}

/// An event about a user, as a directory reports it.
pub(crate) fn event(fact: Fact) -> v1::Event {
    v1::Event {
        tenant: TENANT.to_owned(),
        source: "directory".to_owned(),
        fact: Some(fact),
        ..v1::Event::default()
    }
}

/// All sessions of a user are revoked.
pub(crate) fn revoked(user: &str) -> v1::Event {
    event(Fact::SessionsRevoked(v1::SessionsRevoked { user: user.to_owned() }))
}

/// A call to publish.
pub(crate) fn publish(events: Vec<v1::Event>, wait: v1::Wait) -> v1::PublishRequest {
    v1::PublishRequest { events, wait: wait.into() }
}

/// A policy by which nobody is let in anywhere but in a location.
pub(crate) fn blocked_outside(policy: &str, location: &str) -> Fact {
    let all = || vec!["All".to_owned()];
    Fact::PolicyChanged(v1::PolicyChanged {
        policy: policy.to_owned(),
        state: v1::PolicyState::Enabled.into(),
        users: Some(v1::PolicyUsers { include_users: all(), ..Default::default() }),
        applications: Some(v1::PolicyApplications { include: all(), ..Default::default() }),
        locations: Some(v1::PolicyLocations { include: all(), exclude: vec![location.to_owned()] }),
        grant_controls: vec!["block".to_owned()],
        ..Default::default()
    })
}

/// The question about a user's token that was issued ten minutes ago.
pub(crate) fn ask(user: &str) -> v1::EvaluateRequest {
    ask_issued(user, now_ms() / 1000 - 600)
}

/// The question about a user's token.
pub(crate) fn ask_issued(user: &str, issued_s: i64) -> v1::EvaluateRequest {
    let claims = v1::TokenClaims {
        iss: Some(ISSUER.to_owned()),
        tid: Some(TENANT.to_owned()),
        sub: Some(user.to_owned()),
        iat: Some(issued_s),
        exp: Some(issued_s + 3600),
        xms_cc: vec!["cp1".to_owned()],
        ..v1::TokenClaims::default()
    };
    v1::EvaluateRequest {
        token: Some(v1::evaluate_request::Token::Claims(claims)),
        ..v1::EvaluateRequest::default()
    }
}

/// A generator of numbers that a seed repeats (xorshift).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
