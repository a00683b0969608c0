"""What the protocol asks of the outside world, and the two ways to do it.

The protocol is written once, as generators. They yield effects and receive results; `run` and `run_async` execute
the effects. Nothing else in the package exists twice for synchronous and asynchronous programs.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx

from postern_client._mutex import Mutex
from postern_client._network import Connections, Send, send_async

T = TypeVar("T")
#: A step of the protocol: yields effects, and returns a result.
Protocol = Generator[Any, Any, T]
#: How often a task looks whether another one, or a thread, has ended.
POLL_S = 0.01
#: How many threads of an event loop read files at the same time.
READERS = 8


@dataclass(frozen=True)
class Sleep:
    """Waits for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Wait:
    """Waits for another task or thread."""

    event: threading.Event


@dataclass(frozen=True)
class Call:
    """Calls a function of the program, which can be asynchronous in asynchronous programs."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Blocking:
    """Calls a function that reads or writes files, in a thread, so that no event loop waits for the disk."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Complete:
    """Executes a step to its end, whatever interrupts the program meanwhile.

    A refresh that is interrupted between the server and the file loses the session. So it runs in a thread of its
    own: neither the cancellation of a task nor Ctrl-C ends it.
    """

    step: Callable[[], Protocol[Any]]


@dataclass
class Runtime:
    """Time, randomness and connections, which tests replace."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    transport: httpx.BaseTransport | None = None
    _connections: Connections | None = None
    _async_sleep: Callable[[float], Any] = anyio.sleep
    _mutex: Mutex = field(default_factory=Mutex)
    _busy: int = 0
    _is_closing: bool = False
    _process: int = field(default_factory=os.getpid)

    def connections(self) -> Connections:
        """Returns the connections for requests of the protocol."""
        self._forget_parent()
        with self._mutex.lock:
            self._is_closing = self._is_closing and self._busy > 0
            if self._connections is None:
                self._connections = Connections(self.transport)
            return self._connections

    def close(self) -> None:
        """Closes the connections, once nothing that must be completed needs them."""
        self._forget_parent()
        with self._mutex.lock:
            self._is_closing = True
            self._close_if_idle()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Keeps the connections open meanwhile."""
        self._forget_parent()
        with self._mutex.lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._mutex.lock:
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
        if self._is_closing and self._busy == 0 and self._connections is not None:
            self._connections.close()
            self._connections = None

    def _forget_parent(self) -> None:
        """After a fork, leaves the connections and the renewals of the parent to it."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._connections, self._busy, self._is_closing = None, 0, False


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
            return runtime.connections().send(effect)
        case Sleep():
            return runtime.sleep(effect.seconds)
        case Wait():
            return effect.event.wait()
        case Call() | Blocking():
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


_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("postern_readers")


async def in_thread(function: Callable[[], T]) -> T:
    """Calls a function that reads files, in a thread."""
    return await anyio.to_thread.run_sync(function, limiter=_readers())


def _readers() -> anyio.CapacityLimiter:
    """Returns the limiter of the threads that read files, which belongs to the event loop."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(READERS)
        _limiter.set(limiter)
        return limiter


async def _execute_async(effect: Any, runtime: Runtime, client: httpx.AsyncClient) -> Any:
    match effect:
        case Send():
            return await send_async(effect, client)
        case Sleep():
            return await runtime._async_sleep(effect.seconds)
        case Wait():
            # An event of anyio cannot be set by another thread.
            while not effect.event.is_set():  # noqa: ASYNC110
                await anyio.sleep(POLL_S)
            return None
        case Call():
            result = effect.function()
            return await result if inspect.isawaitable(result) else result
        case Blocking():
            return await in_thread(effect.function)
        case Complete():
            # Threads of the program, which can all be waiting for a token, must not keep this one from running.
            limiter = anyio.CapacityLimiter(1)
            return await anyio.to_thread.run_sync(lambda: _complete(effect, runtime), limiter=limiter)
    raise TypeError(effect)
