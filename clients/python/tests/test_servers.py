"""The verifier in real servers: FastAPI, and a plain ASGI application, under uvicorn."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from fastapi import Depends, FastAPI

from harness import Harness
from postern_client.asgi import PosternMiddleware, principal_of
from postern_client.errors import InsecureIssuer
from postern_client.fastapi import Guard
from postern_client.verifier import Introspection, McpTools, Principal, Refusal, Verifier

ORDERS = "https://api.example.com/orders"
METADATA = "https://api.example.com/.well-known/oauth-protected-resource/orders"
TOOLS = McpTools({"*": ["orders:read"], "delete_*": ["orders:write"]})
NOT_VALID = {
    "error": "invalid_token",
    "error_description": "The credential is not valid: it may have expired or been revoked, or be for another API or "
    "organization. Get another one.",
}


def verifier_of(harness: Harness, **options: Any) -> Verifier:
    introspection = Introspection(client_secret=harness.ready["resource_secret"])
    return Verifier(
        harness.issuer, ORDERS, **{"introspection": introspection, "resource_metadata": METADATA, **options}
    )


def fastapi_app(verifier: Verifier) -> Any:
    app = FastAPI()
    guard = Guard(app, verifier)

    @app.get("/orders")
    def read(caller: Principal = Depends(guard("orders:read"))) -> dict[str, Any]:
        return {"user_id": caller.user_id, "scopes": caller.scopes, "kind": caller.kind}

    @app.post("/orders")
    async def write(caller: Principal = Depends(guard("orders:write"))) -> dict[str, Any]:
        return {"user_id": caller.user_id}

    @app.post("/mcp")
    async def mcp(body: dict[str, Any], _caller: Principal = Depends(guard(tools=TOOLS))) -> dict[str, Any]:
        return {"called": body["params"]["name"]}

    return app


def asgi_app(verifier: Verifier) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = json.loads((await receive())["body"] or b"{}") if scope["type"] == "http" else {}
        caller = principal_of(scope)
        answer: dict[str, Any] = {"user_id": caller.user_id}
        if scope["path"] == "/mcp":
            answer = {"called": body["params"]["name"]}
        elif scope["method"] == "GET":
            answer |= {"scopes": caller.scopes, "kind": caller.kind}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    orders = PosternMiddleware(
        app, verifier, scopes=lambda scope: ["orders:read" if scope["method"] == "GET" else "orders:write"]
    )
    mcp = PosternMiddleware(app, verifier, tools=TOOLS)

    async def routed(scope: Any, receive: Any, send: Any) -> None:
        await (mcp if scope.get("path") == "/mcp" else orders)(scope, receive, send)

    return routed


class Server(uvicorn.Server):
    """A server that closes the verifier at its end, as a lifespan does."""

    verifier: Verifier

    async def shutdown(self, sockets: Any = None) -> None:
        await super().shutdown(sockets)
        await self.verifier.aclose()


def serve(kind: str, verifier: Verifier) -> tuple[str, Callable[[], None]]:
    return serve_app(APPS[kind](verifier), verifier)


def serve_app(app: Any, verifier: Verifier) -> tuple[str, Callable[[], None]]:
    """Serves an application; returns its URL, and how to stop it."""
    server = Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    server.verifier = verifier
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", stop


APPS = {"fastapi": fastapi_app, "asgi": asgi_app}


@pytest.fixture(scope="module", params=APPS, ids=str)
def server(request: pytest.FixtureRequest, _harness: Harness) -> Iterator[str]:
    url, stop = serve(request.param, verifier_of(_harness))
    yield url
    stop()


@pytest.fixture(scope="module", params=APPS, ids=str)
def asking_server(request: pytest.FixtureRequest, _harness: Harness) -> Iterator[str]:
    """A server that asks about access tokens, too."""
    url, stop = serve(request.param, verifier_of(_harness, introspect_jwts=True))
    yield url
    stop()


@pytest.fixture(scope="session")
def other() -> Iterator[Harness]:
    """Another deployment, with the same APIs."""
    harness = Harness()
    yield harness
    harness.close()


def get(server: str, token: str | None, header: str = "Authorization", method: str = "GET") -> httpx.Response:
    headers = {} if token is None else {header: f"Bearer {token}" if header == "Authorization" else token}
    return httpx.request(method, f"{server}/orders", headers=headers)


def assert_refused(response: httpx.Response) -> None:
    """Compares the whole answer to a credential that is not valid."""
    description = NOT_VALID["error_description"]
    challenge = f'Bearer error="invalid_token", error_description="{description}", resource_metadata="{METADATA}"'
    assert (response.status_code, response.json()) == (401, NOT_VALID)
    assert response.headers["www-authenticate"] == challenge
    assert response.headers["cache-control"] == "no-store"


@dataclass
class Credential:
    """How to get and to end a credential."""

    get: Callable[[Harness], str]
    revoke: Callable[[Harness, str], Any]
    kind: str
    header: str = "Authorization"


def user_token(harness: Harness, resource: str = ORDERS, scope: str = "orders:read") -> str:
    tokens = harness.control(tokens={"scope": scope, "resource": resource})["tokens"]
    return str(tokens["access_token"])


def agent_token(harness: Harness, resource: str = ORDERS, scope: str = "orders:read") -> str:
    agent = harness.ready["agent"]
    form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
    url = f"{harness.ready['upstream']}/v1/auth/token"
    return str(httpx.post(url, data=form, auth=(agent["id"], agent["secret"])).json()["access_token"])


def api_key(harness: Harness, **members: Any) -> str:
    body = {"name": "reader", "scopes": ["orders:read"], **members}
    return str(harness.api("POST", "/v1/keys", body)["key"])


def cli_token(harness: Harness) -> str:
    url = harness.ready["upstream"]
    login = httpx.post(f"{url}/v1/auth/login", json=harness.ready["user"]).json()
    body = {"name": "laptop", "scopes": ["orders:read"], "all_repositories": True}
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    return str(httpx.post(f"{url}/v1/auth/cli-tokens", json=body, headers=headers).json()["token"])


def revoke_token(harness: Harness, token: str) -> None:
    answer = httpx.post(f"{harness.ready['upstream']}/v1/auth/revoke", data={"token": token})
    assert answer.status_code == 200


def report_leak(harness: Harness, token: str) -> None:
    answer = httpx.post(f"{harness.ready['upstream']}/v1/keys/revoke-leaked", json={"token": token})
    assert answer.status_code == 202


CREDENTIALS = {
    "access token of a user": Credential(user_token, revoke_token, "user"),
    "access token of an agent": Credential(agent_token, revoke_token, "agent"),
    "API key": Credential(api_key, report_leak, "api_key"),
    "API key in its header": Credential(api_key, report_leak, "api_key", "X-API-Key"),
    "CLI token": Credential(cli_token, report_leak, "cli_token"),
}
JWTS = [name for name in CREDENTIALS if name.startswith("access")]
OTHERS = [name for name in CREDENTIALS if name not in JWTS]


def damaged(token: str) -> str:
    """Returns a credential in which one character is another one."""
    at = len(token) - 10
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_good_credential_is_accepted(name: str, server: str, asking_server: str, harness: Harness) -> None:
    credential = CREDENTIALS[name]
    token = credential.get(harness)
    for url in (server, asking_server):
        response = get(url, token, credential.header)
        is_local = name in JWTS and url == server
        assert response.status_code == 200, response.text
        assert response.json()["scopes"] == ["orders:read"]
        assert response.json()["kind"] == (None if is_local else credential.kind)


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_missing_scope_is_named(name: str, server: str, harness: Harness) -> None:
    credential = CREDENTIALS[name]
    response = get(server, credential.get(harness), credential.header, "POST")
    description = "The credential lacks the scope that is required: orders:write."
    assert (response.status_code, response.json()) == (
        403,
        {"error": "insufficient_scope", "error_description": description},
    )
    assert response.headers["www-authenticate"] == (
        f'Bearer error="insufficient_scope", error_description="{description}", scope="orders:write", '
        f'resource_metadata="{METADATA}"'
    )


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_wrong_credential_is_refused(name: str, server: str, harness: Harness) -> None:
    credential = CREDENTIALS[name]
    assert_refused(get(server, damaged(credential.get(harness)), credential.header))


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_credential_of_another_deployment_is_refused(name: str, server: str, other: Harness) -> None:
    credential = CREDENTIALS[name]
    assert_refused(get(server, credential.get(other), credential.header))


@pytest.mark.parametrize("name", OTHERS)
def test_a_revoked_credential_is_refused(name: str, server: str, harness: Harness) -> None:
    credential = CREDENTIALS[name]
    token = credential.get(harness)
    assert get(server, token, credential.header).status_code == 200
    credential.revoke(harness, token)
    assert_refused(get(server, token, credential.header))


@pytest.mark.parametrize("name", JWTS)
def test_a_revoked_access_token_is_refused_if_the_issuer_is_asked(
    name: str, server: str, asking_server: str, harness: Harness
) -> None:
    token = CREDENTIALS[name].get(harness)
    CREDENTIALS[name].revoke(harness, token)
    assert get(server, token).status_code == 200
    assert_refused(get(asking_server, token))


@pytest.mark.parametrize("get_token", [user_token, agent_token])
def test_an_access_token_for_another_api_is_refused(
    get_token: Callable[..., str], server: str, asking_server: str, harness: Harness
) -> None:
    token = get_token(harness, "https://api.example.com/tools", "tools:read")
    for url in (server, asking_server):
        assert_refused(get(url, token))


def test_an_access_token_for_the_deployment_itself_is_refused(server: str, harness: Harness) -> None:
    tokens = harness.control(tokens={"scope": "orders:read"})["tokens"]
    assert_refused(get(server, tokens["access_token"]))


def test_an_expired_key_is_refused(server: str, harness: Harness) -> None:
    end = time.time() + 2
    token = api_key(harness, expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)))
    assert get(server, token).status_code == 200
    time.sleep(max(0, end - time.time()))
    assert_refused(get(server, token))


def test_a_refresh_token_is_not_accepted(server: str, harness: Harness) -> None:
    tokens = harness.control(tokens={"scope": "orders:read", "resource": ORDERS})["tokens"]
    assert_refused(get(server, tokens["refresh_token"]))


def test_other_secrets_are_refused(server: str, harness: Harness) -> None:
    runner = harness.api("POST", "/v1/runners", {"name": "build"})
    service = harness.api("POST", "/v1/services", {"name": "billing", "scopes": ["orders:read"]})
    for token in (runner["token"], service["key"], harness.ready["agent"]["secret"], harness.ready["operator_key"]):
        assert_refused(get(server, token))


def test_a_key_that_requires_signatures_is_refused(server: str, harness: Harness) -> None:
    assert_refused(get(server, api_key(harness, require_signature=True)))


def test_no_credential_is_a_challenge_without_an_error(server: str) -> None:
    response = get(server, None)
    description = "Send a credential, in the header Authorization: Bearer or X-API-Key."
    assert (response.status_code, response.json()) == (
        401,
        {"error": "auth_required", "error_description": description},
    )
    assert response.headers["www-authenticate"] == f'Bearer resource_metadata="{METADATA}"'


def test_two_credentials_are_refused(server: str, harness: Harness) -> None:
    token = api_key(harness)
    headers = [("Authorization", f"Bearer {token}"), ("X-API-Key", token)]
    response = httpx.get(f"{server}/orders", headers=headers)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "value", ["Basic YTpi", "Bearer", "Bearer a b", "DPoP abc", "bearer\tabc", "Bearer é".encode()]
)
def test_another_form_of_authorization_is_refused(value: str | bytes, server: str) -> None:
    content = value if isinstance(value, bytes) else value.encode()
    assert_refused(httpx.get(f"{server}/orders", headers={b"Authorization": content}))


def test_a_header_twice_is_refused(server: str, harness: Harness) -> None:
    token = f"Bearer {api_key(harness)}"
    assert_refused(httpx.get(f"{server}/orders", headers=[("Authorization", token), ("Authorization", token)]))


def test_the_scheme_can_have_any_case(server: str, harness: Harness) -> None:
    response = httpx.get(f"{server}/orders", headers={"Authorization": f"bEaReR {api_key(harness)}"})
    assert response.status_code == 200


def own_key(harness: Harness) -> tuple[Any, str]:
    """Returns the key with which the deployment signs, to make tokens that it would not issue."""
    secret = json.loads((Path(harness.ready["data"]) / "secrets.json").read_text(encoding="utf-8"))
    key = secret["signing_keys"][0]
    return load_der_private_key(base64.b64decode(key["private_key"]), None), key["kid"]


def base64url(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def hmac_signed(header: Any, claims: Any, key: str) -> str:
    text = f"{base64url({**header, 'alg': 'HS256'})}.{base64url(claims)}"
    signature = hmac.digest(key.encode(), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def forged(harness: Harness, claims: dict[str, Any] | None = None, header: dict[str, Any] | None = None) -> str:
    """Returns a token of the form of the deployment's, signed by its key, with changes; `None` removes a member."""
    key, kid = own_key(harness)
    now = int(time.time())
    all_claims = {
        "iss": harness.issuer, "aud": ORDERS, "sub": "usr_1", "iat": now, "nbf": now, "exp": now + 60, "jti": "tok_1",
        "scope": "orders:read", **(claims or {}),
    }  # fmt: skip
    kept = {name: value for name, value in all_claims.items() if value is not None}
    return jwt.encode(kept, key, "ES256", {"typ": "at+jwt", "kid": kid, **(header or {})})


