//! Draws small worlds in which every border is met often.
//!
//! Few ids, used for users, sessions, clients and devices alike, so that nearly everything meets
//! nearly everything. Few instants (the world's anchors), with a millisecond or a second more or
//! less, so that ties and floors are common. Tokens are issued around the same instants.
//!
//! A GUID is spelled anew wherever it is written: in events, in tokens and in rules.
//!
//! What is kept out on purpose: two configured issuers that fit one token and date it back
//! differently. Which of them counts (D2) is a matter of configuration, tested with it.

use std::time::Duration;

use caed_core::event::{AccountState, Compliance, DeviceState, RevocationCause, RiskLevel, Stream};
use caed_core::freshness::WhenStale;
use caed_core::policy::{Evaluation, Frequency, Incapable, Mode, PolicyMode};
use caed_core::rules::LocationClass;

use crate::plan::FIVE_MINUTES;
use crate::random::Random;
use crate::world::{
    Belief, Declaration, Event, Finer, From, Issuer, Location, Millis, Part, Policy, Record,
    Request, Seconds, Settings, Speaks, Text, Told, What, World,
};

/// The two tenants of every world; each line is one name in its spellings.
pub const TENANTS: [&[Text]; 2] = [
    &[
        "0b1c2d3e-aaaa-4bbb-8ccc-1234567890ab",
        "0B1C2D3E-AAAA-4BBB-8CCC-1234567890AB",
        "0b1c2d3e-AAAA-4bbb-8CCC-1234567890aB",
    ],
    &["contoso"],
];
/// Tenants of which nothing is known. Where no GUID is, the case counts.
const STRANGERS: [Text; 2] = ["fabrikam", "Contoso"];
/// The sources of events, in their spellings.
pub const SOURCES: [&[Text]; 3] = [
    &["entra"],
    &["personnel"],
    &["c0ffee00-1111-4222-8333-00000000beef", "C0FFEE00-1111-4222-8333-00000000BEEF"],
];
/// Ids of every form; each line is one id in its spellings.
pub const IDS: [&[Text]; 9] = [
    &["6f1a0c5e-93b7-4d0f-a2de-0123456789ab", "6F1A0C5E-93B7-4D0F-A2DE-0123456789AB"],
    &["sixteen-bytes-id"],
    // The bytes of the id before, as a GUID.
    &["73697874-6565-6e2d-6279-7465732d6964", "73697874-6565-6E2D-6279-7465732D6964"],
    &["an-id-that-is-longer-than-sixteen-bytes@example.com"],
    &["7"],
    // Where no GUID is, the case counts.
    &["6f1a0c5e-93b7-4d0f-a2de_0123456789ab"],
    &["6F1A0C5E-93B7-4D0F-A2DE_0123456789AB"],
    &["ab"],
    &["AB"],
];
const NAMED_ISSUER: Text = "https://sts.example/one";
const ANY_ISSUER: Text = "https://any.example";
/// An issuer whose name is a GUID, in its spellings.
const GUID_ISSUER: [Text; 2] =
    ["fade0000-5555-4666-8777-0000000000cd", "FADE0000-5555-4666-8777-0000000000CD"];
const TEMPLATE: Text = "https://login.example/{tenant}/v2.0";
/// The pattern with each of the tenants in it, in its spellings.
const IN_NAME: [&[Text]; 2] = [
    &[
        "https://login.example/0b1c2d3e-aaaa-4bbb-8ccc-1234567890ab/v2.0",
        "https://login.example/0B1C2D3E-AAAA-4BBB-8CCC-1234567890AB/v2.0",
        "https://login.example/0b1c2d3e-AAAA-4bbb-8CCC-1234567890aB/v2.0",
    ],
    &["https://login.example/contoso/v2.0"],
];
/// Groups; the last one is a role.
const GROUPS: [&[Text]; 3] = [
    &["9a9a9a9a-0000-4000-8000-00000000aaaa", "9A9A9A9A-0000-4000-8000-00000000AAAA"],
    &["staff"],
    &["62e90394-69f5-4237-9190-012177145e10", "62E90394-69F5-4237-9190-012177145E10"],
];
/// Two resources, and a group of applications.
const APPLICATIONS: [Text; 3] =
    ["a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000002", "Office365"];
