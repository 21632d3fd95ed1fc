//! Compressed headers of HTTP/2: those of requests, encoded once, and the few of answers that count.
//! SOURCE: RFC 7541.
//!
//! A connection's first request puts its headers into the server's table, and every other one names them there, as
//! usual clients do. Of answers all of what a server may write is read: it would be another server that was told
//! to write in a simpler way.

use std::collections::VecDeque;

/// What a header of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// `:status`.
    Status(u16),
    /// `grpc-status`.
    GrpcStatus(u32),
    /// `grpc-message`.
    GrpcMessage(String),
    /// What nobody here looks at.
    Other,
}

/// The header blocks of a connection's first request, and of every other.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    pub(super) first: Vec<u8>,
    pub(super) others: Vec<u8>,
}

/// Reads header blocks of one connection, in their order.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The newest first.
    table: VecDeque<Entry>,
    size: usize,
    limit: Option<usize>,
}

/// An entry of the table.
#[derive(Clone, Debug)]
struct Entry {
    header: Header,
    /// Bytes of its name.
    name: usize,
    /// Bytes of its value.
    value: usize,
}

/// The size of a table that nobody changed.
const TABLE: usize = 4096;

/// The first number of the entries that a connection adds.
const DYNAMIC: usize = 62;

/// Bytes of the names of entries 1 to 61, which are always there. SOURCE: appendix A.
const NAMES: [usize; DYNAMIC - 1] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];

/// Entries 8 to 14 are statuses.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

impl Requests {
    /// Those of a call of gRPC.
    pub(super) fn grpc(path: &str) -> Self {
        // `POST` and `http`, which have numbers, and then what gets one: what was added last is 62, or 0xbe.
        let mut first = vec![0x83, 0x86];
        for (name, value) in [
            (Name::Known(4), path),
            (Name::Known(1), "localhost"),
            (Name::Known(31), "application/grpc"),
            (Name::New("te"), "trailers"),
            (Name::Known(58), "caed-bench"),
        ] {
            match name {
                Name::Known(number) => first.push(0x40 | number),
                Name::New(name) => {
                    first.push(0x40);
                    text(&mut first, name);
                }
            }
            text(&mut first, value);
        }
        Self { first, others: vec![0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe] }
    }
}

/// A name in a header block that is written.
enum Name {
    /// That of an entry that is always there.
    Known(u8),
    New(&'static str),
}

/// Writes a text as it is. None has 127 bytes or more, but perhaps a path, which is cut where it can't be written.
fn text(block: &mut Vec<u8>, text: &str) {
    let length = text.len().min(126);
    block.push(u8::try_from(length).unwrap_or(0));
    block.extend(text.bytes().take(length));
}

impl Decoder {
    /// Reads a block; `None` where it is none.
    pub(super) fn read(&mut self, block: &[u8], mut each: impl FnMut(&Header)) -> Option<()> {
        let mut rest = block;
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                let number = whole(&mut rest, 7)?;
                match number.checked_sub(DYNAMIC) {
                    Some(place) => each(&self.table.get(place)?.header),
                    None => each(&known(number)?),
                }
            } else if first & 0x40 != 0 {
                let entry = self.literal(&mut rest, 6)?;
                each(&entry.header);
                self.size += entry.size();
                self.table.push_front(entry);
                self.shrink();
            } else if first & 0x20 != 0 {
                self.limit = Some(whole(&mut rest, 5)?);
                self.shrink();
            } else {
                each(&self.literal(&mut rest, 4)?.header);
            }
        }
        Some(())
    }

    /// A header in letters.
    fn literal(&self, rest: &mut &[u8], bits: u32) -> Option<Entry> {
        let number = whole(rest, bits)?;
        // What the name says, whatever its value was.
        let (named, name) = if number == 0 {
            let name = string(rest)?;
            let named = match name.as_slice() {
                b":status" => Header::Status(0),
                b"grpc-status" => Header::GrpcStatus(0),
                b"grpc-message" => Header::GrpcMessage(String::new()),
                _ => Header::Other,
            };
            (named, name.len())
        } else if let Some(place) = number.checked_sub(DYNAMIC) {
            let Entry { header, name, value: _ } = self.table.get(place)?;
            (header.clone(), *name)
        } else {
            (known(number)?, *NAMES.get(number - 1)?)
        };
        let value = string(rest)?;
        let digits = || str::from_utf8(&value).ok();
        let header = match named {
            Header::Status(_) => Header::Status(digits()?.parse().ok()?),
            Header::GrpcStatus(_) => Header::GrpcStatus(digits()?.parse().ok()?),
            Header::GrpcMessage(_) => {
                Header::GrpcMessage(String::from_utf8_lossy(&value).into_owned())
            }
            Header::Other => Header::Other,
        };
        Some(Entry { header, name, value: value.len() })
    }

    fn shrink(&mut self) {
        while self.size > self.limit.unwrap_or(TABLE)
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= oldest.size();
        }
    }
}

