//! Who gets in.
//!
//! [`decide`] is total and pure: a function of a snapshot, a request and an instant. It reads no
//! clock, takes no lock, allocates nothing where it allows, and has no way to fail; what can't be known is
//! a value with an answer of its own. Each function below is one rule of `engine/SEMANTICS.md` and leaves
//! at most one finding; [`Decision::of`] makes one answer of them. Which policies apply is found in
//! [`crate::evaluate`]. What a rule looks at it shows to a [`Witness`], which is how
//! [`explain`](crate::explain::explain) knows it; here nobody watches.

use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use crate::consequence::{Facet, FinerKind};
use crate::decision::{
    Answer, BlockRow, Collected, Decision, Finding, Notes, Reason, Refusal, Report, ScopeName,
};
use crate::evaluate::{Applying, Counting, Known, Subject, Survey};
use crate::event::RiskLevel;
use crate::freshness::{self, At, Overdue, Signs, WhenStale};
use crate::ids::{Id, Name, ObjectKey};
use crate::index::names::Number;
use crate::index::ranges;
use crate::limits;
use crate::policy::{Grant, Mode};
use crate::request::{AccessRequest, Token, Unusable};
use crate::row::{Cutoff, CutoffKind, CutoffRow, Hint, NO_ISSUER, UserRow};
use crate::rules::{Issuer, Rules, Unbound};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::tenant::Tenant;
use crate::time::{UnixMillis, UnixSeconds};
use crate::witness::{Nobody, ScopeSight, Sight, Witness};

/// Decides one request.
pub fn decide(snapshot: &Snapshot, request: &AccessRequest<'_>, at: At) -> Decision {
    decide_before(&Nobody, snapshot, request, at)
}

/// Decides one request before a witness.
pub(crate) fn decide_before<W: Witness>(
    witness: &W,
    snapshot: &Snapshot,
    request: &AccessRequest<'_>,
    At { now, log_age }: At,
) -> Decision {
    let generation = snapshot.generation;
    let rules = snapshot.rules();
    let token = match &request.token {
        Ok(token) => token,
        Err(unusable) => return unusable.refusal(generation),
    };
    let issued_at = match alive(token, rules, now) {
        Ok(issued_at) => issued_at,
        Err(reason) => return Decision::refuse(generation, reason, Refusal::InvalidToken),
    };
    let issuer = match rules.bind(token.issuer.as_str(), token.tenant.as_str()) {
        Ok(issuer) => issuer,
        Err(unbound) => {
            let reason = match unbound {
                Unbound::Issuer => Reason::UnknownIssuer,
                Unbound::Tenant => Reason::TenantNotServed,
            };
            return Decision::refuse(generation, reason, Refusal::Forbidden);
        }
    };
    witness.saw(|| Sight::Issuer(issuer));
    if !snapshot.caught_up {
        let wait = Refusal::Unavailable { retry_after_s: limits::RETRY_AFTER_NOT_READY_S };
        return Decision::refuse(generation, Reason::NotReady, wait);
    }
    let tenant = snapshot.state.tenants.get(token.tenant.as_str());
    let rows =
        tenant.map(|(number, tenant)| Rows::of(&snapshot.state, number, tenant, request, token));
    witness.saw(|| Sight::Ages { log: log_age, tenant });
    let mut judge = Judge {
        witness,
        snapshot,
        request,
        token,
        issuer,
        tenant,
        rows: rows.unwrap_or_default(),
        issued_at,
        issued: issued_at.saturating_add(issuer.issue_time_skew),
        capable: token.is_capable(request.profile),
        clock_skew: rules.clock_skew,
        now,
        log_age,
        notes: Notes::default(),
    };
    judge.decision()
}

/// Whether a mark says that there is none, as whoever handed it on may have written that.
fn is_no(mark: &str) -> bool {
    mark.is_empty() || ["false", "no", "0"].iter().any(|no| mark.eq_ignore_ascii_case(no))
}

