//! The embedded log, seen from outside.

use std::sync::Arc;

use caed_core::log_view::{Letters, LogView, PartitionView};
use caed_core::publish::SnapshotReader;
use caed_core::time::Clock;

use super::source::PARTITION;
use crate::log::LogReader;

pub(super) struct View {
    pub(super) reader: LogReader,
    pub(super) snapshots: SnapshotReader,
    pub(super) clock: Arc<dyn Clock>,
}

impl LogView for View {
    fn bytes(&self) -> u64 {
        self.reader.size_bytes()
    }

    /// A fault of the embedded log ends the process.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn partitions(&self) -> Vec<PartitionView> {
        // The one partition is as old as the whole.
        let age = self.snapshots.age(&*self.clock);
        let as_of = age.map(|age| self.clock.monotonic().saturating_sub(age));
        vec![PartitionView { partition: PARTITION, end: self.reader.durable_end(), as_of }]
    }

    /// They are not sent on: the log keeps them.
    fn letters(&self) -> Letters {
        Letters::default()
    }
}
