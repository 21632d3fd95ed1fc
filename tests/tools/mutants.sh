#!/usr/bin/env bash
# Makes every mutant that `.cargo/mutants.toml` names, and says which ones core's own tests don't catch.
# What is given is handed on: `mutants.sh --file engine/core/src/policy.rs`, `mutants.sh --iterate`.
#
# cargo-mutants goes into the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed), in the version of `versions`.
# The mutants are made in copies of the project; what became of them is in target/mutants.out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=versions
. ./versions
home=${XDG_CACHE_HOME:-$HOME/.cache}/caed

if [ "$("$home/bin/cargo-mutants" mutants --version 2>/dev/null)" != "cargo-mutants $CARGO_MUTANTS_VERSION" ]; then
    cargo install cargo-mutants --version "$CARGO_MUTANTS_VERSION" --locked --quiet --force --root "$home"
fi

cd ../..
mkdir -p target
# Two copies that build in one place would undo each other's work.
unset CARGO_TARGET_DIR
exec "$home/bin/cargo-mutants" mutants --jobs 2 --output target "$@"
