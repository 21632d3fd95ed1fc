"""Runs every command of the quickstarts, which are README.md and each README.md under deploy/, as it stands there.

Each command is typed into bash, one after the other, in a folder that looks like a fresh clone; what one sets, the
next one finds. QUICKSTARTS below says of each block and command what becomes of it. What it does not know fails, and so
does what it knows and no document holds any more: neither can change without the other.

What serves does so on its usual ports, which therefore must be free, and ends before this does.
"""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
KAFKA = str(ROOT / "tests/tools/kafka.sh")
# caed: gRPC, forward authorization, admin; the sandbox: gateway, issuer, API; an API that asks itself.
PORTS = (7431, 7433, 9464, 8443, 8444, 8080, 8081)
WHOLE_S = 600
PATIENCE_S = 60
KEYCLOAK = "https://keycloak.example/realms/staff"


# What becomes of a block or a command. Each is known by how it starts.


@dataclasses.dataclass(frozen=True)
class Command:
    start: str


@dataclasses.dataclass(frozen=True)
class Run(Command):
    """It is run, and ends by itself."""

    code: int = 0
    # Stands in what it prints.
    says: str = ""
    # What serves meanwhile, by how its own command starts; whatever else still serves is ended before.
    beside: tuple = ()
    # What the reader fills in.
    fill: dict = dataclasses.field(default_factory=dict)
    # Makes the files that the reader has; looks at what came of it. Both get the desk, and `after` what was printed.
    before: typing.Optional[typing.Callable] = None
    after: typing.Optional[typing.Callable] = None
    # Gives variables of the environment.
    variables: typing.Optional[typing.Callable] = None
    # A program without which it is not run.
    needs: str = ""


@dataclasses.dataclass(frozen=True)
class Serve(Run):
    """It is run, serves until it is told to end, and ends well."""

    # An address that is answered once it serves, and not by 503; or words that it prints.
    ready: str = "http://127.0.0.1:9464/readyz"
    # Who is told to end: what the command starts may stand behind other programs, such as make.
    program: str = "caed"
    by: int = signal.SIGTERM


@dataclasses.dataclass(frozen=True)
class NotRun(Command):
    """It can't be run here. Files that it names must be there, and make must know its target."""

    why: str = ""


@dataclasses.dataclass(frozen=True)
class Block:
    start: str


@dataclasses.dataclass(frozen=True)
class Configuration(Block):
    """A part of caed's configuration: with the rest of one, caed finds no fault with it."""


@dataclasses.dataclass(frozen=True)
class Sample(Block):
    """What a command prints, numbers aside."""

    of: str = ""


@dataclasses.dataclass(frozen=True)
class Checked(Block):
    """Anything else: a function gets the desk and the block's text."""

    check: typing.Callable = None


# What functions of the table do.


def kafka(desk):
    """A broker as deploy/kafka.toml has it: TLS, and a user by SCRAM."""
    folder = desk.broker()
    return {
        "CAED_KAFKA_BROKERS": f"localhost:{desk.broker_port + 2}",
        "CAED_KAFKA_PROPERTIES_SASL_PASSWORD": "caed-secret",
        "CAED_KAFKA_PROPERTIES_SSL_CA_LOCATION": str(folder / "tls/ca.pem"),
    }


