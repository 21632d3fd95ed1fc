//! Pipelines of the Azure SDKs, with their own credential and their own policy for bearer tokens: none of our code is
//! between caed's challenge and what the issuer is asked for.

use std::collections::BTreeMap;
use std::process::Stdio;

use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_sandbox::Sandbox;
use caed_sandbox::gateway::Gateway;
use caed_sandbox::issuer::{AUDIENCE, TENANT};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::scene::{PATIENCE, evaluated, now_s, printed, publish, revoked, sandbox};

/// Gateways, one for each way in which a challenge comes back from caed.
const GATEWAYS: [Gateway; 3] = [Gateway::Envoy, Gateway::Nginx, Gateway::Caddy];

/// An SDK.
#[derive(Clone, Copy, Debug)]
enum Sdk {
    Python,
    JavaScript,
    Go,
}

impl Sdk {
    const ALL: [Self; 3] = [Self::Python, Self::JavaScript, Self::Go];

    const fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::Go => "go",
        }
    }

    /// What its libraries hand over of their own accord: that they can answer a challenge, each in its words.
    fn claims(self) -> Value {
        match self {
            Self::Python | Self::Go => json!({"access_token": {"xms_cc": {"values": ["CP1"]}}}),
            Self::JavaScript => json!({
                "access_token": {"xms_cc": {"values": ["cp1"]}},
                "id_token": {"login_hint": {"essential": false}, "signin_state": {"essential": false}},
            }),
        }
    }

    /// Its program, with all that it needs.
    async fn command(self) -> Command {
        let folder = printed("tests/tools/clients.sh", &[self.folder()]).await;
        match self {
            Self::Python => {
                let mut command = Command::new("python3");
                command.env("PYTHONPATH", format!("{folder}/libraries"));
                command.arg(format!("{folder}/client.py"));
                command
            }
            Self::JavaScript => {
                let mut command = Command::new("node");
                command.arg(format!("{folder}/client.js"));
                command
            }
            Self::Go => Command::new(format!("{folder}/client")),
        }
    }
}

/// A program with one pipeline, which calls the API when it is told to.
struct Client {
    // Dropped, it is killed.
    _process: Child,
    asks: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Client {
    async fn start(sdk: Sdk, sandbox: &Sandbox, name: &str, options: &[&str]) -> Self {
        let authority = sandbox.folder().join("ca.crt");
        let ports = sandbox.ports;
        let mut command = sdk.command().await;
        command.arg(format!("https://localhost:{}/report", ports.gateway));
        command.arg(format!("{AUDIENCE}/.default")).args(options);
        command
            .env("AZURE_AUTHORITY_HOST", format!("https://localhost:{}", ports.issuer))
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_CLIENT_ID", name)
            .env("AZURE_CLIENT_SECRET", &sandbox.secret)
            .env("NO_PROXY", "localhost");
        // Each language asks for the file of authorities in its own words.
        for name in ["REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            command.env(name, &authority);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("the program; `make tools` says what is missing");
        let asks = process.stdin.take().expect("piped");
        let said = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { _process: process, asks, said }
    }

    /// How a call of the API ended: its status and what stood in the answer, or the error.
    async fn call(&mut self) -> String {
        self.asks.write_all(b"\n").await.expect("it listens");
        let line = timeout(PATIENCE, self.said.next_line()).await.expect("in time");
        line.expect("UTF-8").expect("it says how the call ended")
    }

    async fn passes(&mut self, name: &str, case: &str) {
        let said = self.call().await;
        let body = said.strip_prefix("200 ").unwrap_or_else(|| panic!("{case}: {said}"));
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["caed"]["x-caed-subject"], json!([name]), "{case}: {body}");
    }
}

/// How often caed has decided how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decided(BTreeMap<String, u64>);

impl Decided {
    async fn until_now(sandbox: &Sandbox) -> Self {
        let mut stream =
            TcpStream::connect(("127.0.0.1", sandbox.ports.admin)).await.expect("caed");
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("UTF-8");
        let counts = answer.lines().filter_map(|line| {
            let (labels, count) = line.strip_prefix("caed_decisions_total{")?.rsplit_once("} ")?;
            Some((labels.to_owned(), count.parse().ok()?))
        });
        Self(counts.collect())
    }

