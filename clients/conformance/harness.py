#!/usr/bin/env python3
"""Starts the local program with a proxy before it, for tests of clients: see README.md.

    POSTERN_PROGRAM=… harness.py [--access-token SECONDS] [--config FILE]

Prints one line of JSON when it is ready, and ends when its standard input is closed.
"""

import argparse
import hashlib
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import issuers
import people
import proxy

USER = {"email": "grace@example.com", "password": "correct horse battery"}
ORDERS = "https://api.example.com/orders"
TOOLS = "https://api.example.com/tools"
SCOPES = ["orders:read", "orders:write", "tools:read", "tools:write", "scans:read"]
AUDIENCE = "https://auth.example.com"
CONFIG = """
[lifetimes]
access_token = {access_token}
refresh_grace = {refresh_grace}

[throttle]
devices_per_address = 100000
login_per_address = 100000
login_per_account = 100000

[[client]]
id = "app"
name = "An app"
redirect_uris = ["http://127.0.0.1/callback"]

[[resource]]
uri = "{orders}"
name = "Orders"
scopes = ["orders:read", "orders:write"]
default_scopes = ["orders:read"]
secret_sha256 = ["{secret}"]

[[resource]]
uri = "{tools}"
name = "Tools"
mcp = true
scopes = ["tools:read", "tools:write"]
secret_sha256 = ["{secret}"]

[[role]]
name = "user"
scopes = [{scopes}]
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Program:
    """The local program in a folder of its own, behind the URL of the proxy."""

    def __init__(self, folder, issuer, port):
        self.folder, self.issuer, self.port = pathlib.Path(folder), issuer, port
        self.process = None

    def start(self, config):
        """Starts it with a configuration, and returns what it writes when it is ready."""
        (self.folder / "postern.toml").write_text(config, encoding="utf-8")
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [os.environ["POSTERN_PROGRAM"], "--listen", str(self.port), "--data", str(self.folder / "data")]
        # The program refuses variables of ours that it does not know.
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "POSTERN_ISSUER": self.issuer}
        with open(self.folder / "program.log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ready-file", str(ready), "--log", "json"],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        for _ in range(1200):
            if ready.exists():
                return json.loads(ready.read_text(encoding="utf-8"))
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "program.log").read_text(encoding="utf-8"))
            time.sleep(0.05)
        raise RuntimeError("the local program did not become ready within a minute")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def events(self):
        """Returns how often each event is in the log, such as `refresh_reused`."""
        counts = {}
        for line in (self.folder / "program.log").read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            name = entry.get("event") if isinstance(entry, dict) else None
            if isinstance(name, str):
                counts[name] = counts.get(name, 0) + 1
        return counts


class Harness:
    """Everything together, and the commands of `/__control`."""

    def __init__(self, folder, arguments):
        self.port = free_port()
        self.proxy = proxy.Proxy(self.port)
        self.server = proxy.listen(self.proxy)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        # The user stays logged in, because a password takes longer to check than everything else.
        self.browser = people.Browser(self.issuer)
        self.workload_issuer = f"{self.issuer}/__issuer"
        self.key = issuers.Key()
        self.job_secret = secrets.token_hex(8)
        self.proxy.local_paths = {
            "/__control": self.control, "/__issuer": self.workload_keys, "/__github": self.github_token, "/__sts": self.sts_token,
        }
        self.program = Program(folder, self.issuer, self.port)
        self.resource_secret = secrets.token_hex(16)
        extra = pathlib.Path(arguments.config).read_text(encoding="utf-8") if arguments.config else ""
        config = extra + CONFIG.format(
            access_token=arguments.access_token, refresh_grace=arguments.refresh_grace, orders=ORDERS, tools=TOOLS,
            secret=hashlib.sha256(self.resource_secret.encode()).hexdigest(),
            scopes=", ".join(f'"{scope}"' for scope in SCOPES),
        )
        # The first start creates the organization that the rules for workloads name.
        organization = self.program.start(config)["organization_id"]
        self.program.stop()
        rules = issuers.rules(self.workload_issuer, AUDIENCE, organization, ["orders:read", "scans:read"])
        self.ready = self.program.start(config + rules)

    def api(self, method, path, body=None, key=None):
        """Calls the management API without the proxy, by default with the organization's key."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, data=json.dumps(body or {}).encode(),
            headers={"Authorization": f"Bearer {key or self.ready['api_key']}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def agent(self, key=None):
        """Creates an agent, by default of the first organization."""
        agent = self.api("POST", "/v1/agents", {"name": "bot", "scopes": [*SCOPES, "tokens:introspect"]}, key)
        return {"id": agent["id"], "secret": agent["secret"]}

    def description(self):
        """Returns the line that tests read."""
        self.api("POST", "/v1/users", USER)
        agent = self.agent()
        other = self.api("POST", "/v1/organizations", {"name": "Another"}, self.ready["operator_key"])
        return {
            "issuer": self.issuer, "control": f"{self.issuer}/__control", "upstream": f"http://127.0.0.1:{self.port}",
            "api_key": self.ready["api_key"], "operator_key": self.ready["operator_key"],
            "organization_id": self.ready["organization_id"], "user": USER,
            "agent": agent,
            "other": {"organization_id": other["id"], "api_key": other["api_key"], "agent": self.agent(other["api_key"])},
            "resources": {"orders": ORDERS, "tools": TOOLS}, "resource_secret": self.resource_secret,
            "workload": {
                "audience": AUDIENCE, "issuer": self.workload_issuer, "kinds": list(issuers.KINDS),
                "github": {
                    "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.issuer}/__github?api-version=2.0",
                    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.job_secret,
                },
                "aws": {"AWS_ENDPOINT_URL_STS": f"{self.issuer}/__sts"},
            },
            "data": str(self.program.folder / "data"),
        }

    def workload_keys(self, handler, path, _body):
        """Serves the discovery document and the key set of each issuer."""
        kind = path.strip("/").split("/")[0]
        issuer = f"{self.workload_issuer}/{kind}"
        documents = {
            f"/{kind}/.well-known/openid-configuration": {
                "issuer": issuer, "jwks_uri": f"{issuer}/jwks", "id_token_signing_alg_values_supported": ["RS256"],
            },
            f"/{kind}/jwks": self.key.jwks(),
        }
        document = documents.get(path)
        handler.send_json(200 if document else 404, document or {})

    def workload_token(self, kind, audience=AUDIENCE, claims=None):
        return self.key.sign(issuers.claims(kind, self.workload_issuer, audience, **(claims or {})))

    def github_token(self, handler, _path, _body):
        """Answers as the runner of a GitHub job does to the job."""
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(handler.path).query))
        if handler.headers.get("authorization", "").lower() != f"bearer {self.job_secret}" or asked.get("api-version") != "2.0":
            handler.send_json(401, {})
            return
        value = self.workload_token("github", asked.get("audience", "https://github.com/octo-org"))
        handler.send_json(200, {"count": len(value), "value": value})

    def sts_token(self, handler, _path, body):
        """Answers `GetWebIdentityToken` as AWS's STS does."""
        asked = dict(urllib.parse.parse_qsl(body.decode()))
        if asked.get("Action") != "GetWebIdentityToken" or "Authorization" not in handler.headers:
            handler.send(400, [("Content-Type", "text/xml")], b"<ErrorResponse/>")
            return
        token = self.workload_token("aws", asked.get("Audience.member.1", ""))
        text = (
            '<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>'
            f"<WebIdentityToken>{token}</WebIdentityToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
            "</GetWebIdentityTokenResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetWebIdentityTokenResponse>"
        )
        handler.send(200, [("Content-Type", "text/xml")], text.encode())

    def control(self, handler, _path, body):
        """Answers `GET /__control` with what was requested, and executes the members of a `POST`."""
        try:
            result = {}
            for name, value in (json.loads(body) if body else {}).items():
                result[name] = self.command(name, value)
            log = list(self.proxy.log)
            handler.send_json(200, {**result, "counts": self.proxy.counts(), "requests": log, "events": self.program.events()})
        except Exception as error:  # a mistake in a test: say what it is
            handler.send_json(400, {"error": f"{type(error).__name__}: {error}"})

    def command(self, name, value):
        match name:
            case "reset":
                return self.proxy.reset()
            case "faults":
                return [self.proxy.add_fault(fault) for fault in value]
            case "device":
                return people.decide_about_device(self.browser, USER, value["user_code"], value.get("decision", "approve"))
            case "consent":
                return people.decide_about_app(self.issuer, USER, value["url"], value.get("decision", "allow"))
            case "workload_token":
                return self.workload_token(**value)
            case "session":
                return self.write_session(**value)
            case "tokens":
                return self.device_tokens(**value)
            case "stop" | "start":
                return self.program.stop() if name == "stop" else bool(self.program.start(self.config_text()))
        raise ValueError(f"{name} is not a command")

    def config_text(self):
        return (self.program.folder / "postern.toml").read_text(encoding="utf-8")

    def device_tokens(self, scope="orders:read scans:read", resource=None, client_id="postern-cli"):
        """Logs the user in by the device flow, without the proxy; returns the response of the token endpoint."""

        def post(path, fields):
            data = urllib.parse.urlencode({name: value for name, value in fields.items() if value}).encode()
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=10) as answer:
                return json.loads(answer.read())

        begun = post("/v1/auth/device", {"client_id": client_id, "scope": scope, "resource": resource})
        kept = len(self.proxy.log)
        people.decide_about_device(self.browser, USER, begun["user_code"], "approve")
        with self.proxy.lock:
            del self.proxy.log[kept:]
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        return post("/v1/auth/token", {"grant_type": grant, "client_id": client_id, "device_code": begun["device_code"]})

    def write_session(self, home, profile="default", expired=False, members=None, access_token=None, **login):
        """Writes the file of a session as a login does; returns its path."""
        tokens = self.device_tokens(**login)
        now = int(time.time())
        entry = {
            "resource": None, "scope": None, "value": tokens["access_token"], "token_type": tokens["token_type"],
            "granted_scope": tokens["scope"], "obtained_at": now - 7200 if expired else now,
            "expires_at": now - 3600 if expired else now + tokens["expires_in"], **(access_token or {}),
        }
        session = {
            "version": 1, "issuer": self.issuer, "client_id": login.get("client_id", "postern-cli"), "storage": "file",
            "refresh_token": tokens["refresh_token"], "scope": tokens["scope"], "access_tokens": [entry], **(members or {}),
        }
        session = {name: value for name, value in session.items() if value is not None}
        folder = pathlib.Path(home) / "sessions"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{profile}.json"
        with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(session, file)
        return str(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--access-token", type=int, default=3600, help="seconds that an access token lives")
    parser.add_argument("--refresh-grace", type=int, default=10, help="seconds in which a refresh can be repeated")
    parser.add_argument("--config", help="a file with more of postern.toml")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    harness = None
    with tempfile.TemporaryDirectory() as folder:
        try:
            harness = Harness(folder, arguments)
            print(json.dumps(harness.description()), flush=True)
            sys.stdin.read()
        finally:
            if harness:
                harness.program.stop()


if __name__ == "__main__":
    main()
