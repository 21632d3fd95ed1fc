//! Ranges of addresses: the sets that locations are made of, and one index over all locations of a
//! tenant.
//!
//! A [`RangeSet`] is sorted and disjoint, and answers by binary search. A [`RangeIndex`] is compiled
//! from the sets of all locations of a tenant: it cuts the address space where any of them begins
//! or ends, and interns for each piece the set of locations that cover it. So one look-up answers
//! every condition of every policy, whatever the number of ranges.
//!
//! ```text
//! address ─► first level: slices of the space ─► the few cuts in that slice ─► set of locations
//! ```
//!
//! The first level is laid over the part of the space that is in use (all IPv6 addresses of a company
//! may share their first 32 bits) and is no larger than the cuts make worthwhile, so that ten thousand
//! small tenants cost little.
//!
//! INVARIANT: the cuts of a family are ascending and begin with the lowest address.
//! INVARIANT: the index says what the sets say; it is only faster.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// The first level has at most so many slices. SOURCE: `ranges.lookup.1m` of `bench/micro`, 90 ns; in a
/// timing made once, 2^16 took 105 ns where this took 80, and among fewer ranges there was no
/// difference (2026-11).
const SLICES_MAX: usize = 1 << 20;

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    v4: Box<[Span<u32>]>,
    v6: Box<[Span<u128>]>,
}

/// The first and the last address of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span<A> {
    first: A,
    last: A,
}

/// Text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no range of addresses; write it as 198.51.100.0/24, 2001:db8::/32, or one address"
)]
pub struct InvalidRange(String);

/// The locations that cover an address, as the bits of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Covering<'i>(&'i [u64]);

/// All ranges of a tenant's locations.
#[derive(Clone, Debug, Default)]
pub struct RangeIndex {
    v4: Cuts<u32>,
    v6: Cuts<u128>,
    /// Sets of locations one behind the other, `words` each; the first is empty.
    sets: Box<[u64]>,
    words: usize,
}

/// One family's address space, cut into pieces.
#[derive(Clone, Debug)]
struct Cuts<A> {
    /// Each piece.
    pieces: Box<[Piece<A>]>,
    /// For each slice, how many pieces begin before it.
    slices: Box<[u32]>,
    /// Where the first slice begins: the lowest cut but the one at the beginning of the space.
    base: A,
    /// How far a distance from `base` is shifted to give a slice.
    shift: u32,
}

/// Where a piece begins, and the number of its set: side by side, since a look-up needs both.
#[derive(Clone, Copy, Debug)]
struct Piece<A> {
    first: A,
    set: u32,
}

/// An address as a number.
trait Number: Copy + Ord + Default {
    fn successor(self) -> Option<Self>;
    fn distance(self, from: Self) -> u128;
    /// The slice that it lies in: its distance from a base, shifted.
    fn slice(self, base: Self, shift: u32) -> usize;
}

/// A slice beyond every one that there is, whose successor is a number too.
const BEYOND: usize = usize::MAX - 1;

impl Number for u32 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
    #[inline]
    fn distance(self, from: Self) -> u128 {
        u128::from(self.saturating_sub(from))
    }
    #[inline]
    fn slice(self, base: Self, shift: u32) -> usize {
        let slice = self.saturating_sub(base).checked_shr(shift).unwrap_or(0);
        usize::try_from(slice).unwrap_or(BEYOND)
    }
}

impl Number for u128 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
    #[inline]
    fn distance(self, from: Self) -> u128 {
        self.saturating_sub(from)
    }
    #[inline]
    fn slice(self, base: Self, shift: u32) -> usize {
        let slice = self.saturating_sub(base).checked_shr(shift).unwrap_or(0);
        usize::try_from(slice).unwrap_or(BEYOND)
    }
}

