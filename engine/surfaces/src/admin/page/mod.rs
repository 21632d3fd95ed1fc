//! The status page: how this process is, for people.
//!
//! Rendered here, whole, so that it works without scripts: the page then loads itself again every few
//! seconds. With scripts, a small one asks for the live part each second and says so when nobody
//! answers. Nothing is fetched from anywhere else, and nothing on it names a user, a session or a device.
//!
//! Deliberately absent: anything that changes something.

mod explain;

use std::cmp::Reverse;
use std::time::Duration;

use caed_core::ingest::{Quarantined, RecentEvent};
use caed_core::time::UnixMillis;
use caed_proto::v1::{IssuerKeys, IssuerStatus};
use maud::{DOCTYPE, Markup, html};

use super::Shown;
use crate::native;
use crate::pdp::{Moment, Readiness};

pub(super) use explain::{EXPLAIN_POLICY, Outcome, explain};

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// What the page may load: itself.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The whole page.
pub(super) fn page(shown: &Shown) -> Markup {
    let extra = html! { noscript { meta http-equiv="refresh" content="5"; } };
    let way = html! { a href="explain" { "Explain an answer" } };
    framed(
        "caed",
        &extra,
        &way,
        &html! {
            p #lost role="alert" { "Nobody has answered since " time {} ". What follows is from then." }
            main { (live(shown)) }
            footer { "The same for machines: " a href="metrics" { "metrics" } ", " a href="readyz" { "readyz" } ", " code { "caed status" } "." }
            script src="page.js" defer {}
        },
    )
}

/// What every page has around it.
fn framed(title: &str, head: &Markup, way: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="page.css";
                (head)
            }
            body {
                header {
                    h1 { a href="." { "caed" } }
                    p { (env!("CARGO_PKG_VERSION")) }
                    nav { (way) }
                }
                (body)
            }
        }
    }
}

/// The part that changes.
pub(super) fn live(shown: &Shown) -> Markup {
    let Shown { parts, .. } = shown;
    let moment = parts.pdp.moment();
    html! {
        (state(parts.pdp.readiness()))
        (knowledge(shown, &moment))
        (notes(&parts.log.notes()))
        div.columns {
            div { (decisions(shown)) }
            div { (partitions(shown, &moment)) (sources(&moment)) (issuers(shown, &moment)) }
        }
        (recent(&parts.ingest.recent_events(), moment.now()))
        (quarantine(shown))
    }
}

fn state(readiness: Readiness) -> Markup {
    match readiness {
        Readiness::Ready => html! { p.state.good { "Deciding by what is known now" } },
        Readiness::Reading => html! { p.state { "Reading the log: every request is refused" } },
        Readiness::Stale(age) => html! {
            p.state { "Deciding by what was known " (duration(age)) " ago" }
        },
    }
}

fn knowledge(shown: &Shown, moment: &Moment<'_>) -> Markup {
    let counts = moment.counts();
    let age = moment.age.map_or_else(|| "unknown".to_owned(), duration);
    html! {
        dl {
            (term("Age of what is known", &age))
            (term("Snapshot", &grouped(moment.generation())))
            (term("Up for", &duration(shown.parts.pdp.uptime())))
            (term("Tenants", &grouped(counts.tenants as u64)))
            (term("Cutoffs", &grouped((counts.cutoffs + counts.pairs) as u64)))
            (term("Registers", &grouped(counts.registers as u64)))
            (term("Policies", &grouped(counts.policies as u64)))
            (term("Locations", &grouped(counts.locations as u64)))
            (term("Groups", &grouped(counts.groups as u64)))
            (term("Memory of these", &bytes(counts.heap_bytes as u64)))
        }
    }
}

fn term(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            section aria-label="What is wrong" {
                h2 { "What is wrong" }
                ul { @for note in notes { li { (note) } } }
            }
        }
    }
}

fn decisions(shown: &Shown) -> Markup {
    let mut counts: Vec<_> = shown.parts.pdp.counts().iter().collect();
    counts.sort_by_key(|(.., count)| Reverse(*count));
    let all: u64 = counts.iter().map(|(.., count)| count).sum();
    html! {
        h2 { "Decisions since the start" }
        @if counts.is_empty() {
            p.none { "None yet." }
        } @else {
            div.scrolls { table {
                thead { tr { th { "Verdict" } th { "Reason" } th.number { "Count" } th { "Share" } } }
                tbody {
                    @for (verdict, reason, count) in counts {
                        tr {
                            td { (verdict) }
                            td { (reason.replace('_', " ")) }
                            td.number { (grouped(count)) }
                            td { meter min="0" max=(all) value=(count) { (count) " of " (all) } }
                        }
                    }
                }
            } }
        }
    }
}

