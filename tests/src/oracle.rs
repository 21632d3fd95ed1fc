//! What the answer must be: `engine/SEMANTICS.md`, rule by rule, over a plain list of events.
//!
//! Every question scans the whole list. There is no state to keep, so there is nothing to keep
//! wrongly: order and copies can't matter (E1), and nothing is ever forgotten (E17 says that
//! forgetting changes no decision; comparing with an engine that forgets proves it).
//!
//! Readings, where the text could be read in two ways, are marked `Reading:`.

use caed_core::decision::{
    Answer, BlockRow, Challenge, Notes, Reason, Refusal, ScopeName, Verdict,
};
use caed_core::event::{AccountState, Compliance, DeviceState, RiskLevel};
use caed_core::limits::RETRY_AFTER_NOT_READY_S;
use caed_core::policy::{Frequency, Grant, Incapable, Mode};
use caed_core::rules::LocationClass;
use caed_core::time::UnixSeconds;

use crate::border;
use crate::directory::{Applying, Asked, Directory, Summary, second_after};
use crate::world::{
    Declaration, Event, Finer, From, Issuer, Millis, Request, Seconds, Speaks, Text, What, World,
};

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

/// A token that passed D1 and D2, with the issuer that D2 found.
struct Token<'a> {
    world: &'a World,
    request: &'a Request,
    issuer: Text,
    tenant: Text,
    subject: Text,
    issued_at: Seconds,
    /// Terms: `iat` plus the issuer's `issue_time_skew`.
    issued: Seconds,
    /// The issuer, as it is configured.
    bound: &'a Issuer,
}

/// A cutoff that applies to a token.
struct Cutoff {
    scope: ScopeName,
    at: Millis,
    /// The token is revoked by its id, whatever its `iat`.
    by_id: bool,
}

/// Answers a request from the whole list of events.
pub fn expected(world: &World, events: &[Event], request: &Request) -> Expected {
    let token = match alive(world, request) {
        Ok(token) => token,
        Err((reason, refusal)) => return alone(reason, refusal),
    };
    if !world.caught_up {
        // F3.
        return alone(
            Reason::NotReady,
            Refusal::Unavailable { retry_after_s: RETRY_AFTER_NOT_READY_S },
        );
    }
    let events: Vec<&Event> =
        events.iter().filter(|event| same(event.tenant, token.tenant)).collect();
    let asked = |with_reported| Asked {
        directory: Directory::new(&events),
        request,
        subject: token.subject,
        with_reported,
        // D6, P2.
        without_places: request.from == From::Nowhere
            || request.location == LocationClass::Unsupported,
    };
    // P1.
    let (scope, settings) = (asked(false).scope(), asked(false).directory.settings());
    let honoured = settings.incapable == Incapable::Lifetime
        && request.incapable == Incapable::Lifetime
        && !token.is_capable();
    let limited = scope == Some(false) || honoured;
    let scope_then = asked(true).scope();
    let limited_then = scope_then == Some(false) || honoured;
    let reported = settings.mode == Mode::ReportOnly && !limited;
    let seen = asked(false).seen();
    let (findings, notes) = token.evaluate(&events, asked(false), scope, !limited && !reported);
    let mut answer = combine(findings, seen);
    answer.notes = notes;
    if reported || asked(false).has_reported() {
        let (findings, _) = token.evaluate(&events, asked(true), scope_then, !limited_then);
        let would = combine(findings, seen);
        let reasons = would.findings.iter().map(|finding| finding.reason).collect();
        answer.report = Some((would.verdict, would.primary, reasons, would.http_status));
    }
    answer
}

