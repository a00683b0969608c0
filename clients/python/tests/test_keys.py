"""The keys of an issuer: how often they are fetched, when they change, and if they cannot be fetched."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness import Clock
from postern_client.verifier import Introspection, McpTools, Refusal, Verifier
from scripted import Answer, Request, Scripted, authorization_server, scripted

API = "https://api.example.com/orders"
UNAVAILABLE: Answer = (503, {}, {})


class Issuer:
    """A server with keys that a test can replace, and that answers as the test says."""

    def __init__(self, server: Scripted) -> None:
        self.server = server
        self.private: dict[str, Any] = {}
        self.keys: list[dict[str, Any]] = []
        self.respond: Callable[[], Answer | None] = lambda: None

    def add(self, kid: str, **members: Any) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        self.private[kid] = private
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))
        self.keys.append({**public, "kid": kid, "alg": "ES256", "use": "sig", **members})

    def answer(self, request: Request) -> Answer:
        return self.respond() or (200, {}, {"keys": self.keys})

    @property
    def fetches(self) -> int:
        return len([request for request in self.server.requests if request.target == "/keys"])

    def token(self, kid: str | None = "a", signed_by: str | None = None) -> str:
        now = int(time.time())
        claims = {"iss": self.server.url, "aud": API, "sub": "usr_1", "iat": now, "exp": now + 600}
        key = self.private[signed_by or str(kid)]
        named = {} if kid is None else {"kid": kid}
        return f"Bearer {jwt.encode(claims, key, 'ES256', {'typ': 'at+jwt', **named})}"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer: Issuer
    with authorization_server(lambda request: issuer.answer(request)) as server:
        issuer = Issuer(server)
        issuer.add("a")
        issuer.add("made-up")
        issuer.keys.pop()
        yield issuer


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> Iterator[Verifier]:
    verifier = Verifier(issuer.server.url, API, on_failure=lambda _: None, _runtime=clock.runtime())
    yield verifier
    verifier._runtime.close()


def status(verifier: Verifier, token: str) -> int:
    """Returns the status of a request with a token."""
    try:
        verifier.verify(token)
    except Refusal as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize(
    "failure",
    [UNAVAILABLE, (404, {}, {}), (200, {}, []), (302, {"Location": "/keys2"}, {}), (429, {"Retry-After": "1"}, {})],
    ids=str,
)
def test_a_failure_is_the_answer_for_five_seconds(
    failure: Answer, issuer: Issuer, verifier: Verifier, clock: Clock
) -> None:
    issuer.respond = lambda: failure
    assert [status(verifier, issuer.token()) for _ in range(20)] == [503] * 20
    assert issuer.fetches == 1
    clock.offset += 4
    assert status(verifier, issuer.token()) == 503
    assert issuer.fetches == 1
    clock.offset += 2
    issuer.respond = lambda: None
    assert status(verifier, issuer.token()) == 200
    assert issuer.fetches == 2


def test_a_failure_of_the_metadata_is_the_answer_for_five_seconds(clock: Clock) -> None:
    with scripted(lambda _: UNAVAILABLE) as server:
        issuer = Issuer(server)
        issuer.add("a")
        options: Any = {"introspection": Introspection(client_secret="secret"), "_runtime": clock.runtime()}
        verifier = Verifier(server.url, API, on_failure=lambda _: None, **options)
        for seconds, requests in ((0, 1), (4, 1), (2, 2)):
            clock.offset += seconds
            assert [status(verifier, token) for token in (issuer.token(), "Bearer pst_ak_1") * 10] == [503] * 20
            assert len(server.requests) == requests
        assert clock.waits == []
        verifier._runtime.close()


def test_all_callers_get_the_outcome_of_one_fetch(issuer: Issuer, verifier: Verifier) -> None:
    barrier = threading.Barrier(10, timeout=10)
    issuer.respond = lambda: time.sleep(0.5) or UNAVAILABLE  # type: ignore[func-returns-value]

    def call(_: int) -> int:
        barrier.wait()
        return status(verifier, issuer.token())

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(call, range(10))) == [503] * 10
    assert issuer.fetches == 1


def test_all_tasks_get_the_outcome_of_one_fetch(issuer: Issuer, verifier: Verifier) -> None:
    is_slow = iter([True])
    issuer.respond = lambda: time.sleep(0.3) if next(is_slow, False) else None

    async def main() -> list[str]:
        callers = await asyncio.gather(*(verifier.verify_async(issuer.token()) for _ in range(10)))
        await verifier.aclose()
        return [caller.user_id for caller in callers]

    assert asyncio.run(main()) == ["usr_1"] * 10
    assert issuer.fetches == 1


def test_a_task_that_is_cancelled_leaves_the_fetch_to_others(issuer: Issuer, verifier: Verifier) -> None:
    is_slow = iter([True])
    issuer.respond = lambda: time.sleep(0.5) if next(is_slow, False) else None

    async def main() -> str:
        first = asyncio.create_task(verifier.verify_async(issuer.token()))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(verifier.verify_async(issuer.token()))
        await asyncio.sleep(0.1)
        first.cancel()
        user_id = (await second).user_id
        await verifier.aclose()
        return user_id

    assert asyncio.run(asyncio.wait_for(main(), 10)) == "usr_1"


def test_a_verifier_sends_each_request_once(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    issuer.respond = lambda: UNAVAILABLE
    assert status(verifier, issuer.token()) == 503
    assert (issuer.fetches, clock.waits) == (1, [])


def test_made_up_keys_are_looked_for_once_a_minute(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    assert status(verifier, issuer.token()) == 200
    assert [status(verifier, issuer.token(f"x{n}", "made-up")) for n in range(20)] == [401] * 20
    assert issuer.fetches == 1
    clock.offset += 61
    assert [status(verifier, issuer.token(f"y{n}", "made-up")) for n in range(20)] == [401] * 20
    assert issuer.fetches == 2


def test_a_new_key_is_accepted_after_a_minute(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    assert status(verifier, issuer.token()) == 200
    issuer.add("b")
    assert status(verifier, issuer.token("b")) == 401
    clock.offset += 61
    assert status(verifier, issuer.token("b")) == 200
    assert issuer.fetches == 2


def test_a_key_that_was_removed_is_refused_after_five_minutes(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    assert status(verifier, issuer.token()) == 200
    issuer.keys.clear()
    clock.offset += 299
    assert status(verifier, issuer.token()) == 200
    clock.offset += 2
    assert status(verifier, issuer.token()) == 401


def test_a_failure_does_not_end_keys_that_are_known(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    assert status(verifier, issuer.token()) == 200
    issuer.respond = lambda: UNAVAILABLE
    clock.offset += 61
    assert status(verifier, issuer.token("x", "made-up")) == 503
    assert status(verifier, issuer.token()) == 200
    clock.offset += 300
    assert status(verifier, issuer.token()) == 503


def test_the_age_of_keys_does_not_depend_on_the_time_of_day(issuer: Issuer, verifier: Verifier, clock: Clock) -> None:
    assert status(verifier, issuer.token()) == 200
    issuer.keys.clear()
    verifier._runtime.now = lambda: 0.0
    clock.offset += 301
    assert status(verifier, issuer.token()) == 401


@pytest.mark.parametrize(
    "members",
    [{"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"alg": "ES384"}, {"kty": "oct"}, {"x": "AA"}],
    ids=str,
)
def test_a_key_for_something_else_is_not_used(members: Any, issuer: Issuer, verifier: Verifier) -> None:
    issuer.add("b", **members)
    assert status(verifier, issuer.token("b")) == 401


def test_two_keys_of_one_name_are_not_used(issuer: Issuer, verifier: Verifier) -> None:
    issuer.add("b")
    token = issuer.token("b")
    issuer.add("b")
    assert [status(verifier, token), status(verifier, issuer.token("b"))] == [401, 401]


def test_a_token_without_a_key_id_is_verified_by_the_only_key(issuer: Issuer, verifier: Verifier) -> None:
    assert status(verifier, issuer.token(None, "a")) == 200


@pytest.mark.parametrize(
    ("members", "is_accepted"),
    [
        ({}, True),
        ({"aud": API}, True),
        ({"aud": ["https://other.example", API]}, True),
        ({"aud": "https://other.example"}, False),
        ({"aud": []}, False),
        ({"iss": "https://evil.example"}, False),
        ({"active": "true"}, False),
        ({"active": False}, False),
        ({"token_type": "DPoP"}, False),
        ({"token_type": None}, False),
        ({"cnf": {"jkt": "x"}}, False),
        ({"sub": None}, False),
        ({"sub": 7}, False),
    ],
    ids=str,
)
def test_only_an_answer_for_this_api_is_accepted(members: Any, is_accepted: bool) -> None:
    answer = {"active": True, "sub": "usr_1", "token_type": "Bearer", "scope": "orders:read", **members}
    with authorization_server(lambda _: (200, {}, answer)) as server:
        verifier = Verifier(server.url, API, introspection=Introspection(client_secret="secret"))
        assert status(verifier, "Bearer pst_ak_1") == (200 if is_accepted else 401)
        verifier._runtime.close()


def test_a_key_asks_in_the_header_authorization() -> None:
    with authorization_server(lambda _: (200, {}, {"active": False})) as server:
        verifier = Verifier(server.url, API, introspection=Introspection(api_key="pst_ak_1"))
        assert status(verifier, "Bearer pst_ak_2") == 401
        assert server.requests[-1].authorization == "Bearer pst_ak_1"
        assert "x-api-key" not in server.requests[-1].headers
        verifier._runtime.close()


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "", True),
        ("delete_*", "delete_", True),
        ("*_order", "delete_order", True),
        ("*_order", "delete_orders", False),
        ("delete_*", "undelete_order", False),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("*a*a*", "a", False),
        ("*a*b*", "xaxbx", True),
        ("a.c", "abc", False),
        ("a", "a\n", False),
        ("**", "x", True),
    ],
)
def test_a_pattern_matches_whole_names(pattern: str, name: str, matches: bool) -> None:
    assert McpTools({pattern: ["s"]}).of(name) == (["s"] if matches else [])


@pytest.mark.parametrize("pattern", ["*a*b*", "*a*b*c*", "*a*a*b*", "*a" * 20 + "b"])
def test_a_long_name_is_matched_at_once(pattern: str) -> None:
    tools = McpTools({pattern: ["s"]})
    begun = time.monotonic()
    assert tools.of("a" * 100_000) == []
    assert time.monotonic() - begun < 1
