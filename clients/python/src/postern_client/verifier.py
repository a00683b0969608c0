"""For servers: who presents a credential, and whether they may.

Needs `postern-client[server]`. Access tokens of the issuer are verified here, by its published keys. Everything else
is asked about at the issuer (RFC 7662), each time.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from postern_client import _discovery, _mcp, _token
from postern_client._effects import Protocol, Runtime, Sleep, async_client, run, run_async
from postern_client._mcp import McpTools
from postern_client._refusal import Refusal
from postern_client.errors import PosternError, ServerUnavailable

LEEWAY_S = 30
KEYS_LIFE_S = 300
#: An unknown key is looked for again at most this often, so that made-up tokens cause no requests.
KEYS_COOLDOWN_S = 60
POLL_S = 0.02
MAX_TOKEN = 16 * 1024

BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
API_KEY = re.compile(r"[A-Za-z0-9\-._~+/]+=*")

NOT_VALID = "The credential is not valid: it may have expired or been revoked, or be for another API. Get another one."
NONE = "Send a credential, in the header Authorization: Bearer or X-API-Key."
TWO = "Send one credential, in Authorization or in X-API-Key."
UNAVAILABLE = "The credential cannot be checked at the moment. Try again later."


@dataclass(frozen=True)
class Introspection:
    """How the API asks the issuer about credentials.

    Either by `client_secret`, the secret of its `[[resource]]` or of the agent `client_id`; or by an `api_key` with
    the scope `tokens:introspect`.
    """

    client_secret: str | None = field(default=None, repr=False)
    client_id: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def headers(self, audience: str) -> dict[str, str]:
        if self.api_key is not None:
            return {"X-API-Key": self.api_key}
        return {"Authorization": _token.basic(self.client_id or audience, self.client_secret or "")}


@dataclass(frozen=True)
class Principal:
    """The caller.

    An access token that was verified here does not say the members from `kind` on: they are `None`. An API that
    limits callers by `resources` sets `introspect_jwts`.
    """

    user_id: str
    scopes: tuple[str, ...]
    credential_id: str | None = None
    client_id: str | None = None
    org_id: str | None = None
    expires_at: float | None = None
    actor: str | None = None
    """The agent that acts for the user whom the caller is."""
    kind: str | None = None
    resources: Mapping[str, Sequence[str]] | None = None
    on_behalf_of: str | None = None
    metadata: Mapping[str, Any] | None = None

    def has(self, *scopes: str) -> bool:
        """Reports whether the caller has all of these scopes."""
        return not missing(self.scopes, scopes)


def covers(held: str, wanted: str) -> bool:
    """Reports whether a scope covers another: `*` covers all, `runners:*` covers `runners:read`."""
    have, want = held.split(":"), wanted.split(":")
    for at, part in enumerate(have):
        if at >= len(want):
            return False
        if part == "*" and at == len(have) - 1:
            return True
        if part not in ("*", want[at]):
            return False
    return len(have) == len(want)


def missing(held: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Returns the scopes of `wanted` that none of `held` covers."""
    return [scope for scope in wanted if not any(covers(own, scope) for own in held)]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _principal(claims: Mapping[str, Any]) -> Principal:
    expires_at = claims.get("exp")
    act = claims.get("act")
    return Principal(
        user_id=str(claims["sub"]),
        scopes=tuple((_text(claims.get("scope")) or "").split()),
        credential_id=_text(claims.get("credential_id")) or _text(claims.get("sid")) or _text(claims.get("jti")),
        client_id=_text(claims.get("client_id")),
        org_id=_text(claims.get("org_id")),
        expires_at=float(expires_at) if isinstance(expires_at, int | float) else None,
        actor=_text(act.get("sub")) if isinstance(act, Mapping) else None,
    )


