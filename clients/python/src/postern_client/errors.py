"""The errors of the package: one class for each code, the same codes as in the other languages.

Each sentence says what is wrong and what to do. None contains a token.
"""

from __future__ import annotations

from typing import ClassVar


class PosternError(Exception):
    """An error with a code that programs can compare."""

    code: ClassVar[str]


class LoginRequired(PosternError):
    """There is no session, or the server has ended it."""

    code = "login_required"


class AccessDenied(PosternError):
    """The user, or a rule of the server, has refused."""

    code = "access_denied"


class ExpiredToken(PosternError):
    """Nobody approved the login in time."""

    code = "expired_token"


class InvalidClient(PosternError):
    """The client is unknown, or its secret is wrong."""

    code = "invalid_client"


class InvalidScope(PosternError):
    """A scope does not exist, or was not granted."""

    code = "invalid_scope"


class InvalidTarget(PosternError):
    """The resource does not exist, or the session is for another one."""

    code = "invalid_target"


class ServerUnavailable(PosternError):
    """The server cannot be reached, or has failed. The session is kept."""

    code = "server_unavailable"


class InvalidResponse(PosternError):
    """The response of the server is not what the protocol allows."""

    code = "invalid_response"


class InsecureIssuer(PosternError):
    """A URL without https that is not on this machine."""

    code = "insecure_issuer"


class LockTimeout(PosternError):
    """Another process did not release the session in time."""

    code = "lock_timeout"


class SessionInvalid(PosternError):
    """The file of the session cannot be parsed."""

    code = "session_invalid"


class StorageFailed(PosternError):
    """The session could not be read or written."""

    code = "storage_failed"


class WorkloadTokenUnavailable(PosternError):
    """The place where this program runs has no token for it."""

    code = "workload_token_unavailable"


class Cancelled(PosternError):
    """The program has ended the login."""

    code = "cancelled"
