//! A database of countries in MaxMind's format (P5).

use std::net::{IpAddr, Ipv6Addr};

use caed_core::countries::{Countries, Country, Overlap};
use caed_core::time::UnixSeconds;
use ipnet::{IpNet, Ipv4Net};
use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};

/// Why a file is no database of countries.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDatabase {
    /// It is damaged, or something else.
    #[error("is no whole file in MaxMind's format: {0}")]
    Format(#[from] MaxMindDbError),
    /// Two of its networks overlap.
    #[error("contradicts itself: {0}")]
    Overlap(#[from] Overlap),
    /// It is about something else.
    #[error(
        "names no country of any address; give a database of countries or of cities, in which `country.iso_code` stands"
    )]
    NoCountries,
}

/// Where the country of a network stands.
const CODE: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];

/// Bits of an IPv6 address before an IPv4 address that stands in it.
const BEFORE_V4: u8 = 96;

/// Reads a file whole.
pub fn read(file: &[u8]) -> Result<Countries, InvalidDatabase> {
    let reader = Reader::from_source(file)?;
    let built = i64::try_from(reader.metadata().build_epoch).unwrap_or(i64::MAX);
    let mut networks = Vec::new();
    for found in reader.networks(WithinOptions::default())? {
        let found = found?;
        let Some(country) = found.decode_path::<&str>(&CODE)?.and_then(Country::parse) else {
            continue;
        };
        let network = found.network()?;
        networks.extend(plain(network.ip(), network.prefix()).map(|network| (network, country)));
    }
    let mut countries = Countries::new(networks)?;
    if countries.is_empty() {
        return Err(InvalidDatabase::NoCountries);
    }
    countries.built = Some(UnixSeconds::from_seconds(built));
    Ok(countries)
}

/// A network; one of IPv4 addresses within IPv6 is one of IPv4.
fn plain(first: IpAddr, bits: u8) -> Option<IpNet> {
    match first {
        IpAddr::V6(first) if bits >= BEFORE_V4 && is_v4(first) => {
            let [.., a, b, c, d] = first.octets();
            let network = Ipv4Net::new([a, b, c, d].into(), bits.saturating_sub(BEFORE_V4));
            network.ok().map(IpNet::V4)
        }
        first => IpNet::new(first, bits).ok(),
    }
}

fn is_v4(address: Ipv6Addr) -> bool {
    address.octets().iter().take(usize::from(BEFORE_V4) / 8).all(|byte| *byte == 0)
}
