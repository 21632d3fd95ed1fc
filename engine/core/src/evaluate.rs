//! Which policies apply to a token, and what they say (P1 to P9).
//!
//! What can't be known is neither yes nor no ([`Known`]), so that a policy about somebody who may or
//! may not belong to a group decides nothing, but shortens the life of tokens (P6).
//!
//! Policies are gone through once, for all tokens that pass; a second time only where one of them
//! refuses. Nothing here allocates.

use std::net::IpAddr;
use std::time::Duration;

use crate::directory::{Chosen, Directory, SeenAt, Standing, View};
use crate::ids::{Form, Id, ObjectKey};
use crate::index::sets::Side;
use crate::policy::{Applications, Evaluation, Grant, Incapable, Mode, PolicyMode};
use crate::request::{Seen, Token};
use crate::rules::{LocationClass, Profile};

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

/// A token before the policies of its tenant.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) view: &'a View,
    pub(crate) token: &'a Token<'a>,
    pub(crate) profile: &'a Profile,
    /// The user's number, where anything names the user.
    pub(crate) number: Option<u32>,
    pub(crate) seen_at: SeenAt<'a>,
    /// The address that the identity provider saw.
    pub(crate) signed_in_at: Option<SeenAt<'a>>,
    /// Whether location policies are left out whole.
    pub(crate) without_locations: bool,
}

/// What all policies together say of a token.
#[expect(clippy::struct_excessive_bools, reason = "independent answers, none of them a state")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Survey {
    /// A policy in whose reach the token is can't be enforced here (P6).
    pub(crate) is_plain: bool,
    /// A location policy was left out.
    pub(crate) left_out: bool,
    /// A location policy may apply.
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
    /// The token of a user with this number.
    pub(crate) fn new(
        directory: &'a Directory,
        number: Option<u32>,
        token: &'a Token<'a>,
        profile: &'a Profile,
        seen: Seen,
    ) -> Self {
        let view = directory.view();
        let address = match seen {
            Seen::At(address) => Some(address),
            Seen::Unknown | Seen::NoneByNature => None,
        };
        let without_locations =
            seen == Seen::NoneByNature || profile.location == LocationClass::Unsupported;
        Self {
            directory,
            view,
            token,
            profile,
            number,
            seen_at: view.seen(address),
            signed_in_at: token.address.map(|address| view.seen(Some(address))),
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
        for standing in self.counted(counting) {
            let policy = &standing.policy;
            if policy.evaluation == Evaluation::Disabled
                && policy.places.is_none()
                && standing.is_enforceable
                && is_everything(&policy.applications)
            {
                scope = scope.but_not(self.is_subject(standing));
            }
        }
        scope
    }

    /// What a tenant without words would do with clients that are not capable.
    pub(crate) fn honours_incapable(&self) -> bool {
        self.view.incapable == Incapable::Lifetime && self.profile.incapable == Incapable::Lifetime
    }

    /// Goes through all policies.
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
        let mut survey =
            Survey { is_strict: self.profile.strict || self.view.strict, ..Survey::default() };
        for standing in self.counted(counting) {
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
                            applying.at_sign_in == Some(false)
                                || self.is_newer_than_token(&applying)
                        }
                    };
                }
            }
        }
        survey
    }

    /// Whether a policy may have changed since the token was issued. The exact comparison is the
    /// decision's.
    fn is_newer_than_token(&self, applying: &Applying<'_>) -> bool {
        let issued_at = self.token.issued_at.unwrap_or(i64::MAX);
        let newer = |at: crate::time::UnixMillis| issued_at <= at.floor_to_second().as_seconds();
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
        self.view.policies.iter().filter(move |standing| {
            counting == Counting::Reported || standing.policy.mode == PolicyMode::Enabled
        })
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
    fn is_member(&self, group: (u32, ObjectKey), claim: Option<&[String]>, side: Side) -> Known {
        let (number, id) = group;
        if let Some(group) = self.directory.group(number)
            && group.members.is_known()
        {
            return Known::of(
                self.number.is_some_and(|subject| group.members.contains(subject, side)),
            );
        }
        let is_it = |text: &String| Id::parse(text).is_ok_and(|named| named.key() == id);
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

/// Whether a policy targets all resources.
fn is_everything(applications: &Applications) -> bool {
    let Applications { all, include: _, exclude_all, exclude, user_action } = applications;
    *all && !exclude_all && exclude.is_empty() && !user_action
}
