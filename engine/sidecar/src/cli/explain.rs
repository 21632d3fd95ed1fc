//! An explanation for people.

use caed_core::time::UnixMillis;
use caed_proto::v1;

use super::output;

/// Over several lines: the answer, what would change it, then rule by rule.
pub(super) fn lines(reply: &v1::ExplainReply) -> Vec<String> {
    let v1::ExplainReply { decision, address, steps, remedies } = reply;
    let mut lines = decision.as_ref().map(output::decision).unwrap_or_default();
    if !remedies.is_empty() {
        lines.extend([String::new(), "To be allowed it takes, all together:".to_owned()]);
        lines.extend(remedies.iter().map(|remedy| format!("  · {}", remedy.text)));
    }
    lines.extend([String::new(), "Rule by rule:".to_owned()]);
    let now = steps.iter().flat_map(|step| &step.facts).find(|fact| fact.name == "now");
    let now = now.and_then(|fact| fact.time_ms);
    for v1::Step { rule, title, outcome, facts } in steps {
        let (mark, more) = match v1::StepOutcome::try_from(*outcome).unwrap_or_default() {
            v1::StepOutcome::Spoke => ("✗", ""),
            v1::StepOutcome::LeftOut => ("–", " (left out)"),
            v1::StepOutcome::NotReached => ("–", " (not reached)"),
            v1::StepOutcome::Passed | v1::StepOutcome::Unspecified => ("✓", ""),
        };
        lines.push(format!("  {mark} {rule:<3} {title}{more}"));
        let mut all: Vec<(String, String)> =
            facts.iter().map(|fact| (fact.name.clone(), found(fact, now))).collect();
        if let (Some(address), "D6") = (address, rule.as_str()) {
            all.push(("why this address".to_owned(), basis(address)));
        }
        let width = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        lines.extend(all.iter().map(|(name, found)| format!("        {name:<width$}  {found}")));
    }
    lines
}

/// What was found.
fn found(fact: &v1::Fact, now: Option<i64>) -> String {
    let v1::Fact { name, text, time_ms, length_ms, reported } = fact;
    let time = time_ms.map(|at| {
        let since = now.filter(|_| name != "now").map(|now| relative(now - at));
        format!("{}{}", instant(at), since.unwrap_or_default())
    });
    let length = length_ms.map(|length| span(i64::try_from(length).unwrap_or(i64::MAX)));
    let text = Some(text.clone()).filter(|text| !text.is_empty());
    let parts: Vec<String> = [time, length, text].into_iter().flatten().collect();
    let only = if *reported { " (reported only)" } else { "" };
    format!("{}{only}", parts.join(": "))
}

/// Why an address counted, or none.
fn basis(address: &v1::SeenAddress) -> String {
    let v1::SeenAddress { address, basis, given } = address;
    match v1::AddressBasis::try_from(*basis).unwrap_or_default() {
        v1::AddressBasis::Given if address == given => "the caller gave it".to_owned(),
        v1::AddressBasis::Given => format!("the caller gave it as `{given}`"),
        v1::AddressBasis::Missing => "the caller gave none".to_owned(),
        v1::AddressBasis::Unreadable => format!("what the caller gave is none: `{given}`"),
        v1::AddressBasis::NoneByNature => "the caller says that the route has none".to_owned(),
        v1::AddressBasis::Unspecified => String::new(),
    }
}

/// A time of day.
pub(super) fn instant(at_ms: i64) -> String {
    u64::try_from(at_ms).map_or_else(
        |_| format!("{at_ms} ms, before 1970"),
        |at| UnixMillis::from_millis(at).utc().to_string(),
    )
}

fn relative(ago_ms: i64) -> String {
    if ago_ms >= 0 {
        format!(", {} ago", span(ago_ms))
    } else {
        format!(", in {}", span(ago_ms.saturating_neg()))
    }
}

/// A length of time in its two largest units.
fn span(length_ms: i64) -> String {
    const UNITS: [(i64, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    // Beside minutes nobody minds milliseconds.
    let mut rest = if length_ms < 60_000 { length_ms } else { length_ms / 1000 * 1000 };
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if rest >= unit && parts.len() < 2 {
            parts.push(format!("{} {name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_in_two_units() {
        for (length_ms, told) in [
            (0, "0 s"),
            (999, "999 ms"),
            (300_540, "5 min"),
            (108_000_000, "1 d 6 h"),
            (3_661_000, "1 h 1 min"),
        ] {
            assert_eq!(span(length_ms), told);
        }
        assert_eq!(relative(-1500), ", in 1 s 500 ms");
        assert_eq!(relative(60_000), ", 1 min ago");
    }
}
