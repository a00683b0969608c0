"""Logins: the callback of the browser, and the session that a login replaces."""

from __future__ import annotations

import asyncio
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import Clock, Harness
from postern_client import (
    InvalidResponse,
    Session,
    login_with_browser,
    login_with_browser_async,
    login_with_device,
)
from postern_client._login import open_browser_async
from test_session import approve, stored

REVOKE = "/v1/auth/revoke"
Login = Callable[..., Any]


def by_device(harness: Harness, clock: Clock) -> None:
    login_with_device(harness.issuer, on_prompt=approve(harness), _runtime=clock.runtime()).close()


def by_browser(harness: Harness, clock: Clock) -> None:
    login_with_browser(harness.issuer, on_url=lambda url: back_of(harness, url), _runtime=clock.runtime()).close()


def back_of(harness: Harness, url: str) -> None:
    """Allows what a login asks for, and returns to it as the browser does."""
    back = harness.control(consent={"url": url, "decision": "allow"})["consent"]
    assert httpx.get(back).status_code == 200


@pytest.mark.parametrize("log_in", [by_device, by_browser])
def test_a_login_ends_the_session_that_it_replaces(log_in: Login, harness: Harness, home: Path, clock: Clock) -> None:
    log_in(harness, clock)
    old = stored(home)
    log_in(harness, clock)
    assert harness.count(REVOKE) == 1
    form = {"grant_type": "refresh_token", "refresh_token": old["refresh_token"], "client_id": old["client_id"]}
    assert httpx.post(f"{harness.ready['upstream']}/v1/auth/token", data=form).json()["error"] == "invalid_grant"
    with Session.open() as session:
        assert session.renew(session.access_token())


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "refuse"},
        {"fault": "lose"},
        {"fault": "answer", "status": 503},
        {"fault": "answer", "status": 400, "body": {"error": "invalid_client"}},
        {"fault": "answer", "status": 302, "headers": {"Location": "/"}},
    ],
    ids=str,
)
def test_a_login_succeeds_although_the_old_session_cannot_be_ended(
    fault: Any, harness: Harness, home: Path, clock: Clock
) -> None:
    old = Path(harness.control(session={"home": str(home)})["session"]).read_text(encoding="utf-8")
    harness.control(faults=[{"path": REVOKE, "times": None, **fault}])
    by_device(harness, clock)
    assert stored(home)["refresh_token"] not in old
    # A user who has logged in does not wait for more attempts.
    assert harness.count(REVOKE) == 1


def test_a_login_succeeds_if_the_server_revokes_nothing(harness: Harness, home: Path, clock: Clock) -> None:
    harness.control(session={"home": str(home)})
    metadata = {"path": "/.well-known/oauth-authorization-server", "fault": "replace"}
    harness.control(faults=[{**metadata, "members": {"revocation_endpoint": None}}])
    by_device(harness, clock)
    assert harness.count(REVOKE) == 0


@pytest.mark.parametrize(
    "members",
    [
        {"issuer": "https://auth.example.com"},
        {"refresh_token": None},
        {"version": 2},
    ],
    ids=str,
)
def test_a_login_ends_no_session_of_another_issuer(members: Any, harness: Harness, home: Path, clock: Clock) -> None:
    harness.control(session={"home": str(home), "members": members})
    by_device(harness, clock)
    assert harness.count(REVOKE) == 0
    assert stored(home)["issuer"] == harness.issuer


def test_a_first_login_revokes_nothing(harness: Harness, home: Path, clock: Clock) -> None:
    by_device(harness, clock)
    assert harness.count(REVOKE) == 0


@pytest.mark.parametrize("change", [{"iss": "https://evil.example"}, {"state": "another"}, {"code": ""}], ids=str)
def test_a_login_that_fails_keeps_the_old_session(change: Any, harness: Harness, home: Path, clock: Clock) -> None:
    harness.control(session={"home": str(home)})
    before = stored(home)

    def browser(url: str) -> None:
        back = httpx.URL(harness.control(consent={"url": url, "decision": "allow"})["consent"])
        httpx.get(back.copy_merge_params(change))
        if "state" in change:
            clock.offset += 301

    with pytest.raises(Exception) as caught:  # noqa: PT011
        login_with_browser(harness.issuer, on_url=browser, _runtime=clock.runtime())
    assert getattr(caught.value, "code", None) in ("invalid_response", "expired_token"), caught.value
    assert (stored(home), harness.count(REVOKE)) == (before, 0)


@pytest.mark.parametrize("state", [None, "", "another"], ids=str)
def test_another_state_does_not_end_a_login(state: str | None, harness: Harness, home: Path) -> None:
    def browser(url: str) -> None:
        redirect_uri = httpx.URL(url).params["redirect_uri"]
        parameters = {"code": "made-up", "iss": harness.issuer, **({} if state is None else {"state": state})}
        assert httpx.get(redirect_uri, params=parameters).status_code == 400
        back_of(harness, url)

    login_with_browser(harness.issuer, on_url=browser).close()
    assert stored(home)["issuer"] == harness.issuer
    assert harness.count("authorization_code") == 1


@pytest.mark.parametrize("target", ["//", "http://127.0.0.1:1/callback", "/callback/", "*", "/%"])
def test_another_request_does_not_end_a_login(target: str, harness: Harness, home: Path) -> None:
    def browser(url: str) -> None:
        redirect_uri = httpx.URL(url).params["redirect_uri"]
        with httpx.Client() as client:
            response = client.get(redirect_uri, extensions={"target": target.encode()})
        assert response.status_code in (400, 404)
        back_of(harness, url)

    login_with_browser(harness.issuer, on_url=browser).close()
    assert harness.count("authorization_code") == 1


def test_a_parameter_twice_is_refused(harness: Harness, home: Path) -> None:
    def browser(url: str) -> None:
        back = harness.control(consent={"url": url, "decision": "allow"})["consent"]
        httpx.get(f"{back}&code=other")

    with pytest.raises(InvalidResponse, match="twice"):
        login_with_browser(harness.issuer, on_url=browser)
    assert harness.count("authorization_code") == 0


def test_a_browser_in_the_terminal_does_not_stop_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    is_closed, is_open = threading.Event(), threading.Event()
    outcomes: list[bool] = []

    def browser(_: str) -> bool:
        is_open.set()
        outcomes.append(is_closed.wait(3))
        return True

    monkeypatch.setattr(webbrowser, "open", browser)

    async def main() -> None:
        task = asyncio.create_task(open_browser_async("https://auth.example.com"))
        while not is_open.is_set():
            await asyncio.sleep(0.01)
        is_closed.set()
        await task

    asyncio.run(asyncio.wait_for(main(), 5))
    assert outcomes == [True]


def test_a_page_that_is_not_received_does_not_stop_the_event_loop(
    harness: Harness, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postern_client._callback.Callback.shown", lambda *_: None)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - begun)

    async def main() -> None:
        watching = asyncio.create_task(watch())
        session = await login_with_browser_async(
            harness.issuer, on_url=lambda url: asyncio.to_thread(back_of, harness, url)
        )
        watching.cancel()
        await session.aclose()

    asyncio.run(main())
    assert longest < 0.5
