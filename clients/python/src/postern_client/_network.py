"""Requests of the protocol: each ends within its time, whatever the server does."""

from __future__ import annotations

import functools
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from postern_client._text import shown
from postern_client._version import __version__

#: The most that is read of a response.
MAX_BYTES = 1 << 20
HEADERS = {"User-Agent": f"postern-client-python/{__version__}", "Accept": "application/json"}
AGENT = {"User-Agent": HEADERS["User-Agent"]}
#: What is on this machine is not requested through a proxy, which would see the tokens.
DIRECT: Mapping[str, None] = {"all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None}
NOT_CONNECTED = (httpx.ConnectError, httpx.UnsupportedProtocol)


@dataclass(frozen=True)
class Send:
    """Sends a request. Its result is a `Response`, or a `Lost`."""

    method: str
    url: str
    timeout_s: float
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Response:
    """A complete response, and when its request was sent by the clock of the program."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    sent_at: float = 0.0


@dataclass(frozen=True)
class Lost:
    """No complete response. `was_sent` says whether the server may have seen the request."""

    cause: str
    was_sent: bool


@functools.cache
def certificates() -> ssl.SSLContext:
    """Returns the certificates that are trusted. To load them takes longer than a request, so it is done once."""
    return httpx.create_ssl_context()


def client(headers: Mapping[str, str], transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Returns a client that follows no redirects."""
    return httpx.Client(
        transport=transport, headers=headers, follow_redirects=False, verify=certificates(), mounts=DIRECT
    )


def async_client(headers: Mapping[str, str] = HEADERS) -> httpx.AsyncClient:
    """Returns a client that follows no redirects, for asynchronous programs."""
    return httpx.AsyncClient(headers=headers, follow_redirects=False, verify=certificates(), mounts=DIRECT)


class Connections:
    """Clients of which each sends one request at a time, so that closing one ends no other request."""

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._idle: list[httpx.Client] = []
        self._is_closed = False

    def close(self) -> None:
        """Closes the connections that are idle now, and the others when their requests have ended."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def send(self, request: Send) -> Response | Lost:
        """Sends a request, and gives it up when its time has passed."""
        with self._lock:
            one = self._idle.pop() if self._idle else None
        one = one or client(HEADERS, self._transport)
        exchange = _Exchange(request, one)
        try:
            exchange.is_done.wait(request.timeout_s)
        finally:
            is_done = exchange.is_done.is_set()
            with self._lock:
                is_kept = is_done and not self._is_closed
                if is_kept:
                    self._idle.append(one)
            if not is_kept:
                one.close()
        return exchange.result() if is_done else _late(request)


class _Exchange:
    """A request in a thread of its own: the limits of httpx are for each part of a response, and not for all."""

    def __init__(self, request: Send, one: httpx.Client) -> None:
        self._request, self._client = request, one
        self._outcome: Response | Lost | BaseException
        self.is_done = threading.Event()
        threading.Thread(target=self._run, name="postern-request", daemon=True).start()

    def result(self) -> Response | Lost:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _run(self) -> None:
        try:
            self._outcome = self._receive()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._outcome = _lost(error, self._request.url)
        except BaseException as error:
            self._outcome = error
        finally:
            self.is_done.set()

    def _receive(self) -> Response:
        request = self._request
        with self._client.stream(request.method, request.url, **_options(request)) as response:
            body = bytearray()
            for part in response.iter_bytes():
                _add(body, part)
            return Response(response.status_code, response.headers, bytes(body))


async def send_async(request: Send, one: httpx.AsyncClient) -> Response | Lost:
    """Sends a request in a task, and gives it up when its time has passed."""
    with anyio.move_on_after(request.timeout_s):
        try:
            async with one.stream(request.method, request.url, **_options(request)) as response:
                body = bytearray()
                async for part in response.aiter_bytes():
                    _add(body, part)
                return Response(response.status_code, response.headers, bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _lost(error, request.url)
    return _late(request)


def _options(request: Send) -> dict[str, Any]:
    data = None if request.form is None else dict(request.form)
    return {"data": data, "headers": dict(request.headers), "timeout": request.timeout_s}


def _add(body: bytearray, part: bytes) -> None:
    body += part
    if len(body) > MAX_BYTES:
        raise httpx.RemoteProtocolError("the response is too long")


def _late(request: Send) -> Lost:
    return Lost(f"{request.url}: it did not respond in time", was_sent=True)


def _lost(error: httpx.HTTPError | httpx.InvalidURL, url: str) -> Lost:
    """Returns what is known about a request that failed. Only a connection that was refused sent nothing for sure."""
    if isinstance(error, httpx.TimeoutException):
        return Lost(f"{url}: it did not respond in time", was_sent=True)
    # The text of an error can quote the response.
    cause = shown(str(error)) or type(error).__name__
    return Lost(f"{url}: {cause}", was_sent=not isinstance(error, (*NOT_CONNECTED, httpx.InvalidURL)))
