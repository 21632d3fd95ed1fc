//! The policy decision point: the only caller of [`decide`] here.
//!
//! It adds to a decision what is not the snapshot's: the clock's `now`, how old the knowledge is,
//! and the count of what was answered.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use caed_core::challenge;
use caed_core::decide::decide;
use caed_core::decision::{Decision, Reason, Verdict};
use caed_core::explain::{Explanation, explain};
use caed_core::freshness::At;
use caed_core::ids::Name;
use caed_core::inspect::SourceView;
use caed_core::publish::{Known, Loaded, SnapshotReader};
use caed_core::request::{AccessRequest, Seen, Token, Unusable};
use caed_core::rules::{Issuer, Issuers, Profile, SHIPPED};
use caed_core::snapshot::Snapshot;
use caed_core::time::{Clock, UnixMillis};

use crate::limits;
use crate::metrics::DecisionCounts;

/// Decides by the newest snapshot.
#[derive(Clone)]
pub struct Pdp {
    reader: SnapshotReader,
    clock: Arc<dyn Clock>,
    profiles: Arc<Profiles>,
    counts: Arc<DecisionCounts>,
    token_ages: Arc<TokenAges>,
}

/// The least age that a token of each issuer had when it was decided about: so far at the most the issuer dates
/// `iat` back (D3).
#[derive(Debug)]
struct TokenAges(BTreeMap<String, AtomicI64>);

/// Whether a process should be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Requests are decided by what was known a moment ago, or not much earlier.
    Ready,
    /// The log has not been read to the end that it had at the start: every request is refused (F3).
    Reading,
    /// Requests are decided by what was known so long ago, and nothing newer could be learnt since.
    Stale(Duration),
}

/// What is enforced, by the name that a request gives.
#[derive(Debug)]
pub struct Profiles {
    configured: Arc<Profile>,
    shipped: Vec<(&'static str, Profile)>,
}

/// One snapshot at one instant: what a request, or a batch of them, is answered from.
pub struct Moment<'p> {
    pdp: &'p Pdp,
    snapshot: Loaded,
    at: At,
    /// How old the knowledge is; `None` where it was never known to be current.
    pub age: Option<Duration>,
}

impl TokenAges {
    /// More than any age: no token was seen.
    const UNSEEN: i64 = i64::MAX;

    fn new(issuers: &Issuers) -> Self {
        let unseen = |issuer: &Issuer| (issuer.name.clone(), AtomicI64::new(Self::UNSEEN));
        Self(issuers.all().into_iter().map(unseen).collect())
    }

    fn see(&self, issuer: &Issuer, age_s: i64) {
        if let Some(least) = self.0.get(&issuer.name)
            // Almost always it is not less; reading alone takes the cell from nobody.
            && age_s < least.load(Ordering::Relaxed)
        {
            least.fetch_min(age_s, Ordering::Relaxed);
        }
    }

    fn least_s(&self, issuer: &Issuer) -> Option<i64> {
        let least = self.0.get(&issuer.name)?.load(Ordering::Relaxed);
        (least != Self::UNSEEN).then_some(least)
    }
}

impl Profiles {
    /// The configured profile, which counts where a request names none, and the shipped ones.
    pub fn new(configured: Arc<Profile>) -> Self {
        let shipped = SHIPPED.into_iter().filter_map(|name| {
            let Profile { long_lifetime, plain_lifetime, when_stale, .. } = *configured;
            let shipped = Profile::shipped(name)?;
            // The horizon covers the lifetimes.
            Some((name, Profile { long_lifetime, plain_lifetime, when_stale, ..shipped }))
        });
        let shipped = shipped.collect();
        Self { configured, shipped }
    }

    fn get(&self, name: &str) -> Option<&Profile> {
        if name.is_empty() {
            return Some(&self.configured);
        }
        self.shipped.iter().find(|(known, _)| *known == name).map(|(_, profile)| profile)
    }
}

impl Pdp {
    /// A decision point for a configured profile.
    pub fn new(reader: SnapshotReader, clock: Arc<dyn Clock>, profile: Arc<Profile>) -> Self {
        let profiles = Arc::new(Profiles::new(profile));
        let token_ages = Arc::new(TokenAges::new(&reader.load().rules().issuers));
        Self { reader, clock, profiles, counts: Arc::default(), token_ages }
    }

