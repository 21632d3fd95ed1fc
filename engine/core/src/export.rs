//! What is in force in a tenant's directory, as what would have to be told to a state that knows nothing,
//! so that it decides the same: settings, places, groups, policies, and declarations of sources.
//!
//! This looks at every subject of the tenant, and copies: never on the path of a request.
//!
//! Deliberately absent: cutoffs, and what sources say of accounts and devices. They are what happened, not
//! what is in force, and the log has them.

use crate::event::Declaration;
use crate::ids::{Name, ObjectKey};
use crate::index::Row;
use crate::policy::{Body, Membership};
use crate::snapshot::Snapshot;
use crate::time::UnixMillis;

/// Something in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Since when.
    pub at: UnixMillis,
    /// What.
    pub word: Word,
    /// What people call it.
    pub title: String,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A source is declared (E13).
    Source(Name, Declaration),
    /// An object stands so.
    Object(Body),
    /// The last single word about a member of a group (E9).
    Member {
        /// The group or role.
        group: ObjectKey,
        /// Who.
        user: ObjectKey,
        /// Whether they came or went.
        membership: Membership,
    },
}

impl Snapshot {
    /// What is in force in a tenant; `None` where no event ever named it. Policies come last, so that what
    /// they name is known before.
    pub fn in_force(&self, tenant: &Name) -> Option<Vec<Statement>> {
        let (number, row) = self.state.tenants.get(tenant.as_str())?;
        let declared = row.declarations().iter().filter_map(|declared| {
            let name = self.state.sources.name(declared.source())?.clone();
            Some((name, declared))
        });
        let mut declared: Vec<_> = declared.collect();
        declared.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let declared = declared.into_iter().map(|(name, declared)| Statement {
            at: declared.at(),
            word: Word::Source(name, declared.declaration),
            title: String::new(),
        });
        let mut statements: Vec<_> = declared.collect();
        if let Some(directory) = self.state.directories.get(number) {
            let mut subjects: Vec<(u32, ObjectKey)> = Vec::new();
            if directory.has_groups() {
                let own = self.state.subjects.iter().filter(|row| row.key().tenant == number);
                subjects.extend(own.map(|row| (row.number, row.key().subject)));
                subjects.sort_unstable();
            }
            directory.state(&mut statements, &|number| {
                let place = subjects.binary_search_by_key(&number, |(number, _)| *number).ok()?;
                subjects.get(place).map(|(_, subject)| *subject)
            });
        }
        Some(statements)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::builder::Builder;
    use crate::event::{Event, Fact};
    use crate::index::ranges::RangeSet;
    use crate::policy::{Location, Part, Place, Settings, Version};
    use crate::position::{Offset, Partition, Position};
    use crate::rules::{Issuers, Rules};

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).expect("an id")
    }

    const fn at(second: u64) -> UnixMillis {
        UnixMillis::from_millis(1_800_000_000_000 + 1000 * second)
    }

    fn in_force(facts: &[(u64, Fact)]) -> Vec<(u64, Word)> {
        let issuers = Issuers::new([]).expect("no issuers");
        let rules = Rules { issuers, horizon: Duration::from_hours(1), ..Rules::default() };
        let mut builder = Builder::new(Arc::new(rules), 7);
        for (second, fact) in facts {
            let event = Event {
                tenant: name("contoso"),
                source: name("entra"),
                id: String::new(),
                occurred: at(*second),
                received: at(*second),
                fact: fact.clone(),
            };
            let position = Position { partition: Partition::default(), offset: Offset(0) };
            builder.apply(position, event.received, &event);
        }
        let all = builder.freeze().in_force(&name("contoso")).unwrap_or_default();
        let second = |statement: &Statement| statement.at.as_millis() - at(0).as_millis();
        all.into_iter().map(|statement| (second(&statement), statement.word)).collect()
    }

    fn told(body: Body) -> Fact {
        Fact::Version(Version { part: Part::WHOLE, body, title: String::new() })
    }

    fn hq(ranges: &str, trusted: bool) -> Body {
        let place = Place::Ranges(Arc::new(RangeSet::parse([ranges]).expect("a range")));
        Body::Location(key("hq"), Some(Location { trusted, place }))
    }

    fn staff(members: &[&str]) -> Body {
        Body::Group(key("staff"), Arc::new(members.iter().map(|id| key(id)).collect()))
    }

    fn member(user: &str, membership: Membership) -> Fact {
        Fact::Member { group: key("staff"), user: key(user), membership }
    }

    #[test]
    fn nothing_is_in_force_where_nothing_was_told() {
        assert_eq!(in_force(&[]), []);
        assert_eq!(in_force(&[(1, told(Body::Settings(None)))]), []);
    }

    #[test]
    fn each_thing_has_the_time_since_when_it_stands_so() {
        let declaration = Declaration {
            declared: true,
            emits_enabled: true,
            emits_device_clear: false,
            retired: None,
        };
        let settings = || Body::Settings(Some(Arc::new(Settings::default())));
        let all = in_force(&[
            (9, Fact::Source { source: name("hr"), declaration }),
            (1, told(settings())),
            // Told again: it has stood so since before.
            (5, told(settings())),
            (2, told(hq("192.0.2.0/25", false))),
            (3, told(hq("192.0.2.0/24", false))),
        ]);
        let expected = [
            (9000, Word::Source(name("hr"), declaration)),
            (1000, Word::Object(settings())),
            (3000, Word::Object(hq("192.0.2.0/24", false))),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_group_has_the_time_of_its_newest_reading_and_every_word_beside_it() {
        use Membership::{Added, Removed};
        let all = in_force(&[
            (1, told(staff(&["bert", "anna"]))),
            (5, told(staff(&["bert", "anna"]))),
            (4, member("carl", Added)),
            (7, member("anna", Removed)),
            (7, member("anna", Added)),
        ]);
        let word = |user: &str, membership| {
            let (group, user) = (key("staff"), key(user));
            Word::Member { group, user, membership }
        };
        let expected = [
            (5000, Word::Object(staff(&["anna", "bert"]))),
            (4000, word("carl", Added)),
            (7000, word("anna", Added)),
            (7000, word("anna", Removed)),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn it_is_told_when_a_location_ceased_to_be_trusted() {
        let unknowable = Some(Location { trusted: true, place: Place::Unknowable });
        let was_trusted = Word::Object(Body::Location(key("hq"), unknowable));
        let gone = || Body::Location(key("hq"), None);
        let trusted = (1, told(hq("192.0.2.0/24", true)));
        let now = |second, ranges| (second, told(hq(ranges, false)));
        let stands = |second, ranges| (second, Word::Object(hq(ranges, false)));
        for (facts, expected) in [
            (
                vec![trusted.clone(), now(2, "192.0.2.0/24")],
                vec![(1999, was_trusted.clone()), stands(2000, "192.0.2.0/24")],
            ),
            (
                vec![trusted.clone(), now(2, "192.0.2.0/24"), now(3, "192.0.2.0/25")],
                vec![
                    (1999, was_trusted.clone()),
                    (2000, Word::Object(gone())),
                    stands(3000, "192.0.2.0/25"),
                ],
            ),
            (
                vec![trusted, (4, told(gone()))],
                vec![(3999, was_trusted), (4000, Word::Object(gone()))],
            ),
        ] {
            assert_eq!(in_force(&facts), expected);
        }
    }
}
