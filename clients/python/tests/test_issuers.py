"""Sessions that another login replaces, also at another issuer, and renewals that fail for several callers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Clock, Harness
from postern_client import (
    AsyncSession,
    LockTimeout,
    LoginRequired,
    PosternError,
    ServerUnavailable,
    Session,
    StorageFailed,
    _lock,
)
from postern_client._effects import Runtime
from scripted import Answer, Request, Scripted, authorization_server

CLIENT = "postern-cli"


def write(home: Path, issuer: str, refresh_token: str | None = "rt", client_id: str = CLIENT, **members: Any) -> None:
    """Writes a session whose access token has expired, as a login does."""
    token = {"value": f"expired-of-{refresh_token}", "obtained_at": 0, "expires_at": 1}
    session = {"version": 1, "issuer": issuer, "client_id": client_id, "refresh_token": refresh_token}
    (home / "sessions").mkdir(mode=0o700, exist_ok=True)
    path = home / "sessions" / "default.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({**session, "access_tokens": [token], **members}), encoding="utf-8")
    new.chmod(0o600)
    new.replace(path)


def sent(server: Scripted, path: str) -> list[tuple[str, str]]:
    """Returns the refresh tokens that a server got, and of which client."""
    return [(form.get("refresh_token") or form["token"], form["client_id"]) for form in server.forms(path)]


@contextlib.contextmanager
def servers() -> Iterator[tuple[Scripted, Scripted]]:
    with authorization_server() as first, authorization_server() as second:
        yield first, second


def test_a_session_of_another_issuer_is_renewed_there(home: Path) -> None:
    with servers() as (first, second), Session.open() as session:
        write(home, first.url, "rt-first")
        refused = session.access_token()
        write(home, second.url, "rt-second")
        assert session.renew(refused).value
        assert sent(first, "/token") == [("rt-first", CLIENT)]
        assert sent(second, "/token") == [("rt-second", CLIENT)]
        assert session.issuer == second.url


@pytest.mark.parametrize("client_id", [CLIENT, "another"])
def test_a_login_while_the_lock_is_awaited(client_id: str, home: Path) -> None:
    with servers() as (first, second):
        write(home, first.url, "rt-first")
        issuer = second.url if client_id == CLIENT else first.url

        def log_in(_: float) -> None:
            if not released.is_set():
                write(home, issuer, "rt-second", client_id)
                released.set()
                held.close()

        released, held = threading.Event(), contextlib.ExitStack()
        held.enter_context(locked(home))
        with Session.open(_runtime=Runtime(sleep=log_in)) as session:
            session.access_token()
        owner, other = (second, first) if client_id == CLIENT else (first, second)
        assert sent(owner, "/token") == [("rt-second", client_id)]
        assert sent(other, "/token") == []


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Has the lock of the session, as another process."""
    path = home / "sessions" / "default.lock"
    descriptor = _lock.open_lock(path)
    assert _lock.try_lock(descriptor)
    try:
        yield
    finally:
        _lock.unlock(descriptor)


def test_a_login_at_another_issuer_while_the_refresh_is_refused(home: Path) -> None:
    def refuse(request: Request) -> Answer:
        write(home, second.url, "rt-second")
        return 400, {}, {"error": "invalid_grant"}

    with authorization_server(refuse) as first, authorization_server() as second, Session.open() as session:
        write(home, first.url, "rt-first")
        session.access_token()
        assert sent(first, "/token") == [("rt-first", CLIENT)]
        assert sent(second, "/token") == [("rt-second", CLIENT)]


def test_a_session_that_is_replaced_again_and_again_ends(home: Path) -> None:
    number = 0

    def refuse(request: Request) -> Answer:
        nonlocal number
        number += 1
        write(home, server.url, f"rt-{number}")
        return 400, {}, {"error": "invalid_grant"}

    with authorization_server(refuse) as server, Session.open() as session:
        write(home, server.url)
        with pytest.raises(LoginRequired, match="keep replacing"):
            session.access_token()
        assert sent(server, "/token") == [("rt", CLIENT), ("rt-1", CLIENT), ("rt-2", CLIENT)]


