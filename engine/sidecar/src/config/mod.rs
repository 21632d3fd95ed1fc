//! The configuration: one TOML file, environment variables over it, parsed whole before anything
//! binds.
//!
//! `deploy/caed.toml` is the commented example, and a test reads it. Every scalar key can be
//! overridden by a variable: `listen.grpc` by `CAED_LISTEN_GRPC`. A variable that overrides nothing is
//! a fault, as is a key that nobody knows: a misspelt safeguard must not be silently absent.

mod forwarding;
mod issuers;
mod kafka;
mod listen;
mod reader;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use caed_core::event::RiskLevel;
use caed_core::freshness::{StaleAfter, WhenStale};
use caed_core::ids::{Name, ObjectKey};
use caed_core::limits;
use caed_core::policy::Incapable;
use caed_core::rules::{Issuers, LocationClass, Profile, Rules, SHIPPED};
use caed_decode::claims::Names;
use caed_streams::kafka::settings::KafkaSettings;
use caed_trust::address::Forwarding;

pub use issuers::RawTokens;
pub use listen::{Listen, Tls};
use reader::{Document, Section};
pub use reader::{Fault, Faults};

/// Everything that an operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log that everything is read from.
    pub log: LogChoice,
    /// Where requests come in.
    pub listen: Listen,
    /// Who may issue tokens, and for how long they count.
    pub rules: Rules,
    /// The issuers whose raw tokens are verified here.
    pub raw_tokens: Vec<RawTokens>,
    /// The other issuers, and how they name claims: those of their tokens come from whoever vouches.
    pub vouched: Vec<(String, Names)>,
    /// What is enforced.
    pub profile: Arc<Profile>,
    /// Where the database of countries is, if there is one.
    pub countries: Option<PathBuf>,
    /// How proxies tell the address of a client.
    pub forwarding: Forwarding,
    /// What is logged, and how.
    pub telemetry: Telemetry,
}

/// The log that everything is read from: one or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChoice {
    /// The embedded log, in this folder. It serves one process.
    Embedded(PathBuf),
    /// Kafka. It serves a fleet.
    Kafka(KafkaSettings),
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged: a level, or levels by module.
    pub filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The smallest horizon that makes sense to somebody who tries things out. Guess.
const HORIZON_MIN: Duration = Duration::from_mins(1);

/// Below this a healthy log would look stale now and then: brokers are asked every second and have
/// three to answer.
const STALE_AFTER_MIN: Duration = Duration::from_secs(5);

/// The largest clock skew: beyond it, a clock is wrong rather than skewed. Guess.
const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);

impl Config {
    /// Parses a file's text and the variables over it. Every fault is reported.
    pub fn parse(text: &str, environment: &BTreeMap<String, String>) -> Result<Self, Faults> {
        let document = Document::new(text, environment);
        let table = document.parse();
        let root = document.root(&table);
        let log = log(&root);
        let listen = listen::listen(&root);
        let profile = profile(&root.section("profile"));
        let stale_after = stale_after(&root.section("freshness"));
        let (issuers, raw_tokens, vouched) = issuers(&root);
        let (rules, profile) = rules(&root, issuers, profile, stale_after);
        let profile = Arc::new(profile);
        let countries = countries(&root.section("countries"));
        let forwarding = forwarding::forwarding(&root.section("client_address"));
        let telemetry = telemetry(&root.section("telemetry"));
        root.finish();
        document.finish(Self {
            log,
            listen,
            rules,
            raw_tokens,
            vouched,
            profile,
            countries,
            forwarding,
            telemetry,
        })
    }
}

fn log(root: &Section<'_>) -> LogChoice {
    let (embedded, kafka) = (root.section("log"), root.section("kafka"));
    if kafka.is_present() {
        if embedded.is_present() {
            kafka.fault(
                "excludes [log]: the log is either embedded or Kafka; leave out one of them",
            );
        }
        // Its keys are no unknown ones, so one fault is enough.
        let _ = embedded.string("directory");
        embedded.finish();
        return LogChoice::Kafka(kafka::settings(&kafka));
    }
    let directory = embedded.string("directory");
    if directory.is_none() {
        let problem = "name a folder that outlives this process, or configure [kafka] instead";
        embedded.missing("directory", problem);
    }
    embedded.finish();
    LogChoice::Embedded(directory.map(|found| found.value.into()).unwrap_or_default())
}

