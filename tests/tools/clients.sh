#!/usr/bin/env bash
# The programs of tests/clients, each with the Azure SDK of its language as its lock file names it:
#
#   clients.sh LANGUAGE…    prints for each the folder of the cache that has the program and all that it needs
#
# They get there by no more rights than those of who runs this, and no script of a package is run.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clients=$here/../clients
# shellcheck source=../../deploy/clients/cache.sh
. "$here/../../deploy/clients/cache.sh"

make_python() {
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --only-binary :all: --require-hashes \
        --target libraries --requirement requirements.txt
}
make_javascript() { npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; }
make_go() { go build -trimpath -o client .; }

for language in "$@"; do
    case $language in
        # Some libraries are built for one version of Python.
        python) cached "clients-python-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" make_python "$clients/python" ;;
        javascript | go) cached "clients-$language" "make_$language" "$clients/$language" ;;
        *) echo "clients.sh: which ones: python, javascript, go?" >&2; exit 1 ;;
    esac
done