def verifying(desk):
    """What README says of an issuer, as the configuration of a sidecar; and a token of that issuer."""
    claims = {"iss": KEYCLOAK, "sub": "u-1001", "aud": "files-api", "typ": "Bearer", "azp": "app"}
    now = int(time.time())
    claims.update(iat=now, exp=now + 300)

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def openssl(*arguments, given=b""):
        return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True, timeout=PATIENCE_S).stdout

    key = desk.folder / "issuer.key"
    if not key.exists():
        key.write_bytes(openssl("genrsa", "2048"))
    modulus = bytes.fromhex(openssl("rsa", "-in", str(key), "-noout", "-modulus").decode().strip().split("=")[1])
    public = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": encoded(modulus), "e": "AQAB"}
    keys = desk.folder / "keys.json"
    keys.write_text(json.dumps({"keys": [public]}))
    head = {"alg": "RS256", "kid": "1", "typ": "JWT"}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    signature = openssl("dgst", "-sha256", "-sign", str(key), given=signed.encode())
    (desk.folder / "token.jwt").write_text(f"{signed}.{encoded(signature)}")
    # The snippet ends within its [[issuers]].
    snippet = desk.block("README.md", "[[issuers]]")
    (desk.folder / "verifying.toml").write_text(whole(snippet + f"keys = {json.dumps(str(keys))}\n"))


def another(desk):
    """Where the other sidecar is."""
    return f"127.0.0.1:{desk.other_ports[0]}"


def decides_the_same(desk, _):
    """What one sidecar exported, another one that took it exports as well."""
    at = another(desk)
    exported = desk.types(f"caed export --tenant staff --at {at}")
    assert exported == (desk.folder / "target/staff.jsonl").read_text(), f"the other sidecar exports\n{exported}"
    ask = f'caed decide --iss {KEYCLOAK} --tid staff --sub u-1001 --iat "$(date +%s)" --client-ip 192.0.2.1'
    for where in ("", f" --at {at}"):
        desk.types(ask + where, code=4)


def played(desk, printed):
    """What a sandbox prints is a quickstart, too: a call passes, is challenged after a revocation, and passes again."""
    told = printed[printed.index("In another shell:"):printed.index("What each part says")]
    lines = re.findall(r"^  .*$", told, re.M)
    assert sum("curl -i" in line for line in lines) == 3, printed
    said = desk.asks("set -e\n" + "\n".join(lines))
    _, *answers = re.split(r"HTTP/[0-9.]+ (?=\d{3}\b)", said)
    assert [answer[:3] for answer in answers] == ["200", "401", "200"], said
    challenge = re.search(r"^www-authenticate: .*", answers[1], re.I | re.M)
    assert challenge and 'error="insufficient_claims"' in challenge[0] and 'claims="' in challenge[0], said


def signed_in(desk):
    """The shell has the token that the sandbox's first lines get."""
    printed = desk.serving["make sandbox-envoy"].said()
    desk.types(printed[printed.index("  # A token"):printed.index("  # The API")])


def traefik(desk, snippet):
    """Traefik is not here; what it is told to ask is asked, and the headers that it is told to copy come."""
    (address,) = re.findall(r"address: (\S+)", snippet)
    (headers,) = re.findall(r"authResponseHeaders: \[(.*)\]", snippet)
    desk.has_beside(("caed serve --config verifying.toml",))

    def asked(**more):
        sent = {"x-forwarded-for": "203.0.113.9", "x-forwarded-method": "GET", "x-forwarded-uri": "/", **more}
        try:
            with urllib.request.urlopen(urllib.request.Request(address, headers=sent), timeout=10) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.headers

    code, answer = asked()
    assert code == 401 and answer["www-authenticate"], (code, str(answer))
    code, answer = asked(authorization=f"Bearer {(desk.folder / 'token.jwt').read_text()}")
    assert code == 200 and all(name in answer for name in headers.split(", ")), (code, str(answer))


def of_example(desk, snippet):
    """What README shows of the example stands in it, however it is laid out there."""
    def solid(text):
        return "".join(text.split())

    example = solid((desk.folder / "engine/tower/examples/axum.rs").read_text())
    for statement in re.split(r";|\{ …", snippet):
        statement = solid(re.sub(r"^}.*", "", statement.strip(), flags=re.M))
        assert statement in example, f"engine/tower/examples/axum.rs has no {statement}"


RUN = ("make run",)
SANDBOX = ("make sandbox-envoy",)

