//! Processor time, by whom it is spent.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What each thread of some processes has spent so far.
#[derive(Debug)]
pub(super) struct Spent(HashMap<PathBuf, u64>);

impl Spent {
    pub(super) fn so_far(processes: &[u32]) -> Self {
        let threads = processes.iter().flat_map(|process| {
            fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten()
        });
        let spent = threads.filter_map(|thread| {
            let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some((thread.path(), times.split(' ').next()?.parse().ok()?))
        });
        Self(spent.collect())
    }

    /// What was spent since then by the threads that still live.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let spent = self.0.iter().map(|(thread, now)| {
            now.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(spent.sum())
    }
}

/// What this thread has spent so far.
pub(super) fn spent_here() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Keeps this thread on the second core, where there is one: servers are on the first. And lets it wake when it
/// asked to, not when it suits the system.
#[cfg(target_os = "linux")]
pub(super) fn settle() {
    use std::num::NonZeroU64;

    use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        let mut cores = CpuSet::new();
        cores.set(1);
        // Where that is not allowed, the run is slower, and no less right.
        let _ = sched_setaffinity(None, &cores);
    }
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// Other systems place threads by themselves.
#[cfg(not(target_os = "linux"))]
pub(super) fn settle() {}
