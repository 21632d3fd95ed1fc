//! Bounds of reading from Kafka and appending to it.

use std::time::Duration;

use super::janitor::Pace;

/// How often the brokers are asked where the partitions end. The age that answers show is at most
/// this and one answer's time while all is well; each asking costs a few requests.
pub const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the brokers have to answer one asking. Longer is no answer, and the age grows.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// How long one partition's leader has for one question. One that is silent then leaves time for the
/// others in the same asking, so that status shows which one it is.
pub const LEADER_TIME_MAX: Duration = Duration::from_secs(1);

/// Answers about one partition that the published snapshot has not reached yet. As many as the
/// applier keeps statements about all of them.
pub const ANSWERS_MAX: usize = crate::limits::ENDS_MAX;

/// How long the brokers may refuse this client at a start before the process gives up: a wrong
/// password does not become right by asking again. A broker that can't be reached is waited for
/// without end.
pub const STARTUP_PATIENCE: Duration = Duration::from_secs(30);

/// Events of the log that wait for the applier, each a batch at the most
/// ([`BATCH_BYTES_MAX`](crate::limits::BATCH_BYTES_MAX)). When it is full nothing is polled, and
/// librdkafka stops fetching when its own queue is full, too.
pub const EVENT_QUEUE_MAX: usize = 4;

/// Records that are handed over at once. Guess: an applier takes some milliseconds for so many.
pub const BATCH_RECORDS_MAX: usize = 4096;

/// How long the reading thread sleeps where nothing wakes it. Callbacks wake it for records; this
/// bounds how late errors, statistics and the end of the process are noticed.
pub const IDLE_TIME: Duration = Duration::from_millis(100);

/// How long reading pauses after a fault before the client is made anew.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What callbacks of one client may say before somebody listens. More is dropped: faults and
/// statistics are said again.
pub const HEARD_MAX: usize = 256;

/// Partitions that one partition of the log may name as suspicious before the prober looks.
pub const SUSPECTS_MAX: usize = 1024;

/// How far the own clock and the append time of a record just written may lie apart (F1).
/// SOURCE: semantics F1.
pub const CLOCKS_APART_MAX: Duration = Duration::from_mins(1);

/// Bytes that are fetched of a partition to look at its identity record: enough for the record and
/// little more. The broker sends a first batch that is larger all the same.
pub const IDENTITY_FETCH_BYTES: &str = "1024";

/// How long the probe waits for the first answer to the producer's warm-up, once the brokers have
/// answered the probe itself. A guess that no start notices.
pub const WARM_UP_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the end of the process waits for letters that are on their way.
pub const LETTERS_FLUSH_TIME: Duration = Duration::from_secs(1);

/// When a janitor works. Hourly: what it drops is two horizons old, so nothing hurries, and a look
/// costs one reading of the log. First some minutes after the start, when the replicas of a fleet
/// that is rolled out have settled who it is.
pub const JANITOR_PACE: Pace =
    Pace { first: Duration::from_mins(5), interval: Duration::from_hours(1) };

/// Records that a janitor reads or writes in a second. Guess: about 1 MB/s, which no broker notices
/// and which takes an hour for 18 million records.
pub const JANITOR_RECORDS_PER_S: u32 = 5000;

/// Tombstones of one run; what is beyond them waits for the next. They take some 25 bytes of memory
/// each, and so many some four minutes to be written. Guess: nearly three times what a hundred
/// events a second are in an hour.
pub const TOMBSTONES_MAX: usize = 1 << 20;

/// Tombstones that are on their way at once; before each such group the janitor makes sure that it
/// still is one. Guess: a tenth of a second.
pub const TOMBSTONE_GROUP: usize = 500;

/// How long a group of tombstones may take. Longer than the producer tries.
pub const TOMBSTONE_TIME_MAX: Duration = Duration::from_secs(15);

/// How old the knowledge of a janitor may be (L3). Age is some seconds while all is well, and an
/// alarm at 30.
pub const JANITOR_AGE_MAX: Duration = Duration::from_secs(10);
