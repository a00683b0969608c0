"""Signed requests: the signature covers the time, a nonce, the method, the target and the body."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time

NONCE = re.compile(r"[A-Za-z0-9_-]{16,128}")
METHOD = re.compile(r"[A-Za-z]+")
#: The target of a request line: no spaces, control characters or fragment.
TARGET = re.compile(r"/[\x21\x22\x24-\x7e]*")


def sign_request(
    token: str,
    method: str,
    target: str,
    body: bytes | str | None = None,
    timestamp_ms: int | None = None,
    nonce: str | None = None,
    *,
    content_sha256: bool = False,
) -> dict[str, str]:
    """Returns the headers that sign a request with the token that it presents.

    `target` is the path with the query, exactly as it is sent. `content_sha256` adds the digest of the body, which an
    authorizer needs because it sees no body. Time and nonce are chosen if they are not given.

    # Errors

    `ValueError` if an argument cannot be signed.
    """
    timestamp_ms = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
    nonce = secrets.token_hex(16) if nonce is None else nonce
    if not token:
        raise ValueError("the token is empty: sign with the token that the request presents")
    if not METHOD.fullmatch(method):
        raise ValueError("the method must consist of letters")
    if not TARGET.fullmatch(target):
        raise ValueError("the target must be the path and query as they are sent, such as /orders?limit=2")
    if timestamp_ms < 0:
        raise ValueError("the timestamp must be milliseconds since 1970")
    if not NONCE.fullmatch(nonce):
        raise ValueError("the nonce must be 16 to 128 of A-Z, a-z, 0-9, '_' and '-'")
    content = body.encode() if isinstance(body, str) else body or b""
    digest = hashlib.sha256(content).hexdigest()
    message = f"{timestamp_ms}:{nonce}:{method.upper()}:{target}:{digest}"
    signature = hmac.new(token.encode(), message.encode(), hashlib.sha256).hexdigest()
    headers = {"X-Cli-Signature": signature, "X-Cli-Timestamp": str(timestamp_ms), "X-Cli-Nonce": nonce}
    if content_sha256:
        headers["X-Cli-Content-Sha256"] = digest
    return headers
