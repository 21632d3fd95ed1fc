#!/usr/bin/env bash
# Proves that `make demo` needs only rustup and the compiler package: builds and runs it once with a
# PATH that holds no more than those, and none of what else is installed here (pkg-config, cmake, a
# JDK, Python, …). Then it builds what `make sandbox-*` builds: nothing leans on features of libraries
# that only tests ask for, for nothing of theirs is built here.
#
# It builds in target/plain, without optimizing, which nothing here is asked about and takes as long
# again. That is some nine minutes of two cores, OpenSSL most of it; the next time only what has
# changed. Remove target/plain to begin again.
#
# Headers can't be hidden by a PATH. OpenSSL's are not looked at without pkg-config, and what was
# built is asked whether it links OpenSSL's library; zlib's would be found by the compiler, so its own
# build is asked for.
set -euo pipefail
cd "$(dirname "$0")/.."

plain=$(mktemp -d)
trap 'rm -rf "$plain"' EXIT
# rustup.
programs=(cargo rustc rustup)
# The compiler package (build-essential; on macOS the command line tools), perl among it.
programs+=(cc c++ gcc g++ clang cpp ar as ld ld.bfd ld.gold nm ranlib strip objcopy objdump strings make perl xcrun libtool install_name_tool)
# What every system has.
programs+=(bash sh env basename cat chmod cmp comm cp cut date dirname echo expr find head id install
    ln ls mkdir mktemp mv od printf pwd readlink realpath rm rmdir sleep sort stat tail tee test touch
    tr true false uname uniq wc xargs awk mawk gawk diff egrep fgrep grep gzip hostname sed tar which
    expand getconf ldconfig ldd arch nproc sysctl sw_vers uptime patch)
for program in "${programs[@]}"; do
    found=$(command -v "$program" || true)
    case $found in /*) ln -s "$found" "$plain/$program" ;; esac
done

built=${CARGO_TARGET_DIR:-$(pwd)/target}/plain

barely() { # COMMAND…: runs it on the bare machine
    env -i HOME="$HOME" PATH="$plain" ${CARGO_HOME:+CARGO_HOME="$CARGO_HOME"} ${RUSTUP_HOME:+RUSTUP_HOME="$RUSTUP_HOME"} \
        LIBZ_SYS_STATIC=1 CARGO_TARGET_DIR="$built" CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=none "$@"
}

barely make demo

if command -v ldd >/dev/null 2>&1 && ldd "$built/debug/caed" | grep -E 'libssl|libcrypto|libz\.'; then
    echo "plain-path: the program links these libraries of the system, which the compiler package does not bring" >&2
    exit 1
fi

barely cargo build --quiet --package caed --package caed-sandbox