impl Entry {
    const fn size(&self) -> usize {
        32 + self.name + self.value
    }
}

/// An entry that is always there.
fn known(number: usize) -> Option<Header> {
    NAMES.get(number.checked_sub(1)?)?;
    let status = number.checked_sub(8).and_then(|place| STATUSES.get(place));
    Some(status.map_or(Header::Other, |status| Header::Status(*status)))
}

/// A whole number that begins in so many bits.
fn whole(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    let most = (1_usize << bits) - 1;
    let mut number = usize::from(*first) & most;
    if number == most {
        for shift in [0, 7, 14, 21] {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            number += usize::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        return None;
    }
    Some(number)
}

/// A text.
fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let is_huffman = rest.first()? & 0x80 != 0;
    let length = whole(rest, 7)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    if is_huffman { huffman(bytes) } else { Some(bytes.to_vec()) }
}

/// Bits of each symbol's code. The code is canonical, so that says all: codes are given in the order of their
/// lengths, and among equal ones of the symbols. SOURCE: appendix B.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The length of the longest code.
const LONGEST: usize = 30;

/// Codes, by their length.
struct Codes {
    /// The first code of each length, how many there are, and the place of its symbol.
    first: [(u32, u32, usize); LONGEST + 1],
    /// All symbols, in the order of their codes.
    symbols: Vec<u8>,
}

impl Codes {
    fn all() -> &'static Self {
        static ALL: std::sync::OnceLock<Codes> = std::sync::OnceLock::new();
        ALL.get_or_init(|| {
            let (mut first, mut symbols) = ([(0, 0, 0); LONGEST + 1], Vec::new());
            let mut code = 0;
            for (length, first) in (0_u8..).zip(&mut first) {
                code <<= 1;
                let place = symbols.len();
                symbols.extend(
                    (0..=u8::MAX)
                        .zip(LENGTHS)
                        .filter(|(_, of)| *of == length)
                        .map(|(symbol, _)| symbol),
                );
                let count = u32::try_from(symbols.len() - place).unwrap_or(0);
                *first = (code, count, place);
                code += count;
            }
            Self { first, symbols }
        })
    }
}

/// A text in Huffman's code; what is left over at its end is padding.
fn huffman(bytes: &[u8]) -> Option<Vec<u8>> {
    let codes = Codes::all();
    let mut decoded = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0_usize);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        let (first, count, place) = codes.first.get(length)?;
        if let Some(offset) = code.checked_sub(*first).filter(|offset| offset < count) {
            decoded.push(*codes.symbols.get(place + usize::try_from(offset).ok()?)?);
            (code, length) = (0, 0);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("digits"), 16);
        digits.chunks(2).map(|pair| byte(pair).expect("digits")).collect()
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> Vec<Header> {
        let mut headers = Vec::new();
        decoder.read(block, |header| headers.push(header.clone())).expect("a block");
        headers
    }

    /// SOURCE: RFC 7541, appendix C.6: three responses with Huffman coding and a table of 256 bytes.
    #[test]
    fn the_answers_of_the_standard_are_read() {
        let mut decoder = Decoder { limit: Some(256), ..Decoder::default() };
        let first = bytes(
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff\
             6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        );
        assert_eq!(read(&mut decoder, &first)[0], Header::Status(302));
        assert_eq!((decoder.size, decoder.table.len()), (222, 4));
        let second = bytes("4883640effc1c0bf");
        assert_eq!(read(&mut decoder, &second)[0], Header::Status(307));
        assert_eq!((decoder.size, decoder.table.len()), (222, 4), "the oldest went");
        let third = bytes(
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        );
        assert_eq!(read(&mut decoder, &third)[0], Header::Status(200));
        assert_eq!((decoder.size, decoder.table.len()), (215, 3));
    }

    #[test]
    fn texts_in_the_code_of_the_standard_are_read() {
        for (hex, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
        ] {
            assert_eq!(huffman(&bytes(hex)).expect("a text"), text.as_bytes(), "{hex}");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_block() {
        let whole = bytes("4883640effc1");
        for block in
            [&whole[..1], &whole[..3], &whole, &[0x80][..], &[0xff, 0xff, 0xff, 0xff, 0xff][..]]
        {
            assert_eq!(Decoder::default().read(block, |_| {}), None, "{block:?}");
        }
    }
}
