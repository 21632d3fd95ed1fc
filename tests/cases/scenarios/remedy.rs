//! What an explanation names is what would change the answer: with all of it the answer is ALLOW, and
//! with any of it left out it is not.

use std::sync::Arc;

use caed_core::builder::Builder;
use caed_core::decide::decide;
use caed_core::decision::Verdict;
use caed_core::freshness::At;
use caed_core::rules::Profile;
use caed_core::time::UnixMillis;
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_proto::v1::remedy::Change;
use caed_tests::answer::differ;
use caed_tests::question;
use caed_tests::scenario::{Issuer, Scenario, Tenants, Token};
use caed_tests::world::Belief;

/// The rules of an explanation, in order.
const RULES: [&str; 16] = [
    "T2", "D1", "D2", "F3", "P1", "D3", "D4", "P3", "D5", "D6", "P7", "D7", "P8", "D8", "D9", "D10",
];

/// A scenario in which something has changed.
struct Changed {
    scenario: Scenario,
    claims: v1::TokenClaims,
    now: UnixMillis,
    more: Vec<v1::Event>,
}

/// Everything that is wrong with the explanation of an answer.
pub(super) fn problems(
    scenario: &Scenario,
    reply: &v1::EvaluateReply,
    explained: &v1::ExplainReply,
) -> Vec<String> {
    let mut problems = Vec::new();
    let v1::ExplainReply { decision, address: _, steps, remedies, belief: _ } = explained;
    if decision.as_ref() != Some(reply) {
        problems.push(differ("explained", &Some(reply), &decision.as_ref()));
    }
    let told: Vec<&str> = steps.iter().map(|step| step.rule.as_str()).collect();
    if told != RULES {
        problems.push(differ("rules of the explanation", &RULES.as_slice(), &told.as_slice()));
    }
    let spoke = steps.iter().any(|step| step.outcome() == v1::StepOutcome::Spoke);
    let is_allowed = reply.verdict() == v1::Verdict::Allow;
    if spoke == is_allowed || remedies.is_empty() != is_allowed {
        problems.push(format!("  explained: {:?} by {steps:?}, {remedies:?}", reply.verdict()));
    }
    if is_allowed {
        return problems;
    }
    let texts: Vec<&str> = remedies.iter().map(|remedy| remedy.text.as_str()).collect();
    let verdict = answer(scenario, remedies);
    if verdict != Verdict::Allow {
        problems.push(format!("  explained: {verdict:?} even with {texts:?}"));
    }
    for (index, remedy) in remedies.iter().enumerate() {
        // A token of the near future is a token.
        if matches!(remedy.change, Some(Change::Wait(_))) && remedies.len() > 1 {
            continue;
        }
        let mut rest = remedies.clone();
        rest.remove(index);
        if answer(scenario, &rest) == Verdict::Allow {
            problems.push(format!("  explained: ALLOW without {:?} of {texts:?}", remedy.text));
        }
    }
    problems
}

/// The answer when all of this has changed.
fn answer(scenario: &Scenario, remedies: &[v1::Remedy]) -> Verdict {
    let mut changed = Changed {
        scenario: scenario.clone(),
        claims: scenario.token.claims(),
        now: question::now(scenario),
        more: Vec::new(),
    };
    // Time first: a new token is issued then. An address before a sign-in that may be from there.
    let order = |remedy: &&v1::Remedy| match remedy.change {
        Some(Change::Wait(_)) => 0,
        Some(Change::NewToken(_)) => 2,
        _ => 1,
    };
    let mut remedies: Vec<&v1::Remedy> = remedies.iter().collect();
    remedies.sort_by_key(order);
    for remedy in remedies {
        changed.by(remedy.change.clone().expect("a remedy says what has to change"));
    }
    changed.answer()
}

