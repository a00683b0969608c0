"""A proxy before the local program that counts requests, and loses, delays or changes responses.

A fault is a dictionary:

- ``path``, ``grant``: which requests it applies to; without them, all
- ``fault``: what happens, see `FAULTS`
- ``times``: how often (by default 1; null: always), ``skip``: how many matching requests pass before
- ``probability``: applies to a matching request with this probability
"""

import http.client
import http.server
import json
import hashlib
import random
import socket
import struct
import threading
import time
import urllib.parse

FAULTS = {
    "refuse": "the connection ends before the request reaches the server",
    "lose": "the server handles the request, and the connection ends before the response",
    "delay": "the response comes `seconds` later",
    "answer": "`status`, `headers` and `body` (text, or JSON) are the response; the server sees nothing",
    "replace": "`members` replace those of the JSON response; null removes one",
}
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "proxy-connection"}


def parameters(headers, body):
    """Returns the parameters of a request to the token endpoint, from a form or from JSON."""
    kind = headers.get("content-type", "")
    try:
        if "json" in kind:
            members = json.loads(body)
            return members if isinstance(members, dict) else {}
        return dict(urllib.parse.parse_qsl(body.decode()))
    except (ValueError, UnicodeDecodeError):
        return {}


def digest(value):
    """Returns the beginning of a digest, to tell secrets apart without keeping them."""
    return hashlib.sha256(value.encode()).hexdigest()[:16] if isinstance(value, str) else None


class Proxy:
    """The state: the upstream server, the faults that are set, and what was requested."""

    def __init__(self, port):
        self.upstream_port = port
        self.lock = threading.Lock()
        self.faults = []
        self.log = []
        self.random = random.Random()
        self.local_paths = {}

    def reset(self):
        with self.lock:
            self.faults, self.log = [], []

    def add_fault(self, fault):
        if fault.get("fault") not in FAULTS:
            raise ValueError(f"fault is one of {', '.join(FAULTS)}")
        with self.lock:
            self.faults.append({"times": 1, "skip": 0, "probability": 1, **fault})

    def take_fault(self, path, grant):
        """Returns the first fault that applies, and counts it."""
        with self.lock:
            for fault in self.faults:
                is_for = fault.get("path", path) == path and fault.get("grant", grant) == grant
                if not is_for or fault["times"] == 0 or self.random.random() >= fault["probability"]:
                    continue
                if fault["skip"] > 0:
                    fault["skip"] -= 1
                    continue
                if fault["times"] is not None:
                    fault["times"] -= 1
                return fault
        return None

    def counts(self):
        """Returns how many requests there were: by grant, else by path."""
        counts = {}
        with self.lock:
            for entry in self.log:
                name = entry["grant"] or entry["path"]
                counts[name] = counts.get(name, 0) + 1
        return counts


class Handler(http.server.BaseHTTPRequestHandler):
    """Handles a connection: answers paths of the harness, and forwards the others."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_):
        pass

    def send(self, status, headers, body):
        """Sends a response with exactly these headers."""
        reason = http.client.responses.get(status, "")
        head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
        payload = b"" if self.command == "HEAD" else body
        self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + payload)

    def send_json(self, status, value):
        self.send(status, [("Content-Type", "application/json")], json.dumps(value).encode())

    def hang_up(self):
        """Ends the connection with a reset, so that no library waits for a response."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def forward(self, body):
        """Sends the request to the server, and returns status, headers and body of its response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream_port, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            if body or self.command in ("POST", "PUT"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            headers = [pair for pair in answer.getheaders() if pair[0].lower() not in HOP_BY_HOP]
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def read_body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def handle_request(self):
        body = self.read_body()
        path = self.path.split("?")[0]
        for prefix, handle in self.proxy.local_paths.items():
            if path.startswith(prefix):
                handle(self, path[len(prefix):], body)
                return
        sent = parameters(self.headers, body) if self.command == "POST" else {}
        entry = {
            "method": self.command, "path": path, "grant": sent.get("grant_type"), "status": None, "fault": None,
            "refresh_token": digest(sent.get("refresh_token")), "agent": self.headers.get("user-agent"),
            "parameters": sorted(sent), "resource": sent.get("resource"), "scope": sent.get("scope"),
        }
        with self.proxy.lock:
            self.proxy.log.append(entry)
        fault = self.proxy.take_fault(path, entry["grant"])
        entry["fault"] = fault and fault["fault"]
        self.answer(body, entry, fault)

    def answer(self, body, entry, fault):
        kind = fault and fault["fault"]
        if kind == "refuse":
            self.hang_up()
            return
        if kind == "answer":
            content = fault.get("body", "")
            is_text = isinstance(content, str)
            headers = {"Content-Type": "text/html" if is_text else "application/json", **fault.get("headers", {})}
            entry["status"] = fault["status"]
            self.send(fault["status"], headers.items(), (content if is_text else json.dumps(content)).encode())
            return
        status, headers, content = self.forward(body)
        entry["status"] = status
        if kind == "lose":
            self.hang_up()
            return
        if kind == "delay":
            time.sleep(fault["seconds"])
        if kind == "replace":
            members = {**json.loads(content), **fault["members"]}
            content = json.dumps({name: value for name, value in members.items() if value is not None}).encode()
        try:
            self.send(status, headers, content)
            entry["answered"] = True
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = handle_request


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):
        """Ignores connections that clients end."""


def listen(proxy, port=0):
    """Serves the proxy on a port of the loopback address, in the background; returns the server."""
    server = Server(("127.0.0.1", port), type("ProxyHandler", (Handler,), {"proxy": proxy}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
