"""Sessions: what a program has, to call APIs without ever handling a refresh token."""

from __future__ import annotations

import os
from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import httpx

from postern_client import _memory, _sources, _workload
from postern_client._auth import AsyncSessionAuth, SessionAuth
from postern_client._effects import Blocking, Complete, Protocol, Runtime, in_thread, run, run_async
from postern_client._login import DevicePrompt, Login, open_browser, open_browser_async, print_prompt
from postern_client._network import AGENT, async_client, client
from postern_client._operation import Operation
from postern_client._store import SessionFile
from postern_client._text import shown
from postern_client._token import AccessToken
from postern_client.errors import ServerUnavailable

T = TypeVar("T")
SessionType = TypeVar("SessionType", bound="_Session")


class _Session:
    """What sessions have in common: where they come from."""

    #: A refresh token never leaves the session, so that nothing else can spend it.
    __slots__ = ("_http", "_process", "_runtime", "_source")
    _http: Any
    _client: ClassVar[Any]

    def __init__(self, source: _sources.TokenSource) -> None:
        self._source = source
        self._runtime = source.runtime
        self._process = os.getpid()
        self._http = None

    @classmethod
    def open(
        cls: type[SessionType],
        profile: str | None = None,
        *,
        path: str | PathLike[str] | None = None,
        home: str | PathLike[str] | None = None,
        _runtime: Runtime | None = None,
    ) -> SessionType:
        """Opens the stored session of a login: by its profile, or by the path of its file.

        The file is read when a token is needed, so this does not fail if there is none yet.

        # Errors

        `session_invalid` if the name of the profile or `config.json` is not valid.
        """
        path, home = (None if place is None else str(place) for place in (path, home))
        return cls(_sources.stored(_runtime or Runtime(), profile, path, home))

    @classmethod
    def client_credentials(
        cls: type[SessionType],
        client_id: str,
        client_secret: str,
        *,
        issuer: str,
        resource: str | None = None,
        scope: str | None = None,
        _runtime: Runtime | None = None,
    ) -> SessionType:
        """Returns a session of a program with a secret, such as an agent. Nothing is stored."""
        runtime = _runtime or Runtime()
        return cls(_memory.ClientCredentialsSource(runtime, issuer, resource, scope, client_id, client_secret))

    @classmethod
    def federation(
        cls: type[SessionType],
        from_: _workload.SourceName,
        *,
        issuer: str,
        audience: str | None = None,
        resource: str | None = None,
        scope: str | None = None,
        client_id: str | None = None,
        token_variable: str | None = None,
        token_file: str | PathLike[str] | None = None,
        _runtime: Runtime | None = None,
    ) -> SessionType:
        """Returns a session of a workload, which exchanges the token of the place where it runs. Nothing is stored.

        `audience` is that of the rule of the server, by default the issuer.

        # Errors

        `ValueError` if there is no such source, or if `file` has no `token_file`.
        """
        workload = _workload.source(from_, token_variable, token_file)
        runtime = _runtime or Runtime()
        return cls(_memory.FederationSource(runtime, issuer, resource, scope, workload, audience, client_id))

    @classmethod
    def api_key(
        cls: type[SessionType], value: str, *, issuer: str | None = None, _runtime: Runtime | None = None
    ) -> SessionType:
        """Returns a session that presents a credential as it is: an API key, or a CLI token."""
        return cls(_sources.ApiKeySource(_runtime or Runtime(), value, issuer))

    @property
    def issuer(self) -> str:
        """The deployment to which the session belongs.

        # Errors

        `login_required` if nobody has logged in.
        """
        return self._source.issuer

    @property
    def can_renew(self) -> bool:
        """Whether another token can be obtained when one is refused."""
        return not isinstance(self._source, _sources.ApiKeySource)

    def _logout_steps(self) -> Protocol[str | None]:
        warning: str | None = yield Complete(self._source.logout)
        return warning

    def _url_steps(self, operation: Operation[Any]) -> Protocol[str]:
        issuer: str = yield Blocking(lambda: self.issuer)
        return issuer.rstrip("/") + operation.target()

    def _forget_parent(self) -> None:
        """After a fork, leaves the connections of the parent to it."""
        if self._process != os.getpid():
            self._process, self._http = os.getpid(), None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {type(self._source).__name__}>"

    def __reduce__(self) -> Any:
        raise TypeError("a session cannot be pickled or copied: open it again in the other process")


def _unreachable(error: httpx.TransportError) -> ServerUnavailable:
    """Returns the error of a request that got no response. Its query can contain secrets."""
    is_late = isinstance(error, httpx.TimeoutException)
    cause = "it did not respond in time" if is_late else shown(str(error)) or type(error).__name__
    return ServerUnavailable(f"{error.request.url.copy_with(query=None)} cannot be reached: {cause}. Try again.")


def _value(refused: AccessToken | str) -> str:
    return refused.value if isinstance(refused, AccessToken) else refused