# To add a command: a line with how it starts (the longest start that fits is taken), what it exits with, a word that it
# prints, and what serves meanwhile. A block that is no command is known by how its first line starts.
QUICKSTARTS = {
    "README.md": [
        Run("make demo", says="0 of them wrong"),
        Sample("2. Alice's account is disabled.", of="make demo"),
        Serve("make run"),
        Run('PATH="$PWD/target/debug:$PATH"', beside=RUN, after=lambda desk, _: desk.types("caed --version")),
        Run("caed check-config --config deploy/caed.toml", says="no faults", beside=RUN),
        Serve("CAED_LOG_DIRECTORY=target/log caed serve --config deploy/caed.toml", by=signal.SIGINT),
        Run("caed publish sessions-revoked", says="enforced", beside=RUN),
        Run("echo '{", beside=RUN),
        Run("caed publish --file target/events.jsonl", says="1 events are durable", beside=RUN),
        Run("caed publish location-changed", says="enforced", beside=RUN),
        Run("""echo '{"policy":"staff-outside\"""", beside=RUN),
        Run("caed publish policy-changed", says="enforced", beside=RUN),
        Run("caed decide --iss", code=3, says="location · policy staff-outside", beside=RUN),
        Run("caed import --tenant staff tests/fixtures/graph/tenant/*.json --dry-run", says="nothing is published", beside=RUN),
        Run("caed import --tenant staff tests/fixtures/graph/tenant/*.json --whole", says="6 are published, 0 are deleted", beside=RUN),
        Run("caed export --tenant staff > target/staff.jsonl", beside=RUN),
        Run("caed publish --file target/staff.jsonl --at …", says="events are durable", fill={"…": another},
            beside=(*RUN, "another"), after=decides_the_same),
        Run("caed decide --iss", says="ALLOW", beside=RUN),
        Run("caed status", says="ready", beside=RUN),
        # One broker has no room for three replicas.
        Run("caed topics create --config deploy/kafka.toml", says="caed.events", fill={"kafka.toml": "kafka.toml --replicas 1"},
            variables=kafka),
        Serve("caed serve --config deploy/kafka.toml", variables=kafka),
        *(Serve(f"make sandbox-{gateway}", ready="What each part says", program="caed-sandbox", by=by, after=played)
          for gateway, by in [("envoy", signal.SIGINT), ("nginx", signal.SIGTERM), ("caddy", signal.SIGINT)]),
        Checked("http:", traefik),
        Checked("let access = Access::new", of_example),
        # What was built for tests stands for it: cargo would build it anew, with other features.
        Serve("KEYS=keys.json LOG=target/example cargo run", ready="curl -i http://127.0.0.1", program="axum", by=signal.SIGINT,
              fill={"cargo run --package caed-tower --example axum": str(TARGET / "debug/examples/axum")}, before=verifying),
        Configuration("[[issuers]]"),
        Run("caed decide --token token.jwt", says="ALLOW", beside=("caed serve --config verifying.toml",)),
        Configuration("[client_address]"),
        Configuration("[listen]"),
        Run("caed decide --explain", code=4, says="an address inside office", beside=RUN),
        Run("caed status --tenant staff", says="staff-outside", beside=RUN),
        Run("caed status --user u-1001", says="user u-1001", beside=RUN),
        Configuration("[countries]"),
        Run("caed publish source-declared", says="enforced", beside=RUN),
        Run("caed publish heartbeat", says="enforced", beside=RUN),
        Run("ghz", says="[OK]", beside=RUN, needs="ghz"),
        *(NotRun(f"make {target}", why) for target, why in [
            ("check", "it is a stage beside this one"),
            ("mutants", "it takes hours"),
            ("fuzz", "it takes a minute a decoder, and a nightly compiler"),
            ("tools", "it was run before this"),
            ("test", "this is a part of it"),
        ]),
    ],
    "deploy/README.md": [
        NotRun("cargo build --release", "it takes minutes; what was built for tests stands for it"),
        *(NotRun(f"sudo install -D {which}", "tests/tools/deploy.py runs it, but into another root")
          for which in ("target/release/caed", "--mode=0644 deploy/gateway.toml", "--mode=0644 deploy/systemd/caed.service")),
        NotRun("caed check-config --config /etc/caed/caed.toml", "tests/tools/deploy.py runs it, but in another root"),
        NotRun("sudo systemctl enable --now caed", "no service of this machine is touched; tests/tools/deploy.py runs what the unit runs"),
        Run("caed status", says="ready", beside=RUN),
        NotRun("docker build", "there is no Docker daemon; tests/tools/deploy.sh lints the file"),
        NotRun("GATEWAY_TLS=", "there is no Docker daemon; tests/tools/deploy.sh checks the file"),
        *(NotRun(f"kubectl {what}", "there is no cluster; tests/tools/deploy.py runs what it would run")
          for what in ("create secret tls", "create secret generic", "apply", "rollout", "exec")),
    ],
    "deploy/clients/README.md": [
        Run("folder=$(deploy/clients/get.sh python)"),
        Serve("PYTHONPATH=$folder/libraries python3", beside=SANDBOX, ready="http://127.0.0.1:8081/report", program="python3", code=-15),
        Run("folder=$(deploy/clients/get.sh go)"),
        Serve('"$folder/api"', beside=SANDBOX, ready="http://127.0.0.1:8081/report", program="api", code=-15),
        Run("curl -i http://127.0.0.1:8081/report", says="200 OK", beside=(*SANDBOX, '"$folder/api"'), before=signed_in),
    ],
}

