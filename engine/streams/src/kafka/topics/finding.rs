//! What is wrong with the topics: a pure function of the survey.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use caed_core::position::Incarnation;

use super::NEEDED;
use super::survey::{IdentityFound, PartitionSurvey, Survey, TopicState, TopicSurvey, TopicUse};
use crate::kafka::identity::READER_VERSION;

/// Something that is wrong with a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The topic.
    pub topic: String,
    /// What is wrong.
    pub problem: Problem,
    /// What to run or to do.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Live events are in danger, or can't be read.
    Danger,
    /// Nothing is lost by it alone; it stands until it is mended.
    Warning,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no such topic.
    #[error("the topic does not exist")]
    Missing,
    /// The topic can't be looked at.
    #[error("the topic can not be looked at: {0}")]
    Hidden(String),
    /// The settings can't be looked at.
    #[error("its settings can not be checked: {0}")]
    SettingsHidden(String),
    /// A setting is not as it must be.
    #[error("{name} is `{found}` and must be `{needed}`: {harm}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it is; empty where the broker does not know it.
        found: String,
        /// What it must be.
        needed: &'static str,
        /// What happens otherwise.
        harm: &'static str,
    },
    /// Nobody leads some partitions.
    #[error("{0} without a leader: nothing of it can be read or written")]
    Leaderless(Partitions),
    /// One broker alone holds the only copy.
    #[error("{0} on one broker alone: with its disk the events are lost")]
    OneReplica(Partitions),
    /// An acknowledged event may be on one broker alone.
    #[error(
        "min.insync.replicas is `{0}`: an acknowledged event may be on one broker alone, and is lost with it"
    )]
    OneInSync(String),
    /// Some partitions have no identity record.
    #[error("{0} without an identity record: it is read whole at every start")]
    NoIdentity(Partitions),
    /// What stands under the identity's key is something else.
    #[error("{0} with a damaged identity record ({1}): somebody else writes to this topic")]
    InvalidIdentity(Partitions, String),
    /// Partitions of one topic that say to be of different logs.
    #[error("its partitions belong to different incarnations: {}", listed(.0))]
    TwoIncarnations(Vec<Incarnation>),
    /// One partition in which two identities stand.
    #[error("{0} with two different identity records: it is read anew at every start")]
    Disputed(Partitions),
    /// An identity that was written to another partition.
    #[error("{0} with the identity record of another partition: somebody has copied records")]
    Copied(Partitions),
    /// The log was made for another horizon.
    #[error(
        "it was made with a horizon of {found_s} s, which never changes; the configuration says {configured_s} s"
    )]
    Horizon {
        /// The log's.
        found_s: u64,
        /// The configuration's.
        configured_s: u64,
    },
    /// Records may stand in it that this program does not understand.
    #[error(
        "its records may need version {needed} of the record format; this program reads {READER_VERSION}"
    )]
    TooNew {
        /// The version.
        needed: u32,
    },
    /// The dead-letter topic needs keys, which dead letters have not.
    #[error(
        "cleanup.policy is `{0}`: dead letters have no keys, and a compacted topic refuses them"
    )]
    DeadLettersCompacted(String),
}

/// Some partitions, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions(pub Vec<u32>);

impl Survey {
    /// What is wrong, the worst first. `horizon` is the configuration's.
    pub fn findings(&self, horizon: Duration) -> Vec<Finding> {
        let mut findings = Vec::new();
        for topic in &self.topics {
            Findings { brokers: &self.brokers, topic, found: &mut findings }.all(horizon);
        }
        findings.sort_by_key(|finding| finding.severity);
        findings
    }
}

