"""For servers: who presents a credential, and whether they may.

Needs `postern-client[server]`. Access tokens of the issuer are verified here, by its published keys. Everything else
is asked about at the issuer (RFC 7662), each time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import jwt
from jwt.types import Options

from postern_client import _discovery, _mcp, _token
from postern_client._effects import Protocol, Runtime, run, run_async
from postern_client._keys import PAUSE_S, Keys
from postern_client._mcp import McpTools
from postern_client._network import async_client
from postern_client._refusal import Refusal
from postern_client.errors import PosternError, ServerUnavailable

LEEWAY_S = 30
MAX_TOKEN = 16 * 1024
#: With a secret key, whoever can verify a token can make one.
PUBLIC_KEY_ALGORITHMS = frozenset(
    name for name in jwt.algorithms.get_default_algorithms() if name != "none" and not name.startswith("HS")
)
#: Nothing is left to the defaults of the library, which can change.
OPTIONS: Options = {
    "verify_signature": True,
    "verify_exp": True,
    "verify_nbf": True,
    "verify_iat": True,
    "verify_aud": True,
    "verify_iss": True,
    "verify_sub": True,
    "verify_jti": True,
    "require": ["exp", "iat", "sub", "aud", "iss"],
    # A token can be for several APIs.
    "strict_aud": False,
    "enforce_minimum_key_length": True,
}

BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
API_KEY = re.compile(r"[A-Za-z0-9\-._~+/]+=*")

NOT_VALID = (
    "The credential is not valid: it may have expired or been revoked, or be for another API or organization. "
    "Get another one."
)
NONE = "Send a credential, in the header Authorization: Bearer or X-API-Key."
TWO = "Send one credential, in Authorization or in X-API-Key."
UNAVAILABLE = "The credential cannot be checked at the moment. Try again later."


@dataclass(frozen=True)
class Introspection:
    """How the API asks the issuer about credentials.

    Either by `client_secret`, the secret of its `[[resource]]` or of the agent `client_id`; or by an `api_key` with
    the scope `tokens:introspect`.

    The issuer must honour the parameter `resource`, as Postern does: an active credential without `aud` is then for
    this API.
    """

    client_secret: str | None = field(default=None, repr=False)
    client_id: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if bool(self.client_secret) == bool(self.api_key):
            raise ValueError("introspection needs either client_secret or api_key")
        if self.api_key and self.client_id:
            raise ValueError("client_id belongs to client_secret, not to api_key")

    def headers(self, audience: str) -> dict[str, str]:
        if self.api_key is not None:
            return {"Authorization": f"Bearer {self.api_key}"}
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
        """Returns whether the caller has all of these scopes."""
        return not missing(self.scopes, scopes)


def covers(held: str, wanted: str) -> bool:
    """Returns whether a scope covers another: `*` covers all, `runners:*` covers `runners:read`."""
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


def report(error: Exception) -> None:
    """Writes the reason of a 503 to standard error."""
    print(f"A credential cannot be checked: {error}", file=sys.stderr)


class Verifier:
    """Decides which credentials an API accepts: one for each API, for all of its requests.

    Every organization of the deployment has access tokens of the issuer. With `organization`, an API accepts only those
    of one: its id, such as `org_…`.

    A token that is verified here is accepted until it expires, also after it was revoked. With `introspect_jwts`, the
    issuer is asked about each of them too.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        organization: str | None = None,
        algorithms: Sequence[str] = ("ES256",),
        introspection: Introspection | None = None,
        introspect_jwts: bool = False,
        resource_metadata: str | None = None,
        on_failure: Callable[[Exception], None] = report,
        _runtime: Runtime | None = None,
    ) -> None:
        _discovery.check_issuer(issuer)
        if not audience:
            raise ValueError("the audience must be the URI of the API")
        if organization == "":
            raise ValueError("the organization must be an id, or None")
        if isinstance(algorithms, str) or not algorithms or not PUBLIC_KEY_ALGORITHMS.issuperset(algorithms):
            raise ValueError(f"the algorithms must be a list of some of {', '.join(sorted(PUBLIC_KEY_ALGORITHMS))}")
        if introspect_jwts and introspection is None:
            raise ValueError("introspect_jwts needs introspection")
        self.issuer, self.audience, self.organization = issuer, audience, organization
        self._algorithms = list(algorithms)
        self._introspection, self._introspect_jwts = introspection, introspect_jwts
        self._resource_metadata, self._on_failure = resource_metadata, on_failure
        self._runtime = _runtime or Runtime()
        self._metadata = _discovery.Cache(self._runtime, is_once=True, pause_s=PAUSE_S)
        self._keys = Keys(issuer, self._runtime, self._metadata)
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
        if principal is None or not self._is_of_organization(principal):
            raise self._refusal("invalid_token", NOT_VALID)
        self.require(principal, scopes)
        return principal

    def _is_of_organization(self, principal: Principal) -> bool:
        return self.organization is None or principal.org_id == self.organization

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
                options=OPTIONS,
            )
        except (jwt.PyJWTError, ValueError):
            return None
        # A token that is bound to a key needs a proof, which is not checked here.
        return claims if "cnf" not in claims and _text(claims["sub"]) else None

    def _introspect(self, token: str) -> Protocol[Principal | None]:
        """Asks the issuer about a credential."""
        if self._introspection is None:
            return None
        metadata = yield from self._metadata.get(self.issuer)
        url = metadata.endpoint("introspection_endpoint")
        headers = self._introspection.headers(self.audience)
        form = {"token": token, "resource": self.audience}
        response = yield from _token.attempt_once("POST", url, self._runtime, form, headers)
        answer = _token.members_of(response, url)
        return self._introspected(answer) if self._is_for_us(answer) else None

    def _is_for_us(self, answer: Mapping[str, Any]) -> bool:
        """Returns whether a credential is active, of this issuer, for this API, and needs no other proof."""
        audience, issuer = answer.get("aud"), answer.get("iss")
        audiences = audience if isinstance(audience, list) else [audience]
        return (
            answer.get("active") is True
            and (audience is None or self.audience in audiences)
            and (issuer is None or issuer == self.issuer)
            and str(answer.get("token_type")).lower() == "bearer"
            and "cnf" not in answer
            and bool(_text(answer.get("sub")))
        )

    @staticmethod
    def _introspected(answer: Mapping[str, Any]) -> Principal:
        return replace(
            _principal(answer),
            kind=_text(answer.get("kind")),
            resources=answer.get("resources"),
            on_behalf_of=_text(answer.get("on_behalf_of")),
            metadata=answer.get("metadata"),
        )


__all__ = ["Introspection", "McpTools", "Principal", "Refusal", "ServerUnavailable", "Verifier"]
