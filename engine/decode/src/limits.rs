//! Bounds of what is read.

/// Bytes of claims that are read where they stand, and again whenever a rule asks for one of their lists; those of a
/// larger token are copied. As many as a raw token may have.
pub const CLAIMS_BYTES_MAX: usize = 64 << 10;

/// Bytes of one file of Graph JSON; a larger one is refused. Guess: Microsoft allows 195 locations of
/// 2,000 ranges, which are about 40 MiB.
pub const GRAPH_FILE_BYTES_MAX: usize = 64 << 20;

/// Policies and locations of one import; more are refused. Guess: Microsoft allows 195 of each.
pub const GRAPH_OBJECTS_MAX: usize = 10_000;

/// Bytes of an event that one record holds; what says more is split into parts. It leaves 4 KiB of what a
/// record may have to what logs add.
pub const RECORD_BYTES_MAX: usize = (1 << 20) - (4 << 10);

/// Bytes of the lists of one part; the rest goes into further ones. Guess: half a record leaves enough to
/// everything that stands in each part.
pub const PART_BYTES_MAX: usize = 512 << 10;

/// Characters that a report shows of a name or a value; the rest is left out. Guess: enough to
/// recognise it.
pub const GRAPH_TEXT_CHARS_MAX: usize = 80;

/// Ranges and countries that a report shows of a location; the rest is counted. Guess: enough to
/// recognise it.
pub const GRAPH_PLACES_SHOWN: usize = 5;
