"""Where a session gets its access tokens: each source returns one that is fresh, or renews it."""

from __future__ import annotations

import math
from pathlib import Path

from postern_client import _token
from postern_client._discovery import Cache
from postern_client._document import Stored, scopes
from postern_client._effects import Blocking, Protocol, Runtime
from postern_client._shared import Shared
from postern_client._store import SessionFile
from postern_client._token import AccessToken, Refused, Tokens, given, members_or_error
from postern_client.errors import LockTimeout, LoginRequired, PosternError, ServerUnavailable, StorageFailed

#: How long a server that failed is not asked again, while a token is still valid.
PAUSE_S = 5
#: How often a renewal begins again because another program has replaced the session.
MOST_BEGINNINGS = 3


class TokenSource:
    """A source of access tokens."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.metadata = Cache(runtime)
        self._pause_end = 0.0
        self._renewals: Shared[AccessToken] = Shared()

    @property
    def issuer(self) -> str:
        """Returns the deployment to which the session belongs."""
        raise NotImplementedError

    def fresh(
        self, resource: str | None, scope: str | None, refused: str | None = None, *, until_end: bool = False
    ) -> AccessToken | None:
        """Returns a token that need not be renewed, without a request. `until_end`: one that is valid at all."""
        raise NotImplementedError

    def look_up(
        self, resource: str | None, scope: str | None, refused: str | None, *, until_end: bool = False
    ) -> Protocol[AccessToken | None]:
        """Returns what `fresh` returns, without blocking an event loop."""
        return self.fresh(resource, scope, refused, until_end=until_end)
        yield

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        """Returns a token that is fresh, by at most one renewal, whoever else asks for it."""
        raise NotImplementedError

    def token(self, resource: str | None, scope: str | None, refused: str | None) -> Protocol[AccessToken]:
        """Returns a token, and renews it if it ends soon. If that is not possible, it is used to its end."""
        if fresh := (yield from self.look_up(resource, scope, refused)):
            return fresh
        is_pausing = self.runtime.monotonic() < self._pause_end
        if is_pausing and (valid := (yield from self.look_up(resource, scope, refused, until_end=True))):
            return valid
        try:
            return (yield from self._renewed(resource, scope, refused))
        except (LockTimeout, ServerUnavailable):
            valid = yield from self.look_up(resource, scope, refused, until_end=True)
            if valid is None:
                raise
            self._pause_end = self.runtime.monotonic() + PAUSE_S
            return valid

    def _renewed(self, resource: str | None, scope: str | None, refused: str | None) -> Protocol[AccessToken]:
        """Renews a token, once for all threads and tasks that need it now."""
        key = resource, scopes(scope)
        while True:
            token = yield from self._renewals.run(key, lambda: self.renew(resource, scope, refused), is_completed=True)
            # The renewal of another caller can return the token that was refused to this one.
            if token.value != refused:
                return token

    def logout(self) -> Protocol[str | None]:
        """Ends the session. Returns a warning if the server may still accept its tokens."""
        raise NotImplementedError

    def _revoke(self, url: str, tokens: list[str], headers: dict[str, str], client_id: str | None) -> Protocol[None]:
        """Revokes tokens (RFC 7009)."""
        for token in tokens:
            form = given(token=token, client_id=client_id)
            response = yield from _token.attempt("POST", url, self.runtime, form, headers)
            if response.status != 200:
                members_or_error(response, url)


def still_accepted(error: PosternError) -> str:
    return f"The session is deleted here, but the server may accept its tokens until they expire: {error}"


class StoredSource(TokenSource):
    """The session of a login, in a file that other processes use too."""

    def __init__(self, runtime: Runtime, file: SessionFile) -> None:
        super().__init__(runtime)
        self.file = file

    @property
    def issuer(self) -> str:
        return self.file.read().issuer

    def fresh(
        self, resource: str | None, scope: str | None, refused: str | None = None, *, until_end: bool = False
    ) -> AccessToken | None:
        return self.file.read().fresh(resource, scope, self.runtime.now(), refused, until_end=until_end)

    def look_up(
        self, resource: str | None, scope: str | None, refused: str | None, *, until_end: bool = False
    ) -> Protocol[AccessToken | None]:
        token: AccessToken | None = yield Blocking(lambda: self.fresh(resource, scope, refused, until_end=until_end))
        return token

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        for _ in range(MOST_BEGINNINGS):
            expected = self.file.read()
            self._refresh_token(expected)
            # Before the lock, for which others wait.
            metadata = yield from self.metadata.get(expected.issuer)
            url = metadata.endpoint("token_endpoint")
            with self.file.lock(self.runtime):
                stored = self.file.read()
                # Another process may have renewed it while this one waited for the lock.
                if fresh := stored.fresh(resource, scope, self.runtime.now(), refused):
                    return fresh
                # A refresh token goes only to the server that issued it.
                if stored.client != expected.client:
                    continue
                if tokens := (yield from self._refresh(stored, url, resource, scope)):
                    return tokens.access
        raise self.file.login_required("Other logins keep replacing the session")

    def _refresh_token(self, stored: Stored) -> str:
        token = self.file.refresh_token(stored)
        if token is None:
            raise self.file.login_required("The session has ended, and the server gave no refresh token")
        return token

    def _refresh(self, stored: Stored, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens | None]:
        """Spends the refresh token and stores the new one. Returns nothing if another program replaced it."""
        sent = self._refresh_token(stored)
        form = given(
            grant_type="refresh_token", refresh_token=sent, client_id=stored.client_id, resource=resource, scope=scope
        )
        # If the file cannot be written, no token is spent.
        with self.file.replacement() as replacement:
            try:
                tokens = yield from _token.request_tokens(url, form, self.runtime, scope=scope or stored.scope)
            except Refused as refusal:
                current = self.file.read()
                is_replaced = current.client != stored.client or self.file.refresh_token(current) != sent
                if refusal.error == "invalid_grant" and is_replaced:
                    return None
                raise refusal.for_caller(url, self.file.login_required("The server has ended the session")) from None
            replacement.write(stored.renewed(resource, scope, tokens, self.runtime.now()))
            return tokens

    def logout(self) -> Protocol[str | None]:
        for _ in range(MOST_BEGINNINGS):
            if not self.file.path.exists():
                return None
            expected, url, problem = yield from self._revocation()
            with self.file.lock(self.runtime):
                stored = self.file.read_if_valid()
                # Tokens go only to the server that issued them.
                if stored is not None and (expected is None or stored.client != expected.client):
                    continue
                if stored is not None and url is not None:
                    problem = yield from self._end(stored, url)
                try:
                    self.file.delete()
                except StorageFailed as error:
                    # If it was revoked, the user need not try again.
                    raise error if problem else StorageFailed(f"The server has ended the session. {error}") from None
                return None if problem is None else still_accepted(problem)
        raise self.file.login_required("Other logins keep replacing the session")

    def _revocation(self) -> Protocol[tuple[Stored | None, str | None, PosternError | None]]:
        """Returns the session, and where its tokens are revoked, or why they cannot be."""
        stored: Stored | None = None
        try:
            stored = self.file.read()
            metadata = yield from self.metadata.get(stored.issuer)
            return stored, metadata.endpoint("revocation_endpoint"), None
        except PosternError as error:
            return stored, None, error

    def _end(self, stored: Stored, url: str) -> Protocol[PosternError | None]:
        """Revokes the refresh token, or else the access tokens. Returns why that was not possible."""
        try:
            refresh_token = self.file.refresh_token(stored)
            tokens = [refresh_token] if refresh_token else [entry.access.value for entry in stored.entries]
            yield from self._revoke(url, tokens, {}, stored.client_id)
        except PosternError as error:
            return error
        return None


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
        self, resource: str | None, scope: str | None, refused: str | None = None, *, until_end: bool = False
    ) -> AccessToken | None:
        return None if self._token.value == refused else self._token

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        raise LoginRequired("The API key was refused, and cannot be renewed: create another one, or rotate it.")
        yield

    def logout(self) -> Protocol[str | None]:
        return "An API key is not ended by a logout: delete it if nothing uses it any more."
        yield


def stored(runtime: Runtime, profile: str | None, path: str | Path | None, home: str | Path | None) -> StoredSource:
    """Returns the source of a login: by profile, or by the path of its file."""
    if path is not None:
        return StoredSource(runtime, SessionFile.at(Path(path)))
    return StoredSource(runtime, SessionFile.of_profile(profile, None if home is None else Path(home)))
