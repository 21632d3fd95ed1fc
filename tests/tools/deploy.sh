#!/usr/bin/env bash
# Checks what deploy/ holds for production: each file by a checker of its own kind, and each checker by a copy of the
# file that is wrong. Then runs what containers and clusters would run, as processes of this host (deploy.py).
#
# No image is built, and no cluster is asked: see deploy/README.md. Checkers go into the cache folder
# (${XDG_CACHE_HOME:-~/.cache}/caed), as linters.txt knows them; systemd's is the system's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() { echo "deploy.sh: $*" >&2; exit 1; }

python=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
sum=$(if command -v sha256sum >/dev/null 2>&1; then sha256sum tests/tools/linters.txt; else shasum -a 256 tests/tools/linters.txt; fi)
linters=${XDG_CACHE_HOME:-$HOME/.cache}/caed/linters-${sum:0:12}-$python
if [ ! -d "$linters" ]; then
    mkdir -p "$(dirname "$linters")"
    # Filled aside and moved into place whole: who runs at the same time finds all of it or nothing.
    fresh=$(mktemp -d "$linters.XXXXXX")
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --target "$fresh" --requirement tests/tools/linters.txt >&2 || { rm -rf "$fresh"; fail "pip could not get what tests/tools/linters.txt names"; }
    mv "$fresh" "$linters" 2>/dev/null || rm -rf "$fresh"
    # Moving onto a directory that somebody else has just made moves into it.
    rm -rf "${linters:?}/$(basename "$fresh")"
fi
export PYTHONPATH=$linters
envoy=$(deploy/sandbox/get.sh envoy)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

image() { "$linters/bin/hadolint" --failure-threshold style "$1"; }
compose() { python3 -m check_jsonschema --builtin-schema vendor.compose-spec "$1"; }
kubernetes() { python3 -m kubernetes_validate --strict --quiet "$1"; }

# The unit as it is, but for the program, which is not installed here.
unit() {
    local folder=$scratch/unit
    mkdir -p "$folder/caed.service.d"
    cp "$1" "$folder/caed.service"
    printf '[Service]\nExecStart=\nExecStart=%s serve --config /etc/caed/caed.toml\n' "$(command -v true)" > "$folder/caed.service.d/program.conf"
    systemd-analyze verify --man=no --recursive-errors=no "$folder/caed.service"
}
# It is 1.5 of 10 today. Newer versions of systemd ask for more.
hardened() { systemd-analyze security --offline=true --threshold=25 --no-pager "$1"; }

# Checks a file, and that the checker finds what is wrong with a copy: SED makes it wrong, WORD is in the finding.
checked() { # CHECKER FILE SED WORD
    local finding wrong
    finding=$("$1" "$2" 2>&1) || fail "$2: $finding"
    wrong=$scratch/$(basename "$2")
    sed "$3" "$2" > "$wrong"
    ! cmp -s "$2" "$wrong" || fail "$2: nothing to change for $1 by $3"
    if finding=$("$1" "$wrong" 2>&1); then fail "$1 finds nothing wrong with $2 after $3"; fi
    grep -q -- "$4" <<< "$finding" || fail "$1 does not name $4 in $2 after $3: $finding"
    rm "$wrong"
    echo "$2: passed $1, and a wrong copy did not ($4)"
}

checked image deploy/container/Dockerfile 's/^ENTRYPOINT .*/ENTRYPOINT caed/' DL3025
checked image deploy/container/Dockerfile 's/^USER .*/USER root/' DL3002
checked compose deploy/container/compose.yaml 's/read_only:/readonly:/' readonly
for manifest in deploy/kubernetes/*.yaml; do
    checked kubernetes "$manifest" 's/^metadata:/metadatum:/' metadatum
done
checked kubernetes deploy/kubernetes/api.yaml 's/readOnlyRootFilesystem/readonlyRootFilesystem/' readonlyRootFilesystem
if [ "$(uname -s)" = Linux ]; then
    checked unit deploy/systemd/caed.service 's/^ProtectHome=/ProtectHomes=/' ProtectHomes
    checked unit deploy/systemd/caed.service 's/@system-service/@system-services/' @system-services
    checked hardened deploy/systemd/caed.service '/^\(Protect\|Private\|Restrict\|SystemCall\|Capability\)/d' exposure
else
    echo "deploy/systemd: not checked here; systemd is Linux's"
fi
if docker compose version >/dev/null 2>&1; then
    GATEWAY_TLS=$scratch ENVOY_USER=1000 docker compose --file deploy/container/compose.yaml config --quiet
    echo "deploy/container/compose.yaml: passed docker compose config"
else
    echo "deploy/container/compose.yaml: docker compose is not here, and was not asked"
fi

# What was built for tests.
cargo test --quiet --workspace --no-run
python3 tests/tools/deploy.py "${CARGO_TARGET_DIR:-target}/debug/caed" "$envoy"
