//! The program `caed`. What it can do stands in [`caed_sidecar::cli`].

use std::process::ExitCode;

use caed_sidecar::cli;

fn main() -> ExitCode {
    cli::run()
}
