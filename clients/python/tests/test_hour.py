"""An hour of a process that calls an API, with tokens of 30 seconds. The test sets the clocks of process and server.

By default, it is a part of an hour, with one request a second.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness import Harness
from postern_client import AccessToken, AsyncSession, Session
from postern_client._effects import Runtime
from test_session import WHOAMI

FULL = bool(os.environ.get("POSTERN_FULL"))
SECONDS, PER_SECOND = (3600, 50) if FULL else (120, 1)
LIFE_S = 30
#: The local program answers so if the machine is so busy that reading a record takes 3 seconds. Programs try again.
BUSY = 503
#: A token is renewed after four fifths of its life.
RENEWED_AFTER_S = 24
LIBRARY = next(iter(Path("/usr/lib").glob("**/libfaketimeMT.so.1")), None)

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the package libfaketime is not installed")


class World:
    """A local program and sessions with one clock, which stands still until it is set."""

    def __init__(self, folder: Path, env: pytest.MonkeyPatch) -> None:
        self.begin = self.time = int(time.time())
        self._file = folder / "clock"
        self._set()
        program = folder / "program"
        variables = (
            f"LD_PRELOAD={LIBRARY} FAKETIME_TIMESTAMP_FILE={self._file} TZ=UTC "
            "FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
        )
        program.write_text(f'#!/bin/sh\n{variables} exec {os.environ["POSTERN_PROGRAM"]} "$@"\n', encoding="utf-8")
        program.chmod(0o700)
        with env.context() as changed:
            changed.setenv("POSTERN_PROGRAM", str(program))
            self.harness = Harness("--access-token", str(LIFE_S))
        self.api = f"{self.harness.ready['upstream']}{WHOAMI}"

    def runtime(self) -> Runtime:
        return Runtime(now=lambda: self.time, monotonic=lambda: self.time)

    def advance(self) -> None:
        self.time += 1
        self._set()

    def _set(self) -> None:
        # The program must not read a half-written time.
        new = self._file.with_suffix(".new")
        new.write_text(time.strftime("%Y-%m-%d %H:%M:%S\n", time.gmtime(self.time)), encoding="utf-8")
        new.replace(self._file)

    def check(self, token: AccessToken, responses: list[httpx.Response]) -> None:
        assert token.expires_at > self.time, "expired, and only within the leeway"
        refused = [response.text for response in responses if response.status_code != 200]
        assert refused == [], f"after {self.time - self.begin} s"

    def end(self, first: AccessToken) -> None:
        """Checks the number of refreshes, and that the server refuses a token that has expired."""
        assert self.harness.count("refresh_token") == SECONDS // RENEWED_AFTER_S
        assert httpx.get(self.api, headers={"Authorization": f"Bearer {first.value}"}).status_code == 401


@pytest.fixture
def world(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path, monkeypatch)
    world.harness.control(session={"home": str(home), "expired": True})
    yield world
    world.harness.close()


def test_a_process_of_an_hour_never_sees_a_401(world: World) -> None:
    with Session.open(_runtime=world.runtime()) as session:
        first = session.access_token()
        for _ in range(SECONDS):
            responses = [session.get(world.api) for _ in range(PER_SECOND)]
            responses = [session.get(world.api) if one.status_code == BUSY else one for one in responses]
            world.check(session.access_token(), responses)
            world.advance()
    world.end(first)


def test_tasks_of_an_hour_never_see_a_401(world: World) -> None:
    async def main() -> AccessToken:
        async with AsyncSession.open(_runtime=world.runtime()) as session:
            first = await session.access_token()
            for _ in range(SECONDS):
                responses = await asyncio.gather(*(session.get(world.api) for _ in range(PER_SECOND)))
                responses = [await session.get(world.api) if one.status_code == BUSY else one for one in responses]
                world.check(await session.access_token(), responses)
                world.advance()
            return first

    world.end(asyncio.run(main()))
