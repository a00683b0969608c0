"""The keys with which an issuer signs its access tokens (RFC 7517)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from postern_client import _discovery, _token
from postern_client._effects import Protocol, Runtime
from postern_client._shared import Recent

LIFE_S = 300
#: An unknown key is looked for again at most this often, so that made-up tokens cause no requests.
COOLDOWN_S = 60
#: After a failure, the issuer is not asked again for this long: made-up tokens would be requests when it is overloaded.
PAUSE_S = 5

Jwk = Mapping[str, Any]


class Keys:
    """The key set of an issuer: used for five minutes, and fetched again for an unknown key once a minute."""

    def __init__(self, issuer: str, runtime: Runtime, metadata: _discovery.Cache) -> None:
        self._issuer, self._runtime, self._metadata = issuer, runtime, metadata
        self._keys: Recent[list[Jwk]] = Recent(runtime, LIFE_S, PAUSE_S)

    def find(self, kid: str | None, algorithm: str) -> Protocol[jwt.PyJWK | None]:
        """Returns the key of a token, or nothing.

        # Errors

        `server_unavailable` or `invalid_response` if the keys cannot be fetched.
        """
        key = _find((yield from self._keys.get(self._fetch)), kid, algorithm)
        if key is None:
            key = _find((yield from self._keys.get(self._fetch, COOLDOWN_S)), kid, algorithm)
        return key

    def _fetch(self) -> Protocol[list[Jwk]]:
        metadata = yield from self._metadata.get(self._issuer)
        url = metadata.endpoint("jwks_uri")
        response = yield from _token.attempt_once("GET", url, self._runtime)
        keys = _token.members_or_error(response, url).get("keys")
        return [key for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []


def _find(keys: list[Jwk], kid: str | None, algorithm: str) -> jwt.PyJWK | None:
    """Returns the only key that a token can mean. If there are several, it is unknown which of them is valid."""
    named = [key for key in keys if kid is None or key.get("kid") == kid]
    found = [key for key in named if _can_verify(key, algorithm)]
    if len(found) != 1:
        return None
    try:
        return jwt.PyJWK.from_dict(dict(found[0]), algorithm)
    except jwt.PyJWTError:
        return None


def _can_verify(key: Jwk, algorithm: str) -> bool:
    operations = key.get("key_ops", ["verify"])
    is_for_this = isinstance(operations, list) and "verify" in operations
    return is_for_this and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
