#!/usr/bin/env bash
# Prints the Java to run: of JAVA_HOME, of the PATH, or of Homebrew, whichever is there and new
# enough. Prints nothing, and fails, where none is.
set -euo pipefail
# shellcheck source=versions
. "$(dirname "${BASH_SOURCE[0]}")/versions"

version() { # JAVA: 17, or 0 where it does not run
    # "17.0.15", and "1.8.0" of the old days. macOS has a program `java` that only says where to get one.
    "$1" -version 2>&1 | sed -nE '1s/.*version "([0-9]+).*/\1/p' | grep . || echo 0
}

candidates=("${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java || true)")
command -v brew >/dev/null 2>&1 && candidates+=("$(brew --prefix)/opt/openjdk/bin/java")
for java in "${candidates[@]}"; do
    if [ -n "$java" ] && [ -x "$java" ] && [ "$(version "$java")" -ge "$JAVA_VERSION_MIN" ]; then
        echo "$java"
        exit 0
    fi
done
echo "no Java $JAVA_VERSION_MIN or newer is here; \`make tools\` says how to get it" >&2
exit 1
