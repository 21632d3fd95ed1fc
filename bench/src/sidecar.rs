//! The sidecar's program, which benches over the wire start.

use std::path::PathBuf;

/// The program that `CAED` names, or that was built beside the bench.
pub fn program() -> Result<PathBuf, String> {
    let named = std::env::var_os("CAED").map(PathBuf::from);
    // A bench stands in `deps`.
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("caed"));
    let program = named.or_else(beside).unwrap_or_default();
    if program.is_file() {
        return Ok(program);
    }
    let program = program.display();
    Err(format!(
        "{program} is missing: build the package caed in this profile, or name one by CAED"
    ))
}