# What serves and stands in no document.
OTHERS = {
    "another": Serve("another", ready="app: ready", fill={"another": lambda desk: (
        "CAED_LOG_DIRECTORY=target/another CAED_LISTEN_GRPC=127.0.0.1:{} CAED_LISTEN_ADMIN=127.0.0.1:{} "
        "caed serve --config deploy/caed.toml").format(*desk.other_ports)}),
    "caed serve --config verifying.toml": Serve("caed serve --config verifying.toml", before=verifying),
}

# What was built for tests stands for what make builds: cargo would build it anew, with other features. (plain-path.sh
# lets it.)
CARGO = f"""#!/bin/sh
asked="cargo $*"
[ "$1 $2" = "build --quiet" ] && shift 2 || {{ echo "$asked: not known here" >&2; exit 1; }}
while [ $# -gt 0 ]; do
    [ "$1" = --package ] && [ -x {shlex.quote(str(TARGET / "debug"))}/"$2" ] || {{ echo "$asked: that is not built" >&2; exit 1; }}
    shift 2
done
"""

# What a configuration needs besides a part, unless the part has it.
REST = {
    "[log]": '[log]\ndirectory = "target/verifying"\n',
    "[listen]": '[listen]\ngrpc = "127.0.0.1:7431"\nhttp = "127.0.0.1:7433"\nadmin = "127.0.0.1:9464"\n',
    "[[issuers]]": '[[issuers]]\nissuer = "https://login.example/staff"\ntenants = ["staff"]\n',
}


def whole(part):
    return "".join(rest for name, rest in REST.items() if name not in part.splitlines()) + part


# What the documents hold, and what becomes of it.


@dataclasses.dataclass(frozen=True)
class Step:
    document: str
    line: int
    text: str
    entry: typing.Union[Command, Block]

    def __str__(self):
        first, *more = self.text.splitlines()
        return f"{self.document}:{self.line}: {re.sub(r'  +#.*', '', first)}{' …' if more else ''}"


def blocks(text):
    """Blocks of code: the line where each starts, and its text. Indented by four after a blank line, or fenced."""
    lines, at = text.splitlines(), 0
    while at < len(lines):
        start, found = at + 1, []
        fence = re.match(r" {0,3}(```+|~~~+)", lines[at])
        if fence:
            at, start = at + 1, at + 2
            while at < len(lines) and not lines[at].lstrip().startswith(fence[1]):
                found.append(lines[at])
                at += 1
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                found.append(lines[at][4:])
                at += 1
            at -= 1
        at += 1
        if found:
            yield start, "\n".join(found).rstrip() + "\n"


