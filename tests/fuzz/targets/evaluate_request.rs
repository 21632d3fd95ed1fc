//! libFuzzer's way into `caed_tests::fuzz::evaluate_request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| caed_tests::fuzz::evaluate_request(bytes));