    /// Loads the newest snapshot. Once per request.
    pub fn moment(&self) -> Moment<'_> {
        let Known { snapshot, at, age } = self.reader.known(&*self.clock);
        Moment { pdp: self, snapshot, at, age }
    }

    /// Whether this process should be asked, or another one that knows more.
    pub fn readiness(&self) -> Readiness {
        let Known { snapshot, at, age: _ } = self.reader.known(&*self.clock);
        if !snapshot.is_caught_up() {
            return Readiness::Reading;
        }
        let age = at.log_age;
        if age > snapshot.rules().stale_after.log {
            Readiness::Stale(age)
        } else {
            Readiness::Ready
        }
    }

    /// How old the knowledge is; `None` where it was never known to be current.
    pub fn age(&self) -> Option<Duration> {
        self.reader.age(&*self.clock)
    }

    /// What time it is.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// What was answered so far.
    pub fn counts(&self) -> &DecisionCounts {
        &self.counts
    }

    /// How long the process has run.
    pub fn uptime(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl Moment<'_> {
    /// The instant that decisions are made at.
    pub const fn now(&self) -> UnixMillis {
        self.at.now
    }

    /// The profile of a name; of no name, the configured one.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.pdp.profiles.get(name)
    }

    /// The names of the shipped profiles.
    pub fn profile_names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.pdp.profiles.shipped.iter().map(|(name, _)| *name)
    }

    /// Sources that are declared to give signs of life, the one that has been silent the longest first; as many
    /// as are shown.
    pub fn silent_sources(&self) -> Vec<(&Name, SourceView)> {
        let mut all: Vec<_> = self.expected_sources().collect();
        all.sort_by_key(|(_, view)| Reverse(view.age(self.at.now)));
        all.truncate(limits::SOURCES_SHOWN_MAX);
        all
    }

    /// Decides about a token.
    pub fn decide(
        &self,
        token: Result<Token<'_>, Unusable>,
        profile: &Profile,
        seen: Seen,
    ) -> Decision {
        let request = AccessRequest { token, profile, seen };
        let decision = decide(&self.snapshot, &request, self.at);
        self.pdp.counts.add(&decision);
        self.see_age(&request.token, &decision);
        if decision.notes.ip_variation && decision.verdict == Verdict::Allow {
            self.tell_ip_variation(&request);
        }
        decision
    }

    /// The least age that a token of an issuer had when it was decided about, in seconds.
    pub fn least_token_age_s(&self, issuer: &Issuer) -> Option<i64> {
        self.pdp.token_ages.least_s(issuer)
    }

    /// Sees the age of a token that is not dead (D1).
    fn see_age(&self, token: &Result<Token<'_>, Unusable>, decision: &Decision) {
        if let Ok(token) = token
            && !decision.primary.is_some_and(is_of_dead_tokens)
            && let Some(issued) = token.issued_at()
            && let Ok(issuer) = self.rules().bind(token.issuer(), token.tenant())
        {
            let age_s = self.at.now.floor_to_second().as_seconds().saturating_sub(issued);
            self.pdp.token_ages.see(issuer, age_s);
        }
    }

    /// Explains what [`decide`](Self::decide) would answer. Nobody is let in or refused by it, so it is
    /// not counted.
    pub fn explain(
        &self,
        token: Result<Token<'_>, Unusable>,
        profile: &Profile,
        seen: Seen,
    ) -> Explanation {
        explain(&self.snapshot, &AccessRequest { token, profile, seen }, self.at)
    }

    /// A judged token passed where policy blocks the address (D5): stolen, it would pass, too. So it
    /// is counted each time, and logged with both addresses, at most once a second.
    fn tell_ip_variation(&self, request: &AccessRequest<'_>) {
        if !self.pdp.counts.add_ip_variation(self.pdp.uptime()) {
            return;
        }
        let (Ok(token), Seen::At(seen)) = (&request.token, request.seen) else { return };
        let signed_in_at = token.signed_in_at().map(tracing::field::display);
        let tenant = token.tenant();
        tracing::info!(%tenant, signed_in_at, %seen, "a judged token passed from another address");
    }

    /// The `WWW-Authenticate` value that belongs to a decision about a token.
    pub fn www_authenticate(
        &self,
        decision: &Decision,
        token: Option<&Token<'_>>,
    ) -> Option<String> {
        challenge::www_authenticate(decision, token, self.snapshot.rules())
    }
}

/// Whether a token is dead for this reason (D1): then its times mean nothing.
const fn is_of_dead_tokens(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Malformed
            | Reason::IssueTimeMissing
            | Reason::BeyondHorizon
            | Reason::Expired
            | Reason::NotYetValid
    )
}

impl Deref for Moment<'_> {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}
