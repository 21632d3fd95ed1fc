//! Every bound of the core, with its unit, its source and what happens at it.
//!
//! Relations between bounds that must hold are checked when the crate is compiled.

use std::time::Duration;

/// A time on the wire below this number is read as seconds. SOURCE: SEMANTICS.md E14. (As
/// milliseconds it would lie in March 1973.)
pub const SECONDS_BELOW: u64 = 100_000_000_000;

/// The last millisecond of the year 9999: a later time on the wire is a mistake. Guess, after
/// RFC 3339, which can't write a later one.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// The longest identifier, in bytes. Longer ones are refused where they enter. Guess: object ids
/// have 36 bytes, issuers are URLs of at most a few hundred.
pub const ID_BYTES_MAX: usize = 512;

/// How far ahead of its receipt a cutoff may lie before it is set back to it.
/// SOURCE: SEMANTICS.md E14.
pub const CUTOFF_AHEAD_MAX: Duration = Duration::from_mins(5);

/// How much longer than the horizon a cutoff is kept. SOURCE: SEMANTICS.md E17.
pub const FORGET_MARGIN: Duration = Duration::from_mins(5);

/// The default horizon: longer than the longest token life that is honoured (28 h) with what is
/// added to it. SOURCE: SEMANTICS.md, terms.
pub const HORIZON_DEFAULT: Duration = Duration::from_hours(30);

/// The longest token life that is honoured by default. SOURCE: SEMANTICS.md, terms; Microsoft's
/// documentation of CAE (tokens of capable clients live up to 28 hours).
pub const TOKEN_LIFETIME_DEFAULT: Duration = Duration::from_hours(28);

/// The default tolerance between the clocks of an issuer and of this host. SOURCE: SEMANTICS.md D1.
pub const CLOCK_SKEW_DEFAULT: Duration = Duration::from_mins(5);

/// A challenge may ask for a token of a second at most this far ahead: a client that
/// re-authenticates gets there on its own. SOURCE: SEMANTICS.md D9.
pub const CHALLENGE_AHEAD_MAX: Duration = Duration::from_secs(2);

/// A token younger than this is what the client got by answering a challenge; refusing it with
/// another challenge would loop. SOURCE: SEMANTICS.md D9.
pub const FRESH_TOKEN: Duration = Duration::from_mins(1);

/// What a gateway is told to wait while this process has not caught up yet. Guess: catching up
/// takes seconds.
pub const RETRY_AFTER_NOT_READY_S: u32 = 1;

/// What a gateway is told to wait while the keys of a token's issuer can't be had. Guess: they are asked for
/// again within seconds, and an issuer that is down takes minutes.
pub const RETRY_AFTER_KEYS_S: u32 = 5;

/// What was read of the log is stale beyond this age. SOURCE: SEMANTICS.md F3.
pub const LOG_STALE_AFTER_DEFAULT: Duration = Duration::from_mins(5);

/// The last sign of life of a declared source is stale beyond this age. SOURCE: SEMANTICS.md F3.
pub const SOURCE_STALE_AFTER_DEFAULT: Duration = Duration::from_mins(15);

/// Over how long the challenges because of stale knowledge are spread. SOURCE: SEMANTICS.md F3.
pub const STALE_SPREAD: Duration = Duration::from_mins(2);

/// What a gateway is told to wait where stale knowledge refuses. Guess: what made it stale takes minutes.
pub const RETRY_AFTER_STALE_S: u32 = 10;

/// So many ranges of a tenant are compiled before a snapshot is taken; more are compiled apart, and
/// searched location by location until then. Measured: about 1 ms (`bench/micro`, 2026-11).
pub const RANGES_COMPILED_AT_ONCE: usize = 10_000;

/// Records that one version may be split over. Guess: 1,024 of 1 MiB hold 20 million members.
pub const PARTS_MAX: u32 = 1024;

/// The plain lifetime: how long tokens are honoured that events and policies do not reach whole.
/// SOURCE: SEMANTICS.md D8; Microsoft's documentation (60 to 90 minutes).
pub const PLAIN_LIFETIME_DEFAULT: Duration = Duration::from_mins(90);

/// How long after a change of policy older tokens are honoured. SOURCE: SEMANTICS.md P8.
pub const OUTDATED_GRACE_DEFAULT: Duration = Duration::from_hours(2);

/// The token that is issued when the identity provider saw another address. SOURCE: SEMANTICS.md D5.
pub const ONE_HOUR: Duration = Duration::from_hours(1);

/// Times that a request is decided again to find what would change the answer. Each round answers at least
/// one of five: time, token, sign-in, address, and the place of the sign-in; one more finds nothing new.
/// At the bound what is named may not be all. Source: counted.
pub const REMEDY_ROUNDS_MAX: usize = 12;

/// Ranges of a location whose first address is tried, to find one from which the answer would be another.
/// At the bound the location is taken to have none. Source: guess; a decision is a microsecond.
pub const REMEDY_ADDRESSES_MAX: usize = 256;

/// Notes kept about records that could not be understood; the oldest goes first, the count stays.
/// Guess: more than anybody reads.
pub const QUARANTINE_NOTES_MAX: usize = 100;

/// Events shown as the newest. Guess: a screen's worth.
pub const RECENT_EVENTS_MAX: usize = 30;

/// Bytes shown of such a record. Guess: enough to recognise what it is.
pub const QUARANTINE_HEAD_BYTES: usize = 256;

const _: () = assert!(
    HORIZON_DEFAULT.as_secs() >= TOKEN_LIFETIME_DEFAULT.as_secs() + CLOCK_SKEW_DEFAULT.as_secs(),
    "the default horizon must cover every token that is honoured"
);
