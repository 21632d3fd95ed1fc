//! A real Kafka, which several sidecars share.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A broker that ends with the test.
pub(crate) struct Kafka {
    directory: TempDir,
    port: u16,
}

impl Kafka {
    /// Starts it, and makes caed's topics.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let [port, _controllers] = caed_sandbox::free_ports().expect("free ports");
        let kafka = Self { directory, port };
        Self::script(&["start", kafka.folder(), &kafka.port.to_string()]);
        let config = kafka.directory.path().join("topics.toml");
        let issuer = "[[issuers]]\nissuer = \"https://idp.example\"\ntenants = [\"contoso\"]\n";
        let text = format!("{}\n[listen]\ngrpc = \"127.0.0.1:0\"\n{issuer}", kafka.section());
        std::fs::write(&config, text).expect("written");
        let caed = caed_sandbox::sidecar_program().expect("it is built");
        let made = Command::new(caed)
            .args(["topics", "create", "--partitions", "3", "--replicas", "1", "--config"])
            .arg(config)
            .output()
            .expect("it runs");
        assert!(made.status.success(), "{made:?}");
        kafka
    }

    /// The part of a configuration that stands for `[log]` and the name of its `directory`.
    pub(crate) fn section(&self) -> String {
        format!("[kafka]\nbrokers = [\"127.0.0.1:{}\"]\n# directory", self.port)
    }

    fn folder(&self) -> &str {
        self.directory.path().to_str().expect("UTF-8")
    }

    fn script(arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/kafka.sh");
        let owner = std::process::id().to_string();
        let status = Command::new(script).args(arguments).env("KAFKA_OWNER", owner).status();
        assert!(status.expect("the script runs").success(), "kafka.sh {arguments:?}");
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        Self::script(&["stop", self.folder()]);
    }
}
