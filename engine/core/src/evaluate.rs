//! Which policies apply to a token, and what they say (P1 to P9).
//!
//! What can't be known is neither yes nor no ([`Known`]), so that a policy about somebody who may or
//! may not belong to a group decides nothing, but shortens the life of tokens (P6).
//!
//! Of the policies only those are looked at that could matter ([`crate::directory::sieve`]), once for all tokens
//! that pass; all of them only where one refuses. Nothing here allocates.

use std::net::IpAddr;
use std::time::Duration;

use crate::directory::sieve::{Named, Sample};
use crate::directory::{Chosen, Directory, SeenAt, Standing, View};
use crate::ids::{Form, Id, ObjectKey};
use crate::index::sets::Side;
use crate::policy::{Applications, Evaluation, Grant, Incapable, Mode, PolicyMode};
use crate::request::{Seen, Texts, Token};
use crate::row::SubjectRow;
use crate::rules::{LocationClass, Profile};
use crate::time::UnixMillis;

/// Yes, no, or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    No,
    Unknown,
    Yes,
}

impl Known {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Included, and not excluded.
    fn but_not(self, excluded: Self) -> Self {
        match (self, excluded) {
            (Self::No, _) | (_, Self::Yes) => Self::No,
            (Self::Yes, Self::No) => Self::Yes,
            _ => Self::Unknown,
        }
    }
}

/// Which policies count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Those that are enabled.
    Enforced,
    /// And those that are only reported.
    Reported,
}

impl Counting {
    fn counts(self, standing: &Standing) -> bool {
        self == Self::Reported || standing.policy.mode == PolicyMode::Enabled
    }
}

/// A token before the policies of its tenant.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) view: &'a View,
    pub(crate) token: &'a Token<'a>,
    pub(crate) profile: &'a Profile,
    /// The user's number, where anything names the user.
    pub(crate) number: Option<u32>,
    /// When a membership of the user changed last.
    moved: UnixMillis,
    pub(crate) seen_at: SeenAt<'a>,
    /// The address that the identity provider saw.
    pub(crate) signed_in_at: Option<SeenAt<'a>>,
    /// Whether location policies are left out whole.
    pub(crate) without_locations: bool,
}

/// What all policies together say of a token.
#[expect(clippy::struct_excessive_bools, reason = "independent answers, none of them a state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// A policy in whose reach the token is can't be enforced here (P6).
    pub(crate) is_plain: bool,
    /// A location policy was left out.
    pub(crate) left_out: bool,
    /// A location policy may apply; told only of resources for which that counts.
    has_places: bool,
    pub(crate) is_strict: bool,
    pub(crate) needs_compliance: bool,
    /// The shortest sign-in frequency.
    pub(crate) frequency: Option<Duration>,
    /// Something refuses, or could: the policies are worth a second look.
    pub(crate) refuses: bool,
}

/// A policy that applies now.
pub(crate) struct Applying<'a> {
    pub(crate) standing: &'a Standing,
    /// Whether it would have applied at the address that the identity provider saw.
    pub(crate) at_sign_in: Option<bool>,
}

/// How one policy stands to a token.
pub(crate) enum Stance<'a> {
    Irrelevant,
    LeftOut,
    NotEnforceable,
    Elsewhere,
    Applies(Applying<'a>),
}

impl<'a> Subject<'a> {
    /// The token of a user; `named` finds what is kept of whom something names.
    #[inline]
    pub(crate) fn new(
        directory: &'a Directory,
        token: &'a Token<'a>,
        profile: &'a Profile,
        seen: Seen,
        named: impl FnOnce() -> Option<&'a SubjectRow>,
    ) -> Self {
        let view = directory.view();
        let address = match seen {
            Seen::At(address) => Some(address),
            Seen::Unknown | Seen::NoneByNature => None,
        };
        let without_locations =
            seen == Seen::NoneByNature || profile.location == LocationClass::Unsupported;
        let (seen_at, signed_in_at) =
            (view.seen(address), token.address.map(|address| view.seen(Some(address))));
        let named = named();
        Self {
            directory,
            view,
            token,
            profile,
            number: named.map(|row| row.number),
            moved: named.map_or(UnixMillis::ZERO, |row| row.moved),
            seen_at,
            signed_in_at,
            without_locations,
        }
    }