fn issuers(root: &Section<'_>) -> (Issuers, Vec<RawTokens>, Vec<(String, Names)>) {
    let sections = root.sections("issuers");
    if sections.is_empty() {
        root.missing("issuers", "give at least one [[issuers]] table, else every token is refused");
    }
    let read = sections.iter().filter_map(|section| Some((section, issuers::issuer(section)?)));
    let (mut named, mut all) = (Vec::new(), Vec::new());
    let (mut raw_tokens, mut vouched) = (Vec::new(), Vec::new());
    for (section, (issuer, raw, names)) in read {
        named.push((section, issuer.name.clone()));
        match raw {
            Some(raw) => raw_tokens.push(raw),
            None => vouched.push((issuer.name.clone(), names)),
        }
        all.push(issuer);
    }
    let issuers = Issuers::new(all).unwrap_or_else(|problem| {
        let blamed = named.iter().rfind(|(_, name)| name == problem.issuer());
        blamed.map_or(root, |(section, _)| section).fault(problem.to_string());
        Issuers::default()
    });
    (issuers, raw_tokens, vouched)
}

fn rules(
    root: &Section<'_>,
    issuers: Issuers,
    profile: Profile,
    stale_after: StaleAfter,
) -> (Rules, Profile) {
    let section = root.section("tokens");
    let horizon = section.duration("horizon");
    if let Some(found) = horizon.as_ref().filter(|found| found.value < HORIZON_MIN) {
        section.reject(found, "must be at least \"60s\"");
    }
    let clock_skew = section.duration("clock_skew");
    if let Some(found) = clock_skew.as_ref().filter(|found| found.value > CLOCK_SKEW_MAX) {
        section.reject(found, "must be at most \"1h\"");
    }
    let lifetime = section.duration("lifetime_max");
    let plain_lifetime = section.duration("lifetime_plain");
    let tenants = section.strings("tenants").map(|found| {
        let names = found.value.iter().map(|tenant| Name::parse(tenant));
        names.collect::<Result<HashSet<_>, _>>().unwrap_or_else(|problem| {
            section.reject(&found, format!("a tenant {problem}"));
            HashSet::new()
        })
    });
    section.finish();
    let rules = Rules {
        horizon: horizon.as_ref().map_or(limits::HORIZON_DEFAULT, |found| found.value),
        clock_skew: clock_skew.map_or(limits::CLOCK_SKEW_DEFAULT, |found| found.value),
        issuers,
        tenants,
        stale_after,
    };
    let profile = Profile {
        long_lifetime: lifetime.map_or(profile.long_lifetime, |found| found.value),
        plain_lifetime: plain_lifetime.map_or(profile.plain_lifetime, |found| found.value),
        ..profile
    };
    let lifetime = profile.longest_lifetime();
    if !rules.horizon_covers(lifetime) {
        let problem = format!(
            "must be at least lifetime_max + the largest issue_time_skew + clock_skew = {} s, else tokens would outlive what revokes them",
            (lifetime + rules.issuers.issue_time_skew_max() + rules.clock_skew).as_secs()
        );
        match &horizon {
            Some(found) => section.reject(found, problem),
            None => section.missing("horizon", &problem),
        }
    }
    (rules, profile)
}