impl Unusable {
    /// What is answered where there is no token to decide about.
    fn refusal(self, generation: u64) -> Decision {
        let (reason, refusal) = match self {
            Self::Unverified => (Reason::Unverified, Refusal::InvalidToken),
            Self::Unverifiable => {
                let wait = limits::RETRY_AFTER_KEYS_S;
                (Reason::Unverifiable, Refusal::Unavailable { retry_after_s: wait })
            }
            Self::Malformed(_) => (Reason::Malformed, Refusal::InvalidToken),
        };
        Decision::refuse(generation, reason, refusal)
    }
}

/// D1: whether a token of the right shape is alive at all. Returns its issue time.
fn alive(token: &Token<'_>, rules: &Rules, now: UnixMillis) -> Result<UnixSeconds, Reason> {
    let skew = rules.clock_skew;
    let at = |seconds: i64| UnixSeconds::from_seconds(seconds);
    let issued_at = token.issued_at.map(at).ok_or(Reason::IssueTimeMissing)?;
    // Whole seconds on the left of each comparison: `now` has passed a second exactly when its
    // floor has reached it.
    let now = now.floor_to_second();
    if now >= issued_at.saturating_add(rules.horizon) {
        return Err(Reason::BeyondHorizon);
    }
    if token.expires.is_some_and(|expires| now >= at(expires).saturating_add(skew)) {
        return Err(Reason::Expired);
    }
    let latest = now.saturating_add(skew);
    if issued_at > latest || token.not_before.is_some_and(|not_before| at(not_before) > latest) {
        return Err(Reason::NotYetValid);
    }
    Ok(issued_at)
}

/// One token before everything that is known.
struct Judge<'a, W> {
    witness: &'a W,
    snapshot: &'a Snapshot,
    request: &'a AccessRequest<'a>,
    token: &'a Token<'a>,
    issuer: &'a Issuer,
    /// `None`: no event of the tenant was ever seen, and there is nothing to look up.
    tenant: Option<(Number, &'a Tenant)>,
    rows: Rows<'a>,
    /// The token's `iat`.
    issued_at: UnixSeconds,
    /// When the token was really issued: `iat` and the issuer's back-dating.
    issued: UnixSeconds,
    capable: bool,
    clock_skew: Duration,
    now: UnixMillis,
    log_age: Duration,
    notes: Notes,
}

/// What stands under a token's own ids and addresses. All of it is looked up in one go: the processor then
/// waits for memory once, and not once for each.
#[derive(Default)]
struct Rows<'a> {
    /// The token before the policies of its tenant.
    subject: Option<Subject<'a>>,
    user: Option<&'a UserRow>,
    session: Option<&'a CutoffRow>,
    token: Option<&'a CutoffRow>,
    client: Option<&'a CutoffRow>,
    device: Option<&'a CutoffRow>,
}

impl<'a> Rows<'a> {
    #[inline]
    fn of(
        state: &'a State,
        number: Number,
        tenant: &Tenant,
        request: &'a AccessRequest<'a>,
        token: &'a Token<'a>,
    ) -> Self {
        let user = token.subject.key();
        // Without a directory there are no policies; everything else is the same.
        let directory = state.directories.get(number).filter(|_| tenant.has_directory);
        let mut rows = Self {
            subject: directory.map(|directory| {
                let AccessRequest { profile, seen, .. } = *request;
                Subject::new(directory, token, profile, seen, || state.subject(number, user))
            }),
            user: state.user(number, tenant, user),
            ..Self::default()
        };
        if tenant.has_finer() {
            let row = |kind| {
                let is_there = tenant.has(CutoffKind::finer(kind));
                let id = finer_id(token, kind).filter(|_| is_there)?;
                let issuer = finer_issuer(state, token, kind)?;
                state.cutoff(number, tenant, CutoffKind::finer(kind), issuer, id.key())
            };
            rows.session = row(FinerKind::Session);
            rows.token = row(FinerKind::Token);
            rows.client = row(FinerKind::Client);
            rows.device = row(FinerKind::Device);
        }
        rows
    }
}

/// The highest cutoff that reaches the token.
#[derive(Clone, Copy)]
struct Reached {
    not_before: UnixSeconds,
    scope: ScopeName,
    since: UnixMillis,
}

/// How much is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Ages alone: D7 and D8.
    Ages,
    /// Everything.
    Whole,
}

