//! A decision point of tonic and Redis by somebody who measured: one thread and no locks between threads, an allocator
//! for many small things, one connection that it does not share. Redis it reaches through a Unix socket.

mod service;

use std::io;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    service::serve().await
}