/// D1 and D2.
fn alive<'a>(world: &'a World, request: &'a Request) -> Result<Token<'a>, (Reason, Refusal)> {
    let dead = |reason| (reason, Refusal::InvalidToken);
    let (now, skew) = (world.now, world.skew * 1000);
    let ids = [request.issuer, request.tenant, request.subject];
    let more = [request.session, request.token, request.client, request.device];
    let backwards = |expires| request.issued_at.is_some_and(|issued_at| expires <= issued_at);
    let (Some(issuer), Some(tenant), Some(subject)) =
        (request.issuer, request.tenant, request.subject)
    else {
        return Err(dead(Reason::Malformed));
    };
    if ids.into_iter().chain(more).flatten().any(|id| !is_id(id))
        || request.expires.is_some_and(backwards)
    {
        return Err(dead(Reason::Malformed));
    }
    let issued_at = request.issued_at.ok_or(dead(Reason::IssueTimeMissing))?;
    if now >= (issued_at + world.horizon) * 1000 {
        return Err(dead(Reason::BeyondHorizon));
    }
    if request.expires.is_some_and(|expires| now >= expires * 1000 + skew) {
        return Err(dead(Reason::Expired));
    }
    if issued_at * 1000 > now + skew
        || request.not_before.is_some_and(|not_before| not_before * 1000 > now + skew)
    {
        return Err(dead(Reason::NotYetValid));
    }
    let forbidden = |reason| (reason, Refusal::Forbidden);
    // D2: any one that fits is enough.
    // Reading: of several that fit, any; the text does not say whose `issue_time_skew` counts.
    let bound = world.issuers.iter().find(|known| speaks(known, issuer, tenant));
    let bound = bound.ok_or(forbidden(Reason::UnknownIssuer))?;
    if world.served.as_ref().is_some_and(|served| !holds(served, tenant)) {
        return Err(forbidden(Reason::TenantNotServed));
    }
    Ok(Token {
        world,
        request,
        issuer,
        tenant,
        subject,
        issued_at,
        issued: issued_at + bound.issue_time_skew,
        bound,
    })
}

/// D2: whether this configured issuer is the token's, and bound to its tenant.
fn speaks(known: &Issuer, issuer: Text, tenant: Text) -> bool {
    match &known.tenants {
        Speaks::For(tenants) => same(known.name, issuer) && holds(tenants, tenant),
        Speaks::ForAll => same(known.name, issuer),
        Speaks::InName => {
            // T4: what stands in the tenant's place is a name of the tenant.
            let (before, after) = known.name.split_once("{tenant}").expect("a pattern");
            let inside = issuer.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            inside.is_some_and(|inside| same(inside, tenant))
        }
    }
}

/// T4: whether a name stands in a list.
fn holds(names: &[Text], name: Text) -> bool {
    names.iter().any(|&listed| same(listed, name))
}

