"""Locks between threads that a forked process does not inherit."""

from __future__ import annotations

import os
import threading


class Mutex:
    """A lock between the threads of one process.

    A process that is forked while a thread has the lock gets another one: that thread does not exist there, and would
    never release it.
    """

    def __init__(self) -> None:
        self._of_process = os.getpid(), threading.Lock()

    @property
    def lock(self) -> threading.Lock:
        process, lock = self._of_process
        if process != os.getpid():
            lock = threading.Lock()
            self._of_process = os.getpid(), lock
        return lock
