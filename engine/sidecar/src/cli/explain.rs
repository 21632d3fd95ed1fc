//! An explanation for people.

use caed_proto::v1;
use caed_surfaces::words;

use super::output;

/// Over several lines: the answer, what would change it, then rule by rule.
pub(super) fn lines(reply: &v1::ExplainReply) -> Vec<String> {
    let v1::ExplainReply { decision, address: _, steps: _, remedies, belief: _ } = reply;
    let mut lines = decision.as_ref().map(output::decision).unwrap_or_default();
    if !remedies.is_empty() {
        lines.extend([String::new(), format!("{}:", words::REMEDIES)]);
        lines.extend(remedies.iter().map(|remedy| format!("  · {}", remedy.text)));
    }
    lines.extend([String::new(), "Rule by rule:".to_owned()]);
    for rule in words::rules(reply) {
        let silence = rule.silence().map(|silence| format!(" ({silence})")).unwrap_or_default();
        lines.push(format!("  {} {:<3} {}{silence}", rule.mark(), rule.id, rule.title));
        let facts = &rule.facts;
        let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        lines.extend(facts.iter().map(|(name, found)| format!("        {name:<width$}  {found}")));
    }
    lines
}