impl Token<'_> {
    /// Every reason in the order of D9, and what else is to be said. Not whole: D7 and D8 alone (P1).
    fn evaluate(
        &self,
        events: &[&Event],
        mut asked: Asked<'_>,
        scope: Option<bool>,
        whole: bool,
    ) -> (Vec<Finding>, Notes) {
        let [revocation, risk, device] = self.request.enforced;
        let summary = asked.summary();
        let mut notes =
            Notes { location_not_evaluated: whole && summary.left_out, ..Notes::default() };
        let mut found = Vec::new();
        if whole {
            if revocation {
                found.extend(self.revoked(events));
                found.extend(self.account(events));
            }
            if risk {
                found.extend(self.risk(events));
            }
            if device {
                let mut needs = summary.applying.iter().map(|applying| applying.policy.grant);
                found.extend(self.device(events, needs.any(|it| it == Grant::CompliantDevice)));
            }
            self.blocked(&asked, &summary, scope, &mut found, &mut notes);
            found.extend(self.conditions_changed(&asked, &summary, scope, &mut notes));
        }
        found.extend(self.sign_in_frequency(&summary, &mut notes));
        if whole {
            found.extend(self.outdated(&asked, &summary));
        }
        found.extend(self.lifetime(scope, &summary));
        (found, notes)
    }

    /// D5.
    fn blocked(
        &self,
        asked: &Asked<'_>,
        summary: &Summary<'_>,
        scope: Option<bool>,
        found: &mut Vec<Finding>,
        notes: &mut Notes,
    ) {
        let mut here: Vec<Finding> = Vec::new();
        for applying in &summary.applying {
            if applying.policy.grant != Grant::Block {
                continue;
            }
            let row = self.row(asked, summary, scope, applying);
            let forbidden = Answer::Deny(Refusal::Forbidden);
            let location =
                |answer| Finding { reason: Reason::Location, scope: None, row: Some(row), answer };
            match row {
                BlockRow::Anywhere => {
                    if !found.iter().any(|finding| finding.reason == Reason::Policy) {
                        found.push(Finding { reason: Reason::Policy, ..location(forbidden) });
                    }
                }
                BlockRow::Judged => notes.ip_variation = true,
                BlockRow::Otherwise if self.is_capable() => {
                    here.push(location(Answer::Challenge {
                        not_before: instant(self.issued_at + 1),
                    }));
                }
                _ => here.push(location(forbidden)),
            }
        }
        // Of several the first refusal, else the first challenge.
        let refusal = here.iter().find(|finding| matches!(finding.answer, Answer::Deny(_)));
        found.extend(refusal.or(here.first()).copied());
    }

    /// D5: the first row that counts.
    fn row(
        &self,
        asked: &Asked<'_>,
        summary: &Summary<'_>,
        scope: Option<bool>,
        applying: &Applying<'_>,
    ) -> BlockRow {
        let (seen, before) = (asked.seen(), asked.signed_in_at());
        if applying.policy.places.is_none() {
            return BlockRow::Anywhere;
        }
        if summary.strict && applying.at_sign_in == Some(false) {
            return BlockRow::Strict;
        }
        if before.is_some() && before == seen && self.issued > floor(applying.changed) {
            return BlockRow::SameAddress;
        }
        if seen.is_none() || (before.is_none() && self.one_hour()) {
            return BlockRow::AddressUnknown;
        }
        if !summary.strict && self.judged(asked, summary, scope, applying) {
            return BlockRow::Judged;
        }
        if self.younger_than_a_minute() { BlockRow::JustIssued } else { BlockRow::Otherwise }
    }

    /// D5: judged.
    fn judged(
        &self,
        asked: &Asked<'_>,
        summary: &Summary<'_>,
        scope: Option<bool>,
        applying: &Applying<'_>,
    ) -> bool {
        let request = self.request;
        let Some(seen) = asked.seen() else { return false };
        if !self.is_capable()
            || self.bound.exceptions.as_ref().is_some_and(|ranges| !asked.is_at(ranges))
        {
            return false;
        }
        let marked = self.bound.marks
            && request.judged.is_some_and(|mark| match mark.parse::<std::net::IpAddr>() {
                Ok(only) => only.to_canonical() == seen,
                Err(_) if mark.contains('/') => asked.is_at(&[mark]),
                Err(_) => !mark.is_empty(),
            });
        let short = self.bound.one_hour.iter().any(|one| request.audiences.contains(one))
            && scope == Some(true)
            && !request.guest
            && !summary.plain
            && self.one_hour()
            && applying.at_sign_in == Some(false);
        marked || short
    }

    /// D5: a token that was issued to live an hour.
    fn one_hour(&self) -> bool {
        let expires = self.request.expires;
        expires.is_some_and(|expires| expires - self.issued <= 3600 + self.world.skew)
    }

    /// P7, D9.
    fn conditions_changed(
        &self,
        asked: &Asked<'_>,
        summary: &Summary<'_>,
        scope: Option<bool>,
        notes: &mut Notes,
    ) -> Option<Finding> {
        for applying in &summary.applying {
            let asks_more = matches!(applying.policy.grant, Grant::Other | Grant::CompliantDevice);
            if !asks_more || applying.at_sign_in != Some(false) {
                continue;
            }
            if !summary.strict && self.judged(asked, summary, scope, applying) {
                notes.ip_variation = true;
                continue;
            }
            let refused = asked.seen().is_none() || self.younger_than_a_minute();
            let question = Answer::Challenge { not_before: instant(self.issued_at + 1) };
            return Some(self.found(Reason::ConditionsChanged, question, refused));
        }
        None
    }

    /// D7.
    fn sign_in_frequency(&self, summary: &Summary<'_>, notes: &mut Notes) -> Option<Finding> {
        let all = summary.applying.iter().filter_map(|applying| match applying.policy.frequency {
            Some(Frequency::Within(within)) => Some(within),
            _ => None,
        });
        let frequency = all.min()?;
        let authenticated = self.request.authenticated;
        notes.sign_in_time_missing = authenticated.is_none();
        let age = self.world.now - authenticated.unwrap_or(self.issued_at) * 1000;
        let most = (Seconds::from(frequency.as_secs()) + self.world.skew) * 1000;
        let question = Answer::SignIn { max_age: frequency };
        (age > most)
            .then(|| self.found(Reason::SignInFrequency, question, self.younger_than_a_minute()))
    }

    /// P8.
    fn outdated(&self, asked: &Asked<'_>, summary: &Summary<'_>) -> Option<Finding> {
        let demanding = summary.applying.iter().filter(|applying| {
            matches!(applying.policy.grant, Grant::Other | Grant::CompliantDevice)
        });
        let grace = self.request.grace * 1000;
        let newest = demanding
            .map(|applying| asked.newest(applying))
            .filter(|&newest| self.issued <= floor(newest) && self.world.now >= newest + grace)
            .max()?;
        let question = Answer::Challenge { not_before: instant(second_after(newest)) };
        Some(self.found(Reason::Outdated, question, self.younger_than_a_minute()))
    }

    /// D8.
    fn lifetime(&self, scope: Option<bool>, summary: &Summary<'_>) -> Option<Finding> {
        let long =
            self.is_capable() && scope == Some(true) && !summary.plain && !self.request.guest;
        let permitted = self.request.lifetimes[usize::from(!long)] + self.world.skew;
        if self.world.now < (self.issued + permitted) * 1000 {
            return None;
        }
        let oldest = floor(self.world.now) + 1 - permitted;
        let question = Answer::Challenge { not_before: instant(oldest) };
        Some(self.found(Reason::Lifetime, question, self.younger_than_a_minute()))
    }

    /// D9: the rows below account and device.
    fn found(&self, reason: Reason, question: Answer, refused: bool) -> Finding {
        let answer = match (refused, self.is_capable()) {
            (true, _) => Answer::Deny(Refusal::Forbidden),
            (false, true) => question,
            (false, false) => Answer::Deny(Refusal::InvalidToken),
        };
        Finding { reason, scope: None, row: None, answer }
    }

    fn younger_than_a_minute(&self) -> bool {
        self.world.now < (self.issued + 60) * 1000
    }

    /// D3: `revoked`.
    fn revoked(&self, events: &[&Event]) -> Option<Finding> {
        let mut highest: Option<(Seconds, ScopeName)> = None;
        for event in events {
            let Some(cutoff) = self.cutoff(event) else { continue };
            let mut second = floor(cutoff.at) + 1;
            if cutoff.by_id {
                // D3: at least the second after its own iat.
                second = second.max(self.issued_at + 1);
            } else if self.issued > floor(cutoff.at) {
                continue;
            }
            // E12, D3: the highest second; of equal ones the first scope in the order of D3.
            if highest.is_none_or(|(best, scope)| {
                second > best || (second == best && order(cutoff.scope) < order(scope))
            }) {
                highest = Some((second, cutoff.scope));
            }
        }
        highest.map(|(second, scope)| Finding {
            reason: Reason::Revoked,
            scope: Some(scope),
            row: None,
            answer: self.answer_to_cutoff(second),
        })
    }

    /// The cutoff other than risk that this event sets, where it applies to the token.
    fn cutoff(&self, event: &Event) -> Option<Cutoff> {
        let whole = |scope| Some(Cutoff { scope, at: cutoff_time(event), by_id: false });
        match event.what {
            // E2; E3: enabled takes no cutoff back and sets none.
            What::Account(user, AccountState::Disabled | AccountState::Deleted)
            // E4.
            | What::UserRevoked(user, _) if same(user, self.subject) => whole(ScopeName::User),
            // E6.
            What::TenantRevoked => whole(ScopeName::Tenant),
            // E8.
            What::Device(device, DeviceState::Disabled | DeviceState::Deleted)
                if self.request.device.is_some_and(|own| same(own, device)) =>
            {
                whole(ScopeName::Device)
            }
            What::Revoked(finer, user) => {
                let (scope, user_scope, carries) = self.carries(finer);
                let token = matches!(finer, Finer::Token(..));
                let (scope, applies) = match user {
                    // E6: an event for no user in particular reaches what carries the id …
                    None => (scope, carries == Some(true)),
                    // E7: … one for a user also what carries no id of that kind.
                    // Reading: whatever the issuer of the token that carries none.
                    Some(user) => (user_scope, same(user, self.subject) && carries != Some(false)),
                };
                // E6, E7: a token by its id is revoked whatever its iat.
                let by_id = token && carries == Some(true);
                applies.then_some(Cutoff { scope, at: cutoff_time(event), by_id })
            }
            _ => None,
        }
    }

    /// The two scopes of something finer, and whether the token carries its id: `None` where it
    /// carries no id of that kind.
    fn carries(&self, finer: Finer) -> (ScopeName, ScopeName, Option<bool>) {
        let Request { session, token, client, device, .. } = *self.request;
        match finer {
            // E7: sessions and tokens are numbered by their issuer.
            Finer::Session(issuer, id) => (
                ScopeName::Session,
                ScopeName::UserSession,
                session.map(|own| same(issuer, self.issuer) && same(own, id)),
            ),
            Finer::Token(issuer, id) => (
                ScopeName::Token,
                ScopeName::UserToken,
                token.map(|own| same(issuer, self.issuer) && same(own, id)),
            ),
            Finer::Client(id) => {
                (ScopeName::Client, ScopeName::UserClient, client.map(|own| same(own, id)))
            }
            Finer::Device(id) => {
                (ScopeName::Device, ScopeName::UserDevice, device.map(|own| same(own, id)))
            }
        }
    }

    /// D3: `risk`.
    fn risk(&self, events: &[&Event]) -> Option<Finding> {
        let counts = |event: &&&Event| {
            // E5: those at or above the threshold.
            matches!(event.what, What::Risk(user, level) if same(user, self.subject)
                && level_rank(level) >= level_rank(self.request.risk_threshold))
        };
        let floors = events.iter().filter(counts).map(|event| floor(cutoff_time(event)));
        let highest = floors.filter(|&floor| self.issued <= floor).max()?;
        let answer = self.answer_to_cutoff(highest + 1);
        Some(Finding { reason: Reason::Risk, scope: None, row: None, answer })
    }

    /// D4: `account`.
    fn account(&self, events: &[&Event]) -> Option<Finding> {
        let offer = |event: &Event| match event.what {
            What::Account(user, state) if same(user, self.subject) => Some(match state {
                AccountState::Enabled => 0,
                AccountState::Disabled => 1,
                AccountState::Deleted => 2,
            }),
            _ => None,
        };
        let times = restricting(events, offer, |declared| declared.emits_enabled);
        self.found_by_registers(Reason::Account, &times)
    }

    /// D4: `device`.
    fn device(&self, events: &[&Event], needed: bool) -> Option<Finding> {
        let device = self.request.device?;
        let state = |event: &Event| match event.what {
            What::Device(named, state) if same(named, device) => Some(match state {
                DeviceState::Cleared => 0,
                DeviceState::Disabled => 1,
                DeviceState::Deleted => 2,
            }),
            _ => None,
        };
        let compliance = |event: &Event| match event.what {
            What::Compliance(named, compliance) if same(named, device) => Some(match compliance {
                Compliance::Compliant => 0,
                Compliance::NotCompliant => 1,
            }),
            // E8: cleared goes into both registers.
            What::Device(named, DeviceState::Cleared) if same(named, device) => Some(0),
            _ => None,
        };
        let clears = |declared: Declaration| declared.emits_device_clear;
        let mut times = restricting(events, state, clears);
        // Reading: "else" means that compliance speaks only where no device state does.
        if times.is_empty() && (self.request.device_compliance || needed) {
            times = restricting(events, compliance, clears);
        }
        self.found_by_registers(Reason::Device, &times)
    }

    /// D9, first row and third.
    fn answer_to_cutoff(&self, second: Seconds) -> Answer {
        let wait = second - floor(self.world.now);
        let ahead = wait > 2;
        let young = self.world.now < (self.issued + 60 + self.world.skew) * 1000;
        // Reading: "always" means that the third row outweighs the first.
        match (self.is_capable(), ahead) {
            (false, true) => Answer::Deny(Refusal::Forbidden),
            (false, false) => Answer::Deny(Refusal::InvalidToken),
            (true, true) if young => Answer::Deny(Refusal::Unavailable {
                retry_after_s: u32::try_from(wait).expect("a wait of minutes"),
            }),
            (true, _) => Answer::Challenge { not_before: instant(second) },
        }
    }

    /// D9, second row and third. `times` are those of the restricting registers.
    fn found_by_registers(&self, reason: Reason, times: &[Millis]) -> Option<Finding> {
        let latest = floor(*times.iter().max()?);
        let issued_after_any = times.iter().any(|&time| self.issued > floor(time));
        let answer = if !self.is_capable() || issued_after_any {
            Answer::Deny(Refusal::Forbidden)
        } else {
            Answer::Challenge { not_before: instant(latest + 1) }
        };
        Some(Finding { reason, scope: None, row: None, answer })
    }

    /// Terms: capable.
    fn is_capable(&self) -> bool {
        let listed = |client| self.request.incapable_clients.iter().any(|&id| same(id, client));
        self.request.cp1 && !self.request.client.is_some_and(listed)
    }
}

