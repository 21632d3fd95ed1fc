#!/usr/bin/env bash
# ghz against AccessEvaluation/Evaluate of a release build, on this machine: 10,000 revoked users, and
# 2,000 different tokens in turn, of which a tenth are revoked. Client and sidecar share the
# machine's cores, so the figures are of both together.
#
#   bench/load/ghz.sh [CAED]      CAED: the binary; default target/release/caed
#
# SECONDS_EACH (default 5) is how long each level of concurrency is loaded.
set -euo pipefail
cd "$(dirname "$0")/../.."

caed=${1:-${CARGO_TARGET_DIR:-target}/release/caed}
seconds=${SECONDS_EACH:-5}
ghz=$(command -v ghz || true)
if [[ -z $ghz && -x ~/.cache/caed/bin/ghz ]]; then
    ghz=~/.cache/caed/bin/ghz
fi
if [[ -z $ghz ]]; then
    echo "ghz is missing: GOBIN=~/.cache/caed/bin go install github.com/bojand/ghz/cmd/ghz@v0.121.0" >&2
    exit 1
fi
if [[ ! -x $caed ]]; then
    echo "$caed is missing: cargo build --release --package caed" >&2
    exit 1
fi
for tool in curl jq; do
    if ! command -v "$tool" > /dev/null; then
    echo "$tool is missing: install it with the system's package manager" >&2
    exit 1
    fi
done

folder=$(mktemp -d)
sidecar=
end() {
    if [[ -n $sidecar ]]; then
        kill "$sidecar" 2> /dev/null || true
        wait "$sidecar" 2> /dev/null || true
    fi
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT TERM

# Port 0: the system chooses free ports, and the sidecar logs which.
cat > "$folder/caed.toml" <<EOF
[log]
directory = "$folder/log"
[listen]
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"
[[issuers]]
issuer = "https://login.example/staff"
tenants = ["staff"]
[[access]]
loopback = true
may = ["decide", "vouch", "publish", "administer"]
[telemetry]
format = "json"
EOF
# Only what stands in this file counts.
while read -r name; do
    unset "$name"
done < <(compgen -e CAED_ || true)
mkfifo "$folder/lines"
"$caed" serve --config "$folder/caed.toml" > "$folder/lines" 2>&1 &
sidecar=$!
exec 3< "$folder/lines"
grpc='' admin='' ready=''
while [[ -z $ready ]] && read -r -t 30 line <&3; do
    case $line in
        *'"message":"serving"'*)
            grpc=$(jq --raw-output '.grpc | capture("(?<at>[0-9.]+:[0-9]+)").at' <<< "$line")
            admin=$(jq --raw-output '.admin | capture("(?<at>[0-9.]+:[0-9]+)").at' <<< "$line")
            ;;
        *'"message":"ready"'*) ready=yes ;;
        *) echo "$line" >&2 ;;
    esac
done
if [[ -z $ready ]]; then
    echo "the sidecar did not get ready" >&2
    exit 1
fi
# Somebody must go on reading, or the sidecar would wait once the pipe is full.
cat <&3 > "$folder/sidecar.log" &

# Users 0 to 9,999 are revoked; those who ask are 200 of them and 1,800 others.
jq --null-input --compact-output 'range(10000)
    | {id: "\(.)", tenant: "staff", source: "directory", sessionsRevoked: {user: "user-\(.)"}}' > "$folder/events.json"
"$caed" publish --at "$grpc" --file "$folder/events.json"
jq --null-input --compact-output --argjson iat "$(($(date +%s) - 3600))" '[range(2000)
    | {claims: {iss: "https://login.example/staff", tid: "staff", iat: $iat, exp: ($iat + 86400),
        sub: (if . % 10 == 0 then "user-\(. * 5)" else "other-\(.)" end),
        sid: "session-\(.)", azp: "app", deviceid: "device-\(. % 500)", xms_cc: ["cp1"]}}]' > "$folder/requests.json"

# How many answers of a verdict the sidecar has given.
answers() {
    curl --silent --fail "http://$admin/metrics" | awk -v verdict="verdict=\"$1\"" '
        /^caed_decisions_total/ && index($0, verdict) { sum += $2 }
        END { print sum + 0 }'
}

printf '%12s %12s %10s %10s %10s %10s\n' concurrency requests/s 'p50 us' 'p95 us' 'p99 us' answers
for concurrency in 1 10 50; do
    allowed=$(answers allow) challenged=$(answers challenge)
    "$ghz" --insecure --call caed.v1.AccessEvaluation/Evaluate \
        --data-file "$folder/requests.json" --concurrency "$concurrency" \
        --duration "${seconds}s" --duration-stop wait --format json "$grpc" > "$folder/report.json"
    if ! jq --exit-status '.statusCodeDistribution | keys == ["OK"]' "$folder/report.json" > /dev/null; then
        echo "not every call was answered with OK:" >&2
        jq '{statusCodeDistribution, errorDistribution}' "$folder/report.json" >&2
        exit 1
    fi
    count=$(jq .count "$folder/report.json")
    allowed=$(($(answers allow) - allowed)) challenged=$(($(answers challenge) - challenged))
    # One in ten tokens is of a revoked user; the last turn may be cut short.
    if ((allowed + challenged != count || challenged < count / 10 - 200 || challenged > count / 10 + 200)); then
        echo "$count calls, but $allowed were allowed and $challenged challenged" >&2
        exit 1
    fi
    jq --raw-output --argjson concurrency "$concurrency" '
        def micros($p): .latencyDistribution[] | select(.percentage == $p) | .latency / 1000 | round;
        [$concurrency, (.rps | round), micros(50), micros(95), micros(99), .count] | @sh' \
        "$folder/report.json" | xargs printf '%12s %12s %10s %10s %10s %10s\n'
done
