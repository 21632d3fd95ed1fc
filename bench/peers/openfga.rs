//! `OpenFGA` as a server, over `SQLite`, asked by gRPC.
//!
//! A revoked user is a tuple whose condition holds for tokens of before the cutoff, which each check tells.
//!
//! | | documented | expert |
//! |---|---|---|
//! | asked | may the user use the API: everybody may but those who are revoked | is the user revoked: one look-up, and the answer is turned round |
//! | times | timestamps | numbers |
//! | started | as it comes | without playground, metrics and logs of requests, and with larger writes |
//!
//! Its storage in memory looks through a list for each check, and is not meant for more than trials. Its caches
//! would let a revoked user pass until they expire, and stay off, as they come.

use std::net::SocketAddr;
use std::path::Path;

use caed_bench::generator::{Answer, Calls, Outcome, Target, wire};
use caed_bench::visitors::{TENANT, Visitors};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Timestamp};
use serde_json::{Value, json};

use crate::client::Client;
use crate::contestant::{Asked, Contestant, Later, Question};
use crate::process::{self, Process};
use crate::way::Way;

const CHECK: &str = "/openfga.v1.OpenFGAService/Check";
const WRITE: &str = "/openfga.v1.OpenFGAService/Write";
const CONDITION: &str = "issued_before";

/// One process of it, with a store and a model.
pub(crate) struct OpenFga {
    way: Way,
    process: Process,
    address: SocketAddr,
    writer: Client,
    store: String,
    model: String,
}

impl OpenFga {
    /// Starts one with its model and nobody revoked.
    pub(crate) async fn start(way: Way, folder: &Path) -> Result<Self, String> {
        let program = process::obtained("openfga")?;
        let storage = format!("file:{}", folder.join("openfga.db").display());
        let storage = ["--datastore-engine=sqlite", &format!("--datastore-uri={storage}")];
        let mut migrate = vec!["migrate"];
        migrate.extend(storage);
        process::run(&program, &migrate)?;
        let (address, http) = (process::free_address()?, process::free_address()?);
        let listen = [format!("--grpc-addr={address}"), format!("--http-addr={http}")];
        let mut arguments = vec!["run", &listen[0], &listen[1], "--playground-enabled=false"];
        arguments.extend(storage);
        let writes = format!("--max-tuples-per-write={}", tuples_at_once(Way::Expert));
        if way == Way::Expert {
            arguments.extend(["--metrics-enabled=false", "--log-level=none", &writes]);
        } else {
            arguments.push("--metrics-addr=127.0.0.1:0");
        }
        let mut process = Process::start(&program, &arguments, folder, "openfga")?;
        process.listens(http)?;
        process.listens(address)?;
        let mut rest = Client::http(http).await?;
        let store = json!({"name": "caed"}).to_string();
        let store = member(&rest.request("POST", "/stores", store.into()).await?, "id")?;
        let path = format!("/stores/{store}/authorization-models");
        let model = rest.request("POST", &path, model(way).to_string().into()).await?;
        let model = member(&model, "authorization_model_id")?;
        let writer = Client::grpc(address).await?;
        let this = Self { way, process, address, writer, store, model };
        if way == Way::Documented {
            let everybody = TupleKey::new("user:*", "user", None);
            this.write(vec![everybody]).await?;
        }
        Ok(this)
    }

    async fn write(&self, tuple_keys: Vec<TupleKey>) -> Result<(), String> {
        let request = WriteRequest {
            store: self.store.clone(),
            writes: Some(Writes { tuple_keys }),
            model: self.model.clone(),
        };
        self.writer.call(WRITE, &request.encode_to_vec()).await.map(drop)
    }

    fn revoked(&self, user: &str, cutoff_s: i64) -> TupleKey {
        let context = structure("cutoff", self.time(cutoff_s));
        let condition = Condition { name: CONDITION.to_owned(), context: Some(context) };
        TupleKey::new(&format!("user:{user}"), "revoked", Some(condition))
    }

    /// A time as the condition reads it.
    #[expect(clippy::cast_precision_loss, reason = "seconds, far below 2^53")]
    fn time(&self, seconds: i64) -> Kind {
        match self.way {
            Way::Documented => Kind::StringValue(Timestamp { seconds, nanos: 0 }.to_string()),
            Way::Expert => Kind::NumberValue(seconds as f64),
        }
    }
}

