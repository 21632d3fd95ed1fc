//! The floor under a server of requests, with the allocator that serves it fastest. See [`floor`].

mod answers;
mod bare;
mod floor;
mod services;

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    floor::main()
}
