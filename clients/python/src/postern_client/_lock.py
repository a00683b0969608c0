"""The lock of a session, against the threads of this process and against other processes in all languages."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from postern_client._effects import Runtime
from postern_client._files import check_owner, failed
from postern_client._mutex import Mutex
from postern_client.errors import LockTimeout

WAIT_S = 30
POLL_S = (0.025, 0.075)

_mutexes: dict[str, Mutex] = {}


def try_lock(descriptor: int) -> bool:
    """Locks a whole file, without waiting. The lock belongs to the open file, not to the process."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        elif sys.platform == "linux":
            import fcntl  # noqa: PLC0415

            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _record(fcntl.F_WRLCK))
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(descriptor: int) -> None:
    """Unlocks a file. Closing it is not enough: a process that was forked meanwhile has it open, too."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        elif sys.platform == "linux":
            import fcntl  # noqa: PLC0415

            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _record(fcntl.F_UNLCK))
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _record(kind: int) -> bytes:
    """Returns a `struct flock`: type, whence, start, length (0: to the end), process (0 for these locks)."""
    return struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0)


def open_lock(path: Path) -> int:
    """Opens the lock file, and creates it if there is none. It is never deleted.

    # Errors

    `storage_failed`
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise failed("open", path, error) from None
    try:
        check_owner(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def locked(path: Path, runtime: Runtime) -> Iterator[None]:
    """Has the lock of a session until the end of a block.

    # Errors

    `lock_timeout` after 30 seconds, `storage_failed`.
    """
    end = runtime.monotonic() + WAIT_S
    mutex = _mutexes.setdefault(os.path.realpath(path), Mutex()).lock
    while not mutex.acquire(blocking=False):
        _wait(path, runtime, end)
    process = os.getpid()
    try:
        descriptor = open_lock(path)
        try:
            _lock(path, descriptor, runtime, end)
            yield
        finally:
            # In a process that was forked meanwhile, the lock is still that of its parent.
            if process == os.getpid():
                unlock(descriptor)
            os.close(descriptor)
    finally:
        mutex.release()


def _lock(path: Path, descriptor: int, runtime: Runtime, end: float) -> None:
    try:
        while not try_lock(descriptor):
            _wait(path, runtime, end)
    except OSError as error:
        raise failed("lock", path, error) from None


def _wait(path: Path, runtime: Runtime, end: float) -> None:
    if runtime.monotonic() > end:
        raise LockTimeout(f"{path} has been locked by another program for {WAIT_S} seconds: end it, and try again.")
    runtime.sleep(POLL_S[0] + (POLL_S[1] - POLL_S[0]) * runtime.random())
