//! A fleet of sidecars on a real Kafka, against the oracle.
//!
//! The broker is obtained by `tests/tools/kafka.sh` and ends with this process. What is published
//! goes through the sidecars' own gRPC, what is asked too.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong"
)]

mod broker;
mod sidecar;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use caed_core::decision::{Reason, Verdict};
use caed_core::event::{AccountState, Compliance, DeviceState, RevocationCause, RiskLevel};
use caed_proto::v1;
use caed_tests::random::Random;
use caed_tests::world::{
    Declaration, Event, Finer, Issuer, Millis, Request, Speaks, Text, What, World,
};
use caed_tests::{oracle, wire};
use tonic_health::pb::health_check_response::ServingStatus;

use broker::broker;
use sidecar::Sidecar;

const HORIZON: Duration = Duration::from_hours(30);
const ISSUER: Text = "https://idp.example";
const TENANTS: [Text; 3] = ["contoso", "fabrikam", "tailspin"];

const EVENTS: usize = 200_000;
const REQUESTS: usize = 10_000;
/// Events of one call, and senders.
const CALL: usize = 500;
const SENDERS: usize = 4;

/// Ids come in neighbourhoods, so that a request is about ids to which something happened together,
/// and the oracle, which looks at every event there is, need only look at those.
const NEIGHBOURHOODS: usize = 10_000;

/// Events about a whole tenant come once in so many.
const TENANT_WIDE_EVERY: usize = 50_000;

const HOUR: Millis = 3_600_000;

/// How long a token is honoured, of a client that is capable and of one that is not, as the default
/// profile has it.
const LIFETIMES: [i128; 2] = [28 * 3600, 90 * 60];

/// Ids of one neighbourhood.
struct Neighbourhood {
    tenant: Text,
    users: [Text; 3],
    /// Sessions, tokens, clients, devices.
    finer: [[Text; 2]; 4],
}

struct City {
    neighbourhoods: Vec<Neighbourhood>,
    now: Millis,
}

/// An event, and the neighbourhood that it is about; `None` where it is about all of a tenant.
struct Drawn {
    event: Event,
    neighbourhood: Option<usize>,
}

