"""Text of servers: what of it can be shown, and JSON."""

from __future__ import annotations

import json
from typing import Any

LONGEST_TEXT = 300
#: A longer word could be a token, which servers and proxies sometimes quote.
LONGEST_WORD = 60


def is_printable(text: str) -> bool:
    """Returns whether a terminal shows the text as it is. Control characters could overwrite the screen."""
    return text.isprintable()


def shown(text: Any) -> str:
    """Returns what a server says, without what could be a token or control a terminal."""
    if not isinstance(text, str):
        return ""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(word if len(word) <= LONGEST_WORD else "…" for word in plain.split())[:LONGEST_TEXT]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def object_of(text: str | bytes) -> dict[str, Any] | None:
    """Returns the members of a JSON object, or nothing if the text is something else."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
