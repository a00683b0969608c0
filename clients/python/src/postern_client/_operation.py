"""An operation of the management API, as `postern_client.api` describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

import httpx

from postern_client._text import object_of, shown
from postern_client.errors import PosternError

T = TypeVar("T")


class ApiError(PosternError):
    """An error of the management API, with its status, its code and its id."""

    code = "api_error"

    def __init__(self, status: int, error: str, description: str, request_id: str | None) -> None:
        super().__init__(f"{status} {error}: {description}" if description else f"{status} {error}")
        self.status = status
        self.error = error
        self.request_id = request_id


@dataclass(frozen=True)
class Operation(Generic[T]):
    """A call that has not been sent yet: `session.call(operation)` sends it."""

    method: str
    path: str
    segments: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    is_text: bool = False

    def target(self) -> str:
        """Returns the path and the query."""
        path = self.path.format(**{name: quote(value, safe="") for name, value in self.segments.items()})
        query = urlencode({name: value for name, value in self.query.items() if value is not None})
        return f"{path}?{query}" if query else path

    def options(self) -> dict[str, Any]:
        """Returns what httpx needs to send it. Members that are `None` are left out."""
        if self.body is None:
            return {}
        return {"json": {name: value for name, value in self.body.items() if value is not None}}

    def result(self, response: httpx.Response) -> T:
        """Returns the result of an answer.

        # Errors

        `ApiError`
        """
        if response.is_success:
            if self.is_text:
                return cast(T, response.text)
            return cast(T, response.json() if response.content else None)
        members = object_of(response.content) or {}
        error, request_id = members.get("error"), members.get("request_id")
        raise ApiError(
            response.status_code,
            shown(error) or "unexpected_response",
            shown(members.get("error_description")),
            shown(request_id) or None,
        )
