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
use axum::Router;
use caed_core::builder::Builder;
use caed_core::ingest::Ingest;
use caed_core::position::Frontier;
use caed_core::publish;
use caed_core::time::Clock;
use caed_decode::claims::Names;
use caed_streams::applier::Applier;
use caed_surfaces::native::{Health, Parts};
use caed_surfaces::pdp::{Pdp, Readiness};
use caed_surfaces::wire::{self, Server};
use caed_surfaces::{admin, forward_auth, metrics};
use caed_trust::fetch::Keeper;
use caed_trust::issuer::Issuers;
use caed_trust::verifier::Verifier;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::alarms::Alarms;
use crate::config::{Config, Listen, LogChoice, RawTokens};
use crate::countries::Database;
use crate::crew::{Crew, Member};
use crate::listen::{
    self, Acceptor, Connection, Dealing, Files, Protocol, SocketFile, Terms, Unix,
};
use crate::log::{self, LogEnding, Opened, Wires};
use crate::topic_check;

/// How long calls in progress may take to finish once the end has begun. Gateways give up sooner.
pub const GRACE: Duration = Duration::from_secs(5);

/// A sidecar that serves.
pub struct App {
    /// Where gRPC is served, if over TCP; the port that was given where 0 was asked for.
    pub grpc: Option<SocketAddr>,
    /// Where forward authorization is served.
    pub http: Option<SocketAddr>,
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
    _crew: Crew,
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
    socket: Option<Unix>,
    http: Option<TcpListener>,
    admin: Option<TcpListener>,
}

/// Where is served.
struct Served {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    socket: Option<SocketFile>,
}

/// What answers over each kind of listener.
struct Services {
    grpc: Arc<Server>,
    gateways: Arc<Parts>,
    admin: Router,
}

impl App {
    /// Opens the log, binds every listener, and starts to serve.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let bound = bind(&config.listen).await?;
        let files = config.listen.tls.clone().map(Files::open).transpose()?;
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

