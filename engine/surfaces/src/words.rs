//! Answers and explanations in words: for the command line and for the page alike.
//!
//! It reads what the interface sends, so that both say the same of the same message.

use caed_core::time::UnixMillis;
use caed_proto::v1;
use caed_proto::v1::StepOutcome;

/// What stands above the remedies of an explanation.
pub const REMEDIES: &str = "To be allowed it takes, all together";

/// One rule of an explanation.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule<'r> {
    /// Its id.
    pub id: &'r str,
    /// What it asks for.
    pub title: &'r str,
    /// What it came to.
    pub outcome: StepOutcome,
    /// What it looked at, with what it found.
    pub facts: Vec<(String, String)>,
}

/// The rules of an explanation, in order.
pub fn rules(reply: &v1::ExplainReply) -> impl Iterator<Item = Rule<'_>> {
    let v1::ExplainReply { decision: _, address, steps, remedies: _, belief } = reply;
    let now = steps.iter().flat_map(|step| &step.facts).find(|fact| fact.name == "now");
    let now = now.and_then(|fact| fact.time_ms);
    steps.iter().map(move |step| {
        let v1::Step { rule, title, outcome: _, facts } = step;
        let mut facts: Vec<(String, String)> =
            facts.iter().map(|fact| (fact.name.clone(), found(fact, now))).collect();
        if let (Some(address), "D6") = (address, rule.as_str()) {
            facts.push(("why this address".to_owned(), basis(address)));
        }
        if let (Some(belief), "T2") = (belief, rule.as_str()) {
            facts.push(("why".to_owned(), belief.detail.clone()));
        }
        Rule { id: rule, title, outcome: step.outcome(), facts }
    })
}

impl Rule<'_> {
    /// What it came to, in one sign.
    pub const fn mark(&self) -> &'static str {
        match self.outcome {
            StepOutcome::Spoke => "✗",
            StepOutcome::LeftOut | StepOutcome::NotReached => "–",
            StepOutcome::Passed | StepOutcome::Unspecified => "✓",
        }
    }

    /// Why it says nothing, where it does not.
    pub const fn silence(&self) -> Option<&'static str> {
        match self.outcome {
            StepOutcome::LeftOut => Some("left out"),
            StepOutcome::NotReached => Some("not reached"),
            StepOutcome::Spoke | StepOutcome::Passed | StepOutcome::Unspecified => None,
        }
    }
}

/// The verdict in one word, in capitals.
pub fn verdict(reply: &v1::EvaluateReply) -> &'static str {
    reply.verdict().as_str_name().trim_start_matches("VERDICT_")
}

/// What there is to say of an answer besides its verdict and status, each with a label.
pub fn answer(reply: &v1::EvaluateReply) -> Vec<(&'static str, String)> {
    let mut lines: Vec<_> = reply.findings.iter().map(|found| ("reason", finding(found))).collect();
    lines.extend(reply.notes().map(|note| ("note", word(note.as_str_name(), "DECISION_NOTE_"))));
    if let Some(report) = &reply.report {
        let verdict = word(report.verdict().as_str_name(), "VERDICT_");
        let reasons = report.reasons().map(|reason| word(reason.as_str_name(), "REASON_"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        lines.push(("report", format!("would be {verdict}  {reasons}")));
    }
    if !reply.detail.is_empty() {
        lines.push(("detail", reply.detail.clone()));
    }
    if let Some(challenge) = &reply.challenge {
        lines.push(("challenge", challenge.claims.trim_end().to_owned()));
        lines.push(("code", challenge.code.clone()));
    }
    if !reply.www_authenticate.is_empty() {
        lines.push(("header", format!("WWW-Authenticate: {}", reply.www_authenticate)));
    }
    if reply.retry_after_s > 0 {
        lines.push(("wait", format!("{} s", reply.retry_after_s)));
    }
    lines
}

fn finding(finding: &v1::Finding) -> String {
    let mut text = word(finding.reason().as_str_name(), "REASON_");
    if finding.scope() != v1::Scope::Unspecified {
        text.push_str(" · scope ");
        text.push_str(&word(finding.scope().as_str_name(), "SCOPE_"));
    }
    if !finding.policy.is_empty() {
        text.push_str(" · policy ");
        text.push_str(&finding.policy);
    }
    if finding.since_ms > 0 {
        text.push_str(" · since ");
        text.push_str(&instant(finding.since_ms));
    }
    text
}

/// A name of an enum without its prefix, in lower case: `VERDICT_ALLOW` is `allow`.
pub fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
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
    let v1::SeenAddress { address, basis, given, detail } = address;
    match v1::AddressBasis::try_from(*basis).unwrap_or_default() {
        v1::AddressBasis::Given if address == given => "the caller gave it".to_owned(),
        v1::AddressBasis::Given => format!("the caller gave it as `{given}`"),
        v1::AddressBasis::Missing => "the caller gave none".to_owned(),
        v1::AddressBasis::Unreadable => format!("what the caller gave is none: `{given}`"),
        v1::AddressBasis::Forwarded | v1::AddressBasis::NotForwarded => {
            format!("{detail}; the chain is: {given}")
        }
        v1::AddressBasis::NoneByNature => "the caller says that the route has none".to_owned(),
        v1::AddressBasis::Unspecified => String::new(),
    }
}

/// A time of day.
pub fn instant(at_ms: i64) -> String {
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