/// Of the last one nothing is ever told.
const LOCATIONS: [Text; 3] = ["hq", "10c00000-0000-4000-8000-0000000000aa", "nowhere"];
const ADDRESSES: [Text; 6] = [
    "198.51.100.7",
    "::ffff:198.51.100.7",
    "198.51.100.200",
    "203.0.113.9",
    "2001:db8::7",
    "2001:db8:1::7",
];
const RANGES: [Text; 6] = [
    "198.51.100.77/24",
    "198.51.100.7/32",
    "198.51.0.0/16",
    "203.0.113.8/31",
    "2001:db8::/47",
    "2001:db8::/32",
];
/// Networks of which none holds another.
const NETWORKS: [Text; 5] =
    ["198.51.100.0/25", "198.51.100.128/25", "203.0.113.0/24", "2001:db8::/48", "2001:db8:1::/48"];
const COUNTRIES: [Text; 2] = ["DE", "US"];
/// A sign-in frequency, in seconds.
const FREQUENCY: Seconds = 3600;
const HOUR: Millis = 3_600_000;
const X: [u8; 513] = [b'x'; 513];
/// One byte too long.
const TOO_LONG: Text = match str::from_utf8(&X) {
    Ok(text) => text,
    Err(_) => "",
};

/// Draws rules and a moment.
pub fn world(random: &mut Random) -> World {
    let now = 1_800_000_000_000 + random.within(0, 1_000_000_000);
    let now = if random.chance(25) { now / 1000 * 1000 + random.pick(&[0, 999]) } else { now };
    let horizon = random.pick(&[108_000, 108_000, 7200, 900]);
    let skew = random.pick(&[300, 300, 60, 0]);
    let issuers = issuers(random);
    let served = random.chance(15).then(|| vec![any_of(&TENANTS, random)]);
    let caught_up = !random.chance(3);
    let old = random.chance(35);
    let anchors = (0..random.within(2, 5)).map(|_| draw_anchor(random, now, horizon * 1000, old));
    let anchors = anchors.collect();
    let told = if random.chance(72) { told(random) } else { Vec::new() };
    let stale_after = random.pick(&[[300, 900], [300, 900], [5, 5], [1_000_000, 1_000_000]]);
    let log_age = match random.below(4) {
        0 => stale_after[0] * 1000 + random.within(-2, 121_000),
        1 => random.within(0, 2 * HOUR),
        _ => random.within(0, 4000),
    };
    World {
        now,
        horizon,
        skew,
        issuers,
        served,
        caught_up,
        has_heartbeats: true,
        log_age,
        stale_after,
        countries: (!random.chance(30)).then(|| networks(random)),
        anchors,
        told,
    }
}

/// Draws in which countries the networks are that addresses are drawn from.
fn networks(random: &mut Random) -> Vec<(Text, Text)> {
    let networks = NETWORKS.iter().filter(|_| random.chance(80)).copied().collect::<Vec<_>>();
    networks.into_iter().map(|network| (network, random.pick(&COUNTRIES))).collect()
}

/// Draws who may issue tokens.
fn issuers(random: &mut Random) -> Vec<Issuer> {
    let skews = [0, 0, 0, 1, 5, 300];
    let in_name_skew = random.pick(&skews);
    let judged = Issuer {
        name: "",
        tenants: Speaks::ForAll,
        issue_time_skew: 0,
        marks: random.chance(70),
        one_hour: if random.chance(50) {
            vec![random.pick(&APPLICATIONS[..2])]
        } else {
            Vec::new()
        },
        exceptions: random.chance(15).then(|| vec![random.pick(&RANGES)]),
    };
    let mut issuer = |name, tenants| Issuer {
        name,
        tenants,
        issue_time_skew: random.pick(&skews),
        ..judged.clone()
    };
    let mut issuers = vec![
        issuer(NAMED_ISSUER, Speaks::ForAll),
        issuer(ANY_ISSUER, Speaks::ForAll),
        issuer(GUID_ISSUER[0], Speaks::ForAll),
        Issuer {
            name: TEMPLATE,
            tenants: Speaks::InName,
            issue_time_skew: in_name_skew,
            ..judged.clone()
        },
    ];
    issuers[0].tenants = Speaks::For(vec![random.pick(TENANTS[0])]);
    issuers[2].name = random.pick(&GUID_ISSUER);
    random.shuffle(&mut issuers);
    if random.chance(10) {
        issuers.pop();
    }
    if random.chance(40) {
        // D2: one of the names that the pattern fits, bound in so many words, perhaps elsewhere.
        let tenants = match random.below(3) {
            0 => Speaks::ForAll,
            _ => Speaks::For(vec![any_of(&TENANTS, random)]),
        };
        let name = any_of(&IN_NAME, random);
        issuers.push(Issuer { name, tenants, issue_time_skew: in_name_skew, ..judged });
        random.shuffle(&mut issuers);
    }
    issuers
}

