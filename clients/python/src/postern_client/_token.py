"""Requests to the token endpoint (RFC 6749), repeated where that is safe."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

from postern_client._effects import Protocol, Runtime, Sleep
from postern_client._network import Lost, Response, Send
from postern_client._text import object_of, shown
from postern_client.errors import (
    AccessDenied,
    ExpiredToken,
    InvalidClient,
    InvalidResponse,
    InvalidScope,
    InvalidTarget,
    LoginRequired,
    PosternError,
    ServerUnavailable,
)

#: A refresh can be repeated within 10 seconds (`refresh_grace` of the server). So all attempts end within 9: each
#: takes at most 3, and none begins after 6.
ATTEMPT_S = 3.0
LAST_BEGIN_S = 6.0
WAITS_S = (0.2, 0.5)
LONGEST_RETRY_AFTER_S = 3.0
#: The life of a token about which the server says nothing.
UNKNOWN_LIFE_S = 300
#: A token is renewed this long before its end, or after four fifths of a shorter life.
RENEW_AHEAD_S = 60
RENEW_AHEAD_PART = 0.2

CODES: dict[str, type[PosternError]] = {
    "access_denied": AccessDenied,
    "expired_token": ExpiredToken,
    "invalid_client": InvalidClient,
    "invalid_grant": LoginRequired,
    "invalid_scope": InvalidScope,
    "invalid_target": InvalidTarget,
    "unauthorized_client": InvalidClient,
}


@dataclass(frozen=True)
class AccessToken:
    """An access token. Its value is not in its `repr`."""

    value: str = field(repr=False)
    expires_at: float
    scope: str | None
    token_type: str = "Bearer"


@dataclass(frozen=True)
class Tokens:
    """A successful response of the token endpoint."""

    access: AccessToken
    obtained_at: float
    refresh_token: str | None = field(repr=False)


@dataclass
class Refused(Exception):
    """An error of RFC 6749 §5.2, before it is known what it means for the caller."""

    error: str
    description: str
    status: int

    def for_caller(self, url: str, invalid_grant: PosternError | None = None) -> PosternError:
        """Returns the error of the package."""
        if self.error == "invalid_grant" and invalid_grant is not None:
            return invalid_grant
        kind = CODES.get(self.error)
        said = f" {self.description}" if self.description else ""
        if kind is None:
            return InvalidResponse(f"{url} responded with status {self.status} {self.error}.{said}".rstrip())
        return kind(f"The server refused the request: {self.error}.{said}".rstrip())


#: The parameters of a request, or a step that makes them.
Form = Mapping[str, str] | Callable[[], Protocol[Mapping[str, str]]]


def attempt(
    method: str,
    url: str,
    runtime: Runtime,
    form: Form | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    is_single_use: bool = False,
) -> Protocol[Response]:
    """Sends a request, up to three times. Returns a response below 500 that is not 429.

    `form` can be a step that makes another form for each attempt. `is_single_use`: the request has a code or a token
    that works once, so it is not repeated if the server may have handled it.
    """
    begun = runtime.monotonic()
    for tries in range(len(WAITS_S) + 1):
        sent = (yield from form()) if callable(form) else form
        response = yield from _send(Send(method, url, ATTEMPT_S, sent, headers or {}), runtime)
        if isinstance(response, Response) and response.status < 500 and response.status != 429:
            return response
        wait_s = None if tries == len(WAITS_S) else WAITS_S[tries] * (0.5 + runtime.random())
        if wait_s is not None:
            wait_s = _wait_of(response, wait_s, is_single_use)
        if wait_s is None or runtime.monotonic() - begun + wait_s > LAST_BEGIN_S:
            break
        yield Sleep(wait_s)
        # The process may have been stopped for longer.
        if runtime.monotonic() - begun > LAST_BEGIN_S:
            break
    raise ServerUnavailable(f"{_problem(response, url)} Try again{_when(response)}.")


def _send(request: Send, runtime: Runtime) -> Protocol[Response | Lost]:
    """Sends a request once. A token expires after the seconds that follow this moment."""
    sent_at = runtime.now()
    response: Response | Lost = yield request
    return replace(response, sent_at=sent_at) if isinstance(response, Response) else response


def _retry_after(response: Response | Lost) -> float | None:
    """Returns the seconds after which the server asks to try again."""
    text = response.headers.get("retry-after", "") if isinstance(response, Response) else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _wait_of(response: Response | Lost, wait_s: float, is_single_use: bool) -> float | None:
    """Returns how long to wait before the next attempt, or nothing if there must be none."""
    if isinstance(response, Lost):
        return None if response.was_sent and is_single_use else wait_s
    if response.status == 429:
        # Without Retry-After, the usual waits would only make it worse.
        after = _retry_after(response)
        return after if after is not None and after <= LONGEST_RETRY_AFTER_S else None
    return None if is_single_use else wait_s


def _problem(response: Response | Lost, url: str) -> str:
    if isinstance(response, Lost):
        return f"The server cannot be reached: {response.cause}."
    if response.status == 429:
        return f"{url} refuses more requests for now (429)."
    return f"{url} failed with status {response.status}."


def _when(response: Response | Lost) -> str:
    after = _retry_after(response)
    return "" if after is None else f" in {after:.0f} seconds"


def attempt_once(
    method: str,
    url: str,
    runtime: Runtime,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Protocol[Response]:
    """Sends a request once, for a caller that comes back later by itself."""
    response = yield from _send(Send(method, url, ATTEMPT_S, form, headers or {}), runtime)
    if isinstance(response, Lost) or response.status == 429 or response.status >= 500:
        raise ServerUnavailable(_problem(response, url))
    return response


def members_of(response: Response, url: str) -> dict[str, Any]:
    """Returns the JSON object of a successful response.

    # Errors

    `Refused` for an error of the protocol, `invalid_response` for anything else.
    """
    members = object_of(response.body)
    error = members.get("error") if members is not None else None
    if 400 <= response.status < 500 and members is not None and isinstance(error, str):
        raise Refused(shown(error), shown(members.get("error_description")), response.status)
    if response.status != 200:
        raise InvalidResponse(
            f"{url} responded with status {response.status}, which this protocol does not have: check the issuer."
        )
    if members is None:
        raise InvalidResponse(f"{url} did not return a JSON object: check the issuer.")
    return members


def members_or_error(response: Response, url: str) -> dict[str, Any]:
    """Returns the JSON object of a successful response; every refusal is an error of the package."""
    try:
        return members_of(response, url)
    except Refused as refusal:
        raise refusal.for_caller(url) from None


def text_of(members: Mapping[str, Any], name: str, url: str) -> str:
    """Returns a member that must be text."""
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidResponse(f"The response of {url} has no {name}: the server does not follow the protocol.")
    return value


def seconds_of(members: Mapping[str, Any], name: str, default: int | None, url: str) -> int:
    """Returns a member that is a number of seconds, or digits. Without a default, it is required."""
    value = members.get(name)
    if value is None and default is not None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e10:
        raise InvalidResponse(f"The response of {url} has a {name} that is not a number of seconds.")
    return int(value)


def tokens_of(members: Mapping[str, Any], sent_at: float, scope: str | None, url: str) -> Tokens:
    """Returns the tokens of a response. `scope` is what was requested."""
    value = text_of(members, "access_token", url)
    kind = text_of(members, "token_type", url)
    if kind.lower() != "bearer":
        raise InvalidResponse(f"The response of {url} has the token_type {shown(kind)}: only Bearer is supported.")
    life_s = seconds_of(members, "expires_in", UNKNOWN_LIFE_S, url)
    granted = members.get("scope")
    refresh = members.get("refresh_token")
    obtained_at = int(sent_at)
    access = AccessToken(value, obtained_at + life_s, granted if isinstance(granted, str) else scope, "Bearer")
    return Tokens(access, obtained_at, refresh if isinstance(refresh, str) and refresh else None)


def is_fresh(obtained_at: float, expires_at: float, now: float, *, until_end: bool = False) -> bool:
    """Returns whether a token need not be renewed yet. If the clock went back, nothing is known about its age.

    `until_end`: the token cannot be renewed now, so it is used until it expires.
    """
    ahead = 0 if until_end else min(RENEW_AHEAD_S, RENEW_AHEAD_PART * (expires_at - obtained_at))
    return obtained_at <= now + 1 and now < expires_at - ahead


def basic(client_id: str, client_secret: str) -> str:
    """Returns the header of a client that has a secret (RFC 6749 §2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def request_tokens(
    url: str,
    form: Form,
    runtime: Runtime,
    *,
    scope: str | None,
    headers: Mapping[str, str] | None = None,
    is_single_use: bool = False,
) -> Protocol[Tokens]:
    """Sends a grant to the token endpoint. `scope` is what it requests.

    # Errors

    `Refused`, `server_unavailable`, `invalid_response`.
    """
    response = yield from attempt("POST", url, runtime, form, headers, is_single_use=is_single_use)
    return tokens_of(members_of(response, url), response.sent_at, scope, url)


def given(**parameters: str | None) -> dict[str, str]:
    """Returns the parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}
