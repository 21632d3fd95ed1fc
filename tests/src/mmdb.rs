//! Writes databases of countries in MaxMind's format, as small as can be.
//!
//! SOURCE: the MaxMind DB file format specification, version 2.0.

use std::net::Ipv6Addr;

use ipnet::IpNet;

/// Separates the tree from the data.
const SEPARATOR: [u8; 16] = [0; 16];
/// Stands before the metadata.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// A side of a node behind which nothing is known.
const NOTHING: u32 = u32::MAX;

/// A side of a node: another node, or where the data of a network begins.
#[derive(Clone, Copy)]
enum Side {
    Node(usize),
    Data(u32),
}

/// A database of networks with their countries; of none, where that is empty.
pub fn database(networks: &[(&str, &str)], built_s: u64) -> Vec<u8> {
    let mut nodes: Vec<[Side; 2]> = vec![[Side::Data(NOTHING); 2]];
    let mut data = Vec::new();
    for (network, country) in networks {
        let offset = u32::try_from(data.len()).expect("a small database");
        match *country {
            "" => map(&mut data, &[("continent", &|data| text(data, "XX"))]),
            country => {
                let code =
                    |data: &mut Vec<u8>| map(data, &[("iso_code", &|data| text(data, country))]);
                map(&mut data, &[("country", &code)]);
            }
        }
        let (first, bits) = match network.parse().expect("a network") {
            IpNet::V4(net) => (u128::from(u32::from(net.network())), net.prefix_len() + 96),
            IpNet::V6(net) => (Ipv6Addr::to_bits(net.network()), net.prefix_len()),
        };
        insert(&mut nodes, first, bits, offset);
    }
    let count = u32::try_from(nodes.len()).expect("a small database");
    let mut file = Vec::new();
    for side in nodes.iter().flatten() {
        let record = match *side {
            Side::Node(number) => u32::try_from(number).expect("a small database"),
            Side::Data(NOTHING) => count,
            Side::Data(offset) => count + 16 + offset,
        };
        file.extend(record.to_be_bytes());
    }
    file.extend(SEPARATOR);
    file.extend(&data);
    file.extend(MARKER);
    let number = |tag: u8, bytes: Vec<u8>| {
        move |data: &mut Vec<u8>| {
            let length = u8::try_from(bytes.len()).expect("a short number");
            // Kinds above 7 stand in a byte of their own.
            data.extend(if tag > 7 { vec![length, tag - 7] } else { vec![tag << 5 | length] });
            data.extend(&bytes);
        }
    };
    let (short, long, wide) = (5, 6, 9);
    map(
        &mut file,
        &[
            ("binary_format_major_version", &number(short, vec![2])),
            ("binary_format_minor_version", &number(short, vec![0])),
            ("build_epoch", &number(wide, built_s.to_be_bytes().to_vec())),
            ("database_type", &|data| text(data, "Test-Country")),
            ("description", &|data| map(data, &[])),
            ("ip_version", &number(short, vec![6])),
            // An array of none.
            ("languages", &|data| data.extend([0, 4])),
            ("node_count", &number(long, count.to_be_bytes().to_vec())),
            ("record_size", &number(short, vec![32])),
        ],
    );
    file
}

fn insert(nodes: &mut Vec<[Side; 2]>, first: u128, bits: u8, offset: u32) {
    let side = |depth: u8| usize::from(first >> (127 - depth) & 1 == 1);
    let mut at = 0;
    for depth in 0..bits - 1 {
        let next = nodes.len();
        let slot = &mut nodes[at][side(depth)];
        at = match *slot {
            Side::Node(number) => number,
            Side::Data(_) => {
                *slot = Side::Node(next);
                nodes.push([Side::Data(NOTHING); 2]);
                next
            }
        };
    }
    nodes[at][side(bits - 1)] = Side::Data(offset);
}

fn text(data: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).expect("a short text");
    assert!(length < 29, "a longer text has another form");
    data.push(2 << 5 | length);
    data.extend(text.as_bytes());
}

type Write<'w> = &'w dyn Fn(&mut Vec<u8>);

fn map(data: &mut Vec<u8>, members: &[(&str, Write<'_>)]) {
    let length = u8::try_from(members.len()).expect("a few");
    data.push(7 << 5 | length);
    for (name, value) in members {
        text(data, name);
        value(data);
    }
}
