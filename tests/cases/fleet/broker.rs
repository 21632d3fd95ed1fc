//! A real broker of this process's own, which ends with it.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use caed_core::position::Incarnation;
use caed_streams::kafka::settings::KafkaSettings;
use caed_streams::kafka::topics::{TopicAdmin, TopicPlan};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::sync::{Mutex, MutexGuard};

use crate::HORIZON;

/// How long the broker has for anything.
const TIME: Duration = Duration::from_secs(30);

pub(crate) struct Broker {
    directory: PathBuf,
    port: u16,
}

/// The broker, running, for as long as the guard is held: tests here stop it, so each has it to
/// itself.
pub(crate) async fn broker() -> MutexGuard<'static, Broker> {
    static BROKER: LazyLock<Mutex<Broker>> = LazyLock::new(|| Mutex::new(Broker::new()));
    // A test that failed may have left it stopped.
    let broker = BROKER.lock().await;
    broker.signal("-CONT");
    broker.start();
    broker
}

impl Broker {
    fn new() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-of-a-fleet");
        // Nothing of an earlier process outlives it but its data.
        Self::script(&["stop", directory.to_str().expect("UTF-8")]);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a folder");
        Self { directory, port: free_ports() }
    }

    pub(crate) fn start(&self) {
        Self::script(&["start", self.directory(), &self.port.to_string()]);
    }

    /// Ends the broker as a power cut would.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
        while TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Holds the broker still: it keeps its connections and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let Ok(pid) = std::fs::read_to_string(self.directory.join("pid")) else { return };
        let mut kill = Command::new("kill");
        // A broker that has ended needs no signal.
        let _ = kill.args([signal, pid.trim()]).stderr(Stdio::null()).status();
    }

    fn directory(&self) -> &str {
        self.directory.to_str().expect("UTF-8")
    }

    fn script(arguments: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/kafka.sh");
        let mut command = Command::new(script);
        command.args(arguments).env("KAFKA_OWNER", std::process::id().to_string());
        assert!(command.status().expect("bash").success(), "kafka.sh {arguments:?}");
    }

    /// Topics of this test's own.
    pub(crate) fn settings(&self, name: &str) -> KafkaSettings {
        let mut settings = KafkaSettings::new(format!("127.0.0.1:{}", self.port));
        settings.events_topic = format!("{name}.events");
        settings.policies_topic = format!("{name}.policies");
        settings.dead_letter_topic = format!("{name}.dead-letter");
        settings
    }

    /// Makes the topics, as `caed topics create` does; or gives new partitions their identity.
    pub(crate) async fn create(&self, settings: &KafkaSettings) {
        let incarnations = [Incarnation([1; 16]), Incarnation([2; 16])];
        let plan = TopicPlan { partitions: 3, replicas: 1, horizon: HORIZON, incarnations };
        let admin = TopicAdmin::connect(settings).await.expect("connected");
        admin.create(plan).await.expect("made");
    }

    pub(crate) async fn grow(&self, topic: &str, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let grown = NewPartitions::new(topic, partitions);
        let grown = admin.create_partitions([&grown], &AdminOptions::new()).await;
        assert!(grown.expect("an answer").iter().all(Result::is_ok));
    }

    /// Writes a record that nobody understands.
    pub(crate) fn poison(&self, topic: &str, partition: i32) {
        let writer: BaseProducer = self.client().create().expect("a producer");
        let record = BaseRecord::to(topic).partition(partition).key(&[0; 16]).payload("poison");
        writer.send(record).map_err(|(error, _)| error).expect("queued");
        writer.flush(TIME).expect("written");
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", format!("127.0.0.1:{}", self.port));
        client
    }
}

/// The first of two ports in a row that nobody listens on, below those that systems give away.
fn free_ports() -> u16 {
    let free =
        |port: &u16| (*port..port + 2).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    let first = 15_000 + u16::try_from(std::process::id() % 1000).expect("small") * 2;
    (first..first + 2000).step_by(2).find(free).expect("free ports")
}