def test_a_token_as_the_deployment_signs_it_is_accepted(server: str, harness: Harness) -> None:
    assert get(server, forged(harness)).status_code == 200
    assert get(server, forged(harness, {"exp": int(time.time()) - 20})).status_code == 200
    assert get(server, forged(harness, {"aud": [ORDERS, "https://api.example.com/more"]})).status_code == 200


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"exp": NOW - 40}, {}),
        ({"exp": None}, {}),
        ({"iat": NOW + 600}, {}),
        ({"iat": None}, {}),
        ({"nbf": NOW + 600}, {}),
        ({"sub": None}, {}),
        ({"sub": 7}, {}),
        ({"sub": ""}, {}),
        ({"aud": None}, {}),
        ({"aud": "https://api.example.com"}, {}),
        ({"aud": []}, {}),
        ({"iss": "https://evil.example"}, {}),
        ({"iss": None}, {}),
        ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, {}),
        ({}, {"typ": "JWT"}),
        ({}, {"typ": "dl+jwt"}),
        ({}, {"typ": None}),
        ({}, {"kid": "another"}),
        ({}, {"crit": ["exp"]}),
    ],
    ids=str,
)
def test_a_token_that_differs_is_refused(claims: Any, header: Any, server: str, harness: Harness) -> None:
    assert_refused(get(server, forged(harness, claims, header)))