impl RangeSet {
    /// Parses ranges: CIDR, whose host bits are masked, or single addresses; IPv4 within IPv6 is IPv4
    /// (P5).
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, InvalidRange> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in texts {
            match network(text).ok_or_else(|| InvalidRange(text.chars().take(64).collect()))? {
                IpNet::V4(net) => {
                    v4.push(Span { first: net.network().into(), last: net.broadcast().into() });
                }
                IpNet::V6(net) => {
                    v6.push(Span { first: net.network().into(), last: net.broadcast().into() });
                }
            }
        }
        Ok(Self { v4: simplified(v4), v6: simplified(v6) })
    }

    /// Whether an address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => covers(&self.v4, u32::from(address)),
            IpAddr::V6(address) => covers(&self.v6, u128::from(address)),
        }
    }

    /// How many ranges there are, neighbours and overlaps counted as one.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is no address at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first and the last address of every range, as numbers, IPv4 first.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        let v4 = self.v4.iter().map(|span| (u128::from(span.first), u128::from(span.last)));
        v4.chain(self.v6.iter().map(|span| (span.first, span.last)))
    }

    /// All of them together.
    pub(crate) fn joined<'s>(sets: impl IntoIterator<Item = &'s Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend_from_slice(&set.v4);
            v6.extend_from_slice(&set.v6);
        }
        Self { v4: simplified(v4), v6: simplified(v6) }
    }

    /// The same in CIDR notation, as few as there can be.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        let v4 = self.v4.iter().flat_map(|span| {
            Ipv4Subnets::new(span.first.into(), span.last.into(), 0).map(IpNet::V4)
        });
        let v6 = self.v6.iter().flat_map(|span| {
            Ipv6Subnets::new(span.first.into(), span.last.into(), 0).map(IpNet::V6)
        });
        v4.chain(v6)
    }

    /// How many of [`numbers`](Self::numbers) are IPv4.
    pub(crate) fn v4_len(&self) -> usize {
        self.v4.len()
    }

    /// Bytes of heap memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.v4) + size_of_val(&*self.v6)
    }
}

impl Covering<'_> {
    /// Whether a location is among them.
    #[inline]
    pub(crate) fn has(self, location: u32) -> bool {
        let word = self.0.get(location as usize / 64).copied().unwrap_or_default();
        word >> (location % 64) & 1 == 1
    }

    /// Shows each of them.
    #[inline]
    pub(crate) fn each(self, mut show: impl FnMut(u32)) {
        for (base, word) in (0..).step_by(64).zip(self.0) {
            let mut rest = *word;
            while rest != 0 {
                show(base + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
    }
}

impl RangeIndex {
    /// Compiles the sets of locations, numbered from 0. A location may have several.
    pub fn new<'s>(locations: impl IntoIterator<Item = (u32, &'s RangeSet)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut count = 0;
        for (location, set) in locations {
            count = count.max(location as usize + 1);
            edges(&mut v4, location, &set.v4);
            edges(&mut v6, location, &set.v6);
        }
        let mut interner = Interner::new(count.div_ceil(64));
        let v4 = Cuts::new(v4, &mut interner);
        let v6 = Cuts::new(v6, &mut interner);
        Self { v4, v6, sets: interner.sets.into_boxed_slice(), words: interner.words }
    }

    /// The locations that cover an address.
    #[inline]
    pub(crate) fn covering(&self, address: IpAddr) -> Covering<'_> {
        let set = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(u32::from(address)),
            IpAddr::V6(address) => self.v6.find(u128::from(address)),
        } as usize;
        Covering(self.sets.get(set * self.words..(set + 1) * self.words).unwrap_or_default())
    }

    /// Whether a location covers an address.
    pub fn covers(&self, location: u32, address: IpAddr) -> bool {
        self.covering(address).has(location)
    }

    /// Bytes of heap memory.
    pub fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes() + size_of_val(&*self.sets)
    }
}

impl<A: Number> Default for Cuts<A> {
    fn default() -> Self {
        Self { pieces: Box::default(), slices: Box::default(), base: A::default(), shift: 0 }
    }
}

impl<A: Number> Cuts<A> {
    fn new(mut edges: Vec<Edge<A>>, interner: &mut Interner) -> Self {
        if edges.is_empty() {
            return Self::default();
        }
        edges.sort_unstable_by_key(|edge| edge.at);
        let mut pieces = vec![Piece { first: A::default(), set: EMPTY }];
        let mut counts: HashMap<u32, i32> = HashMap::new();
        for edges in edges.chunk_by(|one, other| one.at == other.at) {
            for edge in edges {
                let count = counts.entry(edge.location).or_default();
                *count += edge.step;
                interner.set(edge.location, *count > 0);
            }
            let (Some(edge), set) = (edges.first(), interner.intern()) else { continue };
            let first = edge.at;
            if first == A::default() {
                pieces.clear();
                pieces.push(Piece { first, set });
            } else if pieces.last().is_some_and(|piece| piece.set != set) {
                pieces.push(Piece { first, set });
            }
        }
        interner.clear();
        let first = |at: usize| pieces.get(at).map(|piece| piece.first).unwrap_or_default();
        let base = first(1);
        let used = first(pieces.len() - 1).distance(base);
        // No more slices than cuts: the search in a slice is short on the average.
        let bits = pieces.len().next_power_of_two().min(SLICES_MAX).ilog2();
        let shift = (u128::BITS - used.leading_zeros()).saturating_sub(bits);
        let mut slices = vec![0; (1 << bits) + 1];
        for Piece { first, .. } in pieces.iter().skip(1) {
            // The cut lies in this slice, so before every later one.
            if let Some(slice) = slices.get_mut(first.slice(base, shift) + 1) {
                *slice += 1;
            }
        }
        // The piece at the beginning of the space begins before every slice.
        let mut before = 1;
        for slice in &mut slices {
            before += *slice;
            *slice = before;
        }
        let (pieces, slices) = (pieces.into_boxed_slice(), slices.into_boxed_slice());
        Self { pieces, slices, base, shift }
    }

