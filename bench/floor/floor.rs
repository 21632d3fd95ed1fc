//! A server that is asked what caed is asked, and lets everybody pass: what is left is what the wire costs.
//!
//! ```text
//! caed-floor (tonic | h2 | http) (multi | current) (tcp | PATH)
//! ```
//!
//! It says where it listens in a line on standard output, and serves until it is ended. `tonic` decodes what it is
//! asked as every service of tonic does, and encodes its answer; `h2` reads and sends bytes; `http` is axum's.
//! `multi` is the runtime that `#[tokio::main]` makes, `current` one thread that does everything.

use std::io::{self, Write};
use std::process::ExitCode;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};

use crate::{bare, services};

/// Where a floor listens.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [service, runtime, address] = arguments.as_slice() else {
        return told("say (tonic | h2 | http) (multi | current) (tcp | PATH)");
    };
    let runtime = match runtime.as_str() {
        "multi" => Runtime::new(),
        "current" => Builder::new_current_thread().enable_all().build(),
        _ => return told("the runtime is multi or current"),
    };
    let served = runtime.and_then(|runtime| runtime.block_on(serve(service, address)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => told(&error.to_string()),
    }
}

async fn serve(service: &str, address: &str) -> io::Result<()> {
    let listener = if address == "tcp" {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        Listener::Tcp(listener)
    } else {
        let listener = UnixListener::bind(address)?;
        writeln!(io::stdout(), "{address}")?;
        Listener::Unix(listener)
    };
    match service {
        "tonic" => services::grpc(listener).await,
        "http" => services::http(listener).await,
        "h2" => bare::serve(listener).await,
        _ => Err(io::Error::other("the service is tonic, h2 or http")),
    }
}

fn told(problem: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "caed-floor: {problem}");
    ExitCode::FAILURE
}
