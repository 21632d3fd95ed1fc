//! What is known of a tenant's directory: policies, locations, groups, settings.
//!
//! Everything here is kept by object, whichever source told it: a directory is one, and of several words
//! about it the newest counts (E9, E10). A tenant of which nothing of this was told has no directory.
//!
//! A [`View`] is what decisions read: policies with the time since when they stand so, and the index
//! over all ranges of all locations. It is made anew when something else than a membership has changed, or a
//! group's members have become known,
//! right before a snapshot is taken. The index of many ranges takes longer than other tenants' events
//! may wait: it is compiled apart ([`Compilation`]), and until it is there, the locations that it does
//! not know yet are searched one by one. So an answer never depends on when it comes.

pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod sieve;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use self::sieve::{Named, Sieve};
use crate::countries::{Countries, Country, CountrySet};
use crate::ids::{Name, ObjectKey};
use crate::index::names::Number;
use crate::index::ranges::{Covering, RangeIndex, RangeSet};
use crate::index::sets::{Change, Members, Side};
use crate::index::slots::Slots;
use crate::limits;
use crate::policy::{
    Applications, Body, Evaluation, Frequency, Grant, Incapable, Location, Membership, Mode,
    Persons, Place, PlaceList, Policy, PolicyMode, Selected, Settings,
};
use crate::state::Joined;
use crate::time::UnixMillis;
use crate::version::{Offered, Stamp, Versions, oldest};

/// Everything told of one tenant's directory.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    /// How many subjects of the tenant have a number.
    pub(crate) subjects: u32,
    settings: Arc<Versions<Option<Arc<Settings>>>>,
    policies: Arc<BTreeMap<ObjectKey, PolicySlot>>,
    locations: Arc<Vec<LocationSlot>>,
    location_numbers: Arc<HashMap<ObjectKey, u32>>,
    groups: Slots<Group>,
    group_numbers: Arc<HashMap<ObjectKey, u32>>,
    /// Whether the view is out of date.
    stale: bool,
    view: Arc<View>,
}

/// A policy: its versions, and the one in force with numbers instead of ids.
#[derive(Clone, Default)]
struct PolicySlot {
    versions: Versions<Option<Arc<Policy>>>,
    compiled: Option<Arc<Compiled>>,
    title: Title,
}

/// What people call something.
#[derive(Clone, Default)]
struct Title(Arc<str>);

impl Title {
    /// Takes the name that comes with the version in force, which is of this time.
    fn take(&mut self, told: &Told<'_>, joined: Joined, in_force: Option<Stamp>) {
        let is_in_force = in_force.is_some_and(|stamp| stamp.at == told.offered.at);
        if joined != Joined::Lower && is_in_force {
            self.0 = told.title.into();
        }
    }
}

/// A location, or the MFA-trusted ranges ([`MFA_TRUSTED`]).
#[derive(Clone, Default)]
struct LocationSlot {
    versions: Versions<Option<Location>>,
    title: Title,
}

/// A group or a role.
#[derive(Clone, Default)]
pub(crate) struct Group {
    baselines: Versions<Arc<RoaringBitmap>>,
    pub(crate) members: Members,
    appended: UnixMillis,
}

/// What decisions read beside groups.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) mode: Mode,
    pub(crate) only: Option<Chosen>,
    pub(crate) except: Chosen,
    pub(crate) strict: bool,
    pub(crate) incapable: Incapable,
    /// Policies that are enabled or reported, in the order of their ids.
    pub(crate) policies: Vec<Standing>,
    /// Which of them could matter to a token.
    pub(crate) sieve: Sieve,
    /// Whether any of them is only reported.
    pub(crate) reports: bool,
    /// The locations that `AllTrusted` means.
    trusted: Vec<u32>,
    index: Arc<Indexed>,
    /// Locations of which the index knows another version, with their ranges now.
    unindexed: Vec<(u32, Vec<Arc<RangeSet>>)>,
    /// Locations that are told by countries, where there is a database to tell those.
    countries: Option<ByCountry>,
}

/// Locations that are told by countries.
struct ByCountry {
    database: Arc<Countries>,
    locations: Vec<(u32, CountrySet)>,
}

