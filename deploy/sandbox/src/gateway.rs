//! The gateways: the example configurations of `deploy/`, as they stand but for ports and paths.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::Ports;
use crate::running::Running;

/// A gateway, and how it asks caed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Gateway {
    /// Envoy, over gRPC; caed verifies tokens.
    Envoy,
    /// Envoy, over gRPC; Envoy verifies tokens, and hands on their claims.
    EnvoyJwtAuthn,
    /// Envoy, over HTTP.
    EnvoyHttp,
    /// nginx.
    Nginx,
    /// Caddy.
    Caddy,
}

impl Gateway {
    /// Its configuration as users have it.
    const fn example(self) -> &'static str {
        match self {
            Self::Envoy => include_str!("../../envoy/grpc.yaml"),
            Self::EnvoyJwtAuthn => include_str!("../../envoy/jwt-authn.yaml"),
            Self::EnvoyHttp => include_str!("../../envoy/http.yaml"),
            Self::Nginx => include_str!("../../nginx/nginx.conf"),
            Self::Caddy => include_str!("../../caddy/Caddyfile"),
        }
    }

    /// The program, as `get.sh` and a path know it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Envoy | Self::EnvoyJwtAuthn | Self::EnvoyHttp => "envoy",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
        }
    }

    /// What it needs of caed's configuration.
    pub(crate) const fn caed_changes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // The claims that it hands over count.
            Self::EnvoyJwtAuthn => &[("may = [\"decide\",", "may = [\"decide\", \"vouch\",")],
            _ => &[],
        }
    }

    /// Writes its configuration into a folder, and starts it there; what it says goes to `gateway.log`.
    pub(crate) async fn start(
        self,
        folder: &Path,
        ports: &Ports,
        changes: &[(&str, &str)],
    ) -> Result<Running> {
        let mut text = ports.put_into(self.example(), folder)?;
        for (from, to) in changes {
            ensure!(text.contains(from), "the configuration of {self:?} has no `{from}`");
            text = text.replace(from, to);
        }
        let config = folder.join(match self {
            // It knows a format by the end of a file's name.
            Self::Envoy | Self::EnvoyJwtAuthn | Self::EnvoyHttp => "envoy.yaml",
            Self::Nginx => "nginx.conf",
            Self::Caddy => "Caddyfile",
        });
        std::fs::write(&config, text)?;
        let program = self.found().await?;
        let mut command = Command::new(&program);
        match self {
            Self::Envoy | Self::EnvoyJwtAuthn | Self::EnvoyHttp => {
                let arguments =
                    ["--use-dynamic-base-id", "--concurrency", "1", "-l", "warn", "--config-path"];
                command.args(arguments).arg(config)
            }
            Self::Nginx => {
                for folder in
                    ["body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| folder.join(name))
                {
                    std::fs::create_dir_all(folder)?;
                }
                command.arg("-p").arg(folder).args(["-e", "stderr", "-c"]).arg(config)
            }
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config),
        };
        let log = std::fs::File::create(folder.join("gateway.log"))?;
        command.current_dir(folder).env("HOME", folder);
        command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Running::start(&mut command)
            .with_context(|| format!("{} can't be started", program.display()))
    }

    /// Where its program is: `get.sh` finds it, or gets it.
    async fn found(self) -> Result<PathBuf> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/get.sh");
        let output =
            Command::new(script).arg(self.program()).stderr(Stdio::inherit()).output().await?;
        let path = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            bail!("{} is not here, and can't be had: {script} says why", self.program());
        }
        Ok(PathBuf::from(path.trim()))
    }
}