def test_a_logout_revokes_at_the_issuer_of_the_file(home: Path) -> None:
    with servers() as (first, second), Session.open() as session:
        write(home, first.url, "rt-first")
        session.access_token()
        write(home, second.url, "rt-second")
        assert session.logout() is None
        assert sent(first, "/revoke") == []
        assert sent(second, "/revoke") == [("rt-second", CLIENT)]
    assert not (home / "sessions" / "default.json").exists()


def test_a_login_at_another_issuer_during_a_logout(home: Path) -> None:
    def log_in(_: float) -> None:
        if not released.is_set():
            write(home, second.url, "rt-second")
            released.set()
            held.close()

    released, held = threading.Event(), contextlib.ExitStack()
    with servers() as (first, second):
        write(home, first.url, "rt-first")
        held.enter_context(locked(home))
        with Session.open(_runtime=Runtime(sleep=log_in)) as session:
            assert session.logout() is None
        assert sent(first, "/revoke") == []
        assert sent(second, "/revoke") == [("rt-second", CLIENT)]


@pytest.mark.parametrize(("status", "has_ended"), [(200, True), (400, False)])
def test_a_file_that_cannot_be_deleted_is_named_and_whether_the_session_has_ended(
    status: int, has_ended: bool, home: Path
) -> None:
    file = home / "sessions" / "default.json"

    def revoke(_: Request) -> Answer:
        file.unlink()
        file.mkdir()
        return status, {}, {}

    with authorization_server(revoke) as server, Session.open() as session:
        write(home, server.url)
        with pytest.raises(StorageFailed, match=re.escape(str(file))) as caught:
            session.logout()
    assert str(caught.value).startswith("The server has ended the session. ") == has_ended


def test_a_logout_without_a_refresh_token_revokes_the_access_tokens(home: Path) -> None:
    with authorization_server() as server, Session.open() as session:
        tokens = [
            {"value": name, "obtained_at": 0, "expires_at": 1, "resource": f"https://{name}.example"} for name in "ab"
        ]
        write(home, server.url, None, access_tokens=tokens)
        assert session.logout() is None
        assert [form["token"] for form in server.forms("/revoke")] == ["a", "b"]


@pytest.mark.parametrize("refresh_token", [None, ""])
def test_without_a_refresh_token_the_user_logs_in(refresh_token: str | None, home: Path) -> None:
    with authorization_server() as server, Session.open() as session:
        write(home, server.url, refresh_token)
        with pytest.raises(LoginRequired, match="log in with `postern login`"):
            session.access_token()
        assert server.forms("/token") == []


class Barrier:
    """A server that fails once all callers wait for its answer."""

    def __init__(self, callers: int) -> None:
        self.callers, self.waiting = callers, 0
        self.is_full = threading.Event()

    def join(self) -> None:
        """Called by each caller before it asks."""
        self.waiting += 1
        if self.waiting == self.callers:
            self.is_full.set()

    def fail(self, _: Request) -> Answer:
        assert self.is_full.wait(10)
        # A caller that was counted has yet to ask.
        time.sleep(0.3)
        return 503, {}, {}


Run = Callable[[Any, Barrier, int], "list[PosternError]"]


