"""Log in once, and call APIs without ever seeing a 401: see `Session`.

For servers, `postern_client.verifier` says who calls, with `postern_client.asgi` and `postern_client.fastapi`.
"""

from postern_client._auth import AsyncSessionAuth, SessionAuth
from postern_client._login import DevicePrompt
from postern_client._operation import ApiError, Operation
from postern_client._token import AccessToken
from postern_client._version import __version__
from postern_client.errors import (
    AccessDenied,
    Cancelled,
    ExpiredToken,
    InsecureIssuer,
    InvalidClient,
    InvalidResponse,
    InvalidScope,
    InvalidTarget,
    LockTimeout,
    LoginRequired,
    PosternError,
    ServerUnavailable,
    SessionInvalid,
    StorageFailed,
    WorkloadTokenUnavailable,
)
from postern_client.session import (
    AsyncSession,
    Session,
    login_with_browser,
    login_with_browser_async,
    login_with_device,
    login_with_device_async,
)
from postern_client.signing import sign_request

__all__ = [
    "AccessDenied",
    "AccessToken",
    "ApiError",
    "AsyncSession",
    "AsyncSessionAuth",
    "Cancelled",
    "DevicePrompt",
    "ExpiredToken",
    "InsecureIssuer",
    "InvalidClient",
    "InvalidResponse",
    "InvalidScope",
    "InvalidTarget",
    "LockTimeout",
    "LoginRequired",
    "Operation",
    "PosternError",
    "ServerUnavailable",
    "Session",
    "SessionAuth",
    "SessionInvalid",
    "StorageFailed",
    "WorkloadTokenUnavailable",
    "__version__",
    "login_with_browser",
    "login_with_browser_async",
    "login_with_device",
    "login_with_device_async",
    "sign_request",
]
