//! Every scenario, asked of core, over gRPC, and of the oracle.
//!
//! The same question goes all ways: straight to [`decide`], through the services on a loopback
//! socket with the generated client, and to the oracle as plain data. All answers are told in the
//! scenario's words and compared with what it expects. All that differ are listed.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where it fails")]

use std::alloc::System;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use caed_core::builder::Builder;
use caed_core::decide::decide;
use caed_core::decision::{
    Answer, CODE_LOCATION, CODE_OUTDATED, CODE_REVOKED, Decision, Notes, Refusal, Report, Verdict,
};
use caed_core::event::RiskLevel;
use caed_core::ids::{Name, ObjectKey};
use caed_core::index::ranges::RangeSet;
use caed_core::ingest::Ingest;
use caed_core::limits;
use caed_core::log_view::{Letters, LogView, PartitionView};
use caed_core::policy::Incapable;
use caed_core::position::{Offset, Partition, Position, Topics};
use caed_core::publish;
use caed_core::request::{AccessRequest, Claims, Seen, Token, announces_cp1};
use caed_core::rules::{Issuer, IssuerTenants, Issuers, Judged, LocationClass, Profile, Rules};
use caed_core::sink::{Accepted, AppendError, BoxFuture, EventSink};
use caed_core::snapshot::Snapshot;
use caed_core::time::{Clock, UnixMillis, UnixSeconds};
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_surfaces::native::{Parts, routes};
use caed_surfaces::pdp::Pdp;
use caed_tests::oracle::{self, Expected};
use caed_tests::plain;
use caed_tests::scenario::{self, Scenario, Tenants};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

/// Counts allocations: a decision that allows makes none.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Fewer would mean that files were not found.
const SCENARIOS_MIN: usize = 90;

/// An answer in the words of a scenario.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    answer: String,
    reason: Option<String>,
    scope: Option<String>,
    nbf: Option<i64>,
    address: Option<String>,
    max_age_s: Option<u64>,
    row: Option<String>,
    policy: Option<String>,
    notes: BTreeSet<String>,
    report: Option<(String, String)>,
    retry_after_s: Option<u32>,
    findings: BTreeMap<String, String>,
    /// `None` where the scenario does not mind.
    since: Option<i64>,
}

/// A clock that stands still.
struct Still(UnixMillis);