/// The ranges of every location as they were at some moment.
#[derive(Default)]
struct Indexed {
    ranges: RangeIndex,
    /// The version of each location.
    versions: Vec<Option<Stamp>>,
}

/// What `AllTrusted` means.
struct AllTrusted {
    /// Its newest change (P8).
    changed: UnixMillis,
    /// Whether every location that is trusted, and what MFA trusts, has ranges (P6).
    is_known: bool,
}

/// A policy in force.
pub(crate) struct Standing {
    pub(crate) policy: Arc<Compiled>,
    /// The newest change of the policy or of a location that it names (P8).
    pub(crate) changed: UnixMillis,
    /// Whether nothing in it is unknown but, perhaps, who belongs to a group (P6).
    pub(crate) is_enforceable: bool,
}

/// A policy with numbers instead of ids.
pub(crate) struct Compiled {
    pub(crate) id: Name,
    pub(crate) mode: PolicyMode,
    pub(crate) include: Chosen,
    pub(crate) exclude: Chosen,
    pub(crate) workloads_all: bool,
    pub(crate) workloads_include: RoaringBitmap,
    pub(crate) workloads_exclude: RoaringBitmap,
    pub(crate) applications: Applications,
    pub(crate) places: Option<(PlaceNumbers, PlaceNumbers)>,
    narrowed: bool,
    pub(crate) grant: Grant,
    pub(crate) frequency: Option<Duration>,
    pub(crate) evaluation: Evaluation,
}

/// Persons with numbers instead of ids.
#[derive(Clone, Default)]
pub(crate) struct Chosen {
    pub(crate) all: bool,
    pub(crate) guests: bool,
    pub(crate) users: RoaringBitmap,
    /// Numbers of groups, with the ids by which tokens name them.
    pub(crate) groups: Vec<(u32, ObjectKey)>,
    pub(crate) roles: Vec<(u32, ObjectKey)>,
}

/// Locations by number.
pub(crate) struct PlaceNumbers {
    pub(crate) all: bool,
    pub(crate) all_trusted: bool,
    pub(crate) numbers: Vec<u32>,
}

/// What kind of thing a directory holds.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    Settings,
    Policy,
    Location,
    MfaTrusted,
    Group,
}

/// A version in force.
pub(crate) struct InForce {
    pub(crate) kind: Kind,
    /// Of what; settings and MFA-trusted ranges have none.
    pub(crate) id: Option<ObjectKey>,
    pub(crate) stamp: Stamp,
    /// Since when its content has stood so.
    pub(crate) since: UnixMillis,
    /// Since when what it adds to the trusted addresses has stood so.
    pub(crate) trusted_since: Option<UnixMillis>,
}

/// The place of the MFA-trusted ranges among the locations.
const MFA_TRUSTED: u32 = 0;

/// The ranges of a tenant's locations, to be compiled where nobody waits for it.
pub struct Compilation {
    tenant: Number,
    versions: Vec<Option<Stamp>>,
    sets: Vec<(u32, Arc<RangeSet>)>,
}

/// The index that came of it.
pub struct CompiledRanges {
    tenant: Number,
    index: Arc<Indexed>,
}

impl Compilation {
    /// Whether both are of one tenant.
    pub(crate) const fn is_of_the_tenant_of(&self, other: &Self) -> bool {
        self.tenant == other.tenant
    }

    /// Compiles.
    pub fn run(self) -> CompiledRanges {
        let Self { tenant, versions, sets } = self;
        let ranges = RangeIndex::new(sets.iter().map(|(number, set)| (*number, &**set)));
        CompiledRanges { tenant, index: Arc::new(Indexed { ranges, versions }) }
    }
}

impl CompiledRanges {
    /// Whose ranges.
    pub(crate) const fn tenant(&self) -> Number {
        self.tenant
    }
}

/// Gives numbers to subjects.
pub(crate) type Intern<'i> = dyn FnMut(&mut u32, ObjectKey) -> u32 + 'i;

/// A version, as a record brings it.
pub(crate) struct Told<'e> {
    pub(crate) body: &'e Body,
    pub(crate) title: &'e str,
    pub(crate) offered: Offered<'e, ()>,
    pub(crate) horizon: Duration,
}

