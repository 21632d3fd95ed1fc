#!/usr/bin/env bash
# The callers of this folder, ready to run:
#
#   get.sh python | go    prints the folder of the cache that has the caller, its libraries, and the code of caed's
#                         interface, made of proto/
#
# Libraries and makers of code are those that the lock files name. Both languages need python3 with pip, which brings
# protoc; Go needs go as well.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
proto=$(cd "$here/../../proto" && pwd)
# shellcheck source=cache.sh
. "$here/cache.sh"

make_python() {
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary :all: \
        --require-hashes --target libraries --requirement requirements.txt
    PYTHONPATH=libraries python3 -m grpc_tools.protoc --proto_path "$proto" --python_out libraries \
        --grpc_python_out libraries "$proto"/caed/v1/{decision,log}.proto
}

make_go() {
    GOBIN=$PWD/bin go install tool
    PYTHONPATH=$python/libraries python3 -m grpc_tools.protoc --proto_path "$proto" \
        --plugin bin/protoc-gen-go --plugin bin/protoc-gen-go-grpc \
        --go_out . --go-grpc_out . --go_opt module=api --go-grpc_opt module=api \
        --go_opt Mcaed/v1/decision.proto=api/caed,Mcaed/v1/log.proto=api/caed \
        --go-grpc_opt Mcaed/v1/decision.proto=api/caed,Mcaed/v1/log.proto=api/caed \
        "$proto"/caed/v1/{decision,log}.proto
    go build -trimpath -o api .
}

case ${1:-} in
    # Some libraries are built for one version of Python.
    python) cached "caller-python-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" make_python "$here/python" "$proto/caed" ;;
    go)
        python=$("$here/get.sh" python)
        cached caller-go make_go "$here/go" "$proto/caed"
        ;;
    *) echo "get.sh: which one: python or go?" >&2; exit 1 ;;
esac
