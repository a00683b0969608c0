"""Servers that answer as a test says."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: What a server answers to a request: status, headers, and the members of a JSON object.
Answer = tuple[int, dict[str, str], Any]


class Request:
    """A request that a server received."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.target, self.headers = method, target, headers
        self.form = dict(urllib.parse.parse_qsl(body.decode("latin-1")))

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


class Scripted(http.server.ThreadingHTTPServer):
    """A server whose requests are kept, and answered by a function."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                headers["x-peer"] = str(self.client_address[1])
                request = Request(self.command, self.path, headers, body)
                server.requests.append(request)
                status, sent, members = answer(request)
                content = json.dumps(members).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **sent}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def forms(self, path: str) -> list[dict[str, str]]:
        return [request.form for request in self.requests if request.target == path]


@contextmanager
def scripted(answer: Callable[[Request], Answer]) -> Iterator[Scripted]:
    """Serves until the end of a block."""
    with serving(Scripted(answer)) as server:
        yield server


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def metadata(issuer: str) -> dict[str, str]:
    paths = {
        "token_endpoint": "token",
        "revocation_endpoint": "revoke",
        "jwks_uri": "keys",
        "introspection_endpoint": "i",
    }
    return {"issuer": issuer, **{name: f"{issuer}/{path}" for name, path in paths.items()}}


@contextmanager
def authorization_server(answer: Callable[[Request], Answer] | None = None) -> Iterator[Scripted]:
    """A server with metadata that issues tokens, unless `answer` says something else."""

    def respond(request: Request) -> Answer:
        if request.target.startswith("/.well-known/"):
            return 200, {}, metadata(server.url)
        if answer is not None:
            return answer(request)
        number = f"{len(server.requests)}-of-{server.server_address[1]}"
        tokens = {"access_token": f"at{number}", "refresh_token": f"rt{number}", "token_type": "Bearer"}
        return 200, {}, {**tokens, "expires_in": 3600}

    with scripted(respond) as server:
        yield server


class Dripping(socketserver.ThreadingTCPServer):
    """A server that sends a part of a response again and again."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, first: bytes, part: bytes, pause_s: float) -> None:
        ends = threading.Event()
        self.ends = ends

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(4096)
                try:
                    self.request.sendall(first)
                    while not ends.wait(pause_s):
                        self.request.sendall(part)
                except OSError:
                    pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
