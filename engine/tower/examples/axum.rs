//! An API that decides by itself: it follows an embedded log of events, keeps its issuer's keys, and asks before each
//! request to `/files`.
//!
//! ```text
//! KEYS=keys.json LOG=target/example cargo run --package caed-tower --example axum
//! ```
//!
//! Events come in as lines on standard input, in the JSON that `caed publish --file` reads:
//!
//! ```text
//! {"tenant":"contoso","source":"admin","sessions_revoked":{"user":"anna"}}
//! ```
//!
//! An embedded log has one owner. APIs of which several run follow Kafka: `kafka::start` in place of
//! `embedded::split`, and the rest stays.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is run by people")]

use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, io, thread};

use anyhow::Context;
use axum::routing::get;
use axum::{Extension, Router, extract::ConnectInfo};
use caed_core::index::ranges::RangeSet;
use caed_core::rules::{self, IssuerTenants, Judged, Rules};
use caed_core::time::{Clock, UnixMillis};
use caed_core::{builder::Builder, position::Frontier, position::Incarnation, publish};
use caed_core::{ids::Name, limits, sink::EventSink};
use caed_decode::claims::Names;
use caed_proto::v1;
use caed_streams::applier::Applier;
use caed_streams::embedded::{self, Embedded, EmbeddedSink, Ending};
use caed_streams::log::{self, FolderDisk, Identity, Options};
use caed_tower::{Access, Admitted};
use caed_trust::address::{Forwarding, Header, Proxies};
use caed_trust::fetch::{Keeper, Source};
use caed_trust::issuer::{Issuer, Issuers};
use caed_trust::{algorithm::Algorithm, verifier::Verifier};
use prost::Message;
use tokio::runtime::Handle;
use tokio::{net::TcpListener, signal, sync::watch, task::JoinSet};

/// Who issues the tokens.
pub const ISSUER: &str = "https://idp.example/contoso";

/// An API that serves.
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    /// Where events go in.
    pub events: EmbeddedSink,
    /// What seals the log in the end.
    pub ending: Ending,
    /// None of them should end: an API that no longer follows its log would answer by what it once knew.
    pub tasks: JoinSet<anyhow::Result<()>>,
}

/// Starts the API: `keys` is a URL or a file, `log` a folder.
pub async fn start(keys: &str, log: &Path) -> anyhow::Result<Running> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock { started: Instant::now() });
    let mut tasks = JoinSet::new();

    // What happened: a log, and the one writer that makes snapshots of what it says.
    let mut builder = Builder::new(Arc::new(rules()?), getrandom::u64()?);
    let (publisher, snapshots) = publish::cell(builder.freeze());
    let (applied, frontier) = watch::channel(Frontier::default());
    let log = log::open(Arc::new(FolderDisk::open(log)?), Options::new(identity()?))?;
    let Embedded { sink, source, owner, ending, view: _ } =
        embedded::split(log, Arc::clone(&clock), frontier, snapshots.clone());
    let applier =
        Applier::new(source, builder, publisher, applied, Arc::default(), Arc::clone(&clock));
    tasks.spawn(async { applier.run(pending()).await.context("following the log") });
    tasks.spawn_blocking(|| {
        owner.run(&Handle::current());
        Ok(())
    });

    // Who is believed: tokens that the issuer signed for this API. Its keys are kept by a task, as they change.
    let (places, day) = (Source::parse(keys)?, Duration::from_hours(24));
    let (keys, keeper) = Keeper::open(ISSUER, places, None, day, getrandom::u64()?)?;
    tasks.spawn(async {
        keeper.run().await;
        Ok(())
    });
    let verifier = Verifier::new(Issuers::new([Issuer {
        name: ISSUER.to_owned(),
        audiences: vec!["api://files".to_owned()],
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
        keys,
        key_issuer: None,
        tenant: None,
        claims: Names::default(),
    }])?);

    // The API: `/files` behind the decision, `/health` for everybody.
    let proxies = Proxies::Ranges(RangeSet::parse(["127.0.0.0/8"])?);
    let access = Access::new(snapshots, verifier, clock)
        .with_peer(|request| request.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()))
        .with_forwarding(Forwarding { header: Header::XForwardedFor, proxies });
    let api = Router::new()
        .route("/files", get(files))
        .layer(access)
        .route("/health", get(|| async { "well\n" }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let api = api.into_make_service_with_connect_info::<SocketAddr>();
    tasks.spawn(async { axum::serve(listener, api).await.context("serving") });
    Ok(Running { address, events: sink, ending, tasks })
}

async fn files(Extension(caller): Extension<Admitted>) -> String {
    let Admitted { tenant, subject, address, generation, .. } = caller;
    let address = address.map_or_else(|| "somewhere".to_owned(), |address| address.to_string());
    format!("{subject} of {tenant} at {address}, by snapshot {generation}\n")
}

/// What the operator decides: whose tokens count, and for whom they may speak.
fn rules() -> anyhow::Result<Rules> {
    let issuer = rules::Issuer {
        name: ISSUER.to_owned(),
        tenants: IssuerTenants::Named([Name::parse("contoso")?].into()),
        issue_time_skew: Duration::ZERO,
        authorization_uri: None,
        judged: Judged::default(),
    };
    Ok(Rules { issuers: rules::Issuers::new([issuer])?, ..Rules::default() })
}

/// What a log becomes that is made now: told from any other, and kept for as long as tokens live.
fn identity() -> anyhow::Result<Identity> {
    let mut incarnation = [0; 16];
    getrandom::fill(&mut incarnation)?;
    Ok(Identity { incarnation: Incarnation(incarnation), horizon: limits::HORIZON_DEFAULT })
}

/// The bytes of an event in JSON.
pub fn event(json: &str) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::from_str::<v1::Event>(json)?.encode_to_vec())
}

/// The clocks of this host. The monotonic one begins with the process.
struct SystemClock {
    started: Instant,
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let given = |name| env::var(name).with_context(|| format!("{name} is not set"));
    let running = start(&given("KEYS")?, Path::new(&given("LOG")?)).await?;
    let Running { address, events, ending, mut tasks } = running;
    println!("curl -i http://{address}/files -H \"authorization: Bearer $TOKEN\"");
    let runtime = Handle::current();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let appended =
                event(&line).and_then(|event| Ok(runtime.block_on(events.append(vec![event]))?));
            println!(
                "{}",
                appended.map_or_else(|error| format!("{error:#}"), |_| "durable".to_owned())
            );
        }
    });
    let outcome = tokio::select! {
        ended = signal::ctrl_c() => ended.context("waiting for the end"),
        Some(ended) = tasks.join_next() => ended?.and(Err(anyhow::anyhow!("a task ended"))),
    };
    ending.end().await;
    outcome
}
