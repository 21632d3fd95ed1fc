//! A sidecar's parts without its log: what unit tests of surfaces ask.
//!
//! At contoso, tokens were issued ten minutes ago; gone's sessions were revoked and off's account was disabled a
//! minute ago; nothing happened to anna.

use std::sync::Arc;
use std::time::Duration;

use caed_core::builder::Builder;
use caed_core::event::{AccountState, Event, Fact, RevocationCause};
use caed_core::ids::{Name, ObjectKey};
use caed_core::index::ranges::RangeSet;
use caed_core::ingest::Ingest;
use caed_core::log_view::{Letters, LogView, PartitionView};
use caed_core::position::{Offset, Partition, Position, Topics};
use caed_core::publish;
use caed_core::rules::{self, IssuerTenants, Judged, Profile, Rules};
use caed_core::sink::{Accepted, AppendError, BoxFuture, EventSink};
use caed_core::time::{Clock, UnixMillis};
use caed_decode::claims::Names;
use caed_trust::address::{Forwarding, Header, Proxies};
use caed_trust::algorithm::Algorithm;
use caed_trust::issuer::{Issuer, Issuers};
use caed_trust::keyring::Keyring;
use caed_trust::keys::Keys;
use caed_trust::maker::Maker;
use caed_trust::verifier::Verifier;
use serde_json::{Value, json};

use crate::native::Parts;
use crate::pdp::Pdp;

pub(crate) const ISSUER: &str = "https://idp.example/contoso";

/// Now, in seconds.
pub(crate) const NOW_S: i64 = 1_800_000_000;

const NOW: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);

struct Still;

impl Clock for Still {
    fn now(&self) -> UnixMillis {
        NOW
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(100)
    }
}

/// No log.
struct Nothing;

impl EventSink for Nothing {
    fn append(&self, _: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Accepted>, AppendError>> {
        Box::pin(async { Err(AppendError::Closing) })
    }

    fn applied(&self, _: Position) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async { Err(AppendError::Closing) })
    }
}

impl LogView for Nothing {
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

/// The claims of a token of contoso's, for the files API.
pub(crate) fn claims(user: &str) -> Value {
    json!({
        "iss": ISSUER, "tid": "contoso", "sub": user, "aud": ["api://files"],
        "iat": NOW_S - 600, "exp": NOW_S + 3000, "xms_cc": ["cp1"],
    })
}

/// A token that its issuer signed.
pub(crate) fn token(claims: &Value) -> String {
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    Maker::ours().token(Algorithm::Es256, header, &claims.to_string())
}

/// A token that somebody else signed.
pub(crate) fn forged(claims: &Value) -> String {
    let header = r#"{"alg":"ES256","kid":"k"}"#;
    Maker::theirs().token(Algorithm::Es256, header, &claims.to_string())
}

/// The parts of a sidecar that has read its log.
pub(crate) fn parts() -> Parts {
    parts_of(true)
}

/// The parts of a sidecar that may not have read its log yet.
pub(crate) fn parts_of(is_ready: bool) -> Parts {
    let name = |text| Name::parse(text).expect("a name");
    let user = |text| ObjectKey::parse(text).expect("an id");
    let issuer = rules::Issuer {
        name: ISSUER.to_owned(),
        tenants: IssuerTenants::Named([name("contoso")].into()),
        issue_time_skew: Duration::ZERO,
        authorization_uri: None,
        judged: Judged::default(),
    };
    let issuers = rules::Issuers::new([issuer]).expect("an issuer");
    let mut builder = Builder::new(Arc::new(Rules { issuers, ..Rules::default() }), 7);
    let minute_ago = UnixMillis::from_millis(NOW.as_millis() - 60_000);
    let revoked = Fact::UserRevoked { user: user("gone"), cause: RevocationCause::SessionsRevoked };
    let disabled = Fact::Account { user: user("off"), state: AccountState::Disabled };
    for (offset, fact) in (0..).zip([revoked, disabled]) {
        let position = Position { partition: Partition::default(), offset: Offset(offset) };
        let event = Event {
            tenant: name("contoso"),
            source: name("admin"),
            id: String::new(),
            occurred: minute_ago,
            received: minute_ago,
            fact,
        };
        builder.apply(position, minute_ago, &event);
    }
    if is_ready {
        builder.caught_up();
    }
    let (mut publisher, reader) = publish::cell(builder.freeze());
    publisher.confirm_current(NOW, Duration::from_secs(98));
    let proxies = Proxies::Ranges(RangeSet::parse(["10.0.0.0/8"]).expect("a range"));
    Parts {
        pdp: Pdp::new(reader, Arc::new(Still), Arc::new(Profile::default())),
        verifier: Verifier::new(verified()),
        sink: Arc::new(Nothing),
        ingest: Arc::new(Ingest::default()),
        log: Arc::new(Nothing),
        topics: Arc::new(Topics::new(["events".to_owned()])),
        forwarding: Arc::new(Forwarding { header: Header::XForwardedFor, proxies }),
    }
}

fn verified() -> Issuers {
    let keys = json!({"keys": [Maker::ours().p256_jwk("k")]}).to_string();
    let (keys, _) = Keys::parse(keys.as_bytes()).expect("keys");
    let issuer = Issuer {
        name: ISSUER.to_owned(),
        audiences: vec!["api://files".to_owned()],
        algorithms: vec![Algorithm::Es256],
        keys: Arc::new(Keyring::fixed(keys)),
        key_issuer: None,
        tenant: None,
        claims: Names::default(),
    };
    Issuers::new([issuer]).expect("an issuer")
}
