//! Raw tokens.

use std::io;

use caed_bench::report::Row;
use caed_bench::verification::{How, Verification};

use crate::{Run, each_of};

/// Verifies tokens of each kind, in turns.
pub(crate) fn verify(run: &mut Run) -> io::Result<()> {
    let times = run.amount.verifications;
    let mut verifications = How::ALL.map(Verification::new);
    run.say(&"verify raw tokens")?;
    let nanos =
        run.medians(|| verifications.each_mut().map(|each| each_of(times, each.run(times))));
    for (verification, nanos) in verifications.iter().zip(nanos) {
        run.row(Row::new(verification.name(), nanos / 1e3, "µs"));
    }
    Ok(())
}
