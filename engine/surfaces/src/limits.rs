//! Bounds of what one call may ask.

/// Requests in one `EvaluateBatch`; more are refused. Guess: a gateway's burst. At a microsecond
/// each they hold a worker for a millisecond.
pub const BATCH_REQUESTS_MAX: usize = 1000;

/// Events in one `Publish`; more are refused. Guess: as for requests.
pub const PUBLISH_EVENTS_MAX: usize = 1000;

/// Sources of events in `Status`, and in metrics; of more, those that have been silent the longest. Guess: a
/// screenful or two.
pub const SOURCES_SHOWN_MAX: usize = 100;

/// Bytes of one gRPC message; larger ones are refused. 4 MiB is what gRPC clients expect.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