/// The same world at another moment, where more happens.
pub fn later(world: &World, now: Millis, random: &mut Random) -> World {
    let mut later = World { now, ..world.clone() };
    later.anchors.push(draw_anchor(random, now, world.horizon * 1000, false));
    later.anchors.push(draw_anchor(random, now, world.horizon * 1000, false));
    later
}

/// An instant around which things happen.
fn draw_anchor(random: &mut Random, now: Millis, horizon: Millis, old: bool) -> Millis {
    if old && random.chance(60) {
        return now - horizon - FIVE_MINUTES - random.within(-2000, 3 * horizon);
    }
    now + match random.below(20) {
        0..7 => random.within(-4000, 4000),
        7..9 => random.within(0, 620_000),
        9..12 => -random.within(55_000, 700_000),
        12..16 => -random.within(0, horizon),
        16..18 => -horizon + random.within(-3000, 3000),
        _ => -horizon - FIVE_MINUTES - random.within(-2000, horizon),
    }
}

/// Draws up to 40 records, and the other parts of what is told in parts, none appended after `latest`.
pub fn records(world: &World, latest: Millis, random: &mut Random) -> Vec<Record> {
    let most = if world.told.is_empty() {
        random.pick(&[2, 4, 8, 20, 40])
    } else {
        random.pick(&[8, 20, 40, 40])
    };
    let mut records = Vec::new();
    for _ in 0..random.within(0, most) {
        let record = record(world, latest, random);
        let rest = rest(world, &record, random);
        records.push(record);
        records.extend(rest);
    }
    records
}

/// Draws a record, not appended after `latest`.
pub fn record(world: &World, latest: Millis, random: &mut Random) -> Record {
    let occurred = match random.below(100) {
        // What a source means by this nobody knows; it is a time like any other.
        0 => 0,
        _ => {
            random.pick(&world.anchors)
                + random.pick(&[0, 0, 0, 0, 1, -1, 999, -999, 1000, -1000, 2000])
        }
    };
    let late = match random.below(20) {
        0..10 => random.pick(&[0, 1, 3, 2000]),
        10..12 => random.within(0, 600_000),
        12..14 => random.within(0, world.horizon * 1000 + HOUR),
        14 => random.within(0, 3) * HOUR,
        15 => -FIVE_MINUTES + random.within(-1, 1),
        16 => -random.within(0, FIVE_MINUTES),
        17 => -random.within(FIVE_MINUTES, 2 * FIVE_MINUTES),
        _ => -random.within(0, 2000),
    };
    let received = (occurred + late).clamp(0, latest);
    let wait = match random.below(10) {
        0..6 => random.within(0, 50),
        6..8 => random.within(0, 60_000),
        8 => random.within(0, 10) * HOUR,
        _ => random.within(0, 2 * world.horizon * 1000),
    };
    let mut event = Event {
        tenant: tenant(random),
        source: any_of(&SOURCES, random),
        id: random.pick(&["", "1", "2", "3"]),
        occurred,
        received,
        what: what(world, random),
    };
    if matches!(event.what, What::Told(_, part) if part.count > 1) {
        // All parts of a version have one time, and so none later than the receipt.
        event.occurred = occurred.min(received);
    }
    Record { event, appended: (received + wait).min(latest) }
}

