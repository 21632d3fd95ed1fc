//! The real disk: locks, permissions, and the log on it.

use std::os::unix::fs::PermissionsExt;

use super::super::{Disk, FolderDisk};
use super::*;

fn open_folder(path: &std::path::Path) -> Result<Log, LogError> {
    let options = Options { segment_bytes: 200, identity_if_new: IDENTITY };
    open(Arc::new(FolderDisk::open(path).unwrap()), options)
}

#[test]
fn a_log_on_a_real_folder_survives_restart_and_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er");
    let mut log = open_folder(&path).unwrap();
    for now in 0..9 {
        append(&mut log, now, &["live", "dead"]);
    }
    log.writer.compact(&mut |record| record.key != [b'd'; 16]).unwrap();
    let before = read_all(&log.reader);
    drop(log);
    let log = open_folder(&path).unwrap();
    assert_eq!(read_all(&log.reader), before);
    assert_eq!(log.reader.durable_end(), Offset(18));
}

#[test]
fn a_folder_has_one_writer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_folder(folder.path()).unwrap();
    let Err(error) = open_folder(folder.path()) else { panic!("two writers") };
    let expected = format!(
        "the log in `{}` is in use by another process; stop that one, or configure another folder",
        folder.path().display()
    );
    assert_eq!(error.to_string(), expected);
    // Readers alone do not keep it.
    let reader = log.reader.clone();
    drop(log);
    open_folder(folder.path()).unwrap();
    assert_eq!(reader.durable_end(), Offset(0));
}

#[test]
fn files_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = open_folder(&path).unwrap();
    append(&mut log, 1, &["a"]);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let names = FolderDisk::open(&path).unwrap().list().unwrap();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        assert_eq!(mode(&path.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open_folder(folder.path()).unwrap());
    for name in ["notes.txt", "1.log", "other.tmp"] {
        std::fs::write(folder.path().join(name), "mine").unwrap();
    }
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    let log = open_folder(folder.path()).unwrap();
    assert_eq!(log.repair.files_removed, 0);
    assert!(folder.path().join("other.tmp").exists());
}
