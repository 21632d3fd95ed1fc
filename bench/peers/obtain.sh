#!/usr/bin/env bash
# Says where a peer's program is, and gets it where it is not here:
#
#   obtain.sh redis | opa | openfga      one, and prints its path
#   obtain.sh                            all of them, and prints their versions
#
# They go into the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed), by no more rights than those of who runs this: OPA
# and OpenFGA are built by Go, in the versions that stand in `versions` beside this file (minutes each, once); Redis is
# the one in the path, or as Debian and Ubuntu package it, unpacked and not installed. Nothing is started.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions
. "$here/versions"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/caed

fail() { echo "obtain.sh: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# What is got is put here first.
new=
trap 'rm -rf "$new"' EXIT
aside() { mkdir -p "$cache" && new=$(mktemp -d "$cache/new-$1.XXXXXX"); }

# Moves it into place whole: who runs at the same time finds all of it or nothing.
place() { # FOLDER PROGRAM
    [ -x "$1/$2" ] || rm -rf "$1"
    mv "$new" "$1" 2>/dev/null || true
    # Moving onto a folder that somebody else has just made moves into it.
    rm -rf "${1:?}/$(basename "$new")"
    [ -x "$1/$2" ] || fail "$1/$2 can't be put there"
}

# A program that Go builds, with one core left for whoever works here.
get_built() { # NAME VERSION PACKAGE
    local home=$cache/$1-$2
    if [ ! -x "$home/$1" ]; then
        has go || fail "$1 is built by Go, which is missing; on Debian and Ubuntu: sudo apt-get install golang-go"
        aside "$1"
        echo "obtain.sh: building $1 $2 (minutes, once)" >&2
        CGO_ENABLED=0 GOBIN=$new nice go install -p 1 -ldflags "-s -w" "$3@v$2" >&2 || fail "$3@v$2 can't be built"
        place "$home" "$1"
    fi
    echo "$home/$1"
}

# Redis and the libraries that it needs and the system may lack.
get_redis() {
    local home=$cache/redis package libraries
    if [ ! -x "$home/redis-server" ]; then
        has apt-get && has dpkg-deb || fail "redis-server is not in the path; install it by your package manager"
        apt-cache policy | grep '://' >/dev/null || fail "redis-server is not in the path, and there is no list of packages to get it by; sudo apt-get update"
        aside redis
        for package in redis-server redis-tools $(apt-cache depends redis-tools | sed -n 's/^ *Depends: \(libjemalloc[^ ]*\|liblzf[^ ]*\|libatomic[^ ]*\|liblua[^ ]*\|libhiredis[^ ]*\)$/\1/p'); do
            (cd "$new" && apt-get download --quiet=2 "$package" >&2) || fail "$package can't be downloaded; if its version is gone: sudo apt-get update"
            dpkg-deb -x "$new/$package"_*.deb "$new"
            rm "$new/$package"_*.deb
        done
        # Started by this, it finds them wherever the folder is.
        cat > "$new/redis-server" <<'END'
#!/bin/sh
home=$(dirname "$0")
for folder in "$home"/usr/lib/*-linux-*; do LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; done
export LD_LIBRARY_PATH
exec "$home/usr/bin/redis-server" "$@"
END
        chmod +x "$new/redis-server"
        libraries=$("$new/redis-server" --version 2>&1) || fail "redis-server, unpacked, does not run: $libraries"
        place "$home" redis-server
    fi
    echo "$home/redis-server"
}

redis() { command -v redis-server || get_redis; }
opa() { get_built opa "$OPA_VERSION" github.com/open-policy-agent/opa; }
openfga() { get_built openfga "$OPENFGA_VERSION" github.com/openfga/openfga/cmd/openfga; }

case ${1:-} in
    redis | opa | openfga) "$1" ;;
    "")
        program=$(redis)
        echo "peers: $("$program" --version | sed 's/ sha=.*//'), OPA $OPA_VERSION, OpenFGA $OPENFGA_VERSION"
        opa >/dev/null
        openfga >/dev/null
        ;;
    *) fail "which one: redis, opa or openfga?" ;;
esac
