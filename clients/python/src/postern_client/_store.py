"""Profiles, and the file of a session, which programs in all languages share.

A file is replaced, never changed, so readers need no lock. Writers lock a file next to it: the kernel releases the
lock of a process that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postern_client._effects import Runtime
from postern_client._token import AccessToken, Tokens, is_fresh
from postern_client.errors import LockTimeout, LoginRequired, PosternError, SessionInvalid, StorageFailed

LOCK_WAIT_S = 30
POLL_S = (0.025, 0.075)
LEFTOVER_S = 60
DEFAULT_ISSUER = "http://127.0.0.1:9000"
DEFAULT_CLIENT_ID = "postern-cli"
KEYRING_SERVICE = "postern"
PROFILE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def home_folder() -> Path:
    """Returns the folder of profiles and sessions."""
    if given := os.environ.get("POSTERN_HOME"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home()) / "postern"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "postern"


@dataclass(frozen=True)
class Profile:
    """A deployment, and the client as which this program signs in there."""

    name: str
    issuer: str
    client_id: str

    @property
    def login_command(self) -> str:
        return "postern login" if self.name == "default" else f"postern login --profile {self.name}"


def profile(name: str | None = None, home: Path | None = None) -> Profile:
    """Returns a profile: by default that of `POSTERN_PROFILE`, else the default of `config.json`.

    # Errors

    `session_invalid` if the name or the file is not valid, `storage_failed` if it cannot be read.
    """
    path = (home or home_folder()) / "config.json"
    config = _object(path, read_text(path)) if path.exists() else {}
    profiles = config.get("profiles")
    profiles = profiles if isinstance(profiles, dict) else {}
    default = config.get("default_profile")
    chosen = name or os.environ.get("POSTERN_PROFILE") or (default if isinstance(default, str) else "default")
    if not PROFILE.fullmatch(chosen):
        raise SessionInvalid(f"{chosen!r} is not the name of a profile: use up to 64 of a-z, 0-9, '.', '_' and '-'.")
    settings = profiles.get(chosen)
    settings = settings if isinstance(settings, dict) else {}
    issuer = settings.get("issuer") or os.environ.get("POSTERN_ISSUER") or DEFAULT_ISSUER
    return Profile(chosen, str(issuer), str(settings.get("client_id") or DEFAULT_CLIENT_ID))


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SessionInvalid(f"{path} is not text: sign in again to replace it, or delete it.") from None
    except OSError as error:
        raise _failed("read", path, error) from None


def _failed(verb: str, path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"Cannot {verb} {path}: {error.strerror or error}. Check the permissions of the folder and the disk."
    )


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise SessionInvalid(f"{path} is not a JSON object: sign in again to replace it, or delete it.")
    return members


def scopes(text: str | None) -> frozenset[str] | None:
    """Returns scopes as a set, because their order means nothing."""
    return None if text is None else frozenset(text.split())


@dataclass(frozen=True)
class Entry:
    """An access token in the file, by what was requested."""

    resource: str | None
    scope: str | None
    access: AccessToken
    obtained_at: float

    def serves(self, resource: str | None, scope: str | None) -> bool:
        return self.resource == resource and scopes(self.scope) == scopes(scope)

    def members(self) -> dict[str, Any]:
        return {
            "resource": self.resource,
            "scope": self.scope,
            "value": self.access.value,
            "token_type": self.access.token_type,
            "granted_scope": self.access.scope,
            "obtained_at": self.obtained_at,
            "expires_at": self.access.expires_at,
        }


@dataclass(frozen=True)
class Stored:
    """What the file of a session says. Members that this version does not know are kept."""

    issuer: str
    client_id: str
    storage: str
    refresh_token: str | None = field(repr=False)
    scope: str | None
    entries: tuple[Entry, ...] = field(repr=False)
    others: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def fresh(
        self, resource: str | None, scope: str | None, now: float, refused: str | None, *, is_urgent: bool = False
    ) -> AccessToken | None:
        """Returns a token that can still be used, and that is not the one that was refused."""
        for entry in self.entries:
            is_current = is_fresh(entry.obtained_at, entry.access.expires_at, now, is_urgent=is_urgent)
            if entry.serves(resource, scope) and is_current and entry.access.value != refused:
                return entry.access
        return None

    def renewed(self, resource: str | None, scope: str | None, tokens: Tokens, now: float) -> Stored:
        """Returns the session after a renewal."""
        kept = [entry for entry in self.entries if not entry.serves(resource, scope) and entry.access.expires_at > now]
        kept.append(Entry(resource, scope, tokens.access, tokens.obtained_at))
        return Stored(
            self.issuer,
            self.client_id,
            self.storage,
            tokens.refresh_token or self.refresh_token,
            self.scope or tokens.access.scope,
            tuple(kept),
            self.others,
        )

    def members(self) -> dict[str, Any]:
        known: dict[str, Any] = {
            "version": 1, "issuer": self.issuer, "client_id": self.client_id, "storage": self.storage,
        }  # fmt: skip
        if self.refresh_token is not None and self.storage == "file":
            known["refresh_token"] = self.refresh_token
        if self.scope is not None:
            known["scope"] = self.scope
        known["access_tokens"] = [entry.members() for entry in self.entries]
        return {**known, **self.others}


def _parse(path: Path, text: str) -> Stored:
    members = _object(path, text)

    def invalid(what: str) -> SessionInvalid:
        return SessionInvalid(f"{path} {what}: sign in again to replace it, or delete it.")

    version = members.pop("version", None)
    if version != 1 or isinstance(version, bool):
        raise SessionInvalid(
            f"{path} has a version that this program does not know: update the program, or sign in again."
        )

    def text_member(source: dict[str, Any], name: str, default: Any) -> Any:
        value = source.pop(name, None)
        value = default if value is None else value
        if value is not None and not isinstance(value, str):
            raise invalid(f"has a {name} that is not text")
        return value

    def entry(members: Any) -> Entry:
        if not isinstance(members, dict):
            raise invalid("has an access token that is not an object")
        source = dict(members)
        times = [source.get("obtained_at"), source.get("expires_at")]
        obtained_at, expires_at = (
            time if isinstance(time, int | float) and not isinstance(time, bool) else None for time in times
        )
        value = text_member(source, "value", None)
        if value is None or obtained_at is None or expires_at is None:
            raise invalid("has an access token without a value or a time")
        kind, granted = text_member(source, "token_type", "Bearer"), text_member(source, "granted_scope", None)
        resource, scope = text_member(source, "resource", None), text_member(source, "scope", None)
        return Entry(resource, scope, AccessToken(value, expires_at, granted, kind), obtained_at)

    found = {name: text_member(members, name, None) for name in ("issuer", "client_id", "refresh_token", "scope")}
    for name in ("issuer", "client_id"):
        if not found[name]:
            raise invalid(f"has no {name}")
    storage = text_member(members, "storage", "file")
    if storage not in ("file", "keyring"):
        raise invalid("has a storage that is neither file nor keyring")
    entries = members.pop("access_tokens", [])
    if not isinstance(entries, list):
        raise invalid("has access_tokens that are not a list")
    tokens = tuple(entry(one) for one in entries)
    return Stored(found["issuer"], found["client_id"], storage, found["refresh_token"], found["scope"], tokens, members)


_mutexes: dict[str, threading.Lock] = {}
_mutexes_lock = threading.Lock()


def _mutex(path: Path) -> threading.Lock:
    with _mutexes_lock:
        return _mutexes.setdefault(os.path.realpath(path), threading.Lock())


def _try_lock(descriptor: int) -> bool:
    """Locks a whole file, without waiting. The lock belongs to the open file, not to the process."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        elif sys.platform == "linux":
            import fcntl  # noqa: PLC0415

            # struct flock: type, whence, start, length (0: to the end), process (0 for these locks)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


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
        if path.suffix != ".json" or not PROFILE.fullmatch(path.stem):
            raise SessionInvalid(f"{path} is not the file of a session: its name must be a profile and end in .json.")
        return cls(Profile(path.stem, DEFAULT_ISSUER, DEFAULT_CLIENT_ID), path.parent)

    def login_required(self, why: str) -> LoginRequired:
        return LoginRequired(f"{why}: sign in with `{self.profile.login_command}`, or by login_with_device().")

    def read(self) -> Stored:
        """Reads the file.

        # Errors

        `login_required` if there is none, `session_invalid`, `storage_failed`.
        """
        try:
            # Another user of the machine must not make this program wait, or use their session.
            stored = _parse(self.path, read_text(self.path))
        except StorageFailed:
            if self.path.exists():
                raise
            raise self.login_required(f"There is no session for the profile {self.profile.name}") from None
        if stored.storage == "keyring":
            return Stored(**{**vars(stored), "refresh_token": self._keyring().get_password(*self._keyring_entry)})
        return stored

    def write(self, stored: Stored) -> None:
        """Replaces the file: whoever reads it sees the old or the new one, whenever the power fails."""
        if stored.storage == "keyring" and stored.refresh_token is not None:
            self._keyring().set_password(*self._keyring_entry, stored.refresh_token)
        self._remove_leftovers()
        path = self.folder / f".{self.path.name}.{secrets.token_hex(8)}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(stored.members(), file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(path, self.path)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self._sync_folder()
        except OSError as error:
            raise _failed("write", self.path, error) from None

    def delete(self) -> None:
        try:
            if self.path.exists() and '"keyring"' in read_text(self.path):
                with contextlib.suppress(Exception):
                    self._keyring().delete_password(*self._keyring_entry)
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("delete", self.path, error) from None

    def _sync_folder(self) -> None:
        if sys.platform != "win32":
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _remove_leftovers(self) -> None:
        """Removes what killed processes have left. The caller has the lock."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f".{self.path.name}.*"):
                if time.time() - path.stat().st_mtime > LEFTOVER_S:
                    path.unlink()

    @property
    def _keyring_entry(self) -> tuple[str, str]:
        return KEYRING_SERVICE, self.profile.name

    def _keyring(self) -> Any:
        try:
            import keyring  # noqa: PLC0415
        except ImportError:
            raise StorageFailed(
                f"The refresh token of {self.path} is in the keyring: install postern-client[keyring]."
            ) from None
        return keyring

    @contextlib.contextmanager
    def lock(self, runtime: Runtime) -> Iterator[None]:
        """Locks the session against other threads and processes.

        # Errors

        `lock_timeout` after 30 seconds, `storage_failed`.
        """
        timeout = LockTimeout(
            f"Another process has had {self.lock_path} locked for {LOCK_WAIT_S} seconds: end it, or try again."
        )
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _failed("create", self.folder, error) from None
        mutex = _mutex(self.lock_path)
        if not mutex.acquire(timeout=LOCK_WAIT_S):
            raise timeout
        try:
            descriptor = self._open_lock()
            try:
                _wait_for_lock(descriptor, runtime, timeout)
                yield
            finally:
                os.close(descriptor)
        finally:
            mutex.release()

    def _open_lock(self) -> int:
        try:
            return os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _failed("open", self.lock_path, error) from None


def _wait_for_lock(descriptor: int, runtime: Runtime, timeout: PosternError) -> None:
    end = runtime.monotonic() + LOCK_WAIT_S
    while not _try_lock(descriptor):
        if runtime.monotonic() > end:
            raise timeout
        runtime.sleep(POLL_S[0] + (POLL_S[1] - POLL_S[0]) * runtime.random())