impl<'a, W: Witness> Judge<'a, W> {
    fn decision(&mut self) -> Decision {
        let mut enforced = Collected::shown();
        let Some(subject) = self.rows.subject else {
            self.witness.saw(|| Sight::Scope(None));
            let survey = Survey::default();
            self.findings(&mut enforced, Extent::Whole, &survey, None);
            let permitted = self.permitted(Known::Yes, &survey);
            self.lifetime(&mut enforced, permitted);
            self.stale(&mut enforced);
            return self.answer(enforced, None, None);
        };
        let honoured = !self.capable && subject.honours_incapable();
        let is_limited = |scope| scope == Known::No || honoured;
        let scope = subject.scope(Counting::Enforced);
        let is_reported = subject.view.mode == Mode::ReportOnly && !is_limited(scope);
        self.witness.saw(|| {
            let mode = subject.view.mode;
            let is_limited = is_limited(scope);
            Sight::Scope(Some(ScopeSight { mode, scope, is_limited, is_reported }))
        });
        let extent = if is_limited(scope) || is_reported { Extent::Ages } else { Extent::Whole };
        self.evaluate(&mut enforced, extent, Counting::Enforced, scope, subject);
        let report = (is_reported || subject.view.reports).then(|| {
            self.witness.saw(|| Sight::Report);
            let notes = self.notes;
            let mut counted = Collected::counted();
            let scope = subject.scope(Counting::Reported);
            let extent = if is_limited(scope) { Extent::Ages } else { Extent::Whole };
            self.evaluate(&mut counted, extent, Counting::Reported, scope, subject);
            self.notes = notes;
            counted.outcome.report()
        });
        self.answer(enforced, report, subject.address())
    }

    fn answer(
        &self,
        enforced: Collected,
        report: Option<Report>,
        address: Option<IpAddr>,
    ) -> Decision {
        let decision = Decision::of(self.snapshot.generation, enforced, address);
        let source_age = self.signs().and_then(|signs| signs.age(self.now));
        Decision { notes: self.notes, report, source_age, ..decision }
    }

