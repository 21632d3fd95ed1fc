//! Every rule of `engine/SEMANTICS.md` is shown by something, and nothing cites a rule that it does
//! not define.
//!
//! A rule that a decision shows has scenarios, one that shows it and one that just misses; every
//! other rule names its test in the table "Proven by" at the end of the document.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use caed_tests::scenario::{self, Scenario};

/// The rules that no single decision can show: they speak of sets of events, of time, or of logs.
const PROVEN_BY_TESTS: [&str; 14] =
    ["E1", "E16", "E17", "F1", "F2", "L1", "L2", "L3", "L4", "L5", "P10", "T1", "T3", "T5"];

/// Parts of rules that need scenarios of their own.
const PARTS: [(&str, &[&str]); 10] = [
    ("T2", &["refused", "no keys"]),
    ("E2", &["disabled", "deleted"]),
    (
        "E4",
        &[
            "password_changed",
            "password_reset",
            "sessions_revoked",
            "mfa_enabled",
            "authenticator_changed",
            "token_claims_changed",
            "assurance_lowered",
        ],
    ),
    ("E5", &["low", "medium", "high"]),
    ("E6", &["session", "token", "client", "device", "tenant"]),
    (
        "E7",
        &[
            "session, carried",
            "session, not carried",
            "token, carried",
            "token, not carried",
            "client, carried",
            "client, not carried",
            "device, carried",
            "device, not carried",
        ],
    ),
    ("D1", &["malformed", "issue_time_missing", "beyond_horizon", "expired", "not_yet_valid"]),
    ("D2", &["unknown_issuer", "tenant_not_served"]),
    (
        "D5",
        &[
            "anywhere",
            "strict",
            "same address",
            "address unknown",
            "judged by mark",
            "judged by an hour",
            "just issued",
            "otherwise",
        ],
    ),
    (
        "D9",
        &[
            "policy, not capable",
            "location, capable",
            "location, not capable",
            "conditions changed, capable",
            "conditions changed, refused",
            "conditions changed, not capable",
            "sign-in frequency, capable",
            "sign-in frequency, refused",
            "sign-in frequency, not capable",
            "outdated, capable",
            "outdated, refused",
            "outdated, not capable",
            "lifetime, capable",
            "lifetime, refused",
            "lifetime, not capable",
            "revoked, capable",
            "revoked, capable, ahead",
            "revoked, not capable",
            "revoked, not capable, ahead",
            "risk, capable",
            "risk, not capable",
            "account, capable",
            "account, not capable",
            "device, capable",
            "device, not capable",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root of the project")
}

fn semantics() -> String {
    fs::read_to_string(root().join("engine/SEMANTICS.md")).expect("the rules")
}

/// The rules that the document defines: their ids stand in bold.
fn defined(document: &str) -> BTreeSet<&str> {
    document.split("**").skip(1).step_by(2).filter(|bold| is_id(bold)).collect()
}

/// `E4`, `D10`: a letter of a family and a number.
fn is_id(word: &str) -> bool {
    word.split_at_checked(1).is_some_and(|(family, number)| {
        "EDLTFPS".contains(family)
            && (1..=2).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The table at the end: a rule, and the tests that prove it.
fn proven_by(document: &str) -> BTreeMap<&str, Vec<&str>> {
    let (_, section) = document.split_once("\n## Proven by\n").expect("a section `Proven by`");
    let mut proven = BTreeMap::new();
    for line in section.lines() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        if let (Some(id), Some(tests)) = (cells.next(), cells.next())
            && is_id(id)
        {
            let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(proven.insert(id, tests).is_none(), "{id} stands twice in the table");
        }
    }
    proven
}

/// Every file below a folder with this extension.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut folders = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "no .{extension} below {folder}");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a text file")
}

/// The names of all test functions of a file: what follows `fn` after a line that ends in `test]`,
/// or within `proptest!`, with attributes and comments between.
fn test_functions(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        let plain = line.trim_start_matches("async ");
        if let Some(rest) = plain.strip_prefix("fn ") {
            if marked && let Some((name, _)) = rest.split_once('(') {
                names.insert(name.to_owned());
            }
            marked = false;
        } else if line == "#[test]" || line.starts_with("#[tokio::test") {
            marked = true;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            marked = false;
        }
    }
    names
}

/// Scenarios of a rule that show it or miss it, in one part or in any.
fn count(all: &[(String, Scenario)], rule: &str, part: Option<&str>, shows: bool) -> usize {
    let wanted = |(_, scenario): &&(String, Scenario)| {
        scenario.rule == rule
            && scenario.shows == shows
            && part.is_none_or(|part| scenario.part == part)
    };
    all.iter().filter(wanted).count()
}

#[test]
fn every_rule_is_shown_and_just_missed_or_names_its_test() {
    let document = semantics();
    let all = scenario::all();
    let proven = proven_by(&document);
    let tests: BTreeSet<String> = ["engine", "tests"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .flat_map(|path| test_functions(&read(&path)))
        .collect();
    let mut missing = Vec::new();
    for id in defined(&document) {
        if PROVEN_BY_TESTS.contains(&id) {
            let named = proven.get(id).map_or(&[][..], Vec::as_slice);
            if named.is_empty() {
                missing.push(format!("{id} names no test in the table `Proven by`"));
            }
            for test in named.iter().filter(|test| !tests.contains(**test)) {
                missing.push(format!("{id} names the test `{test}`, which does not exist"));
            }
            continue;
        }
        for shows in [true, false] {
            if count(&all, id, None, shows) == 0 {
                missing.push(format!("{id} has no scenario with shows = {shows}"));
            }
        }
    }
    for (rule, parts) in PARTS {
        for part in parts {
            for shows in [true, false] {
                if count(&all, rule, Some(part), shows) == 0 {
                    missing.push(format!("{rule}, {part}: no scenario with shows = {shows}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn every_part_of_a_rule_is_both_shown_and_missed() {
    let all = scenario::all();
    for (file, scenario) in &all {
        let Scenario { rule, part, .. } = scenario;
        for shows in [true, false] {
            let found = count(&all, rule, Some(part), shows);
            assert!(found > 0, "{file}: {rule}, {part}: no scenario with shows = {shows}");
        }
    }
}

#[test]
fn nothing_cites_a_rule_that_is_not_defined() {
    let document = semantics();
    let defined = defined(&document);
    assert!(defined.len() > 20, "{defined:?}");
    let mut unknown = Vec::new();
    for (file, scenario) in scenario::all() {
        if !defined.contains(scenario.rule.as_str()) {
            unknown.push(format!("{file}: {} {}", scenario.rule, scenario.story));
        }
    }
    for id in proven_by(&document).into_keys().filter(|id| !defined.contains(id)) {
        unknown.push(format!("the table `Proven by`: {id}"));
    }
    let sources = ["engine", "tests"].iter().flat_map(|folder| files(folder, "rs"));
    for path in sources.chain(files("proto", "proto")) {
        for (number, line) in (1..).zip(read(&path).lines()) {
            let Some((_, comment)) = line.split_once("//") else { continue };
            for word in comment.split(|char: char| !char.is_ascii_alphanumeric() && char != '_') {
                if is_id(word) && !defined.contains(word) {
                    unknown.push(format!("{}:{number}: {word}", path.display()));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
}
