"""A server on this machine, to which the browser returns from a login (RFC 8252)."""

from __future__ import annotations

import html
import http.server
import queue
import secrets
import threading
from typing import Any
from urllib.parse import parse_qs

from postern_client._effects import Protocol, Runtime, Sleep
from postern_client._text import shown
from postern_client._token import Refused
from postern_client.errors import ExpiredToken, InvalidResponse, PosternError

WAIT_S = 300
POLL_S = 0.05
PATH = "/callback"
#: How long the browser has to receive its page.
PAGE_S = 1
OTHER_REQUEST = "This is not the return of the login that this program waits for: start at the page that it opened."


class Callback:
    """A server on a loopback address that waits for the browser. Requests of others do not end the login."""

    def __init__(self, issuer: str, state: str, must_have_iss: bool) -> None:
        self._issuer, self._state, self._must_have_iss = issuer, state, must_have_iss
        self._outcome: queue.SimpleQueue[str | PosternError] = queue.SimpleQueue()
        self._has_outcome, self._is_shown = False, threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.redirect_uri = f"http://127.0.0.1:{port}{PATH}"
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True).start()

    def wait(self, runtime: Runtime) -> Protocol[str]:
        """Returns the code that the browser brings.

        # Errors

        `expired_token` after five minutes, and what is wrong with the callback.
        """
        end = runtime.monotonic() + WAIT_S
        while self._outcome.empty():
            if runtime.monotonic() > end:
                raise ExpiredToken("Nobody logged in with the browser in time: start the login again.")
            yield Sleep(POLL_S)
        outcome = self._outcome.get()
        self._has_outcome = True
        if isinstance(outcome, PosternError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Stops the server, in a thread that first lets the browser receive its page."""
        threading.Thread(target=self._stop, name="postern-callback").start()

    def _stop(self) -> None:
        if self._has_outcome:
            self._is_shown.wait(PAGE_S)
        self._server.shutdown()
        self._server.server_close()

    def respond(self, target: str, hosts: list[str]) -> tuple[int, str]:
        """Returns the status and the text for a request. A page in the browser can send requests here, too."""
        path, _, query = target.partition("?")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 400, OTHER_REQUEST
        if path != PATH:
            return 404, "There is nothing here."
        parameters = parse_qs(query, keep_blank_values=True)
        states = parameters.get("state", [])
        if len(states) != 1 or not secrets.compare_digest(states[0].encode(), self._state.encode()):
            return 400, OTHER_REQUEST
        outcome = self._code(parameters)
        self._outcome.put(outcome)
        return 200, str(outcome) if isinstance(outcome, PosternError) else "You can close this page."

    def _code(self, parameters: dict[str, list[str]]) -> str | PosternError:
        """Returns the code of a callback of this login, or what is wrong with it."""
        if any(len(values) > 1 for values in parameters.values()):
            return InvalidResponse("The browser returned with a parameter twice: start the login again.")
        sent = {name: values[0] for name, values in parameters.items()}
        iss = sent.get("iss")
        if iss != self._issuer and (iss is not None or self._must_have_iss):
            return InvalidResponse(f"The browser returned with another iss than {self._issuer}: check the issuer.")
        if error := sent.get("error"):
            refusal = Refused(shown(error), shown(sent.get("error_description")), 302)
            return refusal.for_caller("The authorization endpoint")
        return sent.get("code") or InvalidResponse("The browser returned without a code: start the login again.")

    def shown(self, status: int) -> None:
        """Called when the browser has received a page."""
        if status == 200:
            self._is_shown.set()


def _handler(callback: Callback) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            status, text = callback.respond(self.path, self.headers.get_all("Host") or [])
            page = f"<!doctype html><meta charset=utf-8><title>Login</title><p>{html.escape(text)}</p>".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Content-Security-Policy", "default-src 'none'")
            self.end_headers()
            self.wfile.write(page)
            callback.shown(status)

        def log_message(self, *_: Any) -> None:
            """Logs nothing: the URL has a code."""

    return Handler