def test_another_algorithm_is_refused(server: str, harness: Harness) -> None:
    _, kid = own_key(harness)
    claims = jwt.decode(forged(harness), options={"verify_signature": False})
    header = {"typ": "at+jwt", "kid": kid}
    public = httpx.get(f"{harness.issuer}/.well-known/jwks.json").json()["keys"][0]
    unsigned = ".".join(base64url(part) for part in ({**header, "alg": "none"}, claims))
    assert_refused(get(server, f"{unsigned}."))
    assert_refused(get(server, hmac_signed(header, claims, json.dumps(public))))
    embedded = {**header, "jwk": {name: value for name, value in public.items() if name != "kid"}}
    assert_refused(get(server, jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", embedded)))


def test_made_up_keys_cause_one_request(harness: Harness) -> None:
    verifier = verifier_of(harness)
    for kid in ("a", "b", "c", "d"):
        with pytest.raises(Refusal):
            verifier.verify(f"Bearer {forged(harness, header={'kid': kid})}")
    assert harness.count("/.well-known/jwks.json") == 1
    verifier._runtime.close()


def test_an_unreachable_issuer_is_a_503(harness: Harness) -> None:
    failures: list[Exception] = []
    verifier = verifier_of(harness, on_failure=failures.append)
    for path in ("/.well-known/jwks.json", "/v1/auth/introspect"):
        harness.control(faults=[{"path": path, "fault": "answer", "status": 503, "times": None}])
    for token in (forged(harness), api_key(harness)):
        with pytest.raises(Refusal) as caught:
            verifier.verify(f"Bearer {token}")
        assert caught.value.status == 503
        assert caught.value.headers == {"Cache-Control": "no-store", "Retry-After": "5"}
        assert caught.value.body["error"] == "temporarily_unavailable"
    assert len(failures) == 2
    assert not any(token in str(failures) for token in (forged(harness), harness.ready["resource_secret"]))
    verifier._runtime.close()


def test_a_refused_introspection_is_a_503(harness: Harness) -> None:
    verifier = verifier_of(harness, introspection=Introspection(client_secret="wrong"), on_failure=lambda _: None)
    with pytest.raises(Refusal) as caught:
        verifier.verify(api_key=api_key(harness))
    assert caught.value.status == 503
    verifier._runtime.close()


def test_the_actor_is_the_agent_that_acts_for_the_user(harness: Harness) -> None:
    verifier = verifier_of(harness, introspection=None)
    for act, actor in [({"sub": "agt_2", "act": {"sub": "agt_1"}}, "agt_2"), ({}, None), ("agt_1", None), (None, None)]:
        token = forged(harness, {"act": act})
        assert verifier.verify(f"Bearer {token}").actor == actor
    verifier._runtime.close()


def test_with_an_organization_only_its_callers_are_accepted(harness: Harness) -> None:
    verifier = verifier_of(harness, introspection=None, organization="org_1")
    assert verifier.verify(f"Bearer {forged(harness, {'org_id': 'org_1'})}").org_id == "org_1"
    for organization in ("org_2", "org_1 ", "ORG_1", "", ["org_1"], None):
        with pytest.raises(Refusal) as caught:
            verifier.verify(f"Bearer {forged(harness, {'org_id': organization})}")
        assert (caught.value.status, caught.value.code) == (401, "invalid_token")
    verifier._runtime.close()


def test_without_introspection_only_access_tokens_are_accepted(harness: Harness) -> None:
    verifier = verifier_of(harness, introspection=None)
    assert verifier.verify(f"Bearer {user_token(harness)}").user_id.startswith("usr_")
    with pytest.raises(Refusal) as caught:
        verifier.verify(api_key=api_key(harness))
    assert caught.value.status == 401
    verifier._runtime.close()


def test_an_agent_or_a_key_can_ask(harness: Harness) -> None:
    agent = harness.ready["agent"]
    asking = api_key(harness, scopes=["tokens:introspect"])
    for introspection in (
        Introspection(client_id=agent["id"], client_secret=agent["secret"]),
        Introspection(api_key=asking),
    ):
        verifier = verifier_of(harness, introspection=introspection)
        principal = verifier.verify(api_key=api_key(harness, resources={"repositories": ["acme/site"]}))
        assert principal.resources == {"repositories": ["acme/site"]}
        assert "secret" not in repr(introspection)
        verifier._runtime.close()


def test_unsafe_settings_are_refused() -> None:
    with pytest.raises(InsecureIssuer):
        Verifier("http://auth.example.com", ORDERS)
    for algorithms in ([], ["HS256"], ["none"], ["ES256", "HS512"]):
        with pytest.raises(ValueError, match="algorithms"):
            Verifier("https://auth.example.com", ORDERS, algorithms=algorithms)
    with pytest.raises(ValueError, match="introspection"):
        Verifier("https://auth.example.com", ORDERS, introspect_jwts=True)
    with pytest.raises(ValueError, match="organization"):
        Verifier("https://auth.example.com", ORDERS, organization="")


def call(server: str, token: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    return httpx.post(f"{server}/mcp", content=content, headers=sent)


def tool(name: str, method: str = "tools/call") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name, "arguments": {}}}


def test_each_tool_needs_its_scopes(server: str, harness: Harness) -> None:
    reader, writer = user_token(harness), user_token(harness, scope="orders:read orders:write")
    assert call(server, reader, tool("list_orders")).json() == {"called": "list_orders"}
    refused = call(server, reader, tool("delete_order"))
    assert refused.status_code == 403
    assert 'scope="orders:read orders:write"' in refused.headers["www-authenticate"]
    assert call(server, writer, tool("delete_order")).json() == {"called": "delete_order"}
    headers = {"Mcp-Method": "tools/call", "Mcp-Name": "delete_order"}
    assert call(server, writer, tool("delete_order"), **headers).status_code == 200


def test_headers_cannot_name_another_tool(server: str, harness: Harness) -> None:
    reader = user_token(harness)
    for headers in ({"Mcp-Name": "list_orders"}, {"Mcp-Method": "tools/list"}):
        refused = call(server, reader, tool("delete_order"), **headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("header", "name", "is_same"),
    [
        ("=?base64?bGlzdF9jYWbDqQ==?=", "list_cafe", False),
        ("=?base64?bGlzdF9jYWbDqQ==?=", "list_caf\u00e9", True),
        ("=?base64?ZGVsZXRlX29yZGVy?=", "delete_order", True),
        ("=?base64?ZGVsZXRlX29yZGVy?=", "list_orders", False),
        ("=?base64?bGlzdF9jYWbDqQ?=", "list_caf\u00e9", False),  # without its padding
        ("=?base64?bGlzdF9jYWbDqR==?=", "list_caf\u00e9", False),  # with other bits at its end
        ("=?base64?gA==?=", "\u0080", False),  # not UTF-8
        ("=?base64?%%?=", "=?base64?%%?=", True),
        ("=?BASE64?ZGVsZXRlX29yZGVy?=", "delete_order", False),
    ],
)
def test_a_header_can_have_an_encoded_name(header: str, name: str, is_same: bool, harness: Harness) -> None:
    verifier = verifier_of(harness)
    arguments = Principal("usr_1", ("*",)), TOOLS, "tools/call", header, json.dumps(tool(name)).encode()
    if is_same:
        verifier.require_tools(*arguments)
        return
    with pytest.raises(Refusal) as caught:
        verifier.require_tools(*arguments)
    assert (caught.value.status, str(caught.value)) == (400, "The header Mcp-Name differs from the body.")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"jsonrpc": "2.0"}',
        b'{"method": "tools/call"}',
        b'{"method": "tools/call", "params": {"name": 7}}',
        b'{"method": "tools/call", "params": {"name": "list_orders", "name": "delete_order"}}',
        b'{"method": "tools/list", "method": "tools/call", "params": {"name": "delete_order"}}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:60].decode(),
)
def test_a_body_that_is_not_a_message_is_refused(body: bytes, harness: Harness) -> None:
    verifier = verifier_of(harness)
    principal = Principal("usr_1", ("orders:read",))
    with pytest.raises(Refusal) as caught:
        verifier.require_tools(principal, TOOLS, None, None, body)
    assert caught.value.status == 400