impl<'e> Told<'e> {
    fn offer<T>(&self, value: T, trusted: bool) -> Offered<'e, T> {
        let Offered { part, at, hash, trusted: _, value: (), appended } = self.offered;
        Offered { part, at, hash, trusted, value, appended }
    }
}

fn in_force<T: Clone>(
    kind: Kind,
    id: Option<ObjectKey>,
    versions: &Versions<T>,
) -> Option<InForce> {
    let trusted_since = versions.trusted_since();
    Some(InForce { kind, id, stamp: versions.stamp()?, since: versions.since()?, trusted_since })
}

impl Directory {
    /// Joins a version, or a part of one.
    pub(crate) fn put(&mut self, told: &Told<'_>, intern: &mut Intern<'_>) -> Joined {
        let horizon = told.horizon;
        let joined = match told.body {
            Body::Policy(id, policy) => {
                let offered = told.offer(policy.clone(), false);
                let policies = Arc::make_mut(&mut self.policies);
                let slot = policies.entry(*id).or_default();
                let joined = slot.versions.join(offered, horizon);
                slot.title.take(told, joined, slot.versions.stamp());
                let policy =
                    slot.versions.parts().iter().map(Option::as_deref).collect::<Option<Vec<_>>>();
                let policy = policy.and_then(|parts| Policy::joined(&parts));
                if joined == Joined::Raised {
                    let compiled = policy.map(|policy| Arc::new(self.compile(&policy, intern)));
                    if let Some(slot) = Arc::make_mut(&mut self.policies).get_mut(id) {
                        slot.compiled = compiled;
                    }
                }
                joined
            }
            Body::Location(id, location) => {
                let trusted = location.as_ref().is_some_and(|location| location.trusted);
                let number = self.location(*id);
                self.put_location(number, told, told.offer(location.clone(), trusted))
            }
            Body::MfaTrusted(ranges) => {
                let location = ranges
                    .clone()
                    .map(|ranges| Location { trusted: true, place: Place::Ranges(ranges) });
                let trusted = location.is_some();
                self.put_location(MFA_TRUSTED, told, told.offer(location, trusted))
            }
            Body::Settings(settings) => {
                let offered = told.offer(settings.clone(), false);
                Arc::make_mut(&mut self.settings).join(offered, horizon)
            }
            Body::Group(id, members) => {
                let subjects = &mut self.subjects;
                let members = members.iter().map(|member| intern(subjects, *member)).collect();
                let offered = told.offer(Arc::new(members), false);
                let number = self.group_number(*id);
                self.stale |= self.groups.change(number, |group| {
                    let was_known = group.members.is_known();
                    group.put_baseline(offered, horizon);
                    !was_known && group.members.is_known()
                });
                return Joined::Raised;
            }
        };
        self.stale |= joined == Joined::Raised;
        joined
    }

    fn put_location(
        &mut self,
        number: u32,
        told: &Told<'_>,
        offered: Offered<'_, Option<Location>>,
    ) -> Joined {
        let locations = Arc::make_mut(&mut self.locations);
        if locations.len() <= number as usize {
            locations.resize_with(number as usize + 1, LocationSlot::default);
        }
        let slot = locations.get_mut(number as usize);
        slot.map_or(Joined::Lower, |slot| {
            let joined = slot.versions.join(offered, told.horizon);
            slot.title.take(told, joined, slot.versions.stamp());
            joined
        })
    }

    /// Joins a single membership change.
    pub(crate) fn put_member(
        &mut self,
        group: ObjectKey,
        user: ObjectKey,
        at: UnixMillis,
        membership: Membership,
        appended: UnixMillis,
        intern: &mut Intern<'_>,
    ) -> Joined {
        let subject = intern(&mut self.subjects, user);
        let number = self.group_number(group);
        self.groups.change(number, |group| {
            group.appended = group.appended.max(appended);
            let known = group.members.change(subject);
            group.members.put_change(subject, at, membership);
            match known {
                Some(known) if known.at > at => Joined::Lower,
                _ if group.members.change(subject) == known => Joined::Equal,
                _ => Joined::Raised,
            }
        })
    }

