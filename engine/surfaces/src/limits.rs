//! Bounds of what one call may ask.

/// Requests in one `EvaluateBatch`; more are refused. Guess: a gateway's burst.
pub const BATCH_REQUESTS_MAX: usize = 1000;

/// Decisions for one connection, or of one batch, before others of its thread are let in between; raw tokens that are
/// verified anew let them, too. Guess: a tenth of a millisecond.
pub const DECISIONS_IN_A_ROW: usize = 100;

/// Tokens of one batch or stream that are verified, or wait for their issuer's keys, at once. Guess: what is
/// verified is bound by the processor, and all that wait wait for the same.
pub const VERIFICATIONS_AT_ONCE: usize = 16;

/// Events in one `Publish`; more are refused. Guess: as for requests.
pub const PUBLISH_EVENTS_MAX: usize = 1000;

/// Sources of events in `Status`, and in metrics; of more, those that have been silent the longest. Guess: a
/// screenful or two.
pub const SOURCES_SHOWN_MAX: usize = 100;

/// Calls at once on one connection; more wait for their turn. Guess: what gateways have under way.
pub const CALLS_MAX: u32 = 1000;

/// Bytes that a client may send ahead, on each connection. Guess: what a link of a gigabit has under way in 8 ms.
pub const WINDOW_BYTES: u32 = 1 << 20;

/// Bytes of the headers of one call, unpacked. What most servers take.
pub const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// Bytes of the head of a request for forward authorization that is answered without hyper, which takes larger ones.
pub const HEAD_BYTES: usize = 16 << 10;

/// Bytes of one gRPC message; larger ones are refused. 4 MiB is what gRPC clients expect.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of one question about health, which anybody may ask; larger ones are refused. The name of a service.
pub const PROBE_BYTES_MAX: usize = 1 << 10;

/// Bytes of a form on the admin listener; larger ones are refused. Guess: the claims of a token with the 200
/// groups that an issuer names at most, and as many roles, each byte of punctuation sent as three.
pub const FORM_BYTES_MAX: usize = 64 << 10;

/// Characters that the form takes as claims, so that a browser does not send what would be refused.
pub const FORM_CLAIMS_MAX: usize = 32 << 10;

const _: () = assert!(FORM_CLAIMS_MAX < FORM_BYTES_MAX);
/// Bytes of policies, locations and groups in one `GetTenant`; the rest is on further pages. A quarter of
/// [`MESSAGE_BYTES_MAX`]: settings stand beside them, and one object may be as large as a record.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Events of an export that are made before they are read. Guess: each may have a megabyte.
pub const EXPORT_EVENTS_AHEAD: usize = 4;
