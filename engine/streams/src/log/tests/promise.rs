//! What the log promises when nothing fails.

use std::thread;

use super::super::{LogWriter, limits};
use super::*;

const BIG: u64 = 1 << 20;

#[test]
fn records_come_back_as_they_were_appended_also_after_a_restart() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, 150).unwrap();
    append(&mut log, 5, &["a", "bb"]);
    append(&mut log, 6, &["ccc"]);
    append(&mut log, 7, &["dddd"]);
    let before = read_all(&log.reader);
    assert_eq!(summary(&log.reader), "0:a 1:bb 2:ccc 3:dddd");
    assert_eq!(before[1].key, [b'b'; 16]);
    assert_eq!(before[2].append_time, UnixMillis::from_millis(6));
    drop(log);
    let mut log = open_with(&disk, 150).unwrap();
    assert_eq!(read_all(&log.reader), before);
    assert_eq!(log.repair, super::super::Repair::default());
    append(&mut log, 8, &["e"]);
    assert_eq!(log.reader.durable_end(), Offset(5));
    assert!(disk.names().len() > 2, "{:?}", disk.names());
}

#[test]
fn an_identity_is_kept_whatever_later_starts_ask_for() {
    let disk = SimulatedDisk::new(1);
    drop(open_with(&disk, BIG).unwrap());
    let other = Identity { incarnation: Incarnation([9; 16]), horizon: Duration::from_secs(1) };
    let log = open(Arc::new(disk), Options::new(other)).unwrap();
    assert_eq!(log.reader.identity(), IDENTITY);
}

#[test]
fn append_times_never_go_back_not_even_over_a_compacted_segment_and_a_restart() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, BIG).unwrap();
    append(&mut log, 100, &["a"]);
    log.writer.roll().unwrap();
    log.writer.compact(&mut |_| false).unwrap();
    drop(log);
    let mut log = open_with(&disk, BIG).unwrap();
    append(&mut log, 50, &["b"]);
    assert_eq!(read_all(&log.reader)[0].append_time, UnixMillis::from_millis(100));
}

#[test]
fn limits_are_errors_of_the_caller_and_harm_nothing() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, BIG).unwrap();
    let now = UnixMillis::from_millis(1);
    let largest = vec![1; limits::PAYLOAD_BYTES_MAX as usize];
    let too_large = vec![1; limits::PAYLOAD_BYTES_MAX as usize + 1];
    let error = log.writer.append(now, &[([0; 16], &too_large)]).unwrap_err();
    assert_eq!(error.to_string(), "a record of 1048577 bytes exceeds the limit of 1048576");
    let error = log.writer.append(now, &vec![([0; 16], &largest); 16]).unwrap_err();
    assert!(matches!(error, LogError::BatchTooLarge { .. }), "{error}");
    log.writer.append(now, &vec![([0; 16], &largest); 15]).unwrap();
    assert_eq!(log.writer.append::<&str>(now, &[]).unwrap(), Offset(15)..Offset(15));
    assert_eq!(read_all(&log.reader).len(), 15);
}

#[test]
fn a_read_returns_what_fits_but_at_least_one_record() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, BIG).unwrap();
    append(&mut log, 1, &["aaaa", "bbbb", "cccc"]);
    let offsets = |from, bytes_max| -> Vec<u64> {
        log.reader.read(Offset(from), bytes_max).unwrap().iter().map(|r| r.offset.0).collect()
    };
    assert_eq!(offsets(0, 0), [0]);
    assert_eq!(offsets(0, 95), [0]);
    assert_eq!(offsets(0, 96), [0, 1]);
    assert_eq!(offsets(1, 1000), [1, 2]);
    assert_eq!(offsets(3, 1000), [0; 0]);
    assert_eq!(offsets(99, 1000), [0; 0]);
}

#[test]
fn any_record_of_a_long_segment_is_found_at_once() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, 1 << 30).unwrap();
    let records: Vec<(Key, Vec<u8>)> =
        (0..5000_u32).map(|n| ([0; 16], vec![0; n as usize % 300])).collect();
    for batch in records.chunks(70) {
        log.writer.append(UnixMillis::from_millis(1), batch).unwrap();
    }
    for opened_anew in [false, true] {
        for from in (0..5000).step_by(37) {
            let found = log.reader.read(Offset(from), 1).unwrap();
            assert_eq!(found[0].offset, Offset(from));
            assert_eq!(found[0].payload.len() as u64, from % 300);
        }
        if !opened_anew {
            drop(log);
            log = open_with(&disk, 1 << 30).unwrap();
        }
    }
}

