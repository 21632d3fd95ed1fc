//! What every decoder must do with any bytes: not panic, not grow, and mean the same when what was
//! understood is written and read again.
//!
//! Each target is a `fn(&[u8])`, named by its input. `tests/cases/fuzz.rs` runs them over mutations of a
//! corpus from fixed seeds ([`mutated`]); `make fuzz` gives them to libFuzzer.

use caed_core::index::ranges::RangeSet;
use caed_core::time::UnixMillis;
use caed_decode::graph::{self, File};
use caed_decode::native;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
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
