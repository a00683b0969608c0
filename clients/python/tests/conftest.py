"""Fixtures: the harness, started once, and an empty home folder for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import Clock, Harness


@pytest.fixture(scope="session")
def _harness() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    harness.close()


@pytest.fixture
def harness(_harness: Harness) -> Harness:
    _harness.control(reset=True)
    return _harness


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    for name in ("POSTERN_PROFILE", "POSTERN_ISSUER", "POSTERN_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POSTERN_HOME", str(folder))
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()
