//! The program against a real Kafka: topics, sign-in, and a revocation that two sidecars enforce.
//!
//! One broker serves all tests; each has topics of its own. It ends when this process has ended,
//! however that comes about.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// The issuer of every token here.
const ISSUER: &str = "https://idp.example";

/// How long something may take that takes milliseconds, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);

struct Broker {
    directory: PathBuf,
    port: u16,
}

impl Broker {
    fn start() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-of-the-program");
        script(&["stop", directory.to_str().expect("text")]);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a folder");
        let port = ports(4);
        script(&["start", directory.to_str().expect("text"), &port.to_string()]);
        Self { directory, port }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let brokers = format!("127.0.0.1:{}", self.port);
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client")
    }

    fn tls(&self, file: &str) -> String {
        self.directory.join("tls").join(file).display().to_string()
    }
}

fn script(arguments: &[&str]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/tools/kafka.sh");
    let status = Command::new(script)
        .args(arguments)
        .env("KAFKA_SECURE", "1")
        .env("KAFKA_OWNER", std::process::id().to_string())
        .status();
    assert!(status.expect("the script runs").success(), "kafka.sh {arguments:?}");
}

/// The first of so many ports in a row that are free, below those that systems give away. None is given twice: whoever
/// is given one listens there later.
fn ports(count: u16) -> u16 {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().expect("no panic");
    let start = 20_000 + u16::try_from(std::process::id() % 1000).expect("small") * 10;
    let free = |port: &u16| {
        (*port..port + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    let found = (start.max(*next)..start + 2000).find(free).expect("free ports");
    *next = found + count;
    found
}

/// How the brokers are spoken to.
#[derive(Clone, Copy)]
enum Listener {
    Plaintext,
    Scram { password: &'static str },
    ClientCertificate,
}

/// A configuration in a folder of its own.
struct Configured {
    folder: tempfile::TempDir,
    grpc: u16,
}

impl Configured {
    fn new(topics: &str, listener: Listener) -> Self {
        let grpc = ports(1);
        let (offset, properties) = match listener {
            Listener::Plaintext => (0, String::new()),
            Listener::Scram { password } => (
                2,
                format!(
                    "security.protocol = \"SASL_SSL\"\nsasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"caed\"\nsasl.password = \"{password}\"\nssl.ca.location = \"{}\"\n",
                    BROKER.tls("ca.pem")
                ),
            ),
            Listener::ClientCertificate => (
                3,
                format!(
                    "security.protocol = \"SSL\"\nssl.ca.location = \"{}\"\nssl.certificate.location = \"{}\"\nssl.key.location = \"{}\"\n",
                    BROKER.tls("ca.pem"),
                    BROKER.tls("client.pem"),
                    BROKER.tls("client.key")
                ),
            ),
        };
        let text = format!(
            "[kafka]\nbrokers = [\"127.0.0.1:{}\"]\nevents_topic = \"{topics}.events\"\npolicies_topic = \"{topics}.policies\"\ndead_letter_topic = \"{topics}.dead\"\n[kafka.properties]\n{properties}[listen]\ngrpc = \"127.0.0.1:{grpc}\"\n[[issuers]]\nissuer = \"{ISSUER}\"\ntenants = [\"contoso\"]\n[[access]]\nloopback = true\nmay = [\"decide\", \"vouch\", \"publish\", \"administer\"]\n",
            BROKER.port + offset
        );
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("caed.toml"), text).expect("written");
        Self { folder, grpc }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("caed.toml")
    }

    fn topics(&self, command: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_caed"))
            .arg("topics")
            .args(command)
            .arg("--config")
            .arg(self.file())
            .output();
        told(&output.expect("the program runs"))
    }

    fn create(&self) -> String {
        let (code, text) = self.topics(&["create", "--partitions", "3", "--replicas", "1"]);
        assert_eq!(code, Some(0), "{text}");
        text
    }

    fn serve(&self) -> Sidecar {
        let log = fs::File::create(self.folder.path().join("log")).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_caed"))
            .arg("serve")
            .arg("--config")
            .arg(self.file())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let at = format!("127.0.0.1:{}", self.grpc);
        let log = self.folder.path().join("log");
        Sidecar { child: child.expect("the program runs"), at, log }
    }
}

/// A sidecar that runs, and ends with its test.
struct Sidecar {
    child: Child,
    at: String,
    log: PathBuf,
}

impl Sidecar {
    fn ask(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_caed"));
        let output = command.args(arguments).args(["--at", &self.at]).output();
        told(&output.expect("the program runs"))
    }

    fn until_ready(&self) {
        let ready = || self.ask(&["status"]).1.contains(", ready,");
        assert!(soon(ready), "{}\n{}", self.ask(&["status"]).1, self.log());
    }

    /// The exit code of a decision on a token of a user that was issued a minute ago: 0 for ALLOW,
    /// 3 for CHALLENGE.
    fn decide(&self, user: &str) -> Option<i32> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let (issued, expires) = ((now - 60).to_string(), (now + 3600).to_string());
        let claims = ["decide", "--iss", ISSUER, "--tid", "contoso", "--sub", user];
        let times = ["--iat", &issued, "--exp", &expires, "--xms-cc", "cp1"];
        self.ask(&[claims.as_slice(), times.as_slice()].concat()).0
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Whether something holds before patience ends.
fn soon(holds: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if holds() {
            return true;
        }
        sleep(Duration::from_millis(50));
    }
    false
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(future)
}

/// The incarnations that `describe` shows of a topic's partitions.
fn incarnations(described: &str, topic: &str) -> Vec<String> {
    let mut lines = described.lines().skip_while(|line| !line.starts_with(topic));
    lines.next();
    let partitions = lines.take_while(|line| line.starts_with("  "));
    let identity = |line: &str| line.split("identity ").nth(1).map(|rest| rest[..32].to_owned());
    partitions.filter_map(identity).collect()
}

#[test]
fn topics_are_made_once_and_keep_their_identity() {
    let configured = Configured::new("once", Listener::Plaintext);
    let (code, text) = configured.topics(&["check"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("error: once.events: the topic does not exist; run: caed topics create"));

    let text = configured.create();
    assert!(text.contains("once.events: made; 3 partitions were given their identity"), "{text}");
    let (_, first) = configured.topics(&["describe"]);
    let events = incarnations(&first, "once.events");
    assert!(events.len() == 3 && events.iter().all(|one| *one == events[0]), "{first}");
    assert_ne!(events[0], incarnations(&first, "once.policies")[0], "{first}");

    let text = configured.create();
    assert!(text.contains("once.events: was there, its settings left alone\n"), "{text}");
    let (code, again) = configured.topics(&["describe"]);
    assert_eq!((code, again), (Some(0), first));
    let (code, text) = configured.topics(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().all(|line| line.contains("on one broker alone")), "{text}");

    // A partition that is added has no identity until `create` gives it the topic's.
    let grown = NewPartitions::new("once.events", 4);
    block_on(BROKER.admin().create_partitions([&grown], &AdminOptions::new())).expect("grown");
    let warned = || configured.topics(&["check"]).1.contains("partition 3 is without an identity");
    assert!(soon(warned));
    assert!(configured.create().contains("partition 3 was given its identity"));
    let (_, text) = configured.topics(&["describe"]);
    assert_eq!(incarnations(&text, "once.events"), vec![events[0].clone(); 4], "{text}");
}

#[test]
fn two_who_make_the_same_topics_at_once_make_one_incarnation() {
    let configured = Configured::new("race", Listener::Plaintext);
    let _ = configured.topics(&["check"]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| configured.create());
        }
    });
    let (_, text) = configured.topics(&["describe"]);
    let events = incarnations(&text, "race.events");
    assert!(events.len() == 3 && events.iter().all(|one| *one == events[0]), "{text}");
}

