//! `caed demo`: a story of revocations, told by a real sidecar.
//!
//! The demo starts a sidecar of its own in a temporary folder, publishes events and asks for
//! decisions over gRPC as any gateway would, and checks each answer against what the story expects.
//! One wrong answer makes it fail.

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use caed_core::ids::{Name, ObjectKey};
use caed_core::rules::{Issuer, IssuerTenants, Issuers, Judged, Profile, Rules};
use caed_core::time::Clock;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_trust::address::Forwarding;
use tonic::transport::Channel;

use super::output;
use super::private::Private;
use crate::access::Access;
use crate::clock::SystemClock;
use crate::config::{Config, Listen, LogChoice, LogFormat, Telemetry};

const TENANT: &str = "contoso";
const ISSUER: &str = "https://idp.contoso.example";
const ALICE: &str = "5a1e0000-0000-4000-8000-00000a11ce00";
const BOB: &str = "5a1e0000-0000-4000-8000-000000000b0b";
const CARLA: &str = "5a1e0000-0000-4000-8000-00000000ca21";
const DAN: &str = "5a1e0000-0000-4000-8000-0000000000da";
const ERIN: &str = "5a1e0000-0000-4000-8000-00000000e219";
const LEGACY: &str = "legacy-client";
/// A named location, an address in it, and two that are not.
const OFFICE: &str = "office";
const OFFICE_RANGE: &str = "198.51.100.0/24";
const AT_THE_DESK: &str = "198.51.100.7";
const IN_A_CAFE: &str = "203.0.113.9";
const ELSEWHERE: &str = "192.0.2.66";
const STAFF: &str = "staff";

/// Tells the story.
pub(super) async fn run() -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let sidecar = Private::start(config(&folder)?).await?;
    let mut story = Story {
        events: EventPublisherClient::new(sidecar.channel.clone()),
        decisions: AccessEvaluationClient::new(sidecar.channel.clone()),
        clock: SystemClock::new(),
        enforced: Vec::new(),
        is_news: false,
        step: 0,
        wrong: 0,
    };
    output::line("caed demo: one sidecar, one log, real gRPC on loopback\n");
    story.tell().await?;
    let Story { enforced, wrong, step, .. } = story;
    sidecar.end().await?;
    summary(&enforced, step, wrong);
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Publishes, asks, prints and checks.
struct Story {
    events: EventPublisherClient<Channel>,
    decisions: AccessEvaluationClient<Channel>,
    clock: SystemClock,
    /// From publishing to being enforced, as seen by the publisher.
    enforced: Vec<Duration>,
    /// The last event has not shown in an answer yet.
    is_news: bool,
    step: usize,
    wrong: usize,
}

/// A token of the story: who, and when it was issued.
#[derive(Clone)]
struct Token {
    user: &'static str,
    session: &'static str,
    client: &'static str,
    issued_s: i64,
    /// The address that the identity provider saw.
    ipaddr: Option<&'static str>,
    /// Where the request comes from.
    from: Option<&'static str>,
}

/// What the story expects.
#[derive(Clone, Copy)]
enum Expect {
    Allow,
    Challenge(v1::Reason),
    Deny(u32, v1::Reason),
    /// ALLOW, and a refusal with 403 that is only reported.
    Reported(v1::Reason),
}

impl Story {
    async fn tell(&mut self) -> anyhow::Result<()> {
        self.tell_of_revocations().await?;
        output::line("\nSecond act: policies and places\n");
        self.tell_of_places().await
    }

