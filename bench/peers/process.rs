//! Servers as processes: pinned to a core that the generator leaves alone, watched by what they log, and ended by their
//! number.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to get ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server, for as long as this is held.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program on the first core. What it prints goes into a file of this name in this folder.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        name: &str,
    ) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let failed = |error| format!("{}: {error}", program.display());
        let out = File::create(&log).map_err(failed)?;
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]);
        // Whatever ends this process ends that one.
        command.args(["setpriv", "--pdeathsig", "KILL"]).arg(program).args(arguments);
        // Only what is given here counts.
        for (name, _) in std::env::vars_os() {
            let theirs = ["CAED_", "OPA_", "OPENFGA_", "OTEL_", "REDIS_"];
            if theirs.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.current_dir(folder).stdin(Stdio::null());
        command.stderr(out.try_clone().map_err(failed)?).stdout(out);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { child, log })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has told something in what it logged so far, or has ended.
    pub(crate) fn told<T>(&mut self, told: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let begun = Instant::now();
        loop {
            let logged = std::fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(told) = told(&logged) {
                return Ok(told);
            }
            let has_ended = self.child.try_wait().is_ok_and(|ended| ended.is_some());
            if has_ended || begun.elapsed() > PATIENCE {
                return Err(format!("{} did not get ready:\n{logged}", self.log.display()));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until somebody listens at the address.
    pub(crate) fn listens(&mut self, address: SocketAddr) -> Result<(), String> {
        self.told(|_| std::net::TcpStream::connect(address).ok()).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let out = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        Ok(out)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} {}: {out}{said}", program.display(), arguments.join(" ")))
    }
}

/// A peer's program, as `obtain.sh` knows it.
pub(crate) fn obtained(name: &str) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/obtain.sh");
    run(&script, &[name]).map(PathBuf::from)
}

/// An address on loopback at which nobody listens.
pub(crate) fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|listener| listener.local_addr()).map_err(|error| error.to_string())
}

/// Bytes of memory that these processes have.
pub(crate) fn resident_bytes(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum::<u64>() * 1024
}