    fn state(&self) -> &'a State {
        &self.snapshot.state
    }

    /// What declared sources of the tenant let be heard, where there are any.
    fn signs(&self) -> Option<&'a Signs> {
        let (number, tenant) = self.tenant?;
        if !tenant.gives_signs {
            return None;
        }
        self.state().signs.get(number)
    }

    /// Everything that policies bear on.
    fn evaluate(
        &mut self,
        collected: &mut Collected,
        extent: Extent,
        counting: Counting,
        scope: Known,
        mut subject: Subject<'a>,
    ) {
        let survey = subject.survey(counting);
        self.witness.saw(|| Sight::Policies { subject: &subject, counting, survey: &survey });
        self.notes.location_not_evaluated |= survey.left_out && extent == Extent::Whole;
        let policies = Policies { subject: &subject, counting, scope, survey: &survey };
        self.findings(collected, extent, &survey, Some(&policies));
        self.sign_in_frequency(collected, &survey);
        if extent == Extent::Whole && survey.refuses {
            self.outdated(collected, &policies);
        }
        let permitted = self.permitted(scope, &survey);
        self.lifetime(collected, permitted);
        if extent == Extent::Whole {
            self.stale(collected);
        }
    }

    /// Every reason up to changed conditions, in the order of [`Reason`].
    fn findings(
        &mut self,
        collected: &mut Collected,
        extent: Extent,
        survey: &Survey,
        policies: Option<&Policies<'_, 'a>>,
    ) {
        if extent == Extent::Ages {
            return;
        }
        if let Some((number, tenant)) = self.tenant {
            let known = Judged { judge: self, state: self.state(), number, tenant };
            known.findings(collected, survey.needs_compliance);
        }
        if let Some(policies) = policies.filter(|_| survey.refuses) {
            self.blocked(collected, policies);
            self.conditions_changed(collected, policies);
        }
    }

    /// D5: a policy that blocks.
    fn blocked(&mut self, collected: &mut Collected, policies: &Policies<'_, 'a>) {
        let mut anywhere: Option<Finding> = None;
        let mut here: Option<Finding> = None;
        for applying in policies.subject.applying(policies.counting) {
            let standing = applying.standing;
            if standing.policy.grant != Grant::Block {
                continue;
            }
            let row = self.block_row(&applying, policies);
            self.witness.saw(|| Sight::Block { policy: standing, row });
            let forbidden = Answer::Deny(Refusal::Forbidden);
            let answer = match row {
                BlockRow::Judged => {
                    self.notes.ip_variation = true;
                    continue;
                }
                // What a client that can't be asked gets next is refused again.
                BlockRow::Otherwise if self.capable => {
                    Answer::Challenge { not_before: self.issued_at.next() }
                }
                _ => forbidden,
            };
            let is_anywhere = row == BlockRow::Anywhere;
            let reason = if is_anywhere { Reason::Policy } else { Reason::Location };
            let slot = if is_anywhere { &mut anywhere } else { &mut here };
            let outweighs = |known: &Finding| answer == forbidden && known.answer != forbidden;
            if slot.as_ref().is_none_or(outweighs) {
                *slot = Some(Finding {
                    policy: Some(standing.policy.id.clone()),
                    row: Some(row),
                    ..Finding::new(reason, Some(standing.changed), answer)
                });
            }
        }
        for finding in [anywhere, here].into_iter().flatten() {
            collected.push(finding);
        }
    }

    /// The first row of D5's table that counts.
    fn block_row(&self, applying: &Applying<'_>, policies: &Policies<'_, 'a>) -> BlockRow {
        let Policies { subject, survey, .. } = policies;
        let signed_in_at = subject.signed_in_at.and_then(|at| at.address);
        if applying.standing.policy.places.is_none() {
            BlockRow::Anywhere
        } else if survey.is_strict && applying.at_sign_in == Some(false) {
            BlockRow::Strict
        } else if signed_in_at.is_some()
            && signed_in_at == subject.address()
            && self.is_issued_after(applying.standing.changed)
        {
            BlockRow::SameAddress
        } else if subject.address().is_none() || (signed_in_at.is_none() && self.lives_an_hour()) {
            BlockRow::AddressUnknown
        } else if !survey.is_strict && self.is_judged(applying, policies) {
            BlockRow::Judged
        } else if self.is_younger_than(limits::FRESH_TOKEN) {
            BlockRow::JustIssued
        } else {
            BlockRow::Otherwise
        }
    }

    /// D5: whether the identity provider saw another address than we do and let the user in.
    fn is_judged(&self, applying: &Applying<'_>, policies: &Policies<'_, 'a>) -> bool {
        let Policies { subject, scope, survey, .. } = policies;
        let Some(address) = subject.address() else { return false };
        let judged = &self.issuer.judged;
        if !self.capable
            || judged.exception_ranges.as_ref().is_some_and(|only| !only.contains(address))
        {
            return false;
        }
        let is_marked = judged.by_mark
            && self.token.judged.is_some_and(|mark| {
                // A mark that is an address or a range is for that only.
                ranges::holds(mark, address).unwrap_or(!is_no(mark))
            });
        let is_short = !judged.one_hour_audiences.is_empty()
            && self.token.audiences.iter().any(|one| judged.one_hour_audiences.contains(one))
            && *scope == Known::Yes
            && !self.token.is_guest
            && !survey.is_plain
            && self.lives_an_hour()
            && applying.at_sign_in == Some(false);
        is_marked || is_short
    }

    /// Whether the token was issued to live an hour.
    fn lives_an_hour(&self) -> bool {
        let hour = limits::ONE_HOUR + self.clock_skew;
        self.token.expires.is_some_and(|expires| {
            UnixSeconds::from_seconds(expires) <= self.issued.saturating_add(hour)
        })
    }

    /// P7: a policy that demands something now and did not at the sign-in.
    fn conditions_changed(&mut self, collected: &mut Collected, policies: &Policies<'_, 'a>) {
        let Policies { subject, survey, counting, .. } = policies;
        for applying in subject.applying(*counting) {
            let policy = &applying.standing.policy;
            let asks_more = matches!(policy.grant, Grant::Other | Grant::CompliantDevice);
            if !asks_more || applying.at_sign_in != Some(false) {
                continue;
            }
            let passes = !survey.is_strict && self.is_judged(&applying, policies);
            self.witness.saw(|| Sight::DemandsMore { policy: applying.standing, passes });
            if passes {
                self.notes.ip_variation = true;
                continue;
            }
            let is_refused =
                subject.address().is_none() || self.is_younger_than(limits::FRESH_TOKEN);
            let challenge = Answer::Challenge { not_before: self.issued_at.next() };
            let answer = self.ask(challenge, is_refused);
            collected.push(Finding {
                policy: Some(policy.id.clone()),
                ..Finding::new(Reason::ConditionsChanged, None, answer)
            });
            return;
        }
    }

    /// D7: how long ago the sign-in may be.
    fn sign_in_frequency(&mut self, collected: &mut Collected, survey: &Survey) {
        let Some(frequency) = survey.frequency else { return };
        let authenticated = self.token.authenticated.map(UnixSeconds::from_seconds);
        self.notes.sign_in_time_missing |= authenticated.is_none();
        let since = authenticated.unwrap_or(self.issued_at);
        self.witness.saw(|| Sight::SignIn { frequency, since });
        if self.now.is_after(since.saturating_add(frequency).saturating_add(self.clock_skew)) {
            let is_refused = self.is_younger_than(limits::FRESH_TOKEN);
            let answer = self.ask(Answer::SignIn { max_age: frequency }, is_refused);
            collected.push(Finding::new(Reason::SignInFrequency, None, answer));
        }
    }

    /// P8: a token from before a change of policy, longer ago than the grace.
    fn outdated(&self, collected: &mut Collected, policies: &Policies<'_, 'a>) {
        let Policies { subject, counting, .. } = policies;
        let grace = self.request.profile.outdated_grace;
        let mut newest: Option<(UnixMillis, Name)> = None;
        for Applying { standing, .. } in subject.applying(*counting) {
            if !matches!(standing.policy.grant, Grant::Other | Grant::CompliantDevice) {
                continue;
            }
            let came = subject
                .number
                .and_then(|number| standing.came_under(subject.directory, number))
                .unwrap_or_default();
            let changed = standing.changed.max(came);
            let counts =
                !self.is_issued_after(changed) && self.now >= changed.saturating_add(grace);
            self.witness.saw(|| Sight::Change { policy: standing, changed, counts });
            if counts && newest.as_ref().is_none_or(|(known, _)| changed > *known) {
                newest = Some((changed, standing.policy.id.clone()));
            }
        }
        let Some((changed, policy)) = newest else { return };
        let is_refused = self.is_younger_than(limits::FRESH_TOKEN);
        let challenge = Answer::Challenge { not_before: changed.floor_to_second().next() };
        let answer = self.ask(challenge, is_refused);
        let finding = Finding::new(Reason::Outdated, Some(changed), answer);
        collected.push(Finding { policy: Some(policy), ..finding });
    }

    /// D8: how long the token is honoured.
    fn permitted(&self, scope: Known, survey: &Survey) -> Duration {
        let profile = self.request.profile;
        let is_long =
            self.capable && scope == Known::Yes && !survey.is_plain && !self.token.is_guest;
        let permitted = if is_long { profile.long_lifetime } else { profile.plain_lifetime };
        self.witness.saw(|| {
            let is_plain = survey.is_plain;
            Sight::Lifetime { permitted: permitted + self.clock_skew, scope, is_plain }
        });
        permitted
    }

    /// D8: a token that is older than it may become.
    fn lifetime(&self, collected: &mut Collected, permitted: Duration) {
        if let Some(answer) = self.too_old(permitted) {
            collected.push(Finding::new(Reason::Lifetime, None, answer));
        }
    }

    /// What is asked where a token is older than is permitted, the skew included: one of the oldest second
    /// that passes.
    fn too_old(&self, permitted: Duration) -> Option<Answer> {
        let permitted = permitted + self.clock_skew;
        let now = self.now.floor_to_second();
        if now < self.issued.saturating_add(permitted) {
            return None;
        }
        let is_refused = self.is_younger_than(limits::FRESH_TOKEN);
        let oldest = Answer::Challenge { not_before: now.saturating_sub(permitted).next() };
        Some(self.ask(oldest, is_refused))
    }

    /// F3: what is known is too old.
    fn stale(&self, collected: &mut Collected) {
        let after = self.snapshot.rules().stale_after;
        let log = freshness::log_overdue(self.log_age, self.now, after.log);
        let source = self.signs().and_then(|signs| signs.overdue(self.now, after.source));
        let Some(Overdue { by, since }) = freshness::longer(log, source) else { return };
        let answer = match self.request.profile.when_stale {
            WhenStale::Allow => return,
            WhenStale::Deny => {
                let retry_after_s = limits::RETRY_AFTER_STALE_S;
                Answer::Deny(Refusal::Unavailable { retry_after_s })
            }
            WhenStale::Lifetime => {
                let too_old = self.too_old(self.request.profile.plain_lifetime);
                let is_due = |_: &Answer| by >= freshness::spread(self.token, self.issued_at);
                let Some(answer) = too_old.filter(is_due) else { return };
                answer
            }
        };
        collected.push(Finding::new(Reason::Stale, Some(since), answer));
    }

    /// D9's table: what is asked of a capable client, unless another token would not help.
    fn ask(&self, question: Answer, is_refused: bool) -> Answer {
        if is_refused {
            Answer::Deny(Refusal::Forbidden)
        } else if self.capable {
            question
        } else {
            Answer::Deny(Refusal::InvalidToken)
        }
    }

    /// Whether the token was issued after an instant: D3's comparison is false.
    fn is_issued_after(&self, at: UnixMillis) -> bool {
        self.issued > at.floor_to_second()
    }

    /// Whether the token was issued less than `age` ago.
    fn is_younger_than(&self, age: Duration) -> bool {
        // In milliseconds, since `now` is. An issue time before 1970 is not young.
        let issued_ms = u64::try_from(self.issued.as_seconds()).map(|s| s.saturating_mul(1000));
        issued_ms.is_ok_and(|issued| self.now < UnixMillis::from_millis(issued).saturating_add(age))
    }
}

