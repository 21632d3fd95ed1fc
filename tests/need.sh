#!/usr/bin/env bash
# Says what building needs that is not here, each with the command that gets it.
set -euo pipefail
missing=0
need() { # PROGRAM WHAT COMMAND
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "$2 is missing ($1). Get it with: $3" >&2
        missing=1
    fi
}
case "$(uname -s)" in
    Darwin) compiler="xcode-select --install" ;;
    *) compiler="sudo apt-get install build-essential" ;;
esac
need cargo "Rust" "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
need cc "the C compiler and linker" "$compiler"
exit "$missing"
