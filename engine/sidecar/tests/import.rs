//! From Microsoft Graph's JSON into a sidecar, and out of it again.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects, and stops where it is not so"
)]

mod process;

use std::path::{Path, PathBuf};
use std::process::Output;

use process::{ANY_PORTS, ISSUER, Sidecar, Site, TENANT, now_ms, run, stderr, stdout};
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

/// The flags that name a token.
fn token<'a>(user: &'a str, issued_s: &'a str) -> Vec<&'a str> {
    vec!["--iss", ISSUER, "--tid", TENANT, "--sub", user, "--iat", issued_s, "--xms-cc", "cp1"]
}

fn decide(at: &[&str], rest: &[&str]) -> Output {
    run(&[&["decide"], at, rest].concat())
}

fn import(at: &[&str], files: &[&Path], more: &[&str]) -> Output {
    let files: Vec<_> = files.iter().map(|path| path.to_str().expect("UTF-8")).collect();
    run(&[&["import", "--tenant", TENANT], &files[..], more, at].concat())
}

fn publish(at: &[&str], event: &[&str]) {
    success(&run(&[&["publish"], event, &["--tenant", TENANT], at].concat()));
}

/// One number for everything that the sidecar knows.
fn digest(at: &[&str]) -> String {
    let text = success(&run(&[&["status", "--digest"], at].concat()));
    text.lines().next().expect("a line").to_owned()
}

/// Grows with everything that the sidecar reads.
fn generation(at: &[&str]) -> Value {
    let text = success(&run(&[&["status", "--json"], at].concat()));
    let status: Value = serde_json::from_str(&text).expect("JSON");
    status["knowledge"]["frontier"].clone()
}

