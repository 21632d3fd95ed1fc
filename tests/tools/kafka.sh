#!/usr/bin/env bash
# A real Apache Kafka for tests: one node, and others beside it where asked for.
#
#   kafka.sh install           fetches the jars into the cache, and checks them; nothing to do when there
#   kafka.sh verify            checks the jars in the cache
#   kafka.sh checksums         prints the checksums of the jars in the cache
#   kafka.sh start DIR PORT    starts a broker whose data, settings, log and pid live in DIR, and waits for it
#   kafka.sh stop DIR          stops the broker of DIR; its data stays
#
# Everything binds to loopback: PORT speaks plaintext, PORT+1 is the controller. With KAFKA_SECURE=1,
# to be set before the first start in DIR, PORT+2 speaks TLS with SASL (SCRAM-SHA-256, SCRAM-SHA-512,
# PLAIN) and PORT+3 TLS with client certificates; DIR/tls holds ca.pem, client.pem and client.key,
# made on the spot.
#
# Settings by environment:
#   KAFKA_SECURE=1                    also the two TLS listeners
#   KAFKA_USER, KAFKA_PASSWORD        of SASL (default: caed, caed-secret)
#   KAFKA_OWNER=PID                   the broker ends when that process has ended
#   KAFKA_HEAP                        the broker's heap (default: 512m)
#   KAFKA_NODE=2 KAFKA_JOIN=PORT      a second broker beside the one that was started with PORT, which
#                                     stays the controller; plaintext only
#
# Needs a JDK, and Maven to install; openssl for the TLS listeners.
set -euo pipefail
# DIR holds private keys and passwords.
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions
. "$here/versions"
home=${XDG_CACHE_HOME:-$HOME/.cache}/caed/kafka-$KAFKA_VERSION
user=${KAFKA_USER:-caed}
password=${KAFKA_PASSWORD:-caed-secret}
java=$("$here/java.sh")

fail() { echo "kafka.sh: $*" >&2; exit 1; }
need() { # PROGRAM
    command -v "$1" >/dev/null 2>&1 || fail "$1 is missing; \`make tools\` says how to get it"
}