class Session(_Session):
    """A session for synchronous programs. It can be used by several threads."""

    def access_token(self, resource: str | None = None, scope: str | None = None) -> AccessToken:
        """Returns a token that is valid now, and renews it ahead of its end.

        Without arguments, the token is for what the login asked for.

        # Errors

        `login_required`, `server_unavailable`, and all other codes except those of logins.
        """
        return run(self._source.token(resource, scope, None), self._runtime)

    def renew(self, refused: AccessToken | str, resource: str | None = None, scope: str | None = None) -> AccessToken:
        """Returns another token than one that an API has refused. Renews only if nobody else has."""
        return run(self._source.token(resource, scope, _value(refused)), self._runtime)

    def auth(self, resource: str | None = None, scope: str | None = None, *, sign: bool = False) -> SessionAuth:
        """Returns the `auth` of requests of httpx and requests. `sign` also signs each request."""
        return SessionAuth(self, resource, scope, sign)

    def request(
        self,
        method: str,
        url: str,
        *,
        resource: str | None = None,
        scope: str | None = None,
        sign: bool = False,
        **options: Any,
    ) -> httpx.Response:
        """Sends a request with the token. Redirects are not followed, because the token is for this API.

        # Errors

        Those of `access_token`, `insecure_issuer` for a URL without https, `server_unavailable` if there is no
        response.
        """
        auth = self.auth(resource, scope, sign=sign)
        try:
            return self._requests().request(method, url, auth=auth, **options)
        except httpx.TransportError as error:
            raise _unreachable(error) from error

    def get(self, url: str, **options: Any) -> httpx.Response:
        """Sends a GET request with the token."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        """Sends a POST request with the token."""
        return self.request("POST", url, **options)

    def call(self, operation: Operation[T]) -> T:
        """Calls an operation of the management API: `session.call(api.list_api_keys())`.

        # Errors

        `ApiError` for every error of the API.
        """
        url = run(self._url_steps(operation), self._runtime)
        return operation.result(self.request(operation.method, url, **operation.options()))

    def logout(self) -> str | None:
        """Revokes the tokens of the session at the server, and deletes them here.

        If the server cannot be reached, they are deleted anyway, and a warning is returned. An API key cannot be
        ended like this, which is a warning, too.
        """
        return run(self._logout_steps(), self._runtime)

    def close(self) -> None:
        """Closes the connections."""
        self._forget_parent()
        self._runtime.close()
        if self._http is not None:
            self._http.close()
            self._http = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _requests(self) -> httpx.Client:
        self._forget_parent()
        if self._http is None:
            self._http = client(AGENT)
        http: httpx.Client = self._http
        return http


class AsyncSession(_Session):
    """A session for asynchronous programs, on asyncio and trio."""

    __slots__ = ("_protocol_http",)

    def __init__(self, source: _sources.TokenSource) -> None:
        super().__init__(source)
        self._protocol_http: httpx.AsyncClient | None = None

    async def access_token(self, resource: str | None = None, scope: str | None = None) -> AccessToken:
        """Returns a token that is valid now, and renews it ahead of its end: see `Session.access_token`."""
        return await self._token(resource, scope, None)

    async def renew(
        self, refused: AccessToken | str, resource: str | None = None, scope: str | None = None
    ) -> AccessToken:
        """Returns another token than one that an API has refused. Renews only if nobody else has."""
        return await self._token(resource, scope, _value(refused))

    async def _token(self, resource: str | None, scope: str | None, refused: str | None) -> AccessToken:
        return await self._run(self._source.token(resource, scope, refused))

    def auth(self, resource: str | None = None, scope: str | None = None, *, sign: bool = False) -> AsyncSessionAuth:
        """Returns the `auth` of requests of `httpx.AsyncClient`. `sign` also signs each request."""
        return AsyncSessionAuth(self, resource, scope, sign)

    async def request(
        self,
        method: str,
        url: str,
        *,
        resource: str | None = None,
        scope: str | None = None,
        sign: bool = False,
        **options: Any,
    ) -> httpx.Response:
        """Sends a request with the token. Redirects are not followed, because the token is for this API.

        # Errors

        Those of `access_token`, `insecure_issuer` for a URL without https, `server_unavailable` if there is no
        response.
        """
        auth = self.auth(resource, scope, sign=sign)
        try:
            return await self._requests().request(method, url, auth=auth, **options)
        except httpx.TransportError as error:
            raise _unreachable(error) from error

    async def get(self, url: str, **options: Any) -> httpx.Response:
        """Sends a GET request with the token."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> httpx.Response:
        """Sends a POST request with the token."""
        return await self.request("POST", url, **options)

    async def call(self, operation: Operation[T]) -> T:
        """Calls an operation of the management API: see `Session.call`."""
        url = await self._run(self._url_steps(operation))
        return operation.result(await self.request(operation.method, url, **operation.options()))

    async def logout(self) -> str | None:
        """Revokes the session at the server and deletes its file: see `Session.logout`."""
        return await self._run(self._logout_steps())

    async def aclose(self) -> None:
        """Closes the connections."""
        self._forget_parent()
        self._runtime.close()
        for http in (self._http, self._protocol_http):
            if http is not None:
                await http.aclose()
        self._http = self._protocol_http = None

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _forget_parent(self) -> None:
        if self._process != os.getpid():
            self._protocol_http = None
        super()._forget_parent()

    async def _run(self, protocol: Protocol[T]) -> T:
        self._forget_parent()
        if self._protocol_http is None:
            self._protocol_http = async_client()
        return await run_async(protocol, self._runtime, self._protocol_http)

    def _requests(self) -> httpx.AsyncClient:
        self._forget_parent()
        if self._http is None:
            self._http = async_client(AGENT)
        http: httpx.AsyncClient = self._http
        return http


