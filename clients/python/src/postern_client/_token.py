"""Requests to the token endpoint (RFC 6749), repeated where that is safe."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from postern_client._effects import Lost, Protocol, Reply, Runtime, Send, Sleep
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
    """A successful answer of the token endpoint."""

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
            return InvalidResponse(f"{url} answered {self.status} {self.error}.{said}".rstrip())
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
    repeats_lost: bool = True,
) -> Protocol[Reply]:
    """Sends a request, up to three times. Returns an answer below 500 that is not 429.

    `form` can be a step that makes another form for each attempt. `repeats_lost` says whether a request that the
    server may have handled can be sent again.
    """
    begun = runtime.monotonic()
    for tries in range(len(WAITS_S) + 1):
        sent = (yield from form()) if callable(form) else form
        reply: Reply | Lost = yield Send(method, url, ATTEMPT_S, sent, headers or {})
        wait_s = None if tries == len(WAITS_S) else WAITS_S[tries] * (0.5 + runtime.random())
        match reply:
            case Lost():
                problem = f"The server cannot be reached: {reply.cause}. The session is kept: try again."
                if reply.was_sent and not repeats_lost:
                    wait_s = None
            case Reply() if reply.status == 429:
                text = reply.headers.get("retry-after", "")
                after = float(text) if text.isascii() and text.isdigit() else None
                when = f"in {text} seconds" if after is not None else "later"
                problem = f"{url} refuses more requests for now (429). The session is kept: try again {when}."
                # Without Retry-After, the usual waits would only make it worse.
                wait_s = after if wait_s is not None and after is not None and after <= LONGEST_RETRY_AFTER_S else None
            case Reply() if reply.status >= 500:
                problem = f"{url} was answered with {reply.status}. The session is kept: try again."
            case Reply():
                return reply
        if wait_s is None or runtime.monotonic() - begun + wait_s > LAST_BEGIN_S:
            break
        yield Sleep(wait_s)
    raise ServerUnavailable(problem)


def attempt_once(
    method: str, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Protocol[Reply]:
    """Sends a request once, for a caller that comes back later by itself."""
    reply: Reply | Lost = yield Send(method, url, ATTEMPT_S, form, headers or {})
    if isinstance(reply, Lost):
        raise ServerUnavailable(f"The server cannot be reached: {reply.cause}.")
    if reply.status == 429 or reply.status >= 500:
        raise ServerUnavailable(f"{url} was answered with {reply.status}.")
    return reply


def shown(text: Any) -> str:
    """Returns text of a server as it can be shown on a terminal."""
    return "".join(character for character in text if character.isprintable())[:300] if isinstance(text, str) else ""


def members_of(reply: Reply, url: str) -> dict[str, Any]:
    """Returns the JSON object of a successful answer.

    # Errors

    `Refused` for an error of the protocol, `invalid_response` for anything else.
    """
    try:
        members = json.loads(reply.body)
    except ValueError:
        members = None
    is_error = isinstance(members, dict) and isinstance(members.get("error"), str)
    if 400 <= reply.status < 500 and isinstance(members, dict) and is_error:
        raise Refused(members["error"], shown(members.get("error_description")), reply.status)
    if reply.status != 200:
        raise InvalidResponse(f"{url} answered {reply.status}, which this protocol does not know: check the issuer.")
    if not isinstance(members, dict):
        raise InvalidResponse(f"{url} did not return a JSON object: check the issuer.")
    return members


def text_of(members: Mapping[str, Any], name: str, url: str) -> str:
    """Returns a member that must be text."""
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidResponse(f"The answer of {url} has no {name}: the server does not follow the protocol.")
    return value


def seconds_of(members: Mapping[str, Any], name: str, default: int, url: str) -> int:
    """Returns a member that is a number of seconds, or digits."""
    value = members.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e10:
        raise InvalidResponse(f"The answer of {url} has a {name} that is not a number of seconds.")
    return int(value)


def tokens_of(members: Mapping[str, Any], now: float, scope: str | None, url: str) -> Tokens:
    """Returns the tokens of an answer. `scope` is what was requested."""
    value = text_of(members, "access_token", url)
    kind = text_of(members, "token_type", url)
    if kind.lower() != "bearer":
        raise InvalidResponse(f"The answer of {url} has the token_type {kind!r}: only Bearer is supported.")
    life_s = seconds_of(members, "expires_in", UNKNOWN_LIFE_S, url)
    granted = members.get("scope")
    refresh = members.get("refresh_token")
    obtained_at = int(now)
    access = AccessToken(value, obtained_at + life_s, granted if isinstance(granted, str) else scope, "Bearer")
    return Tokens(access, obtained_at, refresh if isinstance(refresh, str) and refresh else None)


def is_fresh(obtained_at: float, expires_at: float, now: float, *, is_urgent: bool = False) -> bool:
    """Reports whether a token need not be renewed yet. If the clock went back, nothing is known about its age.

    `is_urgent`: the token cannot be renewed at the moment, so it is used to its end.
    """
    ahead = 0 if is_urgent else min(RENEW_AHEAD_S, RENEW_AHEAD_PART * (expires_at - obtained_at))
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
    repeats_lost: bool = True,
) -> Protocol[Tokens]:
    """Sends a grant to the token endpoint. `scope` is what it requests.

    # Errors

    `Refused`, `server_unavailable`, `invalid_response`.
    """
    reply = yield from attempt("POST", url, runtime, form, headers, repeats_lost=repeats_lost)
    return tokens_of(members_of(reply, url), runtime.now(), scope, url)


def given(**parameters: str | None) -> dict[str, str]:
    """Returns the parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}
