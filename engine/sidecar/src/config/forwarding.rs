//! The section `[client_address]`.

use caed_core::index::ranges::RangeSet;
use caed_trust::address::{Forwarding, Header, Proxies};
use caed_trust::limits;

use super::reader::Section;

/// Reads the section. Without it nobody is trusted, and the peer is the client.
pub(super) fn forwarding(section: &Section<'_>) -> Forwarding {
    let problem = "must be \"x-forwarded-for\" or \"forwarded\"";
    let header = section.parsed("header", problem, |text| match text {
        "x-forwarded-for" => Some(Header::XForwardedFor),
        "forwarded" => Some(Header::Forwarded),
        _ => None,
    });
    let ranges = section.strings("trusted_proxies");
    let hops = section.whole("hops");
    section.finish();
    if let (Some(_), Some(hops)) = (&ranges, &hops) {
        section.reject(hops, "excludes trusted_proxies; tell the proxies by one or the other");
    }
    let count = |hops: u32| usize::try_from(hops).unwrap_or(usize::MAX);
    let most = limits::CHAIN_ENTRIES_MAX;
    if let Some(hops) = hops.as_ref().filter(|hops| !(1..=most).contains(&count(hops.value))) {
        section
            .reject(hops, format!("must be from 1 to {most}, the proxies that are walked at most"));
    }
    let proxies = match (ranges, hops) {
        (_, Some(hops)) => Proxies::Hops(count(hops.value)),
        (Some(found), None) => {
            let parsed = RangeSet::parse(found.value.iter().map(String::as_str));
            Proxies::Ranges(parsed.unwrap_or_else(|problem| {
                section.reject(&found, problem.to_string());
                RangeSet::default()
            }))
        }
        (None, None) => Proxies::default(),
    };
    Forwarding { header: header.map(|found| found.value).unwrap_or_default(), proxies }
}