impl Changed {
    fn by(&mut self, change: Change) {
        let now_s = i64::try_from(self.now.as_millis() / 1000).expect("an instant");
        match change {
            Change::BelievedToken(_) => {
                self.scenario.belief = Belief::Believed;
                self.claims = Token::default().claims();
            }
            Change::ReachKeys(_) => self.scenario.belief = Belief::Believed,
            Change::WellFormedToken(_) => self.claims = Token::default().claims(),
            Change::Wait(v1::WaitRemedy { until_s }) => {
                let until = u64::try_from(until_s).expect("after 1970");
                self.now = self.now.max(UnixMillis::from_millis(until * 1000));
            }
            Change::NewToken(v1::NewTokenRemedy { issued_from_s, signed_in_at }) => {
                self.renew(issued_from_s.unwrap_or(now_s).max(now_s));
                if !signed_in_at.is_empty() {
                    self.claims.ipaddr = Some(signed_in_at);
                }
            }
            Change::SignIn(v1::SignInRemedy { from_s }) => {
                let at = from_s.max(now_s);
                self.renew(at);
                self.claims.auth_time = self.claims.auth_time.map(|_| at);
            }
            Change::Address(v1::AddressRemedy { such_as, .. }) => {
                self.scenario.from = Some(such_as);
            }
            Change::EnableAccount(v1::SourceRemedy { source }) => {
                let user = self.claims.sub.clone().expect("a subject");
                self.tell(source, Fact::AccountEnabled(v1::AccountEnabled { user }));
            }
            Change::ClearDevice(v1::SourceRemedy { source }) => {
                let device = self.claims.deviceid.clone().expect("a device");
                self.tell(source, Fact::DeviceCleared(v1::DeviceCleared { device }));
            }
            Change::DeviceCompliant(v1::SourceRemedy { source }) => {
                let device = self.claims.deviceid.clone().expect("a device");
                self.tell(source, Fact::DeviceCompliant(v1::DeviceCompliant { device }));
            }
            Change::ChangePolicy(v1::PolicyRemedy { policy }) => {
                let state = v1::PolicyState::Disabled.into();
                let disabled = v1::PolicyChanged { policy, state, ..v1::PolicyChanged::default() };
                self.tell("admin".to_owned(), Fact::PolicyChanged(disabled));
            }
            Change::ConfigureIssuer(v1::IssuerRemedy { issuer, tenant }) => {
                let issuers = self.scenario.rules.issuers.get_or_insert_default();
                issuers.retain(|known| known.issuer != issuer);
                issuers.push(Issuer {
                    issuer,
                    tenants: Some(Tenants::Listed(vec![tenant])),
                    issue_time_skew: None,
                    authorization_uri: None,
                    judged_by_mark: false,
                    one_hour_means_judged: Vec::new(),
                    exception_ranges: None,
                });
            }
            Change::ServeTenant(v1::TenantRemedy { tenant }) => {
                self.scenario.rules.tenants.get_or_insert_default().push(tenant);
            }
            Change::ReadLog(v1::ReadLogRemedy {}) => self.scenario.ready = true,
            Change::RefreshLog(v1::RefreshLogRemedy {}) => self.scenario.current = None,
            Change::HearSource(v1::HearSourceRemedy { source, partition }) => {
                let state = v1::StreamState::Enabled.into();
                self.tell(source, Fact::Heartbeat(v1::Heartbeat { partition, state }));
            }
        }
    }

    /// A token as the identity provider would issue it then: as the one before, but for its times and its
    /// id.
    fn renew(&mut self, issued_at: i64) {
        let v1::TokenClaims { iat, exp, nbf, jti, .. } = &mut self.claims;
        let lived = iat.zip(*exp).map_or(3600, |(iat, exp)| exp - iat);
        *exp = exp.map(|_| issued_at + lived);
        *iat = Some(issued_at);
        *nbf = None;
        *jti = jti.as_ref().map(|_| "another".to_owned());
    }

    /// An event a moment from now: a word of this very moment would tie with it.
    fn tell(&mut self, source: String, fact: Fact) {
        let at = i64::try_from(self.now.as_millis()).expect("an instant") + 1;
        self.more.push(v1::Event {
            id: String::new(),
            tenant: self.claims.tid.clone().expect("a tenant"),
            source,
            event_time_ms: at,
            received_ms: at,
            fact: Some(fact),
        });
    }

    fn answer(self) -> Verdict {
        let Self { scenario, claims, now, more } = self;
        let rules = Arc::new(question::rules(&scenario));
        let mut builder = Builder::new(Arc::clone(&rules), 7);
        let (mut events, _) = question::events(&scenario, &rules).expect("events as before");
        let of = |message| native::event_of(message).expect("an event").event;
        events.extend(more.into_iter().map(of));
        builder.set_countries(question::countries(&scenario));
        question::apply(&mut builder, &events);
        if scenario.ready {
            builder.caught_up();
        }
        let named = scenario.named_profile.as_deref();
        let named = named.map(|name| Profile::shipped(name).expect("a shipped profile"));
        let profile = named.unwrap_or_else(|| question::profile(&scenario));
        let (snapshot, seen) = (builder.freeze(), question::seen(&scenario));
        let at = At { now, ..question::at(&scenario) };
        question::with(&claims, scenario.belief, &profile, seen, |asked| {
            decide(&snapshot, asked, at).verdict
        })
    }
}
