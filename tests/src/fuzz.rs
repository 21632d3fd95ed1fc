//! What every decoder must do with any bytes: not panic, not grow, and mean the same when what was
//! understood is written and read again.
//!
//! Each target is a `fn(&[u8])`, named by its input. `tests/cases/fuzz.rs` runs them over mutations of a
//! corpus from fixed seeds ([`mutated`]); `make fuzz` gives them to libFuzzer.

use std::net::IpAddr;
use std::str;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caed_core::ids::Name;
use caed_core::index::ranges::RangeSet;
use caed_core::request::Unusable;
use caed_core::time::UnixMillis;
use caed_decode::asked::Asked;
use caed_decode::claims::{self, Names};
use caed_decode::graph::{self, File};
use caed_decode::native;
use caed_proto::ext_authz::{CheckRequest, HeaderMap, HeaderValue, HttpRequest};
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_surfaces::ext_authz;
use caed_trust::address::{Chain, Client, Forwarding, Header, Proxies, Unknown};
use caed_trust::algorithm::Algorithm;
use caed_trust::issuer::{Issuer, Issuers};
use caed_trust::keyring::Keyring;
use caed_trust::keys::Keys;
use caed_trust::token::{self, Kind};
use caed_trust::verifier::Verifier;
use prost::Message;
use serde_json::Value;

use crate::random::Random;

/// When everything is received: 2026-06-01T00:00:00Z.
const RECEIVED: UnixMillis = UnixMillis::from_millis(1_780_272_000_000);

/// Bytes of a mutation; a corpus entry may be longer.
const INPUT_BYTES_MAX: usize = 1 << 14;

/// What an error says, beside what it quotes.
const ERROR_BYTES_MAX: usize = 2000;

/// A record of a log: protobuf `caed.v1.Event`.
pub fn event_record(bytes: &[u8]) {
    let stamped = native::stamp(bytes, RECEIVED);
    if let Ok((stored, meant)) = &stamped {
        assert_eq!(native::decode(stored).as_ref(), Ok(meant), "what is stamped is understood");
    }
    match native::decode(bytes) {
        Err(error) => is_one_line(&error.to_string()),
        Ok(decoded) => {
            let message = v1::Event::decode(bytes).expect("decoded before");
            let again = message.encode_to_vec();
            // A number may be written in fewer bytes than it must have.
            assert!(again.len() <= 2 * bytes.len(), "{} of {}", again.len(), bytes.len());
            assert!(native::says_all(&again));
            let event = native::decode(&again).expect("understood before").event;
            assert_eq!(event, decoded.event);
            assert_eq!(event.record_key(), decoded.event.record_key());
            let mut offered = 0;
            event.consequences(|_| offered += 1);
            assert!((1..=3).contains(&offered), "{offered}");
        }
    }
}

/// A policy as `caed publish policy-changed --json` reads it.
pub fn policy_json(bytes: &[u8]) {
    let Some(policy) = policy(bytes) else { return };
    let written = serde_json::to_string(&policy).expect("read from JSON");
    assert_eq!(serde_json::from_str::<v1::PolicyChanged>(&written).expect("JSON"), policy);
    let event = event(Fact::PolicyChanged(policy));
    match native::event_of(event.clone()) {
        Err(error) => is_one_line(&error.to_string()),
        Ok(decoded) => assert_eq!(native::decode(&event.encode_to_vec()), Ok(decoded)),
    }
}

/// A file that `caed import` reads.
pub fn graph_json(bytes: &[u8]) {
    let file = File { name: "graph.json", bytes, written: Some(RECEIVED) };
    let import = match graph::read(&[file]) {
        Err(error) => return is_one_line(&error.to_string()),
        Ok(import) => import,
    };
    assert_eq!(graph::read(&[file]).as_ref(), Ok(&import), "read again, it is the same");
    let report = import.to_string();
    // A report says at most so much of a member, and of an object at most so much besides.
    let most = 64 * bytes.len() + 2000 * (import.objects.len() + 1);
    assert!(report.len() <= most, "{} of {}", report.len(), bytes.len());
    assert!(!report.contains(|one: char| one.is_control() && one != '\n'), "{report:?}");
    let events = import.objects.iter().flat_map(|object| {
        object.events("contoso", "microsoft-graph").expect("what is imported is understood")
    });
    for mut event in events {
        event.received_ms = i64::try_from(RECEIVED.as_millis()).expect("a time");
        let written = event.encode_to_vec();
        let meant = native::event_of(event.clone()).expect("what is imported is understood");
        assert_eq!(native::decode(&written), Ok(meant));
        let json = serde_json::to_string(&event).expect("JSON");
        assert_eq!(serde_json::from_str::<v1::Event>(&json).expect("JSON"), event);
    }
    // Ranges are masked here and by whoever reads events: both must mean the same.
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let [graph::Object { fact: Fact::LocationChanged(location), .. }] =
            import.objects.as_slice()
        && let Some(v1::IpRanges { cidrs }) = &location.ranges
        && let Some(ranges) = value.get("ipRanges").and_then(Value::as_array)
    {
        let texts = ranges.iter().filter_map(|range| range.get("cidrAddress")?.as_str());
        assert_eq!(RangeSet::parse(texts), RangeSet::parse(cidrs.iter().map(String::as_str)));
    }
}