def in_threads(_: Any, barrier: Barrier, count: int) -> list[PosternError]:
    failures: list[PosternError] = []
    with Session.open() as session:

        def call() -> None:
            barrier.join()
            try:
                session.access_token()
            except PosternError as error:
                failures.append(error)

        threads = [threading.Thread(target=call) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return failures


def in_tasks(_: Any, barrier: Barrier, count: int) -> list[PosternError]:
    async def main() -> list[Any]:
        async with AsyncSession.open() as session:

            async def call() -> Any:
                barrier.join()
                return await session.access_token()

            return await asyncio.gather(*(call() for _ in range(count)), return_exceptions=True)

    return [outcome for outcome in asyncio.run(main()) if isinstance(outcome, PosternError)]


@pytest.mark.parametrize("run", [in_threads, in_tasks], ids=["threads", "tasks"])
def test_all_callers_get_the_error_of_one_renewal(run: Run, home: Path) -> None:
    barrier = Barrier(10)
    with authorization_server(barrier.fail) as server:
        write(home, server.url)
        failures = run(home, barrier, 10)
        assert [type(error) for error in failures] == [ServerUnavailable] * 10
        assert len({str(error) for error in failures}) == 1
        # Each caller has an error of its own, with its own traceback.
        assert len({id(error) for error in failures}) == 10
        assert len(server.forms("/token")) == 3


def test_callers_of_one_renewal_that_was_refused(home: Path) -> None:
    barrier = Barrier(5)

    def refuse(request: Request) -> Answer:
        barrier.fail(request)
        return 400, {}, {"error": "invalid_grant"}

    with authorization_server(refuse) as server:
        write(home, server.url)
        failures = in_threads(home, barrier, 5)
        assert [type(error) for error in failures] == [LoginRequired] * 5
        assert len(server.forms("/token")) == 1


def test_a_caller_after_a_failure_tries_again(home: Path, clock: Clock) -> None:
    bad: Answer = (503, {}, {})
    answers = iter([bad] * 3)
    good: Answer = (200, {}, {"access_token": "at", "token_type": "Bearer", "expires_in": 60})
    with authorization_server(lambda _: next(answers, good)) as server:
        write(home, server.url)
        with Session.open(_runtime=clock.runtime()) as session:
            with pytest.raises(ServerUnavailable):
                session.access_token()
            assert session.access_token().value == "at"
        assert len(server.forms("/token")) == 4


def test_callers_for_two_apis_share_nothing(home: Path) -> None:
    with authorization_server() as server, Session.open() as session:
        write(home, server.url)
        resources = ["https://a.example", "https://b.example"]
        threads = [threading.Thread(target=session.access_token, args=(resource,)) for resource in resources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(form["resource"] for form in server.forms("/token")) == resources


def test_a_server_that_fails_is_asked_every_five_seconds(home: Path, clock: Clock) -> None:
    with authorization_server(lambda _: (503, {}, {})) as server:
        now = int(clock.now())
        token = {"value": "valid", "obtained_at": now - 90, "expires_at": now + 10}
        write(home, server.url, access_tokens=[token])
        with Session.open(_runtime=clock.runtime()) as session:
            for count, seconds in ((3, 0), (3, 4), (6, 2)):
                clock.offset += seconds
                assert session.access_token().value == "valid"
                assert len(server.forms("/token")) == count


def test_a_lock_that_cannot_be_taken_is_an_error_of_the_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_: int) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(_lock, "try_lock", no_locks)
    with authorization_server() as server, Session.open() as session:
        write(home, server.url)
        with pytest.raises(StorageFailed, match="No locks available"):
            session.access_token()
        assert server.forms("/token") == []


def test_threads_wait_for_the_lock_for_30_seconds_in_all(home: Path, clock: Clock) -> None:
    path = home / "sessions" / "default.lock"
    (home / "sessions").mkdir(mode=0o700)
    runtime = clock.runtime()
    with _lock.locked(path, runtime), pytest.raises(LockTimeout), _lock.locked(path, runtime):
        pass
    assert 29 <= sum(clock.waits) <= 31


def test_a_clock_that_is_set_back_does_not_prolong_the_wait(home: Path, clock: Clock) -> None:
    (home / "sessions").mkdir(mode=0o700)
    runtime = clock.runtime()
    runtime.now = lambda: 0.0
    with locked(home), pytest.raises(LockTimeout), _lock.locked(home / "sessions" / "default.lock", runtime):
        pass
    assert 29 <= sum(clock.waits) <= 31


def test_a_user_of_the_harness_is_logged_in_again(harness: Harness, home: Path) -> None:
    """The real server also gets only its own tokens."""
    harness.control(session={"home": str(home)})
    with authorization_server() as other, Session.open() as session:
        first = session.access_token()
        write(home, other.url, "rt-other")
        session.access_token()
        harness.control(session={"home": str(home), "expired": True})
        assert harness.whoami(session.access_token().value)["kind"] == "user"
        assert (sent(other, "/token"), first.value in str(other.requests)) == ([("rt-other", CLIENT)], False)
