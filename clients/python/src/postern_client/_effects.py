"""What the protocol asks of the outside world, and the two ways to do it.

The protocol is written once, as generators. They yield effects and receive results; `run` and `run_async` execute
the effects. Nothing else in the package exists twice for synchronous and asynchronous programs.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import random
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx

from postern_client._version import __version__

T = TypeVar("T")
#: A step of the protocol: yields effects, and returns a result.
Protocol = Generator[Any, Any, T]

#: The most that is read of an answer.
MAX_BYTES = 1 << 20
HEADERS = {"User-Agent": f"postern-client-python/{__version__}", "Accept": "application/json"}


@dataclass(frozen=True)
class Send:
    """Sends a request. Its result is a `Reply`, or a `Lost`."""

    method: str
    url: str
    timeout_s: float
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Reply:
    """A complete answer."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Lost:
    """No complete answer. `was_sent` says whether the server may have seen the request."""

    cause: str
    was_sent: bool


@dataclass(frozen=True)
class Sleep:
    """Waits for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Call:
    """Calls a function of the program, which can be asynchronous in asynchronous programs."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Complete:
    """Executes a step to its end, whatever interrupts the program meanwhile.

    A refresh that is interrupted between the server and the file loses the session. So it runs in a thread of its
    own: neither the cancellation of a task nor Ctrl-C ends it.
    """

    step: Callable[[], Protocol[Any]]


@functools.cache
def certificates() -> ssl.SSLContext:
    """Returns the certificates that are trusted. To load them takes longer than a request, so it is done once."""
    return httpx.create_ssl_context()


@dataclass
class Runtime:
    """Time, randomness and connections, which tests replace."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    transport: httpx.BaseTransport | None = None
    _client: httpx.Client | None = None
    _async_sleep: Callable[[float], Any] = anyio.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _busy: int = 0
    _is_closing: bool = False

    def client(self) -> httpx.Client:
        """Returns the client for requests of the protocol. It follows no redirects."""
        with self._lock:
            self._is_closing = self._is_closing and self._busy > 0
            if self._client is None:
                options: dict[str, Any] = {"headers": HEADERS, "follow_redirects": False, "verify": certificates()}
                self._client = httpx.Client(transport=self.transport, **options)
            return self._client

    def close(self) -> None:
        """Closes the connections, once nothing that must be completed needs them."""
        with self._lock:
            self._is_closing = True
            self._close_if_idle()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Keeps the connections open meanwhile."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                self._close_if_idle()

    @contextlib.contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Closes the connections if there will be no session that does."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _close_if_idle(self) -> None:
        if self._is_closing and self._busy == 0 and self._client is not None:
            self._client.close()
            self._client = None


def _options(effect: Send) -> dict[str, Any]:
    data = None if effect.form is None else dict(effect.form)
    return {"data": data, "headers": dict(effect.headers), "timeout": effect.timeout_s}


def _lost(error: httpx.HTTPError, url: str) -> Lost:
    unsent = isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol
    )
    timeout = isinstance(error, httpx.TimeoutException)
    text = "it did not answer in time" if timeout else str(error) or type(error).__name__
    return Lost(f"{url}: {text}", was_sent=not unsent)


class _Body:
    """Collects the parts of an answer, within a size and a time."""

    def __init__(self, effect: Send) -> None:
        self.parts = bytearray()
        self.end = time.monotonic() + effect.timeout_s

    def add(self, part: bytes) -> None:
        self.parts += part
        if len(self.parts) > MAX_BYTES:
            raise httpx.RemoteProtocolError("the answer is too long")
        if time.monotonic() > self.end:
            raise httpx.ReadTimeout("the answer did not end in time")


def _send(effect: Send, client: httpx.Client) -> Reply | Lost:
    try:
        with client.stream(effect.method, effect.url, **_options(effect)) as response:
            body = _Body(effect)
            for part in response.iter_bytes():
                body.add(part)
            return Reply(response.status_code, response.headers, bytes(body.parts))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _lost(error if isinstance(error, httpx.HTTPError) else httpx.UnsupportedProtocol(str(error)), effect.url)


async def _send_async(effect: Send, client: httpx.AsyncClient) -> Reply | Lost:
    try:
        async with client.stream(effect.method, effect.url, **_options(effect)) as response:
            body = _Body(effect)
            async for part in response.aiter_bytes():
                body.add(part)
            return Reply(response.status_code, response.headers, bytes(body.parts))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _lost(error if isinstance(error, httpx.HTTPError) else httpx.UnsupportedProtocol(str(error)), effect.url)


def _complete(effect: Complete, runtime: Runtime) -> Any:
    """Executes a step in this thread."""
    with runtime.busy():
        return run(effect.step(), runtime, is_thread=True)


def _in_thread(work: Callable[[], T]) -> T:
    """Runs work in a thread that an interruption of this one does not end."""
    result: list[T] = []
    errors: list[BaseException] = []
    is_done = threading.Event()

    def target() -> None:
        try:
            result.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            is_done.set()

    # Not a daemon: the interpreter waits for it at its end. `join` would make it forget the thread when Ctrl-C
    # interrupts it.
    threading.Thread(target=target, name="postern-renewal").start()
    is_done.wait()
    if errors:
        raise errors[0]
    return result[0]


def run(protocol: Protocol[T], runtime: Runtime, *, is_thread: bool = False) -> T:
    """Executes a protocol in this thread."""
    result: Any = None
    error: BaseException | None = None
    try:
        while True:
            effect = protocol.throw(error) if error else protocol.send(result)
            result, error = None, None
            try:
                result = _execute(effect, runtime, is_thread)
            except BaseException as failure:
                error = failure
    except StopIteration as stop:
        value: T = stop.value
        return value


def _execute(effect: Any, runtime: Runtime, is_thread: bool) -> Any:
    match effect:
        case Send():
            return _send(effect, runtime.client())
        case Sleep():
            return runtime.sleep(effect.seconds)
        case Call():
            return effect.function()
        case Complete() if is_thread:
            return run(effect.step(), runtime, is_thread=True)
        case Complete():
            return _in_thread(lambda: _complete(effect, runtime))
    raise TypeError(effect)


async def run_async(protocol: Protocol[T], runtime: Runtime, client: httpx.AsyncClient) -> T:
    """Executes a protocol in a task, with any event loop that anyio supports."""
    result: Any = None
    error: BaseException | None = None
    try:
        while True:
            effect = protocol.throw(error) if error else protocol.send(result)
            result, error = None, None
            try:
                result = await _execute_async(effect, runtime, client)
            except BaseException as failure:
                error = failure
    except StopIteration as stop:
        value: T = stop.value
        return value


async def _execute_async(effect: Any, runtime: Runtime, client: httpx.AsyncClient) -> Any:
    match effect:
        case Send():
            return await _send_async(effect, client)
        case Sleep():
            return await runtime._async_sleep(effect.seconds)
        case Call():
            result = effect.function()
            return await result if inspect.isawaitable(result) else result
        case Complete():
            return await anyio.to_thread.run_sync(lambda: _complete(effect, runtime))
    raise TypeError(effect)


def async_client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Returns a client for requests of the protocol. It follows no redirects."""
    return httpx.AsyncClient(transport=transport, headers=HEADERS, follow_redirects=False, verify=certificates())
