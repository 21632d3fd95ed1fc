#!/usr/bin/env bash
# Gives every decoder to libFuzzer for CAED_FUZZ_S seconds (60). What it finds is in tests/fuzz/artifacts;
# what shows a fault belongs into tests/fuzz/corpus, where `make check` meets it from then on.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    echo "make fuzz needs a nightly compiler: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "make fuzz needs cargo-fuzz: cargo install cargo-fuzz" >&2
    exit 1
fi
for target in event_record policy_json graph_json; do
    seeds=()
    if [ "$target" = graph_json ]; then
        # The fixtures are seeds, too; they lie in folders, and libFuzzer takes one level of them.
        seeds=(tests/fixtures/graph/*/)
    fi
    mkdir -p "target/fuzz/$target"
    echo "── $target"
    # The first folder takes what is found on the way.
    cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz/build "$target" \
        "target/fuzz/$target" "tests/fuzz/corpus/$target" "${seeds[@]}" -- -max_total_time="${CAED_FUZZ_S:-60}"
done