    /// Every version in force, in no particular order.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = InForce> {
        let settings = in_force(Kind::Settings, None, &self.settings);
        let policies = self.policies.iter();
        let policies =
            policies.filter_map(|(id, slot)| in_force(Kind::Policy, Some(*id), &slot.versions));
        let slot = |number: u32| self.locations.get(number as usize);
        let mfa_trusted =
            slot(MFA_TRUSTED).and_then(|slot| in_force(Kind::MfaTrusted, None, &slot.versions));
        let locations = self.location_numbers.iter().filter_map(move |(id, number)| {
            in_force(Kind::Location, Some(*id), &slot(*number)?.versions)
        });
        let groups = self.group_numbers.iter().filter_map(|(id, number)| {
            in_force(Kind::Group, Some(*id), &self.groups.get(*number)?.baselines)
        });
        settings.into_iter().chain(policies).chain(mfa_trusted).chain(locations).chain(groups)
    }

    /// The last single word about each membership, with the number of its subject.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (ObjectKey, u32, Change)> {
        self.group_numbers.iter().flat_map(|(id, number)| {
            let group = self.groups.get(*number);
            let changes = group.into_iter().flat_map(|group| group.members.changes());
            changes.map(|(subject, change)| (*id, subject, change))
        })
    }

    /// The number of a location, given now where it has none.
    fn location(&mut self, id: ObjectKey) -> u32 {
        if let Some(number) = self.location_numbers.get(&id) {
            return *number;
        }
        let numbers = Arc::make_mut(&mut self.location_numbers);
        let number = MFA_TRUSTED + 1 + u32::try_from(numbers.len()).unwrap_or(u32::MAX - 2);
        numbers.insert(id, number);
        number
    }

    fn group_number(&mut self, id: ObjectKey) -> u32 {
        if let Some(number) = self.group_numbers.get(&id) {
            return *number;
        }
        let numbers = Arc::make_mut(&mut self.group_numbers);
        let number = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        numbers.insert(id, number);
        number
    }

    fn compile(&mut self, policy: &Policy, intern: &mut Intern<'_>) -> Compiled {
        let Policy {
            id,
            mode,
            users,
            workloads,
            applications,
            locations,
            narrowing,
            grant,
            controls: _,
            all_controls: _,
            frequency,
            evaluation,
        } = policy;
        let places = locations.as_ref().map(|places| {
            (self.place_numbers(&places.include), self.place_numbers(&places.exclude))
        });
        let (frequency, is_every_time) = match frequency {
            None => (None, false),
            Some(Frequency::Within(within)) => (Some(*within), false),
            Some(Frequency::EveryTime) => (None, true),
        };
        Compiled {
            id: id.clone(),
            mode: *mode,
            include: self.chosen(&users.include, intern),
            exclude: self.chosen(&users.exclude, intern),
            workloads_all: workloads.all,
            workloads_include: self.numbers(&workloads.include, intern),
            workloads_exclude: self.numbers(&workloads.exclude, intern),
            applications: applications.clone(),
            places,
            narrowed: !narrowing.is_empty() || is_every_time,
            grant: *grant,
            frequency,
            evaluation: *evaluation,
        }
    }

    fn chosen(&mut self, persons: &Persons, intern: &mut Intern<'_>) -> Chosen {
        let Persons { all, guests, users, groups, roles } = persons;
        let mut numbered = |ids: &[ObjectKey]| {
            ids.iter().map(|id| (self.group_number(*id), *id)).collect::<Vec<_>>()
        };
        let (groups, roles) = (numbered(groups), numbered(roles));
        Chosen { all: *all, guests: *guests, users: self.numbers(users, intern), groups, roles }
    }

    fn numbers(&mut self, users: &[ObjectKey], intern: &mut Intern<'_>) -> RoaringBitmap {
        users.iter().map(|user| intern(&mut self.subjects, *user)).collect()
    }

    fn place_numbers(&mut self, list: &PlaceList) -> PlaceNumbers {
        let PlaceList { all, all_trusted, ids } = list;
        let numbers = ids.iter().map(|id| self.location(*id)).collect();
        PlaceNumbers { all: *all, all_trusted: *all_trusted, numbers }
    }

    /// Makes the view anew, where something has changed. Returns what is to be compiled apart.
    pub(crate) fn settle(
        &mut self,
        tenant: Number,
        countries: Option<&Arc<Countries>>,
        intern: &mut Intern<'_>,
    ) -> Option<Compilation> {
        if !self.stale {
            return None;
        }
        self.stale = false;
        let settings =
            self.settings.parts().iter().map(Option::as_deref).collect::<Option<Vec<_>>>();
        let settings = settings.and_then(|parts| Settings::joined(&parts)).unwrap_or_default();
        let Settings { mode, only, except, strict, incapable } = settings;
        let mut selected = |selected: Selected| {
            let Selected { users, groups } = selected;
            self.chosen(&Persons { users, groups, ..Persons::default() }, intern)
        };
        let (only, except) = (only.map(&mut selected), selected(except));
        let all = || (0..).zip(self.locations.iter());
        let trusted: Vec<u32> = all()
            .filter(|(_, slot)| slot.versions.stamp().is_some_and(|stamp| stamp.trusted))
            .map(|(number, _)| number)
            .collect();
        let all_trusted = AllTrusted {
            changed: all()
                .filter_map(|(_, slot)| slot.versions.trusted_since())
                .max()
                .unwrap_or_default(),
            is_known: self.slot(MFA_TRUSTED).is_some_and(LocationSlot::has_ranges)
                && trusted
                    .iter()
                    .all(|number| self.slot(*number).is_some_and(LocationSlot::has_ranges)),
        };
        let standings = self.policies.values().filter_map(|slot| {
            let policy = slot.compiled.clone()?;
            let changed = slot.versions.since()?;
            (policy.mode != PolicyMode::Disabled)
                .then(|| self.standing(policy, changed, &all_trusted, countries.is_some()))
        });
        let policies: Vec<Standing> = standings.collect();
        let reports =
            policies.iter().any(|standing| standing.policy.mode == PolicyMode::ReportOnly);
        let locations = self.location_numbers.len() + 1;
        let is_known = |group| self.group(group).is_some_and(|group| group.members.is_known());
        let sieve = Sieve::new(&policies, &trusted, locations, is_known);
        let mut index = Arc::clone(&self.view.index);
        let mut compilation = None;
        if !self.unindexed(&index).is_empty() {
            let sets: Vec<(u32, Arc<RangeSet>)> = all()
                .flat_map(|(number, slot)| slot.ranges().map(move |set| (number, Arc::clone(set))))
                .collect();
            let versions = self.locations.iter().map(|slot| slot.versions.stamp()).collect();
            let ranges: usize = sets.iter().map(|(_, set)| set.len()).sum();
            let todo = Compilation { tenant, versions, sets };
            if ranges <= limits::RANGES_COMPILED_AT_ONCE {
                index = todo.run().index;
            } else {
                compilation = Some(todo);
            }
        }
        let unindexed = self.unindexed(&index);
        let by_country = all().filter_map(|(number, slot)| Some((number, slot.countries()?)));
        let locations: Vec<_> = by_country.collect();
        let countries = countries.filter(|_| !locations.is_empty()).map(|database| {
            let database = Arc::clone(database);
            ByCountry { database, locations }
        });
        self.view = Arc::new(View {
            mode,
            only,
            except,
            strict,
            incapable,
            policies,
            sieve,
            reports,
            trusted,
            index,
            unindexed,
            countries,
        });
        compilation
    }

    /// Whether a location is told by countries.
    pub(crate) fn has_countries(&self) -> bool {
        self.locations.iter().any(|slot| slot.countries().is_some())
    }

    /// What decisions read has to be made anew.
    pub(crate) fn outdate(&mut self) {
        self.stale = true;
    }

    /// Puts an index in place that was compiled apart.
    pub(crate) fn install(&mut self, compiled: CompiledRanges) {
        self.stale = true;
        if let Some(view) = Arc::get_mut(&mut self.view) {
            view.index = compiled.index;
        } else {
            self.view = Arc::new(View { index: compiled.index, ..View::default() });
        }
    }

    fn standing(
        &self,
        policy: Arc<Compiled>,
        mut changed: UnixMillis,
        all_trusted: &AllTrusted,
        has_countries: bool,
    ) -> Standing {
        let mut is_enforceable = !policy.narrowed;
        for list in policy.places.iter().flat_map(|(include, exclude)| [include, exclude]) {
            if list.all_trusted {
                is_enforceable &= all_trusted.is_known;
                changed = changed.max(all_trusted.changed);
            }
            for number in &list.numbers {
                let slot = self.slot(*number);
                is_enforceable &= slot.is_some_and(|slot| {
                    slot.has_ranges() || (has_countries && slot.countries().is_some())
                });
                changed =
                    changed.max(slot.and_then(|slot| slot.versions.since()).unwrap_or_default());
            }
        }
        Standing { policy, changed, is_enforceable }
    }

    fn slot(&self, number: u32) -> Option<&LocationSlot> {
        self.locations.get(number as usize)
    }

    fn unindexed(&self, index: &Indexed) -> Vec<(u32, Vec<Arc<RangeSet>>)> {
        let all = (0..).zip(self.locations.iter());
        let changed = all.filter(|(number, slot)| {
            let known = index.versions.get(*number as usize).copied().flatten();
            slot.versions.stamp() != known
        });
        changed.map(|(number, slot)| (number, slot.ranges().cloned().collect())).collect()
    }

    #[inline]
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    #[inline]
    pub(crate) fn group(&self, number: u32) -> Option<&Group> {
        self.groups.get(number)
    }

    /// The version in force of what a body is about, with the append time of its newest record.
    pub(crate) fn held(&self, body: &Body) -> Option<(Stamp, UnixMillis)> {
        fn of<T: Clone>(versions: &Versions<T>) -> Option<(Stamp, UnixMillis)> {
            Some((versions.stamp()?, versions.appended))
        }
        match body {
            Body::Policy(id, _) => of(&self.policies.get(id)?.versions),
            Body::Location(id, _) => of(&self.slot(*self.location_numbers.get(id)?)?.versions),
            Body::MfaTrusted(_) => of(&self.slot(MFA_TRUSTED)?.versions),
            Body::Settings(_) => of(&self.settings),
            Body::Group(id, _) => of(&self.group(*self.group_numbers.get(id)?)?.baselines),
        }
    }

    /// The time of the last single word about a membership, with the append time of the newest record
    /// about the group.
    pub(crate) fn held_member(
        &self,
        group: ObjectKey,
        subject: u32,
    ) -> Option<(UnixMillis, UnixMillis)> {
        let group = self.group(*self.group_numbers.get(&group)?)?;
        Some((group.members.change(subject)?.at, group.appended))
    }

    /// How many policies, locations and groups there are.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let policies = self.policies.values().filter(|slot| slot.compiled.is_some()).count();
        let is_there = |slot: &&LocationSlot| slot.versions.parts().iter().any(Option::is_some);
        let locations = self.locations.iter().filter(is_there).count();
        let groups = self.groups.iter().filter(|group| group.members.is_known()).count();
        [policies, locations, groups]
    }

    /// Bytes of heap memory of the large parts.
    pub(crate) fn heap_bytes(&self) -> usize {
        let ranges = self.locations.iter().flat_map(LocationSlot::ranges);
        self.view.index.ranges.heap_bytes()
            + ranges.map(|set| set.heap_bytes()).sum::<usize>()
            + self.groups.iter().map(|group| group.members.heap_bytes()).sum::<usize>()
    }
}