/// The policies that count, before a token.
struct Policies<'p, 'a> {
    subject: &'p Subject<'a>,
    counting: Counting,
    scope: Known,
    survey: &'p Survey,
}

/// One token before what events said of its tenant.
struct Judged<'j, 'a, W> {
    judge: &'j Judge<'a, W>,
    state: &'a State,
    number: Number,
    tenant: &'a Tenant,
}

impl<'a, W> Deref for Judged<'_, 'a, W> {
    type Target = Judge<'a, W>;

    fn deref(&self) -> &Judge<'a, W> {
        self.judge
    }
}

impl<W: Witness> Judged<'_, '_, W> {
    /// D3 and D4, in the order of [`Reason`].
    fn findings(&self, findings: &mut Collected, needs_compliance: bool) {
        let profile = self.request.profile;
        let hints = self.rows.user.map_or(Hint::NONE, UserRow::hints);
        if profile.revocation {
            if let Some(reached) = self.revoked(hints) {
                findings.push(self.cutoff_finding(Reason::Revoked, reached, Some(reached.scope)));
            }
            if hints.has(Hint::register(Facet::Account)) {
                let user = self.token.subject.key();
                self.witness.saw(|| self.object(Facet::Account, user));
                self.register(findings, Reason::Account, Facet::Account, user);
            }
        }
        if profile.user_risk
            && let Some(reached) = self.risk(hints)
        {
            findings.push(self.cutoff_finding(Reason::Risk, reached, None));
        }
        if let Some(row) = self.row(FinerKind::Device).filter(|_| profile.device) {
            let object = crate::index::Row::key(row).id;
            let needs_compliance = profile.device_compliance || needs_compliance;
            let mut refused = false;
            for (facet, counts) in
                [(Facet::DeviceState, true), (Facet::DeviceCompliance, needs_compliance)]
            {
                if counts && row.hints.has(Hint::register(facet)) {
                    self.witness.saw(|| self.object(facet, object));
                    refused = refused || self.register(findings, Reason::Device, facet, object);
                }
            }
        }
    }