    async fn tell_of_revocations(&mut self) -> anyhow::Result<()> {
        let alice = self.issued_an_hour_ago(ALICE, "s-1");
        let bob = self.issued_an_hour_ago(BOB, "s-7");
        let bob_phone = Token { session: "s-8", client: "phone", ..bob.clone() };
        let bob_legacy = Token { session: "s-9", client: LEGACY, ..bob.clone() };

        self.ask("Alice signs in and calls the API.", &alice, Expect::Allow).await?;

        let user = || ALICE.to_owned();
        self.publish(Fact::AccountDisabled(v1::AccountDisabled { user: user() })).await?;
        let text = "Alice's account is disabled. The very next call is challenged.";
        self.ask(text, &alice, Expect::Challenge(v1::Reason::Revoked)).await?;

        self.next_second().await;
        let fresh = self.issued_now(&alice);
        let text = "A token issued although the account is disabled is refused outright.";
        self.ask(text, &fresh, Expect::Deny(403, v1::Reason::Account)).await?;

        self.publish(Fact::AccountEnabled(v1::AccountEnabled { user: user() })).await?;
        let text = "The account is enabled again. The old token stays dead …";
        self.ask(text, &alice, Expect::Challenge(v1::Reason::Revoked)).await?;
        let fresh = self.issued_now(&alice);
        self.ask("… and a new one works at once.", &fresh, Expect::Allow).await?;

        self.publish(Fact::PasswordChanged(v1::PasswordChanged { user: user() })).await?;
        let text = "Alice changes her password: every token from before is challenged.";
        self.ask(text, &fresh, Expect::Challenge(v1::Reason::Revoked)).await?;

        let revoked = v1::SessionRevoked {
            issuer: ISSUER.to_owned(),
            session: "s-7".to_owned(),
            user: BOB.to_owned(),
        };
        self.publish(Fact::SessionRevoked(revoked)).await?;
        let text = "One of Bob's sessions is revoked.";
        self.ask(text, &bob, Expect::Challenge(v1::Reason::Revoked)).await?;
        self.ask("His other session goes on.", &bob_phone, Expect::Allow).await?;

        let high = v1::UserRiskChanged { user: BOB.to_owned(), level: v1::RiskLevel::High.into() };
        self.publish(Fact::UserRiskChanged(high)).await?;
        let text = "Bob's risk is found to be high.";
        self.ask(text, &bob_phone, Expect::Challenge(v1::Reason::Risk)).await?;
        let text = "A client that can't answer a challenge gets a plain 401.";
        self.ask(text, &bob_legacy, Expect::Deny(401, v1::Reason::Risk)).await
    }

    async fn tell_of_places(&mut self) -> anyhow::Result<()> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let members = owned(&[CARLA]);
        let read = v1::GroupRead { group: STAFF.to_owned(), members, part: None };
        self.publish(Fact::GroupRead(read)).await?;
        let office = v1::LocationChanged {
            location: OFFICE.to_owned(),
            ranges: Some(v1::IpRanges { cidrs: owned(&[OFFICE_RANGE]) }),
            ..v1::LocationChanged::default()
        };
        self.publish(Fact::LocationChanged(office)).await?;
        let blocks = |policy: &str, state: v1::PolicyState, users: v1::PolicyUsers| {
            Fact::PolicyChanged(v1::PolicyChanged {
                policy: policy.to_owned(),
                state: state.into(),
                users: Some(users),
                applications: Some(v1::PolicyApplications {
                    include: owned(&["All"]),
                    ..v1::PolicyApplications::default()
                }),
                grant_controls: owned(&["block"]),
                ..v1::PolicyChanged::default()
            })
        };
        let staff =
            v1::PolicyUsers { include_groups: owned(&[STAFF]), ..v1::PolicyUsers::default() };
        let mut outside = blocks("staff-outside", v1::PolicyState::Enabled, staff);
        if let Fact::PolicyChanged(policy) = &mut outside {
            policy.locations =
                Some(v1::PolicyLocations { include: owned(&["All"]), exclude: owned(&[OFFICE]) });
        }
        self.publish(outside).await?;

        let carla = Token {
            ipaddr: Some(AT_THE_DESK),
            from: Some(AT_THE_DESK),
            ..self.issued_an_hour_ago(CARLA, "s-20")
        };
        let text = "Staff is blocked outside the office. Carla is at her desk.";
        self.ask(text, &carla, Expect::Allow).await?;
        let carla_out = Token { from: Some(IN_A_CAFE), ..carla.clone() };
        let text = "She leaves the office: the challenge names the address that was seen.";
        self.ask(text, &carla_out, Expect::Challenge(v1::Reason::Location)).await?;
        let stolen = Token { from: Some(ELSEWHERE), ..carla };
        let text = "Her token is stolen and replayed. The thief can't answer the challenge.";
        self.ask(text, &stolen, Expect::Challenge(v1::Reason::Location)).await?;