impl LocationSlot {
    /// The ranges of the version in force; none where it is known by something else.
    fn ranges(&self) -> impl Iterator<Item = &Arc<RangeSet>> + '_ {
        self.versions.parts().iter().filter_map(|part| {
            match part.as_ref().map(|part| &part.place) {
                Some(Place::Ranges(ranges)) => Some(ranges),
                _ => None,
            }
        })
    }

    /// The countries of the version in force, where it is told by some.
    fn countries(&self) -> Option<CountrySet> {
        let mut set: Option<CountrySet> = None;
        for part in self.versions.parts() {
            let Place::Countries { codes, or_unknown } = &part.as_ref()?.place else { return None };
            let codes = codes.iter().filter_map(|code| Country::parse(code));
            // What is no list is the first part's.
            let joined =
                set.get_or_insert(CountrySet { codes: Vec::new(), or_unknown: *or_unknown });
            joined.codes.extend(codes);
        }
        set
    }

    /// Whether an address can be compared with its ranges (P6).
    fn has_ranges(&self) -> bool {
        self.ranges().next().is_some()
    }
}

impl Group {
    fn put_baseline(&mut self, offered: Offered<'_, Arc<RoaringBitmap>>, horizon: Duration) {
        let before = self.baselines.stamp();
        self.baselines.join(offered, horizon);
        if let Some(stamp) = self.baselines.stamp()
            && Some(stamp) != before
        {
            let all: RoaringBitmap = self
                .baselines
                .parts()
                .iter()
                .map(|part| &**part)
                .fold(RoaringBitmap::new(), |all, part| all | part);
            self.members.put_baseline(stamp.at, oldest(stamp.at, horizon), &all);
        }
    }
}

