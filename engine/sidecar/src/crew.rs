//! The threads that serve: one for each core, and a connection stays with the one that it was dealt to.
//!
//! What many ask at once needs no task to move between cores, and no lock that two of them want. Connections are dealt
//! to whoever has the fewest, so that a few of them spread as well as many. (`SO_REUSEPORT` would deal by a hash of
//! addresses, unevenly where there are few, not at all for Unix sockets, and would let a second process take a share
//! of a port that is in use.)

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Threads that serve, until this is gone.
pub(crate) struct Crew {
    members: Vec<Member>,
    _stops: Vec<oneshot::Sender<()>>,
}

/// One of those who serve.
#[derive(Clone)]
pub(crate) struct Member {
    /// Where its tasks run.
    pub(crate) runtime: Handle,
    open: Arc<AtomicUsize>,
}

/// A place among those that are counted, such as the connections of a member: given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Crew {
    /// Starts as many threads as may run at once.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let started: anyhow::Result<Vec<_>> = (0..count).map(start_one).collect();
        let (members, stops) =
            started.context("starting the threads that serve")?.into_iter().unzip();
        Ok(Self { members, _stops: stops })
    }

    /// All of them.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }
}

fn start_one(number: usize) -> anyhow::Result<(Member, oneshot::Sender<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let member = Member::of(runtime.handle().clone());
    let (stop, stopped) = oneshot::channel::<()>();
    thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
        // Ready when its other end is gone.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_background();
    })?;
    Ok((member, stop))
}

impl Member {
    fn of(runtime: Handle) -> Self {
        Self { runtime, open: Arc::default() }
    }

    /// The runtime that this is called in.
    pub(crate) fn current() -> Self {
        Self::of(Handle::current())
    }

    /// How many connections it has.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place.
    pub(crate) fn place(&self) -> Place {
        Place::among(&self.open)
    }
}

impl Place {
    /// One more of those that are counted.
    pub(crate) fn among(counted: &Arc<AtomicUsize>) -> Self {
        counted.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counted))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
