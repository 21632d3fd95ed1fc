//! What users and members take.

use std::io;

use caed_bench::memory::Memory;
use caed_bench::report::{Row, Target};
use caed_bench::scenario::size;
use caed_bench::world::World;

use crate::{Part, Run, precise};

/// What a member of a large group takes, and a subject that is in any.
pub(crate) fn members(run: &mut Run) -> io::Result<()> {
    let dense = run.amount.dense;
    let (groups, among) = (dense.groups, size(dense.subjects));
    run.say(&format_args!("{groups} groups, each of half of {among} subjects"))?;
    let taken = dense.take();
    rows(run, "memory.per_member", taken.groups, taken.members, Some(2.0));
    rows(run, "memory.per_member.number", taken.subjects, dense.subjects, None);
    Ok(())
}

/// What a revoked user takes.
pub(crate) fn users(run: &mut Run, world: &World) {
    if run.does(Part::Memory) {
        let users = world.users().0;
        let name = format!("memory.per_user.{}", size(users));
        rows(run, &name, world.memory(), users, Some(56.0));
    }
}

/// Each one's share of what the process grew by, and of the heap that the snapshot counts.
fn rows(run: &mut Run, name: &str, memory: Memory, count: u64, most: Option<f64>) {
    let each = |bytes: u64| precise(bytes) / precise(count);
    if let Some(bytes) = memory.resident_bytes {
        let row = Row::new(name, each(bytes), "bytes");
        run.row(match most {
            Some(most) => row.wanted(Target::AtMost(most)),
            None => row,
        });
    }
    let heap = u64::try_from(memory.heap_bytes).unwrap_or(u64::MAX);
    run.row(Row::new(format!("{name}.heap"), each(heap), "bytes"));
}
