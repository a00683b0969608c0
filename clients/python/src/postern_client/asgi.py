"""A middleware for every ASGI application: only callers whose credential is valid reach it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from postern_client.verifier import McpTools, Principal, Refusal, Verifier

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PRINCIPAL = "postern.principal"
#: The most that is read of a request to an MCP server, to see which tool it calls.
MAX_BODY = 1 << 20
POLICY_VIOLATION = 1008


def principal_of(scope: Scope) -> Principal:
    """Returns the caller of a request that the middleware let pass.

    # Errors

    `LookupError` if the request did not pass the middleware.
    """
    principal = scope.get(PRINCIPAL)
    if not isinstance(principal, Principal):
        raise LookupError("this application is not protected: put PosternMiddleware around it")
    return principal


def header(scope: Scope, name: bytes) -> str | None:
    """Returns all values of a header, joined by a comma, so that a second one is not overlooked."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    return ", ".join(values) if values else None


class PosternMiddleware:
    """Lets requests pass whose credential is valid, and has the scopes.

    `scopes` are those that every request needs, or a function that returns those of a request by its ASGI scope;
    `None` from the function lets everybody pass. `tools` are the scopes of the tools of an MCP server.
    """

    def __init__(
        self,
        app: App,
        verifier: Verifier,
        *,
        scopes: Sequence[str] | Callable[[Scope], Sequence[str] | None] = (),
        tools: McpTools | None = None,
    ) -> None:
        if isinstance(scopes, str):
            raise TypeError("scopes must be a list, not text")
        self._app, self._verifier, self._scopes, self._tools = app, verifier, scopes, tools

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            needed = self._scopes(scope) if callable(self._scopes) else self._scopes
            if needed is not None:
                receive = await self._admit(scope, receive, needed)
        except Refusal as refusal:
            await (_refuse if scope["type"] == "http" else _close)(refusal, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, scopes: Sequence[str]) -> Receive:
        """Puts the caller into the scope; returns what the application receives."""
        authorization, api_key = header(scope, b"authorization"), header(scope, b"x-api-key")
        principal = await self._verifier.verify_async(authorization, api_key, scopes)
        if self._tools is not None and scope["type"] == "http" and scope["method"] == "POST":
            body, receive = await self._read(receive)
            names = header(scope, b"mcp-method"), header(scope, b"mcp-name")
            self._verifier.require_tools(principal, self._tools, *names, body)
        scope[PRINCIPAL] = principal
        scope["state"] = {**scope.get("state", {}), "principal": principal}
        return receive

    async def _read(self, receive: Receive) -> tuple[bytes, Receive]:
        """Reads the body; returns it, and what receives it again."""
        messages: list[Message] = []
        body = b""
        while True:
            message = await receive()
            messages.append(message)
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                raise self._verifier.refuse_body()
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        rest = iter(messages)

        async def replay() -> Message:
            return next(rest, None) or await receive()

        return body, replay


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = json.dumps(refusal.body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def _close(refusal: Refusal, send: Send) -> None:
    """Refuses a WebSocket before it is accepted, which servers answer with 403."""
    await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.code})
