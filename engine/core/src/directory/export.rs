//! A directory as what would have to be told again.
//!
//! Of each object the version in force is told, since when its content has stood so. What else of the past
//! decides is told, too: when a location ceased to be trusted (P8), and single words about members.
//!
//! Not kept, and so not told: versions that were replaced, and objects that were deleted.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Directory, LocationSlot, MFA_TRUSTED};
use crate::export::{Statement, Word};
use crate::ids::ObjectKey;
use crate::index::ranges::RangeSet;
use crate::policy::{Body, Location, Membership, Place, Policy};
use crate::time::UnixMillis;
use crate::version::Versions;

/// Finds who has a number.
type Subject<'s> = dyn Fn(u32) -> Option<ObjectKey> + 's;

fn standing<T: Clone>(versions: &Versions<T>, body: Body, title: &str) -> Option<Statement> {
    let title = title.to_owned();
    Some(Statement { at: versions.since()?, word: Word::Object(body), title })
}

impl Directory {
    /// Whether any group was told of.
    pub(crate) fn has_groups(&self) -> bool {
        !self.group_numbers.is_empty()
    }

    /// Everything: settings, MFA-trusted ranges, locations, groups, policies, each by id.
    pub(crate) fn state(&self, statements: &mut Vec<Statement>, subject: &Subject<'_>) {
        let settings = self.settings_view().and_then(|view| {
            standing(&self.settings, Body::Settings(Some(Arc::new(view.settings))), "")
        });
        statements.extend(settings);
        if let Some(slot) = self.slot(MFA_TRUSTED)
            && slot.location().is_some()
        {
            let ranges = Arc::new(slot.all_ranges());
            statements.extend(standing(&slot.versions, Body::MfaTrusted(Some(ranges)), ""));
        }
        for (id, number) in sorted(self.location_numbers.iter()) {
            statements.extend(self.slot(*number).into_iter().flat_map(|slot| slot.statements(*id)));
        }
        for (id, number) in sorted(self.group_numbers.iter()) {
            self.state_group(*id, *number, subject, statements);
        }
        for (id, slot) in sorted(self.policies.iter()) {
            let parts: Option<Vec<&Policy>> =
                slot.versions.parts().iter().map(Option::as_deref).collect();
            let policy = parts.and_then(|parts| Policy::joined(&parts));
            statements.extend(policy.and_then(|policy| {
                let body = Body::Policy(*id, Some(Arc::new(policy)));
                standing(&slot.versions, body, &slot.title.0)
            }));
        }
    }

    fn state_group(
        &self,
        id: ObjectKey,
        number: u32,
        subject: &Subject<'_>,
        statements: &mut Vec<Statement>,
    ) {
        let Some(group) = self.group(number) else { return };
        // Its time orders it among single words, so it is the newest and not since when it stands so.
        if let Some(stamp) = group.baselines.stamp() {
            let all = group.baselines.parts().iter();
            let all = all.fold(RoaringBitmap::new(), |all, part| all | &**part);
            let mut members: Vec<_> = all.iter().filter_map(subject).collect();
            members.sort_unstable();
            let word = Word::Object(Body::Group(id, Arc::new(members)));
            statements.push(Statement { at: stamp.at, word, title: String::new() });
        }
        let changes = group.members.changes();
        let changes = changes.filter_map(|(number, change)| Some((subject(number)?, change)));
        let mut changes: Vec<_> = changes.collect();
        changes.sort_unstable_by_key(|(user, change)| (change.at, *user));
        for (user, change) in changes {
            let memberships =
                [(change.added, Membership::Added), (change.removed, Membership::Removed)];
            statements.extend(memberships.iter().filter(|(is_told, _)| *is_told).map(
                |(_, membership)| {
                    let word = Word::Member { group: id, user, membership: *membership };
                    Statement { at: change.at, word, title: String::new() }
                },
            ));
        }
    }
}

impl LocationSlot {
    /// What the version in force says; `None` where it is deleted.
    fn location(&self) -> Option<&Location> {
        self.versions.parts().first()?.as_ref()
    }

    fn all_ranges(&self) -> RangeSet {
        RangeSet::joined(self.ranges().map(|set| &**set))
    }

    /// The countries of every part, as they were written.
    fn all_codes(&self) -> Vec<String> {
        let parts = self.versions.parts().iter().flatten();
        let codes = parts.filter_map(|part| match &part.place {
            Place::Countries { codes, .. } => Some(codes),
            Place::Ranges(_) | Place::Unknowable => None,
        });
        codes.flatten().cloned().collect()
    }

    fn statements(&self, id: ObjectKey) -> Vec<Statement> {
        let mut statements = Vec::new();
        let at = |at, location| {
            let word = Word::Object(Body::Location(id, location));
            Statement { at, word, title: self.title.0.to_string() }
        };
        let since = self.versions.since().unwrap_or_default();
        let is_trusted = self.versions.stamp().is_some_and(|stamp| stamp.trusted);
        // Policies that name the trusted locations changed when it ceased to be one.
        if let Some(ceased) = self.versions.trusted_since().filter(|_| !is_trusted) {
            let before = UnixMillis::from_millis(ceased.as_millis().saturating_sub(1));
            statements.push(at(before, Some(Location { trusted: true, place: Place::Unknowable })));
            if self.location().is_none() || ceased < since {
                statements.push(at(ceased, None));
            }
        }
        if let Some(Location { trusted, place }) = self.location() {
            let place = match place {
                _ if self.has_ranges() => Place::Ranges(Arc::new(self.all_ranges())),
                Place::Countries { or_unknown, .. } => {
                    Place::Countries { codes: self.all_codes(), or_unknown: *or_unknown }
                }
                place => place.clone(),
            };
            statements.push(at(since, Some(Location { trusted: *trusted, place })));
        }
        statements
    }
}

fn sorted<'e, T: 'e>(entries: impl Iterator<Item = (&'e ObjectKey, T)>) -> Vec<(&'e ObjectKey, T)> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_cached_key(|(id, _)| id.to_string());
    entries
}
