//! A real broker of this process's own: on loopback, with a folder of its own, ended by its number.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use caed_core::position::Incarnation;
use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::topics::{TopicAdmin, TopicPlan};
use tokio::runtime::Runtime;

use crate::pipeline::HORIZON;

/// Partitions of each topic, as `caed topics create` makes them.
const PARTITIONS: u32 = 3;

/// The broker, for as long as this is held.
pub(crate) struct Broker {
    directory: PathBuf,
    port: u16,
}

impl Broker {
    /// Starts it; otherwise says what to do.
    pub(crate) fn start() -> Result<Self, String> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-of-a-bench");
        let broker = Self { directory, port: free_ports()? };
        // One that was killed left its data, and perhaps its broker.
        broker.remove();
        std::fs::create_dir_all(&broker.directory)
            .map_err(|error| format!("{}: {error}", broker.directory.display()))?;
        if Self::script(&["start", broker.directory(), &broker.port.to_string()]) {
            Ok(broker)
        } else {
            Err("no Kafka broker could be started; `make tools` gets one, or says what is missing"
                .to_owned())
        }
    }

    /// Topics of a measurement's own, made as `caed topics create` makes them.
    pub(crate) fn topics(&self, name: &str) -> KafkaSettings {
        let mut settings = KafkaSettings::new(format!("127.0.0.1:{}", self.port));
        settings.events_topic = format!("{name}.events");
        settings.policies_topic = format!("{name}.policies");
        settings.dead_letter_topic = format!("{name}.dead-letter");
        let incarnations = [Incarnation([1; 16]), Incarnation([2; 16])];
        let plan =
            TopicPlan { partitions: PARTITIONS, replicas: 1, horizon: HORIZON, incarnations };
        let made = Runtime::new()
            .expect("a runtime")
            .block_on(async { TopicAdmin::connect(&settings).await?.create(plan).await });
        made.expect("topics of a broker that has just been started");
        settings
    }

    fn directory(&self) -> &str {
        self.directory.to_str().expect("a name in UTF-8")
    }

    fn script(arguments: &[&str]) -> bool {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tools/kafka.sh");
        let mut command = Command::new("bash");
        command.arg(script).args(arguments).env("KAFKA_OWNER", std::process::id().to_string());
        command.status().is_ok_and(|ended| ended.success())
    }

    fn remove(&self) {
        if self.directory.exists() && Self::script(&["stop", self.directory()]) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The first of two ports in a row that nobody listens on, below those that systems give away.
fn free_ports() -> Result<u16, String> {
    let free =
        |port: &u16| (*port..port + 2).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    let first = 12_000 + u16::try_from(std::process::id() % 1000).unwrap_or_default() * 2;
    let none = || "no two free ports in a row between 12000 and 16000".to_owned();
    (first..first + 2000).step_by(2).find(free).ok_or_else(none)
}
