"""Refresh tokens in the keyring: the entries of the package for Rust, in a real Secret Service where there is one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Clock, Harness
from postern_client import Session, StorageFailed, _keyring, login_with_device
from test_session import approve, stored

PROGRAMS = ("dbus-daemon", "gnome-keyring-daemon")
needs_secret_service = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"the programs {' and '.join(PROGRAMS)} are not installed"
)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bus of its own with an unlocked keyring."""
    environment = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    daemon = ["dbus-daemon", "--session", "--nofork", "--print-address=1"]
    keyring = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(daemon, stdout=pipe, stderr=null, text=True, env={**os.environ, **environment}) as first:
        assert first.stdout is not None
        environment["DBUS_SESSION_BUS_ADDRESS"] = first.stdout.readline().strip()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with subprocess.Popen(keyring, stdin=pipe, stdout=null, stderr=null) as second:
            assert second.stdin is not None
            second.stdin.write(b"password")
            second.stdin.close()
            yield
            second.terminate()
        first.terminate()


@pytest.fixture
def file(harness: Harness, home: Path) -> Path:
    """A session whose access token has expired, and whose refresh token is to be in the keyring."""
    path = Path(harness.control(session={"home": str(home), "expired": True})["session"])
    members = json.loads(path.read_text(encoding="utf-8"))
    Secrets.token = members.pop("refresh_token")
    path.write_text(json.dumps({**members, "storage": "keyring"}), encoding="utf-8")
    return path


class Secrets:
    """What the Secret Service has for a session."""

    token = ""

    def __init__(self, path: Path) -> None:
        self.attributes = {"service": "postern", "username": str(path)}

    @contextlib.contextmanager
    def found(self) -> Iterator[list[Any]]:
        import secretstorage

        with contextlib.closing(secretstorage.dbus_init()) as connection:
            yield list(secretstorage.search_items(connection, self.attributes))

    def tokens(self) -> list[str]:
        with self.found() as items:
            return [item.get_secret().decode() for item in items]

    def create(self, token: str, **others: str) -> None:
        """Creates the item that the package for Rust creates, with other attributes."""
        import secretstorage

        with contextlib.closing(secretstorage.dbus_init()) as connection:
            label = f"keyring:{self.attributes['username']}@postern"
            collection = secretstorage.get_default_collection(connection)
            attributes = {**self.attributes, **others}
            collection.create_item(label, attributes, token.encode(), True, "application/octet-stream")


@needs_secret_service
@pytest.mark.usefixtures("bus")
def test_the_entry_of_another_language_is_renewed_in_place(harness: Harness, file: Path, home: Path) -> None:
    secrets, first = Secrets(file), Secrets.token
    secrets.create(first)
    with Session.open() as session:
        token = session.access_token()
        assert harness.whoami(token.value)["kind"] == "user"
        assert "refresh_token" not in stored(home)
        # With a second item, a program in Rust would not know which of them is the token.
        (second,) = secrets.tokens()
        assert second != first
        assert session.renew(token).value != token.value
        assert len(secrets.tokens()) == 1
        assert session.logout() is None
    assert (secrets.tokens(), harness.count("/v1/auth/revoke")) == ([], 1)


@needs_secret_service
@pytest.mark.usefixtures("bus", "harness")
def test_an_entry_is_found_by_what_other_languages_compare(tmp_path: Path) -> None:
    path = tmp_path / "default.json"
    assert _keyring.read(path) is None
    _keyring.delete(path)
    _keyring.store(path, "rt_1")
    with Secrets(path).found() as (item,):
        attributes = item.get_attributes()
        attributes.pop("xdg:schema", None)
        assert attributes == {"service": "postern", "username": str(path)}
        assert item.get_label() == f"keyring:{path}@postern"
    assert _keyring.read(path) == "rt_1"


@needs_secret_service
@pytest.mark.usefixtures("bus", "harness")
def test_an_entry_with_more_attributes_is_replaced(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "default.json")
    secrets.create("rt_1", application="Python keyring library")
    _keyring.store(tmp_path / "default.json", "rt_2")
    assert secrets.tokens() == ["rt_2"]


@needs_secret_service
@pytest.mark.usefixtures("bus")
def test_a_login_ends_the_session_in_the_keyring(harness: Harness, file: Path, home: Path, clock: Clock) -> None:
    Secrets(file).create(Secrets.token)
    login_with_device(harness.issuer, on_prompt=approve(harness), _runtime=clock.runtime()).close()
    assert (stored(home)["storage"], Secrets(file).tokens()) == ("file", [])
    assert harness.count("/v1/auth/revoke") == 1


@pytest.mark.parametrize("module", ["secretstorage", "keyring"])
def test_a_missing_package_is_named(module: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    if module == "keyring":
        monkeypatch.setattr(_keyring, "entry_of", lambda path: entry_of(path, "darwin"))
    with Session.open() as session, pytest.raises(StorageFailed, match=r"postern-client\[keyring\]"):
        session.access_token()


def test_a_keyring_that_is_not_there_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={file}")
    with Session.open() as session, pytest.raises(StorageFailed, match="cannot be used") as caught:
        session.access_token()
    assert Secrets.token not in str(caught.value)


entry_of = _keyring.entry_of


class Passwords:
    """The passwords of macOS or Windows, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, user: str) -> str | None:
        return self.kept.get((service, user))

    def set_password(self, service: str, user: str, value: str) -> None:
        self.kept[service, user] = value

    def delete_password(self, service: str, user: str) -> None:
        del self.kept[service, user]


@pytest.mark.parametrize(("platform", "service"), [("darwin", "postern"), ("win32", "/home/a/default.json.postern")])
def test_macos_and_windows_have_the_entries_of_rust(
    platform: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = Passwords()
    monkeypatch.setitem(sys.modules, "keyring", passwords)
    entry = entry_of(Path("/home/a/default.json"), platform)
    entry.delete()
    entry.store("rt_1")
    assert passwords.kept == {(service, "/home/a/default.json"): "rt_1"}
    assert entry.read() == "rt_1"
    entry.delete()
    assert (entry.read(), passwords.kept) == (None, {})
