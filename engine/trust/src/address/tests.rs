//! Chains as clients, attackers and proxies write them.

use proptest::prelude::*;

use super::*;

type Told = Result<Client, Unknown>;

/// A line of a table: the peer, the header's lines, and what is told of the client.
type Row<'a> = (&'a str, &'a [&'a str], Told);

const PEER: &str = "10.0.0.1";

fn ranges() -> Proxies {
    Proxies::Ranges(RangeSet::parse(["10.0.0.0/8", "fd00::/8", "198.51.100.7"]).expect("ranges"))
}

fn found(header: Header, proxies: Proxies, peer: &str, lines: &[&str]) -> Told {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    let peer = peer.parse().ok();
    Forwarding { header, proxies }.client(&Chain { peer, lines: &lines })
}

#[expect(clippy::unnecessary_wraps, reason = "what a row expects is told or unknown")]
fn client(address: &str, entry: usize) -> Told {
    Ok(Client { address: address.parse().expect("an address"), entry })
}

#[test]
fn the_first_that_is_no_proxy_is_the_client() {
    let long_left = format!("{}, 203.0.113.9", "x,".repeat(30_000));
    let long_entry = format!("{}, 203.0.113.9", "x".repeat(100_000));
    let proxies = vec!["10.0.0.2"; limits::CHAIN_ENTRIES_MAX].join(",");
    let last = vec!["10.0.0.2"; limits::CHAIN_ENTRIES_MAX - 1].join(",");
    let rows: &[Row<'_>] = &[
        // Nobody who is trusted passed anything on.
        ("203.0.113.9", &["1.1.1.1"], client("203.0.113.9", 0)),
        ("203.0.113.9", &[], client("203.0.113.9", 0)),
        ("::ffff:203.0.113.9", &["1.1.1.1"], client("203.0.113.9", 0)),
        ("", &["203.0.113.9"], Err(Unknown::NoPeer)),
        // The peer is a proxy.
        (PEER, &["203.0.113.9"], client("203.0.113.9", 1)),
        ("::ffff:10.0.0.1", &["203.0.113.9"], client("203.0.113.9", 1)),
        ("198.51.100.7", &["203.0.113.9"], client("203.0.113.9", 1)),
        ("198.51.100.8", &["203.0.113.9"], client("198.51.100.8", 0)),
        (PEER, &["203.0.113.9, 10.0.0.2"], client("203.0.113.9", 2)),
        (PEER, &["203.0.113.9,10.0.0.2\t,\t 10.0.0.3 "], client("203.0.113.9", 3)),
        (PEER, &["2001:db8::1, fd00::2"], client("2001:db8::1", 2)),
        // Spoofed entries stand left of it, whatever they are.
        (PEER, &["1.1.1.1, 203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &["10.0.0.9, 203.0.113.9, 10.0.0.2"], client("203.0.113.9", 2)),
        (PEER, &["1.1.1.1, 10.0.0.9, 203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &["\"1.1.1.1, 203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &["\\\", 203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &["\0, 203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &[",,,203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &[&long_left], client("203.0.113.9", 1)),
        (PEER, &[&long_entry], client("203.0.113.9", 1)),
        // Several lines are one chain, in their order.
        (PEER, &["1.1.1.1", "203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &["1.1.1.1, 203.0.113.9", "10.0.0.2, 10.0.0.3"], client("203.0.113.9", 3)),
        (PEER, &["", "203.0.113.9"], client("203.0.113.9", 1)),
        // Forms of an address.
        (PEER, &["203.0.113.9:443"], client("203.0.113.9", 1)),
        (PEER, &["[2001:db8::1]"], client("2001:db8::1", 1)),
        (PEER, &["[2001:db8::1]:443"], client("2001:db8::1", 1)),
        (PEER, &["2001:DB8::1"], client("2001:db8::1", 1)),
        (PEER, &["fe80::1%eth0"], client("fe80::1", 1)),
        (PEER, &["[fe80::1%25eth0]:443"], client("fe80::1", 1)),
        (PEER, &["::ffff:203.0.113.9"], client("203.0.113.9", 1)),
        (PEER, &["[::ffff:203.0.113.9]:443"], client("203.0.113.9", 1)),
        (PEER, &["203.0.113.9, ::ffff:10.0.0.2"], client("203.0.113.9", 2)),
        (PEER, &["203.0.113.9, 10.0.0.2:51000"], client("203.0.113.9", 2)),
        // What a proxy added is no address: nothing left of it counts.
        (PEER, &[""], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9,"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9", ""], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9, , 10.0.0.2"], Err(Unknown::Malformed { entry: 2 })),
        (PEER, &["203.0.113.9, nonsense, 10.0.0.2"], Err(Unknown::Malformed { entry: 2 })),
        (PEER, &["203.0.113.9, unknown, 10.0.0.2"], Err(Unknown::Hidden { entry: 2 })),
        (PEER, &["203.0.113.9, UNKNOWN"], Err(Unknown::Hidden { entry: 1 })),
        (PEER, &["localhost"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.009"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["3405803785"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["0xcb.0.0x71.9"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9/32"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9:"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9:65536"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9 10.0.0.2"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9;10.0.0.2"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["\"203.0.113.9\""], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9\0"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["203.0.113.9%eth0"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["fe80::1%"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["fe80::1%a b"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["[203.0.113.9]"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["[2001:db8::1"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["2001:db8::1]"], Err(Unknown::Malformed { entry: 1 })),
        (PEER, &["[2001:db8::1]443"], Err(Unknown::Malformed { entry: 1 })),
        // Proxies, and no client.
        (PEER, &[], Err(Unknown::Short { entries: 0 })),
        (PEER, &["10.0.0.2, 10.0.0.3"], Err(Unknown::Short { entries: 2 })),
        (PEER, &[&proxies], Err(Unknown::Short { entries: limits::CHAIN_ENTRIES_MAX })),
        (PEER, &["203.0.113.9", &proxies], Err(Unknown::Long)),
        (PEER, &["203.0.113.9", &last], client("203.0.113.9", limits::CHAIN_ENTRIES_MAX)),
    ];
    for (peer, lines, expected) in rows {
        let told = found(Header::XForwardedFor, ranges(), peer, lines);
        assert_eq!(told, *expected, "{peer} {:.80}", lines.join(" | "));
    }
}

#[test]
fn so_many_hops_are_trusted_and_no_more() {
    let rows: &[(usize, Row<'_>)] = &[
        (0, ("203.0.113.9", &["1.1.1.1"], client("203.0.113.9", 0))),
        (0, ("", &["1.1.1.1"], Err(Unknown::NoPeer))),
        (1, (PEER, &["1.1.1.1, 203.0.113.9"], client("203.0.113.9", 1))),
        (1, ("", &["1.1.1.1, 203.0.113.9"], client("203.0.113.9", 1))),
        (1, ("8.8.8.8", &["203.0.113.9"], client("203.0.113.9", 1))),
        (2, (PEER, &["1.1.1.1, 203.0.113.9, 10.0.0.2"], client("203.0.113.9", 2))),
        (2, (PEER, &["1.1.1.1", "203.0.113.9", "9.9.9.9"], client("203.0.113.9", 2))),
        // The client counts whatever its address.
        (1, (PEER, &["10.0.0.9"], client("10.0.0.9", 1))),
        // Too short, too long.
        (1, (PEER, &[], Err(Unknown::Short { entries: 0 }))),
        (2, (PEER, &["203.0.113.9"], Err(Unknown::Short { entries: 1 }))),
        (1, (PEER, &["x, 1.1.1.1, 2.2.2.2, 203.0.113.9"], client("203.0.113.9", 1))),
        // Where entries are counted, holes count too.
        (1, (PEER, &["1.1.1.1,"], Err(Unknown::Malformed { entry: 1 }))),
        (2, (PEER, &["203.0.113.9, "], Err(Unknown::Malformed { entry: 1 }))),
        (2, (PEER, &["1.1.1.1, nonsense, 10.0.0.2"], Err(Unknown::Malformed { entry: 2 }))),
        (2, (PEER, &["203.0.113.9, _proxy"], Err(Unknown::Hidden { entry: 1 }))),
    ];
    for (hops, (peer, lines, expected)) in rows {
        let told = found(Header::XForwardedFor, Proxies::Hops(*hops), peer, lines);
        assert_eq!(told, *expected, "{hops} {peer} {lines:?}");
    }
}

#[test]
fn forwarded_is_read_by_its_own_grammar() {
    let malformed = Err(Unknown::Malformed { entry: 1 });
    let rows: &[(&[&str], Told)] = &[
        (&["for=203.0.113.9"], client("203.0.113.9", 1)),
        (&["For=\"203.0.113.9:443\";Proto=https"], client("203.0.113.9", 1)),
        (&["for=\"[2001:db8::1]:443\""], client("2001:db8::1", 1)),
        (&["for=[2001:db8::1]"], client("2001:db8::1", 1)),
        (&["proto=https; host=a.example:8443 ;for=203.0.113.9;"], client("203.0.113.9", 1)),
        (&["for=1.1.1.1, for=203.0.113.9;by=10.0.0.2, for=10.0.0.3"], client("203.0.113.9", 2)),
        (&["for=1.1.1.1", "for=203.0.113.9"], client("203.0.113.9", 1)),
        (&["for=\"20\\3.0.113.9\""], client("203.0.113.9", 1)),
        // An attacker's open quote doesn't swallow what a proxy adds.
        (&["for=\"1.1.1.1, for=203.0.113.9"], client("203.0.113.9", 1)),
        (&["for=1.1.1.1\\, for=203.0.113.9"], client("203.0.113.9", 1)),
        // What a client sent as its host divides nothing, quoted as proxies quote it.
        (&["for=203.0.113.9;host=\"a, for=1.1.1.1\""], client("203.0.113.9", 1)),
        (&["for=203.0.113.9;host=\"a;for=1.1.1.1\""], client("203.0.113.9", 1)),
        (&["for=203.0.113.9;host=\"x\\\", for=1.1.1.1, host=\\\"y\""], client("203.0.113.9", 1)),
        (&["for=203.0.113.9;host=\"x\\\\\""], client("203.0.113.9", 1)),
        // Hidden on purpose.
        (&["for=1.1.1.1, for=unknown"], Err(Unknown::Hidden { entry: 1 })),
        (&["for=1.1.1.1, for=\"_gazonk\""], Err(Unknown::Hidden { entry: 1 })),
        // Not well formed.
        (&["for=1.1.1.1, 203.0.113.9"], malformed),
        (&["for=1.1.1.1, proto=https"], malformed),
        (&["for=1.1.1.1, "], malformed),
        (&["for=203.0.113.9;for=1.1.1.1"], malformed),
        (&["for=203.0.113.9;FOR=203.0.113.9"], malformed),
        (&["for=\"203.0.113.9"], malformed),
        (&["for=203.0.113.9\""], malformed),
        (&["for=\"203.0.113.9\\\""], malformed),
        (&["for="], malformed),
        (&["for"], malformed),
        (&["=203.0.113.9"], malformed),
        (&["for =203.0.113.9"], malformed),
        (&["for= 203.0.113.9"], malformed),
        (&["for=203.0.113.9 proto=http"], malformed),
        (&["for=2\0"], malformed),
        (&[], Err(Unknown::Short { entries: 0 })),
    ];
    for (lines, expected) in rows {
        let told = found(Header::Forwarded, ranges(), PEER, lines);
        assert_eq!(told, *expected, "{lines:?}");
    }
    // An entry of a length that no proxy writes.
    let long = format!("for=203.0.113.9;host={}", "a".repeat(limits::CHAIN_ENTRY_BYTES_MAX));
    assert_eq!(found(Header::Forwarded, ranges(), PEER, &[&long]), malformed);
}

#[test]
fn an_unknown_address_says_why() {
    let told: Vec<String> = [
        Unknown::NoPeer,
        Unknown::Short { entries: 2 },
        Unknown::Long,
        Unknown::Malformed { entry: 1 },
        Unknown::Hidden { entry: 3 },
    ]
    .map(|why| why.to_string())
    .into();
    assert_eq!(
        told,
        [
            "the gateway did not say who connected to it",
            "the chain ends after 2 entries, all of them trusted proxies",
            "the chain has more than 32 trusted proxies",
            "entry 1 from the right is no address, though a trusted proxy added it",
            "entry 3 from the right was hidden by a trusted proxy",
        ]
    );
}

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let written = prop::sample::select(vec![
        "10.0.0.2",
        "203.0.113.9",
        "for=",
        ",",
        ";",
        "\"",
        "\\",
        " ",
        "[",
        "]",
        "%",
        "fd00::2",
        ":1",
        "unknown",
        "host=",
    ]);
    let line = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(written, 0..12).prop_map(|parts| parts.concat().into_bytes()),
    ];
    prop::collection::vec(line, 0..4)
}

fn forwardings() -> Vec<Forwarding> {
    [Header::XForwardedFor, Header::Forwarded]
        .into_iter()
        .flat_map(|header| {
            [ranges(), Proxies::Hops(0), Proxies::Hops(1), Proxies::Hops(3)]
                .map(|proxies| Forwarding { header, proxies })
        })
        .collect()
}

proptest! {
    /// Whatever stands left of the client changes neither it nor its place.
    #[test]
    fn what_a_client_sends_never_counts(sent in lines(), same_line in any::<bool>()) {
        let peer = PEER.parse().ok();
        for (header, added) in [
            (Header::XForwardedFor, "203.0.113.9, 10.0.0.2"),
            (Header::Forwarded, "for=203.0.113.9;host=\"a,b\", for=10.0.0.2"),
        ] {
            for proxies in [ranges(), Proxies::Hops(2)] {
                let mut sent = sent.clone();
                match sent.last_mut() {
                    Some(last) if same_line => {
                        last.extend_from_slice(b", ");
                        last.extend_from_slice(added.as_bytes());
                    }
                    _ => sent.push(added.as_bytes().to_vec()),
                }
                let lines: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
                let told = Forwarding { header, proxies }.client(&Chain { peer, lines: &lines });
                prop_assert_eq!(told, client("203.0.113.9", 2));
            }
        }
    }

    /// Any bytes have an answer, and an address that counts is never a trusted range's.
    #[test]
    fn any_chain_has_an_answer(sent in lines(), with_peer in any::<bool>()) {
        let peer = PEER.parse().ok().filter(|_| with_peer);
        let lines: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
        for forwarding in forwardings() {
            let told = forwarding.client(&Chain { peer, lines: &lines });
            if let (Ok(client), Proxies::Ranges(ranges)) = (told, &forwarding.proxies) {
                prop_assert!(!ranges.contains(client.address));
            }
        }
    }
}
