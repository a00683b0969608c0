"""What the file of a session says, in the format that programs in all languages share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postern_client._text import object_of
from postern_client._token import AccessToken, Tokens, is_fresh
from postern_client.errors import SessionInvalid

#: Times are seconds since 1970, within what a `Date` of JavaScript can be. NaN and infinity are not times, either.
LATEST_TIME = 8.64e12


def object_in(path: Path, text: str) -> dict[str, Any]:
    """Returns the JSON object in a file.

    # Errors

    `session_invalid`
    """
    members = object_of(text)
    if members is None:
        raise SessionInvalid(f"{path} is not a JSON object: log in again to replace it, or delete it.")
    return members


def scopes(text: str | None) -> frozenset[str] | None:
    """Returns scopes as a set, because their order means nothing."""
    return None if text is None else frozenset(text.split())


@dataclass(frozen=True)
class Entry:
    """An access token in the file, by what was requested. Members that this version does not know are kept."""

    resource: str | None
    scope: str | None
    access: AccessToken
    obtained_at: float
    others: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_bearer(self) -> bool:
        """Whether the token can be sent. Another type needs a proof, which this package does not make."""
        return self.access.token_type.lower() == "bearer"

    def serves(self, resource: str | None, scope: str | None) -> bool:
        return self.resource == resource and scopes(self.scope) == scopes(scope)

    def members(self) -> dict[str, Any]:
        known = {
            "resource": self.resource,
            "scope": self.scope,
            "value": self.access.value,
            "token_type": self.access.token_type,
            "obtained_at": self.obtained_at,
            "expires_at": self.access.expires_at,
        }
        granted = {} if self.access.scope is None else {"granted_scope": self.access.scope}
        return {**known, **granted, **self.others}


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

    @property
    def client(self) -> tuple[str, str]:
        """Returns at which server and as which client the refresh token can be used."""
        return self.issuer, self.client_id

    def fresh(
        self, resource: str | None, scope: str | None, now: float, refused: str | None, *, until_end: bool = False
    ) -> AccessToken | None:
        """Returns a token that can still be used, and that is not the one that was refused."""
        for entry in self.entries:
            is_current = is_fresh(entry.obtained_at, entry.access.expires_at, now, until_end=until_end)
            is_wanted = entry.serves(resource, scope) and entry.is_bearer and entry.access.value != refused
            if is_wanted and is_current:
                return entry.access
        return None

    def renewed(self, resource: str | None, scope: str | None, tokens: Tokens, now: float) -> Stored:
        """Returns the session after a renewal."""
        kept = [entry for entry in self.entries if not entry.serves(resource, scope) and entry.access.expires_at > now]
        kept.append(Entry(resource, scope, tokens.access, tokens.obtained_at))
        return replace(self, refresh_token=tokens.refresh_token or self.refresh_token, entries=tuple(kept))

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


class _Reader:
    """Reads the members of a file, and says which of them is not valid."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def session(self, members: dict[str, Any]) -> Stored:
        version = members.pop("version", None)
        if version != 1 or isinstance(version, bool):
            raise SessionInvalid(
                f"{self._path} has a version that this program does not know: update the program, or log in again."
            )
        issuer, client_id = (self._text(members, name, required=True) for name in ("issuer", "client_id"))
        storage = self._text(members, "storage", "file")
        if storage not in ("file", "keyring"):
            raise self._invalid("has a storage that is neither file nor keyring")
        refresh_token, scope = (self._text(members, name) for name in ("refresh_token", "scope"))
        entries = members.pop("access_tokens", None)
        entries = [] if entries is None else entries
        if not isinstance(entries, list):
            raise self._invalid("has access_tokens that are not a list")
        tokens = tuple(self._entry(one) for one in entries)
        return Stored(str(issuer), str(client_id), storage, refresh_token or None, scope, tokens, members)

    def _entry(self, members: Any) -> Entry:
        if not isinstance(members, dict):
            raise self._invalid("has an access token that is not an object")
        rest = dict(members)
        value = self._text(rest, "value", required=True)
        kind, granted = self._text(rest, "token_type", "Bearer"), self._text(rest, "granted_scope")
        resource, scope = self._text(rest, "resource"), self._text(rest, "scope")
        obtained_at, expires_at = self._time(rest, "obtained_at"), self._time(rest, "expires_at")
        access = AccessToken(str(value), expires_at, granted, str(kind))
        return Entry(resource, scope, access, obtained_at, rest)

    def _text(
        self, members: dict[str, Any], name: str, default: str | None = None, *, required: bool = False
    ) -> str | None:
        value = members.pop(name, None)
        value = default if value is None else value
        if value is not None and not isinstance(value, str):
            raise self._invalid(f"has a {name} that is not text")
        if required and not value:
            raise self._invalid(f"has no {name}")
        return value

    def _time(self, members: dict[str, Any], name: str) -> float:
        value = members.pop(name, None)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LATEST_TIME:
            raise self._invalid(f"has an access token without {name} in seconds since 1970")
        return value

    def _invalid(self, what: str) -> SessionInvalid:
        return SessionInvalid(f"{self._path} {what}: log in again to replace it, or delete it.")


def parse(path: Path, text: str) -> Stored:
    """Returns the session that a file contains.

    # Errors

    `session_invalid`
    """
    return _Reader(path).session(object_in(path, text))
