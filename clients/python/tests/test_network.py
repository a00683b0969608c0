"""How long requests take, how often they are sent, and what of a response is shown."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from harness import Clock
from postern_client import (
    AsyncSession,
    InvalidClient,
    InvalidResponse,
    InvalidScope,
    PosternError,
    ServerUnavailable,
    Session,
    _token,
)
from postern_client._effects import Runtime, run
from scripted import Answer, Dripping, Request, authorization_server, scripted, serving

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ENDLESS = {
    "headers": (HEAD, b"X-More: 1\r\n", 0.1),
    "slow body": (HEAD + b"\r\n{", b" ", 0.1),
    "long body": (HEAD + b"\r\n{", b" " * 65536, 0.0),
    "nothing": (b"", b"", 0.1),
}


def token_of(issuer: str, is_async: bool, runtime: Runtime | None = None, **options: Any) -> str:
    """Returns a token of an agent, by a session of either kind."""
    arguments: Any = {"issuer": issuer, "_runtime": runtime, **options}

    async def main() -> str:
        async with AsyncSession.client_credentials("agt_1", "secret", **arguments) as session:
            return (await session.access_token()).value

    if is_async:
        return asyncio.run(main())
    with Session.client_credentials("agt_1", "secret", **arguments) as session:
        return session.access_token().value


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_response_without_an_end_is_given_up(
    name: str, is_async: bool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postern_client._token.ATTEMPT_S", 0.3)
    begun = time.monotonic()
    with serving(Dripping(*ENDLESS[name])) as server:
        with pytest.raises(ServerUnavailable):
            token_of(server.url, is_async, clock.runtime())
        server.ends.set()
    assert time.monotonic() - begun < 4


def test_a_request_after_one_that_was_given_up_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postern_client._token.ATTEMPT_S", 0.3)
    runtime = Runtime()
    with serving(Dripping(*ENDLESS["headers"])) as slow, authorization_server() as server:
        with pytest.raises(ServerUnavailable):
            run(_token.attempt_once("GET", slow.url, runtime), runtime)
        slow.ends.set()
        assert run(_token.attempt_once("GET", f"{server.url}/token", runtime), runtime).status == 200
    runtime.close()


def test_attempts_end_within_9_seconds(clock: Clock) -> None:
    begun: list[float] = []
    first = clock.monotonic()

    def handle(request: httpx.Request) -> httpx.Response:
        begun.append(clock.monotonic() - first)
        clock.offset += _token.ATTEMPT_S
        raise httpx.ReadTimeout("late", request=request)

    runtime = clock.runtime()
    runtime.transport = httpx.MockTransport(handle)
    with pytest.raises(ServerUnavailable):
        run(_token.attempt("POST", "https://auth.example.com/token", runtime), runtime)
    runtime.close()
    assert len(begun) == 2
    assert begun[-1] + _token.ATTEMPT_S < 9
    # The server answers a repeated refresh with the same token for 10 seconds.
    assert _token.LAST_BEGIN_S + _token.ATTEMPT_S < 10


def test_a_process_that_was_stopped_does_not_repeat_a_request(clock: Clock) -> None:
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(503)

    runtime = clock.runtime()
    runtime.transport = httpx.MockTransport(handle)

    def sleep_for_a_minute(_: float) -> None:
        clock.offset += 60

    runtime.sleep = sleep_for_a_minute
    with pytest.raises(ServerUnavailable):
        run(_token.attempt("POST", "https://auth.example.com/token", runtime), runtime)
    runtime.close()
    assert len(sent) == 1


def test_the_life_of_a_token_is_counted_from_its_request(clock: Clock) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        clock.offset += 2.5
        tokens = {"access_token": "a", "token_type": "Bearer", "expires_in": 10}
        return httpx.Response(503) if len(times) < 2 else httpx.Response(200, json=tokens)

    times: list[float] = []

    def now() -> float:
        times.append(clock.now())
        return times[-1]

    runtime = clock.runtime()
    runtime.now, runtime.transport = now, httpx.MockTransport(handle)
    tokens = run(_token.request_tokens("https://auth.example.com/token", {}, runtime, scope=None), runtime)
    runtime.close()
    # The second attempt was answered.
    assert tokens.access.expires_at == int(times[1]) + 10


@pytest.mark.parametrize(("status", "requests"), [(502, 1), (503, 1), (500, 1), (429, 2), (400, 1)])
def test_a_code_is_repeated_only_if_it_was_not_handled(status: int, requests: int, clock: Clock) -> None:
    def answer(_: Request) -> Answer:
        return status, {"Retry-After": "1"} if len(server.requests) == 1 else {"Retry-After": "60"}, {"error": "x"}

    with scripted(answer) as server:
        runtime = clock.runtime()
        form = {"grant_type": "authorization_code"}
        with pytest.raises((PosternError, _token.Refused)):
            run(_token.request_tokens(server.url, form, runtime, scope=None, is_single_use=True), runtime)
        runtime.close()
        assert len(server.requests) == requests


@pytest.mark.parametrize(
    ("failure", "requests"),
    [(httpx.ConnectError, 3), (httpx.ConnectTimeout, 1), (httpx.ReadTimeout, 1), (httpx.ReadError, 1)],
)
def test_a_code_is_repeated_after_a_connection_that_was_refused(failure: Any, requests: int, clock: Clock) -> None:
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        raise failure("failed", request=request)

    runtime = clock.runtime()
    runtime.transport = httpx.MockTransport(handle)
    with pytest.raises(ServerUnavailable):
        run(_token.attempt("POST", "https://auth.example.com/token", runtime, {}, is_single_use=True), runtime)
    runtime.close()
    assert len(sent) == requests


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_this_machine_is_not_requested_through_a_proxy(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(lambda _: (200, {}, {})) as proxy, authorization_server() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        token_of(server.url, is_async)
        with Session.api_key("pst_ak_1") as session:
            assert session.get(f"{server.url}/token").status_code == 200
        assert proxy.requests == []


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        (f"bad token pst_rt_{'s' * 60}", "bad token …"),
        ("a\x1b[2Jb\u202ec\x00", "a [2Jb c"),
        ("Ask an administrator.", "Ask an administrator."),
        (7, ""),
        ("word " * 100, ("word " * 100).strip()[:300]),
    ],
    ids=str,
)
def test_what_a_server_says_is_shown_without_secrets(description: Any, shown: str) -> None:
    def answer(_: Request) -> Answer:
        return 400, {}, {"error": "invalid_scope", "error_description": description}

    with authorization_server(answer) as server, pytest.raises(InvalidScope) as caught:
        token_of(server.url, False)
    assert str(caught.value) == f"The server refused the request: invalid_scope. {shown}".strip()


def test_an_error_of_a_server_is_shown_without_secrets() -> None:
    def answer(_: Request) -> Answer:
        return 400, {}, {"error": f"pst_rt_{'s' * 60}\x1b"}

    with authorization_server(answer) as server, pytest.raises(PosternError) as caught:
        token_of(server.url, False)
    assert "sss" not in str(caught.value)
    assert str(caught.value).isprintable()


NOT_JSON = {
    "a deep list": b"[" * 100_000,
    "a deep object": b'{"a":' * 100_000,
    "not a number": b'{"expires_in": NaN}',
    "not text": b"\xff",
    "nothing": b"",
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_not_a_response(content: bytes) -> None:
    runtime = Runtime(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=content)))
    with pytest.raises(InvalidResponse):
        run(_token.request_tokens("https://auth.example.com/token", {}, runtime, scope=None), runtime)
    runtime.close()


def test_a_wrong_secret_is_reported() -> None:
    with authorization_server(lambda _: (401, {}, {"error": "invalid_client"})) as server, pytest.raises(InvalidClient):
        token_of(server.url, False)
