//! The command line: what it prints, and how it ends.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use std::io::Write;
use std::process::{Output, Stdio};

use process::{ANY_PORTS, ISSUER, Sidecar, Site, TENANT, caed, now_ms, run, stderr, stdout};
use serde_json::{Value, json};

/// The exit code.
fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Checks that a command succeeded, and returns what it printed.
fn success(output: &Output) -> String {
    assert_eq!(code(output), Some(0), "{output:?}");
    stdout(output)
}

/// Runs a command with this standard input.
fn run_with(arguments: &[&str], input: &str) -> Output {
    let mut command = caed(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("spawned");
    // A command that refuses its flags reads nothing.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("runs")
}

/// The flags that name a token which was issued ten minutes ago.
fn token<'a>(user: &'a str, issued_s: &'a str) -> Vec<&'a str> {
    vec!["--iss", ISSUER, "--tid", TENANT, "--sub", user, "--iat", issued_s, "--xms-cc", "cp1"]
}

fn decide<'a>(at: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [&["decide"], at, rest].concat()
}

#[test]
fn the_demo_tells_its_story() {
    let output = run(&["demo"]);
    let text = success(&output);
    assert!(text.contains("16 answers, 0 of them wrong."), "{text}");
    assert!(!text.contains("NOT AS EXPECTED"), "{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_example_configurations_have_no_faults() {
    let caed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/caed.toml");
    let gateway = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/gateway.toml");
    for example in [caed, gateway] {
        let text = success(&run(&["check-config", "--config", example]));
        assert_eq!(text, format!("{example}: no faults\n"));
    }
}

#[test]
fn six_faults_are_six_lines() {
    let site = Site::new();
    let path = site.file(
        "caed.toml",
        r#"[log]
directory = "/tmp/caed"
[listen]
grpc = "0.0.0.0:7431"
admin = 9090
[tokens]
clock_skew = "2h"
[[issuers]]
issuer = "https://idp.example"
[profile]
risk_treshold = "low"
[telemetry]
format = "xml"
"#,
    );
    let path = path.to_str().expect("UTF-8");
    let output = run(&["check-config", "--config", path]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert_eq!(stdout(&output), "");
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], format!("caed: {path}: the configuration has 6 faults:"));
    let expected = [
        "  line 4: listen.grpc: ",
        "  line 5: listen.admin: ",
        "  line 7: tokens.clock_skew: ",
        "  line 8: issuers[0].tenants: ",
        "  line 11: profile.risk_treshold: ",
        "  line 13: telemetry.format: ",
    ];
    assert_eq!(lines.len(), expected.len() + 1, "{text}");
    for (line, expected) in lines[1..].iter().zip(expected) {
        assert!(line.starts_with(expected), "{expected}: {line}");
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let output = run(&["serve", "--config", "/nowhere/caed.toml"]);
    assert_eq!(code(&output), Some(1));
    let text = stderr(&output);
    assert!(
        text.starts_with("caed: the configuration /nowhere/caed.toml can not be read: "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_variable_that_is_no_text_is_a_fault_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStrExt;
    let no_text = std::ffi::OsStr::from_bytes(&[0xff]);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/caed.toml");
    let with = |name: &str| {
        let mut command = caed(&["check-config", "--config", example]);
        command.env(name, no_text).output().expect("runs")
    };
    success(&with("SOMEBODY_ELSES"));
    let output = with("CAED_LOG_DIRECTORY");
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert_eq!(stderr(&output), "caed: the environment variable CAED_LOG_DIRECTORY is not UTF-8\n");
}

#[test]
fn a_log_that_is_not_there_allows_nothing() {
    let site = Site::new();
    let config = site.config("caed.toml", ANY_PORTS, "");
    let issued_s = (now_ms() / 1000 - 600).to_string();
    let from_log = ["--from-log", config.to_str().expect("UTF-8")];
    let output = run(&decide(&from_log, &token("alice", &issued_s)));
    assert_eq!(code(&output), Some(1), "{output:?}");
    let folder = site.path("log");
    let expected = format!("caed: there is no log in {}; ", folder.display());
    assert!(stderr(&output).starts_with(&expected), "{output:?}");
    assert!(!folder.exists(), "none is made");
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &[][..],
        &["dance"],
        &["serve"],
        &["publish"],
        &["publish", "sessions-revoked", "--tenant", "t"],
        &["publish", "user-risk-changed", "--tenant", "t", "--user", "u", "--level", "severe"],
        &["publish", "--file", "f", "tenant-revoked", "--tenant", "t"],
        &["decide", "--iat", "yesterday"],
        &["decide", "--request", "{}", "--sub", "u"],
        &["decide", "--request", "{}", "--xms-cc", "cp1"],
        &["decide", "--from-log", "caed.toml", "--at", "127.0.0.1:1"],
        &["status", "--verbose"],
    ] {
        let output = run(arguments);
        assert_eq!(code(&output), Some(2), "{arguments:?}: {output:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    assert!(success(&run(&["--version"])).starts_with("caed "));
    assert!(success(&run(&["--help"])).contains("check-config"));
}

#[test]
fn a_sidecar_that_is_not_there_is_named() {
    let site = Site::new();
    let address = format!("unix:{}", site.path("caed.sock").display());
    let output = run(&["status", "--at", &address]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    let text = stderr(&output);
    assert!(
        text.starts_with(&format!("caed: no sidecar answers at {address}; start one with")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn the_commands_talk_to_a_sidecar() {
    let site = Site::new();
    let config = site.config("caed.toml", ANY_PORTS, "");
    let mut sidecar = Sidecar::start(&config);
    sidecar.logged("ready");
    let address = sidecar.grpc().to_string();
    let at = ["--at", address.as_str()];

    one_event_is_published(&at);
    a_file_is_published(&site, &at);
    a_decision_is_told_by_the_exit_code(&at);
    a_refused_request_is_a_failure(&at);
    status_is_shown(&at, &address);
    a_reader_that_has_gone_is_no_fault(&at);
    a_directory_is_published(&site, &at);
    an_answer_is_explained(&at);
    a_tenant_and_its_users_are_shown(&at);
    a_source_is_heard_and_halted(&at);

    let config = config.to_str().expect("UTF-8");
    let issued_s = (now_ms() / 1000 - 600).to_string();
    let from_log = decide(&["--from-log", config], &token("alice", &issued_s));
    let output = run(&from_log);
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stderr(&output).contains("is in use by another process"), "{output:?}");
    assert_eq!(sidecar.terminate().code, Some(0));
    let output = run(&from_log);
    assert_eq!(code(&output), Some(3), "{output:?}");
    assert!(stdout(&output).starts_with("CHALLENGE  (HTTP 401)\n"), "{output:?}");
    let output = run(&decide(&["--from-log", config], &token("nobody-spoke-of", &issued_s)));
    assert!(success(&output).starts_with("ALLOW  (HTTP 200)\n"));
}

fn one_event_is_published(at: &[&str]) {
    let event = ["publish", "sessions-revoked", "--tenant", TENANT, "--user", "alice"];
    let text = success(&run(&[&event, at].concat()));
    let (position, times) = text.trim_end().split_once("  ").expect("two parts");
    assert_eq!(position, "embedded/0@0");
    let times = times.strip_prefix("durable after ").and_then(|rest| rest.strip_suffix(" ms"));
    let (durable, enforced) =
        times.and_then(|times| times.split_once(" ms, enforced after ")).expect(&text);
    let millis = |text: &str| text.parse::<f64>().expect("a number");
    assert!(0.0 < millis(durable) && millis(durable) <= millis(enforced), "{text}");

    // The flag may stand before the event as well.
    let event = ["sessions-revoked", "--tenant", TENANT, "--user", "alice"];
    let output = run(&[&["publish"], at, &event].concat());
    assert!(success(&output).starts_with("embedded/0@1  "));

    let event = ["publish", "client-revoked", "--tenant", TENANT, "--client", "any"];
    let output = run(&[&event, at].concat());
    assert!(success(&output).starts_with("embedded/0@2  "));
    assert_eq!(stderr(&output), "notice: misses_tokens_without_claim\n");

    let event = ["publish", "sessions-revoked", "--tenant", TENANT, "--user", ""];
    let output = run(&[&event, at].concat());
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert_eq!(stderr(&output), "caed: sessions_revoked.user: is empty\n");
}

fn a_file_is_published(site: &Site, at: &[&str]) {
    let line = |user: &str| {
        json!({"tenant": TENANT, "source": "directory", "sessionsRevoked": {"user": user}})
            .to_string()
    };
    let many: Vec<_> = (0..700).map(|index| line(&format!("of-file-{index}"))).collect();
    let publish = |path: &str| run(&[&["publish", "--file", path], at].concat());
    let published =
        |name: &str, text: &str| publish(site.file(name, text).to_str().expect("UTF-8"));

    let whole = format!("{}\n\n{}\n", many.join("\n"), line("bob"));
    assert_eq!(success(&published("whole.jsonl", &whole)), "701 events are durable\n");
    let output = run_with(&[&["publish", "--file", "-"], at].concat(), &line("carol"));
    assert_eq!(success(&output), "1 events are durable\n");

    let faulty = |last: &str| format!("{}\n{}\n{last}\n", many.join("\n"), line("dora"));
    let output = published("misspelt.jsonl", &faulty(r#"{"tennant": "t"}"#));
    assert_eq!(code(&output), Some(1), "{output:?}");
    let text = stderr(&output);
    let expected =
        "caed: line 702 is no event; 500 events before it are published: unknown field `tennant`";
    assert!(text.starts_with(expected), "{text}");

    let output = published("empty.jsonl", &faulty(&line("")));
    assert_eq!(code(&output), Some(1), "{output:?}");
    let expected = "caed: 500 events are published, the next 202 are not: line 702: sessions_revoked.user: is empty\n";
    assert_eq!(stderr(&output), expected);

    let output = publish("/nowhere/events.jsonl");
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(
        stderr(&output).starts_with("caed: /nowhere/events.jsonl can not be read: "),
        "{output:?}"
    );
}

fn a_directory_is_published(site: &Site, at: &[&str]) {
    let publish = |event: &[&str]| {
        success(&run(&[&["publish", event[0], "--tenant", TENANT], &event[1..], at].concat()));
    };
    let issued_s = (now_ms() / 1000 - 600).to_string();
    let seen_at = |address: &str| {
        let more = ["--ipaddr", "198.51.100.7", "--client-ip", address];
        run(&decide(at, &[&token("nobody-spoke-of", &issued_s)[..], &more].concat()))
    };
    let policy = json!({
        "policy": "office-only",
        "state": "POLICY_STATE_ENABLED",
        "users": {"includeUsers": ["All"], "excludeGroups": ["admins"]},
        "applications": {"include": ["All"]},
        "locations": {"include": ["All"], "exclude": ["hq"]},
        "grantControls": ["block"],
    });
    let policy = site.file("policy.json", &policy.to_string());
    let ranges = site.file("ranges.txt", "203.0.113.0/24\n");
    let ranges = ranges.to_str().expect("UTF-8");
    let location = ["--location", "hq", "--range", "198.51.100.0/24", "--ranges", ranges];
    let now = now_ms().to_string();
    publish(&["group-read", "--group", "admins", "--member", "eve", "--event-time-ms", &now]);
    publish(&[&["location-changed"], &location[..]].concat());
    publish(&["policy-changed", "--json", policy.to_str().expect("UTF-8")]);

    for inside in ["198.51.100.9", "203.0.113.9"] {
        success(&seen_at(inside));
    }
    let output = seen_at("192.0.2.1");
    assert_eq!(code(&output), Some(3), "{output:?}");
    let text = stdout(&output);
    assert!(text.contains("  reason    location · policy office-only"), "{text}");
    assert!(text.contains(r#""xms_rp_ipaddr":{"value":"192.0.2.1"}"#), "{text}");

    publish(&["tenant-settings", "--cae", "report-only"]);
    let text = success(&seen_at("192.0.2.1"));
    assert!(text.contains("  report    would be challenge  location\n"), "{text}");
    publish(&["tenant-settings-deleted"]);
    publish(&["member-added", "--group", "admins", "--user", "nobody-spoke-of"]);
    success(&seen_at("192.0.2.1"));
    publish(&["policy-deleted", "--policy", "office-only"]);
    let status = success(&run(&[&["status"], at].concat()));
    assert!(status.contains("directory  0 policies, 1 locations, 1 groups\n"), "{status}");

    // What is no range is told by its field.
    let event =
        ["publish", "location-changed", "--tenant", TENANT, "--location", "x", "--range", "x"];
    let output = run(&[&event, at].concat());
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stderr(&output).starts_with("caed: location_changed.ranges.cidrs: `x` is no range"));
}

fn a_decision_is_told_by_the_exit_code(at: &[&str]) {
    let issued_s = (now_ms() / 1000 - 600).to_string();
    let output = run(&decide(at, &token("nobody-spoke-of", &issued_s)));
    assert!(success(&output).starts_with("ALLOW  (HTTP 200)\n  knowledge generation "));

    for user in ["alice", "bob", "carol", "of-file-499"] {
        let output = run(&decide(at, &token(user, &issued_s)));
        assert_eq!(code(&output), Some(3), "{output:?}");
        let text = stdout(&output);
        let expected = "CHALLENGE  (HTTP 401)\n  reason    revoked · scope user · since ";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("  header    WWW-Authenticate: Bearer "), "{text}");
    }
    // What stood before a faulty line in the same call was not published.
    let output = run(&decide(at, &token("dora", &issued_s)));
    success(&output);

    let output = run(&decide(at, &token("alice", "1000000000")));
    assert_eq!(code(&output), Some(4), "{output:?}");
    assert!(stdout(&output).contains("  reason    beyond_horizon\n"), "{output:?}");

    let claims =
        json!({"iss": ISSUER, "tid": TENANT, "sub": "alice", "iat": issued_s, "xmsCc": ["cp1"]});
    let request = json!({ "claims": claims }).to_string();
    let output = run(&decide(at, &["--json", "--request", &request]));
    assert_eq!(code(&output), Some(3), "{output:?}");
    let reply: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(reply["verdict"], "VERDICT_CHALLENGE");
    assert_eq!(reply["findings"][0]["scope"], "SCOPE_USER");
    let output = run_with(&decide(at, &["--request", "-"]), &request);
    assert_eq!(code(&output), Some(3), "{output:?}");
}

fn a_refused_request_is_a_failure(at: &[&str]) {
    let output = run(&decide(at, &["--request", "{}"]));
    assert_eq!(code(&output), Some(1), "{output:?}");
    let text = stderr(&output);
    assert_eq!(
        text,
        "caed: token: is missing; give the token as `jwt`, or the claims of the verified token\n"
    );
    let output = run(&decide(at, &["--request", r#"{"claims": {"isss": "x"}}"#]));
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stderr(&output).contains("unknown field `isss`"), "{output:?}");
}

fn status_is_shown(at: &[&str], address: &str) {
    let text = success(&run(&[&["status"], at].concat()));
    assert!(text.starts_with(&format!("caed {}, ready, up ", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains("\nlog        ") && text.contains("\nstate      1 tenants, "), "{text}");
    assert!(text.contains("notice     1 revocations named no user"), "{text}");
    let text = success(&run(&[&["status", "--json"], at].concat()));
    let reply: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(reply["ready"], true);
    assert_eq!(reply["horizonS"], "108000");
    let mut command = caed(&["status"]);
    success(&command.env("CAED_AT", address).output().expect("runs"));
    // A flag counts more than the variable.
    let mut command = caed(&[&["status"], at].concat());
    success(&command.env("CAED_AT", "127.0.0.1:1").output().expect("runs"));
}

/// A user whose account is disabled, at an address that a policy blocks.
fn an_answer_is_explained(at: &[&str]) {
    let publish = |event: &[&str]| {
        success(&run(&[&["publish", event[0], "--tenant", TENANT], &event[1..], at].concat()));
    };
    let policy = json!({
        "policy": "hq-only",
        "state": "POLICY_STATE_ENABLED",
        "users": {"includeUsers": ["All"]},
        "applications": {"include": ["All"]},
        "locations": {"include": ["All"], "exclude": ["hq"]},
        "grantControls": ["block"],
    });
    let facts = json!({"tenant": TENANT, "source": "admin", "policyChanged": policy}).to_string();
    success(&run_with(&[&["publish", "--file", "-"], at].concat(), &facts));
    publish(&["account-disabled", "--source", "hr", "--user", "frank"]);

    let issued_s = (now_ms() / 1000 - 600).to_string();
    let question = [
        &token("frank", &issued_s)[..],
        &["--ipaddr", "198.51.100.7", "--client-ip", "::ffff:192.0.2.1"],
    ];
    let question = decide(at, &question.concat());
    let output = run(&[&question[..], &["--explain"]].concat());
    assert_eq!(code(&output), Some(3), "{output:?}");
    let text = stdout(&output);
    assert!(text.starts_with("CHALLENGE  (HTTP 401)\n  reason    revoked · scope user"), "{text}");
    let (_, rest) = text.split_once("\nTo be allowed it takes, all together:\n").expect(&text);
    let (remedies, rules) = rest.split_once("\nRule by rule:\n").expect(rest);
    // A second that is still to come is worth waiting for.
    let remedies = remedies.lines().filter(|line| !line.starts_with("  · time: "));
    let remedies: Vec<&str> = remedies.collect();
    assert_eq!(remedies.len(), 3, "{text}");
    for remedy in [
        "  · account `frank` enabled by source `hr`",
        "  · an address inside hq, such as 198.51.100.0",
    ] {
        assert!(remedies.contains(&remedy), "{text}");
    }
    assert!(remedies.iter().any(|it| it.starts_with("  · a new token, issued at 20")), "{text}");
    let marks: Vec<&str> =
        rules.lines().filter(|line| !line.starts_with("     ")).map(|line| &line[2..]).collect();
    assert_eq!(marks.len(), 16, "{text}");
    for mark in ["✓ D1  the token is alive", "✗ D3  nothing revoked it", "✗ D5  no policy blocks"]
    {
        assert!(marks.contains(&mark), "{mark}: {text}");
    }
    for fact in [
        "cutoff of the user  20",
        "account by `hr`  20",
        "policy `hq-only`  blocks here",
        "why  its claims were given; a decision believes them from callers that may vouch",
        "  the caller gave it as `::ffff:192.0.2.1`\n",
    ] {
        assert!(rules.contains(fact), "{fact}: {text}");
    }
    let output = run(&[&question[..], &["--explain", "--json"]].concat());
    let reply: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(reply["decision"]["verdict"], "VERDICT_CHALLENGE");
    assert_eq!(reply["address"]["address"], "192.0.2.1");
    let remedies = reply["remedies"].as_array().expect("remedies");
    let enabled = remedies.iter().find_map(|remedy| remedy.get("enableAccount"));
    assert_eq!(enabled, Some(&json!({"source": "hr"})), "{reply}");
}

fn a_source_is_heard_and_halted(at: &[&str]) {
    let tell = |flags: &[&str]| success(&run(&[&["publish"], flags, at].concat()));
    let shown = || success(&run(&[&["status"], at].concat()));
    let of = ["--tenant", TENANT];
    tell(&[&["heartbeat"], of.as_slice(), &["--source", "crm"]].concat());
    assert!(!shown().contains("source     crm"), "nothing is expected of it");
    let known = success(&run(&[&["status"], of.as_slice(), at].concat()));
    let unknown = "\nsource     crm: not declared to give signs of life, so its age is unknown\n";
    assert!(known.contains(unknown), "{known}");

    let declared = ["source-declared", "--source", "admin", "--name", "crm", "--declared"];
    tell(&[declared.as_slice(), &of].concat());
    let line = format!("\nsource     crm of {TENANT}: heard ");
    assert!(shown().contains(&line), "{}", shown());

    tell(&[&["heartbeat"], of.as_slice(), &["--source", "crm", "--state", "disabled"]].concat());
    let text = shown();
    assert!(text.contains("\nsources    1 silent for too long, or halted\n"), "{text}");
    assert!(text.contains(&format!("\nsource     crm of {TENANT}: stale, heard ")), "{text}");
    assert!(text.contains(", stream 0 disabled 20"), "{text}");
    tell(&[&["heartbeat"], of.as_slice(), &["--source", "crm"]].concat());
    assert!(!shown().contains("silent for too long"), "{}", shown());
}

fn a_tenant_and_its_users_are_shown(at: &[&str]) {
    let show = |flags: &[&str]| success(&run(&[&["status"], flags, at].concat()));
    let text = show(&["--tenant", TENANT]);
    let expected = format!("tenant {TENANT}\ncae        not configured: on, for everybody\n");
    assert!(text.starts_with(&expected), "{text}");
    for line in [
        "\npolicy     hq-only: enabled, block, enforceable, since 20",
        "\nlocation   hq: 2 ranges, since 20",
        "\ngroup      admins: 2 members, since 20",
        "\nknowledge  generation ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let reply: Value = serde_json::from_str(&show(&["--tenant", TENANT, "--json"])).expect("JSON");
    let hash = reply["policies"][0]["edition"]["contentHash"].as_str().expect("a hash");
    assert_eq!(hash.len(), 32, "{reply}");

    // It is the only tenant.
    let text = show(&["--user", "frank"]);
    for line in [
        &format!("user frank of tenant {TENANT}\ncutoff     20"),
        "Z  user, by account disabled at embedded/0@",
        "\naccount    20",
        "Z  disabled by hr\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = show(&["--tenant", TENANT, "--user", "nobody-spoke-of"]);
    assert!(text.contains("\ngroup      in admins, changed 20"), "{text}");
    let text = show(&["--user", "never-seen"]);
    assert!(text.contains("\nnothing is known: no event names this user\n"), "{text}");

    let delete = ["publish", "policy-deleted", "--tenant", TENANT, "--policy", "hq-only"];
    success(&run(&[&delete, at].concat()));

    for flags in [&["--tenant", "nowhere"][..], &["--tenant", "nowhere", "--user", "frank"]] {
        let output = run(&[&["status"], flags, at].concat());
        assert_eq!((code(&output), stdout(&output).as_str()), (Some(1), ""), "{output:?}");
        let text = stderr(&output);
        assert!(
            text.starts_with("caed: tenant `nowhere` is not known: no event names it"),
            "{text}"
        );
    }
}

fn a_reader_that_has_gone_is_no_fault(at: &[&str]) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = caed(&[&["status"], at].concat());
    let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("runs");
    assert_eq!((code(&output), stderr(&output).as_str()), (Some(0), ""), "{output:?}");
}
