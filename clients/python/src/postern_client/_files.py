"""Files that only their user can change, and a folder for them."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
import time
from pathlib import Path
from typing import Any

from postern_client.errors import SessionInvalid, StorageFailed

#: After this time, the temporary file of a process that was killed is removed.
ABANDONED_S = 60
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def failed(verb: str, path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"Cannot {verb} {path}: {error.strerror or error}. Check its owner and permissions, and the space on the disk."
    )


def check_owner(path: Path, found: os.stat_result) -> None:
    """Refuses what another user could replace: a session of another issuer, or a lock that is not released.

    # Errors

    `storage_failed`
    """
    if sys.platform == "win32":
        return
    user = os.geteuid()
    if found.st_uid != user:
        raise StorageFailed(
            f"{path} belongs to another user: use a folder of your own, or take it over with `chown {user} '{path}'`."
        )
    if found.st_mode & WRITABLE_BY_OTHERS:
        raise StorageFailed(f"{path} can be changed by other users: run `chmod go-w '{path}'`.")


def check_folder(folder: Path) -> None:
    """Checks the owner of a folder, if it exists."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise failed("read", folder, error) from None
    check_owner(folder, found)


def read_text(path: Path) -> str | None:
    """Returns what is in a file of this user, or nothing if there is none.

    # Errors

    `storage_failed`, `session_invalid` if it is not text.
    """
    check_folder(path.parent)
    try:
        # Opening a pipe would wait for whoever writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed("read", path, error) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StorageFailed(f"{path} is not a file: delete it.")
        check_owner(path, found)
        with os.fdopen(descriptor, encoding="utf-8", closefd=False) as file:
            return file.read()
    except UnicodeDecodeError:
        raise SessionInvalid(f"{path} is not text: log in again to replace it, or delete it.") from None
    except OSError as error:
        raise failed("read", path, error) from None
    finally:
        os.close(descriptor)


def create_folder(folder: Path) -> None:
    """Creates a folder and those above it, for this user only.

    # Errors

    `storage_failed`, also if other users can change a folder that exists.
    """
    try:
        for level in reversed((folder, *folder.parents)):
            if not level.exists():
                level.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise failed("create", folder, error) from None
    check_folder(folder)


class Replacement:
    """A temporary file that will replace another: whoever reads it sees the old or the new one, as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = path.parent / f".{path.name}.{secrets.token_hex(8)}"
        try:
            self._file: Any = os.fdopen(os.open(self._own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        except OSError as error:
            raise failed("write", path, error) from None

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with contextlib.suppress(OSError):
            self._own.unlink(missing_ok=True)

    def write(self, content: bytes) -> None:
        """Writes to the disk and replaces the other file, so that the power can fail at any time."""
        try:
            with self._file as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._own, self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise failed("write", self._path, error) from None


def _sync_folder(folder: Path) -> None:
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_abandoned(path: Path) -> None:
    """Removes the temporary files of processes that were killed while they wrote. The caller has the lock."""
    with contextlib.suppress(OSError):
        for other in path.parent.glob(f".{path.name}.*"):
            if time.time() - other.stat().st_mtime > ABANDONED_S:
                other.unlink()
