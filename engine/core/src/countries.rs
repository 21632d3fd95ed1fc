//! In which country an address is (P5).
//!
//! A database is read whole, once, into sorted ranges: to ask it is one binary search, and what it was
//! read from may be replaced meanwhile.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::time::UnixSeconds;

/// A country or region by its two letters (ISO 3166-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// The countries of addresses.
#[derive(Clone, Debug, Default)]
pub struct Countries {
    /// Ranges in order, none of them over another.
    v4: Vec<Range<u32>>,
    v6: Vec<Range<u128>>,
    /// When the database was built, by its own word.
    pub built: Option<UnixSeconds>,
}

#[derive(Clone, Copy, Debug)]
struct Range<A> {
    first: A,
    last: A,
    country: Country,
}

/// Two networks of a database hold one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two networks of the database hold {0}")]
pub struct Overlap(pub IpAddr);

/// The addresses of a location that is told by countries.
#[derive(Clone, Debug, Default)]
pub(crate) struct CountrySet {
    pub(crate) codes: Vec<Country>,
    /// Whether addresses count that belong to no country.
    pub(crate) or_unknown: bool,
}

impl Country {
    /// Two letters, large or small.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        let are_letters = letters.iter().all(u8::is_ascii_alphabetic);
        are_letters.then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl Countries {
    /// Takes the networks of a database, in any order.
    pub fn new(networks: impl IntoIterator<Item = (IpNet, Country)>) -> Result<Self, Overlap> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, country) in networks {
            match network {
                IpNet::V4(net) => {
                    let (first, last) = (net.network().into(), net.broadcast().into());
                    v4.push(Range { first, last, country });
                }
                IpNet::V6(net) => {
                    let (first, last) = (net.network().into(), net.broadcast().into());
                    v6.push(Range { first, last, country });
                }
            }
        }
        let v4 = joined(v4, |last: u32| last.checked_add(1));
        let v6 = joined(v6, |last: u128| last.checked_add(1));
        Ok(Self {
            v4: v4.map_err(|at| Overlap(Ipv4Addr::from(at).into()))?,
            v6: v6.map_err(|at| Overlap(Ipv6Addr::from(at).into()))?,
            built: None,
        })
    }

    /// How many ranges there are, neighbours of one country counted as one.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether no address is in any country.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The country of an address; `None`: it belongs to none.
    pub fn of(&self, address: IpAddr) -> Option<Country> {
        match address.to_canonical() {
            IpAddr::V4(address) => find(&self.v4, u32::from(address)),
            IpAddr::V6(address) => find(&self.v6, u128::from(address)),
        }
    }

    /// Whether an address is in one of these.
    pub(crate) fn holds(&self, set: &CountrySet, address: IpAddr) -> bool {
        self.of(address).map_or(set.or_unknown, |country| set.codes.contains(&country))
    }

    /// The first address of each range of these countries, and the one after its last.
    pub(crate) fn edges(&self, set: &CountrySet) -> impl Iterator<Item = (IpAddr, Option<IpAddr>)> {
        let v4 = self.v4.iter().filter(|range| set.codes.contains(&range.country)).map(|range| {
            let after = range.last.checked_add(1).map(|after| Ipv4Addr::from(after).into());
            (Ipv4Addr::from(range.first).into(), after)
        });
        let v6 = self.v6.iter().filter(|range| set.codes.contains(&range.country)).map(|range| {
            let after = range.last.checked_add(1).map(|after| Ipv6Addr::from(after).into());
            (Ipv6Addr::from(range.first).into(), after)
        });
        v4.chain(v6)
    }
}

/// Sorts ranges, and makes one of neighbours. Fails with an address that is in two.
fn joined<A: Copy + Ord>(
    mut ranges: Vec<Range<A>>,
    after: impl Fn(A) -> Option<A>,
) -> Result<Vec<Range<A>>, A> {
    ranges.sort_unstable_by_key(|range| range.first);
    let mut joined: Vec<Range<A>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(before) if range.first <= before.last => return Err(range.first),
            Some(before)
                if before.country == range.country && after(before.last) == Some(range.first) =>
            {
                before.last = range.last;
            }
            _ => joined.push(range),
        }
    }
    joined.shrink_to_fit();
    Ok(joined)
}

fn find<A: Copy + Ord>(ranges: &[Range<A>], address: A) -> Option<Country> {
    let below = ranges.partition_point(|range| range.first <= address);
    let range = ranges.get(below.checked_sub(1)?)?;
    (address <= range.last).then_some(range.country)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn country(text: &str) -> Country {
        Country::parse(text).expect("a country")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_country_has_two_letters() {
        assert_eq!(country("de"), country("DE"));
        assert_eq!(country("de").to_string(), "DE");
        for text in ["", "D", "DEU", "D1", "ß", "日本"] {
            assert_eq!(Country::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_that_overlap_are_refused() {
        let networks = ["192.0.2.0/24", "192.0.2.128/25"];
        let networks = networks.map(|text| (text.parse().expect("a network"), country("DE")));
        let refused = Countries::new(networks).expect_err("overlap");
        assert_eq!(refused, Overlap(address("192.0.2.128")));
    }

    #[test]
    fn neighbours_of_one_country_are_counted_as_one() {
        assert!(Countries::default().is_empty());
        let networks = ["192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24", "2001:db8::/32"];
        let networks = networks.map(|text| (text.parse().expect("a network"), country("DE")));
        let countries = Countries::new(networks).expect("a database");
        assert_eq!((countries.len(), countries.is_empty()), (3, false));
    }

    #[test]
    fn a_mapped_address_is_an_old_one() {
        let network = ("192.0.2.0/24".parse().expect("a network"), country("DE"));
        let countries = Countries::new([network]).expect("a database");
        assert_eq!(countries.of(address("::ffff:192.0.2.1")), Some(country("DE")));
        assert_eq!(countries.of(address("2001:db8::1")), None);
    }

    proptest! {
        /// Networks of 2^4 addresses each, of three countries or none, against a plain list.
        #[test]
        fn the_country_is_that_of_the_network(
            drawn in prop::collection::btree_map(0u8..24, 0usize..3, 0..16),
            v6 in any::<bool>(),
        ) {
            let codes = ["DE", "FR", "US"].map(country);
            let at = |number: u16| -> IpAddr {
                if v6 {
                    Ipv6Addr::from((0x2001_0db8 << 96) + u128::from(number)).into()
                } else {
                    Ipv4Addr::from(0xC000_0200 + u32::from(number)).into()
                }
            };
            let networks = drawn.iter().map(|(place, of)| {
                let net = IpNet::new(at(u16::from(*place) * 16), if v6 { 124 } else { 28 });
                (net.expect("a network"), codes[*of])
            });
            let countries = Countries::new(networks).expect("no overlap");
            prop_assert!(countries.len() <= drawn.len());
            for number in 0..24 * 16 {
                let place = u8::try_from(number / 16).expect("small");
                let expected = drawn.get(&place).map(|of| codes[*of]);
                prop_assert_eq!(countries.of(at(number)), expected);
            }
            for (of, code) in codes.iter().enumerate() {
                let set = CountrySet { codes: vec![*code], or_unknown: false };
                for (first, after) in countries.edges(&set) {
                    prop_assert_eq!(countries.of(first), Some(*code));
                    prop_assert!(after.is_none_or(|after| countries.of(after) != Some(*code)));
                }
                prop_assert_eq!(countries.edges(&set).next().is_some(), drawn.values().any(|it| *it == of));
            }
        }
    }
}