/// Findings of one topic on their way.
struct Findings<'a> {
    brokers: &'a str,
    topic: &'a TopicSurvey,
    found: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    fn all(&mut self, horizon: Duration) {
        const CREATE: &str = "run: caed topics create --config FILE";
        let live = self.topic.used_for == TopicUse::Live;
        let severity = if live { Severity::Danger } else { Severity::Warning };
        match &self.topic.state {
            TopicState::Missing => self.add(severity, Problem::Missing, CREATE),
            TopicState::Hidden(why) => {
                let remedy = "allow the sidecar's principal READ and DESCRIBE on the topic";
                self.add(severity, Problem::Hidden(why.clone()), remedy);
            }
            TopicState::Present { partitions, settings } => {
                match settings {
                    Ok(settings) if live => self.settings(settings, partitions),
                    Ok(settings) => self.dead_letters(settings),
                    Err(why) => {
                        let remedy = format!(
                            "run: kafka-acls.sh --bootstrap-server {} --add --allow-principal User:NAME --operation DescribeConfigs --topic {}",
                            self.brokers, self.topic.name
                        );
                        self.add(Severity::Warning, Problem::SettingsHidden(why.clone()), remedy);
                    }
                }
                if live {
                    self.partitions(partitions);
                    self.identities(partitions, horizon);
                }
            }
        }
    }

    fn settings(&mut self, settings: &BTreeMap<String, String>, partitions: &[PartitionSurvey]) {
        let value = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
        let deletes = value("cleanup.policy") != "compact";
        for needed in &NEEDED {
            let found = value(needed.name);
            if found == needed.value {
                continue;
            }
            let severity = if deletes { Severity::Danger } else { needed.severity };
            let harm = if deletes && needed.severity == Severity::Warning {
                "with this cleanup.policy the broker deletes live events by it"
            } else {
                needed.harm
            };
            let problem = Problem::Setting {
                name: needed.name,
                found: found.to_owned(),
                needed: needed.value,
                harm,
            };
            self.add(severity, problem, self.set(needed.name, needed.value));
        }
        let in_sync = value("min.insync.replicas");
        if in_sync == "1" && partitions.iter().any(|partition| partition.replicas > 1) {
            let remedy = self.set("min.insync.replicas", "2");
            self.add(Severity::Warning, Problem::OneInSync(in_sync.to_owned()), remedy);
        }
    }

    fn dead_letters(&mut self, settings: &BTreeMap<String, String>) {
        let policy = settings.get("cleanup.policy").map(String::as_str).unwrap_or_default();
        if policy.contains("compact") {
            let remedy = self.set("cleanup.policy", "delete");
            let problem = Problem::DeadLettersCompacted(policy.to_owned());
            self.add(Severity::Warning, problem, remedy);
        }
    }

    fn partitions(&mut self, partitions: &[PartitionSurvey]) {
        let leaderless = which(partitions, |partition| partition.leader.is_none());
        if let Some(which) = leaderless {
            let remedy = "start the brokers that hold it";
            self.add(Severity::Danger, Problem::Leaderless(which), remedy);
        }
        if let Some(which) = which(partitions, |partition| partition.replicas == 1) {
            let remedy = "in production, give it three replicas: kafka-reassign-partitions.sh";
            self.add(Severity::Warning, Problem::OneReplica(which), remedy);
        }
    }

    fn identities(&mut self, partitions: &[PartitionSurvey], horizon: Duration) {
        const ANEW: &str = "only caed may write to this topic; make new topics with `caed topics create`, or delete these and make them again, and publish what must hold once more";
        let absent = which(partitions, |partition| partition.identity == IdentityFound::Absent);
        if let Some(which) = absent {
            let remedy = "run: caed topics create --config FILE";
            self.add(Severity::Warning, Problem::NoIdentity(which), remedy);
        }
        let invalid = partitions.iter().find_map(|partition| match &partition.identity {
            IdentityFound::Invalid(why) => Some((partition.number, why.clone())),
            _ => None,
        });
        if let Some((number, why)) = invalid {
            let problem = Problem::InvalidIdentity(Partitions(vec![number]), why);
            self.add(Severity::Danger, problem, ANEW);
        }
        let disputed = which(partitions, |partition| {
            matches!(partition.identity, IdentityFound::Found { disputed: true, .. })
        });
        if let Some(which) = disputed {
            self.add(Severity::Danger, Problem::Disputed(which), ANEW);
        }
        let copied = which(
            partitions,
            |partition| matches!(&partition.identity, IdentityFound::Found { identity, .. } if identity.partition != partition.number),
        );
        if let Some(which) = copied {
            self.add(Severity::Danger, Problem::Copied(which), ANEW);
        }
        let incarnations = self.topic.incarnations();
        if incarnations.len() > 1 {
            self.add(Severity::Danger, Problem::TwoIncarnations(incarnations), ANEW);
        }
        let other = self.topic.identities().find(|identity| identity.horizon != horizon);
        if let Some(identity) = other {
            let found_s = identity.horizon.as_secs();
            let problem = Problem::Horizon { found_s, configured_s: horizon.as_secs() };
            let remedy = format!(
                "set tokens.horizon = \"{found_s}s\", or make new topics under other names"
            );
            self.add(Severity::Danger, problem, remedy);
        }
        let newest = self.topic.identities().map(|identity| identity.min_reader_version).max();
        if let Some(needed) = newest.filter(|needed| *needed > READER_VERSION) {
            self.add(Severity::Danger, Problem::TooNew { needed }, "update caed");
        }
    }

    fn add(&mut self, severity: Severity, problem: Problem, remedy: impl Into<String>) {
        let topic = self.topic.name.clone();
        self.found.push(Finding { severity, topic, problem, remedy: remedy.into() });
    }

    /// The command that gives the topic a setting.
    fn set(&self, name: &str, value: &str) -> String {
        format!(
            "run: kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config {name}={value}",
            self.brokers, self.topic.name
        )
    }
}

fn which(
    partitions: &[PartitionSurvey],
    holds: impl Fn(&PartitionSurvey) -> bool,
) -> Option<Partitions> {
    let numbers: Vec<_> =
        partitions.iter().filter(|partition| holds(partition)).map(|found| found.number).collect();
    (!numbers.is_empty()).then_some(Partitions(numbers))
}