fn profile(section: &Section<'_>) -> Profile {
    let problem = format!("is no shipped profile; known are {}", SHIPPED.join(", "));
    let base = section.parsed("base", &problem, Profile::shipped);
    let default = base.map(|found| found.value).unwrap_or_default();
    let problem = "must be \"low\", \"medium\" or \"high\"";
    let risk_threshold = section.parsed("risk_threshold", problem, |text| match text {
        "low" => Some(RiskLevel::Low),
        "medium" => Some(RiskLevel::Medium),
        "high" => Some(RiskLevel::High),
        _ => None,
    });
    let device_compliance = section.boolean("device_compliance");
    let incapable_clients = section.strings("incapable_clients").map(|found| {
        let keys = found.value.iter().map(|client| ObjectKey::parse(client));
        keys.collect::<Result<_, _>>().unwrap_or_else(|problem| {
            section.reject(&found, format!("a client {problem}"));
            HashSet::new()
        })
    });
    let applications = section.strings("applications").map(|found| {
        let keys = found.value.iter().map(|id| ObjectKey::parse(id));
        keys.collect::<Result<_, _>>().unwrap_or_else(|problem| {
            section.reject(&found, format!("an application {problem}"));
            Vec::new()
        })
    });
    let problem = "must be \"supported\", \"when_strict\" or \"unsupported\"";
    let location = section.parsed("location", problem, |text| match text {
        "supported" => Some(LocationClass::Supported),
        "when_strict" => Some(LocationClass::WhenStrict),
        "unsupported" => Some(LocationClass::Unsupported),
        _ => None,
    });
    let problem = "must be \"enforce\" or \"lifetime\"";
    let incapable = section.parsed("incapable", problem, |text| match text {
        "enforce" => Some(Incapable::Enforce),
        "lifetime" => Some(Incapable::Lifetime),
        _ => None,
    });
    let problem = "must be \"lifetime\", \"deny\" or \"allow\"";
    let when_stale = section.parsed("when_stale", problem, |text| match text {
        "lifetime" => Some(WhenStale::Lifetime),
        "deny" => Some(WhenStale::Deny),
        "allow" => Some(WhenStale::Allow),
        _ => None,
    });
    let flag = |key, default| section.boolean(key).map_or(default, |found| found.value);
    let (revocation, user_risk, device, strict) = (
        flag("revocation", default.revocation),
        flag("user_risk", default.user_risk),
        flag("device", default.device),
        flag("strict_location", default.strict),
    );
    let grace = section.duration("outdated_grace");
    section.finish();
    Profile {
        applications: applications.unwrap_or(default.applications),
        revocation,
        user_risk,
        device,
        location: location.map_or(default.location, |found| found.value),
        strict,
        long_lifetime: default.long_lifetime,
        plain_lifetime: default.plain_lifetime,
        outdated_grace: grace.map_or(default.outdated_grace, |found| found.value),
        incapable: incapable.map_or(default.incapable, |found| found.value),
        when_stale: when_stale.map_or(default.when_stale, |found| found.value),
        risk_threshold: risk_threshold.map_or(default.risk_threshold, |found| found.value),
        device_compliance: device_compliance.map_or(default.device_compliance, |found| found.value),
        incapable_clients: incapable_clients.unwrap_or_default(),
    }
}

fn stale_after(section: &Section<'_>) -> StaleAfter {
    let default = StaleAfter::default();
    let age = |key, default, why| {
        let found = section.duration(key);
        if let Some(found) = found.as_ref().filter(|found| found.value < STALE_AFTER_MIN) {
            let least = STALE_AFTER_MIN.as_secs();
            section.reject(found, format!("is less than {least} s, {why}"));
        }
        found.map_or(default, |found| found.value)
    };
    let log = age("stale_after", default.log, "which a busy log may take");
    let source = age("source_stale_after", default.source, "which a sign of life may take");
    section.finish();
    StaleAfter { log, source }
}

fn countries(section: &Section<'_>) -> Option<PathBuf> {
    let database = section.string("database");
    section.finish();
    database.map(|found| PathBuf::from(found.value))
}

fn telemetry(section: &Section<'_>) -> Telemetry {
    let format = section.parsed("format", "must be \"text\" or \"json\"", |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    });
    let problem = "is not a filter such as \"info\" or \"info,caed_streams=debug\"";
    let filter = section.parsed("filter", problem, |text| {
        tracing_subscriber::EnvFilter::try_new(text).ok().map(|_| text.to_owned())
    });
    section.finish();
    Telemetry {
        format: format.map_or(LogFormat::Text, |found| found.value),
        filter: filter.map_or_else(|| "info".to_owned(), |found| found.value),
    }
}

#[cfg(test)]
mod tests {
    use caed_core::index::ranges::RangeSet;
    use caed_trust::address::{Header, Proxies};

    use super::*;

    fn parse(text: &str) -> Result<Config, Faults> {
        Config::parse(text, &BTreeMap::new())
    }

    fn faults(text: &str) -> Vec<String> {
        let faults = parse(text).expect_err("faulty").faults;
        faults.iter().map(ToString::to_string).collect()
    }

    const MINIMAL: &str = r#"
[log]
directory = "/tmp/caed"
[listen]
grpc = "127.0.0.1:7431"
[[issuers]]
issuer = "https://idp.example"
tenants = ["contoso"]
"#;

    #[test]
    fn the_example_is_valid() {
        let example = include_str!("../../../../deploy/caed.toml");
        let config = parse(example).expect("valid");
        assert!(config.listen.grpc.is_some_and(|address| address.ip().is_loopback()));
        let entra = config.rules.bind("https://login.microsoftonline.com/t/v2.0", "t");
        assert_eq!(entra.map(|entra| entra.issue_time_skew), Ok(Duration::from_mins(5)));
        assert!(config.raw_tokens.is_empty());
    }