    const fn object(&self, facet: Facet, object: ObjectKey) -> Sight<'_> {
        Sight::Object { tenant: self.tenant, number: self.number, facet, object }
    }

    /// D3 over every scope that applies to the token: the highest cutoff counts, and no scope hides
    /// another (E12).
    fn revoked(&self, hints: Hint) -> Option<Reached> {
        let mut highest = Highest(None);
        highest.offer(self.before(self.tenant.cutoff, ScopeName::Tenant));
        if let Some(row) = self.rows.user {
            highest.offer(self.before(row.cutoff(), ScopeName::User));
        }
        for kind in FinerKind::ALL.into_iter().filter(|_| self.tenant.has_finer()) {
            if let Some(row) = self.row(kind) {
                highest.offer(self.finer(kind, row.cutoff(), finer_scope(kind)));
            }
        }
        for kind in FinerKind::ALL {
            if hints.has(Hint::pair(kind)) {
                highest.offer(self.pair(kind));
            }
        }
        highest.0
    }

    /// E7: what was revoked of this user alone.
    fn pair(&self, kind: FinerKind) -> Option<Reached> {
        let scope = pair_scope(kind);
        let user = self.token.subject.key();
        let Some(id) = finer_id(self.token, kind) else {
            // The token does not say which one it belongs to.
            let row = self.user_row(CutoffKind::without(kind))?;
            return self.before(row.cutoff(), scope);
        };
        let issuer = finer_issuer(self.state, self.token, kind)?;
        let cutoff = self.state.pair(self.number, kind, issuer, user, id.key())?;
        self.finer(kind, cutoff, scope)
    }

    /// E5: the highest cutoff of a risk level that the resource minds.
    fn risk(&self, hints: Hint) -> Option<Reached> {
        let mut highest = Highest(None);
        for level in [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High] {
            if level >= self.request.profile.risk_threshold
                && hints.has(Hint::risk(level))
                && let Some(row) = self.user_row(CutoffKind::risk(level))
            {
                let cutoff = row.cutoff();
                let reached = self.reached(cutoff.at, ScopeName::User);
                self.witness.saw(|| Sight::Risk { level, cutoff, reaches: reached.is_some() });
                highest.offer(reached);
            }
        }
        highest.0
    }

    /// D3: a token issued before a cutoff, both taken in whole seconds, as `iat` is.
    fn before(&self, cutoff: Cutoff, scope: ScopeName) -> Option<Reached> {
        let reached = self.reached(cutoff.at, scope);
        self.witness.saw(|| Sight::Cutoff { scope, cutoff, reaches: reached.is_some() });
        reached
    }

    fn reached(&self, cutoff: UnixMillis, scope: ScopeName) -> Option<Reached> {
        let second = cutoff.floor_to_second();
        let reached = cutoff > UnixMillis::ZERO && self.issued <= second;
        reached.then_some(Reached { not_before: second.next(), scope, since: cutoff })
    }

    /// A token that was revoked by its own id is revoked whatever its issue time (E6); any other
    /// finer thing has a cutoff.
    fn finer(&self, kind: FinerKind, cutoff: Cutoff, scope: ScopeName) -> Option<Reached> {
        match kind {
            FinerKind::Token => {
                self.witness.saw(|| Sight::Cutoff { scope, cutoff, reaches: true });
                let not_before = cutoff.at.floor_to_second().next().max(self.issued_at.next());
                Some(Reached { not_before, scope, since: cutoff.at })
            }
            FinerKind::Session | FinerKind::Client | FinerKind::Device => {
                self.before(cutoff, scope)
            }
        }
    }

    /// D9's table, first row: a cutoff is cleared by a token of the next second, unless that second
    /// is still to come and the client has just been sent for a token.
    fn cutoff_finding(
        &self,
        reason: Reason,
        reached: Reached,
        scope: Option<ScopeName>,
    ) -> Finding {
        let Reached { not_before, since, .. } = reached;
        let now = self.now.floor_to_second();
        let is_ahead = not_before > now.saturating_add(limits::CHALLENGE_AHEAD_MAX);
        let answer = if !self.capable {
            // A token issued now would be refused as well while the second is ahead.
            Answer::Deny(if is_ahead { Refusal::Forbidden } else { Refusal::InvalidToken })
        } else if is_ahead && self.is_younger_than(limits::FRESH_TOKEN + self.clock_skew) {
            let wait_s = not_before.as_seconds().saturating_sub(now.as_seconds());
            let retry_after_s = u32::try_from(wait_s).unwrap_or(u32::MAX);
            Answer::Deny(Refusal::Unavailable { retry_after_s })
        } else {
            Answer::Challenge { not_before }
        };
        Finding { scope, ..Finding::new(reason, Some(since), answer) }
    }

    /// D4: an object in a state that refuses it, whatever the token's age. A token from before that
    /// is challenged, so that the client learns the outcome from the identity provider; one issued
    /// since is refused, as the next one would be. Returns whether there was one.
    fn register(
        &self,
        findings: &mut Collected,
        reason: Reason,
        facet: Facet,
        object: ObjectKey,
    ) -> bool {
        // Several sources may say so. Any word that the token was issued after refuses it.
        let mut words: Option<(UnixMillis, UnixMillis)> = None;
        for row in self.state.restricting(self.number, self.tenant, facet, object) {
            words =
                Some(words.map_or((row.at, row.at), |(first, last)| {
                    (first.min(row.at), last.max(row.at))
                }));
        }
        let Some((first, last)) = words else { return false };
        let issued_since = self.issued > first.floor_to_second();
        let answer = if !self.capable || issued_since {
            Answer::Deny(Refusal::Forbidden)
        } else {
            Answer::Challenge { not_before: last.floor_to_second().next() }
        };
        findings.push(Finding::new(reason, Some(last), answer));
        true
    }

    /// The token's own row of a kind.
    const fn row(&self, kind: FinerKind) -> Option<&CutoffRow> {
        let rows = &self.judge.rows;
        match kind {
            FinerKind::Session => rows.session,
            FinerKind::Token => rows.token,
            FinerKind::Client => rows.client,
            FinerKind::Device => rows.device,
        }
    }

    /// Another row of the user.
    fn user_row(&self, kind: CutoffKind) -> Option<&CutoffRow> {
        let user = self.token.subject.key();
        self.state.cutoff(self.number, self.tenant, kind, NO_ISSUER, user)
    }
}

