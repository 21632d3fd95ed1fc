//! ghz, the tool that is known: on the second core, as the generator is. It stops at about 14,000 requests a second,
//! whatever the server, so a floor stands beside each figure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use caed_bench::generator::Address;
use caed_bench::visitors::{ONE_REVOKED_OF, TOKENS, Visitor, Visitors};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::on_core;
use crate::sidecar::Sidecar;

/// The program, and what it sends.
pub(crate) struct Ghz {
    program: PathBuf,
    folder: TempDir,
}

/// What it tells.
pub(crate) struct Told {
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Ghz {
    /// Finds it, or gets it.
    pub(crate) fn new(visitors: Visitors) -> Result<Self, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/load/ghz.sh");
        let found = Command::new("bash").arg(script).stderr(Stdio::inherit()).output();
        let found = found.map_err(|error| format!("{script}: {error}"))?;
        if !found.status.success() {
            return Err("there is no ghz, see above".to_owned());
        }
        let program = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let requests: Vec<_> = visitors.all().map(|visitor: Visitor| visitor.evaluate()).collect();
        let requests = serde_json::to_vec(&requests).map_err(|error| error.to_string())?;
        write(&folder.path().join("requests.json"), &requests)?;
        write(&folder.path().join("caed.protoset"), caed_proto::DESCRIPTORS)?;
        Ok(Self { program, folder })
    }

    /// Asks a server, of which only the rate counts.
    pub(crate) fn ask(
        &self,
        address: &Address,
        callers: usize,
        duration: Duration,
    ) -> Result<Told, String> {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = on_core(1, &self.program);
        command.arg("--insecure").args(["--call", "caed.v1.AccessEvaluation/Evaluate"]);
        command.arg("--protoset").arg(path("caed.protoset"));
        command.arg("--data-file").arg(path("requests.json"));
        command.args(["--concurrency", &callers.to_string()]);
        command.args(["--duration", &format!("{}ms", duration.as_millis())]);
        command.args(["--duration-stop", "wait", "--format", "json"]).arg(address.to_string());
        let output = command.output().map_err(|error| format!("ghz: {error}"))?;
        if !output.status.success() {
            return Err(format!("ghz: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let told: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("ghz: {error}"))?;
        Told::read(&told).ok_or_else(|| format!("ghz: not every call was answered: {told}"))
    }

    /// Asks caed, and compares how many were let pass and how many were not.
    pub(crate) fn ask_caed(
        &self,
        sidecar: &Sidecar,
        callers: usize,
        duration: Duration,
    ) -> Result<Told, String> {
        let allowed = sidecar.decisions("allow")?;
        let challenged = sidecar.decisions("challenge")?;
        let told = self.ask(&sidecar.tcp, callers, duration)?;
        let allowed = sidecar.decisions("allow")? - allowed;
        let challenged = sidecar.decisions("challenge")? - challenged;
        // The last turn of all tokens may be cut short.
        let is_right = challenged.abs_diff(told.count / ONE_REVOKED_OF) <= TOKENS / ONE_REVOKED_OF;
        if allowed + challenged == told.count && is_right {
            return Ok(told);
        }
        let count = told.count;
        Err(format!("ghz: {count} calls, but {allowed} were allowed and {challenged} challenged"))
    }
}

impl Told {
    /// What a report says; `None` where any call was answered with anything but OK.
    fn read(report: &Value) -> Option<Self> {
        let statuses = report.get("statusCodeDistribution")?.as_object()?;
        let count = report.get("count")?.as_u64()?;
        let are_ok = statuses.len() == 1 && statuses.get("OK")?.as_u64()? == count;
        let latencies = report.get("latencyDistribution")?.as_array()?;
        let micros = |percentage: u64| {
            let is_it =
                |row: &&Value| row.get("percentage").and_then(Value::as_u64) == Some(percentage);
            Some(latencies.iter().find(is_it)?.get("latency")?.as_f64()? / 1e3)
        };
        are_ok.then_some(())?;
        let per_second = report.get("rps")?.as_f64()?;
        Some(Self { count, per_second, p50_us: micros(50)?, p99_us: micros(99)? })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
