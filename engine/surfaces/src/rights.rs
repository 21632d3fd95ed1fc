//! What a caller may do.
//!
//! Whoever accepts a connection works out its rights, once, and leaves them in the extensions of each of its
//! requests. A request without any may nothing: what nobody has thought of is denied.

use std::fmt;

use tonic::Extensions;

/// One thing that a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Ask for decisions.
    Decide,
    /// Be believed about claims: that it has verified the token that bore them (T2).
    Vouch,
    /// Publish events.
    Publish,
    /// See what is known: status, tenants, users, explanations, exports, metrics.
    Administer,
}

/// What a caller may do, all together.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Right {
    /// Every right.
    pub const ALL: [Self; 4] = [Self::Decide, Self::Vouch, Self::Publish, Self::Administer];

    /// The right as the configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Vouch => "vouch",
            Self::Publish => "publish",
            Self::Administer => "administer",
        }
    }

    /// The right of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.name() == name)
    }
}

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Everything.
    pub const ALL: Self = Self::of(&Right::ALL);

    /// Some rights.
    pub const fn of(rights: &[Right]) -> Self {
        let mut bits = 0;
        let mut left = rights;
        while let [right, others @ ..] = left {
            bits |= 1 << *right as u8;
            left = others;
        }
        Self(bits)
    }

    /// The rights of whoever sent a request.
    pub fn in_request(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::NONE)
    }

    /// Whether a right is among them.
    pub const fn may(self, right: Right) -> bool {
        self.0 & Self::of(&[right]).0 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Why whoever has these rights can't have what it asked for, unless it has the right to it.
    pub(crate) fn demand(self, right: Right) -> Result<(), String> {
        let why = match right {
            Right::Vouch => {
                "this caller may not `vouch`, so claims from it are not believed; send the raw token, or add `vouch` to the caller's [[access]] table in the configuration of caed".to_owned()
            }
            Right::Decide | Right::Publish | Right::Administer => format!(
                "this caller may not `{0}`; add `{0}` to the caller's [[access]] table in the configuration of caed",
                right.name()
            ),
        };
        if self.may(right) { Ok(()) } else { Err(why) }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Right::ALL.into_iter().filter(|right| self.may(*right)).map(Right::name);
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_what_they_were_made_of() {
        for bits in 0..16_u8 {
            let has = |right: Right| bits & (1 << right as u8) != 0;
            let made: Vec<_> = Right::ALL.into_iter().filter(|right| has(*right)).collect();
            let (chosen, others) = (Rights::of(&made), Rights(!bits & 15));
            for right in Right::ALL {
                assert_eq!(chosen.may(right), has(right), "{right:?} of {chosen:?}");
                assert_eq!(chosen.demand(right).is_ok(), has(right), "{right:?} of {chosen:?}");
                assert_eq!(others.may(right), !has(right));
                assert!(chosen.and(others).may(right));
            }
        }
        assert_eq!(Rights::of(&[]), Rights::NONE);
        assert_eq!(Rights::ALL, Rights(15));
    }

    #[test]
    fn a_request_without_rights_may_nothing() {
        let mut extensions = Extensions::new();
        assert_eq!(Rights::in_request(&extensions), Rights::NONE);
        extensions.insert(Rights::of(&[Right::Publish]));
        assert_eq!(format!("{:?}", Rights::in_request(&extensions)), "{\"publish\"}");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for right in Right::ALL {
            assert_eq!(Right::parse(right.name()), Some(right));
        }
        assert_eq!(Right::parse("Decide"), None);
    }
}
