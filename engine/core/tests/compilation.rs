//! Large directories: what takes long is done apart, and changes no answer (P10).

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use caed_core::builder::Builder;
use caed_core::decide::decide;
use caed_core::decision::{Reason, Verdict};
use caed_core::event::{Event, Fact, RevocationCause};
use caed_core::freshness::At;
use caed_core::ids::{Name, ObjectKey};
use caed_core::index::ranges::RangeSet;
use caed_core::limits::RANGES_COMPILED_AT_ONCE;
use caed_core::policy::{
    Applications, Body, Evaluation, Grant, Location, Part, Persons, Place, PlaceList, Places,
    Policy, PolicyMode, Users, Version, Workloads,
};
use caed_core::position::{Offset, Partition, Position};
use caed_core::request::{AccessRequest, Claims, Seen, Token};
use caed_core::rules::{Issuer, IssuerTenants, Issuers, Judged, Profile, Rules};
use caed_core::snapshot::Snapshot;
use caed_core::time::UnixMillis;

const NOW: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);
const CHANGED: UnixMillis = UnixMillis::from_millis(1_799_000_000_000);
const ISSUER: &str = "https://any.example";

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("an id")
}

fn builder() -> Builder {
    let issuer = Issuer {
        name: ISSUER.to_owned(),
        tenants: IssuerTenants::All,
        issue_time_skew: Duration::ZERO,
        authorization_uri: None,
        judged: Judged::default(),
    };
    let issuers = Issuers::new([issuer]).expect("an issuer");
    let mut builder = Builder::new(Arc::new(Rules { issuers, ..Rules::default() }), 7);
    builder.caught_up();
    builder
}

fn apply(builder: &mut Builder, tenant: &str, at: UnixMillis, fact: Fact) {
    let (tenant, source) = (name(tenant), name("importer"));
    let event = Event { tenant, source, id: String::new(), occurred: at, received: at, fact };
    let position = Position { partition: Partition::default(), offset: Offset(0) };
    builder.apply(position, at, &event);
}

/// Blocks everywhere but in the office.
fn policy() -> Body {
    let list = |all, ids| PlaceList { all, all_trusted: false, ids };
    let policy = Policy {
        id: name("p-1"),
        mode: PolicyMode::Enabled,
        users: Users {
            include: Persons { all: true, ..Persons::default() },
            exclude: Persons::default(),
        },
        workloads: Workloads::default(),
        applications: Applications { all: true, ..Applications::default() },
        locations: Some(Places {
            include: list(true, Vec::new()),
            exclude: list(false, vec![key("hq")]),
        }),
        narrowing: Vec::new(),
        grant: Grant::Block,
        controls: vec!["block".to_owned()],
        all_controls: false,
        frequency: None,
        evaluation: Evaluation::Unset,
    };
    Body::Policy(key("p-1"), Some(Arc::new(policy)))
}

/// So many single addresses, every other one.
fn office(ranges: usize, first: u32) -> Body {
    let mut texts = String::new();
    for at in 0..u32::try_from(ranges).expect("few") {
        writeln!(texts, "{}", Ipv4Addr::from(first + 2 * at)).expect("text");
    }
    let ranges = Arc::new(RangeSet::parse(texts.lines()).expect("ranges"));
    Body::Location(key("hq"), Some(Location { trusted: false, place: Place::Ranges(ranges) }))
}

fn told(body: Body) -> Fact {
    Fact::Version(Version { part: Part::WHOLE, body, title: String::new() })
}

/// The reason that is named first for anna's token of a tenant, seen at an address.
fn reason(snapshot: &Snapshot, tenant: &str, at: u32) -> (Verdict, Option<Reason>) {
    let claims = Claims {
        issuer: Some(ISSUER),
        tenant: Some(tenant),
        subject: Some("anna"),
        issued_at: Some(1_799_999_000),
        address: Some("192.0.2.1"),
        answers_challenges: true,
        ..Claims::default()
    };
    let profile = Profile::default();
    let seen = Seen::At(IpAddr::from(Ipv4Addr::from(at)));
    let request = AccessRequest { token: Token::parse(&claims), profile: &profile, seen };
    let decision = decide(snapshot, &request, At { now: NOW, log_age: Duration::ZERO });
    (decision.verdict, decision.primary)
}

