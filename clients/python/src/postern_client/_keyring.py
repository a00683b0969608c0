"""Refresh tokens in the keyring of the operating system, in the same entries as the packages in other languages."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from postern_client.errors import StorageFailed

T = TypeVar("T")
SERVICE = "postern"
#: A keyring that asks the user for a password, or is not there, must not block a program.
TIMEOUT_S = 5


class Entry(Protocol):
    """Where the keyring has a refresh token."""

    def read(self) -> str | None:
        """Returns the token, or nothing if there is none."""

    def store(self, token: str) -> None:
        """Stores a token in place of another."""

    def delete(self) -> None:
        """Deletes the token, if there is one."""


class _Password:
    """A password of the keychain of macOS, or of the credentials of Windows."""

    def __init__(self, service: str, user: str) -> None:
        import keyring  # noqa: PLC0415

        self._keyring: Any = keyring
        self._service, self._user = service, user

    def read(self) -> str | None:
        token: str | None = self._keyring.get_password(self._service, self._user)
        return token

    def store(self, token: str) -> None:
        self._keyring.set_password(self._service, self._user, token)

    def delete(self) -> None:
        if self.read() is not None:
            self._keyring.delete_password(self._service, self._user)


class _Secret:
    """An item of the Secret Service.

    The package keyring would add an item to that of a program in Rust, because it compares one attribute more. Either
    of the two would then be read, also the one whose token was spent.
    """

    def __init__(self, user: str) -> None:
        import secretstorage  # noqa: PLC0415

        self._api: Any = secretstorage
        self._user = user
        self._attributes = {"service": SERVICE, "username": user}

    def read(self) -> str | None:
        with self._items() as (_, items):
            return str(items[0].get_secret(), "utf-8") if items else None

    def store(self, token: str) -> None:
        with self._items() as (connection, items):
            if items:
                items[0].set_secret(token.encode())
                return
            collection = self._api.get_default_collection(connection)
            collection.unlock()
            collection.create_item(f"keyring:{self._user}@{SERVICE}", self._attributes, token.encode(), replace=True)

    def delete(self) -> None:
        with self._items() as (_, items):
            for item in items:
                item.delete()

    @contextlib.contextmanager
    def _items(self) -> Iterator[tuple[Any, list[Any]]]:
        with contextlib.closing(self._api.dbus_init()) as connection:
            items = list(self._api.search_items(connection, self._attributes))
            for item in items:
                item.unlock()
            yield connection, items


def entry_of(session_file: Path, platform: str = sys.platform) -> Entry:
    """Returns the entry of a session. Its user is the path of the file, in all languages."""
    user = str(session_file.absolute())
    if platform == "win32":
        # The package for Rust gives each credential this name.
        return _Password(f"{user}.{SERVICE}", user)
    return _Password(SERVICE, user) if platform == "darwin" else _Secret(user)


def read(session_file: Path) -> str | None:
    """Returns the refresh token of a session.

    # Errors

    `storage_failed`, as of all functions here.
    """
    return _call(session_file, lambda entry: entry.read())


def store(session_file: Path, token: str) -> None:
    """Stores the refresh token of a session."""
    _call(session_file, lambda entry: entry.store(token))


def delete(session_file: Path) -> None:
    """Deletes the refresh token of a session, if there is one."""
    _call(session_file, lambda entry: entry.delete())


def _call(session_file: Path, operation: Callable[[Entry], T]) -> T:
    """Uses the entry of a session in a thread of its own."""
    try:
        entry = entry_of(session_file)
    except ImportError:
        raise StorageFailed(
            f"The refresh token of {session_file} is in the keyring: install postern-client[keyring]."
        ) from None
    results: list[T] = []
    problems = ["it does not respond"]

    def target() -> None:
        try:
            results.append(operation(entry))
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
