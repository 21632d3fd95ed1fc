//! Follows the file of the database of countries (P5): what replaces it is read, and decided by.
//!
//! A file that can't be read any more takes nothing away: decisions go on by what was read last, and the
//! fault is said once.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use caed_core::countries::Countries;
use caed_core::time::UnixSeconds;
use caed_decode::countries;
use tokio::sync::watch;
use tokio::time::sleep;

/// How often the file is looked at. Guess: such files are replaced daily at the most.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The bytes of the largest file that is read. Guess: databases of cities have 100 MiB.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A file, and which one was looked at last.
pub(crate) struct Database {
    path: PathBuf,
    looked_at: Option<Look>,
}

/// What tells one file from the one that replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: u64,
}

impl Database {
    /// Reads the file for the first time: a sidecar that was told of one does not start without.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<(Self, Arc<Countries>)> {
        let mut database = Self { path, looked_at: None };
        let read = database.read_anew();
        let countries = read.and_then(|found| found.context("changed while it was read"));
        let countries = countries.with_context(|| {
            let path = database.path.display();
            format!("the database of countries `{path}` (countries.database)")
        })?;
        Ok((database, countries))
    }

    /// Hands over what replaces the file, until nobody wants it any more.
    pub(crate) async fn follow(
        mut self,
        found: watch::Sender<Option<Arc<Countries>>>,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = found.closed() => return Ok(()),
                () = sleep(LOOK_INTERVAL) => {}
            }
            let looked = tokio::task::spawn_blocking(move || (self.read_anew(), self));
            let (read, database) = looked.await.context("reading the database of countries")?;
            self = database;
            match read {
                Ok(None) => {}
                Ok(Some(countries)) => {
                    found.send_replace(Some(countries));
                }
                Err(error) => {
                    let path = self.path.display();
                    tracing::error!(
                        %path, error = format!("{error:#}"),
                        "the database of countries could not be read; the one before stays in force"
                    );
                }
            }
        }
    }

    /// Reads the file where it is another one than at the last look.
    fn read_anew(&mut self) -> anyhow::Result<Option<Arc<Countries>>> {
        let look = fs::metadata(&self.path).map(|metadata| Look::of(&metadata));
        let look = match look {
            Ok(look) if self.looked_at == Some(look) => return Ok(None),
            // Said once.
            Err(_) if self.looked_at == Some(Look::GONE) => return Ok(None),
            Ok(look) => look,
            Err(error) => {
                self.looked_at = Some(Look::GONE);
                return Err(error.into());
            }
        };
        self.looked_at = Some(look);
        let countries = read(&self.path, look.length)?;
        let (ranges, built_s) = (countries.len(), countries.built.map(UnixSeconds::as_seconds));
        let path = self.path.display();
        tracing::info!(%path, ranges, built_s, "a database of countries is read");
        Ok(Some(Arc::new(countries)))
    }
}

impl Look {
    const GONE: Self = Self {
        length: 0,
        modified: None,
        #[cfg(unix)]
        inode: 0,
    };

    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(metadata),
        }
    }
}

fn read(path: &Path, length: u64) -> anyhow::Result<Countries> {
    anyhow::ensure!(
        length <= FILE_BYTES_MAX,
        "has {length} bytes; a database of countries has at most {FILE_BYTES_MAX}"
    );
    Ok(countries::read(&fs::read(path)?)?)
}
