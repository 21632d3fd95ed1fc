//! Named locations: by ranges, by countries, or by what no address tells.

use std::collections::HashMap;
use std::net::IpAddr;

use caed_core::ids::ObjectKey;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::text::{count, fault, named, shown};
use super::{Kind, Object, changed};
use crate::limits::GRAPH_PLACES_SHOWN;

/// Where the locations of the files are, with their names.
pub(super) type Places = HashMap<ObjectKey, (String, Place)>;

/// Where a location is, as far as it decides whether policies that name it are enforceable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Ranges,
    Countries,
    Elsewhere,
}

/// SOURCE: Microsoft Entra, "network assignment": what a tenant may have.
const MICROSOFT_LOCATIONS_MAX: usize = 195;
const MICROSOFT_RANGES_MAX: usize = 2000;
const MICROSOFT_PREFIX_MIN: u8 = 9;
/// SOURCE: Microsoft Entra, "continuous access evaluation": with more ranges in location policies it no
/// longer enforces them at resources.
const MICROSOFT_ENFORCED_MAX: usize = 5000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    id: String,
    display_name: Option<String>,
    is_trusted: Option<bool>,
    ip_ranges: Option<Vec<Range>>,
    countries_and_regions: Option<Vec<String>>,
    include_unknown_countries_and_regions: Option<bool>,
    country_lookup_method: Option<String>,
    created_date_time: Option<String>,
    modified_date_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    cidr_address: Option<String>,
    /// With it, nothing but an object is a range.
    #[serde(flatten)]
    _rest: Map<String, Value>,
}

/// A location by ranges. Without a list of them it is not known where it is; an empty list is nowhere.
pub(super) fn by_ranges(value: Map<String, Value>) -> Result<Object, String> {
    let mut location = parsed(value)?;
    let Some(ranges) = location.ip_ranges.take() else {
        return told(location, None, None, "it has no list of ranges (`ipRanges`)");
    };
    let cidrs = ranges.into_iter().map(masked).collect::<Result<Vec<_>, _>>()?;
    told(location, Some(v1::IpRanges { cidrs }), None, "")
}

/// A location by countries, as the address tells them.
pub(super) fn by_countries(value: Map<String, Value>) -> Result<Object, String> {
    let mut location = parsed(value)?;
    let codes = location.countries_and_regions.take();
    let (Some(codes), None | Some("clientIpAddress")) =
        (codes, location.country_lookup_method.as_deref())
    else {
        return told(location, None, None, "its countries are not told by the address");
    };
    let include_unknown = location.include_unknown_countries_and_regions.unwrap_or_default();
    told(location, None, Some(v1::Countries { codes, include_unknown }), "")
}

/// A location of another kind, such as the compliant network.
pub(super) fn elsewhere(value: Map<String, Value>) -> Result<Object, String> {
    told(parsed(value)?, None, None, "no address tells it")
}

/// Where locations go beyond what Microsoft takes or enforces; caed has no such bounds.
pub(super) fn beyond(objects: &[Object]) -> Vec<String> {
    let locations = objects.iter().filter(|object| object.kind == Kind::Location);
    let number = locations.clone().count();
    let ranges = locations.map(|location| match &location.fact {
        Fact::LocationChanged(v1::LocationChanged { ranges: Some(ranges), .. }) => {
            ranges.cidrs.len()
        }
        _ => 0,
    });
    let ranges: usize = ranges.sum();
    let mut remarks = Vec::new();
    if number > MICROSOFT_LOCATIONS_MAX {
        remarks.push(format!(
            "these are {number} locations; Microsoft takes {MICROSOFT_LOCATIONS_MAX}, caed takes them all"
        ));
    }
    if ranges > MICROSOFT_ENFORCED_MAX {
        remarks.push(format!(
            "the locations have {ranges} ranges; where policies name more than {MICROSOFT_ENFORCED_MAX}, Microsoft's own resources no longer follow a change of address at once; caed does"
        ));
    }
    remarks
}