sums() { if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

cmd_checksums() { (cd "$home/lib" && LC_ALL=C sums ./*.jar | sed 's| \./| |'); }

# Every jar is as it was when the version was chosen, and none is there beside them.
verify() { # LIB
    diff <(cd "$1" && LC_ALL=C sums ./*.jar | sed 's| \./| |' | LC_ALL=C sort) <(LC_ALL=C sort "$here/kafka.sha256") >/dev/null
}

cmd_verify() {
    [ -d "$home/lib" ] || fail "Kafka $KAFKA_VERSION is not in $home; run: tests/tools/kafka.sh install"
    verify "$home/lib" || fail "the jars in $home/lib are not those of tests/tools/kafka.sha256; remove $home and run: tests/tools/kafka.sh install"
}

cmd_install() {
    [ -d "$home/lib" ] && return 0
    need mvn
    mkdir -p "$(dirname "$home")"
    # Filled aside and moved into place whole: who runs at the same time finds all of it or nothing.
    local fresh; fresh=$(mktemp -d "$home.XXXXXX")
    # Beside the broker its tools, which the controller loads, without Connect.
    cat > "$fresh/pom.xml" <<P
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$KAFKA_VERSION</version>
      <exclusions><exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion></exclusions>
    </dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$LOG4J_VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$LOG4J_VERSION</version></dependency>
  </dependencies>
</project>
P
    (cd "$fresh" && mvn -B -q -ntp \
        "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
        -DincludeScope=runtime -DoutputDirectory="$fresh/lib") >&2 ||
        { rm -rf "$fresh"; fail "Maven could not fetch Kafka $KAFKA_VERSION"; }
    verify "$fresh/lib" || fail "what Maven fetched into $fresh/lib is not what tests/tools/kafka.sha256 says; nothing was installed"
    mv "$fresh" "$home" 2>/dev/null || rm -rf "$fresh"
    # Moving onto a directory that somebody else has just made moves into it.
    rm -rf "$home/$(basename "$fresh")"
    [ -d "$home/lib" ] || fail "$home can not be written"
}

# Console only; whoever starts a JVM redirects it.
log_settings() { # FILE
    cat > "$1" <<'P'
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="out" target="SYSTEM_ERR"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
P
}

# The broker of a folder runs, and its number was not given to another process since.
alive() { [ -s "$1/pid" ] && ps -p "$(cat "$1/pid")" -o args= 2>/dev/null | grep 'kafka\.Kafka' >/dev/null; }

certificates() { # TLS-DIR
    [ -f "$1/server.pem" ] && return 0
    need openssl
    mkdir -p "$1"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=test authority" \
        -keyout "$1/ca.key" -out "$1/ca.pem" 2>/dev/null
    local who
    for who in server client; do
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" -keyout "$1/$who.key" -out "$1/$who.csr" 2>/dev/null
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' > "$1/$who.ext"
        openssl x509 -req -days 30 -in "$1/$who.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial \
            -extfile "$1/$who.ext" -out "$1/$who.crt" 2>/dev/null
    done
    cp "$1/client.crt" "$1/client.pem"
    # The broker wants a PKCS#8 key and the chain in one file.
    { openssl pkcs8 -topk8 -nocrypt -in "$1/server.key"; cat "$1/server.crt" "$1/ca.pem"; } > "$1/server.part"
    mv "$1/server.part" "$1/server.pem"
}

settings() { # DIR PORT
    local dir=$1 port=$2
    local controller="127.0.0.1:$((${KAFKA_JOIN:-$port} + 1))"
    local roles=broker listeners="PLAINTEXT://127.0.0.1:$port" advertised="PLAINTEXT://127.0.0.1:$port"
    [ -n "${KAFKA_JOIN:-}" ] || { roles+=,controller; listeners+=",CONTROLLER://$controller"; }
    if [ "${KAFKA_SECURE:-0}" = 1 ]; then
        listeners+=",SASL_SSL://127.0.0.1:$((port + 2)),SSL://127.0.0.1:$((port + 3))"
        advertised+=",SASL_SSL://localhost:$((port + 2)),SSL://localhost:$((port + 3))"
    fi
    cat <<P
process.roles=$roles
node.id=${KAFKA_NODE:-1}
controller.quorum.voters=1@$controller
controller.listener.names=CONTROLLER
listeners=$listeners
advertised.listeners=$advertised
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Tests do not wait for members that may join later, nor for the cleaner's rounds, nor 9 s until a
# broker that was killed is given up and may come back.
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=500
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=7000
# 128 MiB by default: too much for a small heap.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
P
    [ "${KAFKA_SECURE:-0}" = 1 ] || return 0
    cat <<P
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$user="$password";
P
}

# Gives the data folder its cluster, and the users of SCRAM.
format() { # DIR
    [ -f "$1/data/meta.properties" ] && return 0
    local scram=()
    [ "${KAFKA_SECURE:-0}" = 1 ] && scram=(
        --add-scram "SCRAM-SHA-512=[name=$user,password=$password]"
        --add-scram "SCRAM-SHA-256=[name=$user,password=$password]")
    "$java" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$1/log4j2.xml" \
        -cp "$home/lib/*" kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ \
        -c "$1/server.properties" ${scram[@]+"${scram[@]}"} > "$1/format.log" 2>&1 ||
        { cat "$1/format.log" >&2; fail "the data folder could not be formatted"; }
}

cmd_start() {
    [ $# -eq 2 ] || fail "usage: kafka.sh start DIR PORT"
    mkdir -p "$1"
    local dir; dir=$(cd "$1" && pwd)
    alive "$dir" && return 0
    cmd_install
    [ "${KAFKA_SECURE:-0}" = 1 ] && certificates "$dir/tls"
    settings "$dir" "$2" > "$dir/server.properties"
    log_settings "$dir/log4j2.xml"
    format "$dir"
    : > "$dir/broker.log"
    # Serial and half-compiled: starts sooner and in less memory, which tests want more than speed.
    nohup "$java" -Xmx"${KAFKA_HEAP:-512m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError \
        -Djava.awt.headless=true -Djava.net.preferIPv4Stack=true -Dlog4j2.configurationFile="$dir/log4j2.xml" \
        -cp "$home/lib/*" kafka.Kafka "$dir/server.properties" >> "$dir/broker.log" 2>&1 < /dev/null &
    local pid=$!
    echo "$pid" > "$dir/pid"
    if [ -n "${KAFKA_OWNER:-}" ]; then
        # shellcheck disable=SC2016
        nohup bash -c 'while kill -0 "$1" && kill -0 "$2"; do sleep 1; done; kill -CONT "$2"; kill "$2"' \
            watch "$KAFKA_OWNER" "$pid" > /dev/null 2>&1 < /dev/null &
    fi
    # Seconds as a rule; half a minute was seen on a machine that was very busy.
    local tries
    for ((tries = 0; tries < 900; tries++)); do
        grep -q 'Kafka Server started' "$dir/broker.log" && return 0
        alive "$dir" || kill -0 "$pid" 2>/dev/null ||
            { grep -m 5 -E 'ERROR|Exception' "$dir/broker.log" >&2; fail "the broker ended; see $dir/broker.log"; }
        sleep 0.1
    done
    fail "the broker was not ready after 90 s; see $dir/broker.log"
}

cmd_stop() {
    [ $# -eq 1 ] || fail "usage: kafka.sh stop DIR"
    alive "$1" || { rm -f "$1/pid"; return 0; }
    local pid tries; pid=$(cat "$1/pid")
    # A process that is stopped does not hear that it should end.
    kill -CONT "$pid"
    kill -TERM "$pid"
    for ((tries = 0; tries < 200; tries++)); do
        kill -0 "$pid" 2>/dev/null || { rm -f "$1/pid"; return 0; }
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$1/pid"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
    install | verify | checksums | start | stop) "cmd_$command" "$@" ;;
    *) sed -n '2,26p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
