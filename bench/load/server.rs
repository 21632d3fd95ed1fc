//! Servers, each a process of its own on the first core, ended by its number.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use caed_bench::generator::Address;

/// A process, for as long as this is held.
pub(crate) struct Server {
    child: Child,
}

/// A floor under a server.
pub(crate) struct Floor {
    server: Server,
    pub(crate) address: Address,
}

/// What a floor serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Empty services of tonic, on one thread, with the faster allocator.
    Tuned,
    /// The same as tonic comes: the runtime of `#[tokio::main]`, and the system's allocator.
    Stock,
    /// HTTP/2 and nothing more, tuned as the first.
    Bare,
    /// An empty service of axum, tuned as the first.
    Http,
}

impl Server {
    /// Starts it on the first core, where there is more than one.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let child = command.stdin(Stdio::null()).spawn();
        let program = command.get_program().to_string_lossy().into_owned();
        child.map(|child| Self { child }).map_err(|error| format!("{program}: {error}"))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// As the figures name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tuned => "empty tonic, tuned",
            Self::Stock => "empty tonic, stock",
            Self::Bare => "bare h2, tuned",
            Self::Http => "empty axum, tuned",
        }
    }

    /// Starts it on TCP, or at a path.
    pub(crate) fn start(self, path: Option<&Path>) -> Result<Floor, String> {
        let program = match self {
            Self::Stock => env!("CARGO_BIN_EXE_caed-floor"),
            _ => env!("CARGO_BIN_EXE_caed-floor-tuned"),
        };
        let (service, runtime) = match self {
            Self::Tuned => ("tonic", "current"),
            Self::Stock => ("tonic", "multi"),
            Self::Bare => ("h2", "current"),
            Self::Http => ("http", "current"),
        };
        let mut command = on_core(0, Path::new(program));
        command.args([service, runtime]);
        match path {
            Some(path) => command.arg(path),
            None => command.arg("tcp"),
        };
        let mut server = Server::start(command.stdout(Stdio::piped()))?;
        let mut line = String::new();
        let out = server.child().stdout.take().ok_or("a floor without output")?;
        BufReader::new(out).read_line(&mut line).map_err(|error| error.to_string())?;
        let address = match path {
            Some(path) if !line.is_empty() => Address::Unix(path.to_owned()),
            _ => Address::Tcp(line.trim().parse().map_err(|_| format!("{program} did not start"))?),
        };
        Ok(Floor { server, address })
    }
}

impl Floor {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }
}

/// A program on this core, where there is more than one: servers are on the first, who asks is on the second.
pub(crate) fn on_core(core: usize, program: &Path) -> Command {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cfg!(target_os = "linux") && cores > 1 {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program);
        return command;
    }
    Command::new(program)
}