    /// The number of the set of the piece that an address lies in.
    #[inline]
    fn find(&self, address: A) -> u32 {
        if self.pieces.is_empty() {
            return EMPTY;
        }
        let slice = address.slice(self.base, self.shift);
        let end = self.pieces.len();
        let bound = |slice: usize| self.slices.get(slice).map_or(end, |&bound| bound as usize);
        let (low, high) = (bound(slice), bound(slice + 1));
        let below = if address < self.base {
            1
        } else {
            let inside = self.pieces.get(low..high).unwrap_or_default();
            low + inside.partition_point(|piece| piece.first <= address)
        };
        self.pieces.get(below - 1).map_or(EMPTY, |piece| piece.set)
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.pieces) + size_of_val(&*self.slices)
    }
}

/// The number of the empty set.
const EMPTY: u32 = 0;

/// A location begins or ends to cover at an address.
struct Edge<A> {
    at: A,
    location: u32,
    step: i32,
}

fn edges<A: Number>(edges: &mut Vec<Edge<A>>, location: u32, spans: &[Span<A>]) {
    for span in spans {
        edges.push(Edge { at: span.first, location, step: 1 });
        if let Some(at) = span.last.successor() {
            edges.push(Edge { at, location, step: -1 });
        }
    }
}

/// Numbers sets of locations.
struct Interner {
    words: usize,
    current: Vec<u64>,
    numbers: HashMap<Box<[u64]>, u32>,
    sets: Vec<u64>,
}

impl Interner {
    fn new(words: usize) -> Self {
        let empty = vec![0; words];
        let numbers = HashMap::from([(empty.clone().into_boxed_slice(), EMPTY)]);
        Self { words, current: empty.clone(), numbers, sets: empty }
    }

    fn set(&mut self, location: u32, covers: bool) {
        if let Some(word) = self.current.get_mut(location as usize / 64) {
            let bit = 1 << (location % 64);
            *word = if covers { *word | bit } else { *word & !bit };
        }
    }

    fn clear(&mut self) {
        self.current.fill(0);
    }

    fn intern(&mut self) -> u32 {
        if let Some(number) = self.numbers.get(&*self.current) {
            return *number;
        }
        // Fewer sets than cuts, and fewer cuts than memory has room for four billion of.
        let number = u32::try_from(self.numbers.len()).unwrap_or(EMPTY);
        self.numbers.insert(self.current.clone().into_boxed_slice(), number);
        self.sets.extend_from_slice(&self.current);
        number
    }
}

fn covers<A: Number>(spans: &[Span<A>], address: A) -> bool {
    let below = spans.partition_point(|span| span.first <= address);
    below.checked_sub(1).and_then(|at| spans.get(at)).is_some_and(|span| address <= span.last)
}

/// Sorted and disjoint, neighbours joined.
fn simplified<A: Number>(mut spans: Vec<Span<A>>) -> Box<[Span<A>]> {
    spans.sort_unstable();
    let mut simple: Vec<Span<A>> = Vec::with_capacity(spans.len());
    for span in spans {
        match simple.last_mut() {
            Some(last) if last.last.successor().is_none_or(|next| span.first <= next) => {
                last.last = last.last.max(span.last);
            }
            _ => simple.push(span),
        }
    }
    simple.into_boxed_slice()
}

/// Whether a text that is a range holds an address; `None` where it is none. Allocates nothing.
pub(crate) fn holds(text: &str, address: IpAddr) -> Option<bool> {
    network(text).map(|net| net.contains(&address.to_canonical()))
}

