//! Bytes to events. Pure: a record is understood or not by itself alone, and never fatal (E16).

mod directory;
pub mod native;