/// What is known of the tenant, without what the process knows it by.
fn tenant(at: &[&str]) -> String {
    let text = success(&run(&[&["status", "--tenant", TENANT], at].concat()));
    let lines = text.lines().filter(|line| !line.starts_with("knowledge"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A location by ranges, as Graph writes it.
fn location(id: &str, ranges: &[&str], is_trusted: bool) -> Value {
    let ranges: Vec<_> = ranges.iter().map(|range| json!({"cidrAddress": range})).collect();
    json!({
        "@odata.type": "#microsoft.graph.ipNamedLocation",
        "id": id,
        "displayName": id,
        "modifiedDateTime": "2025-04-01T00:00:00Z",
        "isTrusted": is_trusted,
        "ipRanges": ranges,
    })
}

/// A policy that blocks everybody outside a location, as Graph writes it.
fn only_from(id: &str, location: &str) -> Value {
    json!({
        "id": id,
        "displayName": id,
        "state": "enabled",
        "modifiedDateTime": "2025-05-01T00:00:00Z",
        "conditions": {
            "users": {"includeUsers": ["All"]},
            "applications": {"includeApplications": ["All"]},
            "locations": {"includeLocations": ["All"], "excludeLocations": [location]},
        },
        "grantControls": {"operator": "OR", "builtInControls": ["block"]},
    })
}

fn list(site: &Site, name: &str, items: &[Value]) -> PathBuf {
    site.file(name, &json!({"value": items}).to_string())
}

#[test]
fn graph_is_imported_and_a_second_time_changes_nothing() {
    let site = Site::new();
    let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    sidecar.logged("ready");
    let address = sidecar.grpc().to_string();
    let at = ["--at", address.as_str()];
    let locations = site.file(
        "locations.json",
        &json!([{
            "@odata.type": "#microsoft.graph.ipNamedLocation",
            "id": "hq",
            "displayName": "HQ",
            "modifiedDateTime": "2026-04-01T00:00:00Z",
            "ipRanges": [{"cidrAddress": "198.51.100.77/24"}],
        }])
        .to_string(),
    );
    let policies = |name: &str, state: &str, modified: &str| {
        let list = json!({"value": [{
            "id": "hq-only",
            "state": state,
            "modifiedDateTime": modified,
            "conditions": {
                "users": {"includeUsers": ["All"]},
                "applications": {"includeApplications": ["All"]},
                "locations": {"includeLocations": ["All"], "excludeLocations": ["hq"]},
            },
            "grantControls": {"operator": "OR", "builtInControls": ["block"]},
        }]});
        site.file(name, &list.to_string())
    };
    let enabled = policies("enabled.json", "enabled", "2026-05-01T00:00:00Z");
    let disabled = policies("disabled.json", "disabled", "2026-05-02T00:00:00Z");
    // It has no time of its own: its file's counts.
    let cae = json!({"isEnabled": true, "users": [], "groups": []}).to_string();
    let cae = site.file("cae.json", &cae);
    let import = |files: &[&Path], more: &[&str]| import(&at, files, more);
    let digest = || digest(&at);
    let issued_s = (now_ms() / 1000 - 600).to_string();
    let decided = |address: &str| {
        let more = ["--ipaddr", "198.51.100.7", "--client-ip", address];
        code(&decide(&at, &[&token("anybody", &issued_s)[..], &more].concat()))
    };

    let nothing = digest();
    let output = import(&[&locations, &enabled, &cae], &["--dry-run"]);
    let text = success(&output);
    assert!(text.contains("\n  from       anywhere, except \"HQ\"\n"), "{text}");
    assert!(text.ends_with("\nnothing is published\n"), "{text}");
    assert_eq!(digest(), nothing);

    let text = success(&import(&[&locations, &enabled, &cae], &[]));
    let last = "\n0 stood already, 3 are published, 0 are deleted, and decisions follow them\n";
    assert!(text.ends_with(last), "{text}");
    let imported = digest();
    assert_ne!(imported, nothing);
    assert_eq!(decided("198.51.100.9"), Some(0));
    assert_eq!(decided("203.0.113.9"), Some(3));
    assert!(tenant(&at).contains("\nlocation   HQ (hq): 1 ranges"), "{}", tenant(&at));

    let generation = generation(&at);
    let text = success(&import(&[&locations, &enabled, &cae], &[]));
    let last = "\n3 stood already, 0 are published, 0 are deleted, and decisions follow them\n";
    assert!(text.ends_with(last), "{text}");
    assert_eq!(digest(), imported, "a second import changes nothing");
    assert_eq!(self::generation(&at), generation, "nor publishes anything");

    // Another name is told, and decides nothing.
    let text = std::fs::read_to_string(&locations).expect("written");
    let renamed = site.file("renamed.json", &text.replace("HQ", "Main office"));
    let text = success(&import(&[&renamed, &enabled, &cae], &[]));
    let last = "\n2 stood already, 1 are published, 0 are deleted, and decisions follow them\n";
    assert!(text.ends_with(last), "{text}");
    assert!(tenant(&at).contains("\nlocation   Main office (hq): 1 ranges"), "{}", tenant(&at));
    assert_eq!(digest(), imported, "nothing decides by it");

    success(&import(&[&disabled], &[]));
    assert_eq!(decided("203.0.113.9"), Some(0));
    let disabled = digest();

    let first = json!({"value": [], "@odata.nextLink": "https://graph.example/2"}).to_string();
    let first = site.file("first.json", &first);
    let output = import(&[&locations, &first], &[]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert_eq!(stdout(&output), "");
    let expected = format!("caed: {}: is not the last page ", first.display());
    assert!(stderr(&output).starts_with(&expected), "{output:?}");
    assert_eq!(digest(), disabled);

    let output = import(&[&site.path("missing.json")], &[]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stderr(&output).contains("missing.json can not be read: "), "{output:?}");
    sidecar.terminate();
}

#[test]
fn what_is_gone_is_deleted_and_can_come_back() {
    let site = Site::new();
    let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    sidecar.logged("ready");
    let address = sidecar.grpc().to_string();
    let at = &["--at", address.as_str()][..];
    let (hq, lab) = (location("hq", &["198.51.100.0/24"], true), location("lab", &[], false));
    let (one, two) = (only_from("one", "hq"), only_from("a-policy-with-a-long-id", "lab"));
    let locations = list(&site, "locations.json", &[hq.clone(), lab]);
    let policies = list(&site, "policies.json", &[one.clone(), two]);
    success(&import(at, &[&locations, &policies], &["--whole"]));
    publish(at, &["mfa-trusted-ranges-changed", "--range", "203.0.113.0/24"]);
    let whole = tenant(at);
    for id in ["policy     one:", "policy     a-policy-with-a-long-id:", "location   lab:"] {
        assert!(whole.contains(id), "{whole}");
    }

    let fewer_locations = list(&site, "fewer_locations.json", &[hq]);
    let fewer_policies = list(&site, "fewer_policies.json", &[one]);
    let before = digest(at);
    let text =
        success(&import(at, &[&fewer_locations, &fewer_policies], &["--whole", "--dry-run"]));
    let last = "\npolicy a-policy-with-a-long-id is gone\nlocation lab is gone\n\
                2 stand already, 0 would be published, 2 would be deleted; nothing is published\n";
    assert!(text.ends_with(last), "{text}");
    success(&import(at, &[&fewer_locations, &fewer_policies], &[]));
    assert_eq!(digest(at), before, "without --whole nothing is deleted");

    // Of a list that is not whole, of a file that can't be read, of one object: nothing is deleted.
    let first = json!({"value": [], "@odata.nextLink": "https://graph.example/2"}).to_string();
    let first = site.file("first.json", &first);
    let single = site.file("single.json", &only_from("one", "hq").to_string());
    for (file, problem) in [
        (&first, "first.json: is not the last page"),
        (&site.path("missing.json"), "missing.json can not be read"),
        (&single, "--whole needs a whole list"),
    ] {
        let output = import(at, &[file.as_path()], &["--whole"]);
        assert_eq!(code(&output), Some(1), "{output:?}");
        assert!(stderr(&output).contains(problem), "{output:?}");
    }
    assert_eq!(digest(at), before);

    let text = success(&import(at, &[&fewer_locations, &fewer_policies], &["--whole"]));
    let last = "\n2 stood already, 0 are published, 2 are deleted, and decisions follow them\n";
    assert!(text.ends_with(last), "{text}");
    let text = tenant(at);
    assert!(!text.contains("a-policy-with-a-long-id") && !text.contains("lab"), "{text}");
    assert!(text.contains("(MFA-trusted addresses)"), "{text}");
    let (after, read) = (digest(at), generation(at));
    let text = success(&import(at, &[&fewer_locations, &fewer_policies], &["--whole"]));
    assert!(text.contains("\n2 stood already, 0 are published, 0 are deleted,"), "{text}");
    assert_eq!((digest(at), generation(at)), (after, read));

    // Their own times are older than their deletion, and the new list is newer.
    let policies = std::fs::read_to_string(policies).expect("readable");
    let locations = std::fs::read_to_string(locations).expect("readable");
    let again = [site.file("again.json", &policies), site.file("again_locations.json", &locations)];
    success(&import(at, &[&again[0], &again[1]], &["--whole"]));
    let text = tenant(at);
    for id in ["policy     one:", "policy     a-policy-with-a-long-id:", "location   lab:"] {
        assert!(text.contains(id), "{text}");
    }

    // What is newer than the list is no business of the list, and stays.
    publish(at, &["location-changed", "--location", "today", "--range", "192.0.2.0/24"]);
    let output = import(at, &[&again[0], &again[1]], &["--whole"]);
    assert!(success(&output).contains("\n4 stood already, 0 are published, 0 are deleted,"));
    assert_eq!(stderr(&output), "location today stays: it is newer than the files\n");

    // A list that is older than what is in force changes nothing, and says so.
    publish(at, &["location-deleted", "--location", "lab"]);
    let output = import(at, &[&again[1]], &[]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    let problem = "location lab does not stand as the files say: something newer was told of it\n\
                   caed: the files are older than what is in force; ask Graph again\n";
    assert_eq!(stderr(&output), problem);
    sidecar.terminate();
}

#[test]
fn an_export_told_to_an_empty_sidecar_decides_the_same() {
    let site = Site::new();
    let mut sidecar = Sidecar::start(&site.config("caed.toml", ANY_PORTS, ""));
    sidecar.logged("ready");
    let address = sidecar.grpc().to_string();
    let at = &["--at", address.as_str()][..];
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/graph/tenant");
    let files = ["1_locations.json", "2_policies.json", "3_cae.json"];
    let files = files.map(|name| Path::new(fixture).join(name));
    success(&import(at, &files.each_ref().map(PathBuf::as_path), &["--whole"]));
    let many: Vec<_> = (0..60_000u32)
        .map(|at| format!("2001:db8:{:x}:{:x}::/64", at >> 8, 2 * (at & 255)))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let large = [location("large", &many, false), location("elsewhere", &["192.0.2.0/25"], true)];
    let large = list(&site, "large.json", &large);
    success(&import(at, &[&large], &[]));
    let text = success(&import(at, &[&large], &[]));
    assert!(text.contains("\n2 stood already, 0 are published,"), "{text}");
    publish(at, &["mfa-trusted-ranges-changed", "--range", "203.0.113.0/24"]);
    publish(at, &["location-changed", "--location", "elsewhere", "--range", "192.0.2.0/24"]);
    let group = "90000000-0000-4000-8000-000000000009";
    let began = (now_ms() - 1000).to_string();
    let read = ["--group", group, "--member", "anna", "--member", "bert"];
    publish(at, &[&["group-read", "--event-time-ms", &began], &read[..]].concat());
    publish(at, &["member-added", "--group", group, "--user", "carl"]);
    publish(at, &["member-removed", "--group", group, "--user", "anna"]);
    publish(at, &["source-declared", "--name", "hr", "--declared", "--emits-enabled"]);
    let policy = only_from("by-hand", "elsewhere");
    success(&import(at, &[&list(&site, "by_hand.json", &[policy])], &[]));

    let export = |at: &[&str]| run(&[&["export", "--tenant", TENANT], at].concat());
    let exported = success(&export(at));
    let parts = exported.lines().filter(|line| line.contains("\"location\":\"large\"")).count();
    assert!(parts > 1, "{parts}");

    let fresh_site = Site::new();
    let mut fresh = Sidecar::start(&fresh_site.config("caed.toml", ANY_PORTS, ""));
    fresh.logged("ready");
    let fresh_address = fresh.grpc().to_string();
    let fresh_at = &["--at", fresh_address.as_str()][..];
    let events = site.file("events.jsonl", &exported);
    let file = ["publish", "--file", events.to_str().expect("UTF-8")];
    success(&run(&[&file, fresh_at].concat()));
    // What was published last is enforced when this is.
    publish(fresh_at, &["sessions-revoked", "--user", "nobody-in-particular"]);

    assert!(success(&export(fresh_at)) == exported, "the same again, byte by byte");
    let known = tenant(at);
    assert!(known.contains("location   large: 60000 ranges"), "{known}");
    // Of what came in several records the hash is that of its parts, and these are other ones.
    let without_large = |text: String| {
        let lines = text.lines().filter(|line| !line.starts_with("location   large"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_large(tenant(fresh_at)), without_large(known));

    let mut answers = std::collections::BTreeSet::new();
    for user in ["anna", "bert", "carl", "dora", "b0000000-0000-4000-8000-00000000000b"] {
        for client in
            ["198.51.100.9", "192.0.2.200", "203.0.113.9", "2001:db8:1:2::9", "100.64.0.1"]
        {
            for age_s in [30, 600, 100_000] {
                let issued_s = (now_ms() / 1000 - age_s).to_string();
                let more = ["--ipaddr", "198.51.100.7", "--client-ip", client];
                let asked = [&token(user, &issued_s)[..], &more].concat();
                let (one, other) = (decide(at, &asked), decide(fresh_at, &asked));
                // Not the challenge, which names the second at which was asked.
                let said = |output: &Output| {
                    let text = stdout(output);
                    let verdict = text.lines().take(1);
                    let reasons = text.lines().filter(|line| line.starts_with("  reason "));
                    verdict.chain(reasons).map(str::to_owned).collect::<Vec<_>>()
                };
                assert_eq!(said(&one), said(&other), "{asked:?}");
                answers.insert(said(&one));
            }
        }
    }
    assert_eq!(answers.len(), 5, "{answers:?}");
    fresh.terminate();

    // Of a long id that is no GUID the hash alone is kept: said, and not made up.
    publish(
        at,
        &["location-changed", "--location", "headquarters-berlin", "--range", "192.0.2.0/24"],
    );
    let output = export(at);
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stdout(&output) == exported, "everything else");
    let text = stderr(&output);
    assert!(text.starts_with("left out: location `sha256:"), "{text}");
    assert!(text.ends_with("caed: 1 are left out, as said above\n"), "{text}");
    let output = run(&[&["export", "--tenant", "nowhere"], at].concat());
    assert_eq!((code(&output), stdout(&output).as_str()), (Some(1), ""), "{output:?}");
    sidecar.terminate();
}