/// A range as text: masked, and IPv4 where it is IPv4 within IPv6.
fn network(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().or_else(|_| text.parse().map(|one: IpAddr| one.into())).ok()?;
    match net {
        IpNet::V6(net) => {
            let mapped = net.addr().to_ipv4_mapped();
            match (mapped, net.prefix_len().checked_sub(96)) {
                (Some(address), Some(prefix)) => IpNet::new(address.into(), prefix).ok(),
                _ => Some(net.into()),
            }
        }
        IpNet::V4(_) => Some(net),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_of_no_ranges_is_empty() {
        assert!(RangeSet::parse([]).expect("no ranges").is_empty());
        for range in ["192.0.2.1/32", "2001:db8::/32"] {
            assert!(!RangeSet::parse([range]).expect("a range").is_empty(), "{range}");
        }
    }

    fn set(texts: &[&str]) -> RangeSet {
        RangeSet::parse(texts.iter().copied()).expect("ranges")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ranges_are_masked_joined_and_ipv4_within_ipv6_is_ipv4() {
        let hq = set(&[
            "198.51.100.77/24",
            "198.51.101.0/24",
            "::ffff:203.0.113.9/128",
            "2001:db8:0:10::/63",
        ]);
        assert_eq!(hq.len(), 3);
        for inside in [
            "198.51.100.0",
            "198.51.101.255",
            "::ffff:198.51.100.7",
            "203.0.113.9",
            "2001:db8:0:11::5",
        ] {
            assert!(hq.contains(address(inside)), "{inside}");
        }
        for outside in ["198.51.102.0", "198.51.99.255", "203.0.113.8", "2001:db8:0:12::", "::"] {
            assert!(!hq.contains(address(outside)), "{outside}");
        }
        for text in ["", "198.51.100.0/33", "fabrikam", "198.51.100/24", "1.2.3.4-1.2.3.9"] {
            let error = RangeSet::parse([text]).expect_err(text).to_string();
            assert!(error.starts_with(&format!("`{text}` is no range")), "{error}");
        }
    }

    /// Ranges that nest, overlap and touch: few places, any length.
    fn range() -> impl Strategy<Value = String> {
        prop_oneof![
            (
                prop::sample::select(vec![0u32, 0x0a00_0000, 0xc633_6400, u32::MAX]),
                0u32..2000,
                0u8..=32
            )
                .prop_map(|(base, step, length)| {
                    format!("{}/{length}", Ipv4Addr::from(base.wrapping_add(step)))
                }),
            (
                prop::sample::select(vec![0u128, 0x2001_0db8 << 96, u128::MAX]),
                0u128..2000,
                0u8..=128,
                0u32..100
            )
                .prop_map(|(base, step, length, shift)| {
                    format!("{}/{length}", Ipv6Addr::from(base.wrapping_add(step << shift)))
                }),
        ]
    }

    /// First and last address of a range, one before and one after.
    fn borders(text: &str) -> Vec<IpAddr> {
        match text.parse::<IpNet>().expect("a range").trunc() {
            IpNet::V4(net) => [net.network(), net.broadcast()]
                .into_iter()
                .flat_map(|at| [u32::MAX, 0, 1].map(|step| u32::from(at).wrapping_add(step)))
                .map(|at| Ipv4Addr::from(at).into())
                .collect(),
            IpNet::V6(net) => [net.network(), net.broadcast()]
                .into_iter()
                .flat_map(|at| [u128::MAX, 0, 1].map(|step| u128::from(at).wrapping_add(step)))
                .map(|at| Ipv6Addr::from(at).into())
                .collect(),
        }
    }

    /// The stupid twin: every range of every location, one by one.
    fn check(locations: &[Vec<String>], addresses: &[IpAddr]) -> Result<(), TestCaseError> {
        let sets: Vec<RangeSet> = locations
            .iter()
            .map(|texts| RangeSet::parse(texts.iter().map(String::as_str)).expect("ranges"))
            .collect();
        let index = RangeIndex::new((0..).zip(&sets));
        let naive: Vec<Vec<IpNet>> = locations
            .iter()
            .map(|texts| texts.iter().map(|text| network(text).expect("a range")).collect())
            .collect();
        for &address in addresses {
            let canonical = address.to_canonical();
            for (location, nets) in (0..).zip(&naive) {
                let expected = nets.iter().any(|net| net.contains(&canonical));
                prop_assert_eq!(
                    index.covers(location, address),
                    expected,
                    "{} {}",
                    location,
                    address
                );
                let set = sets.get(location as usize).expect("a set");
                prop_assert_eq!(set.contains(address), expected);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn sets_are_joined_and_written_as_they_are_read(
            one in prop::collection::vec(range(), 0..12),
            other in prop::collection::vec(range(), 0..12),
        ) {
            let parse = |texts: &[String]| {
                RangeSet::parse(texts.iter().map(String::as_str)).expect("ranges")
            };
            let texts = |set: &RangeSet| set.networks().map(|net| net.to_string()).collect::<Vec<_>>();
            let together = parse(&[one.clone(), other.clone()].concat());
            let (one, other) = (parse(&one), parse(&other));
            prop_assert_eq!(&RangeSet::joined([&one, &other]), &together);
            prop_assert_eq!(&parse(&texts(&together)), &together);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn the_index_says_what_a_naive_list_says(
            locations in prop::collection::vec(prop::collection::vec(range(), 0..12), 0..90),
            more in prop::collection::vec(any::<u32>(), 0..20),
        ) {
            let mut addresses: Vec<IpAddr> = locations.iter().flatten().flat_map(|text| borders(text)).collect();
            addresses.extend(more.into_iter().map(|at| IpAddr::from(Ipv4Addr::from(at))));
            addresses.truncate(1500);
            check(&locations, &addresses)?;
        }
    }

    /// Numbers that look drawn.
    fn drawn(place: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(&place.to_le_bytes(), 5)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bits are taken on purpose")]
    fn drawn_range(place: u64) -> String {
        let number = drawn(place);
        let mut text = String::new();
        if number.is_multiple_of(3) {
            let address = Ipv6Addr::from((0x2a00_u128 << 112) | (u128::from(number) << 40));
            write!(text, "{address}/{}", 24 + number % 60).expect("text");
        } else {
            write!(text, "{}/{}", Ipv4Addr::from(number as u32), 14 + number % 19).expect("text");
        }
        text
    }

    #[test]
    fn many_locations_of_many_ranges_are_covered_as_a_naive_list_says() {
        let locations: Vec<Vec<String>> = (0..195)
            .map(|location| (0..2000).map(|range| drawn_range(location * 2000 + range)).collect())
            .collect();
        let addresses: Vec<IpAddr> =
            (0..60).flat_map(|place| borders(&drawn_range(place * 6500))).take(300).collect();
        check(&locations, &addresses).expect("agreement");
    }

    #[test]
    fn a_million_ranges_are_found_again() {
        let text = |place: u32| format!("{}/32", Ipv4Addr::from(place * 4099));
        let sets: Vec<RangeSet> = (0..100)
            .map(|location: u32| {
                let texts: Vec<String> = (0..10_000).map(|at| text(at * 100 + location)).collect();
                RangeSet::parse(texts.iter().map(String::as_str)).expect("ranges")
            })
            .collect();
        assert_eq!(sets.iter().map(RangeSet::len).sum::<usize>(), 1_000_000);
        let index = RangeIndex::new((0..).zip(&sets));
        for place in (0..1_000_000u32).step_by(7) {
            let at = Ipv4Addr::from(place * 4099).into();
            assert!(index.covers(place % 100, at) && !index.covers((place + 1) % 100, at), "{at}");
            let beside = Ipv4Addr::from(place * 4099 + 1).into();
            assert!(!index.covers(place % 100, beside), "{beside}");
        }
        // 8 bytes for a cut with its set, two cuts a range, and the first level.
        assert!(index.heap_bytes() < 21_000_000, "{} bytes", index.heap_bytes());
    }

    #[test]
    fn its_bytes_are_those_of_its_parts() {
        let both = set(&["10.0.0.0/8", "12.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(both.heap_bytes(), 2 * size_of::<Span<u32>>() + size_of::<Span<u128>>());
        // Each range is two cuts, beside the beginning of the space. Five cuts have eight slices, three
        // have four, and one bound more. There are two sets of locations: none, and this one.
        let v4 = 5 * size_of::<Piece<u32>>() + 9 * size_of::<u32>();
        let v6 = 3 * size_of::<Piece<u128>>() + 5 * size_of::<u32>();
        let index = RangeIndex::new([(0, &both)]);
        assert_eq!(index.heap_bytes(), v4 + v6 + 2 * size_of::<u64>());
    }
}
