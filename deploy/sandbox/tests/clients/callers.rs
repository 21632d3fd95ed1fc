//! APIs that ask caed themselves, started and asked by the very commands of `deploy/clients/README.md`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_sandbox::gateway::Gateway;
use caed_sandbox::{Ports, Sandbox, Setup};
use rustix::process::{Pid, Signal, getuid, kill_process, kill_process_group};
use tempfile::NamedTempFile;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::scene::{PATIENCE, PROJECT, evaluated, now_s, publish, publish_at, revoked};

/// The lines to type under a heading of the README.
fn commands(heading: &str) -> String {
    let text = include_str!("../../../clients/README.md");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("a heading");
    let section = section.split("\n## ").next().expect("a section");
    let lines: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(!lines.is_empty(), "{heading}");
    lines.join("\n")
}

/// An API that runs, in a process group of its own.
struct Api {
    process: Child,
    port: u16,
    log: NamedTempFile,
}

impl Api {
    async fn start(language: &str, caed: &str) -> Self {
        let port = Ports::free().expect("a free port").api;
        let script = commands(language);
        assert!(script.contains(" 8081 127.0.0.1:7431"), "{script}");
        let script = script.replace(" 8081 127.0.0.1:7431", &format!(" {port} {caed}"));
        let mut command = Command::new("bash");
        command.args(["-euc", &script]).current_dir(PROJECT).process_group(0);
        let log = NamedTempFile::new().expect("a file");
        command.stdin(Stdio::null()).stderr(log.reopen().expect("a file"));
        let mut api = Self { process: command.spawn().expect("bash"), port, log };
        // The first time it is made, which takes its while.
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = api.process.try_wait().expect("a process of ours");
            let said = || std::fs::read_to_string(api.log.path()).unwrap_or_default();
            assert_eq!(ended, None, "the API in {language} ended: {}", said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        api
    }

    /// What it answers to this token.
    async fn ask(&self, token: &str, options: &str) -> Answer {
        let script = commands("Try it").replace(":8081/", &format!(":{}/", self.port));
        // `-s` leaves out how far it is.
        let script = format!("{script} -s --noproxy '*' {options}");
        let mut command = Command::new("bash");
        let output = command.args(["-euc", &script]).env("old", token).output().await;
        let output = output.expect("bash");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{script}: {text}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        });
        let headers = headers.collect();
        Answer { status: status.expect("a status"), headers, body: body.to_owned() }
    }

    /// Waits until this token passes.
    async fn lets_in(&self, token: &str) {
        let started = Instant::now();
        while self.ask(token, "").await.status != 200 {
            assert!(started.elapsed() < PATIENCE, "nobody is let in any more");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let id = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// The values of a header, a line each.
    fn lines(&self, name: &str) -> Vec<&str> {
        let mine = self.headers.iter().filter(|(its, _)| its == name);
        mine.map(|(_, value)| value.as_str()).collect()
    }

    /// Asserts that it refuses by this status with this challenge, or none.
    fn assert_refuses(&self, status: u16, challenge: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let challenges: &[&str] = if challenge.is_empty() { &[] } else { &[challenge] };
        assert_eq!(self.lines("www-authenticate"), challenges, "{self:?}");
        assert_eq!(self.lines("cache-control"), ["no-store"], "{self:?}");
        assert_eq!(self.body, "", "{self:?}");
    }
}

/// Everybody named so is blocked wherever no address is seen.
fn nobody_without_a_place(user: &str) -> [Fact; 2] {
    let all = || vec!["All".to_owned()];
    let ranges = v1::IpRanges { cidrs: vec!["198.51.100.0/24".to_owned()] };
    let location = v1::LocationChanged {
        location: "office".to_owned(),
        ranges: Some(ranges),
        ..Default::default()
    };
    let users = v1::PolicyUsers { include_users: vec![user.to_owned()], ..Default::default() };
    let policy = v1::PolicyChanged {
        // One for each: of two versions of one policy in one second the greater stands (E15), whichever came later.
        policy: format!("office alone for {user}"),
        state: v1::PolicyState::Enabled.into(),
        users: Some(users),
        applications: Some(v1::PolicyApplications { include: all(), ..Default::default() }),
        locations: Some(v1::PolicyLocations { include: all(), exclude: vec!["office".to_owned()] }),
        grant_controls: vec!["block".to_owned()],
        ..Default::default()
    };
    [Fact::LocationChanged(location), Fact::PolicyChanged(policy)]
}

/// Whatever caed answers, the API says.
async fn assert_says_what_caed_says(api: &Api, sandbox: &Sandbox, case: &str) {
    let name = |what: &str| format!("{what} {case}");
    let token = |user: &str| sandbox.issuer.token(user, now_s() - 60, true);

    let anna = name("anna");
    let old = token(&anna);
    let answer = api.ask(&old, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "the report\n"), "{case}: {answer:?}");

    // None, several, one that is forged.
    api.ask("", "").await.assert_refuses(401, "Bearer");
    let second = format!("-H 'authorization: Bearer {old}'");
    api.ask(&old, &second).await.assert_refuses(401, "Bearer");
    let forged = old.rsplit_once('.').map(|(head, _)| format!("{head}.AAAA")).expect("a token");
    let reply = evaluated(sandbox, &forged).await;
    assert_eq!(reply.primary_reason(), v1::Reason::Unverified);
    api.ask(&forged, "").await.assert_refuses(401, &reply.www_authenticate);

    // Revoked: challenged, until there is a newer one.
    publish(sandbox, revoked(&anna)).await;
    let reply = evaluated(sandbox, &old).await;
    assert_eq!(reply.verdict(), v1::Verdict::Challenge);
    api.ask(&old, "").await.assert_refuses(401, &reply.www_authenticate);
    let nbf_s = u64::try_from(reply.challenge.expect("a challenge").nbf).expect("after 1970");
    let newer = sandbox.issuer.token(&anna, nbf_s, true);
    assert_eq!(api.ask(&newer, "").await.status, 200, "{case}");

    // Refused for good.
    let ben = name("ben");
    let disabled = Fact::AccountDisabled(v1::AccountDisabled { user: ben.clone() });
    publish_at(sandbox, disabled, now_s() - 120).await;
    api.ask(&token(&ben), "").await.assert_refuses(403, "");

    // No token passes before its time: with how long that is.
    let eve = name("eve");
    publish_at(sandbox, revoked(&eve), now_s() + 200).await;
    let answer = api.ask(&token(&eve), "").await;
    answer.assert_refuses(503, "");
    let wait = answer.lines("retry-after")[0].parse().expect("seconds");
    assert!((1..=201_u64).contains(&wait) && wait > 100, "{case}: {wait}");

    // The chain of addresses goes along, for caed to choose from.
    let dora = name("dora");
    for fact in nobody_without_a_place(&dora) {
        publish(sandbox, fact).await;
    }
    let dora = token(&dora);
    assert_eq!(api.ask(&dora, "").await.status, 403, "{case}");
    assert_eq!(api.ask(&dora, "-H 'forwarded: for=198.51.100.7'").await.status, 403, "{case}");
    let answer = api.ask(&dora, "-H 'x-forwarded-for: 198.51.100.7'").await;
    assert_eq!(answer.status, 200, "{case}: {answer:?}");
}

