//! The two ways in which each peer is written.

use std::fmt::{self, Display};

/// How a peer is set up and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As its documentation shows it.
    Documented,
    /// As somebody does who has read all of it, and measured.
    Expert,
}

impl Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Documented => "documented",
            Self::Expert => "expert",
        })
    }
}
