"""Refresh tokens in the keyring of the operating system."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from postern_client.errors import StorageFailed

T = TypeVar("T")
SERVICE = "postern"
#: A keyring that asks the user for a password, or is not there, must not block a program.
TIMEOUT_S = 5


def read(session_file: Path) -> str | None:
    """Returns the refresh token of a session.

    # Errors

    `storage_failed`, as of all functions here.
    """
    token: str | None = _call(session_file, lambda keyring, user: keyring.get_password(SERVICE, user))
    return token


def store(session_file: Path, token: str) -> None:
    """Stores the refresh token of a session."""
    _call(session_file, lambda keyring, user: keyring.set_password(SERVICE, user, token))


def delete(session_file: Path) -> None:
    """Deletes the refresh token of a session, if there is one."""

    def delete_entry(keyring: Any, user: str) -> None:
        if keyring.get_password(SERVICE, user) is not None:
            keyring.delete_password(SERVICE, user)

    _call(session_file, delete_entry)


def _call(session_file: Path, operation: Callable[[Any, str], T]) -> T:
    """Calls the keyring in a thread of its own. The user of an entry is the path of the session, in all languages."""
    try:
        import keyring  # noqa: PLC0415
    except ImportError:
        raise StorageFailed(
            f"The refresh token of {session_file} is in the keyring: install postern-client[keyring]."
        ) from None
    results: list[T] = []
    problems = ["it does not respond"]

    def target() -> None:
        try:
            results.append(operation(keyring, str(session_file.absolute())))
        except Exception as error:
            # Its text could contain the token.
            problems.append(type(error).__name__)

    thread = threading.Thread(target=target, name="postern-keyring", daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if results:
        return results[0]
    raise StorageFailed(
        f"The keyring of the operating system cannot be used: {problems[-1]}. Unlock it, or log in again."
    )
