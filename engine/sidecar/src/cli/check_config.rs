//! `caed check-config`.

use std::process::ExitCode;

use super::{ConfigFile, output};

/// Reports every fault, or that there is none.
pub(super) fn run(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    file.load()?;
    output::line(format!("{}: no faults", file.config.display()));
    Ok(ExitCode::SUCCESS)
}
