//! Starting again from the embedded log.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caed_core::position::Incarnation;
use caed_streams::log::{self, FolderDisk, Identity, Log, Options};

use crate::pipeline::{self, HORIZON, Pipeline};
use crate::stream::{Record, Stream};

/// Records that are appended together while the log is made.
const TOGETHER: u64 = 16_384;

/// How long reading so many events takes, from opening the log until requests are decided.
pub(crate) fn measure(stream: Stream, events: u64) -> Duration {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    fill(folder.path(), stream, events);
    let begun = Instant::now();
    let mut pipeline = Pipeline::of_log(open(folder.path()));
    pipeline.catch_up();
    let took = begun.elapsed();
    pipeline.check(stream, events);
    took
}

fn open(folder: &Path) -> Log {
    let disk = FolderDisk::open(folder).expect("a folder");
    let identity = Identity { incarnation: Incarnation([3; 16]), horizon: HORIZON };
    log::open(Arc::new(disk), Options::new(identity)).expect("a log")
}

fn fill(folder: &Path, stream: Stream, events: u64) {
    let mut log = open(folder);
    for first in (0..events).step_by(usize::try_from(TOGETHER).unwrap_or(1)) {
        let records = (first..events.min(first + TOGETHER)).map(|number| {
            let Record { key, payload, .. } = stream.record(number);
            (key.0, payload)
        });
        let records: Vec<_> = records.collect();
        log.writer.append(pipeline::now(), &records).expect("appended");
    }
    log.writer.roll().expect("sealed");
}
