//! Clients that ask and ask, over connections that they keep, while something happens.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use caed_sandbox::Sandbox;
use tokio::task::JoinHandle;

use crate::PATIENCE;
use crate::https::{Connection, Connector, Version};

/// Who asks; each has a connection of HTTP/1.1, which is kept alive, and two of HTTP/2.
pub(crate) struct Load {
    stopped: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Seen>>>,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) who: &'static str,
    pub(crate) asked: Instant,
    pub(crate) status: u16,
}

impl Load {
    pub(crate) async fn start(
        sandbox: &Sandbox,
        from: Ipv4Addr,
        clients: &[(&'static str, &str)],
    ) -> Self {
        let mut load = Self { stopped: Arc::default(), asked: Arc::default(), clients: Vec::new() };
        for &(who, authorization) in clients {
            let http1 = Kept::new(sandbox, from, Version::Http1).await;
            load.clients.push(load.client(who, authorization, http1));
            for _ in 0..2 {
                let http2 = Kept::new(sandbox, from, Version::Http2).await;
                load.clients.push(load.client(who, authorization, http2));
            }
        }
        load
    }

    fn client(
        &self,
        who: &'static str,
        authorization: &str,
        mut kept: Kept,
    ) -> JoinHandle<Vec<Seen>> {
        let (stopped, count) = (self.stopped.clone(), self.asked.clone());
        let authorization = authorization.to_owned();
        tokio::spawn(async move {
            let mut all = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let status = kept.status(&authorization).await;
                all.push(Seen { who, asked, status });
                count.fetch_add(1, Ordering::Relaxed);
            }
            all
        })
    }

    /// Waits until so many more answers have come.
    pub(crate) async fn has_asked(&self, more: usize) {
        let goal = self.asked.load(Ordering::Relaxed) + more;
        let started = Instant::now();
        while self.asked.load(Ordering::Relaxed) < goal {
            assert!(started.elapsed() < PATIENCE, "the load stands still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it, and tells all that was answered.
    pub(crate) async fn stop(self) -> Vec<Seen> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.expect("a client whose every request is answered"));
        }
        all
    }
}

/// A connection that is made anew where the gateway closed it, as nginx does after a thousand requests.
struct Kept {
    connection: Connection,
    connector: Connector,
}

impl Kept {
    async fn new(sandbox: &Sandbox, from: Ipv4Addr, version: Version) -> Self {
        let connector = Connector::new(sandbox, from, version);
        Self { connection: connector.connect().await, connector }
    }

    async fn status(&mut self, authorization: &str) -> u16 {
        let headers = [("authorization", authorization)];
        if let Some(answer) = self.connection.try_get("/report", &headers).await {
            return answer.status;
        }
        self.connection = self.connector.connect().await;
        self.connection.get("/report", &headers).await.status
    }
}
