//! What a builder says of an event that it joins, and of its record later: for every kind of fact that
//! is something new, a copy, and something that was overtaken (E1); and a record may go once what
//! overtook it has stood for two horizons (L3).

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::sync::Arc;
use std::time::Duration;

use caed_core::builder::{Applied, Builder};
use caed_core::event::{
    Compliance, Declaration, Event, Fact, Finer, RevocationCause, RiskLevel, Stream,
};
use caed_core::ids::{Name, ObjectKey};
use caed_core::index::ranges::{RangeIndex, RangeSet};
use caed_core::policy::{Body, Location, Membership, Mode, Part, Place, Settings, Version};
use caed_core::position::{Incarnation, Offset, Partition, Position};
use caed_core::rules::{Issuers, Rules};
use caed_core::time::UnixMillis;

const HORIZON: Duration = Duration::from_hours(1);
const OLD: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);
const NEW: UnixMillis = UnixMillis::from_millis(1_800_000_060_000);
/// Two horizons after what overtook the old record.
const SETTLED: UnixMillis = UnixMillis::from_millis(NEW.as_millis() + 2 * 3_600_000);

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("an id")
}

fn builder() -> Builder {
    let issuers = Issuers::new([]).expect("no issuers");
    Builder::new(Arc::new(Rules { issuers, horizon: HORIZON, ..Rules::default() }), 7)
}

fn event(source: &str, at: UnixMillis, fact: Fact) -> Event {
    let (tenant, source) = (name("contoso"), name(source));
    Event { tenant, source, id: String::new(), occurred: at, received: at, fact }
}

fn apply(builder: &mut Builder, event: &Event) -> Applied {
    let position = Position { partition: Partition::default(), offset: Offset(0) };
    builder.apply(position, event.received, event)
}

fn told(body: Body) -> Fact {
    Fact::Version(Version { part: Part::WHOLE, body, title: String::new() })
}

fn ranges(text: &str) -> Arc<RangeSet> {
    Arc::new(RangeSet::parse([text]).expect("a range"))
}

/// Facts that offer cutoffs alone.
fn revocations() -> Vec<Fact> {
    let issuer = || name("https://any.example");
    let session = || Finer::Session { issuer: issuer(), session: key("s-1") };
    let token = Finer::Token { issuer: issuer(), token: key("t-1") };
    vec![
        Fact::TenantRevoked,
        Fact::UserRevoked { user: key("anna"), cause: RevocationCause::SessionsRevoked },
        Fact::UserRisk { user: key("anna"), level: RiskLevel::High },
        Fact::Revoked { what: session(), user: None },
        Fact::Revoked { what: session(), user: Some(key("anna")) },
        Fact::Revoked { what: token, user: None },
        Fact::Revoked { what: Finer::Client(key("c-1")), user: Some(key("anna")) },
        Fact::Revoked { what: Finer::Device(key("d-1")), user: None },
    ]
}

/// Facts of which the newest counts for ever, as they were and as they are.
fn words() -> Vec<[Fact; 2]> {
    let compliance = |compliance| Fact::Compliance { device: key("d-1"), compliance };
    let declared = |emits_enabled| Fact::Source {
        source: name("directory"),
        declaration: Declaration {
            declared: true,
            emits_enabled,
            emits_device_clear: true,
            retired: None,
        },
    };
    let office = |text| {
        let location = Location { trusted: false, place: Place::Ranges(ranges(text)) };
        told(Body::Location(key("hq"), Some(location)))
    };
    let settings =
        |mode| told(Body::Settings(Some(Arc::new(Settings { mode, ..Settings::default() }))));
    let member = |membership| Fact::Member { group: key("staff"), user: key("anna"), membership };
    let sign = |stream| Fact::Heartbeat { partition: 1, stream };
    vec![
        [sign(Stream::Paused), sign(Stream::Enabled)],
        [compliance(Compliance::NotCompliant), compliance(Compliance::Compliant)],
        [declared(false), declared(true)],
        [office("198.51.100.0/24"), office("198.51.101.0/24")],
        [
            told(Body::MfaTrusted(Some(ranges("198.51.100.0/24")))),
            told(Body::MfaTrusted(Some(ranges("198.51.101.0/24")))),
        ],
        [settings(Mode::Off), settings(Mode::On)],
        [told(Body::Policy(key("p-1"), None)), told(Body::Policy(key("p-1"), None))],
        [member(Membership::Added), member(Membership::Removed)],
    ]
}