fn what(world: &World, random: &mut Random) -> What {
    if !world.told.is_empty() && random.chance(75) {
        return if random.chance(20) {
            What::Member(any_of(&GROUPS, random), user(random), random.chance(50))
        } else {
            let (told, part) = random.pick(&world.told);
            What::Told(told, part)
        };
    }
    if world.has_heartbeats && random.chance(8) {
        let streams = [Stream::Enabled, Stream::Enabled, Stream::Enabled, Stream::Enabled];
        let others = [Stream::Ended, Stream::Paused, Stream::Disabled, Stream::Enabled];
        let stream = random.pick(&[streams, others].concat());
        return What::Heartbeat(random.pick(&[0, 0, 1]), stream);
    }
    match random.below(32) {
        0..5 => What::Account(
            user(random),
            random.pick(&[AccountState::Enabled, AccountState::Disabled, AccountState::Deleted]),
        ),
        5..7 => What::UserRevoked(
            user(random),
            random.pick(&[RevocationCause::PasswordChanged, RevocationCause::AssuranceLowered]),
        ),
        7..10 => What::Risk(user(random), level(random)),
        10..21 => {
            let for_one = random.chance(55);
            What::Revoked(finer(random), for_one.then(|| user(random)))
        }
        21 if random.chance(60) => What::TenantRevoked,
        21..26 => What::Device(
            finer_id(random),
            random.pick(&[DeviceState::Cleared, DeviceState::Disabled, DeviceState::Deleted]),
        ),
        26..29 => What::Compliance(
            finer_id(random),
            random.pick(&[Compliance::Compliant, Compliance::NotCompliant]),
        ),
        _ => {
            let retired = random.chance(40).then(|| {
                random.pick(&world.anchors) + random.pick(&[0, 0, 1, -1, 1000, -1000, HOUR])
            });
            What::Source(
                any_of(&SOURCES, random),
                Declaration {
                    declared: world.has_heartbeats && random.chance(50),
                    emits_enabled: random.chance(70),
                    emits_device_clear: random.chance(70),
                    retired,
                },
            )
        }
    }
}

fn finer(random: &mut Random) -> Finer {
    let issuer = match random.below(5) {
        0 => NAMED_ISSUER,
        1 => ANY_ISSUER,
        2 => random.pick(&GUID_ISSUER),
        _ => any_of(&IN_NAME, random),
    };
    let id = finer_id(random);
    match random.below(4) {
        0 => Finer::Session(issuer, id),
        1 => Finer::Token(issuer, id),
        2 => Finer::Client(id),
        _ => Finer::Device(id),
    }
}

/// Draws a request. Events are given so that it asks about what happened.
pub fn request(world: &World, events: &[Event], random: &mut Random) -> Request {
    // Most requests of a world with policies are about them.
    let focused = !world.told.is_empty() && random.chance(75);
    let tenant = usize::from(!focused && random.chance(25));
    let named = if tenant == 0 { NAMED_ISSUER } else { ANY_ISSUER };
    let issuer = match random.below(50) {
        _ if focused => random.pick(IN_NAME[tenant]),
        0 => "https://evil.example",
        1 => TEMPLATE,
        2 => random.pick(IN_NAME[1 - tenant]),
        3..20 => random.pick(IN_NAME[tenant]),
        20..27 => ANY_ISSUER,
        27..33 => random.pick(&GUID_ISSUER),
        _ => named,
    };
    let strange = random.chance(1);
    let tenant = random.pick(if strange { &STRANGERS } else { TENANTS[tenant] });
    let issue_time_skew = world.issuers.iter().find(|known| match known.name {
        TEMPLATE => IN_NAME.concat().contains(&issuer),
        name => name.eq_ignore_ascii_case(issuer),
    });
    let issue_time_skew = issue_time_skew.map_or(0, |issuer| issuer.issue_time_skew);
    let issued_at = issued_at(world, events, issue_time_skew, random);
    let now = world.now.div_euclid(1000);
    let base = issued_at.unwrap_or(now);
    let around = i128::from(i64::MIN) + 1_000_000..=i128::from(i64::MAX) - 1_000_000;
    let base = if around.contains(&base) { base } else { now };
    let expires = match random.below(50) {
        _ if focused && random.chance(50) => Some(base + 3600 + random.within(-2, 2)),
        0..25 => None,
        25 => Some(now - world.skew + random.within(-1, 1)),
        26 => Some(base + random.within(-1, 1)),
        27 => Some(random.pick(&[i64::MIN, i64::MAX]).into()),
        _ => Some(base.max(now) + random.within(1, 90_000)),
    };
    let not_before = match random.below(50) {
        0..40 => None,
        40 => Some(now + world.skew + random.within(0, 2)),
        41 => Some(random.pick(&[i64::MIN, 0]).into()),
        _ => Some(base.min(now)),
    };
    let optional = |random: &mut Random| random.chance(70).then(|| finer_id(random));
    let mut request = Request {
        belief: match random.below(200) {
            0 => Belief::Refused,
            1 => Belief::NoKeys,
            _ => Belief::Believed,
        },
        issuer: Some(issuer),
        tenant: Some(tenant),
        subject: Some(user(random)),
        issued_at,
        expires,
        not_before,
        session: optional(random),
        token: optional(random),
        client: optional(random),
        device: optional(random),
        cp1: random.chance(80),
        risk_threshold: level(random),
        device_compliance: random.chance(50),
        incapable_clients: match random.below(20) {
            0 | 1 => vec![any_of(&IDS[..3], random)],
            2 => vec![random.pick(IDS[0]), IDS[1][0]],
            _ => Vec::new(),
        },
        ..circumstances(world, issued_at, random)
    };
    if random.chance(2) {
        spoil(&mut request, random);
    }
    request
}