impl Contestant for OpenFga {
    fn pids(&self) -> Vec<u32> {
        vec![self.process.pid()]
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn calls(&self, _: Question, asked: &[Asked]) -> Calls {
        let (relation, outcome): (_, fn(&Answer<'_>) -> Option<Outcome>) = match self.way {
            Way::Documented => ("can_use", may_use),
            Way::Expert => ("revoked", is_revoked),
        };
        let request = |Asked { visitor, .. }: &Asked| CheckRequest {
            store: self.store.clone(),
            tuple_key: Some(TupleKey::new(&format!("user:{}", visitor.user), relation, None)),
            model: self.model.clone(),
            context: Some(structure("issued_at", self.time(visitor.issued_s))),
        };
        Calls {
            target: Target::Grpc { path: CHECK.to_owned() },
            calls: asked.iter().map(|asked| asked.call(request(asked).encode_to_vec())).collect(),
            outcome,
        }
    }

    fn load<'a>(&'a mut self, visitors: &'a Visitors) -> Later<'a, ()> {
        Box::pin(async move {
            let users: Vec<String> = visitors.revoked_users().collect();
            for users in users.chunks(tuples_at_once(self.way)) {
                let cutoff_s = visitors.now_s - 1800;
                let tuples = users.iter().map(|user| self.revoked(user, cutoff_s));
                self.write(tuples.collect()).await?;
            }
            Ok(())
        })
    }

    fn revoke<'a>(&'a mut self, user: &'a str) -> Later<'a, ()> {
        let tuple = self.revoked(user, Visitors::new(0, 0).now_s);
        Box::pin(async move { self.write(vec![tuple]).await })
    }
}

/// How many tuples a write may have: as it comes, and as many as `SQLite` can take.
const fn tuples_at_once(way: Way) -> usize {
    match way {
        Way::Documented => 100,
        Way::Expert => 1000,
    }
}

fn model(way: Way) -> Value {
    let (time, direct) = match way {
        Way::Documented => ("TYPE_NAME_TIMESTAMP", json!({"this": {}})),
        Way::Expert => ("TYPE_NAME_INT", json!({"this": {}})),
    };
    let by_condition =
        json!({"directly_related_user_types": [{"type": "user", "condition": CONDITION}]});
    let api = match way {
        Way::Documented => json!({
            "type": "api",
            "relations": {
                "user": direct,
                "revoked": direct,
                "can_use": {"difference": {
                    "base": {"computedUserset": {"relation": "user"}},
                    "subtract": {"computedUserset": {"relation": "revoked"}},
                }},
            },
            "metadata": {"relations": {
                "user": {"directly_related_user_types": [{"type": "user", "wildcard": {}}]},
                "revoked": by_condition,
            }},
        }),
        Way::Expert => json!({
            "type": "api",
            "relations": {"revoked": direct},
            "metadata": {"relations": {"revoked": by_condition}},
        }),
    };
    let condition = json!({
        "name": CONDITION,
        "expression": "issued_at <= cutoff",
        "parameters": {"issued_at": {"type_name": time}, "cutoff": {"type_name": time}},
    });
    json!({
        "schema_version": "1.1",
        "type_definitions": [{"type": "user"}, api],
        "conditions": {CONDITION: condition},
    })
}

/// What the answer to "may the user use it" says. `OpenFGA` challenges nobody: who may not pass may not pass.
fn may_use(answer: &Answer<'_>) -> Option<Outcome> {
    let is_allowed = wire::number(answer.body, 1) == 1;
    let outcome = if is_allowed { Outcome::Allowed } else { Outcome::Challenged };
    (answer.grpc_status == Some(0)).then_some(outcome)
}

/// What the answer to "is the user revoked" says.
fn is_revoked(answer: &Answer<'_>) -> Option<Outcome> {
    let is_revoked = wire::number(answer.body, 1) == 1;
    let outcome = if is_revoked { Outcome::Challenged } else { Outcome::Allowed };
    (answer.grpc_status == Some(0)).then_some(outcome)
}

fn member(body: &[u8], name: &str) -> Result<String, String> {
    let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let member = body.get(name).and_then(Value::as_str).map(str::to_owned);
    member.ok_or_else(|| format!("{body} has no {name}"))
}

fn structure(name: &str, kind: Kind) -> Struct {
    let value = prost_types::Value { kind: Some(kind) };
    Struct { fields: [(name.to_owned(), value)].into() }
}

/// As much of `openfga.v1` as is said here.
#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    store: String,
    #[prost(message, optional, tag = "2")]
    tuple_key: Option<TupleKey>,
    #[prost(string, tag = "4")]
    model: String,
    #[prost(message, optional, tag = "6")]
    context: Option<Struct>,
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(string, tag = "1")]
    store: String,
    #[prost(message, optional, tag = "2")]
    writes: Option<Writes>,
    #[prost(string, tag = "4")]
    model: String,
}

#[derive(Clone, PartialEq, Message)]
struct Writes {
    #[prost(message, repeated, tag = "1")]
    tuple_keys: Vec<TupleKey>,
}

#[derive(Clone, PartialEq, Message)]
struct TupleKey {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    relation: String,
    #[prost(string, tag = "3")]
    object: String,
    #[prost(message, optional, tag = "4")]
    condition: Option<Condition>,
}

#[derive(Clone, PartialEq, Message)]
struct Condition {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    context: Option<Struct>,
}

impl TupleKey {
    fn new(user: &str, relation: &str, condition: Option<Condition>) -> Self {
        let object = format!("api:{TENANT}");
        Self { user: user.to_owned(), relation: relation.to_owned(), object, condition }
    }
}
