//! Open Policy Agent as a server, asked by its REST interface. (Its plugin for Envoy can't be had by `go install`.)
//!
//! | | documented | expert |
//! |---|---|---|
//! | started | `opa run --server`, which logs each request | logging errors alone, and its store kept as the evaluator reads it |
//! | policy | `opa/documented.rego` | `opa/expert.rego` |

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use caed_bench::generator::{Answer, Calls, Outcome, Target};
use caed_bench::visitors::{TENANT, Visitors};
use serde_json::{Value, json};

use crate::client::Client;
use crate::contestant::{Asked, Contestant, Later, Question};
use crate::process::{self, Process};
use crate::way::Way;

/// One process of it.
pub(crate) struct Opa {
    way: Way,
    process: Process,
    address: SocketAddr,
    writer: Client,
}

impl Opa {
    /// Starts one with its policy and no data.
    pub(crate) async fn start(way: Way, folder: &Path) -> Result<Self, String> {
        let program = process::obtained("opa")?;
        let address = process::free_address()?;
        let listen = format!("--addr={address}");
        let policy = match way {
            Way::Documented => concat!(env!("CARGO_MANIFEST_DIR"), "/peers/opa/documented.rego"),
            Way::Expert => concat!(env!("CARGO_MANIFEST_DIR"), "/peers/opa/expert.rego"),
        };
        // It would ask its makers whether there is a newer one.
        let mut arguments = vec!["run", "--server", "--skip-version-check", &listen];
        if way == Way::Expert {
            arguments.extend(["--log-level=error", "--optimize-store-for-read-speed"]);
        }
        arguments.push(policy);
        let mut process = Process::start(&program, &arguments, folder, "opa")?;
        process.listens(address)?;
        let mut writer = Client::http(address).await?;
        let none = json!({TENANT: {}}).to_string();
        writer.request("PUT", "/v1/data/revoked", none.into()).await?;
        Ok(Self { way, process, address, writer })
    }
}

impl Contestant for Opa {
    fn pids(&self) -> Vec<u32> {
        vec![self.process.pid()]
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn calls(&self, question: Question, asked: &[Asked]) -> Calls {
        let rule = if question == Question::Ranges { "allow" } else { "unrevoked" };
        let body = |Asked { visitor, .. }: &Asked| {
            let input = json!({"input": {
                "tid": TENANT,
                "sub": visitor.user,
                "iat": visitor.issued_s,
                "ip": visitor.address.to_string(),
            }});
            input.to_string().into_bytes()
        };
        Calls {
            target: Target::Http {
                method: "POST".to_owned(),
                path: format!("/v1/data/caed/{rule}"),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            },
            calls: asked.iter().map(|asked| asked.call(body(asked))).collect(),
            outcome,
        }
    }

    fn load<'a>(&'a mut self, visitors: &'a Visitors) -> Later<'a, ()> {
        Box::pin(async move {
            let cutoff = visitors.now_s - 1800;
            let users = visitors.revoked_users().map(|user| (user, cutoff));
            let revoked = BTreeMap::from([(TENANT, users.collect::<BTreeMap<_, _>>())]);
            let body = serde_json::to_vec(&revoked).map_err(|error| error.to_string())?;
            self.writer.request("PUT", "/v1/data/revoked", body).await.map(drop)
        })
    }

    fn revoke<'a>(&'a mut self, user: &'a str) -> Later<'a, ()> {
        Box::pin(async move {
            let now = Visitors::new(0, 0).now_s;
            let path = format!("/{TENANT}/{user}");
            let patch = json!([{"op": "add", "path": path, "value": now}]);
            let body = patch.to_string().into_bytes();
            self.writer.request("PATCH", "/v1/data/revoked", body).await.map(drop)
        })
    }

    fn furnish<'a>(&'a mut self, visitors: &'a Visitors) -> Later<'a, ()> {
        Box::pin(async move {
            let office = match self.way {
                Way::Documented => visitors.cidrs().collect(),
                Way::Expert => indexed(visitors.cidrs())?,
            };
            let body = office.to_string().into_bytes();
            self.writer.request("PUT", "/v1/data/office", body).await.map(drop)
        })
    }
}

/// Ranges by length of prefix and first address.
fn indexed(cidrs: impl Iterator<Item = String>) -> Result<Value, String> {
    let mut ranges: BTreeMap<u32, BTreeMap<String, bool>> = BTreeMap::new();
    for cidr in cidrs {
        let read = || {
            let (first, length) = cidr.split_once('/')?;
            Some((u32::from(first.parse::<Ipv4Addr>().ok()?), length.parse().ok()?))
        };
        let (first, length) = read().ok_or_else(|| format!("{cidr} is no range"))?;
        ranges.entry(length).or_default().insert(first.to_string(), true);
    }
    Ok(json!({"lengths": ranges.keys().collect::<Vec<_>>(), "ranges": ranges}))
}

/// What an answer says. OPA challenges nobody: who may not pass may not pass.
fn outcome(answer: &Answer<'_>) -> Option<Outcome> {
    match (answer.status, answer.body.trim_ascii_end()) {
        (200, br#"{"result":true}"#) => Some(Outcome::Allowed),
        (200, br#"{"result":false}"#) => Some(Outcome::Challenged),
        _ => None,
    }
}
