//! What would make an answer ALLOW.
//!
//! What a finding asks for is taken to be so (a newer token, another address, a later hour), and the
//! same code decides again, until nothing new is found: what one reason hides, the next round shows. What
//! only an event can change (an account, a policy) is named, and need not be tried: it hides nothing.
//!
//! INVARIANT: all of the remedies together make the answer ALLOW; none of them is there without a reason
//! that asked for it.
//!
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::consequence::Facet;
use crate::decide::decide;
use crate::decision::{Answer, Decision, Reason, Refusal};
use crate::directory::Directory;
use crate::explain::{Observed, witnessed};
use crate::freshness::At;
use crate::ids::{Id, Name};
use crate::limits;
use crate::request::{AccessRequest, Seen, Token, Unusable};
use crate::rules::TENANT_PLACEHOLDER;
use crate::snapshot::Snapshot;
use crate::time::{UnixMillis, UnixSeconds};

/// One thing that has to change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// A token that its issuer made for this resource, or that the caller may vouch for.
    BelievedToken,
    /// The keys of the token's issuer.
    ReachKeys,
    /// The claims of a token, none of them missing or wrong.
    WellFormedToken,
    /// The issuer, configured for the tenant.
    ConfigureIssuer {
        /// The token's `iss`.
        issuer: String,
        /// Its `tid`.
        tenant: String,
    },
    /// The tenant, served here.
    ServeTenant {
        /// The token's `tid`.
        tenant: String,
    },
    /// The log, read to the end that it had at the start: it is being read.
    ReadLog,
    /// The log, read to its end a moment ago: nothing could be read since.
    RefreshLog,
    /// A sign of life of a source, and that its stream runs.
    HearSource {
        /// The source.
        source: Name,
        /// The source's own number for the stream.
        partition: u32,
    },
    /// Time: until this second.
    Wait {
        /// Until then.
        until: UnixSeconds,
    },
    /// A new token.
    NewToken {
        /// Issued at this second or later; `None`: any that is alive.
        issued_from: Option<UnixSeconds>,
        /// For a sign-in that the identity provider saw at this address.
        signed_in_at: Option<IpAddr>,
    },
    /// A new sign-in, and a token of it.
    SignIn {
        /// At this second or later.
        from: UnixSeconds,
    },
    /// The account, enabled by the source that disabled it.
    EnableAccount {
        /// The source.
        source: Name,
    },
    /// The device, cleared by the source that disabled it.
    ClearDevice {
        /// The source.
        source: Name,
    },
    /// The device, found compliant by the source that found it not to be.
    DeviceCompliant {
        /// The source.
        source: Name,
    },
    /// Another address.
    Address {
        /// Inside one of these locations; none: outside of those below.
        inside: Vec<String>,
        /// Outside of these locations.
        outside: Vec<String>,
        /// One that does.
        such_as: IpAddr,
    },
    /// The policy, changed: disabled, or without this user or resource.
    ChangePolicy {
        /// The policy.
        policy: Name,
    },
}

/// What has to change.
#[derive(Clone, Default, PartialEq)]
struct Needed {
    /// What need not be tried.
    others: BTreeSet<Remedy>,
    /// An issuer, with the tenant that it speaks for.
    issuer: Option<(String, String)>,
    tenant: Option<String>,
    read_log: bool,
    wait: Option<UnixSeconds>,
    new_token: bool,
    issued_from: Option<UnixSeconds>,
    /// Whether the identity provider has to see the address that is seen here.
    signed_in_here: bool,
    sign_in: Option<UnixSeconds>,
    address: Option<(Vec<String>, Vec<String>, IpAddr)>,
}

/// Everything that has to change.
pub(crate) fn remedies(snapshot: &Snapshot, request: &AccessRequest<'_>, at: At) -> Vec<Remedy> {
    let mut needed = Needed::default();
    for _ in 0..limits::REMEDY_ROUNDS_MAX {
        let before = needed.clone();
        let (tried, then) = needed.applied(request, at);
        let configured = needed.configured(snapshot);
        let snapshot = configured.as_ref().unwrap_or(snapshot);
        let (decision, observed) = witnessed(snapshot, &tried, then);
        needed.learn(snapshot, &tried, then, &decision, &observed);
        if needed == before {
            break;
        }
    }
    needed.told(request, at)
}

impl Needed {
    /// The snapshot, with what has to be configured and read; `None`: as it is.
    fn configured(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        if self.issuer.is_none() && self.tenant.is_none() && !self.read_log {
            return None;
        }
        let mut rules = snapshot.rules().clone();
        if let Some((issuer, tenant)) = &self.issuer {
            rules.issuers.add_plain(issuer, tenant);
        }
        if let (Some(tenant), Some(served)) = (&self.tenant, &mut rules.tenants) {
            served.extend(Name::parse(tenant));
        }
        Some(Snapshot {
            generation: snapshot.generation,
            frontier: snapshot.frontier.clone(),
            caught_up: snapshot.caught_up || self.read_log,
            rules: Arc::new(rules),
            state: snapshot.state.clone(),
            newest_append: snapshot.newest_append,
        })
    }