#[test]
fn settings_that_endanger_events_are_named_with_what_to_run() {
    let configured = Configured::new("wrong", Listener::Plaintext);
    let wrong = [
        ("cleanup.policy", "delete"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.ms", "604800000"),
        ("unclean.leader.election.enable", "true"),
    ];
    let mut topic = NewTopic::new("wrong.events", 1, TopicReplication::Fixed(1));
    for (name, value) in wrong {
        topic = topic.set(name, value);
    }
    block_on(BROKER.admin().create_topics([&topic], &AdminOptions::new())).expect("made");

    // `create` leaves the settings alone, and says so with a failure.
    let (code, text) = configured.topics(&["create", "--replicas", "1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("wrong.events: was there, its settings left alone; partition 0 was"));
    let (code, text) = configured.topics(&["check"]);
    assert_eq!(code, Some(1), "{text}");
    for (name, value) in wrong {
        let named = format!("error: wrong.events: {name} is `{value}` and must be `");
        let run = format!("--entity-name wrong.events --add-config {name}=");
        let line = text.lines().find(|line| line.starts_with(&named));
        assert!(line.is_some_and(|line| line.contains(&run)), "{named}\n{text}");
    }
}

#[test]
fn a_horizon_that_is_not_the_logs_is_named() {
    let configured = Configured::new("horizon", Listener::Plaintext);
    configured.create();
    let text = fs::read_to_string(configured.file()).expect("read");
    fs::write(configured.file(), format!("{text}[tokens]\nhorizon = \"40h\"\n")).expect("written");
    let (code, text) = configured.topics(&["check"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("with a horizon of 108000 s, which never changes"), "{text}");
    let mut sidecar = configured.serve();
    let ended = soon_ended(&mut sidecar.child, PATIENCE);
    assert!(ended == Some(1) && sidecar.log().contains("108000"), "{ended:?}\n{}", sidecar.log());
}

#[test]
fn two_sidecars_enforce_what_one_of_them_took() {
    let password = Listener::Scram { password: "caed-secret" };
    let (by_password, by_certificate) =
        (Configured::new("fleet", password), Configured::new("fleet", Listener::ClientCertificate));
    by_certificate.create();
    let (one, other) = (by_password.serve(), by_certificate.serve());
    one.until_ready();
    other.until_ready();
    assert_eq!((one.decide("alice"), other.decide("alice")), (Some(0), Some(0)));

    let event = ["publish", "sessions-revoked", "--tenant", "contoso", "--user", "alice"];
    let (code, text) = one.ask(&event);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("fleet.events/") && text.contains("enforced after"), "{text}");
    // The call waited until this one enforces it; the other one reads it at about the same time.
    assert_eq!(one.decide("alice"), Some(3));
    assert!(soon(|| other.decide("alice") == Some(3)), "{}", other.log());
    assert_eq!(other.decide("bob"), Some(0));

    // The warnings of the topics stand in the status of each.
    let warned = |sidecar: &Sidecar| sidecar.ask(&["status"]).1.contains("on one broker alone");
    assert!(soon(|| warned(&one) && warned(&other)), "{}", one.ask(&["status"]).1);

    // One that starts later knows it too.
    let configured = Configured::new("fleet", password);
    let late = configured.serve();
    late.until_ready();
    assert_eq!(late.decide("alice"), Some(3));
}

#[test]
fn a_wrong_password_is_named_and_ends_the_start() {
    let wrong = Configured::new("refused", Listener::Scram { password: "wrong" });
    let (code, text) = wrong.topics(&["check"]);
    assert!(code == Some(1) && text.contains("authentication failed"), "{text}");
    let started = Instant::now();
    let mut sidecar = wrong.serve();
    // Not ready meanwhile, and the reason is shown.
    let named = || sidecar.ask(&["status"]).1.contains("authentication failed");
    assert!(soon(named), "{}\n{}", sidecar.ask(&["status"]).1, sidecar.log());
    assert!(sidecar.ask(&["status"]).1.contains("not ready"));
    let ended = soon_ended(&mut sidecar.child, PATIENCE * 4);
    assert_eq!(ended, Some(1), "{}", sidecar.log());
    assert!(
        sidecar.log().lines().last().is_some_and(|line| line.contains("authentication failed"))
    );
    assert!(started.elapsed() < PATIENCE * 4);
}

#[test]
fn a_start_without_brokers_refuses_until_they_come() {
    let configured = Configured::new("late", Listener::Plaintext);
    configured.create();
    let address = SocketAddr::from(([127, 0, 0, 1], ports(1)));
    let text = fs::read_to_string(configured.file()).expect("written");
    let text = text.replace(&format!("127.0.0.1:{}", BROKER.port), &address.to_string());
    fs::write(configured.file(), text).expect("written");

    let sidecar = configured.serve();
    let is_named = || sidecar.ask(&["status"]).1.contains("no broker");
    assert!(soon(is_named), "{}\n{}", sidecar.ask(&["status"]).1, sidecar.log());
    let (_, status) = sidecar.ask(&["status"]);
    assert!(status.contains("not ready") && status.contains("never current"), "{status}");
    assert_eq!(sidecar.decide("alice"), Some(4), "DENY 503");

    forward(TcpListener::bind(address).expect("still free"));
    sidecar.until_ready();
    assert_eq!(sidecar.decide("alice"), Some(0));
}

/// Lets the broker be reached at another address, for as long as this process runs.
fn forward(listener: TcpListener) {
    let broker = BROKER.port;
    spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else { return };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let ends = from.try_clone().and_then(|from| Ok((from, to.try_clone()?)));
                let (mut from, mut to) = ends.expect("a socket");
                spawn(move || io::copy(&mut from, &mut to));
            }
        }
    });
}

/// The exit code of a process that ends before patience does.
fn soon_ended(child: &mut Child, patience: Duration) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        sleep(Duration::from_millis(50));
    }
    None
}