impl Standing {
    /// When a subject came under the policy by a single change of a group (P8).
    pub(crate) fn came_under(&self, directory: &Directory, subject: u32) -> Option<UnixMillis> {
        let of = |chosen: &Chosen, side| {
            let groups = chosen.groups.iter().chain(&chosen.roles);
            let members = groups.filter_map(|(number, _)| Some(&directory.group(*number)?.members));
            members
                .filter(|members| members.is_known())
                .filter_map(|members| members.changed(subject, side))
                .max()
        };
        of(&self.policy.include, Side::Include).max(of(&self.policy.exclude, Side::Exclude))
    }
}

impl View {
    /// The countries that tell a location, and where they are.
    #[inline]
    fn by_country(&self, location: u32) -> Option<(&Countries, &CountrySet)> {
        let ByCountry { database, locations } = self.countries.as_ref()?;
        let (_, set) = locations.iter().find(|(number, _)| *number == location)?;
        Some((database, set))
    }

    /// Whether the index knows the version of a location that is in force.
    #[inline]
    fn is_indexed(&self, location: u32) -> bool {
        self.unindexed.iter().all(|(number, _)| *number != location)
            && self.by_country(location).is_none()
    }

    /// Looks an address up, once for all policies.
    #[inline]
    pub(crate) fn seen(&self, address: Option<IpAddr>) -> SeenAt<'_> {
        let covering =
            address.map(|address| self.index.ranges.covering(address)).unwrap_or_default();
        SeenAt { view: self, address, covering }
    }
}