    /// The request, with what has to change taken to be so.
    fn applied<'a>(
        &self,
        request: &AccessRequest<'a>,
        At { now, log_age }: At,
    ) -> (AccessRequest<'a>, At) {
        let then = self.wait.map_or(now, |until| now.max(instant(until)));
        let mut tried = *request;
        if let Some((_, _, address)) = &self.address {
            tried.seen = Seen::At(*address);
        }
        if let Ok(token) = &mut tried.token
            && (self.new_token || self.sign_in.is_some())
        {
            *token = token.renewed(then.floor_to_second());
            if self.sign_in.is_some() && token.authenticated.is_some() {
                token.authenticated = token.issued_at;
            }
            if let (true, Seen::At(address)) = (self.signed_in_here, tried.seen) {
                token.address = Some(address);
            }
        }
        (tried, At { now: then, log_age })
    }

    /// What a decision asks for.
    fn learn(
        &mut self,
        snapshot: &Snapshot,
        request: &AccessRequest<'_>,
        at: At,
        decision: &Decision,
        observed: &Observed,
    ) {
        let second = at.now.floor_to_second();
        let Ok(token) = &request.token else {
            self.others.insert(match request.token {
                Err(Unusable::Unverified) => Remedy::BelievedToken,
                Err(Unusable::Unverifiable) => Remedy::ReachKeys,
                _ => Remedy::WellFormedToken,
            });
            // What such a token hides.
            self.read_log |= !snapshot.caught_up;
            return;
        };
        let (issuer, tenant) = (token.issuer().to_owned(), token.tenant().to_owned());
        for finding in decision.findings.iter() {
            // A token of the second after it is not reached.
            let after = finding.since.map(|since| since.floor_to_second().next());
            match finding.reason {
                // Answered above.
                Reason::Unverified | Reason::Unverifiable | Reason::Malformed => {}
                Reason::IssueTimeMissing | Reason::BeyondHorizon | Reason::Expired => {
                    self.new_token = true;
                }
                Reason::NotYetValid => {
                    let skew = snapshot.rules().clock_skew;
                    let from = token.issued_at.max(token.not_before).unwrap_or_default();
                    self.wait(UnixSeconds::from_seconds(from).saturating_sub(skew));
                }
                // A pattern is no issuer, and can't be configured as one.
                Reason::UnknownIssuer if issuer.contains(TENANT_PLACEHOLDER) => {
                    self.others.insert(Remedy::WellFormedToken);
                }
                Reason::UnknownIssuer => self.issuer = Some((issuer.clone(), tenant.clone())),
                Reason::TenantNotServed => self.tenant = Some(tenant.clone()),
                Reason::NotReady => self.read_log = true,
                Reason::Revoked | Reason::Risk | Reason::Outdated => {
                    self.issued_from(after.unwrap_or(second), second);
                }
                Reason::Account | Reason::Device => {
                    self.others.extend(observed.refusing.iter().map(|(facet, source)| {
                        let source = source.clone();
                        match facet {
                            Facet::Account => Remedy::EnableAccount { source },
                            Facet::DeviceState => Remedy::ClearDevice { source },
                            Facet::DeviceCompliance => Remedy::DeviceCompliant { source },
                        }
                    }));
                }
                Reason::Policy => {
                    let policies = observed.anywhere.iter().cloned();
                    self.others.extend(policies.map(|policy| Remedy::ChangePolicy { policy }));
                }
                Reason::Location => self.elsewhere(snapshot, request, at, observed),
                Reason::ConditionsChanged => match request.seen {
                    Seen::At(_) => {
                        self.new_token = true;
                        self.signed_in_here = true;
                    }
                    Seen::Unknown | Seen::NoneByNature => {
                        self.elsewhere(snapshot, request, at, observed);
                    }
                },
                Reason::SignInFrequency => self.sign_in = Some(second),
                Reason::Lifetime => {
                    let permitted = observed.permitted.unwrap_or_default();
                    self.issued_from(second.saturating_sub(permitted).next(), second);
                }
                Reason::Stale => {
                    if matches!(finding.answer, Answer::Deny(Refusal::Unavailable { .. })) {
                        self.others.extend(observed.silent.iter().cloned());
                    } else {
                        // Young enough to be believed without events.
                        let skew = snapshot.rules().clock_skew;
                        let permitted = request.profile.plain_lifetime + skew;
                        self.issued_from(second.saturating_sub(permitted).next(), second);
                    }
                }
            }
        }
    }

    fn wait(&mut self, until: UnixSeconds) {
        self.wait = self.wait.max(Some(until));
    }

    fn issued_from(&mut self, from: UnixSeconds, now: UnixSeconds) {
        self.new_token = true;
        self.issued_from = self.issued_from.max(Some(from));
        if from > now {
            self.wait(from);
        }
    }

    /// An address at which no policy minds; where there is none, the policies have to change.
    fn elsewhere(
        &mut self,
        snapshot: &Snapshot,
        request: &AccessRequest<'_>,
        at: At,
        observed: &Observed,
    ) {
        let Some(directory) = directory(snapshot, request) else { return };
        let lists = || observed.here.iter().filter_map(|policy| policy.places.as_ref());
        let passes = |address: &IpAddr| {
            let tried = AccessRequest { seen: Seen::At(*address), ..*request };
            let decision = decide(snapshot, &tried, at);
            // What another sign-in answers is no fault of the address.
            !decision.findings.iter().any(|finding| finding.reason == Reason::Location)
        };
        let excluded: BTreeSet<u32> =
            lists().flat_map(|(_, exclude)| directory.places(exclude)).collect();
        let inside = excluded.iter().filter_map(|number| {
            let mut firsts = directory.edges(*number).map(|(first, _)| first);
            let such_as =
                firsts.by_ref().take(limits::REMEDY_ADDRESSES_MAX).find(|at| passes(at))?;
            Some((directory.place_name(*number), such_as))
        });
        let inside: Vec<(String, IpAddr)> = inside.collect();
        if let Some((_, such_as)) = inside.first().cloned() {
            let names = inside.into_iter().map(|(name, _)| name).collect();
            self.address = Some((names, Vec::new(), such_as));
            return;
        }
        let included: BTreeSet<u32> =
            lists().flat_map(|(include, _)| directory.places(include)).collect();
        let beyond = included.iter().flat_map(|number| {
            directory
                .edges(*number)
                .filter_map(|(_, after)| after)
                .take(limits::REMEDY_ADDRESSES_MAX)
        });
        let signed_in_at = request.token.as_ref().ok().and_then(Token::signed_in_at);
        if let Some(such_as) = signed_in_at.into_iter().chain(beyond).find(|at| passes(at)) {
            let names = included.iter().map(|number| directory.place_name(*number)).collect();
            self.address = Some((Vec::new(), names, such_as));
            return;
        }
        let policies = observed.here.iter().map(|policy| policy.id.clone());
        self.others.extend(policies.map(|policy| Remedy::ChangePolicy { policy }));
    }

    /// As a list.
    fn told(self, request: &AccessRequest<'_>, at: At) -> Vec<Remedy> {
        let (tried, _) = self.applied(request, at);
        // A device that is cleared is so in every respect.
        let is_covered = |remedy: &Remedy| match remedy {
            Remedy::DeviceCompliant { source } => {
                self.others.contains(&Remedy::ClearDevice { source: source.clone() })
            }
            _ => false,
        };
        let mut told: Vec<Remedy> =
            self.others.iter().filter(|remedy| !is_covered(remedy)).cloned().collect();
        if let Some((issuer, tenant)) = self.issuer {
            told.push(Remedy::ConfigureIssuer { issuer, tenant });
        }
        told.extend(self.tenant.map(|tenant| Remedy::ServeTenant { tenant }));
        told.extend(self.read_log.then_some(Remedy::ReadLog));
        if let Some(until) = self.wait {
            told.push(Remedy::Wait { until });
        }
        if let Some((inside, outside, such_as)) = self.address {
            told.push(Remedy::Address { inside, outside, such_as });
        }
        if let Some(from) = self.sign_in {
            told.push(Remedy::SignIn { from });
        }
        // A token of a new sign-in is new.
        let is_covered = !self.signed_in_here && self.sign_in >= self.issued_from;
        if self.new_token && !(self.sign_in.is_some() && is_covered) {
            let signed_in_at = match tried.seen {
                Seen::At(address) if self.signed_in_here => Some(address),
                _ => None,
            };
            told.push(Remedy::NewToken { issued_from: self.issued_from, signed_in_at });
        }
        told.sort_unstable();
        told
    }
}

pub(crate) fn directory<'s>(
    snapshot: &'s Snapshot,
    request: &AccessRequest<'_>,
) -> Option<&'s Directory> {
    let token = request.token.as_ref().ok()?;
    let (number, _) = snapshot.state.tenants.get(token.tenant())?;
    snapshot.state.directories.get(number)
}

pub(crate) fn instant(second: UnixSeconds) -> UnixMillis {
    let seconds = u64::try_from(second.as_seconds()).unwrap_or_default();
    UnixMillis::from_millis(seconds.saturating_mul(1000))
}

impl Token<'_> {
    /// The token that would be issued next: as this one, with other times and another id.
    fn renewed(self, issued_at: UnixSeconds) -> Self {
        let issued_at = issued_at.as_seconds();
        let lived = self.issued_at.zip(self.expires).map(|(from, to)| to.saturating_sub(from));
        // Without `iat` nobody knows how long it lived.
        let lives = lived.unwrap_or(limits::ONE_HOUR.as_secs().cast_signed());
        Self {
            issued_at: Some(issued_at),
            expires: self.expires.map(|_| issued_at.saturating_add(lives)),
            not_before: None,
            id: self.id.and_then(|_| Id::parse("the next token's own id").ok()),
            ..self
        }
    }
}
