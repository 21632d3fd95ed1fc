//! The floor under a server of requests, with the system's allocator. See [`floor`].

mod answers;
mod bare;
mod floor;
mod services;

use std::process::ExitCode;

fn main() -> ExitCode {
    floor::main()
}
