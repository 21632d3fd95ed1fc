//! A sidecar of a command's own, on a loopback port that nobody else knows: the demo's, and the one
//! that reads a log for `decide --from-log`. It is the same sidecar that `serve` runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use caed_surfaces::rights::Rights;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::access::Access;
use crate::app::App;
use crate::client::{self, ClientTls};
use crate::clock::SystemClock;
use crate::config::{Config, Listen};

pub(super) struct Private {
    /// Connected to it.
    pub(super) channel: Channel,
    end: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Private {
    /// Starts it and waits until it decides.
    pub(super) async fn start(config: Config) -> anyhow::Result<Self> {
        let grpc = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        // Whoever is on this host might ask it, too, for the moment that it lives.
        let access = Access { loopback: Rights::ALL, ..Access::none() };
        let listen = Listen { grpc, grpc_socket: None, http: None, admin: None, tls: None, access };
        let config = Config { listen, ..config };
        let app = App::start(config, Arc::new(SystemClock::new())).await?;
        let address = app.grpc.context("gRPC is served")?;
        let ready = app.ready();
        let (end, ended) = oneshot::channel();
        let mut running = tokio::spawn(app.run(async {
            // A command that is gone wants no sidecar either.
            let _ = ended.await;
        }));
        tokio::select! {
            () = ready => {}
            ended = &mut running => {
                ended.context("the sidecar panicked")??;
                anyhow::bail!("the sidecar ended before it was ready");
            }
        }
        let channel = client::connect(&address.to_string(), &ClientTls::default()).await?;
        Ok(Self { channel, end, running })
    }

    /// Ends it in order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { channel, end, running } = self;
        // An open connection would be waited for.
        drop(channel);
        let _ = end.send(());
        running.await.context("the sidecar panicked")?
    }
}