/// An address and the locations that cover it.
#[derive(Clone, Copy)]
pub(crate) struct SeenAt<'v> {
    view: &'v View,
    pub(crate) address: Option<IpAddr>,
    covering: Covering<'v>,
}

impl SeenAt<'_> {
    /// Whether a policy's location condition matches here.
    #[inline]
    pub(crate) fn matches(&self, places: &(PlaceNumbers, PlaceNumbers)) -> bool {
        self.is_in(&places.0) && !self.is_in(&places.1)
    }

    /// The policies of a block of the sieve that name a location here.
    #[inline]
    pub(crate) fn named(&self, block: usize) -> Named {
        let Some(address) = self.address else { return Named::default() };
        let view = self.view;
        let mut named = Named::default();
        let mut put = |location| named = named.or(view.sieve.of_place(block, location));
        self.covering.each(|location| {
            if view.is_indexed(location) {
                put(location);
            }
        });
        for (location, sets) in &view.unindexed {
            if view.by_country(*location).is_none() && sets.iter().any(|set| set.contains(address))
            {
                put(*location);
            }
        }
        if let Some(ByCountry { database, locations }) = &view.countries {
            for (location, set) in locations {
                if database.holds(set, address) {
                    put(*location);
                }
            }
        }
        named
    }

    fn is_in(&self, list: &PlaceNumbers) -> bool {
        list.all
            || (list.all_trusted && self.view.trusted.iter().any(|number| self.is_at(*number)))
            || list.numbers.iter().any(|number| self.is_at(*number))
    }

    pub(crate) fn is_at(&self, location: u32) -> bool {
        let Some(address) = self.address else { return false };
        if let Some((database, set)) = self.view.by_country(location) {
            return database.holds(set, address);
        }
        let changed = self.view.unindexed.iter().find(|(number, _)| *number == location);
        match changed {
            None => self.covering.has(location),
            Some((_, sets)) => sets.iter().any(|set| set.contains(address)),
        }
    }
}