fn is_wide(cidr: &str) -> bool {
    cidr.parse().is_ok_and(|net: IpNet| net.prefix_len() < MICROSOFT_PREFIX_MIN)
}

/// Where a location is that was read.
pub(super) fn place(object: &Object) -> Option<(ObjectKey, (String, Place))> {
    let Fact::LocationChanged(v1::LocationChanged { location, ranges, countries, .. }) =
        &object.fact
    else {
        return None;
    };
    let place = match (ranges, countries) {
        (Some(_), _) => Place::Ranges,
        (None, Some(_)) => Place::Countries,
        (None, None) => Place::Elsewhere,
    };
    Some((ObjectKey::parse(location).ok()?, (object.name.clone(), place)))
}

fn parsed(value: Map<String, Value>) -> Result<Location, String> {
    serde_json::from_value(Value::Object(value)).map_err(|error| fault(&error))
}

fn told(
    location: Location,
    ranges: Option<v1::IpRanges>,
    countries: Option<v1::Countries>,
    unknown: &str,
) -> Result<Object, String> {
    let trusted = location.is_trusted.unwrap_or_default();
    let mut understood = Vec::new();
    let mut remarks = Vec::new();
    if let Some(v1::IpRanges { cidrs }) = &ranges {
        understood.push(("ranges", listed(cidrs, "range", "ranges")));
        if cidrs.len() > MICROSOFT_RANGES_MAX {
            remarks.push(format!(
                "Microsoft takes {MICROSOFT_RANGES_MAX} ranges a location; caed takes them all"
            ));
        }
        if let Some(wide) = cidrs.iter().find(|cidr| is_wide(cidr)) {
            remarks.push(format!("Microsoft takes no range as wide as {}; caed does", shown(wide)));
        }
    }
    if let Some(v1::Countries { codes, include_unknown }) = &countries {
        let mut text = listed(codes, "country", "countries");
        if *include_unknown {
            text.push_str(", and addresses of no known country");
        }
        understood.push(("countries", text));
        remarks.push("policies that name it need a country database".to_owned());
    }
    if !unknown.is_empty() {
        remarks.push(format!("policies that name it are not enforceable: {unknown}"));
    }
    if trusted {
        understood.push(("trusted", "`AllTrusted` means it".to_owned()));
    }
    let name = location.display_name.unwrap_or_default();
    let display_name = named(&name);
    Ok(Object {
        kind: Kind::Location,
        id: location.id.clone(),
        name,
        at: changed(location.modified_date_time.as_ref(), location.created_date_time.as_ref())?,
        written: None,
        fact: Fact::LocationChanged(v1::LocationChanged {
            location: location.id,
            trusted,
            ranges,
            countries,
            display_name,
            part: None,
        }),
        understood,
        obstacles: Vec::new(),
        remarks,
    })
}

/// A range without host bits, as IPv4 where it is IPv4 within IPv6 (P5).
fn masked(range: Range) -> Result<String, String> {
    let text = range.cidr_address.ok_or("one of its ranges has no `cidrAddress`")?;
    let net: Result<IpNet, _> =
        text.parse().or_else(|_| text.parse().map(|one: IpAddr| one.into()));
    // What is no range is named by whoever reads the event.
    let Ok(net) = net else { return Ok(text) };
    let mapped = match net {
        IpNet::V6(net) => net.addr().to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    let within = mapped.and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok());
    Ok(within.unwrap_or(net).trunc().to_string())
}

fn listed(items: &[String], one: &str, many: &str) -> String {
    let mut text = count(items.len(), one, many);
    let first: Vec<_> = items.iter().take(GRAPH_PLACES_SHOWN).map(|item| shown(item)).collect();
    if !first.is_empty() {
        text.push_str(": ");
        text.push_str(&first.join(", "));
    }
    if items.len() > GRAPH_PLACES_SHOWN {
        text.push_str(", …");
    }
    text
}
