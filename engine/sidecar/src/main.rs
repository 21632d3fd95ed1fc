//! The program `caed`. What it can do stands in [`caed_sidecar::cli`].

use std::process::ExitCode;

use caed_sidecar::cli;
use mimalloc::MiMalloc;

/// Every request allocates a little and frees it on the same thread.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
