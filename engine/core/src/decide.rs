//! Who gets in.
//!
//! [`decide`] is total and pure: a function of a snapshot, a request and an instant. It reads no
//! clock, takes no lock, allocates nothing, and has no way to fail; what can't be known is a value
//! with an answer of its own. Each function below is one rule of `engine/SEMANTICS.md` and leaves
//! at most one finding; [`Decision::from_findings`] makes one answer of them.

use std::time::Duration;

use crate::consequence::{Facet, FinerKind};
use crate::decision::{Answer, Decision, Finding, Findings, Reason, Refusal, ScopeName};
use crate::event::RiskLevel;
use crate::ids::{Id, ObjectKey};
use crate::index::names::Number;
use crate::limits;
use crate::request::{AccessRequest, Token};
use crate::row::{CutoffKind, CutoffRow, Hint, NO_ISSUER};
use crate::rules::{Profile, Rules, Unbound};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::tenant::Tenant;
use crate::time::{UnixMillis, UnixSeconds};

/// Decides one request.
pub fn decide(snapshot: &Snapshot, request: &AccessRequest<'_>, now: UnixMillis) -> Decision {
    let generation = snapshot.generation;
    let rules = snapshot.rules();
    let Ok(token) = &request.token else {
        return Decision::refuse(generation, Reason::Malformed, Refusal::InvalidToken);
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
    if !snapshot.caught_up {
        let wait = Refusal::Unavailable { retry_after_s: limits::RETRY_AFTER_NOT_READY_S };
        return Decision::refuse(generation, Reason::NotReady, wait);
    }
    let mut findings = Findings::default();
    // A tenant of which no event was ever seen has nothing to look up.
    if let Some((number, tenant)) = snapshot.state.tenants.get(token.tenant.as_str()) {
        let judge = Judge {
            state: &snapshot.state,
            number,
            tenant,
            token,
            profile: request.profile,
            user: token.subject.key(),
            issued_at,
            issued: issued_at.saturating_add(issuer.issue_time_skew),
            capable: token.is_capable(request.profile),
            clock_skew: rules.clock_skew,
            now,
        };
        judge.findings(&mut findings);
    }
    Decision::from_findings(generation, findings)
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

/// One token before one tenant's state.
struct Judge<'a> {
    state: &'a State,
    number: Number,
    tenant: &'a Tenant,
    token: &'a Token<'a>,
    profile: &'a Profile,
    user: ObjectKey,
    /// The token's `iat`.
    issued_at: UnixSeconds,
    /// When the token was really issued: `iat` and the issuer's back-dating.
    issued: UnixSeconds,
    capable: bool,
    clock_skew: Duration,
    now: UnixMillis,
}

/// The highest cutoff that reaches the token.
#[derive(Clone, Copy)]
struct Reached {
    not_before: UnixSeconds,
    scope: ScopeName,
    since: UnixMillis,
}

impl Judge<'_> {
    /// Every reason, in the order of [`Reason`].
    fn findings(&self, findings: &mut Findings) {
        let user = self.cutoff_row(CutoffKind::User, NO_ISSUER, self.user);
        let hints = user.map_or(Hint::NONE, |row| row.hints);
        let device = self
            .token
            .device
            .filter(|_| self.tenant.has(CutoffKind::Device))
            .and_then(|id| self.cutoff_row(CutoffKind::Device, NO_ISSUER, id.key()));
        if let Some(reached) = self.revoked(user, device, hints) {
            findings.push(self.cutoff_finding(Reason::Revoked, reached, Some(reached.scope)));
        }
        if hints.has(Hint::register(Facet::Account)) {
            self.register(findings, Reason::Account, Facet::Account, self.user);
        }
        if let Some(reached) = self.risk(hints) {
            findings.push(self.cutoff_finding(Reason::Risk, reached, None));
        }
        if let Some(row) = device {
            let object = crate::index::Row::key(row).id;
            let refused = row.hints.has(Hint::register(Facet::DeviceState))
                && self.register(findings, Reason::Device, Facet::DeviceState, object);
            if !refused
                && self.profile.device_compliance
                && row.hints.has(Hint::register(Facet::DeviceCompliance))
            {
                self.register(findings, Reason::Device, Facet::DeviceCompliance, object);
            }
        }
    }

    /// D3 over every scope that applies to the token: the highest cutoff counts, and no scope hides
    /// another (E12).
    fn revoked(
        &self,
        user: Option<&CutoffRow>,
        device: Option<&CutoffRow>,
        hints: Hint,
    ) -> Option<Reached> {
        let mut highest = Highest(None);
        highest.offer(self.before(self.tenant.cutoff.at, ScopeName::Tenant));
        if let Some(row) = user {
            highest.offer(self.before(row.cutoff().at, ScopeName::User));
        }
        for kind in [FinerKind::Session, FinerKind::Token, FinerKind::Client] {
            if self.tenant.has(CutoffKind::finer(kind))
                && let Some(id) = self.finer_id(kind)
                && let Some(issuer) = self.finer_issuer(kind)
                && let Some(row) = self.cutoff_row(CutoffKind::finer(kind), issuer, id.key())
            {
                highest.offer(self.finer(kind, row.cutoff().at, finer_scope(kind)));
            }
        }
        if let Some(row) = device {
            highest.offer(self.before(row.cutoff().at, ScopeName::Device));
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
        let Some(id) = self.finer_id(kind) else {
            // The token does not say which one it belongs to.
            let row = self.cutoff_row(CutoffKind::without(kind), NO_ISSUER, self.user)?;
            return self.before(row.cutoff().at, scope);
        };
        let issuer = self.finer_issuer(kind)?;
        let cutoff = self.state.pair(self.number, kind, issuer, self.user, id.key())?;
        self.finer(kind, cutoff.at, scope)
    }

    /// E5: the highest cutoff of a risk level that the resource minds.
    fn risk(&self, hints: Hint) -> Option<Reached> {
        let mut highest = Highest(None);
        for level in [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High] {
            if level >= self.profile.risk_threshold
                && hints.has(Hint::risk(level))
                && let Some(row) = self.cutoff_row(CutoffKind::risk(level), NO_ISSUER, self.user)
            {
                highest.offer(self.before(row.cutoff().at, ScopeName::User));
            }
        }
        highest.0
    }

    /// D3: a token issued before a cutoff, both taken in whole seconds, as `iat` is.
    fn before(&self, cutoff: UnixMillis, scope: ScopeName) -> Option<Reached> {
        let second = cutoff.floor_to_second();
        let reached = cutoff > UnixMillis::ZERO && self.issued <= second;
        reached.then_some(Reached { not_before: second.next(), scope, since: cutoff })
    }

    /// A token that was revoked by its own id is revoked whatever its issue time (E6); any other
    /// finer thing has a cutoff.
    fn finer(&self, kind: FinerKind, cutoff: UnixMillis, scope: ScopeName) -> Option<Reached> {
        match kind {
            FinerKind::Token => {
                let not_before = cutoff.floor_to_second().next().max(self.issued_at.next());
                Some(Reached { not_before, scope, since: cutoff })
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
        Finding { reason, scope, since: Some(since), answer }
    }

    /// D4: an object in a state that refuses it, whatever the token's age. A token from before that
    /// is challenged, so that the client learns the outcome from the identity provider; one issued
    /// since is refused, as the next one would be. Returns whether there was one.
    fn register(
        &self,
        findings: &mut Findings,
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
        findings.push(Finding { reason, scope: None, since: Some(last), answer });
        true
    }

    /// Whether the token was issued less than `age` ago.
    fn is_younger_than(&self, age: Duration) -> bool {
        // In milliseconds, since `now` is. An issue time before 1970 is not young.
        let issued_ms = u64::try_from(self.issued.as_seconds()).map(|s| s.saturating_mul(1000));
        issued_ms.is_ok_and(|issued| self.now < UnixMillis::from_millis(issued).saturating_add(age))
    }

    fn cutoff_row(&self, kind: CutoffKind, issuer: Number, id: ObjectKey) -> Option<&CutoffRow> {
        self.state.cutoff(self.number, self.tenant, kind, issuer, id)
    }

    fn finer_id(&self, kind: FinerKind) -> Option<Id<'_>> {
        match kind {
            FinerKind::Session => self.token.session,
            FinerKind::Token => self.token.id,
            FinerKind::Client => self.token.client,
            FinerKind::Device => self.token.device,
        }
    }

    /// Sessions and tokens are numbered by their issuer; `None` where no event ever named it.
    fn finer_issuer(&self, kind: FinerKind) -> Option<Number> {
        match kind {
            FinerKind::Session | FinerKind::Token => self.state.issuer(self.token.issuer.as_str()),
            FinerKind::Client | FinerKind::Device => Some(NO_ISSUER),
        }
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
