"""Official MCP clients for Python, driven by mcp-clients.test.mjs: `mcp_clients.py LIBRARY MODE URL`.

Prints one JSON object per line: what the browser must open, and what the tools returned.
"""

import asyncio
import http.server
import json
import os
import sys
import threading
import time
import urllib.parse

import fastmcp
import httpx2
from fastmcp.client.auth import ClientCredentialsOAuthProvider as FastMcpClientCredentials
from fastmcp.client.auth import OAuth
from fastmcp.client.auth import PrivateKeyJWTOAuthProvider as FastMcpSigned
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
    static_assertion_provider,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata

LIBRARY, MODE, URL = sys.argv[1:4]
CREDENTIAL = json.loads(os.environ.get("CREDENTIAL", "{}"))


def say(**members):
    print(json.dumps(members), flush=True)


class Storage:
    """What a client keeps: its tokens and its registration."""

    def __init__(self, client=None):
        self.tokens, self.client = None, client

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Callback:
    """Receives the browser on this machine."""

    def __init__(self):
        arrived = self.arrived = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                address = urllib.parse.urlsplit(self.path)
                if address.path == "/callback":
                    arrived.append(dict(urllib.parse.parse_qsl(address.query)))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"You can close this page.")

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/callback"

    async def result(self):
        while not self.arrived:
            await asyncio.sleep(0.02)
        answer = self.arrived.pop()
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])


async def open_page(url):
    say(open=url)


def mcp_user():
    """A registered client, to which a person signs in."""
    callback = Callback()
    metadata = OAuthClientMetadata(redirect_uris=[callback.url], token_endpoint_auth_method="none")
    client = OAuthClientInformationFull(client_id="postern-cli", **metadata.model_dump(exclude_none=True))
    return OAuthClientProvider(URL, metadata, Storage(client), redirect_handler=open_page, callback_handler=callback.result)


class FastMcpUser(OAuth):
    """Shows the page to the test in place of opening a browser."""

    async def redirect_handler(self, authorization_url):
        await open_page(authorization_url)


def signed():
    """An agent that signs its requests for tokens."""
    agent = CREDENTIAL["id"]
    if MODE == "workload":
        provider = static_assertion_provider(CREDENTIAL["assertion"])
        return PrivateKeyJWTOAuthProvider(URL, Storage(), client_id=agent, assertion_provider=provider, issuer=CREDENTIAL["issuer"])
    parameters = SignedJWTParameters(issuer=agent, subject=agent, signing_algorithm="ES256", signing_key=CREDENTIAL["private_key"])
    client = {"client_id": agent, "assertion_provider": parameters.create_assertion_provider(), "issuer": CREDENTIAL["issuer"]}
    return PrivateKeyJWTOAuthProvider(URL, Storage(), **client) if LIBRARY == "mcp" else FastMcpSigned(URL, **client)


def enterprise():
    """An app that the identity provider of its user allows."""
    async def assertion(audience, resource):
        return CREDENTIAL["assertion"]

    client = {"client_id": CREDENTIAL["id"], "client_secret": CREDENTIAL["secret"], "issuer": CREDENTIAL["issuer"]}
    return IdentityAssertionOAuthProvider(URL, Storage(), **client, assertion_provider=assertion)


def auth():
    if MODE == "key":
        return None
    if MODE == "user":
        return mcp_user() if LIBRARY == "mcp" else FastMcpUser(URL, client_id="postern-cli")
    if MODE in ("signed", "workload"):
        return signed()
    if MODE == "enterprise":
        return enterprise()
    client = {"client_id": CREDENTIAL["id"], "client_secret": CREDENTIAL["secret"], "issuer": CREDENTIAL["issuer"]}
    if LIBRARY == "mcp":
        return ClientCredentialsOAuthProvider(URL, Storage(), **client)
    return FastMcpClientCredentials(URL, **client)


def connection(provider):
    headers = {"X-API-Key": CREDENTIAL["key"]} if MODE == "key" else {}
    if LIBRARY == "fastmcp":
        return fastmcp.Client(StreamableHttpTransport(URL, headers=headers, auth=provider))
    return Client(streamable_http_client(URL, http_client=httpx2.AsyncClient(headers=headers, auth=provider, timeout=60)))


async def call(client, tool):
    result = await client.call_tool(tool, {})
    say(tool=tool, text=result.content[0].text)


async def main():
    provider = auth()
    async with connection(provider) as client:
        await call(client, "whoami")
        if MODE == "user":
            before = provider.context.current_tokens
            provider.context.token_expiry_time = time.time() - 1
            await call(client, "whoami")
            after = provider.context.current_tokens
            say(refreshed=after.refresh_token != before.refresh_token and after.access_token != before.access_token)
            await call(client, "trigger_scan")
            say(scopes=sorted(provider.context.current_tokens.scope.split()))


asyncio.run(main())