/// Everything that policies look at.
fn circumstances(world: &World, issued_at: Option<Seconds>, random: &mut Random) -> Request {
    let address = |random: &mut Random| random.pick(&ADDRESSES);
    let some_of = |all: &[&[Text]], random: &mut Random| {
        let mut some: Vec<Text> = Vec::new();
        for spellings in all {
            if random.chance(40) {
                some.push(random.pick(spellings));
            }
        }
        some
    };
    let now = world.now.div_euclid(1000);
    let issued_at = issued_at.filter(|at| (0..now + 100_000).contains(at)).unwrap_or(now);
    let seen = address(random);
    Request {
        audiences: match random.below(10) {
            0 => Vec::new(),
            1 => vec!["https://api.example"],
            2..5 => vec![APPLICATIONS[1]],
            _ => vec![APPLICATIONS[0]],
        },
        address: match random.below(10) {
            0 => None,
            1 => Some("nowhere"),
            2..4 => Some(seen),
            _ => Some(address(random)),
        },
        guest: random.chance(8),
        authenticated: match random.below(10) {
            0..3 => None,
            3 => Some(random.pick(&[i64::MIN, -1, i64::MAX]).into()),
            4 => Some(now - FREQUENCY - world.skew + random.within(-1, 1)),
            _ => Some(issued_at - random.within(0, 10_000)),
        },
        workload: random.chance(15),
        groups: random.chance(60).then(|| some_of(&GROUPS[..2], random)),
        roles: random.chance(60).then(|| some_of(&GROUPS[2..], random)),
        judged: match random.below(10) {
            0..4 => None,
            4..6 => Some("1"),
            6 => Some(random.pick(&["true", "yes", "False", "no", "0"])),
            7 => Some(""),
            8 => Some(random.pick(&RANGES)),
            _ => Some(seen),
        },
        from: match random.below(20) {
            0..2 => From::Unknown,
            2 => From::Nowhere,
            _ => From::At(seen),
        },
        applications: match random.below(12) {
            0 => vec![APPLICATIONS[0], APPLICATIONS[2]],
            1 => vec![APPLICATIONS[1]],
            _ => Vec::new(),
        },
        enforced: [!random.chance(4), !random.chance(4), !random.chance(4)],
        location: match random.below(30) {
            0 => LocationClass::Unsupported,
            1 | 2 => LocationClass::WhenStrict,
            _ => LocationClass::Supported,
        },
        strict: random.chance(45),
        lifetimes: random.pick(&[
            [100_800, 5400],
            [200_000, 200_000],
            [200_000, 200_000],
            [3600, 120],
            [20, 10],
        ]),
        grace: random.pick(&[7200, 0, 60, 1]),
        incapable: if random.chance(40) { Incapable::Lifetime } else { Incapable::Enforce },
        when_stale: random.pick(&[
            WhenStale::Lifetime,
            WhenStale::Lifetime,
            WhenStale::Deny,
            WhenStale::Allow,
        ]),
        ..Request::default()
    }
}

