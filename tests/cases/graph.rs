//! What an import understands of Microsoft Graph's JSON: `tests/fixtures/graph`, a folder each.
//!
//! The files of a folder are given in the order of their names; beside them, `expected.txt` says what is
//! reported and published, or what is wrong. `CAED_WRITE_EXPECTED=1` writes what came instead of comparing.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where it fails")]

use std::fs;
use std::path::{Path, PathBuf};

use caed_core::time::UnixMillis;
use caed_decode::graph::{self, File, Import, InvalidImport, Kind};
use caed_proto::v1::event::Fact;
use serde_json::{Value, json};

/// When the files were written, as far as the fixtures are concerned: 2026-06-01T00:00:00Z.
const WRITTEN: UnixMillis = UnixMillis::from_millis(1_780_272_000_000);

fn fixtures() -> Vec<PathBuf> {
    listed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/graph"))
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The files of a folder by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let named = |path: PathBuf| {
        let name = path.file_name().expect("named").to_string_lossy().into_owned();
        (name, fs::read(path).expect("readable"))
    };
    listed(folder).into_iter().filter(is_json).map(named).collect()
}

fn import(files: &[(String, Vec<u8>)]) -> Result<Import, InvalidImport> {
    let given: Vec<_> =
        files.iter().map(|(name, bytes)| File { name, bytes, written: Some(WRITTEN) }).collect();
    graph::read(&given)
}

fn told(outcome: &Result<Import, InvalidImport>) -> String {
    match outcome {
        Err(error) => format!("error: {error}\n"),
        Ok(import) => {
            let events = import
                .objects
                .iter()
                .flat_map(|object| object.events("contoso", "microsoft-graph").expect("checked"));
            let lines = events.map(|event| serde_json::to_string(&event).expect("JSON"));
            let events: String = lines.map(|line| line + "\n").collect();
            let (policies, locations) = (import.policies.is_some(), import.locations.is_some());
            format!("{import}\nall policies: {policies}, all locations: {locations}\n\n{events}")
        }
    }
}

