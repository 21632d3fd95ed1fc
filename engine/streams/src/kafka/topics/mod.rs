//! The topics themselves: how they are made, what they are like, and what is wrong with that (L4, L5).
//!
//! A compacted topic forgets what its settings let it forget. So caed makes its topics itself, looks
//! at them at start and every hour, and says of each setting that endangers live events what to
//! run. It never changes a topic that it did not make: that is the operator's.
//!
//! | file | noun |
//! |---|---|
//! | `admin` | what asks and tells the cluster |
//! | `survey` | what the topics are like |
//! | `finding` | what is wrong with that, as a pure function of the survey |

mod admin;
mod finding;
mod survey;

use std::time::Duration;

pub use admin::{Created, TopicAdmin, TopicError, TopicPlan};
pub use finding::{Finding, Problem, Severity};
pub use survey::{
    IdentityFound, Look, PartitionSurvey, Survey, TopicState, TopicSurvey, TopicUse, Watermarks,
};

/// How often a running sidecar looks at its topics (L4).
pub const CHECK_INTERVAL: Duration = Duration::from_hours(1);

/// How long the cluster may take for its first answer. Signing in takes a quarter of a second;
/// the rest is for brokers that are just starting. Guess.
pub const CONNECT_WAIT: Duration = Duration::from_secs(15);

/// How long one answer may take after that. Guess; a broker answers within milliseconds.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How many records of a partition are looked through for its identity at a start and every hour.
/// `caed topics create` writes it first, so it stands at the very beginning; what was in a topic
/// before is given to `create` to look through whole.
pub const IDENTITY_LOOK_RECORDS: u64 = 1000;

/// How long `create` waits for somebody else who has just made the same topics to write their
/// identities. Writing them takes milliseconds; a producer's first record may take half a second.
pub const OTHER_CREATOR_WAIT: Duration = Duration::from_secs(3);

/// The settings that every topic of live events must have, each with what it does otherwise (L4).
const NEEDED: [Needed; 5] = [
    Needed {
        name: "cleanup.policy",
        value: "compact",
        severity: Severity::Danger,
        harm: "the broker deletes live events by age or size",
    },
    Needed {
        name: "message.timestamp.type",
        value: "LogAppendTime",
        severity: Severity::Danger,
        harm: "the append time is whatever a sender says, and cutoffs are forgotten too early or never",
    },
    Needed {
        name: "unclean.leader.election.enable",
        value: "false",
        severity: Severity::Danger,
        harm: "a broker that missed acknowledged events may become the leader and drop them for ever",
    },
    Needed {
        name: "retention.ms",
        value: "-1",
        severity: Severity::Warning,
        harm: "it deletes nothing while the policy is `compact`, and live events on the day that `delete` is added to it",
    },
    Needed {
        name: "retention.bytes",
        value: "-1",
        severity: Severity::Warning,
        harm: "it deletes nothing while the policy is `compact`, and live events on the day that `delete` is added to it",
    },
];

/// One setting that a topic of live events must have.
struct Needed {
    name: &'static str,
    value: &'static str,
    /// How bad it is otherwise, under a policy of compaction only; under any other it is a danger.
    severity: Severity,
    /// What happens otherwise.
    harm: &'static str,
}
