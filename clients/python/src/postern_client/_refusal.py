"""How a server refuses a request (RFC 6750 §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

RefusalCode = Literal[
    "auth_required", "insufficient_scope", "invalid_request", "invalid_token", "temporarily_unavailable"
]

STATUS: Mapping[RefusalCode, int] = {
    "auth_required": 401,
    "insufficient_scope": 403,
    "invalid_request": 400,
    "invalid_token": 401,
    "temporarily_unavailable": 503,
}
RETRY_AFTER_S = 5


class Refusal(Exception):
    """The answer to a request that is refused: `status`, `headers` and `body`."""

    def __init__(
        self,
        code: RefusalCode,
        description: str,
        *,
        scope: Sequence[str] = (),
        resource_metadata: str | None = None,
    ) -> None:
        super().__init__(description)
        self.code = code
        self.status = STATUS[code]
        self.body = {"error": code, "error_description": description}
        self.headers = {"Cache-Control": "no-store"}
        if code == "temporarily_unavailable":
            self.headers["Retry-After"] = str(RETRY_AFTER_S)
            return
        parameters = {
            # RFC 6750 §3.1: no error if there was no credential.
            "error": None if code == "auth_required" else code,
            "error_description": None if code == "auth_required" else description,
            "scope": " ".join(scope) or None,
            "resource_metadata": resource_metadata,
        }
        shown = [f'{name}="{_escape(value)}"' for name, value in parameters.items() if value is not None]
        self.headers["WWW-Authenticate"] = f"Bearer {', '.join(shown)}".rstrip()


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
