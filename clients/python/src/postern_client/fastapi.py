"""Dependencies for FastAPI: who calls a route, and whether they have its scopes.

Needs `postern-client[fastapi]`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPBearer

from postern_client.verifier import McpTools, Principal, Refusal, Verifier

#: Only for the OpenAPI document of the application: the verifier reads the headers itself.
BEARER = HTTPBearer(auto_error=False, description="An access token, or an API key")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key")


class Guard:
    """Protects the routes of an application: `Depends(guard("orders:read"))` is the caller, who has the scope."""

    def __init__(self, app: FastAPI, verifier: Verifier) -> None:
        self._verifier = verifier
        app.add_exception_handler(Refusal, _respond)

    def __call__(self, *scopes: str, tools: McpTools | None = None) -> Callable[..., Awaitable[Principal]]:
        """Returns a dependency that needs all of these scopes, and those of the tool that a request calls."""

        async def caller(
            request: Request,
            _bearer: Annotated[object, Security(BEARER)],
            _api_key: Annotated[object, Security(API_KEY)],
        ) -> Principal:
            authorization, api_key = (_header(request, name) for name in ("authorization", "x-api-key"))
            principal = await self._verifier.verify_async(authorization, api_key, scopes)
            if tools is not None and request.method == "POST":
                names = _header(request, "mcp-method"), _header(request, "mcp-name")
                self._verifier.require_tools(principal, tools, *names, await request.body())
            return principal

        return caller


def _header(request: Request, name: str) -> str | None:
    """Returns all values of a header, joined by a comma, so that a second one is not overlooked."""
    return ", ".join(request.headers.getlist(name)) or None


async def _respond(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101
    return JSONResponse(error.body, error.status, error.headers)