impl Clock for Still {
    fn now(&self) -> UnixMillis {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Takes no events: nothing is published here.
struct Closed;

impl EventSink for Closed {
    fn append(&self, _: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Accepted>, AppendError>> {
        Box::pin(async { Err(AppendError::Closing) })
    }

    fn applied(&self, _: Position) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async { Err(AppendError::Closing) })
    }
}

/// Nothing is read here.
struct NoLog;

impl LogView for NoLog {
    fn bytes(&self) -> u64 {
        0
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn partitions(&self) -> Vec<PartitionView> {
        Vec::new()
    }

    fn letters(&self) -> Letters {
        Letters::default()
    }
}

#[tokio::test]
async fn every_scenario_is_answered_as_it_says() {
    let all = scenario::all();
    assert!(all.len() >= SCENARIOS_MIN, "{} scenarios only", all.len());
    let mut failures = String::new();
    for (file, scenario) in &all {
        for problem in problems(scenario).await {
            writeln!(failures, "{file}: {} {}\n{problem}", scenario.rule, scenario.story)
                .expect("a string takes everything");
        }
    }
    println!("{} scenarios", all.len());
    assert!(failures.is_empty(), "\n{failures}");
}

/// Everything that differs from what a scenario expects.
async fn problems(scenario: &Scenario) -> Vec<String> {
    let mut problems = Vec::new();
    let rules = Arc::new(rules(scenario));
    let mut builder = Builder::new(Arc::clone(&rules), 7);
    let before = builder.freeze();
    let reported = match apply(scenario, &rules, &mut builder) {
        Ok(reported) => reported,
        Err(problem) => return vec![problem],
    };
    if scenario.ready {
        builder.caught_up();
    }
    if let Some(expected) = &scenario.expect.reported
        && *expected != reported
    {
        problems.push(differ("reported", expected, &reported));
    }
    let (claims, profile) = (scenario.token.claims(), Arc::new(profile(scenario)));
    let asked = builder.freeze();
    let named = scenario.named_profile.as_deref();
    let named = named.map(|name| Profile::shipped(name).expect("a shipped profile"));
    let (decision, allocations) =
        ask(&asked, &claims, named.as_ref().unwrap_or(&profile), seen(scenario), now(scenario));
    if decision.verdict == Verdict::Allow && allocations > 0 {
        problems.push(format!("  core: {allocations} allocations to allow"));
    }
    check(scenario, "core", &of_decision(scenario, &decision), &mut problems);

    let (world, events) = (plain::world(scenario), plain::events(scenario));
    let expected = oracle::expected(&world, &events, &plain::request(scenario));
    check(scenario, "oracle", &of_oracle(scenario, &expected), &mut problems);

    let reply = ask_over_grpc(before, asked, scenario, profile).await;
    check(scenario, "grpc", &of_reply(scenario, &reply), &mut problems);
    let known = reply.knowledge.as_ref().map(|knowledge| knowledge.generation);
    if known != Some(decision.generation) {
        problems.push(differ("grpc, generation", &Some(decision.generation), &known));
    }
    for (place, expected, seen) in [
        ("grpc, detail", &scenario.expect.detail, &reply.detail),
        ("grpc, www_authenticate", &scenario.expect.www_authenticate, &reply.www_authenticate),
    ] {
        if let Some(expected) = expected
            && expected != seen
        {
            problems.push(differ(place, expected, seen));
        }
    }
    if let Err(problem) = check_header(&reply, &claims) {
        problems.push(format!("  grpc: {problem}: {}", reply.www_authenticate));
    }
    problems
}

fn check(scenario: &Scenario, surface: &str, seen: &Told, problems: &mut Vec<String>) {
    let expect = &scenario.expect;
    let expected = Told {
        answer: expect.answer.clone(),
        reason: expect.reason.clone(),
        scope: expect.scope.clone(),
        nbf: expect.nbf.map(scenario::Time::seconds),
        address: expect.address.clone(),
        max_age_s: expect.max_age.map(scenario::Length::seconds),
        row: expect.row.clone(),
        policy: expect.policy.clone(),
        notes: expect.notes.clone(),
        report: expect.report.clone(),
        retry_after_s: expect.retry_after_s,
        findings: expect.findings(),
        since: expect.since.map(scenario::Time::millis),
    };
    if expected != *seen {
        problems.push(differ(surface, &expected, seen));
    }
}

fn differ<T: std::fmt::Debug>(place: &str, expected: &T, seen: &T) -> String {
    format!("  {place}:\n    expected {expected:?}\n    seen     {seen:?}")
}

/// Applies the events. Returns what an operator is told of them.
fn apply(
    scenario: &Scenario,
    rules: &Rules,
    builder: &mut Builder,
) -> Result<BTreeSet<String>, String> {
    let mut reported = BTreeSet::new();
    for (offset, event) in (0..).map(Offset).zip(&scenario.events) {
        let message = event.message(scenario.now).map_err(|error| format!("  event: {error}"))?;
        let decoded = native::event_of(message).map_err(|error| format!("  event: {error}"))?;
        let event = &decoded.event;
        let position = Position { partition: Partition::default(), offset };
        builder.apply(position, event.received, event);
        for (holds, notice) in [
            (decoded.time_read_as_seconds, "time_read_as_seconds"),
            (event.cutoff_is_clamped(), "cutoff_set_to_receipt"),
            (event.is_late(rules.horizon), "older_than_horizon"),
            (event.misses_tokens_without_claim(), "misses_tokens_without_claim"),
        ] {
            if holds {
                reported.insert(notice.to_owned());
            }
        }
    }
    Ok(reported)
}

fn ask(
    snapshot: &Snapshot,
    claims: &v1::TokenClaims,
    profile: &Profile,
    seen: Seen,
    now: UnixMillis,
) -> (Decision, usize) {
    let v1::TokenClaims {
        iss,
        tid,
        sub,
        iat,
        exp,
        nbf,
        sid,
        jti,
        azp,
        deviceid,
        xms_cc,
        aud,
        ipaddr,
        acct,
        auth_time,
        idtyp,
        groups,
        wids,
        judged,
    } = claims;
    let token = Token::parse(&Claims {
        issuer: iss.as_deref(),
        tenant: tid.as_deref(),
        subject: sub.as_deref(),
        issued_at: *iat,
        expires: *exp,
        not_before: *nbf,
        session: sid.as_deref(),
        token_id: jti.as_deref(),
        client: azp.as_deref(),
        device: deviceid.as_deref(),
        answers_challenges: xms_cc.iter().any(|value| announces_cp1(value)),
        audiences: aud,
        address: ipaddr.as_deref(),
        account_kind: *acct,
        authenticated: *auth_time,
        identity_type: idtyp.as_deref(),
        groups: groups.as_ref().map(|claim| claim.values.as_slice()),
        roles: wids.as_ref().map(|claim| claim.values.as_slice()),
        judged: judged.as_deref(),
    });
    let request = AccessRequest { token, profile, seen };
    let region = Region::new(ALLOCATOR);
    let decision = decide(snapshot, &request, now);
    let allocations = region.change().allocations;
    (decision, allocations)
}

/// Where the request comes from.
fn seen(scenario: &Scenario) -> Seen {
    match scenario.from.as_deref() {
        None | Some("unknown") => Seen::Unknown,
        Some("none by nature") => Seen::NoneByNature,
        Some(address) => Seen::At(address.parse::<IpAddr>().expect("an address").to_canonical()),
    }
}

fn client(scenario: &Scenario) -> Option<v1::ClientAddress> {
    use v1::client_address::Is;
    let is = match scenario.from.as_deref()? {
        "none by nature" => Is::NoneByNature(true),
        // `unknown` is no address, and so not known.
        address => Is::Ip(address.to_owned()),
    };
    Some(v1::ClientAddress { is: Some(is) })
}

async fn ask_over_grpc(
    before: Snapshot,
    asked: Snapshot,
    scenario: &Scenario,
    profile: Arc<Profile>,
) -> v1::EvaluateReply {
    let (mut publisher, reader) = publish::cell(before);
    publisher.publish(asked);
    let (routes, _health) = routes(Parts {
        pdp: Pdp::new(reader, Arc::new(Still(now(scenario))), profile, Duration::MAX),
        sink: Arc::new(Closed),
        ingest: Arc::new(Ingest::default()),
        log: Arc::new(NoLog),
        topics: Arc::new(Topics::new(["scenario".to_owned()])),
    })
    .await
    .expect("services");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (end, ended) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        let ended = async { ended.await.unwrap_or_default() };
        Server::builder().add_routes(routes).serve_with_incoming_shutdown(incoming, ended).await
    });
    let client = AccessEvaluationClient::connect(format!("http://{address}")).await;
    let mut client = client.expect("a server that listens");
    let request = v1::EvaluateRequest {
        profile: scenario.named_profile.clone().unwrap_or_default(),
        client: self::client(scenario),
        token: Some(v1::evaluate_request::Token::Claims(scenario.token.claims())),
    };
    let reply = client.evaluate(request).await.expect("an answer");
    drop(client);
    end.send(()).expect("a server that still listens");
    server.await.expect("no panic").expect("a clean end");
    reply.into_inner()
}

