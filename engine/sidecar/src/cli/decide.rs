//! `caed decide`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::client_address::Is;
use caed_proto::v1::evaluate_request::Token;
use caed_proto::v1::operations_client::OperationsClient;
use clap::Args;
use tonic::transport::Channel;

use super::private::Private;
use super::{At, explain, load, output};
use crate::config::{Config, LogChoice};

/// The flags that are claims.
const CLAIMS: [&str; 14] = [
    "iss",
    "tid",
    "sub",
    "iat",
    "exp",
    "nbf",
    "sid",
    "jti",
    "azp",
    "deviceid",
    "xms_cc",
    "aud",
    "ipaddr",
    "auth_time",
];

/// The flags that say where a request comes from.
const CHAIN: [&str; 3] = ["peer", "x_forwarded_for", "forwarded"];

/// The token is given as it is, by its claims, or in a request as JSON.
#[derive(Args)]
pub(super) struct Decide {
    /// The whole request as JSON, such as {"claims": {"iss": "…", "tid": "…", "sub": "…"}}; - reads
    /// it from standard input.
    #[arg(long, value_name = "JSON", conflicts_with_all = CLAIMS)]
    #[arg(conflicts_with_all = ["token", "profile", "client_ip", "no_address"], conflicts_with_all = CHAIN)]
    request: Option<String>,
    /// A file with the token itself, which is verified; - reads it from standard input. On a command line others
    /// could see it.
    #[arg(long, value_name = "FILE", conflicts_with_all = CLAIMS)]
    token: Option<PathBuf>,
    /// `iss`: who issued the token.
    #[arg(long)]
    iss: Option<String>,
    /// `tid`: the tenant.
    #[arg(long)]
    tid: Option<String>,
    /// The subject's object id.
    #[arg(long)]
    sub: Option<String>,
    /// `iat`: when it was issued, in seconds.
    #[arg(long)]
    iat: Option<i64>,
    /// `exp`: when it expires, in seconds.
    #[arg(long)]
    exp: Option<i64>,
    /// `nbf`: from when it is valid, in seconds.
    #[arg(long)]
    nbf: Option<i64>,
    /// `sid`: the session.
    #[arg(long)]
    sid: Option<String>,
    /// `jti` or `uti`: the token's own id.
    #[arg(long)]
    jti: Option<String>,
    /// `azp` or `appid`: the client application.
    #[arg(long)]
    azp: Option<String>,
    /// `deviceid`: the device.
    #[arg(long)]
    deviceid: Option<String>,
    /// `xms_cc`: a capability of the client, such as cp1. May be repeated.
    #[arg(long)]
    xms_cc: Vec<String>,
    /// `aud`: whom the token is for. May be repeated.
    #[arg(long)]
    aud: Vec<String>,
    /// `ipaddr`: the address that the identity provider saw.
    #[arg(long)]
    ipaddr: Option<String>,
    /// `auth_time`: when the user signed in, in seconds.
    #[arg(long)]
    auth_time: Option<i64>,
    /// The profile of the resource: a shipped one, such as exchange. [default: the configured one]
    #[arg(long, default_value = "", hide_default_value = true)]
    profile: String,
    /// The address that the request comes from. [default: not known]
    #[arg(long)]
    client_ip: Option<String>,
    /// The request has no address by its nature: locations are not evaluated.
    #[arg(long, conflicts_with = "client_ip")]
    no_address: bool,
    /// Who connected to the gateway: with the chain below, the proxies that are configured tell the address.
    #[arg(long, conflicts_with_all = ["client_ip", "no_address"])]
    peer: Option<String>,
    /// A line of `X-Forwarded-For`, as the gateway got it. May be repeated.
    #[arg(long, conflicts_with_all = ["client_ip", "no_address"])]
    x_forwarded_for: Vec<String>,
    /// A line of `Forwarded`, as the gateway got it. May be repeated.
    #[arg(long, conflicts_with_all = ["client_ip", "no_address"])]
    forwarded: Vec<String>,
    /// Reads the log of this configuration instead of asking a sidecar. No sidecar may have it open.
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    from_log: Option<PathBuf>,
    /// Tells why, rule by rule, and what would change the answer.
    #[arg(long)]
    explain: bool,
    /// Prints the reply as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

impl Decide {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let request = self.request()?;
        let private = match &self.from_log {
            Some(config) => Some(Private::start(with_log(load(config)?)?).await?),
            None => None,
        };
        let channel = match &private {
            Some(private) => private.channel.clone(),
            None => self.at.connect().await?,
        };
        let verdict = if self.explain {
            self.explain(channel, request).await
        } else {
            self.evaluate(channel, request).await
        }?;
        if let Some(private) = private {
            private.end().await?;
        }
        Ok(match verdict {
            v1::Verdict::Allow => ExitCode::SUCCESS,
            v1::Verdict::Challenge => ExitCode::from(3),
            v1::Verdict::Deny | v1::Verdict::Unspecified => ExitCode::from(4),
        })
    }

