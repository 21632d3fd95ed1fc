//! Every scenario, asked of core, over gRPC, inside an API, and of the oracle.
//!
//! The same question goes all ways: straight to [`decide`], through the services on a loopback
//! socket with the generated client, through the layer that APIs embed (see [`layer`]), and to the oracle as plain
//! data. All answers are told in the scenario's words and compared with what it expects. All that differ are listed.
//! The same service explains each answer: see [`remedy`].

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

#[path = "scenarios/layer.rs"]
mod layer;
#[path = "scenarios/remedy.rs"]
mod remedy;

use std::alloc::System;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use caed_core::builder::Builder;
use caed_core::decide::decide;
use caed_core::decision::{CODE_LOCATION, CODE_OUTDATED, CODE_REVOKED, Verdict};
use caed_core::ingest::Ingest;
use caed_core::log_view::{Letters, LogView, PartitionView};
use caed_core::position::{Position, Topics};
use caed_core::publish::{self, Publisher, SnapshotReader};
use caed_core::rules::Profile;
use caed_core::sink::{Accepted, AppendError, BoxFuture, EventSink};
use caed_core::snapshot::Snapshot;
use caed_core::time::{Clock, UnixMillis};
use caed_decode::claims::Names;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::operations_client::OperationsClient;
use caed_surfaces::native::Parts;
use caed_surfaces::pdp::Pdp;
use caed_surfaces::rights::Rights;
use caed_surfaces::wire::{Server, Terms};
use caed_tests::answer::{self, Told};
use caed_tests::scenario::{self, Length, Scenario};
use caed_tests::world::Belief;
use caed_tests::{oracle, plain, question};
use caed_trust::address::Forwarding;
use caed_trust::algorithm::Algorithm;
use caed_trust::fetch::{Keeper, Source};
use caed_trust::issuer::{Issuer, Issuers};
use caed_trust::verifier::Verifier;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

/// Counts allocations: a decision that allows makes none.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Fewer would mean that files were not found.
const SCENARIOS_MIN: usize = 90;

/// More would mean that tokens are not read as they were signed. Those that can't be asked of the layer have no issuer,
/// or no address by their nature.
const NOT_ASKED_OF_LAYER_MAX: usize = 10;

/// A clock that stands still.
struct Still {
    wall: UnixMillis,
    monotonic: Duration,
}

impl Clock for Still {
    fn now(&self) -> UnixMillis {
        self.wall
    }