/// The answer to one reason alone.
const fn own(answer: Answer) -> &'static str {
    match answer {
        Answer::Challenge { .. } | Answer::SignIn { .. } => "challenge",
        Answer::Deny(Refusal::InvalidToken) => "deny 401",
        Answer::Deny(Refusal::Forbidden) => "deny 403",
        Answer::Deny(Refusal::Unavailable { .. }) => "deny 503",
    }
}

fn told(verdict: Verdict, status: u16) -> String {
    match (verdict, status) {
        (Verdict::Allow, 200) => "allow".to_owned(),
        (Verdict::Challenge, 401) => "challenge".to_owned(),
        (verdict, status) => format!("{verdict:?} {status}").to_lowercase(),
    }
}

fn notes_of(notes: Notes) -> BTreeSet<String> {
    let Notes { ip_variation, location_not_evaluated, sign_in_time_missing } = notes;
    [
        (ip_variation, "ip_variation"),
        (location_not_evaluated, "location_not_evaluated"),
        (sign_in_time_missing, "sign_in_time_missing"),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .map(|(_, note)| note.to_owned())
    .collect()
}

/// What the oracle says; it tells no evidence (since when, which policy).
fn of_oracle(scenario: &Scenario, expected: &Expected) -> Told {
    let name = |reason| words(&format!("{reason:?}"));
    let asked = expected.challenge;
    let scope = expected.findings.iter().find_map(|found| found.scope);
    let row = expected.findings.iter().find_map(|found| found.row);
    Told {
        answer: told(expected.verdict, expected.http_status),
        reason: expected.primary.map(name),
        scope: scope.map(|scope| words(&format!("{scope:?}"))),
        nbf: asked.and_then(|asked| asked.not_before).map(UnixSeconds::as_seconds),
        address: asked.and_then(|asked| asked.address).map(|address| address.to_string()),
        max_age_s: asked.and_then(|asked| asked.max_age).map(|age| age.as_secs()),
        row: row.map(|row| words(&format!("{row:?}"))),
        policy: scenario.expect.policy.clone(),
        notes: notes_of(expected.notes),
        report: expected.report.as_ref().map(|(verdict, primary, _, status)| {
            (told(*verdict, *status), primary.map(name).unwrap_or_default())
        }),
        retry_after_s: expected.retry_after_s,
        findings: expected
            .findings
            .iter()
            .map(|found| (name(found.reason), own(found.answer).to_owned()))
            .collect(),
        since: scenario.expect.since.map(scenario::Time::millis),
    }
}

fn of_decision(scenario: &Scenario, decision: &Decision) -> Told {
    let answer = told(decision.verdict, decision.http_status);
    let asked = decision.challenge;
    let primary = decision.findings.iter().find(|finding| Some(finding.reason) == decision.primary);
    let since = primary.and_then(|finding| finding.since);
    let since = since.map(|since| i64::try_from(since.as_millis()).expect("an instant"));
    Told {
        answer,
        reason: decision.primary.map(|reason| words(&format!("{reason:?}"))),
        scope: decision
            .findings
            .iter()
            .find(|finding| words(&format!("{:?}", finding.reason)) == "revoked")
            .and_then(|finding| finding.scope)
            .map(|scope| words(&format!("{scope:?}"))),
        nbf: asked.and_then(|asked| asked.not_before).map(UnixSeconds::as_seconds),
        address: asked.and_then(|asked| asked.address).map(|address| address.to_string()),
        max_age_s: asked.and_then(|asked| asked.max_age).map(|age| age.as_secs()),
        row: decision
            .findings
            .iter()
            .filter_map(|found| found.row)
            .map(|row| words(&format!("{row:?}")))
            .next(),
        policy: primary
            .and_then(|found| found.policy.as_ref())
            .map(ToString::to_string)
            .filter(|_| scenario.expect.policy.is_some()),
        notes: notes_of(decision.notes),
        report: decision.report.map(|report| {
            let Report { verdict, primary, reasons, http_status } = report;
            assert_eq!(primary.is_none(), reasons.iter().next().is_none());
            let reason = primary.map(|reason| words(&format!("{reason:?}")));
            (told(verdict, http_status), reason.unwrap_or_default())
        }),
        retry_after_s: decision.retry_after_s,
        findings: decision
            .findings
            .iter()
            .map(|found| (words(&format!("{:?}", found.reason)), own(found.answer).to_owned()))
            .collect(),
        since: since.filter(|_| scenario.expect.since.is_some()),
    }
}

fn of_reply(scenario: &Scenario, reply: &v1::EvaluateReply) -> Told {
    let answer = |verdict, status| match (verdict, status) {
        (v1::Verdict::Allow, 200) => "allow".to_owned(),
        (v1::Verdict::Challenge, 401) => "challenge".to_owned(),
        (verdict, status) => format!("{verdict:?} {status}").to_lowercase(),
    };
    let reason = |reason: v1::Reason| {
        let name = reason.as_str_name().trim_start_matches("REASON_").to_lowercase();
        (reason != v1::Reason::Unspecified).then_some(name)
    };
    let scope = |scope: v1::Scope| {
        let name = scope.as_str_name().trim_start_matches("SCOPE_").to_lowercase();
        (scope != v1::Scope::Unspecified).then_some(name)
    };
    let asked = reply.challenge.as_ref();
    let of_reason = |wanted| reply.findings.iter().find(move |found| found.reason() == wanted);
    let since = of_reason(reply.primary_reason()).map(|finding| finding.since_ms);
    Told {
        answer: answer(reply.verdict(), reply.http_status),
        reason: reason(reply.primary_reason()),
        scope: of_reason(v1::Reason::Revoked).and_then(|finding| scope(finding.scope())),
        nbf: asked.map(|asked| asked.nbf).filter(|&nbf| nbf != 0),
        address: asked.map(|asked| asked.address.clone()).filter(|text| !text.is_empty()),
        max_age_s: asked.map(|asked| asked.max_age_s).filter(|&age| age != 0),
        row: reply.findings.iter().map(v1::Finding::block_row).find_map(|row| {
            let name = row.as_str_name().trim_start_matches("BLOCK_ROW_").to_lowercase();
            (row != v1::BlockRow::Unspecified).then_some(name)
        }),
        policy: of_reason(reply.primary_reason())
            .map(|found| found.policy.clone())
            .filter(|policy| !policy.is_empty() && scenario.expect.policy.is_some()),
        notes: reply
            .notes()
            .map(|note| note.as_str_name().trim_start_matches("DECISION_NOTE_").to_lowercase())
            .collect(),
        report: reply.report.as_ref().map(|report| {
            let first = reason(report.primary_reason()).unwrap_or_default();
            (answer(report.verdict(), report.http_status), first)
        }),
        retry_after_s: (reply.retry_after_s != 0).then_some(reply.retry_after_s),
        findings: reply
            .findings
            .iter()
            .map(|found| {
                let name = reason(found.reason()).unwrap_or_default();
                (name, answer(found.verdict(), found.http_status))
            })
            .collect(),
        since: since.filter(|_| scenario.expect.since.is_some()),
    }
}

/// D10: the header, as the strictest of the known clients reads it.
fn check_header(reply: &v1::EvaluateReply, claims: &v1::TokenClaims) -> Result<(), String> {
    let header = &reply.www_authenticate;
    if reply.http_status != 401 {
        return require(header.is_empty(), "a header without 401");
    }
    let parameters = header.strip_prefix("Bearer ").ok_or("not a Bearer challenge")?;
    let mut names = Vec::new();
    let mut values = BTreeMap::new();
    for parameter in parameters.split(", ") {
        let (name, quoted) = parameter.split_once('=').ok_or("a parameter without a value")?;
        let value = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = value.ok_or("a value that is not quoted")?;
        require(!value.is_empty(), "an empty value")?;
        require(!value.contains(['"', '\\', ',']), "a value with a comma, quote or backslash")?;
        require(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "more than ASCII")?;
        names.push(name);
        require(values.insert(name, value).is_none(), "a parameter twice")?;
    }
    let order = ["realm", "authorization_uri", "error", "error_description", "max_age", "claims"];
    let in_order: Vec<&str> = order.into_iter().filter(|name| values.contains_key(name)).collect();
    require(names == in_order, "unknown parameters, or another order")?;
    let realm = values.get("realm");
    let tenant = claims.tid.as_deref().unwrap_or_default();
    require(
        realm.is_none_or(|realm| realm.eq_ignore_ascii_case(tenant)),
        "a realm that is not the tenant",
    )?;
    let Some(challenge) = &reply.challenge else {
        require(values.get("error") == Some(&"invalid_token"), "not invalid_token")?;
        return require(!values.contains_key("claims"), "claims without a challenge");
    };
    let codes = [CODE_REVOKED, CODE_LOCATION, CODE_OUTDATED];
    require(codes.contains(&challenge.code.as_str()), "another code")?;
    let max_age = values.get("max_age").map(|age| age.parse::<u64>());
    let asked_age = (challenge.max_age_s > 0).then_some(Ok(challenge.max_age_s));
    require(max_age == asked_age, "another max_age")?;
    require(values.get("error") == Some(&"insufficient_claims"), "not insufficient_claims")?;
    let description = values.get("error_description").ok_or("no description")?;
    require(description.ends_with(&challenge.code), "a description without the code")?;
    let encoded = values.get("claims").ok_or("no claims")?;
    require(!encoded.contains(['+', '/', '-', '_', '=']), "claims that two alphabets differ on")?;
    let decoded = STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    require(decoded == challenge.claims.as_bytes(), "other claims than in the reply")?;
    let seen: serde_json::Value =
        serde_json::from_slice(&decoded).map_err(|error| error.to_string())?;
    let mut members = serde_json::Map::new();
    if challenge.nbf != 0 {
        let nbf = challenge.nbf.to_string();
        members.insert("nbf".to_owned(), json!({"essential": true, "value": nbf}));
    }
    if !challenge.address.is_empty() {
        members.insert("xms_rp_ipaddr".to_owned(), json!({"value": challenge.address}));
    }
    if challenge.max_age_s > 0 {
        members.insert("auth_time".to_owned(), json!({"essential": true}));
    }
    let wanted = json!({"access_token": members});
    require(seen == wanted, "claims that ask for something else")
}

fn require(holds: bool, problem: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem.to_owned()) }
}

