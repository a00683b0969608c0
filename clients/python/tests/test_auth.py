"""Requests with the tokens of a session: where they go, and where not."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import requests

from harness import Harness
from postern_client import AsyncSession, ServerUnavailable, Session, errors
from scripted import Answer, Request, authorization_server, scripted

REFUSED: Answer = (401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, {})


def agent(issuer: str) -> Session:
    return Session.client_credentials("agt_1", "secret", issuer=issuer)


def test_a_redirect_of_requests_gets_no_token_for_another_server() -> None:
    def redirect(request: Request) -> Answer:
        return 302, {"Location": f"{evil.url}/".replace("127.0.0.1", "localhost")}, {}

    with authorization_server() as server, scripted(lambda _: REFUSED) as evil, scripted(redirect) as api:
        with agent(server.url) as session:
            response = requests.get(api.url, auth=session.auth(), timeout=5)
        assert response.status_code == 401
        assert [request.authorization for request in evil.requests] == [None]
        assert len(server.forms("/token")) == 1


def test_a_redirect_of_httpx_gets_no_token_for_another_server() -> None:
    def redirect(request: Request) -> Answer:
        return 302, {"Location": f"{evil.url}/".replace("127.0.0.1", "localhost")}, {}

    with authorization_server() as server, scripted(lambda _: REFUSED) as evil, scripted(redirect) as api:
        with agent(server.url) as session, httpx.Client(auth=session.auth(), follow_redirects=True) as client:
            assert client.get(api.url).status_code == 401
        assert [request.authorization for request in evil.requests] == [None]
        assert len(api.requests) == len(server.forms("/token")) == 1


def test_a_session_follows_no_redirects(harness: Harness) -> None:
    with scripted(lambda _: (302, {"Location": "/elsewhere"}, {})) as api, Session.api_key("pst_ak_1") as session:
        assert session.get(f"{api.url}/orders").status_code == 302
        assert [request.target for request in api.requests] == ["/orders"]


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/orders?secret=1",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.2/",
        "http://api.localhost/",
        "http://[::2]/",
        "ftp://api.example.com/",
        "/orders",
    ],
)
def test_no_token_is_obtained_for_a_url_without_https(url: str) -> None:
    with authorization_server() as server, agent(server.url) as session, httpx.Client() as client:
        for send in (session.get, lambda url: client.get(url, auth=session.auth())):
            with pytest.raises((errors.InsecureIssuer, httpx.UnsupportedProtocol)) as caught:
                send(url)
            assert "secret" not in str(caught.value)
        if url.startswith("http"):
            with pytest.raises(errors.InsecureIssuer):
                requests.get(url, auth=session.auth(), timeout=1)
        assert server.requests == []


def test_the_wrong_kind_of_session_sends_nothing() -> None:
    async def main(url: str) -> None:
        async with httpx.AsyncClient() as client:
            with pytest.raises(RuntimeError, match="AsyncSession"):
                await client.get(url, auth=Session.api_key("pst_ak_1").auth())
        async with AsyncSession.api_key("pst_ak_1") as session:
            with httpx.Client() as client, pytest.raises(RuntimeError, match="use Session"):
                client.get(url, auth=session.auth())

    with scripted(lambda _: (200, {}, {})) as api:
        asyncio.run(main(api.url))
        assert api.requests == []


def test_an_api_that_does_not_respond_is_named() -> None:
    url = "http://127.0.0.1:9/orders?secret=1"

    async def main() -> Any:
        async with AsyncSession.api_key("pst_ak_1") as session:
            await session.get(url)

    with Session.api_key("pst_ak_1") as session:
        for send in (lambda: session.get(url), lambda: asyncio.run(main())):
            with pytest.raises(ServerUnavailable, match=r"http://127\.0\.0\.1:9/orders cannot") as caught:
                send()
            assert "secret" not in str(caught.value)
