//! Databases of countries, as files in MaxMind's format.

use std::net::IpAddr;

use caed_core::countries::Country;
use caed_core::time::UnixSeconds;
use caed_decode::countries::{self, InvalidDatabase};
use caed_tests::mmdb;
use caed_tests::random::Random;

const BUILT_S: u64 = 1_768_000_000;

#[test]
fn a_file_says_what_was_written() {
    let written = [
        ("192.0.2.0/25", "DE"),
        ("192.0.2.128/25", "FR"),
        ("198.51.100.7/32", "US"),
        ("203.0.113.0/24", ""),
        ("2001:db8::/32", "IS"),
        ("2001:db9:1::7/128", "NO"),
    ];
    let read = countries::read(&mmdb::database(&written, BUILT_S)).expect("a database");
    assert_eq!(read.built.map(UnixSeconds::as_seconds), i64::try_from(BUILT_S).ok());
    assert_eq!(read.len(), 5);
    for (address, country) in [
        ("192.0.2.0", "DE"),
        ("192.0.2.127", "DE"),
        ("192.0.2.128", "FR"),
        ("::ffff:192.0.2.200", "FR"),
        ("198.51.100.7", "US"),
        ("198.51.100.8", ""),
        ("203.0.113.1", ""),
        ("192.0.3.0", ""),
        ("2001:db8:ffff::1", "IS"),
        ("2001:db9:1::7", "NO"),
        ("2001:db9:1::8", ""),
        ("::1", ""),
    ] {
        let at: IpAddr = address.parse().expect("an address");
        assert_eq!(read.of(at), Country::parse(country), "{address}");
    }
}

#[test]
fn what_is_no_database_of_countries_says_why() {
    let none = countries::read(&mmdb::database(&[("192.0.2.0/24", "")], BUILT_S));
    assert!(matches!(none, Err(InvalidDatabase::NoCountries)), "{none:?}");
    for file in [&b""[..], b"PK\x03\x04", &[0xab, 0xcd, 0xef]] {
        let read = countries::read(file);
        assert!(matches!(read, Err(InvalidDatabase::Format(_))), "{read:?}");
    }
}

/// A damaged file is refused, or says something; it ends nothing.
#[test]
fn a_damaged_file_is_no_fault_of_the_process() {
    let whole = mmdb::database(&[("192.0.2.0/24", "DE"), ("2001:db8::/32", "FR")], BUILT_S);
    let mut refused = 0;
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let mut file = whole.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(file.len());
            let byte = file.get_mut(at).expect("inside");
            *byte = u8::try_from(random.below(256)).expect("a byte");
        }
        if random.chance(20) {
            file.truncate(random.below(file.len()));
        }
        refused += usize::from(countries::read(&file).is_err());
    }
    assert!(refused > 200, "{refused} of 2000 refused");
}
