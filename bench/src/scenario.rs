//! What is measured, as a sentence, and by the name of its row.

use std::fmt::{self, Display};

use crate::estate::{Estate, Stay};

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Decide a token whose claims have been parsed.
    Decide(Tokens),
    /// Parse the claims of a token, and decide it.
    Ask(Tokens),
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
    /// Those of revoked users, from after it.
    Renewed(Drawn),
}

/// Among which users a user is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// All of them: whatever is looked up is not in cache.
    FromAll,
    /// So many of them, who are drawn from all.
    FromSome(u64),
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
    /// What their tenant has besides.
    pub estate: Estate,
}

impl Scenario {
    /// Its row: `decide.hot.10m`.
    pub fn name(&self) -> String {
        let what = match self.task {
            Task::Decide(tokens) => format!("decide.{}", tokens.name()),
            Task::Ask(tokens) => format!("ask.{}", tokens.name()),
            Task::Publish { events: 1 } => "publish".to_owned(),
            Task::Publish { .. } => "publish.batch".to_owned(),
            Task::Forget => "forget".to_owned(),
        };
        let estate = match self.estate {
            Estate::NONE => ".plain",
            Estate { stay: Stay::Roaming, .. } => ".roaming",
            Estate { stay: Stay::HeadOffice, .. } => "",
        };
        format!("{what}{estate}.{}", size(self.among.0))
    }
}

impl Tokens {
    const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mix",
            Self::Untouched => "untouched",
            Self::Revoked => "revoked",
            Self::Renewed(Drawn::FromAll) => "cold",
            Self::Renewed(Drawn::FromSome(_)) => "hot",
        }
    }
}

/// A size in the name of a row: `10m`.
pub fn size(count: u64) -> String {
    match count {
        count if count >= 1_000_000 => format!("{}m", count / 1_000_000),
        count if count >= 1000 => format!("{}k", count / 1000),
        count => count.to_string(),
    }
}

impl Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { task, among, estate } = self;
        write!(f, "{task} among {among} revoked users, {estate}")
    }
}

impl Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decide(tokens) => write!(f, "decide a token {tokens}"),
            Self::Ask(tokens) => write!(f, "parse and decide a token {tokens}"),
            Self::Publish { events: 1 } => f.write_str("publish one event"),
            Self::Publish { events } => write!(f, "publish {events} events at once"),
            Self::Forget => f.write_str("look for what to forget"),
        }
    }
}

impl Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mixed => "of a mix",
            Self::Untouched => "of an untouched user",
            Self::Revoked => "of a revoked user",
            Self::Renewed(_) => "of a revoked user who signed in again",
        })?;
        match self {
            Self::Renewed(Drawn::FromSome(some)) => write!(f, ", one of {},", counted(*some)),
            _ => Ok(()),
        }
    }
}

impl Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.0))
    }
}

/// A count in a sentence: `10 M`.
pub(crate) fn counted(count: u64) -> String {
    match count {
        count if count >= 1_000_000 => format!("{} M", count / 1_000_000),
        count if count >= 1000 => format!("{} k", count / 1000),
        count => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_a_sentence_and_a_row() {
        let scenario = |task, users, estate| {
            let scenario = Scenario { task, among: Users(users), estate };
            [scenario.name(), scenario.to_string()]
        };
        assert_eq!(
            scenario(Task::Decide(Tokens::Mixed), 10_000_000, Estate::NONE),
            [
                "decide.mix.plain.10m",
                "decide a token of a mix among 10 M revoked users, no policies"
            ]
        );
        let estate = Estate::HEAD_OFFICE;
        assert_eq!(
            scenario(Task::Ask(Tokens::Renewed(Drawn::FromSome(5000))), 10_000_000, estate),
            [
                "ask.hot.10m",
                "parse and decide a token of a revoked user who signed in again, one of 5 k, among \
                 10 M revoked users, 50 policies and 100 k ranges, asked from the head office"
            ]
        );
        let estate = Estate { stay: Stay::Roaming, ..estate };
        assert_eq!(
            scenario(Task::Publish { events: 100 }, 10_000, estate),
            [
                "publish.batch.roaming.10k",
                "publish 100 events at once among 10 k revoked users, 50 policies and 100 k ranges, \
                 asked from anywhere"
            ]
        );
    }
}