        let (verifier, keepers) = verifier(config.raw_tokens, config.vouched)?;
        for keeper in keepers {
            knowing.spawn(keep(keeper, reached(stage.clone(), Stage::Stopped)));
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
            forwarding: Arc::new(config.forwarding),
        };
        let (grpc, health) = Server::new(parts.clone()).await.context("building the services")?;
        let Listen { grpc_socket: unix, tls, access, .. } = config.listen;
        let (files, identity) = files.unzip();
        if let Some(files) = files {
            serving.spawn(files.follow());
        }
        let (refused, connection_age) = (Arc::default(), tls.map(|tls| tls.connection_age));
        let registry =
            metrics::registry(pdp.clone(), verifier, ingest, view, topics, Arc::clone(&refused));
        let terms = Terms {
            strangers: Arc::default(),
            access: Arc::new(access),
            refused,
            identity,
            connection_age,
        };
        let gateways = Arc::new(parts.clone());
        let services = Services { grpc, gateways, admin: admin::router(parts, registry) };
        let draining = || reached(stage.clone(), Stage::Draining);
        let crew = Crew::start()?;
        let Served { grpc, http, admin, socket } =
            serve(&mut serving, &crew, bound, &terms, services, draining)?;
        if let LogChoice::Kafka(settings) = &config.log {
            serving.spawn(topic_check::run(settings.clone(), horizon, found, draining()));
        }
        let log = &config.log;
        tracing::info!(?grpc, ?unix, ?http, ?admin, ?log, "serving");
        Ok(Self {
            grpc,
            http,
            admin,
            pdp,
            frontier,
            health,
            stop,
            serving,
            knowing,
            log: ending,
            _crew: crew,
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
fn verifier(
    raw_tokens: Vec<RawTokens>,
    vouched: Vec<(String, Names)>,
) -> anyhow::Result<(Verifier, Vec<Keeper>)> {
    let opened = raw_tokens.into_iter().map(|raw| raw.open(random_seed()?));
    let (issuers, keepers): (Vec<_>, _) =
        opened.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
    let issuers = vouched
        .into_iter()
        .fold(Issuers::new(issuers)?, |issuers, (name, claims)| issuers.and_vouched(name, claims));
    Ok((Verifier::new(issuers), keepers))
}

/// Keeps an issuer's keys until the end.
async fn keep(keeper: Keeper, end: impl Future<Output = ()>) -> anyhow::Result<()> {
    tokio::select! {
        () = keeper.run() => {}
        () = end => {}
    }
    Ok(())
}

async fn bind(listen: &Listen) -> Result<Bound, listen::ListenError> {
    let grpc = match listen.grpc {
        Some(address) => Some(listen::tcp("grpc", address).await?),
        None => None,
    };
    let http = match listen.http {
        Some(address) => Some(listen::tcp("http", address).await?),
        None => None,
    };
    let admin = match listen.admin {
        Some(address) => Some(listen::tcp("admin", address).await?),
        None => None,
    };
    let socket = match &listen.grpc_socket {
        Some(path) => Some(listen::unix(path, &listen.access).await?),
        None => None,
    };
    Ok(Bound { grpc, socket, http, admin })
}

/// Serves on every socket that is bound, each until `end` is ready: those who ask for decisions by the crew, and
/// people and probes by who else is at work.
fn serve<End: Future<Output = ()> + Send + 'static>(
    serving: &mut Tasks,
    crew: &Crew,
    bound: Bound,
    terms: &Terms,
    services: Services,
    end: impl Fn() -> End,
) -> anyhow::Result<Served> {
    let Bound { grpc, socket, http, admin } = bound;
    let Services { grpc: server, gateways, admin: pages } = services;
    let address =
        |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
    let (grpc_address, http_address) = (address(&grpc)?, address(&http)?);
    let admin_address = address(&admin)?;
    let mut over_grpc = Vec::new();
    if let Some(listener) = grpc {
        let dealing = terms.tcp(listener, Protocol::Grpc, crew.members())?;
        over_grpc.push((dealing, terms.connection_age));
    }
    let mut socket_file = None;
    if let Some(Unix { listener, own_user, file }) = socket {
        socket_file = Some(file);
        over_grpc.push((terms.unix(listener, own_user, crew.members()), None));
    }
    for (dealing, age) in over_grpc {
        let server = Arc::clone(&server);
        let serve_one = move |connection: Connection, end| {
            let terms = wire::Terms { rights: connection.rights(), age, grace: GRACE };
            Arc::clone(&server).serve(connection, terms, over(end))
        };
        serve_dealt(serving, dealing, &serve_one, &end);
    }
    if let Some(listener) = http {
        let dealing = terms.tcp(listener, Protocol::Http, crew.members())?;
        let serve_one = move |connection: Connection, end| {
            let rights = connection.rights();
            forward_auth::serve(Arc::clone(&gateways), connection, rights, over(end))
        };
        serve_dealt(serving, dealing, &serve_one, &end);
    }
    if let Some(listener) = admin {
        let (dealer, acceptors) = terms.tcp(listener, Protocol::Http, &[Member::current()])?;
        serving.spawn(dealer.run(end()));
        for (acceptor, runtime) in acceptors {
            let served = axum::serve(acceptor, listen::with_rights(pages.clone()));
            let served = served.with_graceful_shutdown(end());
            serving.spawn_on(async move { served.await.context("serving HTTP") }, &runtime);
        }
    }
    let (grpc, http, admin) = (grpc_address, http_address, admin_address);
    Ok(Served { grpc, http, admin, socket: socket_file })
}

/// Serves what is dealt to each of the crew, where it is dealt, until `end` is ready.
fn serve_dealt<Serving, End>(
    serving: &mut Tasks,
    (dealer, acceptors): Dealing,
    serve_one: &(impl Fn(Connection, watch::Receiver<()>) -> Serving + Clone + Send + 'static),
    end: &impl Fn() -> End,
) where
    Serving: Future<Output = ()> + Send + 'static,
    End: Future<Output = ()> + Send + 'static,
{
    serving.spawn(dealer.run(end()));
    for (acceptor, runtime) in acceptors {
        serving.spawn_on(serve_each(acceptor, serve_one.clone(), end()), &runtime);
    }
}

/// Serves each connection until the end. One that may not last for ever is asked to make room for a new one, and what
/// it asked may be answered first.
async fn serve_each<Serving: Future<Output = ()> + Send + 'static>(
    mut acceptor: Acceptor,
    serve_one: impl Fn(Connection, watch::Receiver<()>) -> Serving,
    end: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (ends, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(end);
    loop {
        tokio::select! {
            connection = acceptor.next() => {
                connections.spawn(serve_one(connection, ending.clone()));
            }
            Some(_) = connections.join_next() => {}
            () = &mut end => break,
        }
    }
    drop((ends, acceptor));
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Ready when nobody could send any more; nothing is ever sent.
async fn over(mut end: watch::Receiver<()>) {
    let _ = end.changed().await;
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