class _Keys:
    """The key set of an issuer: used for five minutes, and fetched again for an unknown key once a minute."""

    def __init__(self, issuer: str, runtime: Runtime, metadata: _discovery.Cache) -> None:
        self._issuer, self._runtime, self._metadata = issuer, runtime, metadata
        self._keys: list[Mapping[str, Any]] = []
        self._fetched_at: float | None = None
        self._is_fetching = False
        self._lock = threading.Lock()

    def find(self, kid: str | None, algorithm: str) -> Protocol[jwt.PyJWK | None]:
        """Returns the key of a token, or nothing.

        # Errors

        `server_unavailable` or `invalid_response` if the keys cannot be fetched.
        """
        if self._age() > KEYS_LIFE_S:
            yield from self._fetch(KEYS_LIFE_S)
        key = self._known(kid, algorithm)
        if key is None and self._age() > KEYS_COOLDOWN_S:
            yield from self._fetch(KEYS_COOLDOWN_S)
            key = self._known(kid, algorithm)
        return key

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._runtime.monotonic() - self._fetched_at

    def _known(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        for key in self._keys:
            is_named = key.get("kid") == kid if kid is not None else len(self._keys) == 1
            if is_named and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm:
                try:
                    return jwt.PyJWK.from_dict(dict(key), algorithm)
                except jwt.PyJWTError:
                    return None
        return None

    def _fetch(self, age_s: float) -> Protocol[None]:
        """Fetches the keys, unless another task or thread is doing so, or has just done."""
        while not self._begin():
            yield Sleep(POLL_S)
        try:
            if self._age() <= age_s:
                return
            metadata = yield from self._metadata.get(self._issuer, self._runtime)
            url = metadata.endpoint("jwks_uri")
            reply = yield from _token.attempt_once("GET", url)
            keys = _token.members_of(reply, url).get("keys")
            self._keys = [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []
            self._fetched_at = self._runtime.monotonic()
        finally:
            self._is_fetching = False

    def _begin(self) -> bool:
        with self._lock:
            if self._is_fetching:
                return False
            self._is_fetching = True
            return True


def report(error: Exception) -> None:
    """Tells the operator why a request was answered with 503."""
    print(f"A credential cannot be checked: {error}", file=sys.stderr)


class Verifier:
    """Decides which credentials an API accepts: one for each API, for all of its requests.

    A token that is verified here is accepted until it expires, also after it was revoked. With `introspect_jwts`, the
    issuer is asked about each of them too.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        algorithms: Sequence[str] = ("ES256",),
        introspection: Introspection | None = None,
        introspect_jwts: bool = False,
        resource_metadata: str | None = None,
        on_failure: Callable[[Exception], None] = report,
        _runtime: Runtime | None = None,
    ) -> None:
        _discovery.check_secure(issuer, "issuer")
        if not algorithms or any(name.startswith("HS") or name == "none" for name in algorithms):
            raise ValueError("the algorithms must be those of public keys, such as ES256")
        if introspect_jwts and introspection is None:
            raise ValueError("introspect_jwts needs introspection")
        self.issuer, self.audience = issuer, audience
        self._algorithms = list(algorithms)
        self._introspection, self._introspect_jwts = introspection, introspect_jwts
        self._resource_metadata, self._on_failure = resource_metadata, on_failure
        self._runtime = _runtime or Runtime()
        self._metadata = _discovery.Cache(is_once=True)
        self._keys = _Keys(issuer, self._runtime, self._metadata)
        self._client: httpx.AsyncClient | None = None

    def verify(
        self, authorization: str | None = None, api_key: str | None = None, scopes: Sequence[str] = ()
    ) -> Principal:
        """Returns the caller who presents these headers, and has all of `scopes`.

        # Errors

        `Refusal`: there is no such caller, or the credential cannot be checked now.
        """
        return run(self._verify(authorization, api_key, scopes), self._runtime)

    async def verify_async(
        self, authorization: str | None = None, api_key: str | None = None, scopes: Sequence[str] = ()
    ) -> Principal:
        """Returns the caller, in asynchronous programs: see `verify`."""
        if self._client is None:
            self._client = async_client()
        return await run_async(self._verify(authorization, api_key, scopes), self._runtime, self._client)

    async def aclose(self) -> None:
        """Closes the connections."""
        self._runtime.close()
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def require(self, principal: Principal, scopes: Sequence[str]) -> None:
        """Checks that the caller has all of `scopes`.

        # Errors

        `Refusal`: one is missing.
        """
        lacking = missing(principal.scopes, scopes)
        if lacking:
            description = f"The credential lacks the scope that is required: {' '.join(lacking)}."
            raise self._refusal("insufficient_scope", description, scope=scopes)

    def require_tools(
        self, principal: Principal, tools: McpTools, mcp_method: str | None, mcp_name: str | None, body: bytes
    ) -> None:
        """Checks that the caller has the scopes of the tools that the body of a request to an MCP server calls.

        # Errors

        `Refusal`: one is missing, or the body is not a message of MCP.
        """
        try:
            scopes = _mcp.needed_scopes(tools, mcp_method, mcp_name, body)
        except _mcp.InvalidMessage as error:
            raise self._refusal("invalid_request", str(error)) from None
        self.require(principal, scopes)

    def refuse_body(self) -> Refusal:
        """Returns the answer to a body that is too long to be read."""
        return self._refusal("invalid_request", "The body is too long.")

    def _refusal(self, code: Any, description: str, scope: Sequence[str] = ()) -> Refusal:
        return Refusal(code, description, scope=scope, resource_metadata=self._resource_metadata)

    def _presented(self, authorization: str | None, api_key: str | None) -> str:
        """Returns the credential, of which there must be one."""
        if not authorization and not api_key:
            raise self._refusal("auth_required", NONE)
        if authorization and api_key:
            raise self._refusal("invalid_request", TWO)
        bearer = BEARER.fullmatch(authorization) if authorization else None
        token = bearer[1] if bearer else api_key
        if not token or len(token) > MAX_TOKEN or not API_KEY.fullmatch(token):
            raise self._refusal("invalid_token", NOT_VALID)
        return token

    def _verify(self, authorization: str | None, api_key: str | None, scopes: Sequence[str]) -> Protocol[Principal]:
        token = self._presented(authorization, api_key)
        try:
            principal = yield from self._decide(token)
        except (PosternError, _token.Refused) as error:
            # A failure of ours, or of the issuer, says nothing about the credential.
            shown = error if isinstance(error, PosternError) else error.for_caller(self.issuer)
            self._on_failure(shown)
            raise self._refusal("temporarily_unavailable", UNAVAILABLE) from None
        if principal is None:
            raise self._refusal("invalid_token", NOT_VALID)
        self.require(principal, scopes)
        return principal

    def _decide(self, token: str) -> Protocol[Principal | None]:
        header = self._own_header(token)
        if header is None:
            return (yield from self._introspect(token))
        if not self._is_known_algorithm(header):
            return None
        key = yield from self._keys.find(_text(header.get("kid")), header["alg"])
        claims = None if key is None else self._claims(token, key)
        if claims is None:
            return None
        return (yield from self._introspect(token)) if self._introspect_jwts else _principal(claims)

    def _own_header(self, token: str) -> Mapping[str, Any] | None:
        """Returns the header of a token that says that it is an access token of the issuer."""
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            return None
        is_own = str(header.get("typ")).lower() == "at+jwt" and claims.get("iss") == self.issuer
        return header if is_own else None

    def _is_known_algorithm(self, header: Mapping[str, Any]) -> bool:
        return header.get("alg") in self._algorithms and "crit" not in header

    def _claims(self, token: str, key: jwt.PyJWK) -> Mapping[str, Any] | None:
        """Returns the claims of a token that is valid here and now."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self.audience,
                issuer=self.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        # A token that is bound to a key needs a proof, which is not checked here.
        return claims if "cnf" not in claims and isinstance(claims["sub"], str) else None

    def _introspect(self, token: str) -> Protocol[Principal | None]:
        """Asks the issuer about a credential."""
        if self._introspection is None:
            return None
        metadata = yield from self._metadata.get(self.issuer, self._runtime)
        url = metadata.endpoint("introspection_endpoint")
        headers = self._introspection.headers(self.audience)
        form = {"token": token, "resource": self.audience}
        reply = yield from _token.attempt_once("POST", url, form, headers)
        answer = _token.members_of(reply, url)
        if answer.get("active") is not True:
            return None
        audience = answer.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        is_for_us = audience is None or self.audience in audiences
        is_bearer = str(answer.get("token_type")).lower() == "bearer" and "cnf" not in answer
        if not is_for_us or not is_bearer or _text(answer.get("sub")) is None:
            return None
        known = _principal(answer)
        return Principal(
            **{
                **vars(known),
                "kind": _text(answer.get("kind")),
                "resources": answer.get("resources"),
                "on_behalf_of": _text(answer.get("on_behalf_of")),
                "metadata": answer.get("metadata"),
            }
        )


__all__ = ["Introspection", "McpTools", "Principal", "Refusal", "ServerUnavailable", "Verifier"]