/// `UserSession` as `user_session`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for char in name.chars() {
        if char.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(char.to_ascii_lowercase());
    }
    words
}

fn now(scenario: &Scenario) -> UnixMillis {
    UnixMillis::from_millis(u64::try_from(scenario.now.millis()).expect("after 1970"))
}

fn rules(scenario: &Scenario) -> Rules {
    let scenario::Rules { horizon, clock_skew, tenants, issuers } = &scenario.rules;
    let seconds = |length: scenario::Length| Duration::from_secs(length.seconds());
    let default = scenario::Issuer {
        issuer: "https://login.example/{tenant}".to_owned(),
        tenants: None,
        issue_time_skew: None,
        authorization_uri: None,
        judged_by_mark: false,
        one_hour_means_judged: Vec::new(),
        exception_ranges: None,
    };
    let issuers = issuers.clone().unwrap_or_else(|| vec![default]);
    let issuers = issuers.into_iter().map(|issuer| Issuer {
        name: issuer.issuer,
        tenants: match issuer.tenants {
            None => IssuerTenants::InName,
            Some(Tenants::Listed(tenants)) => IssuerTenants::Named(names(&tenants)),
            Some(Tenants::Word(word)) => {
                assert_eq!(word, "all", "tenants of an issuer");
                IssuerTenants::All
            }
        },
        issue_time_skew: issuer.issue_time_skew.map(seconds).unwrap_or_default(),
        authorization_uri: issuer.authorization_uri,
        judged: Judged {
            by_mark: issuer.judged_by_mark,
            one_hour_audiences: issuer.one_hour_means_judged.into_iter().collect(),
            exception_ranges: issuer
                .exception_ranges
                .map(|texts| RangeSet::parse(texts.iter().map(String::as_str)).expect("ranges")),
        },
    });
    Rules {
        horizon: horizon.map_or(limits::HORIZON_DEFAULT, seconds),
        clock_skew: clock_skew.map_or(limits::CLOCK_SKEW_DEFAULT, seconds),
        issuers: Issuers::new(issuers).expect("issuers that can be meant"),
        tenants: tenants.as_deref().map(names),
    }
}