impl City {
    fn new() -> Self {
        let id = |text: String| -> Text { text.leak() };
        let neighbourhood = |number: usize| Neighbourhood {
            tenant: TENANTS.get(number % TENANTS.len()).expect("within"),
            users: [
                id(format!("5a1e0000-0000-4000-8000-{number:012x}")),
                id(format!("u{number}")),
                id(format!("a-user-with-a-long-name-{number}")),
            ],
            finer: ["session", "token", "client", "device"]
                .map(|kind| [0, 1].map(|which| id(format!("{kind}-{number}-{which}")))),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let now = Millis::try_from(since.as_millis()).expect("small");
        Self { neighbourhoods: (0..NEIGHBOURHOODS).map(neighbourhood).collect(), now }
    }

    /// Draws an event that lies at least ten minutes back, so that it matters to nobody when exactly
    /// it is received and asked about.
    fn event(&self, number: usize, random: &mut Random) -> Drawn {
        let occurred = self.now - HOUR / 6 - random.within(0, 20 * HOUR);
        let at = random.below(NEIGHBOURHOODS);
        let Neighbourhood { tenant, users, finer } = &self.neighbourhoods[at];
        let user = random.pick(users);
        let [session, token, client, device] = finer.map(|ids| random.pick(&ids));
        let finer = match random.below(4) {
            0 => Finer::Session(ISSUER, session),
            1 => Finer::Token(ISSUER, token),
            2 => Finer::Client(client),
            _ => Finer::Device(device),
        };
        let is_tenant_wide = number % TENANT_WIDE_EVERY == TENANT_WIDE_EVERY / 2;
        let what = match random.below(16) {
            _ if is_tenant_wide => Self::tenant_wide(random),
            0..3 => What::Account(user, random.pick(&STATES)),
            3..6 => What::UserRevoked(user, random.pick(&CAUSES)),
            6 | 7 => What::Risk(user, random.pick(&LEVELS)),
            8 | 9 => What::Revoked(finer, None),
            10..12 => What::Revoked(finer, Some(user)),
            12 | 13 => What::Device(device, random.pick(&DEVICE_STATES)),
            _ => What::Compliance(device, random.pick(&COMPLIANCES)),
        };
        let event = Event {
            tenant,
            source: random.pick(&["directory", "hr", "mdm"]),
            id: number.to_string().leak(),
            occurred: if is_tenant_wide { self.now - 21 * HOUR } else { occurred },
            received: self.now,
            what,
        };
        Drawn { event, neighbourhood: (!is_tenant_wide).then_some(at) }
    }

    /// A tenant's tokens of long ago were revoked, or what a source said of accounts so far does not
    /// count any more.
    fn tenant_wide(random: &mut Random) -> What {
        if random.chance(50) {
            return What::TenantRevoked;
        }
        let declaration = Declaration {
            // No source gives signs of life here.
            declared: false,
            emits_enabled: random.chance(50),
            emits_device_clear: true,
            retired: None,
        };
        What::Source("hr", declaration)
    }

    /// Draws a request about a neighbourhood.
    fn request(&self, at: usize, random: &mut Random) -> Request {
        let Neighbourhood { tenant, users, finer } = &self.neighbourhoods[at];
        let mut optional = |ids: &[Text; 2]| random.chance(60).then(|| random.pick(ids));
        let [session, token, client, device] = finer.each_ref().map(&mut optional);
        let now = self.now / 1000;
        // The most were issued after the most that happened, or nothing would be allowed.
        let hours = if random.chance(70) { 1 } else { 25 };
        Request {
            issuer: Some(ISSUER),
            tenant: Some(tenant),
            subject: Some(random.pick(users)),
            issued_at: Some(now - 600 - random.within(0, hours * 3600)),
            expires: Some(now + 36_000),
            session,
            token,
            client,
            device,
            cp1: random.chance(80),
            lifetimes: LIFETIMES,
            ..Request::default()
        }
    }

    fn world(&self) -> World {
        let issuer = Issuer {
            name: ISSUER,
            tenants: Speaks::For(TENANTS.to_vec()),
            issue_time_skew: 0,
            marks: false,
            one_hour: Vec::new(),
            exceptions: None,
        };
        World {
            now: self.now,
            horizon: i128::from(HORIZON.as_secs()),
            skew: 300,
            issuers: vec![issuer],
            served: None,
            caught_up: true,
            ..World::default()
        }
    }
}

const STATES: [AccountState; 4] =
    [AccountState::Enabled, AccountState::Enabled, AccountState::Disabled, AccountState::Deleted];
const CAUSES: [RevocationCause; 3] =
    [RevocationCause::PasswordReset, RevocationCause::SessionsRevoked, RevocationCause::MfaEnabled];
const LEVELS: [RiskLevel; 3] = [RiskLevel::Low, RiskLevel::Medium, RiskLevel::High];
const DEVICE_STATES: [DeviceState; 3] =
    [DeviceState::Cleared, DeviceState::Disabled, DeviceState::Deleted];
const COMPLIANCES: [Compliance; 2] = [Compliance::Compliant, Compliance::NotCompliant];

/// An event as its sender writes it: without a time of receipt.
fn sent(event: &Event) -> v1::Event {
    v1::Event { received_ms: 0, ..wire::event(event) }
}

/// Publishes a range by several senders, in turns by each sidecar, and each call again until it is
/// acknowledged. Returns how many calls had to be made again.
async fn publish(sidecars: [&Sidecar; 2], events: &[Drawn]) -> usize {
    let next = AtomicUsize::new(0);
    let again = AtomicUsize::new(0);
    let send = async |sidecar: &Sidecar| {
        let mut client = sidecar.events.clone();
        loop {
            let first = next.fetch_add(CALL, Ordering::Relaxed);
            let call = events.iter().skip(first).take(CALL);
            let events: Vec<_> = call.map(|drawn| sent(&drawn.event)).collect();
            if events.is_empty() {
                return;
            }
            let request = v1::PublishRequest { events, wait: v1::Wait::Durable.into() };
            while let Err(status) = client.publish(request.clone()).await {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
                again.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let [one, other] = sidecars;
    let _: [(); SENDERS] = tokio::join!(send(one), send(other), send(one), send(other)).into();
    again.load(Ordering::Relaxed)
}

/// What is decided: verdict, primary reason, status.
type Answer = (Verdict, Option<Reason>, u16);

fn expected(world: &World, events: &[Event], request: &Request) -> Answer {
    let expected = oracle::expected(world, events, request);
    (expected.verdict, expected.primary, expected.http_status)
}

async fn decided(sidecar: &Sidecar, requests: &[Request]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for batch in requests.chunks(1000) {
        let request = |request| v1::EvaluateRequest {
            token: Some(v1::evaluate_request::Token::Claims(wire::claims(request))),
            ..v1::EvaluateRequest::default()
        };
        let requests = batch.iter().map(request).collect();
        let reply = sidecar.decisions.clone();
        let reply = { reply }.evaluate_batch(v1::EvaluateBatchRequest { requests }).await;
        answers.extend(reply.expect("answers").into_inner().replies.iter().map(answer));
    }
    answers
}

fn answer(reply: &v1::EvaluateReply) -> Answer {
    let verdict = match reply.verdict() {
        v1::Verdict::Allow => Verdict::Allow,
        v1::Verdict::Challenge => Verdict::Challenge,
        v1::Verdict::Deny => Verdict::Deny,
        v1::Verdict::Unspecified => panic!("no verdict: {reply:?}"),
    };
    let reason = match reply.primary_reason() {
        v1::Reason::Unspecified => None,
        v1::Reason::Revoked => Some(Reason::Revoked),
        v1::Reason::Account => Some(Reason::Account),
        v1::Reason::Risk => Some(Reason::Risk),
        v1::Reason::Device => Some(Reason::Device),
        v1::Reason::Lifetime => Some(Reason::Lifetime),
        other => panic!("{other:?} is not asked for here"),
    };
    (verdict, reason, u16::try_from(reply.http_status).expect("a status"))
}

/// Two sidecars and the oracle on what was acknowledged, whatever happened to the broker meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_agrees_with_itself_and_the_oracle_whatever_happens_to_the_broker() {
    let broker = broker().await;
    let settings = broker.settings("fleet");
    broker.create(&settings).await;
    let (one, other) = (Sidecar::ready(&settings).await, Sidecar::ready(&settings).await);
    let city = City::new();
    let mut random = Random::new(4);
    let events: Vec<_> = (0..EVENTS).map(|number| city.event(number, &mut random)).collect();
    let (before, after) = events.split_at(EVENTS / 2);

    let begun = Instant::now();
    let mut again = publish([&one, &other], before).await;
    let half = begun.elapsed();
    broker.poison(&settings.events_topic, 1);
    // A power cut in the midst of what is published.
    let restart = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        broker.kill();
        tokio::task::block_in_place(|| broker.start());
        // And then the topic grows, before its new partitions have an identity.
        broker.grow(&settings.events_topic, 5).await;
        broker.create(&settings).await;
    };
    let (calls, ()) = tokio::join!(publish([&one, &other], after), restart);
    again += calls;
    println!(
        "{EVENTS} events, the first half in {:.1} s; {again} calls made again after the broker was killed",
        half.as_secs_f64()
    );

    // One that was not there reads everything in another order, and in other batches.
    let begun = Instant::now();
    let late = Sidecar::ready(&settings).await;
    println!("a sidecar that starts is ready after {:.1} s", begun.elapsed().as_secs_f64());
    let sidecars = [&one, &other, &late];
    for sidecar in sidecars {
        sidecar.current().await;
        let status = sidecar.status().await;
        assert_eq!(status.records.expect("always told").quarantined, 1, "{status:#?}");
        assert_eq!(status.partitions.len(), 5 + 3);
        assert!(status.partitions.iter().all(|partition| partition.lag == 0), "{status:#?}");
    }
    let (digest, frontier) = one.digest().await;
    assert_eq!((digest.clone(), frontier.clone()), other.digest().await);
    assert_eq!((digest, frontier), late.digest().await);

    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let at = random.below(NEIGHBOURHOODS);
            (at, city.request(at, &mut random))
        })
        .collect();
    let mut near: Vec<Vec<Event>> = vec![Vec::new(); NEIGHBOURHOODS];
    for Drawn { event, neighbourhood } in &events {
        match neighbourhood {
            Some(at) => near[*at].push(*event),
            None => near.iter_mut().for_each(|near| near.push(*event)),
        }
    }
    let world = city.world();
    let expected: Vec<_> =
        requests.iter().map(|(at, request)| expected(&world, &near[*at], request)).collect();
    let requests: Vec<_> = requests.into_iter().map(|(_, request)| request).collect();
    for sidecar in sidecars {
        let decided = decided(sidecar, &requests).await;
        for ((request, decided), expected) in requests.iter().zip(&decided).zip(&expected) {
            assert_eq!(decided, expected, "{request:#?}");
        }
    }
    for verdict in [Verdict::Allow, Verdict::Challenge, Verdict::Deny] {
        let count = expected.iter().filter(|(other, ..)| *other == verdict).count();
        println!("{count} of {REQUESTS} answers: {verdict:?}");
        assert!(count > REQUESTS / 100, "too few to tell");
    }
    for sidecar in [one, other, late] {
        sidecar.end().await;
    }
}