def commands(line, block):
    """A block's commands, each with its line: bash knows where one is whole."""
    text, start = "", line
    for number, more in enumerate(block.splitlines(), line):
        if not text and not more.strip():
            continue
        start = start if text else number
        text += more + "\n"
        read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=PATIENCE_S)
        if read.returncode == 0 and not read.stderr and not more.endswith("\\"):
            yield start, text.rstrip("\n")
            text = ""
    if text:
        yield start, text.rstrip("\n")


def plan(documents):
    """What becomes of each block and command of the documents, in order; and everything that is wrong with that."""
    steps, wrong = [], []
    for name in QUICKSTARTS.keys() - documents.keys():
        wrong.append(f"{name} is gone: take it out of QUICKSTARTS in tests/tools/quickstarts.py")
    for document, text in documents.items():
        unused = list(QUICKSTARTS.get(document, []))

        def taken(kind, text):
            fits = [entry for entry in unused if isinstance(entry, kind) and re.match(re.escape(entry.start) + r"(?![\w-])", text)]
            if not fits:
                return None
            # Of equals the first one.
            entry = max(fits, key=lambda entry: len(entry.start))
            unused[:] = [other for other in unused if other is not entry]
            return entry

        for line, block in blocks(text):
            entry = taken(Block, block)
            if entry:
                steps.append(Step(document, line, block, entry))
                continue
            for number, command in commands(line, block):
                entry = taken(Command, command)
                if entry:
                    steps.append(Step(document, number, command, entry))
                else:
                    wrong.append(f"{document}:{number}: nobody runs `{command}`: say in QUICKSTARTS of tests/tools/quickstarts.py "
                                 "what becomes of it, or of the block that it begins")
        for entry in unused:
            wrong.append(f"{document} has nothing any more that starts with `{entry.start}`: take it out of QUICKSTARTS in "
                         "tests/tools/quickstarts.py, or put it back")
    return steps, wrong


def form(text):
    """Text without its numbers, its units of time and its spaces."""
    text = re.sub(r"\d+(\.\d+)? (µs|ms|s)\b", "<time>", text)
    return ["".join(re.sub(r"\d+", "<number>", line).split()) for line in text.splitlines()]


# Where commands are typed.