fn names<C: FromIterator<Name>>(names: &[String]) -> C {
    names.iter().map(|name| Name::parse(name).expect("a name")).collect()
}

fn profile(scenario: &Scenario) -> Profile {
    let scenario::Profile {
        risk_threshold,
        device_compliance,
        incapable_clients,
        base,
        applications,
        revocation,
        user_risk,
        device,
        location,
        strict_location,
        incapable,
        outdated_grace,
        lifetime_max,
        lifetime_plain,
    } = &scenario.profile;
    let base = base.as_deref().map(|name| Profile::shipped(name).expect("a shipped profile"));
    let base = base.unwrap_or_default();
    let seconds = |length: scenario::Length| Duration::from_secs(length.seconds());
    let risk_threshold = match risk_threshold.as_deref() {
        Some("low") => RiskLevel::Low,
        Some("medium") => RiskLevel::Medium,
        Some("high") | None => RiskLevel::High,
        Some(other) => panic!("`{other}` is no risk threshold"),
    };
    let keys = incapable_clients.iter().map(|client| ObjectKey::parse(client).expect("an id"));
    Profile {
        risk_threshold,
        device_compliance: *device_compliance,
        incapable_clients: keys.collect(),
        applications: applications.as_ref().map_or(base.applications, |ids| {
            ids.iter().map(|id| ObjectKey::parse(id).expect("an id")).collect()
        }),
        revocation: revocation.unwrap_or(base.revocation),
        user_risk: user_risk.unwrap_or(base.user_risk),
        device: device.unwrap_or(base.device),
        location: match location.as_deref() {
            Some("supported") => LocationClass::Supported,
            Some("when_strict") => LocationClass::WhenStrict,
            Some("unsupported") => LocationClass::Unsupported,
            Some(other) => panic!("`{other}` is no class of location"),
            None => base.location,
        },
        strict: strict_location.unwrap_or(base.strict),
        long_lifetime: lifetime_max.map_or(base.long_lifetime, seconds),
        plain_lifetime: lifetime_plain.map_or(base.plain_lifetime, seconds),
        outdated_grace: outdated_grace.map_or(base.outdated_grace, seconds),
        incapable: match incapable.as_deref() {
            Some("lifetime") => Incapable::Lifetime,
            Some("enforce") | None => Incapable::Enforce,
            Some(other) => panic!("`{other}` is nothing to do with incapable clients"),
        },
    }
}
