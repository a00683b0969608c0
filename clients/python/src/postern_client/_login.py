"""Logins of people: by the code of a device (RFC 8628), and by a browser on this machine (RFC 8252)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import sys
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import anyio
import anyio.to_thread

from postern_client import _discovery, _keyring, _token
from postern_client._callback import Callback
from postern_client._discovery import Metadata
from postern_client._document import Entry, Stored
from postern_client._effects import Blocking, Call, Complete, Protocol, Runtime, Sleep
from postern_client._store import SessionFile
from postern_client._text import is_printable
from postern_client._token import Refused, Tokens, given, members_or_error, seconds_of, text_of
from postern_client.errors import (
    AccessDenied,
    ExpiredToken,
    InvalidResponse,
    LoginRequired,
    PosternError,
    ServerUnavailable,
)

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_INTERVAL_S = 5
SLOW_DOWN_S = 5


@dataclass(frozen=True)
class DevicePrompt:
    """What the user needs to approve this program."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int


def print_prompt(prompt: DevicePrompt) -> None:
    """Shows the user on the terminal what to do."""
    print(f"Open {prompt.verification_uri} and enter the code {prompt.user_code}.", file=sys.stderr)


def open_browser(url: str) -> None:
    """Opens a browser, and says what to do if there is none."""
    if not webbrowser.open(url):
        print(f"Open this page in a browser on this machine:\n\n  {url}\n", file=sys.stderr)


async def open_browser_async(url: str) -> None:
    """Opens a browser in a thread: a browser in the terminal runs until the user ends it."""
    await anyio.to_thread.run_sync(open_browser, url, limiter=anyio.CapacityLimiter(1))


@dataclass(frozen=True)
class Login:
    """A login that has begun: for whom, and where its session is stored."""

    runtime: Runtime
    file: SessionFile
    issuer: str
    client_id: str
    scope: str | None
    resource: str | None

    def with_device(self, on_prompt: Callable[[DevicePrompt], Any]) -> Protocol[None]:
        """Logs in by the code of a device."""
        metadata = yield from _discovery.fetch(self.issuer, self.runtime)
        url = metadata.endpoint("device_authorization_endpoint")
        token_endpoint = metadata.endpoint("token_endpoint")
        yield Blocking(self.file.check_writable)
        form = given(client_id=self.client_id, scope=self.scope, resource=self.resource)
        begun = members_or_error((yield from _token.attempt("POST", url, self.runtime, form)), url)
        device_code, prompt = text_of(begun, "device_code", url), _prompt(begun, url)
        interval_s = seconds_of(begun, "interval", DEFAULT_INTERVAL_S, url) or DEFAULT_INTERVAL_S
        end = self.runtime.monotonic() + prompt.expires_in
        yield Call(lambda: on_prompt(prompt))
        tokens = yield from self._poll(token_endpoint, device_code, interval_s, end)
        yield Complete(lambda: self._store(tokens, metadata))

    def _poll(self, url: str, device_code: str, interval_s: float, end: float) -> Protocol[Tokens]:
        """Asks until the user has decided. After a lost response or a 5xx, polling continues (RFC 8628 §3.5)."""
        form = given(grant_type=DEVICE_CODE, device_code=device_code, client_id=self.client_id)
        expired = ExpiredToken("The code was not approved in time: start the login again.")
        while True:
            if self.runtime.monotonic() + interval_s >= end:
                raise expired
            yield Sleep(interval_s)
            try:
                response = yield from _token.attempt_once("POST", url, self.runtime, form)
                return _token.tokens_of(_token.members_of(response, url), response.sent_at, self.scope, url)
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
        """Logs in by a browser, which returns to a loopback address."""
        metadata = yield from _discovery.fetch(self.issuer, self.runtime)
        authorize, url = metadata.endpoint("authorization_endpoint"), metadata.endpoint("token_endpoint")
        yield Blocking(self.file.check_writable)
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
        yield Complete(lambda: self._redeem(url, form, metadata))

    def _redeem(self, url: str, form: dict[str, str], metadata: Metadata) -> Protocol[None]:
        try:
            # The server ends the tokens of a code that is used twice.
            tokens = yield from _token.request_tokens(url, form, self.runtime, scope=self.scope, is_single_use=True)
        except Refused as refusal:
            ended = LoginRequired("The server did not accept the code of the browser: start the login again.")
            raise refusal.for_caller(url, ended) from None
        yield from self._store(tokens, metadata)

    def _store(self, tokens: Tokens, metadata: Metadata) -> Protocol[None]:
        """Stores the session. `access_token()` without arguments then means what the login asked for."""
        with self.file.lock(self.runtime):
            replaced = self.file.read_to_replace()
            entry = Entry(None, None, tokens.access, tokens.obtained_at)
            scope = tokens.access.scope
            session = Stored(self.issuer, self.client_id, "file", tokens.refresh_token, scope, (entry,))
            with self.file.replacement() as replacement:
                replacement.write(session)
            if replaced is not None and replaced.storage == "keyring":
                with contextlib.suppress(PosternError):
                    _keyring.delete(self.file.path)
        if replaced is not None and replaced.issuer == self.issuer:
            yield from self._revoke(replaced, metadata)

    def _revoke(self, replaced: Stored, metadata: Metadata) -> Protocol[None]:
        """Ends the session that was replaced (RFC 7009). If that is not possible, the login has succeeded anyway."""
        if replaced.refresh_token is None:
            return
        with contextlib.suppress(PosternError):
            url = metadata.endpoint("revocation_endpoint")
            form = given(token=replaced.refresh_token, client_id=replaced.client_id)
            yield from _token.attempt_once("POST", url, self.runtime, form)


def _prompt(begun: Mapping[str, Any], url: str) -> DevicePrompt:
    """Returns what to show to the user, if a terminal can show it."""
    complete = begun.get("verification_uri_complete")
    prompt = DevicePrompt(
        text_of(begun, "user_code", url),
        text_of(begun, "verification_uri", url),
        complete if isinstance(complete, str) else None,
        seconds_of(begun, "expires_in", None, url),
    )
    for text in (prompt.user_code, prompt.verification_uri, prompt.verification_uri_complete or ""):
        if not is_printable(text):
            raise InvalidResponse(f"{url} sent a code or a URL with control characters: check the URL of the issuer.")
    return prompt
