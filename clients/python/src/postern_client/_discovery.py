"""The metadata of an authorization server (RFC 8414), and what a secure URL is."""

from __future__ import annotations

import ipaddress
import json
import threading
from typing import Any
from urllib.parse import urlsplit

from postern_client import _token
from postern_client._effects import Protocol, Reply, Runtime
from postern_client.errors import InsecureIssuer, InvalidResponse

#: How long metadata is used without another request.
LIFE_S = 3600
ENDPOINTS = (
    "authorization_endpoint",
    "device_authorization_endpoint",
    "introspection_endpoint",
    "jwks_uri",
    "revocation_endpoint",
    "token_endpoint",
)


def is_loopback(host: str | None) -> bool:
    """Reports whether a host is on this machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_secure(url: str, what: str) -> None:
    """Refuses a URL over which a token could be read on the way."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise InsecureIssuer(f"The {what} {url!r} is not a URL: use one that begins with https://.") from None
    if (parts.scheme == "https" and host) or (parts.scheme == "http" and is_loopback(host)):
        return
    raise InsecureIssuer(f"The {what} {url} does not use https: use a URL that begins with https://.")


def well_known(issuer: str, name: str) -> str:
    """Returns the URL of a document: the path of the issuer follows the name (RFC 8414 §3.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/{name}{parts.path.rstrip('/')}"


def _openid(issuer: str) -> str:
    """Returns where OpenID Connect has its document: after the path of the issuer."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


class Metadata(dict[str, Any]):
    """The metadata of a server, with the endpoints checked."""

    def endpoint(self, name: str) -> str:
        """Returns the URL of an endpoint.

        # Errors

        `invalid_response` if the server has none, `insecure_issuer` if it does not use https.
        """
        url = self.get(name)
        if not isinstance(url, str):
            raise InvalidResponse(f"The metadata of {self['issuer']} has no {name}: the server does not support this.")
        check_secure(url, name)
        return url


def _parse(reply: Reply, url: str, issuer: str) -> Metadata:
    try:
        document = json.loads(reply.body)
    except ValueError:
        raise InvalidResponse(f"{url} did not return JSON: check the issuer {issuer}.") from None
    if not isinstance(document, dict):
        raise InvalidResponse(f"{url} did not return a JSON object: check the issuer {issuer}.")
    if document.get("issuer") != issuer:
        raise InvalidResponse(
            f"{url} is of the issuer {document.get('issuer')!r}, not {issuer!r}: use exactly the issuer that it names."
        )
    return Metadata(document)


def fetch(issuer: str, runtime: Runtime, *, is_once: bool = False) -> Protocol[Metadata]:
    """Fetches the metadata of an issuer. `is_once`: for a caller that comes back later by itself."""
    check_secure(issuer, "issuer")
    for url in (well_known(issuer, "oauth-authorization-server"), _openid(issuer)):
        reply = yield from (_token.attempt_once("GET", url) if is_once else _token.attempt("GET", url, runtime))
        if reply.status == 404:
            continue
        if reply.status != 200:
            raise InvalidResponse(f"{url} was answered with {reply.status}: check the issuer {issuer}.")
        return _parse(reply, url, issuer)
    raise InvalidResponse(f"{issuer} has no metadata of an authorization server: check the issuer.")


class Cache:
    """Metadata by issuer, for an hour."""

    def __init__(self, *, is_once: bool = False) -> None:
        self._is_once = is_once
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Metadata]] = {}

    def get(self, issuer: str, runtime: Runtime) -> Protocol[Metadata]:
        """Returns the metadata of an issuer, from memory if possible."""
        with self._lock:
            at, known = self._known.get(issuer, (0.0, None))
        if known is not None and runtime.monotonic() - at < LIFE_S:
            return known
        metadata = yield from fetch(issuer, runtime, is_once=self._is_once)
        with self._lock:
            self._known[issuer] = (runtime.monotonic(), metadata)
        return metadata