/// A raw token; or, in three lines, its header and payload in clear and its signature, so that their words can be
/// changed.
pub fn raw_token(bytes: &[u8]) {
    let issuers = issuers();
    let bytes = token_of(bytes);
    let told = token::verify(&bytes, &issuers);
    assert_eq!(token::verify(&bytes, &issuers), told, "read again, it is the same");
    match told {
        Err(refused) => {
            is_one_line(&refused.to_string());
            assert_eq!(refused.unusable(), Unusable::Unverified, "the keys are there");
        }
        Ok(read) => {
            // Nobody has the private keys any more, so what was signed is among these.
            let signed = |token: &[u8]| {
                let end = token.iter().rposition(|byte| *byte == b'.').expect("a token");
                token[..end].to_vec()
            };
            assert!(SIGNED.iter().any(|known| signed(known.as_bytes()) == signed(&bytes)));
            assert!(read.aud.contains(&"api".to_owned()) && read.tid.is_some(), "{read:?}");
            assert!(claims::token(&read).is_ok(), "{read:?}");
        }
    }
}

/// The keys of an issuer, as it publishes them.
pub fn key_set(bytes: &[u8]) {
    match Keys::parse(bytes) {
        Err(error) => is_one_line(&error.to_string()),
        Ok((keys, skipped)) => {
            let value: Value = serde_json::from_slice(bytes).expect("JSON");
            let listed = value["keys"].as_array().expect("a list").len();
            assert_eq!(keys.len() + skipped.all(), listed, "each is read or skipped");
            let again = Keys::parse(bytes).expect("read before");
            assert_eq!((again.0.len(), again.1), (keys.len(), skipped));
            // Whatever they are, verifying with them ends with an answer.
            let issuers = issuers_with(keys);
            for token in SIGNED {
                let told = token::verify(token.as_bytes(), &issuers);
                is_one_line(&told.err().map(|refused| refused.to_string()).unwrap_or_default());
            }
        }
    }
}

/// A chain of addresses: the peer in the first line, then the lines of the header.
pub fn forwarded_chain(bytes: &[u8]) {
    let (peer, lines) = chain_of(bytes);
    for forwarding in forwardings() {
        let told = forwarding.client(&Chain { peer, lines: &lines });
        match told {
            Err(unknown) => is_one_line(&unknown.to_string()),
            Ok(Client { address, entry }) => {
                assert_eq!(address, address.to_canonical());
                assert!(entry <= caed_trust::limits::CHAIN_ENTRIES_MAX, "{entry}");
                if let Proxies::Ranges(ranges) = &forwarding.proxies {
                    assert!(!ranges.contains(address), "{address} is a proxy's");
                }
            }
        }
        // Whatever a client sends before what proxies add changes no answer, but for there being none.
        let sent: [&[u8]; 2] = [b"192.0.2.66, for=192.0.2.67", b"for=\"192.0.2.68"];
        let lines: Vec<&[u8]> = sent.into_iter().chain(lines.iter().copied()).collect();
        let again = forwarding.client(&Chain { peer, lines: &lines });
        assert!(again == told || matches!(told, Err(Unknown::Short { .. })), "{told:?} {again:?}");
    }
}

/// A question in caed's own words: protobuf `caed.v1.EvaluateRequest`, read where it stands and by the generated code.
pub fn evaluate_request(bytes: &[u8]) {
    let message = v1::EvaluateRequest::decode(bytes);
    if let Some(asked) = Asked::read(bytes) {
        let message = message.as_ref().expect("what is read is a message");
        assert_eq!(asked, Asked::from(message));
    }
    if let Ok(message) = message {
        let written = message.encode_to_vec();
        assert_eq!(Asked::read(&written).is_some(), is_usual(&message), "{message:?}");
    }
}