/// How long publishers wait until what they published is enforced.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_enforced_when_the_call_returns() {
    const CALLS: usize = 10_000;
    const CALLERS: usize = 4;
    const WARM_UP: usize = 100;

    let broker = broker().await;
    let settings = broker.settings("applied");
    broker.create(&settings).await;
    let sidecar = Sidecar::ready(&settings).await;
    let city = City::new();
    let next = AtomicUsize::new(0);
    let call = async || {
        let mut took = Vec::new();
        let mut client = sidecar.events.clone();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= CALLS + WARM_UP {
                return took;
            }
            let event = Event {
                tenant: TENANTS[0],
                source: "directory",
                id: "",
                occurred: city.now,
                received: city.now,
                what: What::UserRevoked(
                    format!("applied-{number}").leak(),
                    RevocationCause::SessionsRevoked,
                ),
            };
            let events = vec![v1::Event { event_time_ms: 0, ..sent(&event) }];
            let request = v1::PublishRequest { events, wait: v1::Wait::Applied.into() };
            let begun = Instant::now();
            client.publish(request).await.expect("applied");
            if number >= WARM_UP {
                took.push(begun.elapsed());
            }
        }
    };
    let (a, b, c, d) = tokio::join!(call(), call(), call(), call());
    let mut took = [a, b, c, d].concat();
    took.sort();
    assert_eq!(took.len(), CALLS);

    // Each of them is enforced, not only said to be.
    let requests: Vec<_> = (0..CALLS + WARM_UP)
        .map(|number| Request {
            issuer: Some(ISSUER),
            tenant: Some(TENANTS[0]),
            subject: Some(format!("applied-{number}").leak()),
            issued_at: Some(city.now / 1000 - 3600),
            cp1: true,
            ..Request::default()
        })
        .collect();
    let decided = decided(&sidecar, &requests).await;
    assert!(decided.iter().all(|(verdict, ..)| *verdict == Verdict::Challenge));

    println!("{CALLS} publishes with wait = APPLIED, {CALLERS} at once: from the call to enforced");
    let bounds = [500, 1000, 1500, 2000, 3000, 5000, 10_000, 20_000, 50_000, 100_000, u64::MAX];
    let mut below = 0;
    for bound in bounds {
        let count = took.partition_point(|took| took.as_micros() <= u128::from(bound));
        let of = match bound {
            u64::MAX => "beyond".to_owned(),
            bound => format!("<= {:.1} ms", Duration::from_micros(bound).as_secs_f64() * 1e3),
        };
        let bar = "#".repeat((count - below) * 60 / CALLS);
        println!("{of:>11} {:>6} {bar}", count - below);
        below = count;
    }
    for (name, thousandths) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        println!("{name:>11} {:.2} ms", took[CALLS * thousandths / 1000].as_secs_f64() * 1e3);
    }
    let enforced = sidecar.metric("caed_event_enforced_after_seconds_count");
    assert!(enforced > 9999.5, "{enforced} of {CALLS} in the histogram");
    sidecar.end().await;
}

