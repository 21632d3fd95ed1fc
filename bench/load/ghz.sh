#!/usr/bin/env bash
# Says where ghz is, and gets it where it is not here. What is in the path is taken; else Go installs the version
# below into the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed), by no more rights than those of who runs this.
set -euo pipefail

version=0.121.0
folder=${XDG_CACHE_HOME:-$HOME/.cache}/caed/bin

if command -v ghz; then
    exit
fi
if [[ ! -x $folder/ghz ]]; then
    if ! command -v go > /dev/null; then
        echo "ghz is not in the path, and Go, which gets it, is missing; on Debian and Ubuntu: sudo apt-get install golang-go" >&2
        exit 1
    fi
    if ! GOBIN=$folder go install "github.com/bojand/ghz/cmd/ghz@v$version" > /dev/null; then
        echo "ghz $version can't be had by go install; put one into the path" >&2
        exit 1
    fi
fi
echo "$folder/ghz"