class Serving:
    """A process that serves, and all that it started."""

    def __init__(self, entry, log, process):
        self.entry, self.log, self.process = entry, log, process

    def said(self):
        return self.log.read_text(errors="replace")

    def is_ready(self):
        if not self.entry.ready.startswith("http"):
            return self.entry.ready in self.said()
        try:
            urllib.request.urlopen(self.entry.ready, timeout=5).close()
        except urllib.error.HTTPError as refusal:
            return refusal.code != 503
        except OSError:
            return False
        return True

    def told_to_end(self):
        """The process of its program, among those that it started."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
        processes = [line.split(None, 2) for line in listed.stdout.splitlines()]
        own = {str(self.process.pid)}
        for _ in range(10):
            own |= {pid for pid, parent, *_ in processes if parent in own}
        ours = [int(pid) for pid, _, *arguments in processes if pid in own and arguments
                and os.path.basename(arguments[0].split()[0]) == self.entry.program]
        # The first one started the others.
        assert ours, f"`{self.entry.start}` runs no {self.entry.program}:\n{self.said()}"
        return min(ours)

    def end(self):
        assert self.process.poll() is None, f"`{self.entry.start}` ended by itself with {self.process.returncode}:\n{self.said()}"
        os.kill(self.told_to_end(), self.entry.by)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"`{self.entry.start}` does not end:\n{self.said()}") from None
        assert code == self.entry.code, f"`{self.entry.start}` ended with {code}, not {self.entry.code}:\n{self.said()}"


class Desk:
    """A folder like a fresh clone, a shell there, and what serves."""

    def __init__(self, scratch, steps):
        self.scratch, self.folder, self.steps = scratch, scratch / "clone", steps
        self.serving, self.groups, self.printed, self.kafka, self.broker_port = {}, [], {}, None, None
        self.other_ports = free_ports(2)
        self.folder.mkdir()
        for path in ROOT.iterdir():
            if path.name not in (".git", "target"):
                (self.folder / path.name).symlink_to(path)
        (self.folder / "target").mkdir()
        (self.folder / "target/debug").symlink_to(TARGET / "debug")
        programs = scratch / "programs"
        programs.mkdir()
        cargo = programs / "cargo"
        cargo.write_text(CARGO)
        cargo.chmod(0o755)
        # Neither caed's nor make's variables that happen to be set are a newcomer's.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CAED_", "MAKE", "MFLAGS"))}
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        path = f"{programs}:{clean['PATH']}:{cache}/caed/bin"
        self.variables = {**clean, "PATH": path, "PWD": str(self.folder), "CARGO_TARGET_DIR": str(TARGET)}

    def block(self, document, start):
        (text,) = [step.text for step in self.steps if step.document == document and isinstance(step.entry, Block) and step.entry.start == start]
        return text

    def started(self, command, log, variables):
        with open(log, "wb") as output:
            process = subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                       cwd=self.variables["PWD"], env={**self.variables, **variables}, start_new_session=True)
        self.groups.append(process)
        return process

    def types(self, command, code=0, **variables):
        """Runs a command, and keeps what it set for the next one."""
        log, kept = self.scratch / "command.log", self.scratch / "variables"
        process = self.started(f"trap 'env -0 > {shlex.quote(str(kept))}' EXIT; set -a\n{command}", log, variables)
        try:
            got = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"`{command}` has not ended after {PATIENCE_S} s:\n{log.read_text(errors='replace')}") from None
        said = log.read_text(errors="replace")
        assert got == code, f"`{command}` ended with {got}, not {code}:\n{said}"
        pairs = (pair.split("=", 1) for pair in kept.read_text(errors="surrogateescape").split("\0") if pair)
        self.variables = {name: value for name, value in pairs if name not in variables}
        return said

    def asks(self, command, code=0, **variables):
        """Runs a command; again, as people do, where a request in it was answered that caed was late.

        Whoever asks caed waits a quarter of a second at most, and lets nobody in without an answer: a busy machine now
        and then stands still for as long. What is wrong otherwise is wrong at once."""
        for _ in range(3):
            said = self.types(command, code, **variables)
            if not re.search(r"HTTP/\S+ 50[0-9]\b", said):
                break
            print(f"asked again: {said}", flush=True)
        return said

    def has_beside(self, names):
        """Ends what else serves, and starts of these what does not."""
        for name in [name for name in self.serving if name not in names]:
            self.serving.pop(name).end()
        if not self.serving:
            until("the usual ports are free again", lambda: not taken_ports())
        for name in names:
            if name not in self.serving:
                documented = [step for step in self.steps if isinstance(step.entry, Serve) and step.entry.start == name]
                entry, text = (documented[0].entry, documented[0].text) if documented else (OTHERS[name], name)
                self.serve(entry, text)

    def serve(self, entry, text):
        variables = self.prepared(entry)
        log = self.scratch / f"{len(self.groups)}.log"
        served = Serving(entry, log, self.started(self.filled(entry, text), log, variables))
        self.serving[entry.start] = served

        def is_ready():
            code = served.process.poll()
            assert code is None, f"`{entry.start}` ended with {code}:\n{served.said()}"
            return served.is_ready()

        until(f"`{entry.start}` serves", is_ready)
        return served

    def prepared(self, entry):
        if entry.before:
            entry.before(self)
        return entry.variables(self) if entry.variables else {}

    def filled(self, entry, text):
        for gap, filling in entry.fill.items():
            assert gap in text, f"there is no {gap} to fill in: {text}"
            text = text.replace(gap, filling(self) if callable(filling) else filling)
        return text

    def broker(self):
        folder = self.scratch / "kafka"
        if not self.kafka:
            self.broker_port = free_ports(4)[0]
            self.kafka = folder
            self.script("start", str(folder), str(self.broker_port))
        return folder

    def script(self, *arguments):
        """kafka.sh; what it says goes to a file, which the broker keeps open."""
        log = self.scratch / "kafka.log"
        variables = {**os.environ, "KAFKA_SECURE": "1", "KAFKA_HEAP": "256m", "KAFKA_OWNER": str(os.getpid())}
        with open(log, "ab") as output:
            done = subprocess.run([KAFKA, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=variables,
                                  timeout=100, start_new_session=True)
        assert done.returncode == 0, f"kafka.sh {arguments[0]}:\n{log.read_text(errors='replace')}"

    def does(self, step):
        entry = step.entry
        if isinstance(entry, Serve):
            self.has_beside(entry.beside)
            served = self.serve(entry, step.text)
            said = served.said()
        elif isinstance(entry, Run):
            if entry.needs and not shutil.which(entry.needs, path=self.variables["PATH"]):
                return f"not run: {entry.needs} is not here"
            self.has_beside(entry.beside)
            variables = self.prepared(entry)
            said = self.asks(self.filled(entry, step.text), entry.code, **variables)
        elif isinstance(entry, NotRun):
            for word in shlex.split(step.text, comments=True):
                repository = word.split("/")[0] in ("bench", "deploy", "engine", "proto", "tests")
                assert not repository or (ROOT / word).exists(), f"{word} is not there"
            if step.text.startswith("make "):
                self.types(step.text.replace("make ", "make --dry-run ", 1))
            return f"not run: {entry.why}"
        elif isinstance(entry, Configuration):
            (self.folder / "part.toml").write_text(whole(step.text))
            said = self.types("caed check-config --config part.toml")
            return "caed finds no fault with it"
        elif isinstance(entry, Sample):
            real = iter(form(self.printed[entry.of]))
            for line, sample in zip(form(step.text), step.text.splitlines()):
                assert line in real, f"`{entry.of}` does not print the like of `{sample}`, or not there:\n{self.printed[entry.of]}"
            return f"`{entry.of}` prints the like"
        else:
            entry.check(self, step.text)
            return "checked"
        assert entry.says in said, f"`{step.text}` does not say `{entry.says}`:\n{said}"
        self.printed[entry.start] = said
        if entry.after:
            entry.after(self, said)
        return "serves" if isinstance(entry, Serve) else f"exit code {entry.code}"

    def cleared(self):
        """Whatever still runs is ended."""
        for number, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
            left = [process for process in self.groups if process.poll() is None]
            for process in left:
                os.killpg(process.pid, number)
            end = time.monotonic() + patience_s
            for process in left:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0, end - time.monotonic()))
        if self.kafka:
            self.script("stop", str(self.kafka))


def until(what, ask):
    end = time.monotonic() + PATIENCE_S
    while not ask():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.02)


def free_ports(count):
    """So many ports in a row that nobody listens on, below those that systems give to whoever connects."""
    start = 20_000 + os.getpid() % 1000 * 10
    for first in range(start, start + 2000, 10):
        ports = range(first, first + count)
        if not taken_ports(ports):
            return list(ports)
    raise AssertionError("no ports of loopback are free")


def taken_ports(ports=PORTS):
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    return taken


def mentioned(desk, documents):
    """Commands within sentences: make knows the target, caed the command and its flags."""
    count = 0
    for document, text in documents.items():
        for mention in sorted(set(re.findall(r"`((?:make|caed) [^`]+)`", text))):
            program, *words = mention.split()
            if program == "make":
                desk.types(f"make --dry-run {shlex.quote(words[0])}")
            else:
                names = [word for word in words if not word.startswith("-")][:2 if words[0] in ("topics", "publish") else 1]
                names = [name for name in names if re.fullmatch(r"[a-z-]+", name)]
                said = desk.types(f"caed {' '.join(names)} --help")
                for flag in re.findall(r"--[a-z-]+", mention):
                    assert flag in said, f"{document}: `{mention}`: caed {' '.join(names)} knows no {flag}"
            count += 1
    print(f"{count} commands within sentences: known to make or caed")


def fails(desk, documents):
    """This can fail: drift is noticed, and so are a flag and a key that are misspelt."""
    readme = documents["README.md"]

    def wrong_with(old, new):
        assert old in readme, f"the README has no `{old}` to be wrong about"
        return plan({**documents, "README.md": readme.replace(old, new, 1)})[1]

    for old, new, finding in [
        ("    caed publish heartbeat", "    caed publish heartbeats", "nobody runs `caed publish heartbeats"),
        ("    caed publish heartbeat", "    curl --fail 127.0.0.1:9464\n    caed publish heartbeat", "nobody runs `curl --fail"),
        ("    [client_address]", "    [clients]", "nobody runs `[clients]"),
        ("    make demo\n", "", "has nothing any more that starts with `make demo`"),
    ]:
        found = wrong_with(old, new)
        assert any(finding in fault for fault in found), f"`{new}` for `{old}` is not noticed: {found}"
    assert plan({**documents, "deploy/other/README.md": "Do it:\n\n```sh\nmake it\n```\n"})[1], "a new document is not noticed"

    steps = {step.entry.start: step for step in desk.steps if step.document == "README.md"}
    for start, old, new, finding in [
        ("caed publish heartbeat", "--source", "--sauce", "ended with 2, not 0"),
        ("[client_address]", "trusted_proxies", "trusted_proxy", "ended with 1, not 0"),
        ("2. Alice's account is disabled.", "CHALLENGE", "ALLOW", "does not print the like"),
    ]:
        step = steps[start]
        assert old in step.text, f"`{start}` has no {old} to misspell"
        try:
            desk.does(dataclasses.replace(step, text=step.text.replace(old, new)))
        except AssertionError as failure:
            assert finding in str(failure), failure
        else:
            raise AssertionError(f"`{start}` with {new} for {old} is not noticed")
    print("what is misspelt, unknown or gone fails this")


def main():
    paths = [ROOT / "README.md", *sorted((ROOT / "deploy").rglob("README.md"))]
    documents = {str(path.relative_to(ROOT)): path.read_text() for path in paths}
    steps, wrong = plan(documents)
    if wrong:
        sys.exit("\n".join(wrong))
    if taken_ports():
        sys.exit(f"quickstarts need the ports {', '.join(map(str, taken_ports()))} of loopback, and somebody listens there: "
                 "end what serves (a sidecar, a sandbox), and try again")
    subprocess.run(["cargo", "test", "--quiet", "--workspace", "--no-run"], cwd=ROOT, check=True)

    def interrupted(number, _):
        raise SystemExit(f"quickstarts: not done after {WHOLE_S} s" if number == signal.SIGALRM else 128 + number)

    for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    signal.alarm(WHOLE_S)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="caed-"))
    desk = Desk(scratch, steps)
    try:
        for step in steps:
            try:
                print(f"{step}  ({desk.does(step)})", flush=True)
            except AssertionError as failure:
                sys.exit(f"{step}\n{failure}")
        mentioned(desk, documents)
        fails(desk, documents)
        desk.has_beside(())
    finally:
        # Whoever is in a hurry waits for this.
        for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.alarm(0)
        desk.cleared()
        shutil.rmtree(scratch)


main()
