"""Steps that are executed once for everybody who needs their outcome at the same time."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from postern_client._effects import Complete, Protocol, Runtime, Wait

T = TypeVar("T")


class _Outcome(Generic[T]):
    """The result or the error of a step that is being executed."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.has_begun = False
        self.is_done = threading.Event()
        self.values: list[T] = []
        self.error: Exception | None = None

    @property
    def is_known(self) -> bool:
        """Returns whether the step has ended, and was not interrupted."""
        return bool(self.values) or self.error is not None

    def result(self) -> T:
        if self.error is not None:
            # A copy: each caller adds its own traceback.
            raise copy.copy(self.error)
        return self.values[0]


class Shared(Generic[T]):
    """Executes a step once for all threads and tasks that ask before it has ended. Its error is shared, too."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Outcome[T]] = {}

    def run(self, key: Hashable, step: Callable[[], Protocol[T]], *, is_completed: bool = False) -> Protocol[T]:
        """Returns the result of a step. `is_completed`: it is executed to its end, whatever interrupts the caller."""
        while True:
            own: _Outcome[T] = _Outcome()
            outcome = self._running.setdefault(key, own)
            if outcome.process != own.process:
                # Its thread is in the parent of this process.
                self._end(key, outcome)
                continue
            if outcome is own:
                yield from self._execute(key, own, step, is_completed)
            else:
                yield Wait(outcome.is_done)
            if outcome.is_known:
                return outcome.result()

    def _execute(
        self, key: Hashable, own: _Outcome[T], step: Callable[[], Protocol[T]], is_completed: bool
    ) -> Protocol[None]:
        try:
            if is_completed:
                yield Complete(lambda: self._settle(key, own, step))
            else:
                yield from self._settle(key, own, step)
        except BaseException:
            # Once it has begun, it may still be executed in its thread.
            if not own.has_begun:
                self._end(key, own)
            raise

    def _settle(self, key: Hashable, own: _Outcome[T], step: Callable[[], Protocol[T]]) -> Protocol[None]:
        own.has_begun = True
        try:
            own.values.append((yield from step()))
        except Exception as error:
            own.error = error
        finally:
            self._end(key, own)

    def _end(self, key: Hashable, outcome: _Outcome[T]) -> None:
        # Only this outcome: another one can have begun since.
        if self._running.get(key) is outcome:
            self._running.pop(key, None)
        outcome.is_done.set()


class Recent(Generic[T]):
    """A value that is fetched when it is too old, once for all who need it.

    `pause_s` is how long the error of a fetch is the answer to others: a server that fails is not asked at each call.
    """

    def __init__(self, runtime: Runtime, life_s: float, pause_s: float = 0) -> None:
        self._runtime, self._life_s, self._pause_s = runtime, life_s, pause_s
        self._fetches: Shared[T] = Shared()
        self._known: tuple[float, T] | None = None
        self._failed: tuple[float, Exception] | None = None

    def get(self, fetch: Callable[[], Protocol[T]], life_s: float | None = None) -> Protocol[T]:
        """Returns the value, which is at most `life_s` old."""
        life_s = self._life_s if life_s is None else life_s
        if current := self._current(life_s):
            return current[0]
        return (yield from self._fetches.run(None, lambda: self._fetch(fetch, life_s)))

    def _current(self, life_s: float) -> list[T]:
        """Returns what is known, if anything; raises the error of a fetch that has just failed."""
        known, failed = self._known, self._failed
        if known is not None and self._age(known[0]) <= life_s:
            return [known[1]]
        if failed is not None and self._age(failed[0]) < self._pause_s:
            raise copy.copy(failed[1])
        return []

    def _fetch(self, fetch: Callable[[], Protocol[T]], life_s: float) -> Protocol[T]:
        # Another caller can have fetched it since.
        if current := self._current(life_s):
            return current[0]
        try:
            value = yield from fetch()
        except Exception as error:
            self._failed = self._runtime.monotonic(), error
            raise
        self._known, self._failed = (self._runtime.monotonic(), value), None
        return value

    def _age(self, at: float) -> float:
        return self._runtime.monotonic() - at
