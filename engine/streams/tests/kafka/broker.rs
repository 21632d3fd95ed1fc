//! A real broker of this process's own, which ends with it.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use caed_core::position::Incarnation;
use caed_streams::kafka::identity::{KEY, LogIdentity, READER_VERSION};
use caed_streams::kafka::settings::KafkaSettings;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::runtime::Runtime;

use crate::replica::HORIZON;

const TIME: Duration = Duration::from_secs(30);

/// The one broker of all tests here. They share two cores, and some of them stop it, so each has it
/// to itself.
pub(crate) struct Broker {
    directory: PathBuf,
    port: u16,
    /// The port of the broker that it stands beside, if it is a second one.
    beside: Option<u16>,
}

/// A broker beside the first, for as long as this is held.
pub(crate) struct Second(Broker);

/// The broker, running, for as long as the guard is held.
pub(crate) fn broker() -> MutexGuard<'static, Broker> {
    static BROKER: OnceLock<Mutex<Broker>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| Mutex::new(Broker::new()));
    // A test that failed may have left it stopped.
    let broker = broker.lock().unwrap_or_else(PoisonError::into_inner);
    broker.signal("-CONT");
    broker.start();
    broker
}

impl Broker {
    fn new() -> Self {
        // Nothing of this process outlives it to tidy up: the next one does.
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka");
        for left in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let name = left.file_name();
            let alive = Command::new("kill").arg("-0").arg(&name).stderr(Stdio::null()).status();
            if !alive.expect("kill").success() {
                let _ = std::fs::remove_dir_all(left.path());
            }
        }
        let directory = all.join(std::process::id().to_string());
        std::fs::create_dir_all(&directory).expect("a folder");
        Self { directory, port: free_ports(), beside: None }
    }

    /// Starts a second broker. Topics that are made while it runs may be placed on it.
    pub(crate) fn second(&self) -> Second {
        let directory = self.directory.join("second");
        let second = Self { directory, port: free_ports(), beside: Some(self.port) };
        second.start();
        Second(second)
    }

    pub(crate) fn start(&self) {
        self.script(&["start", self.directory(), &self.port.to_string()]);
    }

    /// Ends the broker in good order.
    pub(crate) fn stop(&self) {
        self.script(&["stop", self.directory()]);
    }

    /// The file that holds what was appended to a partition, while it is small.
    pub(crate) fn segment(&self, topic: &str, number: i32) -> PathBuf {
        self.directory.join(format!("data/{topic}-{number}/00000000000000000000.log"))
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
        self.directory.to_str().expect("a name in UTF-8")
    }

    fn script(&self, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/kafka.sh");
        let mut command = Command::new("bash");
        command.arg(script).args(arguments);
        command.env("KAFKA_OWNER", std::process::id().to_string());
        match self.beside {
            None => command.env("KAFKA_SECURE", "1").env("KAFKA_HEAP", "256m"),
            Some(port) => command
                .env("KAFKA_NODE", Second::NUMBER.to_string())
                .env("KAFKA_JOIN", port.to_string())
                .env("KAFKA_HEAP", "128m"),
        };
        let ended = command.status();
        assert!(ended.expect("bash").success(), "tests/tools/kafka.sh {arguments:?}");
    }

    /// Settings for topics of this test's own.
    pub(crate) fn settings(&self, name: &str) -> KafkaSettings {
        let mut settings = KafkaSettings::new(format!("127.0.0.1:{}", self.port));
        settings.events_topic = format!("{name}.events");
        settings.policies_topic = format!("{name}.policies");
        settings.dead_letter_topic = format!("{name}.dead-letter");
        settings
    }

    /// The same by TLS and SASL.
    pub(crate) fn secure_settings(&self, name: &str, password: &str) -> KafkaSettings {
        let mut settings = self.settings(name);
        settings.brokers = format!("localhost:{}", self.port + 2);
        let authority = format!("{}/tls/ca.pem", self.directory());
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanisms", "SCRAM-SHA-256"),
            ("sasl.username", "caed"),
            ("sasl.password", password),
            ("ssl.ca.location", &authority),
        ] {
            settings.properties.insert(name.to_owned(), value.to_owned());
        }
        settings
    }

    /// Any client.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", format!("127.0.0.1:{}", self.port));
        client.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        client
    }

    /// A producer that writes anything.
    pub(crate) fn writer(&self) -> BaseProducer {
        self.client().set("linger.ms", "0").create().expect("a producer")
    }

    /// Makes both topics and the one of dead letters, each with an identity of this incarnation.
    pub(crate) fn create(&self, settings: &KafkaSettings, partitions: i32, incarnation: u8) {
        let topics = [&settings.events_topic, &settings.policies_topic];
        for topic in topics {
            self.create_one(topic, partitions, Some(incarnation));
        }
        self.create_one(&settings.dead_letter_topic, 1, None);
    }

    pub(crate) fn create_one(&self, topic: &str, partitions: i32, incarnation: Option<u8>) {
        self.create_as(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)), incarnation);
    }

    /// Makes a topic without identities, with more settings.
    pub(crate) fn create_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            new = new.set(name, value);
        }
        self.create_as(new, None);
    }

    /// Makes a topic that is placed or set up in a way of its own.
    pub(crate) fn create_as(&self, new: NewTopic<'_>, incarnation: Option<u8>) {
        let new =
            new.set("cleanup.policy", "compact").set("message.timestamp.type", "LogAppendTime");
        let (topic, partitions) = (new.name, new.num_partitions);
        self.admin(async |admin, options| {
            // The name of a topic is free some time after the topic is gone.
            for _ in 0..100 {
                let made = admin.create_topics([&new], options).await.expect("an answer");
                if made.iter().all(Result::is_ok) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("{topic} can not be made");
        });
        let Some(incarnation) = incarnation else { return };
        let writer = self.writer();
        for number in 0..partitions {
            write_identity(&writer, topic, number, incarnation);
        }
        writer.flush(TIME).expect("written");
    }

    pub(crate) fn delete(&self, topic: &str) {
        self.admin(async |admin, options| {
            let gone = admin.delete_topics(&[topic], options).await.expect("an answer");
            assert!(gone.iter().all(Result::is_ok), "{gone:?}");
        });
    }

    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        self.admin(async |admin, options| {
            let grown = NewPartitions::new(topic, partitions);
            let grown = admin.create_partitions([&grown], options).await.expect("an answer");
            assert!(grown.iter().all(Result::is_ok), "{grown:?}");
        });
    }

    fn admin(&self, act: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions)) {
        let admin: AdminClient<_> = self.client().create().expect("an admin client");
        let options = AdminOptions::new().operation_timeout(Some(TIME));
        Runtime::new().expect("a runtime").block_on(act(&admin, &options));
    }
}

