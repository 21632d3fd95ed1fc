//! A failing disk: damage is told from torn writes, and is an error that says where.

use super::super::Flaw;
use super::super::frame::HEADER_BYTES;
use super::super::segment;
use super::super::simulated::Mishap;
use super::*;

const FIRST: &str = "00000000000000000000.log";
const SECOND: &str = "00000000000000000003.log";

/// Two segments: a sealed one of three records, and one that grows with two, each of its own
/// batch and of 45 bytes.
fn sample() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, 1 << 20).unwrap();
    append(&mut log, 1, &["a"]);
    append(&mut log, 2, &["b"]);
    append(&mut log, 3, &["c"]);
    log.writer.roll().unwrap();
    append(&mut log, 4, &["d"]);
    append(&mut log, 5, &["e"]);
    disk
}

fn flip(disk: &SimulatedDisk, name: &str, position: usize) {
    let mut bytes = disk.bytes(name).unwrap();
    bytes[position] ^= 1 << (position % 8);
    disk.tamper(name, bytes);
}

/// Opens after the power was cut, and says what was found or why not.
fn outcome(disk: &SimulatedDisk) -> Result<String, LogError> {
    disk.restart();
    open_with(disk, 1 << 20).map(|log| summary(&log.reader))
}

#[test]
fn any_flipped_bit_of_a_sealed_segment_is_an_error_that_says_where() {
    let size = sample().bytes(FIRST).unwrap().len();
    let record = HEADER_BYTES + 1;
    for position in 0..size {
        let disk = sample();
        flip(&disk, FIRST, position);
        let before = disk.bytes(FIRST);
        let Err(LogError::Corrupt { file, position: reported, .. }) = outcome(&disk) else {
            panic!("byte {position} went unnoticed");
        };
        let header = usize::try_from(segment::HEADER_BYTES).unwrap();
        let index = position.saturating_sub(header) / record;
        let expected = if position < header { 0 } else { header + index.min(3) * record };
        assert_eq!((file.as_str(), reported), (&*format!("simulated/{FIRST}"), expected as u64));
        assert_eq!(disk.bytes(FIRST), before, "the folder was changed");
    }
}

