//! A decision point as one writes it in an afternoon: tonic and one Redis GET a request, each as its documentation
//! shows it. The runtime has its threads, the connection is multiplexed and cloned, the allocator is the system's.

mod service;

use std::io;

#[tokio::main]
async fn main() -> io::Result<()> {
    service::serve().await
}