    /// What was decided since then, in the order of verdicts.
    async fn since(self, sandbox: &Sandbox) -> Vec<(String, u64)> {
        let now = Self::until_now(sandbox).await;
        let more = now.0.into_iter().map(|(labels, count)| {
            let before = self.0.get(&labels).copied().unwrap_or_default();
            (labels, count - before)
        });
        more.filter(|&(_, more)| more > 0).collect()
    }
}

/// What was handed over, read.
fn read(claims: Vec<Option<String>>) -> Vec<Option<Value>> {
    let read = |text: String| serde_json::from_str(&text).expect("JSON");
    claims.into_iter().map(|claims| claims.map(read)).collect()
}

/// The claims of caed's challenge to a token of this client that is a minute old.
async fn challenge(sandbox: &Sandbox, client: &str) -> Value {
    let reply = evaluated(sandbox, &sandbox.issuer.token(client, now_s() - 60, true)).await;
    assert_eq!(reply.verdict(), v1::Verdict::Challenge, "{reply:?}");
    let challenge = reply.challenge.expect("a challenge");
    let claims = serde_json::from_str(&challenge.claims).expect("JSON");
    let nbf = json!({"essential": true, "value": challenge.nbf.to_string()});
    assert_eq!(claims, json!({"access_token": {"nbf": nbf}}));
    claims
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenged_pipeline_gets_a_newer_token_and_passes() {
    for gateway in GATEWAYS {
        let sandbox = sandbox(gateway).await;
        for sdk in Sdk::ALL {
            let case = format!("{sdk:?} behind {gateway:?}");
            let name = sdk.folder();
            let mut client = Client::start(sdk, &sandbox, name, &[]).await;
            client.passes(name, &case).await;
            let mut expected = vec![Some(sdk.claims())];
            assert_eq!(read(sandbox.issuer.handed_over(name)), expected, "{case}");

            // Once is not enough: the token that it remembers by then came of a challenge.
            for _ in 0..2 {
                publish(&sandbox, revoked(name)).await;
                let challenge = challenge(&sandbox, name).await;
                let mut claims = sdk.claims();
                claims["access_token"]["nbf"] = challenge["access_token"]["nbf"].clone();
                expected.push(Some(claims));

                let before = Decided::until_now(&sandbox).await;
                client.passes(name, &case).await;
                let decided = [
                    (r#"verdict="allow",reason="none""#.to_owned(), 1),
                    (r#"verdict="challenge",reason="revoked""#.to_owned(), 1),
                ];
                assert_eq!(before.since(&sandbox).await, decided, "{case}");
                assert_eq!(read(sandbox.issuer.handed_over(name)), expected, "{case}");
            }
            // The newest token is the one that it keeps.
            client.passes(name, &case).await;
            assert_eq!(read(sandbox.issuer.handed_over(name)), expected, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_gets_no_token_tries_once() {
    let sandbox = sandbox(Gateway::Envoy).await;
    for sdk in Sdk::ALL {
        let name = sdk.folder();
        let mut client = Client::start(sdk, &sandbox, name, &[]).await;
        client.passes(name, name).await;

        sandbox.issuer.block(name);
        let user = name.to_owned();
        publish(&sandbox, Fact::AccountDisabled(v1::AccountDisabled { user })).await;
        for calls in 1..=2 {
            let before = Decided::until_now(&sandbox).await;
            let said = client.call().await;
            assert!(said.starts_with("error "), "{sdk:?}: {said}");
            assert!(said.contains("AADSTS7000112"), "{sdk:?}: {said}");
            let decided = [(r#"verdict="challenge",reason="revoked""#.to_owned(), 1)];
            assert_eq!(before.since(&sandbox).await, decided, "{sdk:?}");
            // Python's remembers for a minute that the issuer refused.
            let asked = sandbox.issuer.handed_over(name).len() - 1;
            assert!((1..=calls).contains(&asked), "{sdk:?}: {asked} by call {calls}");
        }
    }
}

/// Of the three, the SDK for Python alone lets a pipeline do without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_can_answer_no_challenge_is_refused_without_one() {
    let sandbox = sandbox(Gateway::Envoy).await;
    let name = "incapable";
    let start = || Client::start(Sdk::Python, &sandbox, name, &["--not-capable"]);
    let mut client = start().await;
    client.passes(name, name).await;
    publish(&sandbox, revoked(name)).await;

    let before = Decided::until_now(&sandbox).await;
    let said = client.call().await;
    assert!(said.starts_with("401 "), "{said}");
    let decided = [(r#"verdict="deny",reason="revoked""#.to_owned(), 1)];
    assert_eq!(before.since(&sandbox).await, decided);
    // Nothing in the answer had it ask again.
    assert_eq!(sandbox.issuer.handed_over(name), [None]);
    let reply = evaluated(&sandbox, &sandbox.issuer.token(name, now_s() - 60, false)).await;
    assert_eq!(reply.http_status, 401);
    assert!(!reply.www_authenticate.contains("claims"), "{reply:?}");

    // A token that it gets by itself, later, passes: in another process, which remembers none.
    let since_s = u64::try_from(reply.findings[0].since_ms / 1000).expect("after 1970");
    while now_s() <= since_s {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    start().await.passes(name, name).await;
    assert_eq!(sandbox.issuer.handed_over(name), [None, None]);
}
