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
use tonic::transport::Channel;

use super::output;
use super::private::Private;
use crate::clock::SystemClock;
use crate::config::{Config, Listen, LogChoice, LogFormat, Telemetry};

const TENANT: &str = "contoso";
const ISSUER: &str = "https://idp.contoso.example";
const ALICE: &str = "5a1e0000-0000-4000-8000-00000a11ce00";
const BOB: &str = "5a1e0000-0000-4000-8000-000000000b0b";
const LEGACY: &str = "legacy-client";

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
}

/// What the story expects.
#[derive(Clone, Copy)]
enum Expect {
    Allow,
    Challenge(v1::Reason),
    Deny(u32, v1::Reason),
}

impl Story {
    async fn tell(&mut self) -> anyhow::Result<()> {
        let hour_ago = self.now_s() - 3600;
        let alice = Token { user: ALICE, session: "s-1", client: "web", issued_s: hour_ago };
        let bob = Token { user: BOB, session: "s-7", client: "web", issued_s: hour_ago };
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

    async fn publish(&mut self, fact: Fact) -> anyhow::Result<()> {
        let event = v1::Event {
            tenant: TENANT.to_owned(),
            source: "directory".to_owned(),
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
            xms_cc: vec!["cp1".to_owned()],
            ..v1::TokenClaims::default()
        };
        let request = v1::EvaluateRequest {
            token: Some(v1::evaluate_request::Token::Claims(claims)),
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
        if let Some(enforced) = self.enforced.last().filter(|_| self.is_news) {
            let millis = enforced.as_secs_f64() * 1000.0;
            output::line(format!("      enforced {millis:.2} ms after the event was published"));
            self.is_news = false;
        }
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
        let (verdict, status, reason) = match self {
            Self::Allow => (v1::Verdict::Allow, 200, v1::Reason::Unspecified),
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
        tenants: IssuerTenants::Named(HashSet::from([Name::parse(TENANT)?])),
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
        listen: Listen { grpc: None, grpc_socket: None, admin: None },
        rules,
        profile: Arc::new(profile),
        stale_after: Duration::from_mins(5),
        telemetry: Telemetry { format: LogFormat::Text, filter: "warn".to_owned() },
    })
}