    #[test]
    fn a_minimal_file_gets_the_defaults() {
        let config = parse(MINIMAL).expect("valid");
        assert_eq!(config.rules.horizon, limits::HORIZON_DEFAULT);
        assert_eq!(config.profile.risk_threshold, RiskLevel::High);
        let telemetry = Telemetry { format: LogFormat::Text, filter: "info".to_owned() };
        assert_eq!(config.telemetry, telemetry);
    }

    #[test]
    fn every_fault_is_reported_with_its_line_and_key() {
        let reports = faults(
            r#"[log]
directroy = "/tmp/caed"
[listen]
grpc = "0.0.0.0:7431"
admin = 9090
[tokens]
clock_skew = "5 minutes"
[[issuers]]
issuer = "https://idp.example"
[profile]
risk_threshold = "severe"
"#,
        );
        let expected = [
            "line 1: log.directory: is missing",
            "line 2: log.directroy: is not known",
            "line 4: listen.grpc: `0.0.0.0:7431` is not on loopback",
            "line 5: listen.admin: must be a text in quotes",
            "line 7: tokens.clock_skew: must be a whole number with a unit",
            "line 8: issuers[0].tenants: is missing",
            "line 11: profile.risk_threshold: `severe` must be",
        ];
        for expected in expected {
            assert!(
                reports.iter().any(|report| report.starts_with(expected)),
                "{expected}: {reports:#?}"
            );
        }
        assert_eq!(reports.len(), expected.len(), "{reports:#?}");
    }

    #[test]
    fn what_is_no_toml_is_a_fault_with_its_line() {
        let reports = faults("[log]\ndirectory = \n");
        assert!(reports.iter().any(|report| report.starts_with("line 2: syntax:")), "{reports:#?}");
    }

    #[test]
    fn the_kafka_example_is_valid() {
        let example = include_str!("../../../../deploy/kafka.toml");
        let config = parse(example).expect("valid");
        let LogChoice::Kafka(settings) = config.log else { panic!("Kafka") };
        assert_eq!(settings.brokers, "kafka-1.example:9093,kafka-2.example:9093");
        assert_eq!(settings.events_topic, "caed.events");
        assert_eq!(settings.properties["security.protocol"], "SASL_SSL");
    }

    fn with_kafka(section: &str) -> String {
        MINIMAL.replace("[log]\ndirectory = \"/tmp/caed\"\n", section)
    }

