"""The operations of the management API: `session.call(list_api_keys())`.

Generated from docs/openapi.json by generate.py. Do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from postern_client._operation import Operation


class _Agent(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    external_id: str | None
    id: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    scopes: list[str]


class Agent(_Agent, total=False):
    """An agent or service without its secret."""

    expires_at: str
    jwks: dict[str, Any]
    jwks_uri: str
    last_four: str
    prefix: str


class AgentList(TypedDict):
    """A page of a list."""

    items: list[Agent]
    next_cursor: str | None


class _ApiKey(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    expires_at: str | None
    external_id: str | None
    id: str
    last_four: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    prefix: str
    previous_expires_at: str | None
    previous_last_used_at: str | None
    previous_last_used_from: str | None
    require_signature: bool
    resources: dict[str, list[str]]
    scopes: list[str]


class ApiKey(_ApiKey, total=False):
    """A key without its secret."""

    plan: str


class ApiKeyList(TypedDict):
    """A page of a list."""

    items: list[ApiKey]
    next_cursor: str | None


class _CliToken(TypedDict):
    all_repositories: bool
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    expires_at: str | None
    external_id: str | None
    id: str
    last_four: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    prefix: str
    require_signature: bool
    scopes: list[str]


class CliToken(_CliToken, total=False):
    """A token without its secret."""

    repositories: list[str]


class CliTokenList(TypedDict):
    """A page of a list."""

    items: list[CliToken]
    next_cursor: str | None


class _CreatedAgent(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    external_id: str | None
    id: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    scopes: list[str]


class CreatedAgent(_CreatedAgent, total=False):
    """A new agent, with its secret."""

    expires_at: str
    jwks: dict[str, Any]
    jwks_uri: str
    last_four: str
    prefix: str
    secret: str


class _CreatedApiKey(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    expires_at: str | None
    external_id: str | None
    id: str
    key: str
    last_four: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    prefix: str
    previous_expires_at: str | None
    previous_last_used_at: str | None
    previous_last_used_from: str | None
    require_signature: bool
    resources: dict[str, list[str]]
    scopes: list[str]


class CreatedApiKey(_CreatedApiKey, total=False):
    """A new key, with its secret."""

    plan: str


class _CreatedCliToken(TypedDict):
    all_repositories: bool
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    expires_at: str | None
    external_id: str | None
    id: str
    last_four: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    prefix: str
    require_signature: bool
    scopes: list[str]
    token: str


class CreatedCliToken(_CreatedCliToken, total=False):
    """A new token, with its secret."""

    repositories: list[str]


class CreatedOrganization(TypedDict):
    """A new organization, with its API key."""

    api_key: str
    api_key_id: str
    created_at: str
    id: str
    name: str


class _CreatedRunner(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    external_id: str | None
    id: str
    labels: list[str]
    last_four: str
    last_seen_at: str | None
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    online: bool
    prefix: str
    status: str | None
    token: str
    version: str | None


class CreatedRunner(_CreatedRunner, total=False):
    """A new runner, with its token."""

    expires_at: str


class _CreatedService(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    external_id: str | None
    id: str
    key: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    scopes: list[str]


class CreatedService(_CreatedService, total=False):
    """A new service, with its key."""

    expires_at: str
    jwks: dict[str, Any]
    jwks_uri: str
    last_four: str
    prefix: str


class _CreatedUser(TypedDict):
    created_at: str
    email: str
    id: str
    on_behalf_of: str | None
    role: Literal["user", "admin"]


class CreatedUser(_CreatedUser, total=False):
    """A new user, with their invitation if they have no password yet."""

    invitation: str
    invitation_expires_at: str


class DownloadToken(TypedDict):
    """A token for one path."""

    expires_in: int
    token: str


class Event(TypedDict):
    """What happened to a record."""

    actor: dict[str, Any]
    data: dict[str, Any]
    id: str
    organization_id: str | None
    request_id: str | None
    subject: dict[str, Any]
    time: str
    type: Literal[
        "agent.changed",
        "api_key.changed",
        "cli_token.changed",
        "runner.changed",
        "service.changed",
        "grant.code_replayed",
        "agent.created",
        "api_key.created",
        "cli_token.created",
        "organization.created",
        "runner.created",
        "service.created",
        "user.created",
        "agent.disabled",
        "api_key.disabled",
        "cli_token.disabled",
        "runner.disabled",
        "service.disabled",
        "user.disabled",
        "agent.enabled",
        "api_key.enabled",
        "cli_token.enabled",
        "runner.enabled",
        "service.enabled",
        "user.enabled",
        "consent.ended",
        "agent.expiring",
        "api_key.expiring",
        "cli_token.expiring",
        "runner.expiring",
        "service.expiring",
        "consent.given",
        "agent.leaked",
        "api_key.leaked",
        "cli_token.leaked",
        "grant.leaked",
        "runner.leaked",
        "service.leaked",
        "trust_rule.matched",
        "limit.reached",
        "grant.refresh_reused",
        "issuer.refused",
        "agent.revoked",
        "api_key.revoked",
        "cli_token.revoked",
        "runner.revoked",
        "service.revoked",
        "user.revoked",
        "agent.rotated",
        "api_key.rotated",
        "runner.rotated",
        "agent.unused",
        "api_key.unused",
        "cli_token.unused",
        "runner.unused",
        "service.unused",
        "user.signed_out",
    ]
    version: int


class EventList(TypedDict):
    """A page of events."""

    items: list[Event]
    next_cursor: str | None


class ImportReport(TypedDict):
    """What became of the keys, in their order."""

    keys: list[Any]


class InvitedUser(TypedDict):
    """A user with a new invitation."""

    id: str
    invitation: str
    invitation_expires_at: str


class Organization(TypedDict):
    """An organization."""

    created_at: str
    id: str
    name: str
    owner: str | None


class _Principal(TypedDict):
    credential_id: str
    kind: Literal["agent", "api_key", "cli_token", "external", "message", "runner", "service", "user"]
    metadata: dict[str, Any]
    on_behalf_of: str | None
    org_id: str | None
    resources: dict[str, list[str]]
    scopes: list[str]
    user_id: str


class Principal(_Principal, total=False):
    """The caller, after authentication."""

    actor: str


class RenewedAgentSecret(TypedDict):
    """The new secret of an agent."""

    id: str
    secret: str


class RenewedRunnerToken(TypedDict):
    """The new token of a runner."""

    id: str
    token: str


class RotatedApiKey(TypedDict):
    """A key's new secret."""

    id: str
    key: str
    previous_expires_at: str