        let dan = Token {
            ipaddr: Some(IN_A_CAFE),
            from: Some(IN_A_CAFE),
            ..self.issued_an_hour_ago(DAN, "s-30")
        };
        self.ask("Dan is not one of the staff.", &dan, Expect::Allow).await?;
        let joins = v1::MemberAdded { group: STAFF.to_owned(), user: DAN.to_owned() };
        self.publish(Fact::MemberAdded(joins)).await?;
        let text = "Now he is: the policy holds for him with his next call.";
        self.ask(text, &dan, Expect::Challenge(v1::Reason::Location)).await?;

        let erin = v1::PolicyUsers { include_users: owned(&[ERIN]), ..v1::PolicyUsers::default() };
        self.publish(blocks("tomorrow", v1::PolicyState::ReportOnly, erin)).await?;
        let erin = self.issued_an_hour_ago(ERIN, "s-40");
        let text = "A policy that is only reported refuses nobody, and shows whom it would.";
        self.ask(text, &erin, Expect::Reported(v1::Reason::Policy)).await
    }

    async fn publish(&mut self, fact: Fact) -> anyhow::Result<()> {
        let event = v1::Event {
            tenant: TENANT.to_owned(),
            source: "directory".to_owned(),
            event_time_ms: i64::try_from(self.clock.now().as_millis())?,
            fact: Some(fact),
            ..v1::Event::default()
        };
        let request = v1::PublishRequest { events: vec![event], wait: v1::Wait::Applied.into() };
        let started = Instant::now();
        self.events.publish(request).await?;
        self.enforced.push(started.elapsed());
        self.is_news = true;
        Ok(())
    }

    async fn ask(&mut self, text: &str, token: &Token, expect: Expect) -> anyhow::Result<()> {
        let claims = v1::TokenClaims {
            iss: Some(ISSUER.to_owned()),
            tid: Some(TENANT.to_owned()),
            sub: Some(token.user.to_owned()),
            iat: Some(token.issued_s),
            exp: Some(token.issued_s + 24 * 3600),
            sid: Some(token.session.to_owned()),
            azp: Some(token.client.to_owned()),
            ipaddr: token.ipaddr.map(str::to_owned),
            xms_cc: vec!["cp1".to_owned()],
            ..v1::TokenClaims::default()
        };
        let request = v1::EvaluateRequest {
            token: Some(v1::evaluate_request::Token::Claims(claims)),
            client: token.from.map(|ip| v1::ClientAddress {
                is: Some(v1::client_address::Is::Ip(ip.to_owned())),
            }),
            ..v1::EvaluateRequest::default()
        };
        let started = Instant::now();
        let reply = self.decisions.evaluate(request).await?.into_inner();
        let elapsed = started.elapsed();
        self.step += 1;
        let is_right = expect.holds(&reply);
        self.wrong += usize::from(!is_right);
        self.print(text, &reply, elapsed, is_right);
        Ok(())
    }

    fn print(&mut self, text: &str, reply: &v1::EvaluateReply, elapsed: Duration, is_right: bool) {
        let mark = if is_right { "✓" } else { "✗ NOT AS EXPECTED" };
        let verdict = reply.verdict().as_str_name().trim_start_matches("VERDICT_");
        output::line(format!("{:>2}. {text}", self.step));
        let reason = match reply.primary_reason() {
            v1::Reason::Unspecified => String::new(),
            reason => format!(", reason {}", output::word(reason.as_str_name(), "REASON_")),
        };
        let micros = elapsed.as_micros();
        output::line(format!(
            "    {mark} {verdict} (HTTP {}{reason}), answered in {micros} µs",
            reply.http_status
        ));
        if let Some(challenge) = &reply.challenge {
            output::line(format!("      challenge: {}", challenge.claims.trim_end()));
        }
        if let Some(report) = &reply.report {
            let verdict = report.verdict().as_str_name().trim_start_matches("VERDICT_");
            let reason = output::word(report.primary_reason().as_str_name(), "REASON_");
            output::line(format!("      would have been {verdict} (reason {reason})"));
        }
        if let Some(enforced) = self.enforced.last().filter(|_| self.is_news) {
            let millis = enforced.as_secs_f64() * 1000.0;
            output::line(format!("      enforced {millis:.2} ms after the event was published"));
            self.is_news = false;
        }
    }

    /// A token of a session in a browser.
    fn issued_an_hour_ago(&self, user: &'static str, session: &'static str) -> Token {
        let issued_s = self.now_s() - 3600;
        Token { user, session, client: "web", issued_s, ipaddr: None, from: None }
    }

    /// A token of the same session, issued now.
    fn issued_now(&self, token: &Token) -> Token {
        Token { issued_s: self.now_s(), ..token.clone() }
    }

    fn now_s(&self) -> i64 {
        self.clock.now().floor_to_second().as_seconds()
    }

    /// Tokens count in whole seconds: one issued in the very second of a revocation is refused.
    async fn next_second(&self) {
        let second = self.now_s();
        while self.now_s() == second {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Expect {
    fn holds(self, reply: &v1::EvaluateReply) -> bool {
        let reported = reply.report.as_ref();
        let reported = reported.map(|report| (report.http_status, report.primary_reason()));
        let expected = match self {
            Self::Reported(reason) => Some((403, reason)),
            _ => None,
        };
        if reported.filter(|(status, _)| *status != 200) != expected {
            return false;
        }
        let (verdict, status, reason) = match self {
            Self::Allow | Self::Reported(_) => (v1::Verdict::Allow, 200, v1::Reason::Unspecified),
            Self::Challenge(reason) => (v1::Verdict::Challenge, 401, reason),
            Self::Deny(status, reason) => (v1::Verdict::Deny, status, reason),
        };
        reply.verdict() == verdict
            && reply.http_status == status
            && reply.primary_reason() == reason
            && reply.challenge.is_some() == (verdict == v1::Verdict::Challenge)
    }
}

fn summary(enforced: &[Duration], steps: usize, wrong: usize) {
    let mut sorted = enforced.to_vec();
    sorted.sort();
    let millis = |duration: Option<&Duration>| duration.map_or(0.0, |it| it.as_secs_f64() * 1000.0);
    output::line(format!(
        "\n{steps} answers, {wrong} of them wrong. {} events, enforced within {:.2} ms (median {:.2} ms), durable on disk included.",
        sorted.len(),
        millis(sorted.last()),
        millis(sorted.get(sorted.len() / 2)),
    ));
}

fn config(folder: &tempfile::TempDir) -> anyhow::Result<Config> {
    let issuer = Issuer {
        name: ISSUER.to_owned(),
        tenants: IssuerTenants::Named([Name::parse(TENANT)?].into()),
        issue_time_skew: Duration::ZERO,
        authorization_uri: Some(format!("{ISSUER}/authorize")),
        judged: Judged::default(),
    };
    let rules = Rules { issuers: Issuers::new([issuer])?, ..Rules::default() };
    let profile = Profile {
        incapable_clients: HashSet::from([ObjectKey::parse(LEGACY)?]),
        ..Profile::default()
    };
    Ok(Config {
        log: LogChoice::Embedded(folder.path().join("log")),
        listen: Listen {
            grpc: None,
            grpc_socket: None,
            http: None,
            admin: None,
            tls: None,
            access: Access::default(),
        },
        rules,
        raw_tokens: Vec::new(),
        vouched: Vec::new(),
        profile: Arc::new(profile),
        countries: None,
        forwarding: Forwarding::default(),
        telemetry: Telemetry { format: LogFormat::Text, filter: "warn".to_owned() },
    })
}
