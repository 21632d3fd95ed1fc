//! A process that ends with whoever holds it.

use std::process::ExitStatus;
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How long a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// A process. Dropped, it is asked to end, so that it takes its own children along, and waited for.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.0.id()
    }

    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Ends it without a word.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.0.kill().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        // Without one it has ended.
        let Some(id) = id else { return };
        // One that is paused hears nothing else.
        let _ = kill_process(id, Signal::CONT);
        let _ = kill_process(id, Signal::TERM);
        let asked = Instant::now();
        while let Ok(None) = self.0.try_wait() {
            if asked.elapsed() > PATIENCE {
                let _ = self.0.start_kill();
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