    /// The address that is seen now.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        self.seen_at.address
    }

    /// Whether the token is in CAE's scope (P1, P9), where these policies count.
    pub(crate) fn scope(&self, counting: Counting) -> Known {
        if self.view.mode == Mode::Off {
            return Known::No;
        }
        let only = self.view.only.as_ref();
        let mut scope = only.map_or(Known::Yes, |only| self.is_one_of(only, Side::Include));
        scope = scope.but_not(self.is_one_of(&self.view.except, Side::Exclude));
        let exempting = self.view.sieve.exempting.iter();
        let exempting = exempting.filter_map(|number| self.view.policies.get(*number));
        for standing in exempting.filter(|standing| counting.counts(standing)) {
            scope = scope.but_not(self.is_subject(standing));
        }
        scope
    }

    /// What a tenant without words would do with clients that are not capable.
    pub(crate) fn honours_incapable(&self) -> bool {
        self.view.incapable == Incapable::Lifetime && self.profile.incapable == Incapable::Lifetime
    }

    /// Goes through the policies that could matter.
    pub(crate) fn survey(&mut self, counting: Counting) -> Survey {
        let mut survey = self.survey_once(counting);
        // Without strict mode such a resource does not look at addresses, and its tokens live shorter
        // for it.
        if self.profile.location == LocationClass::WhenStrict
            && !self.without_locations
            && !survey.is_strict
        {
            let had_places = survey.has_places;
            self.without_locations = true;
            survey = self.survey_once(counting);
            survey.is_plain |= had_places;
        }
        survey
    }

    fn survey_once(&self, counting: Counting) -> Survey {
        let mut survey = self.blank();
        let (view, sieve) = (self.view, &self.view.sieve);
        let named = sieve.names_applications();
        let sample = Sample {
            is_workload: self.token.is_workload,
            is_named: self.number.is_some(),
            reports: counting == Counting::Reported,
            without_locations: self.without_locations,
            minds_places: self.profile.location == LocationClass::WhenStrict,
            is_untold: named && self.told().next().is_none(),
            issued_at: self.token.issued_at.unwrap_or(i64::MAX),
            moved: self.moved,
        };
        for block in 0..sieve.blocks() {
            let mut applications = Named::default();
            if named {
                let told = self.told().map(|name| sieve.of_application(block, name));
                applications = told.fold(applications, Named::or);
            }
            let here = self.seen_at.named(block);
            let at_sign_in = self.signed_in_at.map(|at| at.named(block));
            let mut left = sieve.sift(block, &sample, here, at_sign_in, applications);
            while left != 0 {
                let number = block * 64 + left.trailing_zeros() as usize;
                if let Some(standing) = view.policies.get(number) {
                    self.survey_one(&mut survey, standing);
                }
                left &= left - 1;
            }
        }
        debug_assert_eq!(
            Survey { has_places: false, ..survey },
            Survey { has_places: false, ..self.survey_all(counting) },
            "the sieve held something back"
        );
        survey
    }

    /// The applications that the resource is, or belongs to, as far as that is told.
    fn told(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        let applications = self.profile.applications.as_slice();
        let audiences = self.token.audiences.iter().filter(|_| applications.is_empty());
        let keys = audiences.filter_map(|text| Id::parse(text).ok()).map(Id::key);
        // An audience that is a URL does not tell the application.
        applications.iter().copied().chain(keys.filter(|key| key.form == Form::Guid))
    }

    /// What the sieve is held against.
    fn survey_all(&self, counting: Counting) -> Survey {
        let mut survey = self.blank();
        for standing in self.counted(counting) {
            self.survey_one(&mut survey, standing);
        }
        survey
    }

    /// A survey of no policies.
    fn blank(&self) -> Survey {
        Survey { is_strict: self.profile.strict || self.view.strict, ..Survey::default() }
    }

    /// Adds what one policy says.
    fn survey_one(&self, survey: &mut Survey, standing: &'a Standing) {
        let policy = &standing.policy;
        let stance = self.stance(standing);
        survey.has_places |=
            policy.places.is_some() && !matches!(stance, Stance::Irrelevant | Stance::LeftOut);
        match stance {
            Stance::Irrelevant | Stance::Elsewhere => {}
            Stance::LeftOut => survey.left_out = true,
            Stance::NotEnforceable => survey.is_plain = true,
            Stance::Applies(applying) => {
                survey.is_strict |= policy.evaluation == Evaluation::Strict;
                survey.needs_compliance |= policy.grant == Grant::CompliantDevice;
                survey.frequency = match (survey.frequency, policy.frequency) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
                survey.refuses |= match policy.grant {
                    Grant::None => false,
                    Grant::Block => true,
                    Grant::Other | Grant::CompliantDevice => {
                        applying.at_sign_in == Some(false) || self.is_newer_than_token(&applying)
                    }
                };
            }
        }
    }

    /// Whether a policy may have changed since the token was issued. The exact comparison is the
    /// decision's.
    fn is_newer_than_token(&self, applying: &Applying<'_>) -> bool {
        let issued_at = self.token.issued_at.unwrap_or(i64::MAX);
        let newer = |at: UnixMillis| issued_at <= at.floor_to_second().as_seconds();
        newer(applying.standing.changed)
            || self
                .number
                .and_then(|number| applying.standing.came_under(self.directory, number))
                .is_some_and(newer)
    }

    /// The policies that apply now.
    pub(crate) fn applying(&self, counting: Counting) -> impl Iterator<Item = Applying<'a>> + '_ {
        self.counted(counting).filter_map(|standing| match self.stance(standing) {
            Stance::Applies(applying) => Some(applying),
            _ => None,
        })
    }

    pub(crate) fn counted(&self, counting: Counting) -> impl Iterator<Item = &'a Standing> + 'a {
        self.view.policies.iter().filter(move |standing| counting.counts(standing))
    }

    pub(crate) fn stance(&self, standing: &'a Standing) -> Stance<'a> {
        let policy = &standing.policy;
        let subject = self.is_subject(standing);
        let resource = self.is_resource(&policy.applications);
        if subject == Known::No || resource == Known::No {
            return Stance::Irrelevant;
        }
        if policy.places.is_some() && self.without_locations {
            return Stance::LeftOut;
        }
        let asks_more = matches!(policy.grant, Grant::Other | Grant::CompliantDevice);
        if subject == Known::Unknown
            || resource == Known::Unknown
            || !standing.is_enforceable
            || (policy.places.is_some() && asks_more && self.signed_in_at.is_none())
        {
            return Stance::NotEnforceable;
        }
        let Some(places) = &policy.places else {
            return Stance::Applies(Applying { standing, at_sign_in: None });
        };
        if !self.seen_at.matches(places) {
            return Stance::Elsewhere;
        }
        let at_sign_in = self.signed_in_at.map(|at| at.matches(places));
        Stance::Applies(Applying { standing, at_sign_in })
    }

    /// Whether the policy is about this user or workload identity (P3).
    pub(crate) fn is_subject(&self, standing: &Standing) -> Known {
        let policy = &standing.policy;
        if self.token.is_workload {
            let is_in = |set: &roaring::RoaringBitmap| self.number.is_some_and(|n| set.contains(n));
            let included = policy.workloads_all || is_in(&policy.workloads_include);
            return Known::of(included).but_not(Known::of(is_in(&policy.workloads_exclude)));
        }
        let included = self.is_one_of(&policy.include, Side::Include);
        if included == Known::No {
            return Known::No;
        }
        included.but_not(self.is_one_of(&policy.exclude, Side::Exclude))
    }

    fn is_one_of(&self, chosen: &Chosen, side: Side) -> Known {
        let Chosen { all, guests, users, groups, roles } = chosen;
        let is_user = !self.token.is_workload;
        if (*all && is_user)
            || (*guests && self.token.is_guest)
            || self.number.is_some_and(|number| users.contains(number))
        {
            return Known::Yes;
        }
        let groups = groups.iter().map(|group| self.is_member(*group, self.token.groups, side));
        let roles = roles.iter().map(|role| self.is_member(*role, self.token.roles, side));
        groups.chain(roles).max().unwrap_or(Known::No)
    }

    /// P4: by events where the group has a baseline, else by the token.
    fn is_member(&self, group: (u32, ObjectKey), claim: Option<Texts<'_>>, side: Side) -> Known {
        let (number, id) = group;
        if let Some(group) = self.directory.group(number)
            && group.members.is_known()
        {
            return Known::of(
                self.number.is_some_and(|subject| group.members.contains(subject, side)),
            );
        }
        let is_it = |text| Id::parse(text).is_ok_and(|named| named.key() == id);
        claim.map_or(Known::Unknown, |claim| Known::of(claim.iter().any(is_it)))
    }

    /// Whether the policy is about this resource (P3): by the profile, else by the token's audience.
    pub(crate) fn is_resource(&self, applications: &Applications) -> Known {
        let Applications { all, include, exclude_all, exclude, user_action } = applications;
        let mut included = Known::of(*all).max(self.is_named(include));
        if *user_action {
            included = included.max(Known::Unknown);
        }
        included.but_not(Known::of(*exclude_all).max(self.is_named(exclude)))
    }

    fn is_named(&self, names: &[ObjectKey]) -> Known {
        let is_it = |name: &ObjectKey| {
            if self.profile.applications.is_empty() {
                let audiences = self.token.audiences.iter();
                let keys = audiences.filter_map(|text| Id::parse(text).ok()).map(Id::key);
                let mut guids = keys.filter(|key| key.form == Form::Guid).peekable();
                // An audience that is a URL does not tell the application.
                let is_told = guids.peek().is_some();
                if guids.any(|key| key == *name) {
                    Known::Yes
                } else if is_told && name.form == Form::Guid {
                    Known::No
                } else {
                    Known::Unknown
                }
            } else if self.profile.applications.contains(name) {
                Known::Yes
            } else if name.form == Form::Guid {
                Known::No
            } else {
                // A group of applications that nobody told of.
                Known::Unknown
            }
        };
        names.iter().map(is_it).max().unwrap_or(Known::No)
    }
}
