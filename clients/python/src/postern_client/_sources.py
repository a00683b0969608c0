"""Where a session gets its access tokens: each source returns one that is fresh, or renews it."""

from __future__ import annotations

import math
import threading
from pathlib import Path

from postern_client import _token, _workload
from postern_client._discovery import Cache
from postern_client._effects import Complete, Protocol, Runtime
from postern_client._store import Entry, SessionFile, Stored
from postern_client._token import AccessToken, Refused, Tokens, given
from postern_client.errors import AccessDenied, LockTimeout, LoginRequired, PosternError, ServerUnavailable

#: How long a server that is away is not asked again, while a token is still valid.
PAUSE_S = 5
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class TokenSource:
    """A source of access tokens."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.metadata = Cache()
        self._pause_end = 0.0

    @property
    def issuer(self) -> str:
        """Returns the deployment to which the session belongs."""
        raise NotImplementedError

    def fresh(
        self, resource: str | None, scope: str | None, refused: str | None = None, *, is_urgent: bool = False
    ) -> AccessToken | None:
        """Returns a token that need not be renewed, without a request. `is_urgent`: one that is valid at all."""
        raise NotImplementedError

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        """Returns a token that is fresh, by at most one renewal, whoever else asks for it."""
        raise NotImplementedError

    def token(self, resource: str | None, scope: str | None, refused: str | None) -> Protocol[AccessToken]:
        """Returns a token, and renews it if it ends soon. If that is not possible, it is used to its end."""
        if fresh := self.fresh(resource, scope, refused):
            return fresh
        is_pausing = self.runtime.monotonic() < self._pause_end
        if is_pausing and (valid := self.fresh(resource, scope, refused, is_urgent=True)):
            return valid
        try:
            token: AccessToken = yield Complete(lambda: self.renew(resource, scope, refused))
        except (LockTimeout, ServerUnavailable):
            valid = self.fresh(resource, scope, refused, is_urgent=True)
            if valid is None:
                raise
            self._pause_end = self.runtime.monotonic() + PAUSE_S
            return valid
        return token

    def logout(self) -> Protocol[str | None]:
        """Ends the session. Returns a warning if the server could not be reached."""
        raise NotImplementedError


class StoredSource(TokenSource):
    """The session of a login, in a file that other processes use too."""

    def __init__(self, runtime: Runtime, file: SessionFile) -> None:
        super().__init__(runtime)
        self.file = file

    @property
    def issuer(self) -> str:
        return self.file.read().issuer

    def fresh(
        self, resource: str | None, scope: str | None, refused: str | None = None, *, is_urgent: bool = False
    ) -> AccessToken | None:
        return self.file.read().fresh(resource, scope, self.runtime.now(), refused, is_urgent=is_urgent)

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        metadata = yield from self.metadata.get(self.file.read().issuer, self.runtime)
        url = metadata.endpoint("token_endpoint")
        with self.file.lock(self.runtime):
            stored = self.file.read()
            # Another process may have renewed it while this one waited for the lock.
            if fresh := stored.fresh(resource, scope, self.runtime.now(), refused):
                return fresh
            try:
                tokens = yield from self._refresh(stored, url, resource, scope)
            except Refused as refusal:
                ended = self.file.login_required("The server has ended the session")
                raise refusal.for_caller(url, ended) from None
            self.file.write(stored.renewed(resource, scope, tokens, self.runtime.now()))
            return tokens.access

    def _refresh(self, stored: Stored, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        """Spends the refresh token. If another program has replaced it without the lock, spends the new one."""
        sent = stored.refresh_token
        if sent is None:
            raise self.file.login_required("The session has ended, and the server gave no refresh token")
        for _ in range(2):
            form = given(
                grant_type="refresh_token",
                refresh_token=sent,
                client_id=stored.client_id,
                resource=resource,
                scope=scope,
            )
            try:
                tokens = yield from _token.request_tokens(url, form, self.runtime, scope=scope or stored.scope)
            except Refused as refusal:
                current = self.file.read().refresh_token
                if refusal.error != "invalid_grant" or current is None or current == sent:
                    raise
                sent = current
                continue
            return Tokens(tokens.access, tokens.obtained_at, tokens.refresh_token or sent)
        raise self.file.login_required("Another program changes the session without the lock")

    def logout(self) -> Protocol[str | None]:
        with self.file.lock(self.runtime):
            if not self.file.path.exists():
                return None
            warning = None
            try:
                stored = self.file.read()
                yield from self._revoke(stored)
            except PosternError as error:
                warning = (
                    "The session is deleted here, but the server may still accept its tokens until they expire, "
                    f"because they could not be revoked: {error}"
                )
            self.file.delete()
            return warning

    def _revoke(self, stored: Stored) -> Protocol[None]:
        """Revokes the refresh token, or else the access tokens (RFC 7009)."""
        tokens = [stored.refresh_token] if stored.refresh_token else [entry.access.value for entry in stored.entries]
        metadata = yield from self.metadata.get(stored.issuer, self.runtime)
        url = metadata.endpoint("revocation_endpoint")
        for token in tokens:
            form = given(token=token, client_id=stored.client_id)
            reply = yield from _token.attempt("POST", url, self.runtime, form)
            if reply.status != 200:
                try:
                    _token.members_of(reply, url)
                except Refused as refusal:
                    raise refusal.for_caller(url) from None


class MemorySource(TokenSource):
    """A session that can be obtained again at any time, so nothing of it is stored."""

    def __init__(self, runtime: Runtime, issuer: str, resource: str | None, scope: str | None) -> None:
        super().__init__(runtime)
        self._issuer = issuer
        self._resource, self._scope = resource, scope
        self._entries: tuple[Entry, ...] = ()
        self._lock = threading.Lock()

    @property
    def issuer(self) -> str:
        return self._issuer

    def _state(self) -> Stored:
        return Stored(self._issuer, "", "file", None, None, self._entries)

    def fresh(
        self, resource: str | None, scope: str | None, refused: str | None = None, *, is_urgent: bool = False
    ) -> AccessToken | None:
        resource, scope = resource or self._resource, scope or self._scope
        return self._state().fresh(resource, scope, self.runtime.now(), refused, is_urgent=is_urgent)

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        resource, scope = resource or self._resource, scope or self._scope
        with self._lock:
            if fresh := self.fresh(resource, scope, refused):
                return fresh
            metadata = yield from self.metadata.get(self._issuer, self.runtime)
            url = metadata.endpoint("token_endpoint")
            try:
                tokens = yield from self.obtain(url, resource, scope)
            except Refused as refusal:
                denied = AccessDenied(
                    f"The server refused the token of this workload: {refusal.description}".rstrip(": ")
                )
                raise refusal.for_caller(url, denied) from None
            self._entries = self._state().renewed(resource, scope, tokens, self.runtime.now()).entries
            return tokens.access

    def obtain(self, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        """Requests a token."""
        raise NotImplementedError

    def logout(self) -> Protocol[str | None]:
        self._entries = ()
        return None
        yield


class ClientCredentialsSource(MemorySource):
    """A program with an id and a secret of its own."""

    def __init__(
        self, runtime: Runtime, issuer: str, resource: str | None, scope: str | None, client_id: str, client_secret: str
    ) -> None:
        super().__init__(runtime, issuer, resource, scope)
        self._basic = _token.basic(client_id, client_secret)

    def obtain(self, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        form = given(grant_type="client_credentials", resource=resource, scope=scope)
        headers = {"Authorization": self._basic}
        return (yield from _token.request_tokens(url, form, self.runtime, scope=scope, headers=headers))


class FederationSource(MemorySource):
    """A workload that exchanges a token of the place where it runs (RFC 7523)."""

    def __init__(
        self,
        runtime: Runtime,
        issuer: str,
        resource: str | None,
        scope: str | None,
        workload: _workload.Source,
        audience: str | None,
        client_id: str | None,
    ) -> None:
        super().__init__(runtime, issuer, resource, scope)
        self._workload, self._audience, self._client_id = workload, audience or issuer, client_id

    def obtain(self, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        assertions: list[str] = []

        def form() -> Protocol[dict[str, str]]:
            assertion = yield from self._workload.fetch(self._audience, self.runtime)
            assertions.append(assertion)
            return given(
                grant_type=JWT_BEARER, assertion=assertion, client_id=self._client_id, resource=resource, scope=scope
            )

        repeats_lost = self._workload.is_renewable
        tokens = yield from _token.request_tokens(url, form, self.runtime, scope=scope, repeats_lost=repeats_lost)
        self._workload.spent(assertions[-1])
        return tokens


class ApiKeySource(TokenSource):
    """A credential that is presented as it is."""

    def __init__(self, runtime: Runtime, value: str, issuer: str | None) -> None:
        super().__init__(runtime)
        self._token = AccessToken(value, math.inf, None)
        self._issuer = issuer

    @property
    def issuer(self) -> str:
        if self._issuer is None:
            raise LoginRequired("This session does not know its deployment: give api_key() an issuer.")
        return self._issuer

    def fresh(
        self, resource: str | None, scope: str | None, refused: str | None = None, *, is_urgent: bool = False
    ) -> AccessToken | None:
        return None if self._token.value == refused else self._token

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        raise LoginRequired("The API key was refused, and cannot be renewed: create another one, or rotate it.")
        yield

    def logout(self) -> Protocol[str | None]:
        return None
        yield


def stored(runtime: Runtime, profile: str | None, path: str | Path | None, home: str | Path | None) -> StoredSource:
    """Returns the source of a login: by profile, or by the path of its file."""
    if path is not None:
        return StoredSource(runtime, SessionFile.at(Path(path)))
    return StoredSource(runtime, SessionFile.of_profile(profile, None if home is None else Path(home)))
