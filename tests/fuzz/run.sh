#!/usr/bin/env bash
# Gives every decoder to libFuzzer for CAED_FUZZ_S seconds (60). What it finds is in tests/fuzz/artifacts;
# what shows a fault belongs into tests/fuzz/corpus, where `make check` meets it from then on.
#
# cargo-fuzz goes into the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed), in the version of
# tests/tools/versions. A nightly compiler is installed by hand: rustup keeps it for every project.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=../tools/versions
. tests/tools/versions
home=${XDG_CACHE_HOME:-$HOME/.cache}/caed

if ! command -v rustup >/dev/null || ! rustup run nightly rustc --version >/dev/null 2>&1; then
    echo "make fuzz needs a nightly compiler, and there is none. Run:" >&2
    echo "    rustup toolchain install nightly --profile minimal" >&2
    echo "Without it, make check gives the same decoders 50,000 mutations of a corpus each." >&2
    exit 1
fi
if [ "$("$home/bin/cargo-fuzz" --version 2>/dev/null)" != "cargo-fuzz $CARGO_FUZZ_VERSION" ]; then
    cargo install cargo-fuzz --version "$CARGO_FUZZ_VERSION" --locked --quiet --force --root "$home"
fi
for target in event_record policy_json graph_json raw_token key_set forwarded_chain check_request evaluate_request; do
    seeds=()
    if [ "$target" = graph_json ]; then
        # The fixtures are seeds, too; they lie in folders, and libFuzzer takes one level of them.
        seeds=(tests/fixtures/graph/*/)
    fi
    mkdir -p "target/fuzz/$target"
    echo "── $target"
    # The first folder takes what is found on the way.
    PATH="$home/bin:$PATH" cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz/build "$target" \
        "target/fuzz/$target" "tests/fuzz/corpus/$target" "${seeds[@]}" -- \
        -max_total_time="${CAED_FUZZ_S:-60}" -verbosity=0 -print_final_stats=1
done
