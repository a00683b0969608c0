"""The metadata of an authorization server (RFC 8414), and what a secure URL is."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit

from postern_client import _token
from postern_client._effects import Protocol, Runtime
from postern_client._network import Response
from postern_client._shared import Recent
from postern_client._text import object_of, shown
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


#: The names of this machine. Others, such as `x.localhost`, are asked of the DNS by some resolvers.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORTS = {"http": 80, "https": 443}


def _split(url: str) -> SplitResult | None:
    """Returns the parts of a URL that is encrypted or on this machine."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS)
    return parts if is_secure and parts.hostname else None


def check_secure(url: str, what: str) -> None:
    """Refuses a URL over which a token could be read on the way."""
    if _split(url) is None:
        raise InsecureIssuer(f"The {what} {shown(url)} does not use https: use a URL that begins with https://.")


def check_issuer(issuer: str) -> None:
    """Refuses what cannot be the issuer of tokens (RFC 8414 §2)."""
    check_secure(issuer, "issuer")
    parts = urlsplit(issuer)
    if parts.username is not None or parts.password is not None or "?" in issuer or "#" in issuer:
        raise InsecureIssuer(f"The issuer at {parts.hostname} must have no user, query or fragment: use only its URL.")


def check_request(url: str) -> None:
    """Refuses to send a token to a URL. Its path and query are not shown, because they are the program's."""
    if _split(url) is None:
        try:
            host = shown(urlsplit(url).hostname) or "another URL"
        except ValueError:
            host = "another URL"
        raise InsecureIssuer(
            f"A token is sent only over https, and not to {host}: use a URL that begins with https://."
        )


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Returns scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)


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


def _parse(response: Response, url: str, issuer: str) -> Metadata:
    document = object_of(response.body)
    if document is None:
        raise InvalidResponse(f"{url} did not return a JSON object: check the issuer {issuer}.")
    if document.get("issuer") != issuer:
        named = shown(document.get("issuer"))
        raise InvalidResponse(
            f"{url} is of the issuer {named!r}, not {issuer!r}: use exactly the issuer that it names."
        )
    return Metadata(document)


def fetch(issuer: str, runtime: Runtime, *, is_once: bool = False) -> Protocol[Metadata]:
    """Fetches the metadata of an issuer. `is_once`: for a caller that comes back later by itself."""
    check_issuer(issuer)
    for url in (well_known(issuer, "oauth-authorization-server"), _openid(issuer)):
        response = yield from (
            _token.attempt_once("GET", url, runtime) if is_once else _token.attempt("GET", url, runtime)
        )
        if response.status in (404, 405):
            continue
        if response.status != 200:
            raise InvalidResponse(f"{url} responded with status {response.status}: check the issuer {issuer}.")
        return _parse(response, url, issuer)
    raise InvalidResponse(f"{issuer} has no metadata of an authorization server: check the issuer.")


class Cache:
    """Metadata by issuer, for an hour.

    `is_once` and `pause_s`: for a caller that comes back later by itself, and must not ask a server that fails each
    time.
    """

    def __init__(self, runtime: Runtime, *, is_once: bool = False, pause_s: float = 0) -> None:
        self._runtime, self._is_once, self._pause_s = runtime, is_once, pause_s
        self._known: dict[str, Recent[Metadata]] = {}

    def get(self, issuer: str) -> Protocol[Metadata]:
        """Returns the metadata of an issuer, from memory if possible."""
        known = self._known.setdefault(issuer, Recent(self._runtime, LIFE_S, self._pause_s))
        return (yield from known.get(lambda: fetch(issuer, self._runtime, is_once=self._is_once)))
