"""Sessions of programs without a user, which can be obtained again at any time. Nothing of them is stored."""

from __future__ import annotations

from postern_client import _token, _workload
from postern_client._document import Stored
from postern_client._effects import Protocol, Runtime
from postern_client._mutex import Mutex
from postern_client._sources import TokenSource, still_accepted
from postern_client._token import AccessToken, Refused, Tokens, given
from postern_client.errors import AccessDenied, PosternError

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class MemorySource(TokenSource):
    """A session that can be obtained again at any time, so nothing of it is stored."""

    def __init__(self, runtime: Runtime, issuer: str, resource: str | None, scope: str | None) -> None:
        super().__init__(runtime)
        self._issuer = issuer
        self._resource, self._scope = resource, scope
        self._state = Stored(issuer, "", "file", None, None, ())
        self._mutex = Mutex()

    @property
    def issuer(self) -> str:
        return self._issuer

    def fresh(
        self, resource: str | None, scope: str | None, refused: str | None = None, *, until_end: bool = False
    ) -> AccessToken | None:
        resource, scope = resource or self._resource, scope or self._scope
        return self._state.fresh(resource, scope, self.runtime.now(), refused, until_end=until_end)

    def renew(self, resource: str | None, scope: str | None, refused: str | None = None) -> Protocol[AccessToken]:
        if fresh := self.fresh(resource, scope, refused):
            return fresh
        resource, scope = resource or self._resource, scope or self._scope
        metadata = yield from self.metadata.get(self._issuer)
        url = metadata.endpoint("token_endpoint")
        try:
            tokens = yield from self.obtain(url, resource, scope)
        except Refused as refusal:
            denied = AccessDenied(f"The server refused the token of this workload: {refusal.description}".rstrip(": "))
            raise refusal.for_caller(url, denied) from None
        with self._mutex.lock:
            self._state = self._state.renewed(resource, scope, tokens, self.runtime.now())
        return tokens.access

    def obtain(self, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        """Requests a token."""
        raise NotImplementedError

    def authentication(self) -> tuple[dict[str, str], str | None]:
        """Returns the headers and the `client_id` with which tokens are revoked."""
        raise NotImplementedError

    def logout(self) -> Protocol[str | None]:
        with self._mutex.lock:
            tokens = [entry.access.value for entry in self._state.entries]
            self._state = Stored(self._issuer, "", "file", None, None, ())
        if not tokens:
            return None
        try:
            metadata = yield from self.metadata.get(self._issuer)
            yield from self._revoke(metadata.endpoint("revocation_endpoint"), tokens, *self.authentication())
        except PosternError as error:
            return still_accepted(error)
        return None


class ClientCredentialsSource(MemorySource):
    """A program with an id and a secret of its own."""

    def __init__(
        self, runtime: Runtime, issuer: str, resource: str | None, scope: str | None, client_id: str, client_secret: str
    ) -> None:
        super().__init__(runtime, issuer, resource, scope)
        self._headers = {"Authorization": _token.basic(client_id, client_secret)}

    def obtain(self, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        form = given(grant_type="client_credentials", resource=resource, scope=scope)
        return (yield from _token.request_tokens(url, form, self.runtime, scope=scope, headers=self._headers))

    def authentication(self) -> tuple[dict[str, str], str | None]:
        return self._headers, None


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
        self._exchange = Mutex()

    def obtain(self, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        if self._workload.is_renewable:
            return (yield from self._exchanged(url, resource, scope))
        # The token is accepted once: only one request at a time can have it.
        with self._exchange.lock:
            return (yield from self._exchanged(url, resource, scope))

    def _exchanged(self, url: str, resource: str | None, scope: str | None) -> Protocol[Tokens]:
        assertions: list[str] = []

        def form() -> Protocol[dict[str, str]]:
            assertion = yield from self._workload.fetch(self._audience, self.runtime)
            assertions.append(assertion)
            return given(
                grant_type=JWT_BEARER, assertion=assertion, client_id=self._client_id, resource=resource, scope=scope
            )

        is_single_use = not self._workload.is_renewable
        tokens = yield from _token.request_tokens(url, form, self.runtime, scope=scope, is_single_use=is_single_use)
        self._workload.spent(assertions[-1])
        return tokens

    def authentication(self) -> tuple[dict[str, str], str | None]:
        return {}, self._client_id
