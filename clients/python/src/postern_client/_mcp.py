"""Which scopes a request to an MCP server needs, by the tool that it calls."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: How a header has a name with characters that headers cannot have (MCP 2026-07-28).
ENCODED = re.compile(r"=\?base64\?([A-Za-z0-9+/]*={0,2})\?=")


@dataclass(frozen=True)
class McpTools:
    """The scopes of tools by name, in which `*` stands for any characters. Every entry that matches applies."""

    scopes: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        if any(isinstance(needed, str) for needed in self.scopes.values()):
            raise TypeError("the scopes of a tool must be a list, not text")

    def of(self, tool: str) -> list[str]:
        """Returns the scopes that a tool needs."""
        return [scope for pattern, needed in self.scopes.items() if _matches(pattern, tool) for scope in needed]


class InvalidMessage(ValueError):
    """A body that is not a message of MCP, or headers that say something else."""


def _matches(pattern: str, name: str) -> bool:
    """Matches part by part: a regular expression would try all ways to divide a long name."""
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    *middle, last = others
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses an object with a member twice, which another parser could read differently."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _decoded(name: str) -> str:
    """Returns the name that a header has. What is not valid base64 of UTF-8 is the name itself."""
    encoded = ENCODED.fullmatch(name)
    if encoded is None:
        return name
    try:
        octets = base64.b64decode(encoded[1], validate=True)
        return octets.decode() if base64.b64encode(octets).decode() == encoded[1] else name
    except ValueError:
        return name


def needed_scopes(tools: McpTools, method: str | None, name: str | None, body: bytes) -> list[str]:
    """Returns the scopes that the body needs. The body decides, because it is what the server executes.

    `method` and `name` are the headers `Mcp-Method` and `Mcp-Name`. If they say something else, the request is
    refused, as the specification demands.

    # Errors

    `InvalidMessage`
    """
    try:
        parsed = json.loads(body, object_pairs_hook=_unique_members)
    except (ValueError, RecursionError):
        raise InvalidMessage("The body is not a JSON-RPC message.") from None
    messages = parsed if isinstance(parsed, list) else [parsed]
    if not messages:
        raise InvalidMessage("The body is not a JSON-RPC message.")
    return list(dict.fromkeys(scope for message in messages for scope in _of_message(tools, method, name, message)))


def _of_message(tools: McpTools, method: str | None, name: str | None, message: Any) -> list[str]:
    if not isinstance(message, dict) or not (
        isinstance(message.get("method"), str) or {"result", "error"} & set(message)
    ):
        raise InvalidMessage("The body is not a JSON-RPC message.")
    called = message.get("method")
    parameters = message.get("params")
    about = parameters.get("name", parameters.get("uri")) if isinstance(parameters, dict) else None
    if method and method != called:
        raise InvalidMessage("The header Mcp-Method differs from the body.")
    if name and _decoded(name) != about:
        raise InvalidMessage("The header Mcp-Name differs from the body.")
    if called != "tools/call":
        return []
    if not isinstance(about, str):
        raise InvalidMessage("The call names no tool.")
    return tools.of(about)