/// A log that can't be followed shows wherever somebody looks, and so does its return.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_and_health_follow_the_age() {
    let broker = broker().await;
    let settings = broker.settings("silent");
    broker.create(&settings).await;
    let sidecar = Sidecar::ready(&settings).await;
    sidecar.current().await;
    assert_eq!(sidecar.health().await, ServingStatus::Serving);
    assert!(sidecar.metric("caed_knowledge_age_seconds") < 5.0);
    let partition = "{topic=\"silent.events\",partition=\"2\"}";
    let age = format!("caed_partition_age_seconds{partition}");
    assert!(sidecar.metric(&age) < 5.0);
    assert!(sidecar.metric(&format!("caed_partition_lag{partition}")) < 0.5);

    broker.freeze();
    let serves = async || sidecar.health().await == ServingStatus::Serving;
    sidecar.wait("unready", async || !serves().await).await;
    let (status, body) = sidecar.get("/readyz");
    assert!(status == 503 && body.contains("could not be followed for"), "{status} {body}");
    assert!(sidecar.metric("caed_knowledge_age_seconds") > 5.0);
    // A partition may have been asked about a little later than all of them together.
    let shows = async || sidecar.metric(&age) > 5.0 && sidecar.metric("caed_log_notes") > 0.5;
    sidecar.wait("shown by partition", shows).await;
    assert_eq!(sidecar.get("/healthz").0, 200, "the process runs");
    // Decisions go on by what is known, and say how old that is.
    let request = City::new().request(0, &mut Random::new(1));
    assert_eq!(decided(&sidecar, &[request]).await.len(), 1);

    broker.thaw();
    sidecar.wait("ready again", async || serves().await && sidecar.get("/readyz").0 == 200).await;
    assert!(sidecar.metric("caed_knowledge_age_seconds") < 5.0);
    sidecar.end().await;
}