/// What may be told of a directory: several versions of a few things. They live as long as the process,
/// so that events stay plain values.
fn told(random: &mut Random) -> Vec<(&'static Told, Part)> {
    let mut told = Vec::new();
    // Mostly there is a word about what MFA trusts, else little is enforceable.
    if random.chance(80) {
        told.push(Told::MfaTrusted(Some(ranges(random))));
    }
    for _ in 0..random.within(2, 12) {
        told.push(match random.below(20) {
            0..9 => {
                let id = any_of(&IDS[..3], random);
                Told::Policy(id, (!random.chance(8)).then(|| policy(random)))
            }
            9..14 => {
                let location = if random.chance(20) {
                    let codes = COUNTRIES.iter().filter(|_| random.chance(50)).copied().collect();
                    let countries = Some((codes, random.chance(30)));
                    Location { trusted: random.chance(10), ranges: None, countries }
                } else {
                    let ranges = (!random.chance(8)).then(|| ranges(random));
                    Location { trusted: random.chance(50), ranges, countries: None }
                };
                let id = random.pick(&LOCATIONS[..2]);
                Told::Location(id, (!random.chance(8)).then_some(location))
            }
            14 => Told::MfaTrusted((!random.chance(20)).then(|| ranges(random))),
            15 | 16 => Told::Settings((!random.chance(20)).then(|| settings(random))),
            _ => {
                let members = (0..random.below(3)).map(|_| user(random)).collect();
                Told::Group(any_of(&GROUPS, random), members)
            }
        });
    }
    let mut pool = Vec::new();
    for (number, told) in told.into_iter().enumerate() {
        let parts = if random.chance(20) { split(&told, random) } else { Vec::new() };
        if parts.is_empty() {
            pool.push((&*Box::leak(Box::new(told)), Part::WHOLE));
            continue;
        }
        let version = &*String::leak(number.to_string());
        let count = u32::try_from(parts.len()).expect("few");
        for (index, part) in (0..).zip(parts) {
            pool.push((&*Box::leak(Box::new(part)), Part { version, index, count }));
        }
    }
    pool
}

/// The same in two or three parts; none, where it is a deletion. What is no list the first part says; the
/// others may say anything.
fn split(told: &Told, random: &mut Random) -> Vec<Told> {
    fn lists<const N: usize>(
        all: &[Vec<Text>; N],
        count: usize,
        random: &mut Random,
    ) -> Vec<[Vec<Text>; N]> {
        let mut parts = vec![[const { Vec::new() }; N]; count];
        for (at, list) in all.iter().enumerate() {
            for text in list {
                parts[random.below(count)][at].push(*text);
            }
        }
        parts
    }
    let count = random.pick(&[2, 2, 3]);
    let list = |all: &Vec<Text>, random: &mut Random| {
        let parts = lists(std::array::from_ref(all), count, random);
        parts.into_iter().map(|[part]| part).collect::<Vec<_>>()
    };
    match told {
        Told::Policy(id, Some(whole)) => {
            let mut include = lists(&whole.include, count, random);
            let mut exclude = lists(&whole.exclude, count, random);
            let mut workloads = lists(&whole.workloads, count, random);
            let mut applications = lists(&whole.applications, count, random);
            let mut places = whole.places.as_ref().map(|places| lists(places, count, random));
            let [action, narrowing] = [random.below(count), random.below(count)];
            let parts = (0..count).map(|at| {
                let others = if at == 0 { whole.clone() } else { policy(random) };
                Policy {
                    include: std::mem::take(&mut include[at]),
                    exclude: std::mem::take(&mut exclude[at]),
                    workloads: std::mem::take(&mut workloads[at]),
                    applications: std::mem::take(&mut applications[at]),
                    places: places.as_mut().map(|places| std::mem::take(&mut places[at])),
                    user_action: whole.user_action && at == action,
                    narrowed: whole.narrowed && at == narrowing,
                    ..others
                }
            });
            parts.map(|part| Told::Policy(id, Some(part))).collect()
        }
        Told::Location(id, Some(Location { trusted, ranges: Some(ranges), countries: None })) => {
            let parts = list(ranges, random).into_iter().enumerate();
            let part = |(at, ranges)| Location {
                trusted: if at == 0 { *trusted } else { random.chance(50) },
                ranges: Some(ranges),
                countries: None,
            };
            parts.map(part).map(|part| Told::Location(id, Some(part))).collect()
        }
        Told::MfaTrusted(Some(ranges)) => {
            list(ranges, random).into_iter().map(|part| Told::MfaTrusted(Some(part))).collect()
        }
        Told::Settings(Some(whole)) => {
            let mut only = whole.only.as_ref().map(|only| lists(only, count, random));
            let mut except = lists(&whole.except, count, random);
            let parts = (0..count).map(|at| {
                let others = if at == 0 { whole.clone() } else { settings(random) };
                Settings {
                    only: only.as_mut().map(|only| std::mem::take(&mut only[at])),
                    except: std::mem::take(&mut except[at]),
                    ..others
                }
            });
            parts.map(|part| Told::Settings(Some(part))).collect()
        }
        Told::Group(id, members) => {
            list(members, random).into_iter().map(|part| Told::Group(id, part)).collect()
        }
        Told::Policy(_, None)
        | Told::Location(..)
        | Told::MfaTrusted(None)
        | Told::Settings(None) => Vec::new(),
    }
}