#[test]
fn new_things_copies_and_what_was_overtaken_are_told_apart() {
    let revocations = revocations().into_iter().map(|fact| [fact.clone(), fact]);
    for [old, new] in words().into_iter().chain(revocations) {
        let (old, new) = (event("directory", OLD, old), event("directory", NEW, new));
        let mut builder = builder();
        assert_eq!(apply(&mut builder, &old), Applied::Changed, "{old:?}");
        assert_eq!(apply(&mut builder, &old), Applied::Unchanged, "{old:?}");
        assert_eq!(apply(&mut builder, &new), Applied::Changed, "{new:?}");
        assert_eq!(apply(&mut builder, &new), Applied::Unchanged, "{new:?}");
        assert_eq!(apply(&mut builder, &old), Applied::Stale, "{old:?}");
    }
}

#[test]
fn a_record_may_go_when_what_overtook_it_has_stood_for_two_horizons() {
    let group = |member| told(Body::Group(key("staff"), Arc::new(vec![key(member)])));
    for [old, new] in words().into_iter().chain([[group("anna"), group("ben")]]) {
        let (old, new) = (event("directory", OLD, old), event("directory", NEW, new));
        let mut builder = builder();
        apply(&mut builder, &old);
        let alone = builder.freeze();
        apply(&mut builder, &new);
        let snapshot = builder.freeze();
        let later = UnixMillis::from_millis(SETTLED.as_millis() + 1);
        assert!(!alone.outlives(&old, OLD, later), "{old:?}");
        assert!(!snapshot.outlives(&old, OLD, SETTLED), "{old:?}");
        assert!(snapshot.outlives(&old, OLD, later), "{old:?}");
        assert!(!snapshot.outlives(&new, NEW, later), "{new:?}");
    }
}

#[test]
fn the_newest_word_of_each_source_stays() {
    let said = |compliance| Fact::Compliance { device: key("d-1"), compliance };
    let mut builder = builder();
    let one = event("one", OLD, said(Compliance::NotCompliant));
    let other = event("other", NEW, said(Compliance::Compliant));
    for event in [&one, &other] {
        apply(&mut builder, event);
    }
    let later = UnixMillis::from_millis(SETTLED.as_millis() + 1);
    for event in [&one, &other] {
        assert!(!builder.freeze().outlives(event, event.received, later), "{event:?}");
    }
}

#[test]
fn a_revocation_may_go_after_two_horizons() {
    for fact in revocations() {
        let event = event("directory", NEW, fact);
        let mut builder = builder();
        apply(&mut builder, &event);
        let snapshot = builder.freeze();
        assert!(!snapshot.outlives(&event, NEW, SETTLED), "{event:?}");
        let later = UnixMillis::from_millis(SETTLED.as_millis() + 1);
        assert!(snapshot.outlives(&event, NEW, later), "{event:?}");
    }
}

/// How many rows are forgotten in a round by a host's clock, when the newest record read is from then.
fn forgotten(fact: Fact, clock: UnixMillis, newest: UnixMillis) -> usize {
    let mut builder = builder();
    apply(&mut builder, &event("directory", OLD, fact));
    let position = Position { partition: Partition::default(), offset: Offset(1) };
    builder.skip(position, newest);
    builder.freeze();
    (0..Builder::FORGET_ROUND).map(|_| builder.forget_some(clock)).sum()
}

#[test]
fn cutoffs_go_after_a_horizon_and_five_minutes_and_registers_stay() {
    let at = |after_ms| UnixMillis::from_millis(OLD.as_millis() + 3_600_000 + 300_000 + after_ms);
    let revoked = |what, user| Fact::Revoked { what, user };
    for (fact, rows) in [
        (Fact::UserRevoked { user: key("anna"), cause: RevocationCause::MfaEnabled }, 1),
        // The user's row, which hints at the other.
        (Fact::UserRisk { user: key("anna"), level: RiskLevel::Low }, 2),
        (revoked(Finer::Client(key("c-1")), None), 1),
        // And that of tokens which don't say.
        (revoked(Finer::Client(key("c-1")), Some(key("anna"))), 3),
        (Fact::Compliance { device: key("d-1"), compliance: Compliance::Compliant }, 0),
    ] {
        assert_eq!(forgotten(fact.clone(), at(0), at(1)), 0, "{fact:?}");
        assert_eq!(forgotten(fact.clone(), at(1), at(0)), 0, "{fact:?}");
        assert_eq!(forgotten(fact.clone(), at(1), at(1)), rows, "{fact:?}");
    }
}

