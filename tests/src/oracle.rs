//! What the answer must be: `engine/SEMANTICS.md`, rule by rule, over a plain list of events.
//!
//! It was written from that text alone and shares nothing with core but names and the hashes that order
//! ties (E15). Every question scans the list again: nothing is kept, nothing is fast, nothing is
//! forgotten (E17 says that forgetting changes no decision).
//!
//! Where the text can be read in two ways, `Reading:` says which one this is.
//!
//! Left out: everything that happens before an event is plain data (E14's seconds and missing times,
//! E16), the bytes of a challenge (D10), evidence (since when, which policy).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use caed_core::decision::{
    Answer, BlockRow, Challenge, Notes, Reason, Refusal, ScopeName, Verdict,
};
use caed_core::event::{AccountState, Compliance, DeviceState, Fact, Stream};
use caed_core::freshness::WhenStale;
use caed_core::limits::{RETRY_AFTER_KEYS_S, RETRY_AFTER_NOT_READY_S};
use caed_core::policy::{Body, Evaluation, Frequency, Grant, Incapable, Mode, PolicyMode};
use caed_core::rules::LocationClass;
use caed_core::time::UnixSeconds;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::border;
use crate::world::{
    Belief, Declaration, Event, Finer, From, Issuer, Location, Millis, Part, Policy, Request,
    Seconds, Settings, Speaks, Text, Told, What, World,
};

const MINUTE: Seconds = 60;
const HOUR: Seconds = 3600;

/// "What can't be known is neither yes nor no."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sure {
    Yes,
    No,
    Unknown,
}

use Sure::{No, Unknown, Yes};

impl Sure {
    fn of(holds: bool) -> Self {
        if holds { Yes } else { No }
    }

    /// Surely one of them, surely none, or not known.
    fn any(all: &[Self]) -> Self {
        if all.contains(&Yes) {
            Yes
        } else if all.contains(&Unknown) {
            Unknown
        } else {
            No
        }
    }

    /// "Included and not excluded".
    fn but_not(self, excluded: Self) -> Self {
        match (self, excluded) {
            (No, _) | (_, Yes) => No,
            (Yes, No) => Yes,
            _ => Unknown,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (No, _) | (_, No) => No,
            (Yes, Yes) => Yes,
            _ => Unknown,
        }
    }
}

/// The answer that the text asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The verdict.
    pub verdict: Verdict,
    /// The primary reason.
    pub primary: Option<Reason>,
    /// Every reason with its own answer, in the order of [`Reason`].
    pub findings: Vec<Finding>,
    /// The HTTP status.
    pub http_status: u16,
    /// Seconds to wait.
    pub retry_after_s: Option<u32>,
    /// What the challenge asks for.
    pub challenge: Option<Challenge>,
    /// What else is said.
    pub notes: Notes,
    /// What would be answered if everything were enforced: verdict, primary reason, all reasons, status.
    pub report: Option<(Verdict, Option<Reason>, Vec<Reason>, u16)>,
    /// How old the source is that has been silent the longest.
    pub source_age: Option<Millis>,
}

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The reason.
    pub reason: Reason,
    /// Whose cutoff, for `revoked`.
    pub scope: Option<ScopeName>,
    /// The row of D5's table.
    pub row: Option<BlockRow>,
    /// The answer to this reason alone.
    pub answer: Answer,
}

/// A token that passed D1 and D2, and where it is used.
struct Case<'a> {
    world: &'a World,
    request: &'a Request,
    /// The tenant's events: "no event and no look-up crosses tenants".
    events: Vec<&'a Event>,
    /// E10, E15: every complete version, oldest first, of one time by hash.
    versions: &'a [Version],
    bound: &'a Issuer,
    issuer: Text,
    subject: Text,
    iat: Seconds,
    /// Terms: "`iat` plus the issuer's `issue_time_skew`".
    issued: Seconds,
    /// Terms: capable.
    capable: bool,
    /// D6: the address seen, where it is known.
    seen: Option<IpAddr>,
    /// The readable `ipaddr`.
    sign_in: Option<IpAddr>,
}

/// A version of which every part has come.
struct Version {
    at: Millis,
    hash: [u8; 16],
    parts: Vec<&'static Told>,
    /// The parts as one.
    told: Cow<'static, Told>,
}

/// A version of something, in force.
struct Standing<'a> {
    told: &'a Told,
    /// P8: since when it stands so.
    since: Millis,
}

/// A policy, and what it means for this token.
struct Judged<'a> {
    policy: &'a Policy,
    since: Millis,
    /// P6.
    enforceable: bool,
    /// P6: subject and resource not surely left out.
    in_reach: bool,
    /// P3, and nothing stands against enforcing it.
    applies: bool,
}

/// A reason with its own answer.
fn finding(reason: Reason, answer: Answer) -> Finding {
    Finding { reason, scope: None, row: None, answer }
}

/// Answers a request from the whole list of events.
pub fn expected(world: &World, events: &[Event], request: &Request) -> Expected {
    let alone = |reason, refusal| {
        conclude(None, &[finding(reason, Answer::Deny(refusal))], Notes::default(), None)
    };
    // T2.
    match request.belief {
        Belief::Believed => {}
        Belief::Refused => return alone(Reason::Unverified, Refusal::InvalidToken),
        Belief::NoKeys => {
            let refusal = Refusal::Unavailable { retry_after_s: RETRY_AFTER_KEYS_S };
            return alone(Reason::Unverifiable, refusal);
        }
    }
    // D1.
    if let Some(reason) = dead(world, request) {
        return alone(reason, Refusal::InvalidToken);
    }
    let (Some(issuer), Some(tenant), Some(subject), Some(iat)) =
        (request.issuer, request.tenant, request.subject, request.issued_at)
    else {
        unreachable!("D1 has ended it");
    };
    // D2.
    let Some(bound) = binding(world, issuer, tenant) else {
        return alone(Reason::UnknownIssuer, Refusal::Forbidden);
    };
    if let Some(served) = &world.served
        && !served.iter().any(|served| same(served, tenant))
    {
        return alone(Reason::TenantNotServed, Refusal::Forbidden);
    }
    // F3.
    if !world.caught_up {
        let refusal = Refusal::Unavailable { retry_after_s: RETRY_AFTER_NOT_READY_S };
        return alone(Reason::NotReady, refusal);
    }
    let capable = request.cp1
        && !request.client.is_some_and(|client| has(&request.incapable_clients, client));
    let events: Vec<&Event> = events.iter().filter(|event| same(event.tenant, tenant)).collect();
    let versions = complete(&events);
    let case = Case {
        world,
        request,
        events,
        versions: &versions,
        bound,
        issuer,
        subject,
        iat,
        issued: iat + bound.issue_time_skew,
        capable,
        seen: match request.from {
            From::At(text) => address(text),
            From::Unknown | From::Nowhere => None,
        },
        sign_in: request.address.and_then(address),
    };
    let (findings, notes) = case.evaluate(false);
    let report = case.has_report().then(|| {
        let (reported, _) = case.evaluate(true);
        let reported = conclude(Some(&case), &reported, Notes::default(), None);
        let reasons = reported.findings.iter().map(|finding| finding.reason).collect();
        (reported.verdict, reported.primary, reasons, reported.http_status)
    });
    conclude(Some(&case), &findings, notes, report)
}