/// Whether a question is read where it stands: an address of no kind is not.
fn is_usual(message: &v1::EvaluateRequest) -> bool {
    message.client.as_ref().is_none_or(|client| client.is.is_some())
}

/// A check as Envoy sends it: protobuf `envoy.service.auth.v3.CheckRequest`.
pub fn check_request(bytes: &[u8]) {
    use v1::evaluate_request::Token;
    let verifier = Verifier::default();
    let in_place = ext_authz::question_in(bytes, &verifier);
    let Ok(message) = CheckRequest::decode(bytes) else {
        assert_eq!(in_place, None, "what is read where it stands is a message");
        return;
    };
    let asked = |message: &CheckRequest| ext_authz::question(message.clone(), &verifier);
    let question = asked(&message);
    assert!(in_place.is_none_or(|read| read == question), "read where it stands, it is the same");
    assert_eq!(asked(&raw(&message)), question, "headers mean the same, raw or not");
    let with = |name: &str, value: &[u8]| asked(&with_header(&message, name, value));
    assert_eq!(with("x-access-token", b"a.b.c"), question, "a header that nobody reads");
    let Some(question) = question else { return };
    // What is no UTF-8 takes three bytes for one; a claim may stand under two names.
    assert!(question.encoded_len() <= 6 * bytes.len() + 100, "{question:?}");
    let two = with("authorization", b"Bearer a.b.c").expect("a token");
    let (one, other) = match (question.token, two.token) {
        (Some(Token::Jwt(one)), Some(Token::Jwt(other))) => (one, other),
        (Some(Token::Claims(one)), Some(Token::Claims(other))) => {
            assert_eq!(one, other, "claims come from Envoy alone");
            (question.presented, two.presented)
        }
        tokens => panic!("{tokens:?}"),
    };
    assert!(one.is_empty() || one != other, "a second token is not passed over: {one:?}");
}

/// The same check with its headers raw.
fn raw(message: &CheckRequest) -> CheckRequest {
    let mut message = message.clone();
    if let Some(http) = http_of(&mut message) {
        let raw = http.header_map.take().map(|map| map.headers).unwrap_or_default();
        let all = http.headers.drain(..).chain(raw);
        let headers = all.map(|mut header| {
            let value = std::mem::take(&mut header.value);
            if header.raw_value.is_empty() {
                header.raw_value = value;
            }
            header
        });
        http.header_map = Some(HeaderMap { headers: headers.collect() });
    }
    message
}

fn with_header(message: &CheckRequest, name: &str, value: &[u8]) -> CheckRequest {
    let mut message = message.clone();
    if let Some(http) = http_of(&mut message) {
        let (key, value) = (name.as_bytes().to_vec(), value.to_vec());
        http.headers.push(HeaderValue { key, value, raw_value: Vec::new() });
    }
    message
}

fn http_of(message: &mut CheckRequest) -> Option<&mut HttpRequest> {
    message.attributes.as_mut()?.request.as_mut()?.http.as_mut()
}

/// Whether bytes are what a target reads: mutations that never are would show nothing.
pub fn is_event_record(bytes: &[u8]) -> bool {
    native::decode(bytes).is_ok()
}

/// As [`is_event_record`].
pub fn is_policy_json(bytes: &[u8]) -> bool {
    policy(bytes).is_some_and(|policy| native::event_of(event(Fact::PolicyChanged(policy))).is_ok())
}

/// As [`is_event_record`].
pub fn is_graph_json(bytes: &[u8]) -> bool {
    graph::read(&[File { name: "graph.json", bytes, written: None }]).is_ok()
}

/// As [`is_event_record`]: in form, from an issuer whom we know.
pub fn is_raw_token(bytes: &[u8]) -> bool {
    let told = token::verify(&token_of(bytes), &issuers());
    told.err().is_none_or(|refused| !matches!(refused.kind(), Kind::Form | Kind::Issuer))
}

/// As [`is_event_record`].
pub fn is_key_set(bytes: &[u8]) -> bool {
    Keys::parse(bytes).is_ok_and(|(keys, _)| !keys.is_empty())
}

/// As [`is_event_record`]: with a client somewhere in it.
pub fn is_forwarded_chain(bytes: &[u8]) -> bool {
    let (peer, lines) = chain_of(bytes);
    let chain = Chain { peer, lines: &lines };
    forwardings().iter().any(|how| how.client(&chain).is_ok_and(|client| client.entry > 0))
}

/// As [`is_event_record`]: read where it stands.
pub fn is_evaluate_request(bytes: &[u8]) -> bool {
    Asked::read(bytes).is_some()
}

