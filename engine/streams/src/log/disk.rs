//! What the log asks of a disk: one folder, and files that are read and written at positions.
//!
//! A trait, so that the same log runs on a simulated disk that loses what was not synced; the real
//! one is [`FolderDisk`](super::folder::FolderDisk).
//!
//! What the log relies on, and nothing more:
//! - after [`DiskFile::sync`] the file's bytes and length survive a power cut; before it, any part
//!   of them may, in any order;
//! - after [`Disk::sync_folder`] creations, renames and removals survive; before it, any of them;
//! - a rename happens as a whole or not at all;
//! - a write leaves the bytes beside it alone, even when the power fails in its middle.
//!
//! It does not rely on a second sync after a failed one: see [`writer`](super::writer).

use std::io;

/// Held as long as nobody else may open the folder; dropping it gives the folder back.
pub type DiskLock = Box<dyn Send + Sync>;

/// One folder.
pub trait Disk: Send + Sync + 'static {
    /// Where it is, for messages.
    fn location(&self) -> String;

    /// Takes the folder for oneself, or `None` if somebody else has it.
    fn lock(&self) -> io::Result<Option<DiskLock>>;

    /// The names of its files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file that does not exist yet; only its owner may read it.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, in place of whatever had it. Open files stay usable.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Files that are open stay usable.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync_folder(&self) -> io::Result<()>;
}

/// One open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads into `buffer`; fewer bytes than it holds only where the file ends.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes`. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// The bytes that it has.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Cuts everything from `size_bytes` on.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;

    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;
}