class _Runner(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    external_id: str | None
    id: str
    labels: list[str]
    last_four: str
    last_seen_at: str | None
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    online: bool
    prefix: str
    status: str | None
    version: str | None


class Runner(_Runner, total=False):
    """A runner without its token."""

    expires_at: str


class RunnerList(TypedDict):
    """A page of a list."""

    items: list[Runner]
    next_cursor: str | None


class _Service(TypedDict):
    allowed_networks: list[str] | None
    created_at: str
    disabled: bool
    external_id: str | None
    id: str
    last_used_at: str | None
    last_used_from: str | None
    metadata: dict[str, str | float | bool]
    name: str
    on_behalf_of: str | None
    scopes: list[str]


class Service(_Service, total=False):
    """An agent or service without its secret."""

    expires_at: str
    jwks: dict[str, Any]
    jwks_uri: str
    last_four: str
    prefix: str


class ServiceList(TypedDict):
    """A page of a list."""

    items: list[Service]
    next_cursor: str | None


class User(TypedDict):
    """A user."""

    created_at: str
    email: str
    id: str
    on_behalf_of: str | None
    role: Literal["user", "admin"]


class UserList(TypedDict):
    """A page of a list."""

    items: list[User]
    next_cursor: str | None


def list_agents(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    expires_before: str | None = None,
    external_id: str | None = None,
    name: str | None = None,
    unused_since: str | None = None,
) -> Operation[AgentList]:
    """List the agents.

    Requires the scope `agents:read`.
    """
    return Operation(
        "GET",
        "/v1/agents",
        query={
            "limit": limit,
            "cursor": cursor,
            "expires_before": expires_before,
            "external_id": external_id,
            "name": name,
            "unused_since": unused_since,
        },
    )


def create_agent(
    *,
    name: str,
    scopes: list[str],
    allowed_networks: list[str] | None = None,
    external_id: str | None = None,
    jwks: dict[str, Any] | None = None,
    jwks_uri: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
) -> Operation[CreatedAgent]:
    """Create an agent.

    Requires the scope `agents:manage`.
    """
    return Operation(
        "POST",
        "/v1/agents",
        body={
            "allowed_networks": allowed_networks,
            "external_id": external_id,
            "jwks": jwks,
            "jwks_uri": jwks_uri,
            "metadata": metadata,
            "name": name,
            "scopes": scopes,
        },
    )


def delete_agent(id: str) -> Operation[None]:
    """Delete an agent.

    Its tokens end too. Requires the scope `agents:manage`.
    """
    return Operation("DELETE", "/v1/agents/{id}", segments={"id": id})


def show_agent(id: str) -> Operation[Agent]:
    """Show an agent.

    Requires the scope `agents:read`.
    """
    return Operation("GET", "/v1/agents/{id}", segments={"id": id})


def change_agent(
    id: str,
    *,
    allowed_networks: list[str] | None = None,
    disabled: bool | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    name: str | None = None,
    scopes: list[str] | None = None,
) -> Operation[Agent]:
    """Change an agent.

    Members that are not sent stay as they are. Scopes and expiry can only be narrowed. Whoever enables it, or
    lets it be used from other networks, needs what creating it needs. Requires the scope `agents:manage`.
    """
    return Operation(
        "PATCH",
        "/v1/agents/{id}",
        segments={"id": id},
        body={
            "allowed_networks": allowed_networks,
            "disabled": disabled,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "scopes": scopes,
        },
    )


def replace_keys_of_agent(
    id: str, *, end_tokens: bool | None = None, jwks: dict[str, Any] | None = None, jwks_uri: str | None = None
) -> Operation[Agent]:
    """Replace the keys of an agent.

    An agent with keys has no secret. Requires the scope `agents:manage`.
    """
    return Operation(
        "PUT",
        "/v1/agents/{id}/jwks",
        segments={"id": id},
        body={"end_tokens": end_tokens, "jwks": jwks, "jwks_uri": jwks_uri},
    )


def renew_secret_of_agent(id: str, *, end_tokens: bool | None = None) -> Operation[RenewedAgentSecret]:
    """Renew the secret of an agent.

    Requires the scope `agents:manage`.
    """
    return Operation("POST", "/v1/agents/{id}/secret", segments={"id": id}, body={"end_tokens": end_tokens})


def list_one_own_cli_tokens(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    expires_before: str | None = None,
    external_id: str | None = None,
    name: str | None = None,
    unused_since: str | None = None,
) -> Operation[CliTokenList]:
    """List one's own CLI tokens.

    Requires a user: a session, or a token with all of the user's scopes.
    """
    return Operation(
        "GET",
        "/v1/auth/cli-tokens",
        query={
            "limit": limit,
            "cursor": cursor,
            "expires_before": expires_before,
            "external_id": external_id,
            "name": name,
            "unused_since": unused_since,
        },
    )


def create_cli_token(
    *,
    name: str,
    scopes: list[str],
    all_repositories: bool | None = None,
    allowed_networks: list[str] | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    repositories: list[str] | None = None,
    require_signature: bool | None = None,
) -> Operation[CreatedCliToken]:
    """Create a CLI token.

    Either `all_repositories` is true, or `repositories` lists some. Tools cannot create CLI tokens. Requires a
    user: a session, or a token with all of the user's scopes.
    """
    return Operation(
        "POST",
        "/v1/auth/cli-tokens",
        body={
            "all_repositories": all_repositories,
            "allowed_networks": allowed_networks,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "repositories": repositories,
            "require_signature": require_signature,
            "scopes": scopes,
        },
    )


def delete_one_own_cli_token(id: str) -> Operation[None]:
    """Delete one's own CLI token.

    Requires a user: a session, or a token with all of the user's scopes.
    """
    return Operation("DELETE", "/v1/auth/cli-tokens/{id}", segments={"id": id})


def change_one_own_cli_token(
    id: str,
    *,
    allowed_networks: list[str] | None = None,
    disabled: bool | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    name: str | None = None,
    scopes: list[str] | None = None,
) -> Operation[CliToken]:
    """Change one's own CLI token.

    Members that are not sent stay as they are. Scopes and expiry can only be narrowed. Whoever enables it, or
    lets it be used from other networks, needs what creating it needs. Requires a user: a session, or a token
    with all of the user's scopes.
    """
    return Operation(
        "PATCH",
        "/v1/auth/cli-tokens/{id}",
        segments={"id": id},
        body={
            "allowed_networks": allowed_networks,
            "disabled": disabled,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "scopes": scopes,
        },
    )


def get_download_token(*, path: str) -> Operation[DownloadToken]:
    """Get a download token."""
    return Operation("POST", "/v1/auth/download-token", body={"path": path})


def change_one_own_password(*, current_password: str, password: str) -> Operation[None]:
    """Change one's own password.

    All other sessions, tools and tokens of the user end. Requires a user: a session, or a token with all of the
    user's scopes.
    """
    return Operation("POST", "/v1/auth/password", body={"current_password": current_password, "password": password})


def show_caller() -> Operation[Principal]:
    """Show the caller."""
    return Operation("GET", "/v1/auth/whoami")


def list_events(
    *,
    subject: str | None = None,
    type: Literal[
        "agent.changed",
        "api_key.changed",
        "cli_token.changed",
        "runner.changed",
        "service.changed",
        "grant.code_replayed",
        "agent.created",
        "api_key.created",
        "cli_token.created",
        "organization.created",
        "runner.created",
        "service.created",
        "user.created",
        "agent.disabled",
        "api_key.disabled",
        "cli_token.disabled",
        "runner.disabled",
        "service.disabled",
        "user.disabled",
        "agent.enabled",
        "api_key.enabled",
        "cli_token.enabled",
        "runner.enabled",
        "service.enabled",
        "user.enabled",
        "consent.ended",
        "agent.expiring",
        "api_key.expiring",
        "cli_token.expiring",
        "runner.expiring",
        "service.expiring",
        "consent.given",
        "agent.leaked",
        "api_key.leaked",
        "cli_token.leaked",
        "grant.leaked",
        "runner.leaked",
        "service.leaked",
        "trust_rule.matched",
        "limit.reached",
        "grant.refresh_reused",
        "issuer.refused",
        "agent.revoked",
        "api_key.revoked",
        "cli_token.revoked",
        "runner.revoked",
        "service.revoked",
        "user.revoked",
        "agent.rotated",
        "api_key.rotated",
        "runner.rotated",
        "agent.unused",
        "api_key.unused",
        "cli_token.unused",
        "runner.unused",
        "service.unused",
        "user.signed_out",
    ]
    | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Operation[EventList]:
    """List the events.

    Newest first. Events are kept for 30 days. Requires the scope `events:read`.
    """
    return Operation("GET", "/v1/events", query={"subject": subject, "type": type, "limit": limit, "cursor": cursor})


def list_api_keys(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    expires_before: str | None = None,
    external_id: str | None = None,
    name: str | None = None,
    unused_since: str | None = None,
) -> Operation[ApiKeyList]:
    """List the API keys.

    Requires the scope `keys:read`.
    """
    return Operation(
        "GET",
        "/v1/keys",
        query={
            "limit": limit,
            "cursor": cursor,
            "expires_before": expires_before,
            "external_id": external_id,
            "name": name,
            "unused_since": unused_since,
        },
    )


def create_api_key(
    *,
    name: str,
    scopes: list[str],
    allowed_networks: list[str] | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    require_signature: bool | None = None,
    resources: dict[str, list[str]] | None = None,
) -> Operation[CreatedApiKey]:
    """Create an API key.

    Requires the scope `keys:manage`.
    """
    return Operation(
        "POST",
        "/v1/keys",
        body={
            "allowed_networks": allowed_networks,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "require_signature": require_signature,
            "resources": resources,
            "scopes": scopes,
        },
    )


def import_api_keys_of_another_system(*, keys: list[dict[str, Any]], org_id: str) -> Operation[ImportReport]:
    """Import API keys of another system.

    By their SHA-256, so that they keep working. Each key is decided for itself. To import a key again changes
    nothing.
    """
    return Operation("POST", "/v1/keys/import", body={"keys": keys, "org_id": org_id})


def delete_api_key(id: str) -> Operation[None]:
    """Delete an API key.

    Requires the scope `keys:manage`.
    """
    return Operation("DELETE", "/v1/keys/{id}", segments={"id": id})


def show_api_key(id: str) -> Operation[ApiKey]:
    """Show an API key.

    Requires the scope `keys:read`.
    """
    return Operation("GET", "/v1/keys/{id}", segments={"id": id})


def change_api_key(
    id: str,
    *,
    allowed_networks: list[str] | None = None,
    disabled: bool | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    name: str | None = None,
    scopes: list[str] | None = None,
) -> Operation[ApiKey]:
    """Change an API key.

    Members that are not sent stay as they are. Scopes and expiry can only be narrowed. Whoever enables it, or
    lets it be used from other networks, needs what creating it needs. Requires the scope `keys:manage`.
    """
    return Operation(
        "PATCH",
        "/v1/keys/{id}",
        segments={"id": id},
        body={
            "allowed_networks": allowed_networks,
            "disabled": disabled,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "scopes": scopes,
        },
    )


def give_api_key_usage_plan(id: str, *, plan: str | None = None) -> Operation[None]:
    """Give an API key a usage plan."""
    return Operation("PUT", "/v1/keys/{id}/plan", segments={"id": id}, body={"plan": plan})


def rotate_api_key(id: str, *, overlap_s: int | None = None) -> Operation[RotatedApiKey]:
    """Rotate an API key.

    The key keeps its id and gets a new secret. Requires the scope `keys:manage`.
    """
    return Operation("POST", "/v1/keys/{id}/rotate", segments={"id": id}, body={"overlap_s": overlap_s})


def create_organization(*, name: str, owner: str | None = None) -> Operation[CreatedOrganization]:
    """Create an organization.

    Requires the operator key. With `signup = "open"`, it is public too.
    """
    return Operation("POST", "/v1/organizations", body={"name": name, "owner": owner})


def show_one_own_organization() -> Operation[Organization]:
    """Show one's own organization."""
    return Operation("GET", "/v1/organizations/current")


def issue_api_key_for_organization(
    id: str,
    *,
    name: str,
    scopes: list[str],
    allowed_networks: list[str] | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    require_signature: bool | None = None,
    resources: dict[str, list[str]] | None = None,
) -> Operation[CreatedApiKey]:
    """Issue an API key for an organization."""
    return Operation(
        "POST",
        "/v1/organizations/{id}/keys",
        segments={"id": id},
        body={
            "allowed_networks": allowed_networks,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "require_signature": require_signature,
            "resources": resources,
            "scopes": scopes,
        },
    )


def list_runners(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    expires_before: str | None = None,
    external_id: str | None = None,
    name: str | None = None,
    unused_since: str | None = None,
) -> Operation[RunnerList]:
    """List the runners.

    Requires the scope `runners:read`.
    """
    return Operation(
        "GET",
        "/v1/runners",
        query={
            "limit": limit,
            "cursor": cursor,
            "expires_before": expires_before,
            "external_id": external_id,
            "name": name,
            "unused_since": unused_since,
        },
    )


def create_runner(
    *,
    name: str,
    allowed_networks: list[str] | None = None,
    external_id: str | None = None,
    labels: list[str] | None = None,
    metadata: dict[str, str | float | bool] | None = None,
) -> Operation[CreatedRunner]:
    """Create a runner.

    Requires the scope `runners:manage`.
    """
    return Operation(
        "POST",
        "/v1/runners",
        body={
            "allowed_networks": allowed_networks,
            "external_id": external_id,
            "labels": labels,
            "metadata": metadata,
            "name": name,
        },
    )


def delete_runner(id: str) -> Operation[None]:
    """Delete a runner.

    Requires the scope `runners:manage`.
    """
    return Operation("DELETE", "/v1/runners/{id}", segments={"id": id})


def show_runner(id: str) -> Operation[Runner]:
    """Show a runner.

    Requires the scope `runners:read`.
    """
    return Operation("GET", "/v1/runners/{id}", segments={"id": id})


def change_runner(
    id: str,
    *,
    allowed_networks: list[str] | None = None,
    disabled: bool | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    name: str | None = None,
) -> Operation[Runner]:
    """Change a runner.

    Members that are not sent stay as they are. Scopes and expiry can only be narrowed. Whoever enables it, or
    lets it be used from other networks, needs what creating it needs. Requires the scope `runners:manage`.
    """
    return Operation(
        "PATCH",
        "/v1/runners/{id}",
        segments={"id": id},
        body={
            "allowed_networks": allowed_networks,
            "disabled": disabled,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
        },
    )


def renew_token_of_runner(id: str) -> Operation[RenewedRunnerToken]:
    """Renew the token of a runner.

    Requires the scope `runners:manage`.
    """
    return Operation("POST", "/v1/runners/{id}/token", segments={"id": id}, body={})


def list_services(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    expires_before: str | None = None,
    external_id: str | None = None,
    name: str | None = None,
    unused_since: str | None = None,
) -> Operation[ServiceList]:
    """List the services.

    Requires the scope `services:manage`.
    """
    return Operation(
        "GET",
        "/v1/services",
        query={
            "limit": limit,
            "cursor": cursor,
            "expires_before": expires_before,
            "external_id": external_id,
            "name": name,
            "unused_since": unused_since,
        },
    )


def create_service(
    *,
    name: str,
    scopes: list[str],
    allowed_networks: list[str] | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
) -> Operation[CreatedService]:
    """Create a service.

    Requires the scope `services:manage`.
    """
    return Operation(
        "POST",
        "/v1/services",
        body={
            "allowed_networks": allowed_networks,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "scopes": scopes,
        },
    )


def delete_service(id: str) -> Operation[None]:
    """Delete a service.

    Requires the scope `services:manage`.
    """
    return Operation("DELETE", "/v1/services/{id}", segments={"id": id})


def change_service(
    id: str,
    *,
    allowed_networks: list[str] | None = None,
    disabled: bool | None = None,
    expires_at: str | None = None,
    external_id: str | None = None,
    metadata: dict[str, str | float | bool] | None = None,
    name: str | None = None,
    scopes: list[str] | None = None,
) -> Operation[Service]:
    """Change a service.

    Members that are not sent stay as they are. Scopes and expiry can only be narrowed. Whoever enables it, or
    lets it be used from other networks, needs what creating it needs. Requires the scope `services:manage`.
    """
    return Operation(
        "PATCH",
        "/v1/services/{id}",
        segments={"id": id},
        body={
            "allowed_networks": allowed_networks,
            "disabled": disabled,
            "expires_at": expires_at,
            "external_id": external_id,
            "metadata": metadata,
            "name": name,
            "scopes": scopes,
        },
    )


def list_users(*, limit: int | None = None, cursor: str | None = None) -> Operation[UserList]:
    """List the users.

    Requires the scope `users:manage`.
    """
    return Operation("GET", "/v1/users", query={"limit": limit, "cursor": cursor})


def create_user(
    *, email: str, invite: bool | None = None, password: str | None = None, role: Literal["user", "admin"] | None = None
) -> Operation[CreatedUser]:
    """Create a user.

    Either with a password, or with `invite`, for an invitation with which the user sets one. Requires the scope
    `users:manage`.
    """
    return Operation("POST", "/v1/users", body={"email": email, "invite": invite, "password": password, "role": role})


def disable_user(*, user_id: str) -> Operation[None]:
    """Disable a user.

    All credentials of the user end, and the user gets no new ones. Requires the operator key, or the scope
    `users:manage`.
    """
    return Operation("POST", "/v1/users/disable", body={"user_id": user_id})


def enable_user(*, user_id: str) -> Operation[None]:
    """Enable a user.

    The user can sign in again. Requires the operator key, or the scope `users:manage`.
    """
    return Operation("POST", "/v1/users/enable", body={"user_id": user_id})


def sign_user_out_everywhere(*, user_id: str) -> Operation[None]:
    """Sign a user out everywhere.

    All sessions, tools and tokens of the user end. Requires the operator key, or the scope `users:manage`;
    users need no scope for themselves.
    """
    return Operation("POST", "/v1/users/sign-out", body={"user_id": user_id})


def delete_user(id: str) -> Operation[None]:
    """Delete a user.

    Requires the scope `users:manage`.
    """
    return Operation("DELETE", "/v1/users/{id}", segments={"id": id})


def show_user(id: str) -> Operation[User]:
    """Show a user.

    Requires the scope `users:manage`.
    """
    return Operation("GET", "/v1/users/{id}", segments={"id": id})


def change_role_of_user(id: str, *, role: Literal["user", "admin"]) -> Operation[User]:
    """Change the role of a user.

    What the user had beyond a lesser role ends with the next request. Requires the scope `users:manage`.
    """
    return Operation("PATCH", "/v1/users/{id}", segments={"id": id}, body={"role": role})


def invite_user_again(id: str) -> Operation[InvitedUser]:
    """Invite a user again.

    Requires the scope `users:manage`.
    """
    return Operation("POST", "/v1/users/{id}/invitation", segments={"id": id}, body={})
