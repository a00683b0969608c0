"""The file of a session, which programs in all languages share.

A file is replaced, never changed, so readers need no lock. Writers lock a file next to it: the kernel releases the
lock of a process that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from postern_client import _files, _keyring, _lock
from postern_client._document import Stored, parse
from postern_client._effects import Runtime
from postern_client._profile import DEFAULT_CLIENT_ID, DEFAULT_ISSUER, Profile, home_folder, profile
from postern_client.errors import LoginRequired, PosternError, SessionInvalid


class SessionFile:
    """The file of a session of a profile, and its lock."""

    def __init__(self, profile: Profile, folder: Path) -> None:
        self.profile = profile
        self.folder = folder
        self.path = folder / f"{profile.name}.json"
        self.lock_path = folder / f"{profile.name}.lock"

    @classmethod
    def of_profile(cls, name: str | None, home: Path | None) -> SessionFile:
        home = home or home_folder()
        return cls(profile(name, home), home / "sessions")

    @classmethod
    def at(cls, path: Path) -> SessionFile:
        """Returns the file of a session at any place. Its name is that of the profile."""
        if path.suffix != ".json":
            raise SessionInvalid(
                f"The path of a session must end in .json, because its lock is named after it: {path}."
            )
        return cls(Profile(path.stem, DEFAULT_ISSUER, DEFAULT_CLIENT_ID), path.parent)

    def login_required(self, why: str) -> LoginRequired:
        return LoginRequired(f"{why}: log in with `{self.profile.login_command}`, or by login_with_device().")

    def read(self) -> Stored:
        """Reads the file.

        # Errors

        `login_required` if there is none, `session_invalid`, `storage_failed`.
        """
        text = _files.read_text(self.path)
        if text is None:
            raise self.login_required(f"There is no session for the profile {self.profile.name}")
        return parse(self.path, text)

    def read_if_valid(self) -> Stored | None:
        """Returns the session, or nothing if there is none that can be read."""
        try:
            return self.read()
        except PosternError:
            return None

    def read_to_replace(self) -> Stored | None:
        """Returns the session that a login replaces, with its refresh token, wherever that is."""
        stored = self.read_if_valid()
        if stored is None or stored.storage == "file":
            return stored
        try:
            return replace(stored, refresh_token=_keyring.read(self.path))
        except PosternError:
            return stored

    def refresh_token(self, stored: Stored) -> str | None:
        """Returns the refresh token of a session, wherever it is."""
        return _keyring.read(self.path) if stored.storage == "keyring" else stored.refresh_token

    def check_writable(self) -> None:
        """Checks that a session can be stored, before a user is asked for one.

        # Errors

        `storage_failed`
        """
        _files.create_folder(self.folder)
        os.close(_lock.open_lock(self.lock_path))
        with _files.Replacement(self.path):
            pass

    @contextlib.contextmanager
    def replacement(self) -> Iterator[SessionReplacement]:
        """Creates the file that will replace the session. The caller has the lock.

        # Errors

        `storage_failed`
        """
        _files.remove_abandoned(self.path)
        with _files.Replacement(self.path) as file:
            yield SessionReplacement(self.path, file)

    def delete(self) -> None:
        """Deletes the file, also one that cannot be read, and the refresh token in the keyring."""
        try:
            with contextlib.suppress(PosternError):
                if b'"keyring"' in self.path.read_bytes():
                    _keyring.delete(self.path)
        except OSError:
            pass
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _files.failed("delete", self.path, error) from None

    @contextlib.contextmanager
    def lock(self, runtime: Runtime) -> Iterator[None]:
        """Locks the session against other threads and processes.

        # Errors

        `lock_timeout` after 30 seconds, `storage_failed`.
        """
        _files.create_folder(self.folder)
        with _lock.locked(self.lock_path, runtime):
            yield


class SessionReplacement:
    """The file that will replace that of a session."""

    def __init__(self, path: Path, file: _files.Replacement) -> None:
        self._path, self._file = path, file

    def write(self, stored: Stored) -> None:
        """Stores a session. A new refresh token goes to the keyring first, because the old one works no more."""
        if stored.storage == "keyring" and stored.refresh_token is not None:
            _keyring.store(self._path, stored.refresh_token)
        self._file.write(json.dumps(stored.members(), indent=1).encode())
