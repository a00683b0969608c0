"""Where workloads get the token that says who they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from postern_client import _discovery, _token
from postern_client._effects import Call, Protocol, Runtime
from postern_client._text import object_of
from postern_client.errors import WorkloadTokenUnavailable

SourceName = Literal["github", "gitlab", "kubernetes", "aws", "file"]
KUBERNETES_FILE = "/var/run/secrets/tokens/postern"
GITLAB_VARIABLE = "POSTERN_ID_TOKEN"


class Source:
    """Fetches tokens for an audience."""

    #: Whether each fetch returns another token. The server accepts a token once.
    is_renewable = True

    def fetch(self, audience: str, runtime: Runtime) -> Protocol[str]:
        raise NotImplementedError

    def spent(self, token: str) -> None:
        """Called with the token that the server has accepted."""


class GitHub(Source):
    """The runner of a GitHub Actions job."""

    def fetch(self, audience: str, runtime: Runtime) -> Protocol[str]:
        url, bearer = (os.environ.get(f"ACTIONS_ID_TOKEN_REQUEST_{name}") for name in ("URL", "TOKEN"))
        if not url or not bearer:
            raise WorkloadTokenUnavailable(
                "GitHub gives this job no token: the job of GitHub Actions needs `permissions: id-token: write`."
            )
        _discovery.check_secure(url, "ACTIONS_ID_TOKEN_REQUEST_URL")
        address = f"{url}{'&' if '?' in url else '?'}{urlencode({'audience': audience})}"
        headers = {"Authorization": f"bearer {bearer}"}
        response = yield from _token.attempt("GET", address, runtime, headers=headers)
        value = (object_of(response.body) or {}).get("value")
        if response.status != 200 or not isinstance(value, str):
            raise WorkloadTokenUnavailable(
                f"GitHub gave no token for this job (status {response.status}): check `permissions: id-token: write`."
            )
        return value


class Kept(Source):
    """A token that somebody else puts somewhere, and replaces."""

    is_renewable = False

    def __init__(self, read: Callable[[str], str], where: str, hint: str) -> None:
        self._read, self._where, self._hint = read, where, hint
        self._spent: bytes | None = None

    def fetch(self, audience: str, runtime: Runtime) -> Protocol[str]:
        token = (yield Call(lambda: self._read(audience))).strip()
        if not token:
            raise WorkloadTokenUnavailable(f"{self._where} is empty: {self._hint}")
        if self._digest(token) == self._spent:
            raise WorkloadTokenUnavailable(
                f"{self._where} still has the token that was already exchanged, which works once: {self._hint}"
            )
        return str(token)

    def spent(self, token: str) -> None:
        self._spent = self._digest(token)

    @staticmethod
    def _digest(token: str) -> bytes:
        return hashlib.sha256(token.encode()).digest()


def _from_variable(variable: str) -> Kept:
    def read(audience: str) -> str:
        token = os.environ.get(variable)
        if not token:
            raise WorkloadTokenUnavailable(
                f"There is no variable {variable}: add `id_tokens: {{{variable}: {{aud: {audience}}}}}` to the job."
            )
        return token

    return Kept(read, f"The variable {variable}", "a job that runs for longer needs a second entry of id_tokens.")


def _from_file(path: Path, hint: Callable[[str], str]) -> Kept:
    def read(audience: str) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is not text"
            raise WorkloadTokenUnavailable(f"Cannot read {path} ({cause}): {hint(audience)}") from None

    return Kept(read, f"The file {path}", "whoever writes it must replace it before the access token ends.")


class Aws(Source):
    """The role of this program in AWS."""

    def fetch(self, audience: str, runtime: Runtime) -> Protocol[str]:
        token: str = yield Call(lambda: self._request(audience))
        return token

    @staticmethod
    def _request(audience: str) -> str:
        try:
            import boto3  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError:
            raise WorkloadTokenUnavailable("AWS tokens need boto3: install postern-client[aws].") from None
        try:
            client: Any = boto3.Session().client("sts")
            answer = client.get_web_identity_token(Audience=[audience], SigningAlgorithm="ES384", DurationSeconds=300)
        except (BotoCoreError, ClientError) as error:
            raise WorkloadTokenUnavailable(
                f"AWS gave no token: {error}. Check the role, its permission sts:GetWebIdentityToken, and the region."
            ) from None
        return str(answer["WebIdentityToken"])


def source(
    name: SourceName, token_variable: str | None = None, token_file: str | os.PathLike[str] | None = None
) -> Source:
    """Returns a source by its name.

    # Errors

    `ValueError` for another name, and for `file` without a file.
    """
    match name:
        case "github":
            return GitHub()
        case "gitlab":
            return _from_variable(token_variable or GITLAB_VARIABLE)
        case "kubernetes":
            return _from_file(
                Path(token_file or KUBERNETES_FILE),
                lambda audience: f"mount a projected serviceAccountToken there, for the audience {audience}.",
            )
        case "aws":
            return Aws()
        case "file":
            if token_file is None:
                raise ValueError("the source file needs token_file")
            return _from_file(Path(token_file), lambda audience: f"write a token for the audience {audience} to it.")
    raise ValueError("the source of workload tokens must be github, gitlab, kubernetes, aws or file")
