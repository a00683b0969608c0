"""Authentication of requests, for httpx and for requests."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from postern_client._discovery import check_request, origin
from postern_client.signing import sign_request

if TYPE_CHECKING:
    from postern_client.session import AsyncSession, Session

#: A challenge that says that the token is not accepted, and not that there was none (RFC 6750 §3.1).
INVALID_TOKEN = re.compile(r'\berror\s*=\s*"?invalid_token"?(?:[\s,]|$)')


def _is_refused(status: int, challenges: list[str]) -> bool:
    return status == 401 and any(INVALID_TOKEN.search(challenge) for challenge in challenges)


def _can_repeat(request: httpx.Request) -> bool:
    """Returns whether the body is in memory: a stream cannot be sent twice."""
    try:
        _ = request.content
    except httpx.RequestNotRead:
        return False
    return True


class _Auth(httpx.Auth):
    def __init__(self, resource: str | None, scope: str | None, sign: bool) -> None:
        self._resource, self._scope, self._sign = resource, scope, sign

    def _apply(self, request: httpx.Request, token: str) -> None:
        request.headers["Authorization"] = f"Bearer {token}"
        if self._sign:
            target = request.url.raw_path.decode("ascii")
            headers = sign_request(token, request.method, target, request.content, content_sha256=True)
            request.headers.update(headers)

    def _must_repeat(self, request: httpx.Request, response: httpx.Response) -> bool:
        """Returns whether this API has refused the token. After a redirect, another one answers, without a token."""
        is_same = origin(str(response.request.url)) == origin(str(request.url))
        challenges = response.headers.get_list("www-authenticate")
        return is_same and _is_refused(response.status_code, challenges) and _can_repeat(request)


class SessionAuth(_Auth):
    """Adds the token of a session to requests: `httpx.get(url, auth=session.auth())`, and the same with requests.

    If the API refuses a token, it is renewed once, and the request is repeated once if its body can be.
    """

    def __init__(self, session: Session, resource: str | None, scope: str | None, sign: bool) -> None:
        super().__init__(resource, scope, sign)
        self._session = session

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        check_request(str(request.url))
        if self._sign:
            request.read()
        token = self._session.access_token(self._resource, self._scope)
        self._apply(request, token.value)
        response = yield request
        if self._session.can_renew and self._must_repeat(request, response):
            token = self._session.renew(token, self._resource, self._scope)
            self._apply(request, token.value)
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        raise RuntimeError("a Session cannot be the auth of httpx.AsyncClient: use AsyncSession")
        yield request

    def __call__(self, request: Any) -> Any:
        """Adds the token to a request of the library requests."""
        check_request(request.url)
        token = self._session.access_token(self._resource, self._scope).value
        self._apply_prepared(request, token)
        authorized = origin(request.url)

        def repeat(response: Any, **options: Any) -> Any:
            # The library copies this hook to the requests that follow a redirect, which can go to another server.
            is_same = origin(response.request.url) == authorized and "Authorization" in response.request.headers
            if not (is_same and self._session.can_renew and _is_repeatable(response)):
                return response
            renewed = response.request.copy()
            renewed.deregister_hook("response", repeat)
            self._apply_prepared(renewed, self._session.renew(token, self._resource, self._scope).value)
            _ = response.content
            response.close()
            repeated = response.connection.send(renewed, **options)
            repeated.history.append(response)
            repeated.request = renewed
            return repeated

        request.register_hook("response", repeat)
        return request

    def _apply_prepared(self, request: Any, token: str) -> None:
        request.headers["Authorization"] = f"Bearer {token}"
        if self._sign:
            parts = urlsplit(request.url)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = sign_request(token, request.method, target, request.body, content_sha256=True)
            request.headers.update(headers)


def _is_repeatable(response: Any) -> bool:
    """Returns whether a response of the library requests refuses the token, and its request can be sent again."""
    challenges = [response.headers.get("www-authenticate", "")]
    body = response.request.body
    return _is_refused(response.status_code, challenges) and (body is None or isinstance(body, bytes | str))


class AsyncSessionAuth(_Auth):
    """Adds the token of a session to requests of `httpx.AsyncClient`."""

    def __init__(self, session: AsyncSession, resource: str | None, scope: str | None, sign: bool) -> None:
        super().__init__(resource, scope, sign)
        self._session = session

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        check_request(str(request.url))
        if self._sign:
            await request.aread()
        token = await self._session.access_token(self._resource, self._scope)
        self._apply(request, token.value)
        response = yield request
        if self._session.can_renew and self._must_repeat(request, response):
            token = await self._session.renew(token, self._resource, self._scope)
            self._apply(request, token.value)
            yield request

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        raise RuntimeError("an AsyncSession cannot be the auth of httpx.Client: use Session")
        yield request