/// The times of all registers that count and restrict (E13): one register per source, with the
/// value that `offer` finds in its events, greater meaning more restrictive and 0 harmless.
fn restricting(
    events: &[&Event],
    offer: impl Fn(&Event) -> Option<u8>,
    emits_the_opposite: impl Fn(Declaration) -> bool,
) -> Vec<Millis> {
    let mut sources: Vec<Text> = Vec::new();
    for event in events {
        if !holds(&sources, event.source) {
            sources.push(event.source);
        }
    }
    let mut times = Vec::new();
    for source in sources {
        let own = events.iter().filter(|event| same(event.source, source));
        // E13: the newest; E15: of one time, the more restrictive.
        let newest = own.filter_map(|event| Some((register_time(event), offer(event)?))).max();
        let Some((time, value)) = newest else { continue };
        let counts = declaration(events, source).is_none_or(|declared| {
            emits_the_opposite(declared) && declared.retired.is_none_or(|retired| time > retired)
        });
        if counts && value > 0 {
            times.push(time);
        }
    }
    times
}

/// E13: the newest declaration of a source in this tenant, whoever made it; E15: of one time, the
/// one with the greater hash.
/// Reading: a declaration's time is a register's time.
fn declaration(events: &[&Event], source: Text) -> Option<Declaration> {
    let of_source = events.iter().filter_map(|event| match event.what {
        What::Source(named, declaration) if same(named, source) => Some((*event, declaration)),
        _ => None,
    });
    let mut newest: Option<(&Event, Declaration)> = None;
    for (event, declaration) in of_source {
        let newer = newest.is_none_or(|(best, _)| {
            let (time, best_time) = (register_time(event), register_time(best));
            time > best_time
                || (time == best_time
                    && border::event(event).record_key() > border::event(best).record_key())
        });
        if newer {
            newest = Some((event, declaration));
        }
    }
    newest.map(|(_, declaration)| declaration)
}