/// The other parts of the version that a record holds a part of, mostly all of them, as its writer writes
/// them.
pub fn rest(world: &World, record: &Record, random: &mut Random) -> Vec<Record> {
    let What::Told(_, part) = record.event.what else { return Vec::new() };
    let mut rest = Vec::new();
    for &(other, Part { version, index, count }) in &world.told {
        let is_of_it = part.count > 1 && (version, count) == (part.version, part.count);
        if is_of_it && index != part.index && random.chance(85) {
            let what = What::Told(other, Part { version, index, count });
            rest.push(Record { event: Event { what, ..record.event }, ..*record });
        }
    }
    rest
}

fn ranges(random: &mut Random) -> Vec<Text> {
    (0..random.below(3)).map(|_| random.pick(&RANGES)).collect()
}

fn settings(random: &mut Random) -> Settings {
    let selected = |random: &mut Random| {
        let users = (0..random.below(3)).map(|_| user(random)).collect();
        let groups =
            (0..random.below(2)).map(|_| any_of(&GROUPS[..2], random)).collect::<Vec<Text>>();
        [users, groups]
    };
    Settings {
        mode: random.pick(&[Mode::On, Mode::On, Mode::On, Mode::On, Mode::ReportOnly, Mode::Off]),
        only: random.chance(20).then(|| selected(random)),
        except: if random.chance(20) { selected(random) } else { Default::default() },
        strict: random.chance(20),
        incapable: if random.chance(50) { Incapable::Lifetime } else { Incapable::Enforce },
    }
}

fn policy(random: &mut Random) -> Policy {
    let users = |random: &mut Random, some: u64| {
        let mut lists: [Vec<Text>; 3] = Default::default();
        for _ in 0..some {
            match random.below(6) {
                0..3 => lists[0].push(user(random)),
                3 => lists[1].push(any_of(&GROUPS[..2], random)),
                4 => lists[2].push(any_of(&GROUPS[2..], random)),
                _ => lists[0].push("Guests"),
            }
        }
        lists
    };
    let mut include = Default::default();
    if random.chance(60) {
        let [users, ..]: &mut [Vec<Text>; 3] = &mut include;
        users.push("All");
    } else {
        include = users(random, 2);
    }
    let exclude = if random.chance(20) { users(random, 1) } else { Default::default() };
    let workloads = match random.below(4) {
        0 => [vec!["Workloads"], Vec::new()],
        1 => [vec![user(random)], Vec::new()],
        2 => [vec!["Workloads"], vec![user(random)]],
        _ => Default::default(),
    };
    let applications = match random.below(10) {
        0 => [vec![random.pick(&APPLICATIONS)], Vec::new()],
        1 => [vec!["All"], vec![random.pick(&APPLICATIONS)]],
        2 => [vec![APPLICATIONS[0]], Vec::new()],
        3 if random.chance(20) => [vec!["All"], vec!["All"]],
        _ => [vec!["All"], Vec::new()],
    };
    let place = |random: &mut Random| match random.below(8) {
        3 if random.chance(30) => LOCATIONS[2],
        3..6 if random.chance(80) => "AllTrusted",
        _ => random.pick(&LOCATIONS[..2]),
    };
    let places = match random.below(10) {
        0 | 1 => None,
        2..7 => Some([vec!["All"], vec![place(random)]]),
        7 => Some([vec!["All"], Vec::new()]),
        _ => Some([vec![place(random)], Vec::new()]),
    };
    Policy {
        mode: random.pick(&[
            PolicyMode::Enabled,
            PolicyMode::Enabled,
            PolicyMode::Enabled,
            PolicyMode::ReportOnly,
            PolicyMode::Disabled,
        ]),
        include,
        exclude,
        workloads,
        applications,
        user_action: random.chance(3),
        places,
        narrowed: random.chance(4),
        controls: match random.below(12) {
            0..4 => vec!["block"],
            4..6 => vec!["mfa"],
            6 | 7 => vec!["mfa", "compliantDevice"],
            8 | 9 => vec!["compliantDevice"],
            _ => Vec::new(),
        },
        all_controls: random.chance(30),
        frequency: match random.below(10) {
            0..7 => None,
            7 if random.chance(20) => Some(Frequency::EveryTime),
            _ => Some(Frequency::Within(Duration::from_secs(random.pick(&[
                FREQUENCY.try_into().expect("a length of time"),
                60,
                90_000,
            ])))),
        },
        evaluation: random.pick(&[
            Evaluation::Unset,
            Evaluation::Unset,
            Evaluation::Unset,
            Evaluation::Unset,
            Evaluation::Strict,
            Evaluation::Disabled,
        ]),
    }
}

