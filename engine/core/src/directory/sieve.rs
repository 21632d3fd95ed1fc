//! Which policies could matter to a token, in a few words instead of one by one.
//!
//! Most tokens meet no policy that says anything new about them: it is about somebody else, about another
//! resource, does not match here, or asked at the sign-in already what it asks now. Of each such property
//! there is one bit for each policy, sixty-four policies to a word, and what a token and its address choose
//! of them is a handful of words more. What falls through is looked at policy by policy
//! ([`crate::evaluate`]), which alone decides.
//!
//! INVARIANT: a policy that is held back would change nothing about a survey. Debug builds go through all
//! policies as well, and compare.

use super::{Chosen, Compiled, Standing};
use crate::ids::{Form, ObjectKey};
use crate::policy::{Applications, Evaluation, Grant, PolicyMode};
use crate::time::UnixMillis;

/// The policies of a view, by their properties.
#[derive(Default)]
pub(crate) struct Sieve {
    blocks: Vec<Block>,
    /// For each location, the policies of each block that name it.
    places: Vec<Named>,
    /// For each application that a policy names, the same; in the order of the keys.
    applications: Vec<(ObjectKey, Vec<Named>)>,
    /// The policies that take their subjects out of CAE's scope (P1).
    pub(crate) exempting: Vec<usize>,
}

/// Policies that include something, and that exclude it, as the bits of their numbers within a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Named {
    include: u64,
    exclude: u64,
}

/// One of the words.
type Side = fn(&mut Named) -> &mut u64;

/// Sixty-four policies. Each word has the bits of those of which it is true.
#[derive(Clone, Default)]
struct Block {
    enabled: u64,
    /// They may include somebody whom nothing names.
    anybody: u64,
    /// They include somebody who is named.
    somebody: u64,
    /// The same of workload identities.
    any_workload: u64,
    some_workload: u64,
    all_applications: Named,
    /// They name an application.
    names_applications: Named,
    /// They name something that can't be told from a resource's ids.
    loose: Named,
    /// They have a location condition.
    placed: u64,
    all_places: Named,
    /// They may not be enforceable, whoever asks.
    plain: u64,
    /// They demand more, which matters where they did not at the sign-in.
    asks_more: u64,
    /// They say something whenever they apply.
    speaks: u64,
    /// When one that demands more changed last.
    changed: UnixMillis,
}

/// What is known of a token before policies are looked at.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, none of them a state")]
pub(crate) struct Sample {
    pub(crate) is_workload: bool,
    /// Something names the subject.
    pub(crate) is_named: bool,
    /// Policies that are only reported count as well.
    pub(crate) reports: bool,
    pub(crate) without_locations: bool,
    /// Whether a policy with a location condition counts for being one.
    pub(crate) minds_places: bool,
    /// Whether the resource's applications are not told.
    pub(crate) is_untold: bool,
    /// The second of the token's issue: what changed since may be news.
    pub(crate) issued_at: i64,
    /// When a membership of the subject changed last.
    pub(crate) moved: UnixMillis,
}

impl Sieve {
    /// The sieve of these policies.
    pub(super) fn new(
        policies: &[Standing],
        trusted: &[u32],
        locations: usize,
        is_known: impl Fn(u32) -> bool,
    ) -> Self {
        let count = policies.len().div_ceil(64);
        let mut sieve = Self {
            blocks: vec![Block::default(); count],
            places: vec![Named::default(); count * locations],
            applications: Vec::new(),
            exempting: Vec::new(),
        };
        for (number, standing) in policies.iter().enumerate() {
            let (at, bit) = (number / 64, 1 << (number % 64));
            if let Some(block) = sieve.blocks.get_mut(at) {
                block.put(bit, standing, &is_known);
            }
            let policy = &standing.policy;
            let place = |location: u32| location as usize * count + at;
            let lists = policy.places.iter().flat_map(|(include, exclude)| {
                [(include, Named::include as Side), (exclude, Named::exclude)]
            });
            for (list, side) in lists {
                let trusted = trusted.iter().filter(|_| list.all_trusted);
                for location in list.numbers.iter().chain(trusted) {
                    if let Some(named) = sieve.places.get_mut(place(*location)) {
                        *side(named) |= bit;
                    }
                }
            }
            let applications = &policy.applications;
            for (names, side) in [
                (&applications.include, Named::include as Side),
                (&applications.exclude, Named::exclude),
            ] {
                for name in names {
                    if let Some(named) = sieve.application(*name, count).get_mut(at) {
                        *side(named) |= bit;
                    }
                }
            }
            if policy.evaluation == Evaluation::Disabled
                && policy.places.is_none()
                && standing.is_enforceable
                && is_everything(applications)
            {
                sieve.exempting.push(number);
            }
        }
        sieve
    }

    fn application(&mut self, name: ObjectKey, blocks: usize) -> &mut [Named] {
        let found = self.applications.binary_search_by_key(&name, |(known, _)| *known);
        let place = found.unwrap_or_else(|place| {
            self.applications.insert(place, (name, vec![Named::default(); blocks]));
            place
        });
        self.applications.get_mut(place).map_or(&mut [], |(_, named)| named)
    }

    /// How many blocks of policies there are.
    pub(crate) const fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Whether any policy names an application.
    pub(crate) const fn names_applications(&self) -> bool {
        !self.applications.is_empty()
    }

    /// The policies of a block that name a location.
    #[inline]
    pub(crate) fn of_place(&self, block: usize, location: u32) -> Named {
        let place = location as usize * self.blocks.len() + block;
        self.places.get(place).copied().unwrap_or_default()
    }

