"""Logins of people: by the code of a device (RFC 8628), and by a browser on this machine (RFC 8252)."""

from __future__ import annotations

import base64
import hashlib
import html
import http.server
import queue
import secrets
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from postern_client import _discovery, _token
from postern_client._effects import Call, Complete, Protocol, Runtime, Sleep
from postern_client._store import Entry, SessionFile, Stored
from postern_client._token import Refused, Tokens, given, members_of, seconds_of, text_of
from postern_client.errors import (
    AccessDenied,
    Cancelled,
    ExpiredToken,
    InvalidResponse,
    LoginRequired,
    PosternError,
    ServerUnavailable,
)

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_INTERVAL_S = 5
SLOW_DOWN_S = 5
DEVICE_LIFE_S = 600
BROWSER_WAIT_S = 300
POLL_S = 0.05


@dataclass(frozen=True)
class DevicePrompt:
    """What the user needs to approve this program."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int


def print_prompt(prompt: DevicePrompt) -> None:
    """Tells the user on the terminal what to do."""
    print(f"Open {prompt.verification_uri} and enter the code {prompt.user_code}.", file=sys.stderr)


def open_browser(url: str) -> None:
    """Opens a browser, and says what to do if there is none."""
    if not webbrowser.open(url):
        print(f"Open this page in a browser on this machine:\n\n  {url}\n", file=sys.stderr)


@dataclass(frozen=True)
class Login:
    """A login that is under way: for whom, and where its session is stored."""

    runtime: Runtime
    file: SessionFile
    issuer: str
    client_id: str
    scope: str | None
    resource: str | None

    def with_device(self, on_prompt: Callable[[DevicePrompt], Any]) -> Protocol[None]:
        """Signs in by the code of a device."""
        metadata = yield from _discovery.fetch(self.issuer, self.runtime)
        url = metadata.endpoint("device_authorization_endpoint")
        token_endpoint = metadata.endpoint("token_endpoint")
        form = given(client_id=self.client_id, scope=self.scope, resource=self.resource)
        reply = yield from _token.attempt("POST", url, self.runtime, form)
        try:
            begun = members_of(reply, url)
        except Refused as refusal:
            raise refusal.for_caller(url) from None
        device_code = text_of(begun, "device_code", url)
        complete = begun.get("verification_uri_complete")
        prompt = DevicePrompt(
            text_of(begun, "user_code", url),
            text_of(begun, "verification_uri", url),
            complete if isinstance(complete, str) else None,
            seconds_of(begun, "expires_in", DEVICE_LIFE_S, url),
        )
        interval_s = seconds_of(begun, "interval", DEFAULT_INTERVAL_S, url) or DEFAULT_INTERVAL_S
        end = self.runtime.monotonic() + prompt.expires_in
        yield Call(lambda: on_prompt(prompt))
        tokens = yield from self._poll(token_endpoint, device_code, interval_s, end)
        yield Complete(lambda: self._store(tokens))

    def _poll(self, url: str, device_code: str, interval_s: float, end: float) -> Protocol[Tokens]:
        """Asks until the user has decided. Failures of the network and the server are waited out (RFC 8628 §3.5)."""
        form = given(grant_type=DEVICE_CODE, device_code=device_code, client_id=self.client_id)
        expired = ExpiredToken("The code was not approved in time: start the login again.")
        while True:
            if self.runtime.monotonic() + interval_s >= end:
                raise expired
            yield Sleep(interval_s)
            try:
                return (yield from self._request(url, form, once=True))
            except ServerUnavailable:
                continue
            except Refused as refusal:
                if refusal.error == "slow_down":
                    interval_s += SLOW_DOWN_S
                elif refusal.error == "expired_token":
                    raise expired from None
                elif refusal.error == "access_denied":
                    raise AccessDenied("The login was denied: start it again, and approve it.") from None
                elif refusal.error != "authorization_pending":
                    raise refusal.for_caller(url) from None

    def with_browser(self, opener: Callable[[str], Any]) -> Protocol[None]:
        """Signs in by a browser, which returns to a loopback address."""
        metadata = yield from _discovery.fetch(self.issuer, self.runtime)
        authorize, url = metadata.endpoint("authorization_endpoint"), metadata.endpoint("token_endpoint")
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        must_have_iss = metadata.get("authorization_response_iss_parameter_supported") is True
        callback = Callback(self.issuer, state, must_have_iss)
        try:
            form = given(
                response_type="code", client_id=self.client_id, redirect_uri=callback.redirect_uri, state=state,
                code_challenge=challenge, code_challenge_method="S256", scope=self.scope, resource=self.resource,
            )  # fmt: skip
            address = f"{authorize}{'&' if '?' in authorize else '?'}{urlencode(form)}"
            yield Call(lambda: opener(address))
            code = yield from callback.wait(self.runtime)
        finally:
            callback.close()
        form = given(
            grant_type="authorization_code", code=code, redirect_uri=callback.redirect_uri, client_id=self.client_id,
            code_verifier=verifier, resource=self.resource,
        )  # fmt: skip
        yield Complete(lambda: self._redeem(url, form))

    def _redeem(self, url: str, form: dict[str, str]) -> Protocol[None]:
        try:
            tokens = yield from self._request(url, form)
        except Refused as refusal:
            ended = LoginRequired("The server did not accept the code of the browser: start the login again.")
            raise refusal.for_caller(url, ended) from None
        yield from self._store(tokens)

    def _request(self, url: str, form: dict[str, str], once: bool = False) -> Protocol[Tokens]:
        """Requests the tokens. A code works once, so an answer that may be lost is not asked for again."""
        if not once:
            return (yield from _token.request_tokens(url, form, self.runtime, scope=self.scope, repeats_lost=False))
        reply = yield from _token.attempt_once("POST", url, form)
        return _token.tokens_of(members_of(reply, url), self.runtime.now(), self.scope, url)

    def _store(self, tokens: Tokens) -> Protocol[None]:
        """Stores the session. `access_token()` without arguments then means what the login asked for."""
        with self.file.lock(self.runtime):
            entry = Entry(None, None, tokens.access, tokens.obtained_at)
            scope = tokens.access.scope
            session = Stored(self.issuer, self.client_id, "file", tokens.refresh_token, scope, (entry,))
            self.file.write(session)
        yield from ()


class Callback:
    """A server on a loopback address, to which the browser returns once."""

    def __init__(self, issuer: str, state: str, must_have_iss: bool) -> None:
        self._issuer, self._state, self._must_have_iss = issuer, state, must_have_iss
        self._outcome: queue.SimpleQueue[str | PosternError] = queue.SimpleQueue()
        self._is_judged, self._is_shown = False, threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.redirect_uri = f"http://127.0.0.1:{self._server.server_address[1]}/callback"
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True).start()

    def wait(self, runtime: Runtime) -> Protocol[str]:
        """Returns the code that the browser brings.

        # Errors

        `cancelled` after five minutes, and what is wrong with the callback.
        """
        end = runtime.monotonic() + BROWSER_WAIT_S
        while self._outcome.empty():
            if runtime.monotonic() > end:
                raise Cancelled("The browser did not return within 5 minutes: start the login again.")
            yield Sleep(POLL_S)
        outcome = self._outcome.get()
        self._is_judged = True
        if isinstance(outcome, PosternError):
            raise outcome
        return outcome

    def close(self) -> None:
        if self._is_judged:
            self._is_shown.wait(1)
        self._server.shutdown()
        self._server.server_close()

    def judge(self, target: str) -> str | PosternError:
        """Returns the code of a callback, or what is wrong with it."""
        parameters = parse_qs(urlsplit(target).query, keep_blank_values=True)
        if any(len(values) > 1 for values in parameters.values()):
            return InvalidResponse("The browser returned with a parameter twice: start the login again.")
        sent = {name: values[0] for name, values in parameters.items()}
        if not secrets.compare_digest(sent.get("state", "").encode(), self._state.encode()):
            return InvalidResponse("The browser returned with another state: start the login again.")
        iss = sent.get("iss")
        if iss != self._issuer and (iss is not None or self._must_have_iss):
            return InvalidResponse(f"The browser returned with another iss than {self._issuer}: check the issuer.")
        if error := sent.get("error"):
            return Refused(_token.shown(error), _token.shown(sent.get("error_description")), 302).for_caller(
                "The authorization endpoint"
            )
        return sent.get("code") or InvalidResponse("The browser returned without a code: start the login again.")

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        callback = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if urlsplit(self.path).path != "/callback":
                    self.send_error(404)
                    return
                outcome = callback.judge(self.path)
                text = str(outcome) if isinstance(outcome, PosternError) else "You can close this page."
                page = f"<!doctype html><meta charset=utf-8><title>Login</title><p>{html.escape(text)}</p>".encode()
                callback._outcome.put(outcome)
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.end_headers()
                self.wfile.write(page)
                callback._is_shown.set()

            def log_message(self, *_: Any) -> None:
                """Logs nothing: the URL has a code."""

        return Handler
