//! Scenarios of the benches.