fn partitions(shown: &Shown, moment: &Moment<'_>) -> Markup {
    let (partitions, now) = (shown.parts.log.partitions(), shown.parts.pdp.uptime());
    html! {
        h2 { "Log" }
        @if partitions.is_empty() {
            p.none { "Nothing is known of its partitions yet." }
        } @else {
            div.scrolls { table {
                thead { tr { th { "Partition" } th.number { "End" } th.number { "Lag" } th.number { "Age" } } }
                tbody {
                    @for view in &partitions {
                        tr {
                            td { (shown.parts.topics.name(view.partition.topic)) "/" (view.partition.number) }
                            td.number { (grouped(view.end.0)) }
                            td.number { (grouped(view.lag(moment.frontier()))) }
                            td.number { (view.age(now).map_or_else(|| "unknown".to_owned(), duration)) }
                        }
                    }
                }
            } }
        }
    }
}

/// Sources that are declared to give signs of life, the one that has been silent the longest first.
fn sources(moment: &Moment<'_>) -> Markup {
    let (now, after) = (moment.now(), moment.rules().stale_after.source);
    let sources = moment.silent_sources();
    html! {
        @if !sources.is_empty() {
            h2 { "Sources" }
            div.scrolls { table {
                thead { tr { th { "Source" } th { "Tenant" } th.number { "Heard" } } }
                tbody {
                    @for (tenant, view) in &sources {
                        tr {
                            td { (view.name.as_str()) @if view.is_stale(now, after) { " " strong { "stale" } } }
                            td { code { (tenant.as_str()) } }
                            td.number { (view.age(now).map_or_else(|| "ended".to_owned(), |age| format!("{} ago", duration(age)))) }
                        }
                    }
                }
            } }
        }
    }
}

/// Issuers whose keys are kept, or whose tokens were seen.
fn issuers(shown: &Shown, moment: &Moment<'_>) -> Markup {
    let all = native::issuers(moment, &shown.parts.verifier);
    let told: Vec<_> =
        all.iter().filter(|one| one.keys.is_some() || one.least_token_age_s.is_some()).collect();
    html! {
        @if !told.is_empty() {
            h2 { "Issuers" }
            div.scrolls { table {
                thead { tr { th { "Issuer" } th { "Keys" } th.number { "Youngest token" } th.number { "Dated back" } } }
                tbody {
                    @for IssuerStatus { issuer, issue_time_skew_s, least_token_age_s, keys } in told {
                        tr {
                            td { code { (issuer) } }
                            td.words { @if let Some(keys) = keys { (issuer_keys(keys)) } @else { "not verified here" } }
                            td.number { @if let Some(age_s) = least_token_age_s { (age_s) " s" } @else { "none yet" } }
                            td.number { (issue_time_skew_s) " s" }
                        }
                    }
                }
            } }
        }
    }
}

fn issuer_keys(keys: &IssuerKeys) -> Markup {
    let IssuerKeys { keys, skipped: _, age_ms, in_force, failures: _, fault } = keys;
    html! {
        (keys)
        @if let Some(age_ms) = age_ms { ", seen " (duration(Duration::from_millis(*age_ms))) " ago" } @else { ", never read" }
        @if !in_force { " " strong { "its tokens get 503" } }
        @if !fault.is_empty() { ": " (fault) }
    }
}

fn recent(events: &[RecentEvent], now: UnixMillis) -> Markup {
    html! {
        h2 { "Newest events" }
        @if events.is_empty() {
            p.none { "None yet." }
        } @else {
            div.scrolls { table {
                thead { tr { th { "What" } th { "Tenant" } th { "Source" } th.number { "Happened" } th { "Position" } } }
                tbody {
                    @for RecentEvent { position, occurred, tenant, source, kind } in events.iter().rev() {
                        tr {
                            td { (kind.replace('_', " ")) }
                            td { code { (tenant.as_str()) } }
                            td { (source.as_str()) }
                            td.number { (duration(now.since(*occurred))) " ago" }
                            td { code { (position) } }
                        }
                    }
                }
            } }
        }
    }
}

fn quarantine(shown: &Shown) -> Markup {
    let ingest = &shown.parts.ingest;
    let notes = ingest.quarantine_notes();
    html! {
        @if !notes.is_empty() {
            h2 { "Records that could not be understood: " (grouped(ingest.quarantined.value())) }
            div.scrolls { table {
                thead { tr { th { "Position" } th { "Why" } } }
                tbody {
                    @for Quarantined { position, reason, head: _ } in notes.iter().rev() {
                        tr { td { code { (position) } } td.words { (reason) } }
                    }
                }
            } }
        }
    }
}

/// A duration in the largest unit that says enough.
fn duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match seconds {
        0..10 => format!("{seconds}.{} s", millis / 100),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            // A narrow space that breaks no line.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest unit that says enough.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..10_737_418_240 => format!("{} MiB", grouped(bytes >> 20)),
        _ => format!("{} GiB", grouped(bytes >> 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1\u{202f}000");
        assert_eq!(grouped(12_345_678), "12\u{202f}345\u{202f}678");
        let seconds = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(duration(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(10), "10 s");
        assert_eq!(seconds(120), "2 min");
        assert_eq!(seconds(7200), "2 h");
        assert_eq!(seconds(172_800), "2 days");
        assert_eq!([0, 1024, 1 << 20, 1 << 34].map(bytes), ["0 B", "1 KiB", "1 MiB", "16 GiB"]);
    }
}
