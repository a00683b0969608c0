"""Processes that are forked: they use neither the locks nor the connections of their parent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Harness
from scripted import Request, authorization_server, scripted
from test_session import WHOAMI, stored

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

#: A child that exits without the rest of its program, and a parent that waits for it, for ten seconds.
FORK = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from postern_client import AsyncSession, Session, _lock
from postern_client._effects import Runtime
from pathlib import Path

def child(function):
    process = os.fork()
    if process == 0:
        signal.alarm(10)
        try:
            function()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return process

def end(process):
    assert os.waitpid(process, 0)[1] == 0
"""


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", FORK + script, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr
    return result.stdout


RENEWING = """
session = Session.open()
renewing = threading.Thread(target=session.access_token)
renewing.start()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
process = child(lambda: print(session.access_token().value, flush=True))
end(process)
renewing.join()
print(session.access_token().value)
"""


def test_a_child_waits_for_the_renewal_of_its_parent(harness: Harness, home: Path, tmp_path: Path) -> None:
    """It must wait for the file, because the thread that renews does not exist in it."""
    harness.control(session={"home": str(home), "expired": True})
    token = stored(home)["refresh_token"]
    signal = tmp_path / "begun"
    harness.control(faults=[{"grant": "refresh_token", "fault": "delay", "seconds": 1}])
    signal_when_requested(harness, signal)
    first, second = run(RENEWING, str(signal)).split()
    assert first == second
    assert harness.count("refresh_token") == 1
    assert stored(home)["refresh_token"] != token


def signal_when_requested(harness: Harness, path: Path) -> None:
    """Creates a file once the refresh has reached the server."""
    import threading
    import time

    def watch() -> None:
        while harness.count("refresh_token") == 0:
            time.sleep(0.02)
        path.touch()

    threading.Thread(target=watch, daemon=True).start()


LOCKED = """
path = Path(sys.argv[1])
runtime = Runtime()
has_lock, is_forked = threading.Event(), threading.Event()

def hold():
    with _lock.locked(path, runtime):
        has_lock.set()
        is_forked.wait()

holding = threading.Thread(target=hold)
holding.start()
has_lock.wait()

def take():
    # Another process has the lock; a thread of this one has not.
    assert not _lock.try_lock(_lock.open_lock(path))
    with _lock.locked(path, Runtime()):
        print("child", flush=True)

process = child(take)
time.sleep(0.3)
print("parent", flush=True)
is_forked.set()
holding.join()
end(process)
"""


def test_a_child_takes_the_lock_after_its_parent(tmp_path: Path) -> None:
    assert run(LOCKED, str(tmp_path / "default.lock")).split() == ["parent", "child"]


FORKED_WITH_LOCK = """
path = Path(sys.argv[1])
with _lock.locked(path, Runtime()):
    # The child has the open file, too, and lives for longer.
    process = child(lambda: time.sleep(1.5))
begun = time.monotonic()
with _lock.locked(path, Runtime()):
    assert time.monotonic() - begun < 1
end(process)
"""


def test_a_lock_is_released_although_a_child_has_its_file(tmp_path: Path) -> None:
    run(FORKED_WITH_LOCK, str(tmp_path / "default.lock"))


CHILD_LEAVES = """
path = Path(sys.argv[1])
def leave(lock):
    # As a child that returns from the function in which it was forked.
    lock.__exit__(None, None, None)

lock = _lock.locked(path, Runtime())
lock.__enter__()
end(child(lambda: leave(lock)))
assert not _lock.try_lock(_lock.open_lock(path))
lock.__exit__(None, None, None)
assert _lock.try_lock(_lock.open_lock(path))
"""


def test_a_child_does_not_release_the_lock_of_its_parent(tmp_path: Path) -> None:
    run(CHILD_LEAVES, str(tmp_path / "default.lock"))


CONNECTED = """
issuer, api = sys.argv[1:]
session = Session.client_credentials("agt_1", "secret", issuer=issuer)
session.get(api)
def use():
    session.renew(session.access_token())
    session.get(api)
end(child(use))
session.get(api)
session.close()
"""


def test_a_child_uses_connections_of_its_own() -> None:
    peers: dict[str, set[str]] = {"token": set(), "api": set()}

    def api(request: Request) -> tuple[int, dict[str, str], dict[str, str]]:
        peers["api"].add(request.headers["x-peer"])
        return 200, {}, {}

    def token(request: Request) -> tuple[int, dict[str, str], dict[str, str]]:
        peers["token"].add(request.headers["x-peer"])
        return 200, {}, {"access_token": f"at{request.headers['x-peer']}", "token_type": "Bearer"}

    with authorization_server(token) as server, scripted(api) as target:
        run(CONNECTED, server.url, target.url)
        assert len(server.forms("/token")) == 2
        assert [request.target for request in target.requests] == ["/"] * 3
        # One connection of the parent, also after the child has ended, and one of the child.
        assert (len(peers["token"]), len(peers["api"])) == (2, 2)


ASYNC = """
import asyncio
session = AsyncSession.open()
async def use():
    for _ in range(2):
        assert (await session.get(sys.argv[1])).status_code == 200
asyncio.run(use())
end(child(lambda: asyncio.run(use())))
"""


def test_an_asynchronous_session_works_in_a_child(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home), "expired": True})
    run(ASYNC, f"{harness.issuer}{WHOAMI}")
    assert harness.count("refresh_token") == 1