    fn monotonic(&self) -> Duration {
        self.monotonic
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
    let mut not_asked = 0;
    for (file, scenario) in &all {
        for problem in problems(scenario, &mut not_asked).await {
            writeln!(failures, "{file}: {} {}\n{problem}", scenario.rule, scenario.story)
                .expect("a string takes everything");
        }
    }
    println!("{} scenarios, {not_asked} of them not of the layer", all.len());
    assert!(not_asked <= NOT_ASKED_OF_LAYER_MAX, "{not_asked} not asked of the layer");
    assert!(failures.is_empty(), "\n{failures}");
}

/// Everything that differs from what a scenario expects. Counts a scenario that can't be asked of the layer.
async fn problems(scenario: &Scenario, not_asked: &mut usize) -> Vec<String> {
    let mut problems = Vec::new();
    let rules = Arc::new(question::rules(scenario));
    let mut builder = Builder::new(Arc::clone(&rules), 7);
    builder.set_countries(question::countries(scenario));
    let before = builder.freeze();
    let (events, reported) = match question::events(scenario, &rules) {
        Ok(read) => read,
        Err(problem) => return vec![problem],
    };
    question::apply(&mut builder, &events);
    if scenario.ready {
        builder.caught_up();
    }
    if let Some(expected) = &scenario.expect.reported
        && *expected != reported
    {
        problems.push(answer::differ("reported", expected, &reported));
    }
    let (claims, profile) = (scenario.token.claims(), Arc::new(question::profile(scenario)));
    let asked = builder.freeze();
    let named = scenario.named_profile.as_deref();
    let named = named.map(|name| Profile::shipped(name).expect("a shipped profile"));
    let enforced = named.as_ref().unwrap_or(&profile);
    let (decision, allocations) =
        question::with(&claims, scenario.belief, enforced, question::seen(scenario), |request| {
            let region = Region::new(ALLOCATOR);
            let decision = decide(&asked, request, question::at(scenario));
            (decision, region.change().allocations)
        });
    if decision.verdict == Verdict::Allow && allocations > 0 {
        problems.push(format!("  core: {allocations} allocations to allow"));
    }
    answer::check(scenario, "core", &answer::of_decision(scenario, &decision), &mut problems);

    let (world, events) = (plain::world(scenario), plain::events(scenario));
    let expected = oracle::expected(&world, &events, &plain::request(scenario));
    answer::check(scenario, "oracle", &answer::of_oracle(scenario, &expected), &mut problems);

    let (_publisher, reader, clock) = published(before, asked, scenario);
    let presented = layer::presented(scenario).await;
    let (verifier, token) = presented.unwrap_or_default();
    let parts = Parts {
        pdp: Pdp::new(reader.clone(), Arc::clone(&clock), Arc::clone(&profile)),
        sink: Arc::new(Closed),
        ingest: Arc::new(Ingest::default()),
        log: Arc::new(NoLog),
        topics: Arc::new(Topics::new(["scenario".to_owned()])),
        verifier,
        forwarding: Arc::new(Forwarding::default()),
    };
    if token.is_empty() {
        *not_asked += 1;
    } else {
        let known = (reader, clock);
        problems.extend(layer::problems(scenario, parts.clone(), known, enforced, &token).await);
    }
    let (reply, explained) = ask_over_grpc(parts, scenario).await;
    problems.extend(remedy::problems(scenario, &reply, &explained));
    answer::check(scenario, "grpc", &of_reply(scenario, &reply), &mut problems);
    let known = reply.knowledge.as_ref().map(|knowledge| knowledge.generation);
    if known != Some(decision.generation) {
        problems.push(answer::differ("grpc, generation", &Some(decision.generation), &known));
    }
    for (place, expected, seen) in [
        ("grpc, detail", &scenario.expect.detail, &reply.detail),
        ("grpc, www_authenticate", &scenario.expect.www_authenticate, &reply.www_authenticate),
    ] {
        if let Some(expected) = expected
            && expected != seen
        {
            problems.push(answer::differ(place, expected, seen));
        }
    }
    if let Err(problem) = check_header(&reply, &claims) {
        problems.push(format!("  grpc: {problem}: {}", reply.www_authenticate));
    }
    problems
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

/// An issuer that answers nobody.
const UNREACHABLE: &str = "https://unreachable.example";

/// Verifies tokens of one issuer, whose keys can't be had.
fn without_keys() -> Verifier {
    let source = Source::parse("http://127.0.0.1:1/keys").expect("a URL of this host");
    let max_age = Duration::from_hours(24);
    let (keys, keeper) = Keeper::open(UNREACHABLE, source, None, max_age, 7).expect("opened");
    tokio::spawn(keeper.run());
    let issuer = Issuer {
        name: UNREACHABLE.to_owned(),
        audiences: vec!["files".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        keys,
        key_issuer: None,
        tenant: None,
        claims: Names::default(),
    };
    Verifier::new(Issuers::new([issuer]).expect("an issuer"))
}

/// A token of that issuer, as far as anybody can tell.
fn of_no_keys() -> String {
    let encoded = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = encoded(json!({"alg": "RS256", "kid": "k"}));
    let payload = encoded(json!({"iss": UNREACHABLE, "aud": "files"}));
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode("signed"))
}

/// What is known, in the cell that it is read from, and a clock at the time of the question.
fn published(
    before: Snapshot,
    asked: Snapshot,
    scenario: &Scenario,
) -> (Publisher, SnapshotReader, Arc<dyn Clock>) {
    let (mut publisher, reader) = publish::cell(before);
    publisher.publish(asked);
    // Virtual time: confirmed then, asked now.
    let mut clock = Still { wall: question::now(scenario), monotonic: Duration::ZERO };
    if let Some(current) = &scenario.current {
        let at = UnixMillis::from_millis(u64::try_from(current.at.millis()).expect("after 1970"));
        publisher.confirm_current(at, Duration::ZERO);
        clock.monotonic = current.monotonic.map_or(clock.wall.since(at), Length::duration);
    }
    (publisher, reader, Arc::new(clock))
}

async fn ask_over_grpc(parts: Parts, scenario: &Scenario) -> (v1::EvaluateReply, v1::ExplainReply) {
    let (server, _health) = Server::new(parts).await.expect("services");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.expect("a connection");
        let terms = Terms { rights: Rights::ALL, age: None, grace: Duration::ZERO };
        server.serve(connection, terms, pending()).await;
    });
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = channel.connect().await.expect("a server that listens");
    let mut decisions = AccessEvaluationClient::new(channel.clone());
    let mut operations = OperationsClient::new(channel);
    let request = v1::EvaluateRequest {
        profile: scenario.named_profile.clone().unwrap_or_default(),
        client: client(scenario),
        token: Some(match scenario.belief {
            Belief::Believed => v1::evaluate_request::Token::Claims(scenario.token.claims()),
            Belief::Refused => v1::evaluate_request::Token::Jwt("no token".to_owned()),
            Belief::NoKeys => v1::evaluate_request::Token::Jwt(of_no_keys()),
        }),
        presented: String::new(),
    };
    let reply = decisions.evaluate(request.clone()).await.expect("an answer");
    let explained = operations.explain(request).await.expect("an explanation");
    drop((decisions, operations));
    server.await.expect("no panic");
    (reply.into_inner(), explained.into_inner())
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