/// D1, in its order.
fn dead(world: &World, request: &Request) -> Option<Reason> {
    let is_identifier = |id: Text| {
        (1..=512).contains(&id.len()) && !id.chars().any(char::is_control) // T4
    };
    let required = [request.issuer, request.tenant, request.subject];
    let optional = [request.session, request.token, request.client, request.device];
    let malformed = required.iter().any(Option::is_none)
        || required.iter().chain(&optional).flatten().any(|id| !is_identifier(id))
        || matches!((request.expires, request.issued_at), (Some(exp), Some(iat)) if exp <= iat);
    if malformed {
        return Some(Reason::Malformed);
    }
    let Some(iat) = request.issued_at else { return Some(Reason::IssueTimeMissing) };
    if world.now >= (iat + world.horizon) * 1000 {
        return Some(Reason::BeyondHorizon);
    }
    if request.expires.is_some_and(|exp| world.now >= (exp + world.skew) * 1000) {
        return Some(Reason::Expired);
    }
    let future = |second: Seconds| second * 1000 > world.now + world.skew * 1000;
    if future(iat) || request.not_before.is_some_and(future) {
        return Some(Reason::NotYetValid);
    }
    None
}

/// D2: the issuer that counts, of those that fit.
fn binding(world: &World, issuer: Text, tenant: Text) -> Option<&Issuer> {
    let fits = |known: &&Issuer| match &known.tenants {
        Speaks::For(tenants) => same(known.name, issuer) && has(tenants, tenant),
        Speaks::ForAll => same(known.name, issuer),
        Speaks::InName => {
            let (before, after) = known.name.split_once("{tenant}").expect("a pattern");
            issuer
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                // Reading: what stands in the pattern is a tenant's name, compared as one (T4).
                .is_some_and(|named| !named.contains('/') && equal(named, tenant))
        }
    };
    let by_name = world.issuers.iter().filter(fits).find(|known| same(known.name, issuer));
    by_name.or_else(|| world.issuers.iter().find(fits))
}

/// D9: one answer of several.
fn conclude(
    case: Option<&Case<'_>>,
    findings: &[Finding],
    notes: Notes,
    report: Option<(Verdict, Option<Reason>, Vec<Reason>, u16)>,
) -> Expected {
    let mut findings = findings.to_vec();
    findings.sort_by_key(|finding| finding.reason);
    let refusals: Vec<Refusal> = findings
        .iter()
        .filter_map(|finding| match finding.answer {
            Answer::Deny(refusal) => Some(refusal),
            _ => None,
        })
        .collect();
    let verdict = if !refusals.is_empty() {
        Verdict::Deny
    } else if !findings.is_empty() {
        Verdict::Challenge
    } else {
        Verdict::Allow
    };
    let primary = findings
        .iter()
        .find(|finding| verdict != Verdict::Deny || matches!(finding.answer, Answer::Deny(_)))
        .map(|finding| finding.reason);
    let longest = refusals
        .iter()
        .filter_map(|refusal| match refusal {
            Refusal::Unavailable { retry_after_s } => Some(*retry_after_s),
            _ => None,
        })
        .max();
    let (http_status, retry_after_s) = match verdict {
        Verdict::Allow => (200, None),
        Verdict::Deny if refusals.contains(&Refusal::Forbidden) => (403, None),
        Verdict::Deny if longest.is_some() => (503, longest),
        Verdict::Challenge | Verdict::Deny => (401, None),
    };
    let challenge = (verdict == Verdict::Challenge).then(|| Challenge {
        not_before: findings
            .iter()
            .filter_map(|finding| match finding.answer {
                Answer::Challenge { not_before } => Some(not_before),
                _ => None,
            })
            .max(),
        address: case.and_then(|case| case.seen).filter(|_| {
            findings.iter().any(|finding| {
                matches!(
                    finding.reason,
                    Reason::Policy | Reason::Location | Reason::ConditionsChanged
                )
            })
        }),
        max_age: findings.iter().find_map(|finding| match finding.answer {
            Answer::SignIn { max_age } => Some(max_age),
            _ => None,
        }),
        code: match primary {
            Some(Reason::Revoked | Reason::Account | Reason::Risk | Reason::Device) => {
                "TokenIssuedBeforeRevocationTimestamp"
            }
            Some(Reason::Location | Reason::ConditionsChanged) => {
                "LocationConditionEvaluationSatisfied"
            }
            _ => "TokenCreatedWithOutdatedPolicies",
        },
    });
    // F2.
    let source_age = case.and_then(|case| case.streams().map(|(at, _)| case.world.now - at).max());
    Expected {
        verdict,
        primary,
        findings,
        http_status,
        retry_after_s,
        challenge,
        notes,
        report,
        source_age: source_age.map(|age| age.max(0)),
    }
}

impl<'a> Case<'a> {
    /// Every reason. `reporting`: what would be if everything were enforced that is only reported
    /// (P1, P3).
    fn evaluate(&self, reporting: bool) -> (Vec<Finding>, Notes) {
        let settings = self.settings();
        let policies = self.policies(reporting);
        let left_out = self.locations_are_left_out(&policies);
        let counting: Vec<&Judged<'a>> = policies
            .iter()
            .filter(|judged| !(left_out && judged.policy.places.is_some()))
            .collect();
        let applying: Vec<&Judged<'a>> =
            counting.iter().copied().filter(|judged| judged.applies).collect();
        let scope = self.scope(&settings, &counting);
        // P6, and P2: "a token that one of them may be about has the plain lifetime".
        let hampered = counting.iter().any(|judged| judged.in_reach && !judged.enforceable)
            || (left_out
                // D6: that comes before the profile.
                && self.request.from != From::Nowhere
                && self.request.location == LocationClass::WhenStrict
                && policies.iter().any(|j| j.policy.places.is_some() && j.in_reach));
        let certain = scope == Yes && !hampered && !self.request.guest;

        let mut findings = Vec::new();
        let mut notes = Notes::default();
        let enforced = match settings.mode {
            Mode::On => true,
            Mode::ReportOnly => reporting,
            Mode::Off => false,
        };
        if enforced && scope != No && !self.is_given_up(&settings) {
            // P9.
            let strict = self.is_strict(&settings, &applying);
            findings.extend(self.revoked()); // D3
            findings.extend(self.risk()); // D3
            findings.extend(self.account()); // D4
            findings.extend(self.device(&applying)); // D4
            let (blocks, varies) = self.blocks(&applying, strict, certain); // D5
            findings.extend(blocks);
            notes.ip_variation = varies;
            let (changed, varies) = self.conditions_changed(&applying, strict, certain); // P7
            findings.extend(changed);
            notes.ip_variation |= varies;
            findings.extend(self.outdated(&applying)); // P8
            findings.extend(self.stale()); // F3
            // D6.
            notes.location_not_evaluated =
                left_out && policies.iter().any(|j| j.policy.places.is_some() && j.in_reach);
        }
        let (sign_in, missing) = self.sign_in_frequency(&applying); // D7
        findings.extend(sign_in);
        notes.sign_in_time_missing = missing;
        findings.extend(self.lifetime(self.capable && certain && settings.mode != Mode::Off)); // D8
        (findings, notes)
    }