const fn finer_id<'t>(token: &Token<'t>, kind: FinerKind) -> Option<Id<'t>> {
    match kind {
        FinerKind::Session => token.session,
        FinerKind::Token => token.id,
        FinerKind::Client => token.client,
        FinerKind::Device => token.device,
    }
}

/// Sessions and tokens are numbered by their issuer; `None` where no event ever named it.
fn finer_issuer(state: &State, token: &Token<'_>, kind: FinerKind) -> Option<Number> {
    match kind {
        FinerKind::Session | FinerKind::Token => state.issuer(token.issuer.as_str()),
        FinerKind::Client | FinerKind::Device => Some(NO_ISSUER),
    }
}

/// Keeps the highest; of two equal ones the first offered.
struct Highest(Option<Reached>);

impl Highest {
    fn offer(&mut self, candidate: Option<Reached>) {
        if let Some(candidate) = candidate
            && self.0.is_none_or(|highest| candidate.not_before > highest.not_before)
        {
            self.0 = Some(candidate);
        }
    }
}

const fn finer_scope(kind: FinerKind) -> ScopeName {
    match kind {
        FinerKind::Session => ScopeName::Session,
        FinerKind::Token => ScopeName::Token,
        FinerKind::Client => ScopeName::Client,
        FinerKind::Device => ScopeName::Device,
    }
}

const fn pair_scope(kind: FinerKind) -> ScopeName {
    match kind {
        FinerKind::Session => ScopeName::UserSession,
        FinerKind::Token => ScopeName::UserToken,
        FinerKind::Client => ScopeName::UserClient,
        FinerKind::Device => ScopeName::UserDevice,
    }
}
