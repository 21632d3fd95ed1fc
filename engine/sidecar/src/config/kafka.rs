//! The section `[kafka]`.

use std::collections::BTreeMap;

use caed_streams::kafka::settings::{KafkaSettings, check_property};

use super::reader::{Found, Section};

/// Characters of the longest name that a topic can have. From Kafka.
const TOPIC_NAME_MAX: usize = 249;

/// Reads the section.
pub(super) fn settings(section: &Section<'_>) -> KafkaSettings {
    let brokers = brokers(section);
    let mut settings = KafkaSettings::new(brokers);
    let mut names = Vec::new();
    for (key, name) in [
        ("events_topic", &mut settings.events_topic),
        ("policies_topic", &mut settings.policies_topic),
        ("dead_letter_topic", &mut settings.dead_letter_topic),
    ] {
        let problem = "is not the name of a topic: letters, digits, `.`, `_` and `-`, at most 249";
        let found = section.parsed(key, problem, |text| is_topic(text).then(|| text.to_owned()));
        if let Some(found) = &found {
            name.clone_from(&found.value);
        }
        names.push((name.clone(), found));
    }
    for (at, (name, found)) in names.iter().enumerate() {
        let others = names.iter().enumerate().filter(|(other, _)| *other != at);
        let mut same = others.filter(|(_, (other, _))| other == name);
        if let (Some(found), Some(_)) = (found, same.next()) {
            section.reject(found, "is also the name of another of the three topics");
        }
    }
    settings.properties = properties(&section.section("properties"));
    section.finish();
    settings
}

fn brokers(section: &Section<'_>) -> String {
    let problem = "give the brokers to begin with, such as [\"kafka-1.example:9093\"]";
    let Some(found) = section.strings("brokers") else {
        if !section.has("brokers") {
            section.missing("brokers", problem);
        }
        return String::new();
    };
    if found.value.is_empty() {
        section.reject(&found, format!("is empty; {problem}"));
    }
    for broker in &found.value {
        if !is_broker(broker) {
            section.reject(&found, format!("`{broker}` is not HOST:PORT"));
        }
    }
    found.value.join(",")
}

fn properties(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for (name, found) in section.flat() {
        if let Err(problem) = check_property(&name, &found.value) {
            section.reject(&found, problem.to_string());
        }
        let Found { value, .. } = found;
        properties.insert(name, value);
    }
    properties
}

/// A name or an address, and a port.
fn is_broker(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let host_fits = !host.is_empty() && !host.contains([',', '/', ' ']);
        host_fits && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn is_topic(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty()
        && text.len() <= TOPIC_NAME_MAX
        && text.bytes().all(fits)
        && !matches!(text, "." | "..")
}