#[test]
fn any_cut_of_a_sealed_segment_is_an_error() {
    let bytes = sample().bytes(FIRST).unwrap();
    for size in 0..bytes.len() {
        let disk = sample();
        disk.tamper(FIRST, bytes[..size].to_vec());
        assert!(matches!(outcome(&disk), Err(LogError::Corrupt { .. })), "cut to {size}");
    }
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_an_error() {
    let start = usize::try_from(segment::HEADER_BYTES).unwrap();
    for position in 0..=start + HEADER_BYTES {
        let disk = sample();
        flip(&disk, SECOND, position);
        let Err(error) = outcome(&disk) else { panic!("byte {position} went unnoticed") };
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
    }
}

/// Nothing proves that the last batch had been acknowledged: it is cut, and reported.
#[test]
fn a_flipped_bit_in_the_last_batch_cuts_that_batch() {
    let start = usize::try_from(segment::HEADER_BYTES).unwrap() + HEADER_BYTES + 1;
    for position in start..=start + HEADER_BYTES {
        let disk = sample();
        flip(&disk, SECOND, position);
        disk.restart();
        let mut log = open_with(&disk, 1 << 20).unwrap();
        assert_eq!(summary(&log.reader), "0:a 1:b 2:c 3:d");
        assert_eq!(log.repair.torn_bytes, 45);
        assert_eq!(log.repair.torn_at, Some((format!("simulated/{SECOND}"), start as u64)));
        append(&mut log, 9, &["f"]);
        assert_eq!(summary(&log.reader), "0:a 1:b 2:c 3:d 4:f");
    }
}

#[test]
fn after_a_planned_stop_damage_to_the_last_batch_is_an_error_too() {
    let disk = sample();
    open_with(&disk, 1 << 20).map(|mut log| log.writer.roll()).unwrap().unwrap();
    let size = disk.bytes(SECOND).unwrap().len();
    flip(&disk, SECOND, size - 30);
    assert!(matches!(outcome(&disk), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_hole_with_whole_records_of_the_same_batch_behind_it_was_never_acknowledged() {
    let disk = sample();
    let mut log = open_with(&disk, 1 << 20).unwrap();
    let hole = disk.bytes(SECOND).unwrap().len();
    append(&mut log, 6, &["f", "g", "h"]);
    drop(log);
    let mut bytes = disk.bytes(SECOND).unwrap();
    bytes[hole..hole + 45].fill(0);
    disk.tamper(SECOND, bytes);
    assert_eq!(outcome(&disk).unwrap(), "0:a 1:b 2:c 3:d 4:e");
}

#[test]
fn a_hole_with_a_later_batch_behind_it_is_an_error() {
    let disk = sample();
    let mut log = open_with(&disk, 1 << 20).unwrap();
    let hole = disk.bytes(SECOND).unwrap().len();
    // Far enough for the search to need several windows.
    let large = "f".repeat(200_000);
    append(&mut log, 6, &[&large]);
    append(&mut log, 7, &["g"]);
    drop(log);
    let mut bytes = disk.bytes(SECOND).unwrap();
    bytes[hole + 100] ^= 1;
    disk.tamper(SECOND, bytes);
    let Err(LogError::Corrupt { position, flaw, .. }) = outcome(&disk) else {
        panic!("went unnoticed")
    };
    assert_eq!((position, flaw), (hole as u64, Flaw::Checksum));
}

#[test]
fn a_lost_segment_is_an_error_whichever_it_is() {
    for lost in [FIRST, SECOND] {
        let disk = sample();
        disk.lose(lost);
        let error = outcome(&disk).unwrap_err();
        assert!(matches!(error, LogError::SegmentMissing { .. }), "{lost}: {error}");
    }
    let disk = sample();
    disk.lose(FIRST);
    disk.lose(SECOND);
    let error = outcome(&disk).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log in `simulated` lacks the segment that begins at offset 0; restore it from a copy"
    );
}

#[test]
fn a_lost_or_damaged_identity_is_an_error() {
    let disk = sample();
    disk.lose("identity");
    assert!(matches!(outcome(&disk), Err(LogError::IdentityMissing { .. })));
    for position in 0..36 {
        let disk = sample();
        flip(&disk, "identity", position);
        assert!(matches!(outcome(&disk), Err(LogError::IdentityDamaged { .. })));
    }
    let disk = sample();
    let mut longer = disk.bytes("identity").unwrap();
    longer.push(0);
    disk.tamper("identity", longer);
    assert!(matches!(outcome(&disk), Err(LogError::IdentityDamaged { .. })));
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let disk = sample();
    let stranger = SimulatedDisk::new(2);
    let identity = Identity { incarnation: Incarnation([8; 16]), ..IDENTITY };
    let mut log = open(Arc::new(stranger.clone()), Options::new(identity)).unwrap();
    append(&mut log, 1, &["x", "y", "z"]);
    log.writer.roll().unwrap();
    disk.tamper(FIRST, stranger.bytes(FIRST).unwrap());
    let Err(LogError::Corrupt { flaw, position, .. }) = outcome(&disk) else {
        panic!("went unnoticed")
    };
    assert_eq!((flaw, position), (Flaw::Header, 0));
}

#[test]
fn damage_after_opening_is_an_error_of_the_read_and_loses_no_record_of_the_cursor() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, 1 << 20).unwrap();
    append(&mut log, 1, &["a", "b", "c"]);
    let mut cursor = log.reader.cursor(Offset(0));
    let original = disk.bytes(FIRST).unwrap();
    disk.overwrite(FIRST, 20 + 45 + 30, &[0xff]);
    assert!(matches!(cursor.read(1000), Err(LogError::Corrupt { position: 65, .. })));
    disk.overwrite(FIRST, 0, &original);
    assert_eq!(cursor.read(1000).unwrap().len(), 3);
}

#[test]
fn a_failed_compaction_either_leaves_the_folder_as_it_was_or_poisons_the_writer() {
    let (mut harmless, mut poisoned) = (0, 0);
    for operation in 0.. {
        let disk = sample();
        let mut log = open_with(&disk, 1 << 20).unwrap();
        let before = disk.bytes(FIRST);
        disk.arm(disk.operations() + operation, Mishap::Failure);
        if log.writer.compact(&mut |record| record.key != [b'b'; 16]).is_ok() {
            break;
        }
        let next = log.writer.append(UnixMillis::from_millis(6), &[([0; 16], "f")]);
        if let Err(error) = next {
            assert!(matches!(error, LogError::Poisoned { .. }), "{error}");
            poisoned += 1;
        } else {
            assert_eq!(disk.bytes(FIRST), before, "operation {operation}");
            assert_eq!(summary(&log.reader), "0:a 1:b 2:c 3:d 4:e 5:f");
            harmless += 1;
        }
    }
    // Create, write and sync; then rename, and two syncs of the folder.
    assert_eq!((harmless, poisoned), (3, 3));
}