    /// P1: whether the answer carries a report.
    fn has_report(&self) -> bool {
        let is_report_only = |id: &Text| {
            self.policy(id).is_some_and(|(policy, _)| policy.mode == PolicyMode::ReportOnly)
        };
        let settings = self.settings();
        self.policy_ids().iter().any(is_report_only)
            || (settings.mode == Mode::ReportOnly
                && !self.is_given_up(&settings)
                && self.scope(&settings, &self.policies(false).iter().collect::<Vec<_>>()) != No)
    }

    /// P1: a client that is not capable, where tenant and profile both say `lifetime`.
    fn is_given_up(&self, settings: &Settings) -> bool {
        !self.capable
            && settings.incapable == Incapable::Lifetime
            && self.request.incapable == Incapable::Lifetime
    }

    // What is told.

    /// E10, E15: every version, oldest first; of several with one time only the one that counts.
    fn versions(&self, about: impl Fn(&Told) -> bool) -> Vec<&'a Version> {
        let mut counting: Vec<&'a Version> = Vec::new();
        for version in self.versions.iter().filter(|version| about(&version.told)) {
            if counting.last().is_some_and(|last| last.at == version.at) {
                counting.pop();
            }
            counting.push(version);
        }
        counting
    }

    /// The newest version, and since when it stands so (P8: content told again keeps its time).
    fn standing(&self, about: impl Fn(&Told) -> bool) -> Option<Standing<'a>> {
        let versions = self.versions(about);
        let last = *versions.last()?;
        let same = versions.iter().rev().take_while(|version| version.says_what(last));
        let since = same.map(|version| version.at).last()?;
        Some(Standing { told: &last.told, since })
    }

    fn settings(&self) -> Settings {
        match self.standing(|told| matches!(told, Told::Settings(_))) {
            Some(Standing { told: Told::Settings(Some(settings)), .. }) => settings.clone(),
            // P1: "a tenant needs no configuration".
            _ => Settings {
                mode: Mode::On,
                only: None,
                except: Default::default(),
                strict: false,
                incapable: Incapable::Enforce,
            },
        }
    }

    fn policy_ids(&self) -> Vec<Text> {
        let mut ids: Vec<Text> = Vec::new();
        for event in &self.events {
            if let What::Told(Told::Policy(id, _), _) = event.what
                && !has(&ids, id)
            {
                ids.push(id);
            }
        }
        // D5: "in the order of their ids". Reading: as text, a GUID in small digits.
        ids.sort_by_key(|id| if is_guid(id) { id.to_ascii_lowercase() } else { (*id).to_owned() });
        ids
    }

    fn policy(&self, id: Text) -> Option<(&'a Policy, Millis)> {
        let standing =
            self.standing(|told| matches!(told, Told::Policy(other, _) if same(other, id)))?;
        match standing.told {
            Told::Policy(_, Some(policy)) => Some((policy, standing.since)),
            _ => None,
        }
    }

    fn location_ids(&self) -> Vec<Text> {
        let mut ids: Vec<Text> = Vec::new();
        for event in &self.events {
            if let What::Told(Told::Location(id, _), _) = event.what
                && !has(&ids, id)
            {
                ids.push(id);
            }
        }
        ids
    }

    fn location(&self, id: Text) -> Option<(&'a Location, Millis)> {
        let standing =
            self.standing(|told| matches!(told, Told::Location(other, _) if same(other, id)))?;
        match standing.told {
            Told::Location(_, Some(location)) => Some((location, standing.since)),
            _ => None,
        }
    }

    fn mfa_trusted(&self) -> Option<(&'a [Text], Millis)> {
        let standing = self.standing(|told| matches!(told, Told::MfaTrusted(_)))?;
        match standing.told {
            Told::MfaTrusted(Some(ranges)) => Some((ranges, standing.since)),
            _ => None,
        }
    }

    // Who.

    /// E9, E15, P4: whether the subject belongs to a group, where a policy includes it (`false`) or
    /// excludes it (`true`).
    fn belongs(&self, group: Text, claim: Option<&Vec<Text>>, excluding: bool) -> Sure {
        let baseline = self
            .versions(|told| matches!(told, Told::Group(other, _) if same(other, group)))
            .last()
            .map(|version| (version.at, &*version.told));
        let Some((read, Told::Group(_, members))) = baseline else {
            return match claim {
                Some(claimed) => Sure::of(has(claimed, group)),
                None => Unknown,
            };
        };
        let mut words = vec![(read, has(members, self.subject))];
        words.extend(self.single_words(group).into_iter().filter(|(at, _)| *at >= read));
        let last = words.iter().map(|(at, _)| *at).max().expect("the baseline");
        let member = words.iter().any(|(at, member)| *at == last && *member);
        let stranger = words.iter().any(|(at, member)| *at == last && !*member);
        Sure::of(if excluding { member && !stranger } else { member })
    }

    /// The single words about the subject in a group.
    fn single_words(&self, group: Text) -> Vec<(Millis, bool)> {
        self.events
            .iter()
            .filter_map(|event| match event.what {
                What::Member(other, user, came)
                    if same(other, group) && same(user, self.subject) =>
                {
                    Some((register_time(event), came))
                }
                _ => None,
            })
            .collect()
    }

    fn persons(&self, [users, groups, roles]: &[Vec<Text>; 3], excluding: bool) -> Sure {
        let mut all = vec![
            Sure::of(users.contains(&"All")),
            // P9.
            Sure::of(users.contains(&"Guests") && self.request.guest),
            Sure::of(has(users, self.subject)),
        ];
        for group in groups {
            all.push(self.belongs(group, self.request.groups.as_ref(), excluding));
        }
        for role in roles {
            all.push(self.belongs(role, self.request.roles.as_ref(), excluding));
        }
        Sure::any(&all)
    }

    /// P3: whether a policy is about the subject. Reading: a workload identity is named among the
    /// workloads alone, a user among the users alone.
    fn subject_of(&self, policy: &Policy) -> Sure {
        if self.request.workload {
            let [include, exclude] = &policy.workloads;
            let included = include.contains(&"Workloads") || has(include, self.subject);
            return Sure::of(included).but_not(Sure::of(has(exclude, self.subject)));
        }
        let excluded = self.persons(&policy.exclude, true);
        self.persons(&policy.include, false).but_not(excluded)
    }

    /// P3, P6: whether a policy is about the resource.
    fn resource_of(&self, policy: &Policy) -> Sure {
        let claimed: Vec<Text>;
        let ids = if self.request.applications.is_empty() {
            claimed = self.request.audiences.iter().copied().filter(|id| is_guid(id)).collect();
            &claimed
        } else {
            &self.request.applications
        };
        let named = |application: &Text| {
            if *application == "All" || has(ids, application) {
                Yes
            } else if !is_guid(application) || ids.is_empty() {
                Unknown
            } else {
                No
            }
        };
        let [include, exclude] = &policy.applications;
        let mut included: Vec<Sure> = include.iter().map(named).collect();
        if policy.user_action {
            // P6: one more resource that is included, and not known.
            included.push(Unknown);
        }
        let excluded: Vec<Sure> = exclude.iter().map(named).collect();
        Sure::any(&included).but_not(Sure::any(&excluded))
    }

    /// P1, P9: whether the token is in scope.
    fn scope(&self, settings: &Settings, policies: &[&Judged<'_>]) -> Sure {
        let selected = |[users, groups]: &[Vec<Text>; 2], excluding| {
            let mut all = vec![Sure::of(has(users, self.subject))];
            for group in groups {
                all.push(self.belongs(group, self.request.groups.as_ref(), excluding));
            }
            Sure::any(&all)
        };
        if settings.mode == Mode::Off {
            return No;
        }
        let included = settings.only.as_ref().map_or(Yes, |only| selected(only, false));
        let taken_out = policies.iter().any(|judged| {
            let policy = judged.policy;
            policy.evaluation == Evaluation::Disabled
                && judged.enforceable
                && self.subject_of(policy) == Yes
                && policy.applications[0].contains(&"All")
                && policy.applications[1].is_empty()
                && !policy.user_action
                && policy.places.is_none()
        });
        included.but_not(selected(&settings.except, true)).but_not(Sure::of(taken_out))
    }

    // Where.

    /// P5: whether an enforceable policy's location condition matches at an address.
    fn matches_at(&self, policy: &Policy, at: Option<IpAddr>) -> bool {
        let Some([include, exclude]) = &policy.places else { return true };
        let inside = |place: &Text| match *place {
            "All" => true,
            "AllTrusted" => {
                self.mfa_trusted().is_some_and(|(ranges, _)| within(ranges, at))
                    || self.location_ids().iter().any(|id| {
                        self.location(id).is_some_and(|(location, _)| {
                            location.trusted && self.is_within(location, at)
                        })
                    })
            }
            id => self.location(id).is_some_and(|(location, _)| self.is_within(location, at)),
        };
        include.iter().any(inside) && !exclude.iter().any(inside)
    }

    /// P5: by its ranges, or by the country of the address.
    fn is_within(&self, location: &Location, at: Option<IpAddr>) -> bool {
        let by_ranges = location.ranges.as_deref().is_some_and(|ranges| within(ranges, at));
        let (Some((codes, or_unknown)), Some(database), Some(_)) =
            (&location.countries, &self.world.countries, at)
        else {
            return by_ranges;
        };
        let country = database.iter().find(|(network, _)| within(&[network], at));
        match country {
            None => *or_unknown,
            Some((_, country)) => codes.iter().any(|code| code.eq_ignore_ascii_case(country)),
        }
    }

    /// P6: whether each place that the policy names is known.
    fn places_are_known(&self, policy: &Policy) -> bool {
        let known = |place: &Text| match *place {
            "All" => true,
            "AllTrusted" => {
                self.mfa_trusted().is_some()
                    && self.location_ids().iter().all(|id| {
                        self.location(id).is_none_or(|(location, _)| {
                            !location.trusted || location.ranges.is_some()
                        })
                    })
            }
            id => self.location(id).is_some_and(|(location, _)| {
                location.ranges.is_some()
                    || (location.countries.is_some() && self.world.countries.is_some())
            }),
        };
        policy.places.iter().flatten().flatten().all(known)
    }

    /// P8: since when the places that a policy names stand so.
    fn places_since(&self, policy: &Policy) -> Vec<Millis> {
        let mut times = Vec::new();
        for place in policy.places.iter().flatten().flatten() {
            match *place {
                "All" => {}
                "AllTrusted" => {
                    times.extend(self.mfa_trusted().map(|(_, since)| since));
                    for id in self.location_ids() {
                        times.extend(self.trusted_since(id));
                    }
                }
                id => times.extend(self.location(id).map(|(_, since)| since)),
            }
        }
        times
    }

    /// P8: since when `AllTrusted` names a location so, or names it no longer; never, where it never did.
    fn trusted_since(&self, id: Text) -> Option<Millis> {
        let versions =
            self.versions(|told| matches!(told, Told::Location(other, _) if same(other, id)));
        let is_trusted =
            |told: &Told| matches!(told, Told::Location(_, Some(location)) if location.trusted);
        let (mut before, mut since) = (None::<&Version>, None);
        for version in versions {
            let now = is_trusted(&version.told).then_some(version);
            let stands = match (before, now) {
                (Some(before), Some(now)) => now.says_what(before),
                (before, now) => before.is_none() && now.is_none(),
            };
            if !stands {
                since = Some(version.at);
            }
            before = now;
        }
        since
    }

    // Policies.

    /// Every policy that counts, in the order of their ids (D5).
    fn policies(&self, reporting: bool) -> Vec<Judged<'a>> {
        let mut policies = Vec::new();
        for id in self.policy_ids() {
            let Some((policy, since)) = self.policy(id) else { continue };
            let counts = match policy.mode {
                PolicyMode::Enabled => true,
                PolicyMode::ReportOnly => reporting,
                PolicyMode::Disabled => false,
            };
            if !counts {
                continue;
            }
            let (subject, resource) = (self.subject_of(policy), self.resource_of(policy));
            let about = subject.and(resource);
            let demands = matches!(policy.grant(), Grant::Other | Grant::CompliantDevice);
            // P6, P7.
            let enforceable = about != Unknown
                && self.places_are_known(policy)
                && policy.frequency != Some(Frequency::EveryTime)
                && !policy.narrowed
                && !(demands && policy.places.is_some() && self.sign_in.is_none());
            policies.push(Judged {
                policy,
                since,
                enforceable,
                in_reach: about != No,
                applies: enforceable && about == Yes && self.matches_at(policy, self.seen),
            });
        }
        policies
    }

    /// D6, P2: whether policies with a location condition are left out whole.
    fn locations_are_left_out(&self, policies: &[Judged<'a>]) -> bool {
        self.request.from == From::Nowhere
            || match self.request.location {
                LocationClass::Supported => false,
                LocationClass::Unsupported => true,
                LocationClass::WhenStrict => {
                    let applying: Vec<&Judged<'a>> =
                        policies.iter().filter(|judged| judged.applies).collect();
                    !self.is_strict(&self.settings(), &applying)
                }
            }
    }

    /// P9: locations are strict.
    fn is_strict(&self, settings: &Settings, applying: &[&Judged<'_>]) -> bool {
        self.request.strict
            || settings.strict
            || applying.iter().any(|judged| judged.policy.evaluation == Evaluation::Strict)
    }

    // Times.

    /// "Issued after t".
    fn issued_after(&self, at: Millis) -> bool {
        self.issued > floor(at)
    }

    /// "Issued less than x ago".
    fn issued_less_than(&self, seconds: Seconds) -> bool {
        self.world.now < (self.issued + seconds) * 1000
    }

    // D3.

    /// A cutoff is the event time, at most 5 min after receipt (E14).
    fn cutoff(event: &Event) -> Millis {
        if event.occurred > event.received + 300_000 { event.received } else { event.occurred }
    }

    /// D3: "at least the second after its own `iat`", "the next second".
    fn asks_for(&self, cutoff: Millis, by_id: bool) -> Option<Seconds> {
        let next = floor(cutoff) + 1;
        if by_id {
            Some(next.max(self.iat + 1))
        } else {
            (self.issued <= floor(cutoff)).then_some(next)
        }
    }

    /// E2, E4, E6, E7, E8: which scope of the token an event cuts off, and whether by the token's id.
    fn scope_of(&self, what: What) -> Option<(ScopeName, bool)> {
        let request = self.request;
        let own = |user: Text| same(user, self.subject);
        match what {
            What::TenantRevoked => Some((ScopeName::Tenant, false)),
            What::UserRevoked(user, _)
            | What::Account(user, AccountState::Disabled | AccountState::Deleted)
                if own(user) =>
            {
                Some((ScopeName::User, false))
            }
            What::Device(device, DeviceState::Disabled | DeviceState::Deleted)
                if request.device.is_some_and(|own| same(own, device)) =>
            {
                Some((ScopeName::Device, false))
            }
            What::Revoked(finer, user) => {
                if !user.is_none_or(own) {
                    return None;
                }
                let (claim, issuer, id, scopes) = match finer {
                    Finer::Session(issuer, id) => (
                        request.session,
                        Some(issuer),
                        id,
                        [ScopeName::Session, ScopeName::UserSession],
                    ),
                    Finer::Token(issuer, id) => {
                        (request.token, Some(issuer), id, [ScopeName::Token, ScopeName::UserToken])
                    }
                    Finer::Client(id) => {
                        (request.client, None, id, [ScopeName::Client, ScopeName::UserClient])
                    }
                    Finer::Device(id) => {
                        (request.device, None, id, [ScopeName::Device, ScopeName::UserDevice])
                    }
                };
                let scope = scopes[usize::from(user.is_some())];
                let issuer_fits = issuer.is_none_or(|issuer| same(issuer, self.issuer));
                match claim {
                    Some(own) if same(own, id) && issuer_fits => {
                        Some((scope, matches!(finer, Finer::Token(..))))
                    }
                    // E7. Reading: whichever issuer the token is of, as the text names none.
                    None if user.is_some() => Some((scope, false)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn revoked(&self) -> Option<Finding> {
        if !self.request.enforced[0] {
            return None; // P2
        }
        let mut best: Option<(Seconds, ScopeName)> = None;
        for event in &self.events {
            let Some((scope, by_id)) = self.scope_of(event.what) else { continue };
            let Some(second) = self.asks_for(Self::cutoff(event), by_id) else { continue };
            if best.is_none_or(|(high, first)| second > high || second == high && scope < first) {
                best = Some((second, scope));
            }
        }
        let (second, scope) = best?;
        let answer = self.after_cutoff(second);
        Some(Finding { scope: Some(scope), ..finding(Reason::Revoked, answer) })
    }

    fn risk(&self) -> Option<Finding> {
        if !self.request.enforced[1] {
            return None; // P2
        }
        let second = self
            .events
            .iter()
            .filter_map(|event| match event.what {
                // E5.
                What::Risk(user, level)
                    if same(user, self.subject) && level >= self.request.risk_threshold =>
                {
                    self.asks_for(Self::cutoff(event), false)
                }
                _ => None,
            })
            .max()?;
        Some(finding(Reason::Risk, self.after_cutoff(second)))
    }

    /// D9, first row.
    fn after_cutoff(&self, second: Seconds) -> Answer {
        let wait = second - floor(self.world.now);
        let refused = wait > 2 && self.issued_less_than(MINUTE + self.world.skew);
        if !self.capable {
            let refusal =
                if wait > 2 || refused { Refusal::Forbidden } else { Refusal::InvalidToken };
            return Answer::Deny(refusal);
        }
        if refused {
            let retry_after_s = u32::try_from(wait).expect("a wait");
            return Answer::Deny(Refusal::Unavailable { retry_after_s });
        }
        challenge(second)
    }

    // F2, F3.

    /// F2: the last sign of life of every stream that something is expected of: its time, and how the stream
    /// is, where it said so.
    fn streams(&self) -> impl Iterator<Item = (Millis, Option<Stream>)> + '_ {
        let mut sources: Vec<Text> = Vec::new();
        for event in &self.events {
            if let What::Source(source, _) = event.what
                && !has(&sources, source)
            {
                sources.push(source);
            }
        }
        let expected = sources.into_iter().filter(|source| {
            let declaration = self.declaration(source).expect("it is declared");
            declaration.declared && declaration.retired.is_none()
        });
        expected.flat_map(|source| {
            let beats = self.events.iter().filter(|event| same(event.source, source));
            let mut last: BTreeMap<u32, (Millis, u8, Stream)> = BTreeMap::new();
            for event in beats {
                if let What::Heartbeat(partition, stream) = event.what {
                    // E11: in this order.
                    let rank = match stream {
                        Stream::Enabled => 0,
                        Stream::Ended => 1,
                        Stream::Paused => 2,
                        Stream::Disabled => 3,
                    };
                    let new = (register_time(event), rank, stream);
                    let known = last.entry(partition).or_insert(new);
                    if (new.0, new.1) > (known.0, known.1) {
                        *known = new;
                    }
                }
            }
            if last.is_empty() {
                vec![(self.declared_at(source), None)]
            } else {
                last.into_values()
                    .filter(|(.., stream)| *stream != Stream::Ended)
                    .map(|(at, _, stream)| (at, Some(stream)))
                    .collect()
            }
        })
    }

    fn declared_at(&self, source: Text) -> Millis {
        let about = |event: &&&Event| matches!(event.what, What::Source(of, _) if same(of, source));
        let times = self.events.iter().filter(about).map(|event| register_time(event));
        times.max().expect("it is declared")
    }

    fn stale(&self) -> Option<Finding> {
        let [log, source] = self.world.stale_after;
        let beyond =
            |age: Millis, after: Seconds| Some(age - after * 1000).filter(|beyond| *beyond > 0);
        let sources = self.streams().filter_map(|(at, stream)| {
            let since = (self.world.now - at).max(0);
            match stream {
                Some(Stream::Paused | Stream::Disabled) => Some(since),
                _ => beyond(since, source),
            }
        });
        let stale_for = sources.chain(beyond(self.world.log_age, log)).max()?;
        let answer = match self.request.when_stale {
            WhenStale::Allow => return None,
            WhenStale::Deny => Answer::Deny(Refusal::Unavailable { retry_after_s: 10 }),
            WhenStale::Lifetime => {
                let permitted = self.request.lifetimes[1] + self.world.skew;
                let seed = i64::try_from(self.iat).expect("a second").cast_unsigned();
                let drawn = xxh3_64_with_seed(self.subject.as_bytes(), seed) % 120_000;
                if self.world.now < (self.issued + permitted) * 1000 || stale_for < drawn.into() {
                    return None;
                }
                let oldest = floor(self.world.now) + 1 - permitted;
                self.unless(self.issued_less_than(MINUTE), challenge(oldest))
            }
        };
        Some(finding(Reason::Stale, answer))
    }

    // D4.

    /// E13: the declaration of a source that counts.
    fn declaration(&self, source: Text) -> Option<Declaration> {
        self.events
            .iter()
            .filter_map(|event| match event.what {
                What::Source(other, declaration) if same(other, source) => {
                    // E15.
                    let key = border::event(event).record_key();
                    Some((register_time(event), key, declaration))
                }
                _ => None,
            })
            .max_by_key(|(at, key, _)| (*at, *key))
            .map(|(.., declaration)| declaration)
    }

    /// E13, E15: the times of the counting registers that restrict. `level` is how restrictive an
    /// event's word is about this object; 0 restricts nothing.
    fn restricting(
        &self,
        level: impl Fn(What) -> Option<u8>,
        emits: impl Fn(Declaration) -> bool,
    ) -> Vec<Millis> {
        let mut sources: Vec<Text> = Vec::new();
        for event in &self.events {
            if !has(&sources, event.source) {
                sources.push(event.source);
            }
        }
        let mut times = Vec::new();
        for source in sources {
            let register = self
                .events
                .iter()
                .filter(|event| same(event.source, source))
                .filter_map(|event| Some((register_time(event), level(event.what)?)))
                .max();
            let Some((at, level)) = register else { continue };
            let counts = self.declaration(source).is_none_or(|declaration| {
                emits(declaration) && declaration.retired.is_none_or(|retired| at > retired)
            });
            if counts && level > 0 {
                times.push(at);
            }
        }
        times
    }

    /// D9: the row of `account` and `device`.
    fn by_register(&self, reason: Reason, times: &[Millis]) -> Option<Finding> {
        let latest = *times.iter().max()?;
        let again = times.iter().any(|&at| self.issued_after(at));
        Some(finding(
            reason,
            if again || !self.capable {
                Answer::Deny(Refusal::Forbidden)
            } else {
                challenge(floor(latest) + 1)
            },
        ))
    }

    fn account(&self) -> Option<Finding> {
        if !self.request.enforced[0] {
            return None; // P2
        }
        let level = |what| match what {
            What::Account(user, state) if same(user, self.subject) => Some(match state {
                AccountState::Enabled => 0,
                AccountState::Disabled => 1,
                AccountState::Deleted => 2,
            }),
            _ => None,
        };
        let times = self.restricting(level, |declaration| declaration.emits_enabled);
        self.by_register(Reason::Account, &times)
    }

    fn device(&self, applying: &[&Judged<'_>]) -> Option<Finding> {
        if !self.request.enforced[2] {
            return None; // P2
        }
        let device = self.request.device?;
        let emits = |declaration: Declaration| declaration.emits_device_clear;
        let state = |what| match what {
            What::Device(other, state) if same(other, device) => Some(match state {
                DeviceState::Cleared => 0,
                DeviceState::Disabled => 1,
                DeviceState::Deleted => 2,
            }),
            _ => None,
        };
        let compliance = |what| match what {
            // E8: "device cleared: both device registers of its source".
            What::Device(other, DeviceState::Cleared) if same(other, device) => Some(0),
            What::Compliance(other, compliance) if same(other, device) => Some(match compliance {
                Compliance::Compliant => 0,
                Compliance::NotCompliant => 1,
            }),
            _ => None,
        };
        let mut times = self.restricting(state, emits);
        let required = self.request.device_compliance
            || applying.iter().any(|judged| judged.policy.grant() == Grant::CompliantDevice);
        if times.is_empty() && required {
            times = self.restricting(compliance, emits);
        }
        self.by_register(Reason::Device, &times)
    }

    // D5.

    /// D5: "lives an hour".
    fn lives_an_hour(&self) -> bool {
        self.request.expires.is_some_and(|exp| exp <= self.issued + HOUR + self.world.skew)
    }

    /// D5: judged, for one policy.
    fn is_judged(&self, policy: &Policy, certain: bool) -> bool {
        if !self.capable
            || self
                .bound
                .exceptions
                .as_ref()
                .is_some_and(|exceptions| !within(exceptions, self.seen))
        {
            return false;
        }
        let marked = self.bound.marks
            && self.request.judged.is_some_and(|mark| match range(mark) {
                Some(_) => within(&[mark], self.seen),
                None => !matches!(mark.to_lowercase().as_str(), "" | "false" | "no" | "0"),
            });
        let by_hour = self.request.audiences.iter().any(|aud| has(&self.bound.one_hour, aud))
            && certain
            && self.lives_an_hour()
            && self.sign_in.is_some()
            && !self.matches_at(policy, self.sign_in);
        marked || by_hour
    }

    /// D5: the row that holds first.
    fn row(&self, judged: &Judged<'_>, strict: bool, certain: bool) -> BlockRow {
        let policy = judged.policy;
        if policy.places.is_none() {
            return BlockRow::Anywhere;
        }
        // Reading: where `ipaddr` is not readable, nobody can say that it would not have matched.
        if strict && self.sign_in.is_some() && !self.matches_at(policy, self.sign_in) {
            return BlockRow::Strict;
        }
        let newest = self.places_since(policy).into_iter().chain([judged.since]).max();
        if self.sign_in.is_some()
            && self.sign_in == self.seen
            && newest.is_none_or(|newest| self.issued_after(newest))
        {
            return BlockRow::SameAddress;
        }
        if self.seen.is_none() || (self.sign_in.is_none() && self.lives_an_hour()) {
            return BlockRow::AddressUnknown;
        }
        if !strict && self.is_judged(policy, certain) {
            return BlockRow::Judged;
        }
        if self.issued_less_than(MINUTE) {
            return BlockRow::JustIssued;
        }
        BlockRow::Otherwise
    }

    /// D5: at most one finding of each reason, and whether a block was passed.
    fn blocks(
        &self,
        applying: &[&Judged<'_>],
        strict: bool,
        certain: bool,
    ) -> (Vec<Finding>, bool) {
        let mut all: Vec<Finding> = Vec::new();
        let mut varies = false;
        for judged in applying.iter().filter(|judged| judged.policy.grant() == Grant::Block) {
            let row = self.row(judged, strict, certain);
            let answer = match row {
                BlockRow::Judged => {
                    varies = true;
                    continue;
                }
                BlockRow::Otherwise if self.capable => challenge(self.iat + 1),
                _ => Answer::Deny(Refusal::Forbidden),
            };
            let reason = if row == BlockRow::Anywhere { Reason::Policy } else { Reason::Location };
            all.push(Finding { row: Some(row), ..finding(reason, answer) });
        }
        let mut findings = Vec::new();
        for reason in [Reason::Policy, Reason::Location] {
            let of = || all.iter().filter(|found| found.reason == reason);
            let refuses = of().find(|found| matches!(found.answer, Answer::Deny(_)));
            findings.extend(refuses.or_else(|| of().next()));
        }
        (findings, varies)
    }

    // The other reasons.

    /// P7, and whether a change was passed.
    fn conditions_changed(
        &self,
        applying: &[&Judged<'_>],
        strict: bool,
        certain: bool,
    ) -> (Option<Finding>, bool) {
        let changed = |judged: &&&Judged<'_>| {
            matches!(judged.policy.grant(), Grant::Other | Grant::CompliantDevice)
                && judged.policy.places.is_some()
                && !self.matches_at(judged.policy, self.sign_in)
        };
        let passes = |judged: &&&Judged<'_>| {
            !strict && self.is_judged(judged.policy, certain) && self.seen.is_some()
        };
        let varies = applying.iter().filter(changed).any(|judged| passes(&judged));
        let found = applying.iter().filter(changed).any(|judged| !passes(&judged)).then(|| {
            let refused = self.seen.is_none() || self.issued_less_than(MINUTE);
            finding(Reason::ConditionsChanged, self.unless(refused, challenge(self.iat + 1)))
        });
        (found, varies)
    }

    /// D7, and whether `iat` stood in.
    fn sign_in_frequency(&self, applying: &[&Judged<'_>]) -> (Option<Finding>, bool) {
        let shortest = applying
            .iter()
            .filter_map(|judged| match judged.policy.frequency {
                Some(Frequency::Within(length)) => Some(length),
                _ => None,
            })
            .min();
        let Some(shortest) = shortest else { return (None, false) };
        let since = self.request.authenticated.unwrap_or(self.iat);
        let passed = self.world.now - since * 1000;
        let found = (passed > (whole(shortest) + self.world.skew) * 1000).then(|| {
            let asks = Answer::SignIn { max_age: shortest };
            finding(Reason::SignInFrequency, self.unless(self.issued_less_than(MINUTE), asks))
        });
        (found, self.request.authenticated.is_none())
    }

    /// P8.
    fn outdated(&self, applying: &[&Judged<'_>]) -> Option<Finding> {
        let newest = applying
            .iter()
            .filter(|judged| matches!(judged.policy.grant(), Grant::Other | Grant::CompliantDevice))
            .filter_map(|judged| {
                let mut times = self.places_since(judged.policy);
                times.push(judged.since);
                times.extend(self.brought(judged.policy));
                let newest = times.into_iter().max()?;
                let passed = self.world.now >= newest + self.request.grace * 1000;
                (!self.issued_after(newest) && passed).then_some(newest)
            })
            .max()?;
        let refused = self.issued_less_than(MINUTE);
        Some(finding(Reason::Outdated, self.unless(refused, challenge(floor(newest) + 1))))
    }

    /// P8: when single words brought the subject into a policy.
    fn brought(&self, policy: &Policy) -> Vec<Millis> {
        let [_, groups, roles] = &policy.include;
        let into = groups.iter().chain(roles).map(|group| (group, true));
        let [_, groups, roles] = &policy.exclude;
        let out = groups.iter().chain(roles).map(|group| (group, false));
        let mut times = Vec::new();
        for (group, came) in into.chain(out) {
            let baseline =
                self.versions(|told| matches!(told, Told::Group(other, _) if same(other, group)));
            let words = self.single_words(group);
            let last = words.iter().map(|(at, _)| *at).max();
            if let Some(last) = last
                && !baseline.is_empty()
                && words.contains(&(last, came))
            {
                times.push(last);
            }
        }
        times
    }

    /// D8.
    fn lifetime(&self, long: bool) -> Option<Finding> {
        let permitted = self.request.lifetimes[usize::from(!long)];
        let dies = self.issued + permitted + self.world.skew;
        if self.world.now < dies * 1000 {
            return None;
        }
        let oldest = floor(self.world.now) + 1 - permitted - self.world.skew;
        let refused = self.issued_less_than(MINUTE);
        Some(finding(Reason::Lifetime, self.unless(refused, challenge(oldest))))
    }

    /// D9: 403 where a capable client is refused; 401 where a client is not capable.
    fn unless(&self, refused: bool, asks: Answer) -> Answer {
        if refused {
            Answer::Deny(Refusal::Forbidden)
        } else if self.capable {
            asks
        } else {
            Answer::Deny(Refusal::InvalidToken)
        }
    }
}

fn challenge(second: Seconds) -> Answer {
    let second = i64::try_from(second).expect("a second of 64 bits");
    Answer::Challenge { not_before: UnixSeconds::from_seconds(second) }
}

fn floor(at: Millis) -> Seconds {
    at.div_euclid(1000)
}

fn whole(length: Duration) -> Seconds {
    length.as_secs().into()
}

/// E14: "the earlier of event time and receipt".
fn register_time(event: &Event) -> Millis {
    event.occurred.min(event.received)
}

/// E15.
fn hash_of(event: &Event) -> [u8; 16] {
    match border::event(event).fact {
        Fact::Version(version) => version.body.content_hash(),
        fact => panic!("no version: {fact:?}"),
    }
}

/// E10: "the newest complete version"; every one that is complete, in order.
fn complete(events: &[&Event]) -> Vec<Version> {
    let mut versions = Vec::new();
    for first in events {
        // Reading: a version is a register, so its time is a register's (E14).
        let at = register_time(first);
        let What::Told(told, Part { version, index: 0, count }) = first.what else { continue };
        let part_of = |wanted: u32| {
            events.iter().find_map(|event| match event.what {
                What::Told(other, part)
                    if part == (Part { version, index: wanted, count })
                        && register_time(event) == at
                        && is_of_one(told, other) =>
                {
                    Some((other, hash_of(event)))
                }
                _ => None,
            })
        };
        let rest: Option<Vec<_>> = (1..count).map(part_of).collect();
        let Some(rest) = rest else { continue };
        let parts: Vec<&'static Told> =
            [told].into_iter().chain(rest.iter().map(|(part, _)| *part)).collect();
        let hashes: Vec<[u8; 16]> =
            [hash_of(first)].into_iter().chain(rest.iter().map(|(_, hash)| *hash)).collect();
        versions.push(match (&parts[..], &hashes[..]) {
            ([told], [hash]) => {
                Version { at, hash: *hash, parts: vec![*told], told: Cow::Borrowed(*told) }
            }
            _ => Version {
                at,
                hash: Body::joined_hash(&hashes),
                told: Cow::Owned(joined(&parts)),
                parts,
            },
        });
    }
    versions.sort_by_key(|version| (version.at, version.hash));
    versions
}

/// Whether both are about one thing.
fn is_of_one(one: &Told, other: &Told) -> bool {
    match (one, other) {
        (Told::Policy(one, _), Told::Policy(other, _))
        | (Told::Location(one, _), Told::Location(other, _))
        | (Told::Group(one, _), Told::Group(other, _)) => same(one, other),
        (Told::MfaTrusted(_), Told::MfaTrusted(_)) | (Told::Settings(_), Told::Settings(_)) => true,
        _ => false,
    }
}

/// E10: "lists of all parts are joined; everything else is the first part's".
fn joined(parts: &[&Told]) -> Told {
    fn join<const N: usize>(lists: &mut [Vec<Text>; N], more: &[Vec<Text>; N]) {
        for (list, more) in lists.iter_mut().zip(more) {
            list.extend(more);
        }
    }
    let mut all = parts[0].clone();
    for part in &parts[1..] {
        match (&mut all, part) {
            (Told::Policy(_, Some(policy)), Told::Policy(_, Some(more))) => {
                join(&mut policy.include, &more.include);
                join(&mut policy.exclude, &more.exclude);
                join(&mut policy.workloads, &more.workloads);
                join(&mut policy.applications, &more.applications);
                if let (Some(places), Some(more)) = (&mut policy.places, &more.places) {
                    join(places, more);
                }
                // Lists, of which it is known only whether they hold anything.
                policy.user_action |= more.user_action;
                policy.narrowed |= more.narrowed;
            }
            (Told::Location(_, Some(location)), Told::Location(_, Some(more))) => {
                if let (Some(ranges), Some(more)) = (&mut location.ranges, &more.ranges) {
                    ranges.extend(more);
                }
                if let (Some((codes, _)), Some((more, _))) =
                    (&mut location.countries, &more.countries)
                {
                    codes.extend(more);
                }
            }
            (Told::MfaTrusted(Some(ranges)), Told::MfaTrusted(Some(more))) => ranges.extend(more),
            (Told::Settings(Some(settings)), Told::Settings(Some(more))) => {
                join(&mut settings.except, &more.except);
                if let (Some(only), Some(more)) = (&mut settings.only, &more.only) {
                    join(only, more);
                }
            }
            (Told::Group(_, members), Told::Group(_, more)) => members.extend(more),
            _ => panic!("no such version is drawn: {parts:?}"),
        }
    }
    all
}

impl Version {
    /// P8: "content that is told again, in the same parts".
    fn says_what(&self, other: &Self) -> bool {
        let equal = |(one, other): (&&Told, &&Told)| equal_places(one, other);
        self.hash == other.hash
            || (self.parts.len() == other.parts.len()
                && self.parts.iter().zip(&other.parts).all(equal))
    }
}

/// T4: 8-4-4-4-12 hexadecimal digits.
fn is_guid(id: &str) -> bool {
    let groups: Vec<&str> = id.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// T4.
fn equal(one: &str, other: &str) -> bool {
    one == other || (is_guid(one) && is_guid(other) && one.eq_ignore_ascii_case(other))
}

fn same(one: Text, other: Text) -> bool {
    equal(one, other)
}

fn has(all: &[Text], one: Text) -> bool {
    all.iter().any(|other| same(other, one))
}

/// "Text that is no address is as good as none" (D6); IPv4 within IPv6 is IPv4 (P5).
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// P5: the first and the last address, of its family.
fn range(text: &str) -> Option<(bool, u128, u128)> {
    let (base, length) = match text.split_once('/') {
        Some((base, length)) => (base, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let (is_v4, bits, width) = match base.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => (true, u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), length) {
            (Some(mapped), None) => (true, u128::from(mapped.to_bits()), 32),
            (Some(_), Some(_)) => panic!("no such range is drawn: {text}"),
            (None, _) => (false, address.to_bits(), 128),
        },
    };
    let free = width - length.unwrap_or(width);
    let mask = if free == 128 { u128::MAX } else { (1 << free) - 1 };
    Some((is_v4, bits & !mask, bits | mask))
}

/// The addresses of these ranges, as disjoint stretches in order.
fn addresses(ranges: &[Text]) -> Vec<(bool, u128, u128)> {
    let mut all: Vec<(bool, u128, u128)> =
        ranges.iter().map(|text| range(text).expect("a range")).collect();
    all.sort_unstable();
    let mut joined: Vec<(bool, u128, u128)> = Vec::new();
    for (family, low, high) in all {
        match joined.last_mut() {
            Some((same, _, end)) if *same == family && low <= end.saturating_add(1) => {
                *end = high.max(*end);
            }
            _ => joined.push((family, low, high)),
        }
    }
    joined
}

/// P8: "ranges are equal where their addresses are".
fn equal_places(one: &Told, other: &Told) -> bool {
    match (one, other) {
        (Told::MfaTrusted(Some(one)), Told::MfaTrusted(Some(other))) => {
            addresses(one) == addresses(other)
        }
        (Told::Location(_, Some(one)), Told::Location(_, Some(other))) => {
            one.trusted == other.trusted
                && one.countries == other.countries
                && one.ranges.as_deref().map(addresses) == other.ranges.as_deref().map(addresses)
        }
        _ => false,
    }
}

/// Whether an address is inside one of these; one that is not known is inside none (D6).
fn within(ranges: &[Text], at: Option<IpAddr>) -> bool {
    let (is_v4, bits) = match at {
        None => return false,
        Some(IpAddr::V4(address)) => (true, u128::from(address.to_bits())),
        Some(IpAddr::V6(address)) => (false, address.to_bits()),
    };
    addresses(ranges)
        .iter()
        .any(|(family, low, high)| *family == is_v4 && (*low..=*high).contains(&bits))
}