    /// The policies of a block that name an application.
    pub(crate) fn of_application(&self, block: usize, name: ObjectKey) -> Named {
        let found = self.applications.binary_search_by_key(&name, |(known, _)| *known).ok();
        let named = found.and_then(|place| self.applications.get(place)?.1.get(block));
        named.copied().unwrap_or_default()
    }

    /// The policies of a block that could matter, as bits of their numbers within it. `here` and
    /// `at_sign_in` are those that name the locations of both addresses, `applications` those that name the
    /// resource's; where the identity provider's address is not known, `at_sign_in` is `None`.
    #[inline]
    pub(crate) fn sift(
        &self,
        block: usize,
        sample: &Sample,
        here: Named,
        at_sign_in: Option<Named>,
        applications: Named,
    ) -> u64 {
        let Some(block) = self.blocks.get(block) else { return 0 };
        let counted = if sample.reports { u64::MAX } else { block.enabled };
        let (anybody, somebody) = if sample.is_workload {
            (block.any_workload, block.some_workload)
        } else {
            (block.anybody, block.somebody)
        };
        let who = anybody | if sample.is_named { somebody } else { 0 };
        let untold = |names: u64| if sample.is_untold { names } else { 0 };
        let included = block.all_applications.include | applications.include;
        let may_include = block.loose.include | untold(block.names_applications.include);
        let excluded = block.all_applications.exclude | applications.exclude;
        let may_exclude = block.loose.exclude | untold(block.names_applications.exclude);
        let what = (included | may_include) & !excluded;
        let unsure = (may_include & !included) | may_exclude;

        let matches = |named: Named| {
            let included = block.all_places.include | named.include;
            included & !(block.all_places.exclude | named.exclude)
        };
        let placed = block.placed;
        let applies = !placed | matches(here);
        let asked_before = at_sign_in.map_or(u64::MAX, matches);
        let since = |at: UnixMillis| sample.issued_at <= at.floor_to_second().as_seconds();
        let is_news =
            since(block.changed) || (sample.moved > UnixMillis::ZERO && since(sample.moved));
        let news = if is_news { block.asks_more } else { placed & block.asks_more & !asked_before };
        let speaks = block.plain | unsure | (applies & (block.speaks | news));

        let without_sign_in = if at_sign_in.is_none() { placed & block.asks_more } else { 0 };
        let minded = sample.without_locations || sample.minds_places;
        let for_its_place = without_sign_in | if minded { placed } else { 0 };
        counted & who & what & (speaks | for_its_place)
    }
}

impl Named {
    const fn include(&mut self) -> &mut u64 {
        &mut self.include
    }

    const fn exclude(&mut self) -> &mut u64 {
        &mut self.exclude
    }

    /// Those that name either.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self { include: self.include | other.include, exclude: self.exclude | other.exclude }
    }
}

impl Block {
    /// Puts one policy among the others.
    fn put(&mut self, bit: u64, standing: &Standing, is_known: impl Fn(u32) -> bool) {
        let Standing { policy, changed, is_enforceable } = standing;
        let Compiled {
            id: _,
            mode,
            include,
            exclude,
            workloads_all,
            workloads_include,
            workloads_exclude: _,
            applications,
            places,
            narrowed: _,
            grant,
            frequency,
            evaluation,
        } = &**policy;
        let set = |word: &mut u64, holds: bool| *word |= if holds { bit } else { 0 };
        set(&mut self.enabled, *mode == PolicyMode::Enabled);

        let is_vague = |chosen: &Chosen| {
            chosen.groups.iter().chain(&chosen.roles).any(|(number, _)| !is_known(*number))
        };
        set(&mut self.anybody, include.all || include.guests || is_vague(include));
        set(&mut self.somebody, true);
        set(&mut self.any_workload, *workloads_all);
        set(&mut self.some_workload, !workloads_include.is_empty());

        let Applications { all, include: named, exclude_all, exclude: unnamed, user_action } =
            applications;
        let is_loose = |names: &[ObjectKey]| names.iter().any(|name| name.form != Form::Guid);
        set(&mut self.all_applications.include, *all);
        set(&mut self.all_applications.exclude, *exclude_all);
        set(&mut self.names_applications.include, !named.is_empty());
        set(&mut self.names_applications.exclude, !unnamed.is_empty());
        set(&mut self.loose.include, *user_action || is_loose(named));
        set(&mut self.loose.exclude, is_loose(unnamed));

        set(&mut self.placed, places.is_some());
        if let Some((inside, outside)) = places {
            set(&mut self.all_places.include, inside.all);
            set(&mut self.all_places.exclude, outside.all);
        }
        set(&mut self.plain, !is_enforceable || is_vague(include) || is_vague(exclude));
        let asks_more = matches!(grant, Grant::Other | Grant::CompliantDevice);
        set(&mut self.asks_more, asks_more);
        let speaks = matches!(grant, Grant::Block | Grant::CompliantDevice)
            || frequency.is_some()
            || *evaluation == Evaluation::Strict;
        set(&mut self.speaks, speaks);
        if asks_more {
            self.changed = self.changed.max(*changed);
        }
    }
}

/// Whether a policy targets all resources.
fn is_everything(applications: &Applications) -> bool {
    let Applications { all, include: _, exclude_all, exclude, user_action } = applications;
    *all && !exclude_all && exclude.is_empty() && !user_action
}