/// D9: one answer of several.
fn combine(findings: Vec<Finding>, seen: Option<std::net::IpAddr>) -> Expected {
    let refusals: Vec<Refusal> = findings
        .iter()
        .filter_map(|finding| match finding.answer {
            Answer::Deny(refusal) => Some(refusal),
            Answer::Challenge { .. } | Answer::SignIn { .. } => None,
        })
        .collect();
    let longest_wait = refusals.iter().filter_map(|refusal| match refusal {
        Refusal::Unavailable { retry_after_s } => Some(*retry_after_s),
        _ => None,
    });
    let nbf = findings.iter().filter_map(|finding| match finding.answer {
        Answer::Challenge { not_before } => Some(not_before),
        Answer::SignIn { .. } | Answer::Deny(_) => None,
    });
    let (verdict, http_status, retry_after_s) = if findings.is_empty() {
        (Verdict::Allow, 200, None)
    } else if refusals.is_empty() {
        (Verdict::Challenge, 401, None)
    } else if refusals.contains(&Refusal::Forbidden) {
        (Verdict::Deny, 403, None)
    } else if let Some(wait) = longest_wait.max() {
        (Verdict::Deny, 503, Some(wait))
    } else {
        (Verdict::Deny, 401, None)
    };
    // Findings stand in the order of D9.
    let primary = findings.iter().find(|finding| match finding.answer {
        Answer::Challenge { .. } | Answer::SignIn { .. } => verdict == Verdict::Challenge,
        Answer::Deny(_) => verdict == Verdict::Deny,
    });
    let primary = primary.map(|finding| finding.reason);
    let place =
        |finding: &Finding| matches!(finding.reason, Reason::Location | Reason::ConditionsChanged);
    let challenge = primary.filter(|_| verdict == Verdict::Challenge).map(|primary| Challenge {
        not_before: nbf.max(),
        address: seen.filter(|_| findings.iter().any(place)),
        max_age: findings.iter().find_map(|finding| match finding.answer {
            Answer::SignIn { max_age } => Some(max_age),
            _ => None,
        }),
        code: match primary {
            Reason::Revoked | Reason::Account | Reason::Risk | Reason::Device => {
                "TokenIssuedBeforeRevocationTimestamp"
            }
            Reason::Location | Reason::ConditionsChanged => "LocationConditionEvaluationSatisfied",
            _ => "TokenCreatedWithOutdatedPolicies",
        },
    });
    let notes = Notes::default();
    Expected {
        verdict,
        primary,
        findings,
        http_status,
        retry_after_s,
        challenge,
        notes,
        report: None,
    }
}

