//! A running sidecar: everything wired together, and its orderly end.
//!
//! ```text
//! sink ─► log ─► source ─► applier ─► snapshot ─► pdp ─► surfaces
//! ```
//!
//! Every task has an owner here and ends on shutdown. If one of them fails, the process ends: a
//! sidecar whose applier is gone would go on answering from what it knew.
//!
//! # The end
//!
//! 1. Health turns to `NOT_SERVING`, so that balancers send no more.
//! 2. The listeners close; calls in progress are finished, for at most [`GRACE`].
//! 3. The applier stops, the log is sealed, and the process ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use caed_core::builder::Builder;
use caed_core::ingest::Ingest;
use caed_core::position::Frontier;
use caed_core::publish;
use caed_core::time::Clock;
use caed_streams::applier::Applier;
use caed_surfaces::native::{self, Health, Parts};
use caed_surfaces::pdp::{Pdp, Readiness};
use caed_surfaces::{admin, metrics};
use caed_trust::fetch::Keeper;
use caed_trust::issuer::Issuers;
use caed_trust::verifier::Verifier;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::alarms::Alarms;
use crate::config::{Config, Listen, LogChoice, RawTokens};
use crate::countries::Database;
use crate::listen::{self, SocketFile};
use crate::log::{self, LogEnding, Opened, Wires};
use crate::topic_check;

/// How long calls in progress may take to finish once the end has begun. Gateways give up sooner.
pub const GRACE: Duration = Duration::from_secs(5);

/// A sidecar that serves.
pub struct App {
    /// Where gRPC is served, if over TCP; the port that was given where 0 was asked for.
    pub grpc: Option<SocketAddr>,
    /// Where probes and metrics are served.
    pub admin: Option<SocketAddr>,
    pdp: Pdp,
    frontier: watch::Receiver<Frontier>,
    health: Health,
    stop: watch::Sender<Stage>,
    /// What answers: ends when no call is in progress any more.
    serving: Tasks,
    /// What knows: the applier and what works behind the log's ends.
    knowing: Tasks,
    log: LogEnding,
    /// Removed when the app is gone.
    _socket: Option<SocketFile>,
}

type Tasks = JoinSet<anyhow::Result<()>>;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Serving.
    Running,
    /// No new calls.
    Draining,
    /// Nothing any more.
    Stopped,
}

/// Sockets that are bound.
struct Bound {
    grpc: Option<TcpListener>,
    socket: Option<(UnixListener, SocketFile)>,
    admin: Option<TcpListener>,
}

impl App {
    /// Opens the log, binds every listener, and starts to serve.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let Bound { grpc, socket, admin } = bind(&config.listen).await?;
        let horizon = config.rules.horizon;
        let mut builder = Builder::new(Arc::new(config.rules.clone()), random_seed()?);
        let (publisher, reader) = publish::cell(builder.freeze());
        let (applied, frontier) = watch::channel(Frontier::default());
        let ingest = Arc::new(Ingest::default());
        let (found, findings) = watch::channel(Vec::new());
        let wires = Wires {
            clock: Arc::clone(&clock),
            applied: frontier.clone(),
            snapshots: reader.clone(),
            ingest: Arc::clone(&ingest),
            findings,
        };
        let Opened { sink, source, dead_letters, topics, view, work, ending } =
            log::open(&config, wires)?;
        let (stop, stage) = watch::channel(Stage::Running);

        // Each on a thread of its own: a large batch or a slow disk must not hold up those who
        // answer requests.
        let mut knowing = Tasks::new();
        let (runtime, stopped) = (Handle::current(), reached(stage.clone(), Stage::Stopped));
        let (ingested, applying) = (Arc::clone(&ingest), Arc::clone(&clock));
        let mut applier = Applier::new(source, builder, publisher, applied, ingested, applying);
        if let Some(dead_letters) = dead_letters {
            applier = applier.with_dead_letters(dead_letters);
        }
        if let Some(path) = config.countries {
            let (database, countries) = Database::open(path)?;
            let (found, following) = watch::channel(None);
            // After the applier has looked at it: that is a change, too.
            found.send_replace(Some(countries));
            applier = applier.with_countries(following);
            knowing.spawn(database.follow(found));
        }
        knowing.spawn_blocking(move || {
            runtime.block_on(applier.run(stopped)).context("the applier stopped")
        });
        for work in work {
            knowing.spawn_blocking(move || {
                work();
                Ok(())
            });
        }

        let (verifier, keepers) = verifier(config.raw_tokens)?;
        for keeper in keepers {
            let stopped = reached(stage.clone(), Stage::Stopped);
            knowing.spawn(async move {
                tokio::select! {
                    () = keeper.run() => {}
                    () = stopped => {}
                }
                Ok(())
            });
        }

