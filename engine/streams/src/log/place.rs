//! A file or folder as messages name it, and errors of the operating system with that name.

use std::fmt;
use std::io;

use super::disk::Disk;
use super::error::LogError;

/// One file of one folder.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) disk: &'a dyn Disk,
    /// The file's name; empty for the folder itself.
    pub(super) name: &'a str,
}

impl<'a> Place<'a> {
    /// The folder itself.
    pub(super) fn folder(disk: &'a dyn Disk) -> Self {
        Self { disk, name: "" }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.disk.location())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, "/{}", self.name) }
    }
}

/// Says what an operation was for when it fails.
pub(super) trait During<T> {
    /// `action` is a verb: `cannot <action> <place>`.
    fn during(self, action: &'static str, place: impl fmt::Display) -> Result<T, LogError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, place: impl fmt::Display) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io { action, file: place.to_string(), source })
    }
}