/// As [`is_event_record`]: with a token in it, and read where it stands.
pub fn is_check_request(bytes: &[u8]) -> bool {
    ext_authz::question_in(bytes, &Verifier::default()).flatten().is_some()
}

/// Tokens that were signed once, by keys of which only the public part was kept.
const SIGNED: [&str; 5] = [
    include_str!("../fuzz/corpus/raw_token/rs256"),
    include_str!("../fuzz/corpus/raw_token/ps256"),
    include_str!("../fuzz/corpus/raw_token/es256"),
    include_str!("../fuzz/corpus/raw_token/es384"),
    include_str!("../fuzz/corpus/raw_token/eddsa"),
];

/// The issuers of these.
fn issuers() -> Issuers {
    static PUBLIC: OnceLock<Keys> = OnceLock::new();
    let public = || Keys::parse(include_bytes!("../fuzz/corpus/key_set/all.json")).expect("keys").0;
    issuers_with(PUBLIC.get_or_init(public).clone())
}

fn issuers_with(keys: Keys) -> Issuers {
    let keys = Arc::new(Keyring::fixed(keys));
    let issuer = |name: &str, tenant: Option<&str>| Issuer {
        name: name.to_owned(),
        audiences: vec!["api".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        keys: Arc::clone(&keys),
        key_issuer: None,
        tenant: tenant.map(|tenant| Name::parse(tenant).expect("a name")),
        claims: Names { judged: Some("ip".to_owned()), ..Names::default() },
    };
    let issuers = [
        issuer("https://login.example/{tenant}/v2.0", None),
        issuer("https://idp.example", Some("staff")),
    ];
    Issuers::new(issuers).expect("issuers")
}

fn token_of(bytes: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let [header, payload, signature] = lines[..] else { return bytes.to_vec() };
    let encoded = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}.", encoded(header), encoded(payload));
    [signed.as_bytes(), signature].concat()
}

fn chain_of(bytes: &[u8]) -> (Option<IpAddr>, Vec<&[u8]>) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let peer = lines.next().and_then(|peer| str::from_utf8(peer).ok()?.parse().ok());
    (peer, lines.collect())
}

fn forwardings() -> Vec<Forwarding> {
    let ranges = RangeSet::parse(["10.0.0.0/8", "fd00::/8"]).expect("ranges");
    let proxies = [Proxies::Ranges(ranges), Proxies::Hops(0), Proxies::Hops(1), Proxies::Hops(3)];
    let headers = [Header::XForwardedFor, Header::Forwarded];
    let all = headers.into_iter().flat_map(|header| {
        proxies.iter().map(move |proxies| Forwarding { header, proxies: proxies.clone() })
    });
    all.collect()
}

/// An entry of the corpus with one to four changes: bits, bytes, ranges, and words of other entries.
pub fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below((bytes.len() - at).min(40) + 1);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.bits().to_le_bytes()[0],
            2 => drop(bytes.drain(at..end)),
            3 => {
                let range = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, range);
            }
            4 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let until = from + random.below((other.len() - from).min(40) + 1);
                bytes.splice(at..end, other[from..until].iter().copied());
            }
            // A word for a word leaves JSON what it is.
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let (Some(old), Some(new)) = (word(&bytes, random), word(other, random)) else {
                    continue;
                };
                let others: [&[u8]; 8] =
                    [b"null", b"[]", b"{}", b"\"\"", b"true", b"-1", b"1e99", b"\"All\""];
                let new = if random.chance(30) { random.pick(&others) } else { &other[new] };
                bytes.splice(old, new.to_vec());
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

/// Where some word in quotes stands.
fn word(bytes: &[u8], random: &mut Random) -> Option<std::ops::Range<usize>> {
    let quotes: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'"').collect();
    let pair = 2 * random.below(quotes.len() / 2);
    let (open, close) = (quotes.get(pair)?, quotes.get(pair + 1)?);
    Some(*open..close + 1)
}

fn policy(bytes: &[u8]) -> Option<v1::PolicyChanged> {
    serde_json::from_slice(bytes).ok()
}

fn event(fact: Fact) -> v1::Event {
    let received_ms = i64::try_from(RECEIVED.as_millis()).expect("a time");
    let (tenant, source) = ("contoso".to_owned(), "importer".to_owned());
    // Parts need a time.
    let event_time_ms = received_ms - 1000;
    v1::Event { id: String::new(), tenant, source, event_time_ms, received_ms, fact: Some(fact) }
}

fn is_one_line(error: &str) {
    assert!(error.len() <= ERROR_BYTES_MAX, "{} bytes: {error}", error.len());
    assert!(!error.contains('\n'), "{error}");
}