fn listed(incarnations: &[Incarnation]) -> String {
    incarnations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        let (noun, verb) =
            if self.0.len() == 1 { ("partition", "is") } else { ("partitions", "are") };
        write!(f, "{noun} {} {verb}", numbers.join(", "))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Danger => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, topic, problem, remedy } = self;
        write!(f, "{severity}: {topic}: {problem}; {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::identity::LogIdentity;
    use crate::kafka::topics::survey::Watermarks;

    const HORIZON: Duration = Duration::from_hours(30);

    fn found(number: u32) -> IdentityFound {
        let incarnation = Incarnation([7; 16]);
        let identity =
            LogIdentity { incarnation, horizon: HORIZON, min_reader_version: 1, partition: number };
        IdentityFound::Found { offset: 0, identity, disputed: false }
    }

    fn partition(number: u32) -> PartitionSurvey {
        let watermarks = Some(Watermarks { low: 0, high: 1 });
        let (leader, identity) = (Some(1), found(number));
        PartitionSurvey { number, leader, replicas: 3, in_sync: 3, watermarks, identity }
    }

    fn good_settings() -> BTreeMap<String, String> {
        let needed = NEEDED.iter().map(|needed| (needed.name, needed.value));
        let all = needed.chain([("min.insync.replicas", "2")]);
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn findings_of(state: TopicState) -> Vec<String> {
        let topic = TopicSurvey { name: "t".to_owned(), used_for: TopicUse::Live, state };
        let survey = Survey { brokers: "b:9092".to_owned(), topics: vec![topic] };
        survey.findings(HORIZON).iter().map(ToString::to_string).collect()
    }

    fn with_settings(changes: &[(&str, &str)]) -> Vec<String> {
        let mut settings = good_settings();
        settings.extend(changes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let partitions = vec![partition(0), partition(1)];
        findings_of(TopicState::Present { partitions, settings: Ok(settings) })
    }

    fn with_partition(change: impl Fn(&mut PartitionSurvey)) -> Vec<String> {
        let mut partitions = vec![partition(0), partition(1)];
        change(&mut partitions[1]);
        findings_of(TopicState::Present { partitions, settings: Ok(good_settings()) })
    }

    #[test]
    fn a_topic_as_it_must_be_has_no_findings() {
        assert_eq!(with_settings(&[]), [""; 0]);
    }

    #[test]
    fn each_setting_is_named_with_what_to_run() {
        for (name, value, begins) in [
            ("cleanup.policy", "compact,delete", "error: t: cleanup.policy is `compact,delete`"),
            ("message.timestamp.type", "CreateTime", "error: t: message.timestamp.type is `Create"),
            ("unclean.leader.election.enable", "true", "error: t: unclean.leader.election.enable"),
            ("retention.ms", "604800000", "warning: t: retention.ms is `604800000`"),
            ("min.insync.replicas", "1", "warning: t: min.insync.replicas is `1`"),
        ] {
            let found = with_settings(&[(name, value)]);
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].starts_with(begins), "{found:#?}");
            let run = format!("--entity-name t --add-config {name}=");
            assert!(found[0].contains(&run), "{found:#?}");
        }
    }

    #[test]
    fn retention_is_a_danger_where_something_is_deleted() {
        let found = with_settings(&[("cleanup.policy", "delete"), ("retention.ms", "1000")]);
        assert!(found.iter().all(|finding| finding.starts_with("error: ")), "{found:#?}");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_wrong_with_an_identity_is_named() {
        let one = |found: Vec<String>, text: &str| {
            assert!(found.len() == 1 && found[0].contains(text), "{text}: {found:#?}");
        };
        one(with_partition(|p| p.identity = IdentityFound::Absent), "partition 1 is without an id");
        one(with_partition(|p| p.identity = found(0)), "identity record of another partition");
        one(with_partition(|p| p.identity = IdentityFound::Invalid("x".into())), "damaged");
        one(with_partition(|p| p.leader = None), "partition 1 is without a leader");
        one(with_partition(|p| p.replicas = 1), "partition 1 is on one broker alone");
        let change = |change: fn(&mut LogIdentity)| {
            with_partition(move |p| {
                if let IdentityFound::Found { identity, .. } = &mut p.identity {
                    change(identity);
                }
            })
        };
        one(change(|id| id.incarnation = Incarnation([8; 16])), "different incarnations: 0707");
        one(change(|id| id.horizon = Duration::from_hours(1)), "a horizon of 3600 s");
        one(change(|id| id.min_reader_version = 2), "need version 2");
    }

    #[test]
    fn what_can_not_be_checked_is_a_warning() {
        let partitions = vec![partition(0)];
        let settings = Err("not allowed".to_owned());
        let found = findings_of(TopicState::Present { partitions, settings });
        assert!(found[0].starts_with("warning: t: its settings can not be checked: not allowed;"));
        assert!(findings_of(TopicState::Missing)[0].starts_with("error: t: the topic does not"));
    }
}