fn issued_at(
    world: &World,
    events: &[Event],
    issue_time_skew: Seconds,
    random: &mut Random,
) -> Option<Seconds> {
    let now = world.now.div_euclid(1000);
    let drawn = match random.below(100) {
        0 => return None,
        1 => return Some(random.pick(&[i64::MIN, -1, 0, i64::MAX]).into()),
        2..4 => now + world.skew + random.within(-1, 2),
        4..7 => now - world.horizon + random.within(-1, 3),
        7..9 => now - 60 - issue_time_skew + random.within(-1, 1),
        9..24 => now - 60 - world.skew - issue_time_skew + random.within(-1, 1),
        24..36 => now - random.within(0, 120),
        36..40 => now - random.within(0, world.horizon),
        _ => {
            let at = if events.is_empty() {
                random.pick(&world.anchors)
            } else {
                let event = random.pick(events);
                random.pick(&[event.occurred, event.occurred, event.received])
            };
            at.div_euclid(1000) - issue_time_skew + random.pick(&[-1, 0, 0, 0, 1, 1, 2, 3])
        }
    };
    // Most tokens live: what an old event was about is mostly asked with a token that still counts.
    let dead = drawn + world.horizon <= now || drawn > now + world.skew;
    if dead && !random.chance(5) {
        let oldest = random.pick(&[5, 700, 90_000]).min(world.horizon - 1);
        return Some(now - random.within(0, oldest));
    }
    Some(drawn)
}

/// Takes a claim away or makes it one that can't be.
fn spoil(request: &mut Request, random: &mut Random) {
    let bad = random.pick(&[None, Some(""), Some("a\nb"), Some("\u{85}"), Some(TOO_LONG)]);
    let claim = match random.below(7) {
        0 => &mut request.issuer,
        1 => &mut request.tenant,
        2 => &mut request.subject,
        3 => &mut request.session,
        4 => &mut request.token,
        5 => &mut request.client,
        _ => &mut request.device,
    };
    *claim = bad;
}

/// Mostly the first, in any spelling.
fn tenant(random: &mut Random) -> Text {
    let spellings = TENANTS[usize::from(random.chance(25))];
    random.pick(spellings)
}

/// One of these, in any spelling.
fn any_of(names: &[&[Text]], random: &mut Random) -> Text {
    let spellings = names[random.below(names.len())];
    random.pick(spellings)
}

fn user(random: &mut Random) -> Text {
    id(random, 4)
}

/// A session, token, client or device.
fn finer_id(random: &mut Random) -> Text {
    id(random, 3)
}

/// Mostly one of the first few ids.
fn id(random: &mut Random, few: usize) -> Text {
    let among = if random.chance(80) { few } else { IDS.len() };
    any_of(&IDS[..among], random)
}

fn level(random: &mut Random) -> RiskLevel {
    random.pick(&[RiskLevel::Low, RiskLevel::Medium, RiskLevel::High])
}
