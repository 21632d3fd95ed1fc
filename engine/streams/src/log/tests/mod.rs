//! Tests of the embedded log: what it promises (`promise`), after any crash (`crash`), on a failing
//! disk (`damage`), on a real one (`folder`), and to any bytes (`decoder`).

mod crash;
mod damage;
mod decoder;
mod folder;
mod promise;

use std::sync::Arc;
use std::time::Duration;

use caed_core::position::{Incarnation, Offset};
use caed_core::time::UnixMillis;

use super::simulated::SimulatedDisk;
use super::{Identity, Key, Log, LogError, LogReader, Options, Record, open};

const IDENTITY: Identity =
    Identity { incarnation: Incarnation([7; 16]), horizon: Duration::from_hours(30) };

fn open_with(disk: &SimulatedDisk, segment_bytes: u64) -> Result<Log, LogError> {
    open(Arc::new(disk.clone()), Options { segment_bytes, identity_if_new: IDENTITY })
}

/// Appends one batch of records with these payloads and the first byte of each as its key.
fn append(log: &mut Log, now: u64, payloads: &[&str]) {
    let records: Vec<(Key, &str)> =
        payloads.iter().map(|payload| ([payload.as_bytes()[0]; 16], *payload)).collect();
    log.writer.append(UnixMillis::from_millis(now), &records).unwrap();
}

fn read_all(reader: &LogReader) -> Vec<Record> {
    let mut cursor = reader.cursor(Offset(0));
    let mut records = Vec::new();
    loop {
        let some = cursor.read(100).unwrap();
        if some.is_empty() {
            return records;
        }
        records.extend(some);
    }
}

/// Offset and payload of every record, as one line.
fn summary(reader: &LogReader) -> String {
    let show = |r: &Record| format!("{}:{}", r.offset.0, String::from_utf8_lossy(&r.payload));
    read_all(reader).iter().map(show).collect::<Vec<_>>().join(" ")
}