def _login(
    issuer: str | None,
    client_id: str | None,
    profile: str | None,
    scope: str | None,
    resource: str | None,
    home: str | PathLike[str] | None,
    runtime: Runtime | None,
) -> Login:
    source = _sources.stored(runtime or Runtime(), profile, None, None if home is None else str(home))
    file: SessionFile = source.file
    chosen = file.profile
    return Login(source.runtime, file, issuer or chosen.issuer, client_id or chosen.client_id, scope, resource)


async def _login_async(*arguments: Any) -> Login:
    """Returns a login in an asynchronous program: the configuration is read in a thread."""
    return await in_thread(lambda: _login(*arguments))


def login_with_device(
    issuer: str | None = None,
    client_id: str | None = None,
    *,
    profile: str | None = None,
    scope: str | None = None,
    resource: str | None = None,
    on_prompt: Callable[[DevicePrompt], Any] = print_prompt,
    home: str | PathLike[str] | None = None,
    _runtime: Runtime | None = None,
) -> Session:
    """Logs in a user who approves a code in any browser, and stores the session.

    By default, issuer and client are those of the profile.

    # Errors

    `access_denied`, `expired_token`, `invalid_client`, `invalid_scope`, `invalid_target`, `server_unavailable`,
    `invalid_response`, `insecure_issuer`, `storage_failed`, `lock_timeout`.
    """
    login = _login(issuer, client_id, profile, scope, resource, home, _runtime)
    with login.runtime.closing_on_error():
        run(login.with_device(on_prompt), login.runtime)
    return Session(_sources.StoredSource(login.runtime, login.file))


async def login_with_device_async(
    issuer: str | None = None,
    client_id: str | None = None,
    *,
    profile: str | None = None,
    scope: str | None = None,
    resource: str | None = None,
    on_prompt: Callable[[DevicePrompt], Any] = print_prompt,
    home: str | PathLike[str] | None = None,
    _runtime: Runtime | None = None,
) -> AsyncSession:
    """Logs in a user by the code of a device: see `login_with_device`. `on_prompt` can be asynchronous."""
    login = await _login_async(issuer, client_id, profile, scope, resource, home, _runtime)
    with login.runtime.closing_on_error():
        async with async_client() as http:
            await run_async(login.with_device(on_prompt), login.runtime, http)
    return AsyncSession(_sources.StoredSource(login.runtime, login.file))


def login_with_browser(
    issuer: str | None = None,
    client_id: str | None = None,
    *,
    profile: str | None = None,
    scope: str | None = None,
    resource: str | None = None,
    on_url: Callable[[str], Any] = open_browser,
    home: str | PathLike[str] | None = None,
    _runtime: Runtime | None = None,
) -> Session:
    """Logs in a user with a browser on this machine, and stores the session.

    # Errors

    Those of `login_with_device`. `expired_token` is also that the browser does not return within five minutes.
    """
    login = _login(issuer, client_id, profile, scope, resource, home, _runtime)
    with login.runtime.closing_on_error():
        run(login.with_browser(on_url), login.runtime)
    return Session(_sources.StoredSource(login.runtime, login.file))


async def login_with_browser_async(
    issuer: str | None = None,
    client_id: str | None = None,
    *,
    profile: str | None = None,
    scope: str | None = None,
    resource: str | None = None,
    on_url: Callable[[str], Any] = open_browser_async,
    home: str | PathLike[str] | None = None,
    _runtime: Runtime | None = None,
) -> AsyncSession:
    """Logs in a user with a browser on this machine: see `login_with_browser`. `on_url` can be asynchronous."""
    login = await _login_async(issuer, client_id, profile, scope, resource, home, _runtime)
    with login.runtime.closing_on_error():
        async with async_client() as http:
            await run_async(login.with_browser(on_url), login.runtime, http)
    return AsyncSession(_sources.StoredSource(login.runtime, login.file))


__all__ = [
    "AsyncSession",
    "Session",
    "login_with_browser",
    "login_with_browser_async",
    "login_with_device",
    "login_with_device_async",
]
