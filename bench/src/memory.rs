//! What a state takes.

use std::fs;

/// What something takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Bytes of heap, as the snapshot counts them.
    pub heap_bytes: usize,
    /// By how many bytes the process grew, where the system says.
    pub resident_bytes: Option<u64>,
}

impl Memory {
    /// What a part takes by which the process grew since it had so many bytes.
    pub(crate) fn since(before: Option<u64>, heap_bytes: usize) -> Self {
        let grown = |(before, after): (u64, u64)| after.saturating_sub(before);
        Self { heap_bytes, resident_bytes: before.zip(resident_bytes()).map(grown) }
    }
}

/// The resident set of this process. `None` where the system does not say.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}