    async fn evaluate(
        &self,
        channel: Channel,
        request: v1::EvaluateRequest,
    ) -> anyhow::Result<v1::Verdict> {
        let reply = AccessEvaluationClient::new(channel).evaluate(request).await;
        let reply = reply.map_err(|status| output::refusal(&status))?.into_inner();
        if self.json {
            output::json(&reply)?;
        } else {
            output::decision(&reply).iter().for_each(output::line);
        }
        Ok(reply.verdict())
    }

    async fn explain(
        &self,
        channel: Channel,
        request: v1::EvaluateRequest,
    ) -> anyhow::Result<v1::Verdict> {
        let reply = OperationsClient::new(channel).explain(request).await;
        let reply = reply.map_err(|status| output::refusal(&status))?.into_inner();
        if self.json {
            output::json(&reply)?;
        } else {
            explain::lines(&reply).iter().for_each(output::line);
        }
        Ok(reply.decision.map(|decision| decision.verdict()).unwrap_or_default())
    }

    fn request(&self) -> anyhow::Result<v1::EvaluateRequest> {
        if let Some(text) = &self.request {
            let text = match text.as_str() {
                "-" => {
                    std::io::read_to_string(std::io::stdin()).context("reading standard input")?
                }
                text => text.to_owned(),
            };
            return serde_json::from_str(&text).context("--request is no EvaluateRequest");
        }
        Ok(v1::EvaluateRequest {
            profile: self.profile.clone(),
            client: Some(v1::ClientAddress { is: self.client() }),
            token: Some(self.token()?),
            presented: String::new(),
        })
    }

    fn client(&self) -> Option<Is> {
        let is_chain =
            self.peer.is_some() || !self.x_forwarded_for.is_empty() || !self.forwarded.is_empty();
        match &self.client_ip {
            Some(ip) => Some(Is::Ip(ip.clone())),
            None if self.no_address => Some(Is::NoneByNature(true)),
            None if is_chain => Some(Is::Forwarded(v1::ForwardedChain {
                peer: self.peer.clone().unwrap_or_default(),
                x_forwarded_for: self.x_forwarded_for.clone(),
                forwarded: self.forwarded.clone(),
            })),
            None => None,
        }
    }

    fn token(&self) -> anyhow::Result<Token> {
        if let Some(path) = &self.token {
            let text = if path.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin()).context("reading standard input")?
            } else {
                let reading = || format!("reading the token in {}", path.display());
                std::fs::read_to_string(path).with_context(reading)?
            };
            return Ok(Token::Jwt(text.trim().to_owned()));
        }
        Ok(Token::Claims(v1::TokenClaims {
            iss: self.iss.clone(),
            tid: self.tid.clone(),
            sub: self.sub.clone(),
            iat: self.iat,
            exp: self.exp,
            nbf: self.nbf,
            sid: self.sid.clone(),
            jti: self.jti.clone(),
            azp: self.azp.clone(),
            deviceid: self.deviceid.clone(),
            xms_cc: self.xms_cc.clone(),
            aud: self.aud.clone(),
            ipaddr: self.ipaddr.clone(),
            auth_time: self.auth_time,
            ..v1::TokenClaims::default()
        }))
    }
}

/// Refuses a configuration whose embedded log is not there. A sidecar would make one, and an empty
/// log allows whatever is asked.
fn with_log(config: Config) -> anyhow::Result<Config> {
    let LogChoice::Embedded(folder) = &config.log else { return Ok(config) };
    let is_there = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(
        is_there,
        "there is no log in {}; give the configuration of the sidecar that wrote it",
        folder.display()
    );
    Ok(config)
}
