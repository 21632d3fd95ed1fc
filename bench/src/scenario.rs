//! What is measured, as a sentence.

use std::fmt;

/// One thing that is measured: the same for every number of revoked users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Decide a token.
    Decide(Tokens),
    /// Apply so many events and publish them in one snapshot.
    Publish {
        /// How many.
        events: u64,
    },
    /// Look once for what can be forgotten, and find nothing.
    Forget,
}

/// Whose tokens are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Of a hundred: ninety of users to whom nothing happened, seven of revoked users, one each of a
    /// revoked session, a disabled device and a disabled account.
    Mixed,
    /// Those of users to whom nothing happened.
    Untouched,
    /// Those of revoked users, from before their revocation.
    Revoked,
    /// Those of revoked users, from after it, drawn among the first so many.
    Renewed {
        /// Of how many.
        among: u64,
    },
}

/// How many revoked users a state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Users(pub u64);

/// A task in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What is done.
    pub task: Task,
    /// Among how many revoked users.
    pub among: Users,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, among } = self;
        write!(f, "{task} among {among} revoked users")
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decide(tokens) => write!(f, "decide a token {tokens}"),
            Self::Publish { events: 1 } => f.write_str("publish one event"),
            Self::Publish { events } => write!(f, "publish {events} events at once"),
            Self::Forget => f.write_str("look for what to forget"),
        }
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mixed => "of a mix",
            Self::Untouched => "of an untouched user",
            Self::Revoked => "of a revoked user",
            Self::Renewed { .. } => "of a revoked user who signed in again",
        })
    }
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            users if users >= 1_000_000 => write!(f, "{} M", users / 1_000_000),
            users => write!(f, "{} k", users / 1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_a_sentence() {
        let sentence = |task, users| Scenario { task, among: Users(users) }.to_string();
        assert_eq!(
            sentence(Task::Decide(Tokens::Mixed), 10_000_000),
            "decide a token of a mix among 10 M revoked users"
        );
        assert_eq!(
            sentence(Task::Publish { events: 100 }, 10_000),
            "publish 100 events at once among 10 k revoked users"
        );
    }
}