    #[test]
    fn properties_of_kafka_come_from_the_file_and_the_environment() {
        let text = with_kafka(
            r#"[kafka]
brokers = ["one:9092"]
[kafka.properties]
"security.protocol" = "SASL_SSL"
sasl.username = "caed"
fetch.max.bytes = 1000000
ssl.ca.location = "/ca.pem"
"#,
        );
        let secret = "CAED_KAFKA_PROPERTIES_SASL_PASSWORD";
        let environment = BTreeMap::from([(secret.to_owned(), "hush".to_owned())]);
        let config = Config::parse(&text, &environment).expect("valid");
        let LogChoice::Kafka(settings) = config.log else { panic!("Kafka") };
        let properties: Vec<_> =
            settings.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "fetch.max.bytes=1000000",
            "sasl.password=hush",
            "sasl.username=caed",
            "security.protocol=SASL_SSL",
            "ssl.ca.location=/ca.pem",
        ];
        assert_eq!(properties, expected);
    }

    #[test]
    fn every_fault_of_kafka_is_reported() {
        let text = with_kafka(
            r#"[log]
directory = "/tmp/caed"
[kafka]
events_topic = "events of caed"
policies_topic = "caed.dead-letter"
[kafka.properties]
auto.offset.reset = "latest"
fetch.min.byte = 1
acks = ["all"]
"#,
        );
        let reports = faults(&text);
        let expected = [
            "line 4: kafka: excludes [log]",
            "line 4: kafka.brokers: is missing",
            "line 5: kafka.events_topic: `events of caed` is not the name of a topic",
            "line 6: kafka.policies_topic: is also the name",
            "line 8: kafka.properties.auto.offset.reset: is always `error`: an offset that is",
            "line 9: kafka.properties.fetch.min.byte: librdkafka does not take it",
            "line 10: kafka.properties.acks: must be a text, a whole number, true or false",
        ];
        for expected in expected {
            assert!(
                reports.iter().any(|report| report.starts_with(expected)),
                "{expected}: {reports:#?}"
            );
        }
        assert_eq!(reports.len(), expected.len(), "{reports:#?}");
    }

    #[test]
    fn a_horizon_that_tokens_outlive_does_not_start() {
        let short = format!("{MINIMAL}\n[tokens]\nhorizon = \"28h\"\n");
        let reports = faults(&short);
        assert!(reports.iter().any(|report| report.contains("tokens.horizon: must be at least")));
        let fitting = format!("{MINIMAL}\n[tokens]\nhorizon = \"2h\"\nlifetime_max = \"1h\"\n");
        assert!(parse(&fitting).is_ok());
    }

    #[test]
    fn a_profile_begins_with_a_shipped_one_and_lifetimes_are_the_tokens() {
        let text = format!(
            "{MINIMAL}\n[tokens]\nlifetime_plain = \"1h\"\n[profile]\nbase = \"sharepoint-web\"\nstrict_location = true\n"
        );
        let profile = parse(&text).expect("valid").profile;
        assert_eq!(profile.location, LocationClass::WhenStrict);
        assert!(!profile.user_risk && profile.strict);
        assert_eq!(profile.plain_lifetime, Duration::from_hours(1));
        assert_eq!(profile.long_lifetime, limits::TOKEN_LIFETIME_DEFAULT);
        let wrong = format!(
            "{MINIMAL}exception_ranges = [\"here\"]\n[profile]\nbase = \"outlook\"\nlocation = \"no\"\nincapable = \"no\"\n"
        );
        let reports = faults(&wrong);
        for expected in [
            "issuers[0].exception_ranges: `here` is no range",
            "profile.base: `outlook` is no shipped profile; known are exchange",
            "profile.location: `no` must be",
            "profile.incapable: `no` must be",
        ] {
            assert!(
                reports.iter().any(|report| report.contains(expected)),
                "{expected}: {reports:#?}"
            );
        }
        assert_eq!(reports.len(), 4, "{reports:#?}");
    }

    #[test]
    fn proxies_are_told_by_ranges_or_by_their_number() {
        let with = |section: &str| parse(&format!("{MINIMAL}[client_address]\n{section}"));
        let none = parse(MINIMAL).expect("valid").forwarding;
        assert!(matches!(none.proxies, Proxies::Ranges(ranges) if ranges == RangeSet::default()));
        let hops = with("header = \"forwarded\"\nhops = 2\n").expect("valid").forwarding;
        assert!(matches!(hops.proxies, Proxies::Hops(2)) && hops.header == Header::Forwarded);
        let ranges = with("trusted_proxies = [\"10.0.0.0/8\"]\n").expect("valid").forwarding;
        let address = "10.9.8.7".parse().expect("an address");
        assert!(matches!(ranges.proxies, Proxies::Ranges(ranges) if ranges.contains(address)));
        for (section, problem) in [
            ("header = \"via\"", "client_address.header: `via` must be"),
            ("trusted_proxies = [\"here\"]", "client_address.trusted_proxies: `here` is no range"),
            ("hops = 0", "client_address.hops: must be from 1 to 32"),
            ("hops = 33", "client_address.hops: must be from 1 to 32"),
            ("hops = 1\ntrusted_proxies = []", "client_address.hops: excludes trusted_proxies"),
        ] {
            let reports = faults(&format!("{MINIMAL}[client_address]\n{section}\n"));
            assert!(reports.len() == 1 && reports[0].contains(problem), "{reports:#?}");
        }
    }

    #[test]
    fn the_environment_overrides_scalars_and_nothing_else() {
        let with = |name: &str, value: &str| {
            let environment = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            Config::parse(MINIMAL, &environment)
        };
        let config = with("CAED_LOG_DIRECTORY", "/data").expect("valid");
        assert_eq!(config.log, LogChoice::Embedded(PathBuf::from("/data")));
        let config = with("CAED_PROFILE_DEVICE_COMPLIANCE", "true").expect("valid");
        assert!(config.profile.device_compliance);
        let fault = |name, value| with(name, value).expect_err("faulty").faults[0].to_string();
        assert!(
            fault("CAED_LISTEN_GRPC", "here").starts_with("CAED_LISTEN_GRPC: `here` is not an")
        );
        assert!(fault("CAED_LISTEN_GRCP", "x").contains("overrides no key"));
        assert!(with("CARGO", "x").is_ok());
    }
}