/// What it says while caed is paused, or gone, and afterwards.
async fn assert_fails_closed(api: &Api, sandbox: &mut Sandbox, case: &str) {
    let user = format!("frida {case}");
    let old = sandbox.issuer.token(&user, now_s() - 60, true);
    let other = sandbox.issuer.token(&format!("gina {case}"), now_s() - 60, true);
    api.lets_in(&other).await;
    publish(sandbox, revoked(&user)).await;

    let id = sandbox.sidecar_id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("caed");
    kill_process(id, Signal::STOP).expect("a process of ours");
    api.ask(&other, "").await.assert_refuses(503, "");
    kill_process(id, Signal::CONT).expect("a process of ours");
    api.lets_in(&other).await;

    sandbox.kill_sidecar().await.expect("killed");
    for token in [&other, &old] {
        let answer = api.ask(token, "").await;
        answer.assert_refuses(503, "");
        assert_eq!(answer.lines("retry-after"), ["1"], "{case}");
    }
    sandbox.start_sidecar().await.expect("started");
    api.lets_in(&other).await;
    assert_eq!(api.ask(&old, "").await.status, 401, "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_asks_caed_says_what_it_says_and_fails_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("caed.sock");
    // Whom this host is behind, who may ask over the socket, and where that is.
    let changes = format!(
        "[client_address]\ntrusted_proxies = [\"127.0.0.1/32\"]\n\n[[access]]\nuid = {}\n\
         may = [\"decide\"]\n\n[listen]\ngrpc_socket = \"{}\"\n",
        getuid().as_raw(),
        socket.display(),
    );
    let ports = Ports::free().expect("free ports");
    let caed_changes = [("[listen]\n", changes.as_str())];
    let gateway = Gateway::Envoy;
    let setup = Setup { gateway, ports, gateway_changes: &[], caed_changes: &caed_changes };
    let mut sandbox = Sandbox::start(setup).await.unwrap_or_else(|error| panic!("{error:?}"));
    let addresses = [format!("127.0.0.1:{}", ports.grpc), format!("unix:{}", socket.display())];
    for language in ["Python", "Go"] {
        for address in &addresses {
            let way = address.split(':').next().expect("a word");
            let case = format!("in {language} by {way}");
            let api = Api::start(language, address).await;
            assert_says_what_caed_says(&api, &sandbox, &case).await;
            assert_fails_closed(&api, &mut sandbox, &case).await;
        }
    }
}