        let mut serving = Tasks::new();
        let pdp = Pdp::new(reader, clock, config.profile);
        let topics = Arc::new(topics);
        let parts = Parts {
            pdp: pdp.clone(),
            verifier: verifier.clone(),
            sink,
            ingest: Arc::clone(&ingest),
            log: Arc::clone(&view),
            topics: Arc::clone(&topics),
        };
        let (routes, health) =
            native::routes(parts.clone()).await.context("building the services")?;
        let draining = || reached(stage.clone(), Stage::Draining);
        let grpc_address = grpc.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(listener) = grpc {
            serving.spawn(serve_tcp(routes.clone(), listener, draining()));
        }
        let (unix, socket) = socket.unzip();
        if let Some(listener) = unix {
            serving.spawn(serve_unix(routes, listener, draining()));
        }
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(listener) = admin {
            let registry = metrics::registry(pdp.clone(), verifier, ingest, view, topics);
            let router = admin::router(parts, registry);
            let served = axum::serve(listener, router).with_graceful_shutdown(draining());
            serving.spawn(async move { served.await.context("serving the admin listener") });
        }
        if let LogChoice::Kafka(settings) = &config.log {
            serving.spawn(topic_check::run(settings.clone(), horizon, found, draining()));
        }
        let (log, unix) = (&config.log, config.listen.grpc_socket);
        tracing::info!(grpc = ?grpc_address, ?unix, admin = ?admin_address, ?log, "serving");
        Ok(Self {
            grpc: grpc_address,
            admin: admin_address,
            pdp,
            frontier,
            health,
            stop,
            serving,
            knowing,
            log: ending,
            _socket: socket,
        })
    }

    /// Ready once requests are decided; never, if that fails.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        until_ready(self.pdp.clone(), self.frontier.clone())
    }

    /// Serves until `end` is ready or a task fails, then ends in order.
    pub async fn run(mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        let ready = self.ready();
        tokio::pin!(end, ready);
        let mut is_ready = false;
        let mut alarms = Alarms::default();
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            tokio::select! {
                () = &mut end => break Ok(()),
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.health.set(true).await;
                    tracing::info!("ready");
                }
                _ = look.tick(), if is_ready => {
                    for word in alarms.look(&self.pdp) {
                        word.tell();
                        if let Some(serving) = word.health() {
                            self.health.set(serving).await;
                        }
                    }
                }
                Some(joined) = self.knowing.join_next() => break ended_early(joined),
                Some(joined) = self.serving.join_next() => break ended_early(joined),
            }
        };
        self.end().await;
        outcome
    }

    async fn end(mut self) {
        tracing::info!("ending: no new calls are taken");
        self.health.set(false).await;
        let _ = self.stop.send(Stage::Draining);
        // Who knows goes on meanwhile: a publisher may be waiting to see its event applied.
        if timeout(GRACE, all_ended(&mut self.serving)).await.is_err() {
            let grace_s = GRACE.as_secs();
            tracing::warn!(grace_s, "calls were still in progress and are cut off");
            self.serving.abort_all();
        }
        let _ = self.stop.send(Stage::Stopped);
        self.log.end().await;
        if timeout(GRACE, all_ended(&mut self.knowing)).await.is_err() {
            tracing::error!("the log could not be closed in time; the next start repairs its end");
        }
        tracing::info!("ended");
    }
}

/// How often the age of what is known is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A number that nobody outside can know.
pub(crate) fn random_seed() -> anyhow::Result<u64> {
    getrandom::u64().context("the operating system gives no random numbers")
}

/// Who verifies raw tokens, and who keeps the keys.
fn verifier(raw_tokens: Vec<RawTokens>) -> anyhow::Result<(Verifier, Vec<Keeper>)> {
    let opened = raw_tokens.into_iter().map(|raw| raw.open(random_seed()?));
    let (issuers, keepers): (Vec<_>, _) =
        opened.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
    Ok((Verifier::new(Issuers::new(issuers)?), keepers))
}

async fn bind(listen: &Listen) -> Result<Bound, listen::ListenError> {
    let grpc = match listen.grpc {
        Some(address) => Some(listen::tcp("grpc", address).await?),
        None => None,
    };
    let admin = match listen.admin {
        Some(address) => Some(listen::tcp("admin", address).await?),
        None => None,
    };
    let socket = match &listen.grpc_socket {
        Some(path) => Some(listen::unix(path).await?),
        None => None,
    };
    Ok(Bound { grpc, socket, admin })
}

async fn serve_tcp(
    routes: Routes,
    listener: TcpListener,
    end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    // Answers are small: waiting to fill a packet would cost more than it saves.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().add_routes(routes);
    server.serve_with_incoming_shutdown(incoming, end).await.context("serving gRPC over TCP")
}

async fn serve_unix(
    routes: Routes,
    listener: UnixListener,
    end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let incoming = UnixListenerStream::new(listener);
    let server = Server::builder().add_routes(routes);
    server.serve_with_incoming_shutdown(incoming, end).await.context("serving gRPC over a socket")
}

/// Ready once requests are decided. Frontiers are announced after their snapshot is published, so
/// the first one that finds a snapshot ready is early enough.
async fn until_ready(pdp: Pdp, mut frontier: watch::Receiver<Frontier>) {
    if frontier.wait_for(|_| pdp.readiness() != Readiness::Reading).await.is_err() {
        // The applier has ended, and with it the process is about to.
        std::future::pending::<()>().await;
    }
}

/// Ready once the end has come as far as `stage`.
async fn reached(mut current: watch::Receiver<Stage>, stage: Stage) {
    // A sender that is gone means that the app is gone.
    let _ = current.wait_for(|current| *current >= stage).await;
}

/// A task that ends while all should go on is a fault, whatever it says.
fn ended_early(joined: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    joined.context("a task panicked")?.and_then(|()| anyhow::bail!("a task ended by itself"))
}

/// Waits until every task has ended, whatever came of it; what failed is logged.
async fn all_ended(tasks: &mut Tasks) {
    while let Some(joined) = tasks.join_next().await {
        if let Err(error) = joined.context("a task panicked").and_then(|ended| ended) {
            tracing::error!(error = format!("{error:#}"), "a task failed at the end");
        }
    }
}