def test_a_batch_needs_the_scopes_of_all_its_calls(harness: Harness) -> None:
    verifier = verifier_of(harness)
    batch = json.dumps([tool("list_orders"), tool("delete_order")]).encode()
    with pytest.raises(Refusal) as caught:
        verifier.require_tools(Principal("usr_1", ("orders:read",)), TOOLS, None, None, batch)
    assert caught.value.status == 403
    verifier.require_tools(Principal("usr_1", ("orders:*",)), TOOLS, None, None, batch)


@pytest.mark.parametrize(
    ("held", "wanted", "is_covered"),
    [
        ("*", "orders:read", True),
        ("orders:*", "orders:read", True),
        ("orders:*", "orders", False),
        ("*:read", "data:read", True),
        ("*:read", "data:files:read", False),
        ("orders:read", "orders:read:all", False),
        ("orders:read", "orders:write", False),
        ("orders:*", "orders:a:b", True),
    ],
)
def test_scopes_cover_others(held: str, wanted: str, is_covered: bool) -> None:
    assert Principal("usr_1", (held,)).has(wanted) == is_covered


def test_a_websocket_is_refused_before_it_is_accepted(harness: Harness) -> None:
    import asyncio

    sent: list[Any] = []

    async def never(*_: Any) -> None:
        raise AssertionError("the application was reached")

    async def send(message: Any) -> None:
        sent.append(message)

    middleware = PosternMiddleware(never, verifier_of(harness))
    asyncio.run(middleware({"type": "websocket", "path": "/", "headers": []}, never, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "auth_required"}]


def test_a_long_body_is_refused(harness: Harness) -> None:
    url, stop = serve("asgi", verifier_of(harness))
    try:
        response = call(url, user_token(harness), b" " * (2 << 20))
        assert (response.status_code, response.json()["error_description"]) == (400, "The body is too long.")
    finally:
        stop()
