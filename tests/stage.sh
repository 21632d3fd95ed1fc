#!/usr/bin/env bash
# Runs a stage of `make check` or `make test`, and says how long it took: stage.sh NAME COMMAND…
set -uo pipefail
name=$1
shift
echo "── $name"
start=$SECONDS
"$@"
code=$?
seconds=$((SECONDS - start))
if [ "$code" -eq 0 ]; then
    echo "── $name: passed in $seconds s"
else
    echo "── $name: FAILED after $seconds s (exit code $code): $*" >&2
fi
exit "$code"