#[test]
fn what_a_snapshot_holds_is_counted() {
    let mut builder = builder();
    for fact in revocations().into_iter().chain(words().into_iter().flatten()) {
        apply(&mut builder, &event("directory", OLD, fact));
    }
    let group = |id| told(Body::Group(key(id), Arc::new(vec![key("anna")])));
    apply(&mut builder, &event("directory", OLD, group("staff")));
    let counts = builder.freeze().counts();
    // The policy was deleted.
    assert_eq!([counts.policies, counts.locations, counts.groups], [0, 2, 1]);
    assert_eq!([counts.tenants, counts.pairs, counts.registers], [1, 2, 1]);

    apply(&mut builder, &event("directory", NEW, told(Body::MfaTrusted(None))));
    apply(&mut builder, &event("directory", OLD, group("guests")));
    let counts = builder.freeze().counts();
    assert_eq!([counts.policies, counts.locations, counts.groups], [0, 1, 2]);
}

#[test]
fn what_a_directory_holds_takes_the_memory_of_its_parts() {
    let mut builder = builder();
    let mut bytes_after = |body| {
        apply(&mut builder, &event("directory", OLD, told(body)));
        builder.freeze().counts().heap_bytes
    };
    let mut group = |id| bytes_after(Body::Group(key(id), Arc::new(vec![key("anna")])));
    group("staff");
    let (one, two, three) = (group("guests"), group("all"), group("sales"));
    let of_a_group = two - one;
    assert!((1..1000).contains(&of_a_group), "{of_a_group} bytes");
    assert_eq!(three - two, of_a_group);

    let office = ranges("198.51.100.0/24");
    let index = RangeIndex::new([(1, &*office)]).heap_bytes();
    let location = Location { trusted: false, place: Place::Ranges(Arc::clone(&office)) };
    let four = bytes_after(Body::Location(key("hq"), Some(location)));
    // The first and the last address of its one range, and the index.
    assert_eq!(four - three, 2 * size_of::<u32>() + index);
}

#[test]
fn a_frontier_is_behind_whatever_was_read() {
    let (read, other) = (Partition::default(), Partition { number: 1, ..Partition::default() });
    let incarnation = Incarnation([7; 16]);
    let mut builder = builder();
    builder.begin(read, incarnation);
    let at = |offset| Position { partition: read, offset: Offset(offset) };
    let disabled = Fact::UserRevoked { user: key("anna"), cause: RevocationCause::PasswordReset };
    builder.apply(at(3), OLD, &event("hr", OLD, disabled));
    assert_eq!(builder.frontier().next_offset(read), Offset(4));
    builder.skip(at(4), NEW);
    assert_eq!(builder.frontier().next_offset(read), Offset(5));
    builder.pass(read, Offset(9));

    let snapshot = builder.freeze();
    let reached = snapshot.frontier().reached(read).expect("a partition that was begun");
    assert_eq!((reached.incarnation, reached.next), (Some(incarnation), Offset(9)));
    assert!(snapshot.frontier().reached(other).is_none());
    assert_eq!((snapshot.newest_append(), snapshot.is_caught_up()), (NEW, false));
    assert_eq!([builder.rules(), snapshot.rules()].map(|rules| rules.horizon), [HORIZON; 2]);
    builder.caught_up();
    assert!(builder.freeze().is_caught_up() && builder.freeze().generation() == 3);
}

/// A name comes with a version that is in force; that of the part that completes it counts.
#[test]
fn a_location_is_called_as_its_version_in_force_says() {
    let named = |at, title: &str, ranges: RangeSet, part: Part| {
        let location = Location { trusted: false, place: Place::Ranges(Arc::new(ranges)) };
        let body = Body::Location(key("hq"), Some(location));
        let title = title.to_owned();
        event("directory", at, Fact::Version(Version { part, body, title }))
    };
    let part = |index| Part { version: "v".to_owned(), index, count: 2 };
    let empty = RangeSet::default;
    let mut builder = builder();
    let mut called = |event: Event| {
        apply(&mut builder, &event);
        let view = builder.freeze().tenant(&event.tenant).expect("a tenant");
        view.locations.first().map(|location| location.title.clone())
    };
    let later = UnixMillis::from_millis(NEW.as_millis() + 1);
    assert_eq!(called(named(OLD, "Old", empty(), Part::WHOLE)).as_deref(), Some("Old"));
    assert_eq!(called(named(NEW, "Office", empty(), Part::WHOLE)).as_deref(), Some("Office"));
    assert_eq!(called(named(OLD, "Older", empty(), Part::WHOLE)).as_deref(), Some("Office"));
    // The same version once more, under another name.
    assert_eq!(called(named(NEW, "Tower", empty(), Part::WHOLE)).as_deref(), Some("Tower"));
    assert_eq!(called(named(later, "First", empty(), part(0))).as_deref(), Some("Tower"));
    assert_eq!(called(named(later, "Second", empty(), part(1))).as_deref(), Some("Second"));
}