impl Second {
    /// What it is called where partitions are placed.
    pub(crate) const NUMBER: i32 = 2;

    pub(crate) fn freeze(&self) {
        self.0.freeze();
    }

    pub(crate) fn thaw(&self) {
        self.0.thaw();
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Writes the identity record of a partition.
pub(crate) fn write_identity(writer: &BaseProducer, topic: &str, number: i32, incarnation: u8) {
    let identity = LogIdentity {
        incarnation: Incarnation([incarnation; 16]),
        horizon: HORIZON,
        min_reader_version: READER_VERSION,
        partition: number.unsigned_abs(),
    };
    put(writer, topic, number, KEY, Some(&identity.encode()));
    writer.flush(TIME).expect("written");
}

/// Queues a record; a topic or partition that was made a moment ago may not be known everywhere.
/// Without a payload it is a tombstone.
pub(crate) fn put(
    writer: &BaseProducer,
    topic: &str,
    number: i32,
    key: &[u8],
    payload: Option<&[u8]>,
) {
    for _ in 0..200 {
        let mut record = BaseRecord::to(topic).partition(number).key(key);
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        match writer.send(record) {
            Ok(()) => return,
            Err((error, _)) => {
                let unknown = Some(RDKafkaErrorCode::UnknownPartition);
                assert_eq!(error.rdkafka_error_code(), unknown, "{error}");
            }
        }
        let _ = writer.client().fetch_metadata(Some(topic), TIME);
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{topic}/{number} is not known");
}

/// The first of four ports in a row that nobody listens on.
fn free_ports() -> u16 {
    for port in (21_000..31_000).step_by(4).skip(std::process::id() as usize % 2000) {
        let bound: Vec<_> = (port..port + 4)
            .map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .collect();
        if bound.len() == 4 {
            return port;
        }
    }
    panic!("no four free ports in a row between 21000 and 31000");
}
