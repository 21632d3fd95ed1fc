//! Every decoder meets its corpus and 50,000 mutations of it, from a fixed seed.
//!
//! What must hold of each is in [`caed_tests::fuzz`]. The corpus of Graph's JSON is `tests/fixtures/graph`
//! with whatever was found once; that of the others is in `tests/fuzz/corpus`.

#![expect(clippy::expect_used, reason = "a test stops where it fails")]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use caed_tests::fuzz;
use caed_tests::random::Random;

const MUTATIONS: usize = 50_000;

#[test]
fn any_bytes_are_an_event_or_a_fault() {
    let corpus = corpus(&["fuzz/corpus/event_record"]);
    run(fuzz::event_record, fuzz::is_event_record, &corpus, 5_000);
}

#[test]
fn any_bytes_are_a_policy_or_a_fault() {
    let corpus = corpus(&["fuzz/corpus/policy_json"]);
    run(fuzz::policy_json, fuzz::is_policy_json, &corpus, 2_000);
}

#[test]
fn any_bytes_are_an_import_or_a_fault() {
    let corpus = corpus(&["fixtures/graph", "fuzz/corpus/graph_json"]);
    run(fuzz::graph_json, fuzz::is_graph_json, &corpus, 5_000);
}

#[test]
fn any_bytes_are_a_token_or_refused() {
    let corpus = corpus(&["fuzz/corpus/raw_token"]);
    run(fuzz::raw_token, fuzz::is_raw_token, &corpus, 10_000);
}

#[test]
fn any_bytes_are_keys_or_a_fault() {
    let corpus = corpus(&["fuzz/corpus/key_set"]);
    run(fuzz::key_set, fuzz::is_key_set, &corpus, 5_000);
}

#[test]
fn any_bytes_are_a_chain_with_or_without_a_client() {
    let corpus = corpus(&["fuzz/corpus/forwarded_chain"]);
    run(fuzz::forwarded_chain, fuzz::is_forwarded_chain, &corpus, 10_000);
}

#[test]
fn any_bytes_are_a_question_as_the_generated_code_reads_it() {
    let corpus = corpus(&["fuzz/corpus/evaluate_request"]);
    run(fuzz::evaluate_request, fuzz::is_evaluate_request, &corpus, 5_000);
}

#[test]
fn any_bytes_are_a_check_or_a_fault() {
    let corpus = corpus(&["fuzz/corpus/check_request"]);
    run(fuzz::check_request, fuzz::is_check_request, &corpus, 5_000);
}

/// Runs a target over the corpus and its mutations, of which at least so many must be understood.
fn run(target: fn(&[u8]), is_understood: fn(&[u8]) -> bool, corpus: &[Vec<u8>], at_least: usize) {
    assert!(!corpus.is_empty());
    for bytes in corpus {
        target(bytes);
    }
    let mut random = Random::new(1);
    let mut understood = 0;
    for number in 0..MUTATIONS {
        let bytes = fuzz::mutated(corpus, &mut random);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        assert!(outcome.is_ok(), "mutation {number}: {}", bytes.escape_ascii());
        understood += usize::from(is_understood(&bytes));
    }
    assert!(understood >= at_least, "{understood} of {MUTATIONS} understood");
}

/// The files in these folders and in the folders within.
fn corpus(folders: &[&str]) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = folders.iter().map(|folder| tests.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            let mut entries: Vec<_> =
                entries.map(|entry| entry.expect("an entry").path()).collect();
            entries.sort();
            paths.extend(entries);
        } else if path.file_name().is_some_and(|name| name != "expected.txt") {
            files.push(fs::read(&path).expect("readable"));
        }
    }
    files
}