#[test]
fn compaction_removes_what_is_refused_keeps_offsets_and_merges_small_segments() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, 400).unwrap();
    for round in 0..20 {
        append(&mut log, round, &["live", "dead", "dead"]);
    }
    log.writer.roll().unwrap();
    append(&mut log, 99, &["dead"]);
    let files_before = disk.names().len();
    let size_before = log.reader.size_bytes();
    let compacted = log.writer.compact(&mut |record| record.key != [b'd'; 16]).unwrap();
    assert_eq!(compacted.records_removed, 40);
    assert_eq!(compacted.bytes_freed, size_before - log.reader.size_bytes());
    // What is kept of them is known now, so that the next one merges.
    log.writer.compact(&mut |_| true).unwrap();
    assert!(disk.names().len() <= files_before / 2, "{:?}", disk.names());
    let expected: Vec<u64> = (0..20).map(|round| round * 3).chain([60]).collect();
    let there =
        |log: &Log| -> Vec<u64> { read_all(&log.reader).iter().map(|r| r.offset.0).collect() };
    assert_eq!(there(&log), expected);
    drop(log);
    let log = open_with(&disk, 400).unwrap();
    assert_eq!(there(&log), expected);
    assert_eq!(log.reader.durable_end(), Offset(61));
}

#[test]
fn a_compaction_by_steps_can_be_interleaved_with_appends() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, 150).unwrap();
    append(&mut log, 1, &["a"]);
    append(&mut log, 2, &["bb"]);
    append(&mut log, 3, &["ccc"]);
    append(&mut log, 4, &["dddd"]);
    append(&mut log, 5, &["eeeee"]);
    let mut keep = |record: &Record| record.payload.len() % 2 == 1;
    let (first, next) = log.writer.compact_from(Offset(0), &mut keep).unwrap().unwrap();
    assert_eq!((first.records_removed, next), (1, Offset(2)));
    append(&mut log, 6, &["ffffff"]);
    let (second, next) = log.writer.compact_from(next, &mut keep).unwrap().unwrap();
    assert_eq!((second.records_removed, next), (1, Offset(4)));
    assert_eq!(summary(&log.reader), "0:a 2:ccc 4:eeeee 5:ffffff");
}

#[test]
fn a_cursor_in_a_compacted_segment_reads_on_undisturbed() {
    let disk = SimulatedDisk::new(1);
    let mut log = open_with(&disk, 1000).unwrap();
    append(&mut log, 1, &["a", "b", "c", "d"]);
    log.writer.roll().unwrap();
    let mut cursor = log.reader.cursor(Offset(0));
    assert_eq!(cursor.read(1).unwrap().len(), 1);
    log.writer.compact(&mut |_| false).unwrap();
    append(&mut log, 2, &["e"]);
    let rest: Vec<u64> = cursor.read(1000).unwrap().iter().map(|r| r.offset.0).collect();
    assert_eq!(rest, [1, 2, 3, 4]);
    assert_eq!(summary(&log.reader), "4:e");
}

#[test]
fn readers_beside_the_writer_see_whole_durable_records_in_order() {
    fn write(mut writer: LogWriter) {
        for batch in 0..400_u64 {
            let records: Vec<(Key, Vec<u8>)> = (0..5).map(|n| ([n; 16], vec![n; 50])).collect();
            writer.append(UnixMillis::from_millis(batch), &records).unwrap();
            if batch % 50 == 49 {
                writer.compact(&mut |_| true).unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(super::super::FolderDisk::open(folder.path()).unwrap());
    let options = Options { segment_bytes: 4000, identity_if_new: IDENTITY };
    let Log { writer, reader, .. } = open(disk, options).unwrap();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut cursor = reader.cursor(Offset(0));
            thread::spawn(move || {
                while cursor.next_offset() < Offset(2000) {
                    let from = cursor.next_offset().0;
                    let durable_end = cursor.reader().durable_end();
                    let records = cursor.read(1000).unwrap();
                    assert!(!records.is_empty() || from >= durable_end.0);
                    for (record, offset) in records.iter().zip(from..) {
                        assert_eq!(record.offset, Offset(offset));
                        assert_eq!(record.payload, [record.key[0]; 50]);
                        assert_eq!(record.append_time.as_millis(), offset / 5);
                    }
                    thread::yield_now();
                }
            })
        })
        .collect();
    write(writer);
    for reader in readers {
        reader.join().unwrap();
    }
}