/// A refusal that ends the evaluation.
fn alone(reason: Reason, refusal: Refusal) -> Expected {
    let answer = Answer::Deny(refusal);
    combine(vec![Finding { reason, scope: None, row: None, answer }], None)
}

/// E14: the event time, unless it lies more than 5 min after receipt.
fn cutoff_time(event: &Event) -> Millis {
    if event.occurred > event.received + 5 * 60 * 1000 { event.received } else { event.occurred }
}

/// E14: the earlier of event time and receipt.
pub(crate) fn register_time(event: &Event) -> Millis {
    event.occurred.min(event.received)
}

/// The whole second that an instant lies in.
pub(crate) fn floor(at: Millis) -> Seconds {
    at.div_euclid(1000)
}

fn instant(second: Seconds) -> UnixSeconds {
    UnixSeconds::from_seconds(i64::try_from(second).expect("a second that a clock can show"))
}

/// T4: whether a text is an identifier.
fn is_id(id: Text) -> bool {
    (1..=512).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// T4: exactly equal, or the same GUID in another case; of ids and of names.
pub(crate) fn same(one: Text, other: Text) -> bool {
    one == other || (is_guid(one) && is_guid(other) && one.eq_ignore_ascii_case(other))
}

pub(crate) fn is_guid(id: Text) -> bool {
    id.len() == 36
        && id.char_indices().all(|(at, char)| match at {
            8 | 13 | 18 | 23 => char == '-',
            _ => char.is_ascii_hexdigit(),
        })
}

/// D3: the order among equal seconds.
fn order(scope: ScopeName) -> usize {
    match scope {
        ScopeName::Tenant => 0,
        ScopeName::User => 1,
        ScopeName::Session => 2,
        ScopeName::Token => 3,
        ScopeName::Client => 4,
        ScopeName::Device => 5,
        ScopeName::UserSession => 6,
        ScopeName::UserToken => 7,
        ScopeName::UserClient => 8,
        ScopeName::UserDevice => 9,
    }
}

fn level_rank(level: RiskLevel) -> u8 {
    match level {
        RiskLevel::Low => 1,
        RiskLevel::Medium => 2,
        RiskLevel::High => 3,
    }
}
