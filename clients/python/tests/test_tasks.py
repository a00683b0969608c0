"""Sessions in tasks of an event loop, which must not wait for files."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest
import trio

from harness import Clock, Harness
from postern_client import AsyncSession, api, login_with_device_async
from postern_client._files import read_text as read_file
from test_session import approve


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which files are read from now on."""
    threads: list[threading.Thread] = []

    def read_text(path: Path) -> str | None:
        threads.append(threading.current_thread())
        return read_file(path)

    for module in ("_files", "_profile"):
        monkeypatch.setattr(f"postern_client.{module}.read_text", read_text)
    return threads


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
@pytest.mark.parametrize("is_expired", [False, True], ids=["valid", "expired"])
def test_the_session_is_read_in_a_thread(
    run: Any, is_expired: bool, harness: Harness, home: Path, readers: list[threading.Thread]
) -> None:
    harness.control(session={"home": str(home), "expired": is_expired})

    async def main() -> None:
        async with AsyncSession.open() as session:
            readers.clear()
            await session.renew(await session.access_token())
            await session.call(api.show_caller())
            await session.logout()

    run(main())
    assert readers
    assert threading.current_thread() not in readers


def test_a_login_reads_and_writes_in_threads(
    harness: Harness, home: Path, clock: Clock, readers: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[threading.Thread] = []
    from postern_client._store import SessionFile

    check = SessionFile.check_writable

    def check_writable(file: SessionFile) -> None:
        writers.append(threading.current_thread())
        check(file)

    monkeypatch.setattr(SessionFile, "check_writable", check_writable)

    async def main() -> None:
        session = await login_with_device_async(harness.issuer, on_prompt=approve(harness), _runtime=clock.runtime())
        await session.access_token()
        await session.aclose()

    asyncio.run(main())
    assert readers
    assert writers
    assert threading.current_thread() not in (*readers, *writers)


def test_threads_of_the_program_can_wait_for_a_token(harness: Harness, home: Path) -> None:
    """Servers call functions in all threads of the event loop, which then wait for the session."""
    harness.control(session={"home": str(home), "expired": True})

    async def main() -> set[str]:
        async with AsyncSession.open() as session:

            def work() -> str:
                return anyio.from_thread.run(session.access_token).value

            count = int(anyio.to_thread.current_default_thread_limiter().total_tokens)
            return set(await asyncio.gather(*(anyio.to_thread.run_sync(work) for _ in range(count))))

    assert len(asyncio.run(asyncio.wait_for(main(), 20))) == 1
    assert harness.count("refresh_token") == 1
