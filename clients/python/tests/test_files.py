"""Files and folders: who can change them, and what happens if they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import Clock, Harness
from postern_client import Session, SessionInvalid, StorageFailed, login_with_device
from postern_client._profile import profile
from scripted import authorization_server
from test_session import approve

#: A user who is neither this one nor the administrator.
STRANGER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator can change owners")
needs_modes = pytest.mark.skipif(os.name != "posix", reason="there are no modes")
Place = Callable[[Path], Path]

PLACES: dict[str, Place] = {
    "home": lambda home: home,
    "folder": lambda home: home / "sessions",
    "session": lambda home: home / "sessions" / "default.json",
    "lock": lambda home: home / "sessions" / "default.lock",
    "configuration": lambda home: home / "config.json",
}


@pytest.fixture
def prepared(harness: Harness, home: Path) -> Path:
    """A home folder with all files, and a session whose access token has expired."""
    harness.control(session={"home": str(home), "expired": True})
    for path, text in ((home / "config.json", "{}"), (home / "sessions" / "default.lock", "")):
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    return home


def use() -> None:
    with Session.open() as session:
        session.access_token()


@needs_modes
@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("name", PLACES)
def test_what_other_users_can_change_is_refused(name: str, mode: int, prepared: Path, harness: Harness) -> None:
    path = PLACES[name](prepared)
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(StorageFailed) as caught:
        use()
    assert str(caught.value) == f"{path} can be changed by other users: run `chmod go-w '{path}'`."
    assert harness.count("refresh_token") == 0
    path.chmod(path.stat().st_mode & ~0o022)
    use()


@needs_root
@pytest.mark.parametrize("name", PLACES)
def test_what_belongs_to_another_user_is_refused(name: str, prepared: Path, harness: Harness) -> None:
    path = PLACES[name](prepared)
    os.chown(path, STRANGER, -1)
    with pytest.raises(StorageFailed, match="belongs to another user") as caught:
        use()
    assert f"`chown {os.geteuid()} '{path}'`" in str(caught.value)
    assert harness.count("refresh_token") == 0


@needs_modes
def test_files_that_others_can_only_read_are_accepted(prepared: Path) -> None:
    for place in PLACES.values():
        place(prepared).chmod(0o755)
    use()


@needs_modes
@pytest.mark.parametrize("name", ["home", "folder", "lock"])
def test_a_login_refuses_it_before_it_begins(name: str, prepared: Path, harness: Harness, clock: Clock) -> None:
    PLACES[name](prepared).chmod(0o777)
    with pytest.raises(StorageFailed, match="chmod go-w"):
        login_with_device(harness.issuer, on_prompt=approve(harness), _runtime=clock.runtime())
    assert harness.count("/v1/auth/device") == 0


@needs_modes
@pytest.mark.parametrize("mask", [0, 0o077])
def test_each_folder_that_is_created_is_private(mask: int, harness: Harness, tmp_path: Path, clock: Clock) -> None:
    home = tmp_path / "a" / "b"
    old = os.umask(mask)
    try:
        options: Any = {"home": home, "on_prompt": approve(harness), "_runtime": clock.runtime()}
        login_with_device(harness.issuer, **options).close()
    finally:
        os.umask(old)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in (tmp_path / "a").rglob("*")}
    assert modes == {
        "a/b": 0o700,
        "a/b/sessions": 0o700,
        "a/b/sessions/default.json": 0o600,
        "a/b/sessions/default.lock": 0o600,
    }
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_no_token_is_sent_if_the_file_cannot_be_written(harness: Harness, home: Path) -> None:
    written = Path(harness.control(session={"home": str(home), "expired": True})["session"])
    # The name of the temporary file is longer, so that it cannot be created.
    path = written.with_name(f"{'x' * 240}.json")
    written.rename(path)
    before = path.read_bytes()
    with Session.open(path=path) as session, pytest.raises(StorageFailed, match="Cannot write"):
        session.access_token()
    assert (harness.count("refresh_token"), path.read_bytes()) == (0, before)


def test_a_login_that_cannot_be_stored_does_not_begin(harness: Harness, home: Path, clock: Clock) -> None:
    (home / "sessions").write_text("", encoding="utf-8")
    with pytest.raises(StorageFailed):
        login_with_device(harness.issuer, on_prompt=approve(harness), _runtime=clock.runtime())
    assert harness.count("/v1/auth/device") == 0


@needs_modes
def test_a_pipe_is_not_read(prepared: Path) -> None:
    path = prepared / "sessions" / "default.json"
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(StorageFailed, match="is not a file"):
        use()


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[]", b'{"version": 1, "storage": "keyring", "x": "\xff"}'])
def test_a_logout_deletes_a_file_that_is_not_valid(content: bytes, home: Path) -> None:
    path = home / "sessions" / "default.json"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    with Session.open() as session:
        with pytest.raises(SessionInvalid):
            session.access_token()
        assert str(session.logout()).startswith("The session is deleted here")
    assert not path.exists()


@pytest.mark.parametrize("name", ["default.txt", "default", "default.json.bak"])
def test_a_session_ends_in_json(name: str, home: Path) -> None:
    # Another language would lock another file.
    with pytest.raises(SessionInvalid, match=r"must end in \.json"):
        Session.open(path=home / name)


def test_members_that_are_unknown_are_kept(home: Path) -> None:
    import json

    with authorization_server() as server:
        token = {"value": "a", "obtained_at": 0, "expires_at": 0, "resource": "https://b.example", "x": {"y": 1}}
        kept = {**token, "expires_at": 1e11}
        members = {"version": 1, "issuer": server.url, "client_id": "c", "refresh_token": "rt", "z": [1]}
        path = home / "default.json"
        path.write_text(json.dumps({**members, "access_tokens": [kept]}), encoding="utf-8")
        path.chmod(0o600)
        with Session.open(path=path) as session:
            session.access_token()
        stored = json.loads(path.read_text(encoding="utf-8"))
    assert (stored["z"], stored["access_tokens"][0]["x"]) == ([1], {"y": 1})


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "POSTERN_HOME", "POSTERN_PROFILE", "POSTERN_ISSUER"])
def test_an_empty_variable_is_absent(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "POSTERN_HOME", "POSTERN_PROFILE", "POSTERN_ISSUER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(variable, "")
    monkeypatch.chdir(tmp_path)
    found = profile()
    assert (found.name, found.issuer) == ("default", "http://127.0.0.1:9000")
    with Session.open() as session:
        assert session._source.file.path == tmp_path / ".config" / "postern" / "sessions" / "default.json"  # type: ignore[attr-defined]


def test_a_relative_configuration_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTERN_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    with Session.open() as session:
        assert session._source.file.folder == tmp_path / ".config" / "postern" / "sessions"  # type: ignore[attr-defined]