const FIRST: u32 = 0x0a00_0000;
const INSIDE: (Verdict, Option<Reason>) = (Verdict::Allow, None);
const OUTSIDE: (Verdict, Option<Reason>) = (Verdict::Challenge, Some(Reason::Location));

fn check(snapshot: &Snapshot, first: u32) {
    for at in [0, 2, 2000, 20_000] {
        assert_eq!(reason(snapshot, "large", first + at), INSIDE, "{at}");
        assert_eq!(reason(snapshot, "large", first + at + 1), OUTSIDE, "{at}");
    }
}

#[test]
fn an_index_that_is_compiled_apart_changes_no_answer_and_holds_up_nobody() {
    let mut builder = builder();
    let many = RANGES_COMPILED_AT_ONCE + 1;
    apply(&mut builder, "large", CHANGED, told(policy()));
    apply(&mut builder, "large", CHANGED, told(office(many, FIRST)));
    check(&builder.freeze(), FIRST);
    let compilation = builder.take_compilation().expect("something to compile");
    assert!(builder.take_compilation().is_none(), "one at a time for a tenant");

    // Meanwhile another tenant's event is applied, and the office moves.
    let user = key("anna");
    let revoked = Fact::UserRevoked { user, cause: RevocationCause::SessionsRevoked };
    apply(&mut builder, "small", NOW, revoked);
    let moved = FIRST + 0x0100_0000;
    let later = UnixMillis::from_millis(CHANGED.as_millis() + 1);
    apply(&mut builder, "large", later, told(office(many, moved)));
    let between = builder.freeze();
    assert_eq!(reason(&between, "small", 1).1, Some(Reason::Revoked));
    check(&between, moved);

    // What was compiled of before is put in place, and then what is now.
    builder.install(compilation.run());
    check(&builder.freeze(), moved);
    let compilation = builder.take_compilation().expect("the office moved");
    builder.install(compilation.run());
    check(&builder.freeze(), moved);
    assert!(builder.take_compilation().is_none(), "everything is indexed");
    check(&between, moved);
}

#[test]
fn few_ranges_are_compiled_at_once() {
    let mut builder = builder();
    apply(&mut builder, "large", CHANGED, told(policy()));
    apply(&mut builder, "large", CHANGED, told(office(RANGES_COMPILED_AT_ONCE, FIRST)));
    let snapshot = builder.freeze();
    assert!(builder.take_compilation().is_none());
    assert_eq!(reason(&snapshot, "large", FIRST), INSIDE);
    assert_eq!(reason(&snapshot, "large", FIRST + 1), OUTSIDE);
}

#[test]
fn each_tenant_has_one_index_to_be_compiled_and_it_is_the_newest() {
    let mut builder = builder();
    let many = RANGES_COMPILED_AT_ONCE + 1;
    let moved = FIRST + 0x0100_0000;
    for tenant in ["large", "larger"] {
        apply(&mut builder, tenant, CHANGED, told(policy()));
        apply(&mut builder, tenant, CHANGED, told(office(many, FIRST)));
        builder.freeze();
    }
    let later = UnixMillis::from_millis(CHANGED.as_millis() + 1);
    apply(&mut builder, "large", later, told(office(many, moved)));
    let before = builder.freeze();
    for _ in ["large", "larger"] {
        let compilation = builder.take_compilation().expect("one for each tenant");
        builder.install(compilation.run());
    }
    assert!(builder.take_compilation().is_none(), "no more than one for each tenant");
    let after = builder.freeze();
    check(&after, moved);
    assert!(after.counts().heap_bytes > before.counts().heap_bytes, "the indexes are in place");
    assert!(builder.take_compilation().is_none(), "everything is indexed");
}