#[test]
fn every_fixture_gives_what_it_must() {
    let mut wrong = Vec::new();
    let folders = fixtures();
    for folder in &folders {
        let got = told(&import(&files(folder)));
        let expected = folder.join("expected.txt");
        if std::env::var_os("CAED_WRITE_EXPECTED").is_some() {
            fs::write(&expected, &got).expect("written");
        } else if fs::read_to_string(&expected).expect("expected.txt") != got {
            wrong.push(format!("{}:\n{got}", folder.display()));
        }
    }
    assert!(folders.len() >= 40, "{}", folders.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever is not known narrows: the policy decides nothing more, and nobody leaves its reach.
#[test]
fn an_unknown_condition_never_makes_a_policy_apply_to_more() {
    let mut tried = 0;
    for folder in fixtures() {
        for (name, bytes) in files(&folder) {
            let Ok(value) = serde_json::from_slice::<Value>(&bytes) else { continue };
            for policy in policies(&value) {
                let Ok(before) = import(&[(name.clone(), policy.to_string().into_bytes())]) else {
                    continue;
                };
                for place in ["", "/users", "/applications", "/clientApplications", "/locations"] {
                    for member in ["tomorrow", "includeTomorrow", "excludeTomorrow"] {
                        let mut changed = policy.clone();
                        let conditions = changed.get_mut("conditions").expect("conditions");
                        let Some(Value::Object(members)) = conditions.pointer_mut(place) else {
                            continue;
                        };
                        members.insert(member.to_owned(), json!(["x"]));
                        let changed = [(name.clone(), changed.to_string().into_bytes())];
                        let after = import(&changed).expect("tolerated");
                        is_narrower(&before, &after);
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

#[test]
fn what_is_gone_is_deleted_only_where_the_whole_list_was_given() {
    let import = |folder: &str| {
        let all = fixtures();
        let folder = all.iter().find(|path| path.ends_with(folder)).expect("a fixture");
        import(&files(folder)).expect("understood")
    };
    let (first, hq) =
        ("5b0c0000-0000-4000-8000-000000000001", "0a1b0000-0000-4000-8000-000000000001");
    let in_force = [
        (Kind::Policy, first),
        (Kind::Policy, "old-policy"),
        (Kind::Location, hq),
        (Kind::Location, "old-location"),
    ];
    let gone = |folder| {
        let gone = import(folder).gone(in_force);
        gone.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(gone("tenant"), ["old-policy", "old-location"]);
    assert_eq!(gone("pages"), ["old-policy"], "policies alone");
    assert_eq!(gone("empty_list"), [hq, "old-location"], "the list of locations is empty");
    assert_eq!(gone("host_bits"), [""; 0], "one object is no list");
}

/// The policies of a file, as objects.
fn policies(value: &Value) -> Vec<&Value> {
    let items = value.get("value").unwrap_or(value);
    let items = items.as_array().map_or_else(|| vec![items], |items| items.iter().collect());
    items.into_iter().filter(|item| item.get("conditions").is_some_and(Value::is_object)).collect()
}

fn is_narrower(before: &Import, after: &Import) {
    let policy = |import: &Import| match &import.objects.first().expect("one").fact {
        Fact::PolicyChanged(policy) => policy.clone(),
        other => panic!("{other:?}"),
    };
    let (before, after) = (policy(before), policy(after));
    assert!(after.other_conditions.len() > before.other_conditions.len(), "{after:?}");
    let lists = |policy: &caed_proto::v1::PolicyChanged| {
        let users = policy.users.clone().unwrap_or_default();
        let workloads = policy.workloads.clone().unwrap_or_default();
        let applications = policy.applications.clone().unwrap_or_default();
        let included = [
            users.include_users,
            users.include_groups,
            users.include_roles,
            workloads.include,
            applications.include,
            applications.user_actions,
        ];
        let excluded = [
            users.exclude_users,
            users.exclude_groups,
            users.exclude_roles,
            workloads.exclude,
            applications.exclude,
        ];
        (included, excluded)
    };
    let ((included, excluded), (included_after, excluded_after)) = (lists(&before), lists(&after));
    for (before, after) in included.iter().zip(&included_after) {
        assert!(before.iter().all(|name| after.contains(name)), "nobody leaves its reach");
    }
    assert_eq!(excluded, excluded_after);
}

/// Microsoft's own bounds are named, and none of them is caed's.
#[test]
fn microsofts_limits_are_remarks_and_what_is_large_comes_in_parts() {
    let location = |id: String, ranges: usize| {
        let range = |at: usize| json!({"cidrAddress": format!("2001:db8:{:x}:{:x}::/64", at >> 8, 2 * (at & 255))});
        json!({"id": id, "displayName": id, "ipRanges": (0..ranges).map(range).collect::<Vec<_>>()})
    };
    let report = |locations: Vec<Value>| {
        let text = json!({"value": locations}).to_string();
        let import = import(&[("locations.json".to_owned(), text.into_bytes())]);
        import.expect("understood")
    };
    let within = (0..195).map(|at| location(format!("l-{at}"), 25)).collect();
    let within = report(within).to_string();
    assert!(!within.contains("Microsoft"), "{within}");

    let mut beyond: Vec<_> = (0..195).map(|at| location(format!("l-{at}"), 0)).collect();
    beyond.push(location("large".to_owned(), 70_000));
    let import = report(beyond);
    let text = import.to_string();
    for remark in [
        "  note: Microsoft takes 2000 ranges a location; caed takes them all\n",
        "\nnote: these are 196 locations; Microsoft takes 195, caed takes them all\n",
        "\nnote: the locations have 70000 ranges; where policies name more than 5000, ",
    ] {
        assert!(text.contains(remark), "{text}");
    }
    let large = import.objects.last().expect("the large one");
    let parts = large.events("contoso", "microsoft-graph").expect("valid");
    let sum = parts.iter().map(|event| match &event.fact {
        Some(Fact::LocationChanged(location)) => {
            location.ranges.as_ref().map_or(0, |ranges| ranges.cidrs.len())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!((sum.sum::<usize>(), parts.len()), (70_000, 4));
}
