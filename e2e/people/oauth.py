"""Authlib and PyJWT against Postern, without a special case for it."""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.parse

import jwt
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE
from joserfc.jwk import ECKey

with socket.create_server(("127.0.0.1", 0)) as free:
    PORT = free.getsockname()[1]
URL = f"http://127.0.0.1:{PORT}"
ORDERS = "https://api.example.com/orders"
USER = {"email": "grace@example.com", "password": "correct horse battery"}
CONFIG = f"""
[[client]]
id = "app"
name = "The App"
redirect_uris = ["http://127.0.0.1/callback"]

[[resource]]
uri = "{ORDERS}"
name = "Orders"
scopes = ["repos:read", "repos:write"]
default_scopes = ["repos:read"]
algorithm = "RS256"
"""


def start(folder):
    """Starts the local program and returns it with its API key."""
    with open(f"{folder}/postern.toml", "w", encoding="utf-8") as file:
        file.write(CONFIG)
    ready = f"{folder}/ready.json"
    command = [os.environ["POSTERN_PROGRAM"], "--listen", str(PORT), "--data", ":memory:", "--ready-file", ready]
    # The program refuses variables of ours that it does not know.
    environment = {"PATH": os.environ["PATH"], "HOME": folder}
    program = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if os.path.exists(ready):
            break
        assert program.poll() is None, "the program ended"
        time.sleep(0.05)
    with open(ready, encoding="utf-8") as file:
        return program, json.load(file)["api_key"]


def verify(metadata, token):
    """Verifies a token as its API does, and as another API does."""
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token).key
    options = {"algorithms": ["RS256"], "issuer": URL}
    claims = jwt.decode(token, key, audience=ORDERS, **options)
    for other in [URL, "https://api.example.com"]:
        try:
            jwt.decode(token, key, audience=other, **options)
        except jwt.InvalidAudienceError:
            continue
        raise AssertionError(f"{other} accepted the token")
    return claims


def client_credentials(metadata, key):
    body = {"name": "bot", "scopes": ["repos:*"]}
    agent = requests.post(f"{URL}/v1/agents", headers={"X-API-Key": key}, json=body, timeout=10).json()
    for method in ["client_secret_basic", "client_secret_post"]:
        client = OAuth2Session(agent["id"], agent["secret"], scope="repos:read", token_endpoint_auth_method=method)
        tokens = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", resource=ORDERS)
        assert verify(metadata, tokens["access_token"])["scope"] == "repos:read"


def private_key_jwt(metadata, key):
    private = ECKey.generate_key("P-256", {"kid": "first"})
    body = {"name": "signer", "scopes": ["repos:*"], "jwks": {"keys": [private.as_dict(private=False)]}}
    agent = requests.post(f"{URL}/v1/agents", headers={"X-API-Key": key}, json=body, timeout=10).json()
    client = OAuth2Session(
        agent["id"], private, scope="repos:read offline_access", token_endpoint_auth_method="private_key_jwt"
    )

    def authenticate():
        # By default, the audience is the token endpoint, and the assertion lasts for an hour. An object with claims of
        # its own would use its jti again.
        claims = {"exp": int(time.time()) + 60}
        client.register_client_auth_method(PrivateKeyJWT(metadata["issuer"], claims=claims, alg="ES256"))

    authenticate()
    tokens = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", resource=ORDERS)
    assert verify(metadata, tokens["access_token"])["client_id"] == agent["id"]
    authenticate()
    fresh = client.refresh_token(metadata["token_endpoint"], refresh_token=tokens["refresh_token"])
    verify(metadata, fresh["access_token"])
    client.register_client_auth_method(PrivateKeyJWT(alg="ES256"))
    try:
        client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", resource=ORDERS)
    except OAuthError as error:
        assert error.error == "invalid_client", error
    else:
        raise AssertionError("an assertion for the token endpoint was accepted")


def browser():
    """Returns a function that sends requests as a browser does, with the cookies that it has received."""
    headers = {"Accept": "text/html", "Origin": URL}

    def send(method, target, **options):
        answer = requests.request(method, target, headers=headers, allow_redirects=False, timeout=10, **options)
        if "set-cookie" in answer.headers:
            headers["Cookie"] = answer.headers["set-cookie"].split(";")[0]
        return answer

    return send


def allow(address):
    """Signs the user in and allows what the client asks for; returns where the browser is sent."""
    send = browser()
    login = urllib.parse.urlparse(send("GET", address).headers["location"]).query
    page = urllib.parse.parse_qs(login)["next"][0]
    send("POST", f"{URL}/login", data={**USER, "next": page})
    form = send("GET", URL + page).text.split('action="/v1/auth/authorize"')[1]
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form)
    fields = [(name, value.replace("&#38;", "&")) for name, value in hidden]
    return send("POST", f"{URL}/v1/auth/authorize", data=[*fields, ("decision", "allow")]).headers["location"]


def code_flow(metadata):
    client = OAuth2Session(
        "app", redirect_uri="http://127.0.0.1:3333/callback", scope="repos:read", code_challenge_method="S256",
        token_endpoint_auth_method="none",
    )
    verifier = "a" * 64
    address, state = client.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, resource=ORDERS
    )
    endpoint = metadata["token_endpoint"]
    tokens = client.fetch_token(endpoint, authorization_response=allow(address), code_verifier=verifier, state=state)
    assert verify(metadata, tokens["access_token"])["client_id"] == "app"
    fresh = client.refresh_token(endpoint, refresh_token=tokens["refresh_token"])
    verify(metadata, fresh["access_token"])
    assert client.revoke_token(metadata["revocation_endpoint"], token=fresh["refresh_token"]).status_code == 200
    try:
        client.refresh_token(endpoint, refresh_token=fresh["refresh_token"])
    except OAuthError as error:
        assert error.error == "invalid_grant", error
    else:
        raise AssertionError("a revoked refresh token was accepted")


def decide_about_device(code, decision):
    """Signs the user in and approves or denies a device, as its page does."""
    send = browser()
    send("POST", f"{URL}/login", data={**USER, "next": "/device"})
    csrf = re.search(r'name="csrf" value="([^"]*)"', send("GET", f"{URL}/device").text)[1]
    fields = {"csrf": csrf, "user_code": code}
    shown = re.search(r'name="shown_scope" value="([^"]*)"', send("POST", f"{URL}/device", data=fields).text)[1]
    decided = send("POST", f"{URL}/device", data={**fields, "shown_scope": shown, "decision": decision})
    assert decided.status_code == 303, decided.text


def device_flow(metadata):
    client = OAuth2Session("postern-cli", scope="repos:read", token_endpoint_auth_method="none")

    def start():
        request = {"client_id": "postern-cli", "scope": "repos:read", "resource": ORDERS}
        return requests.post(metadata["device_authorization_endpoint"], data=request, timeout=10).json()

    def poll(device):
        return client.fetch_token(metadata["token_endpoint"], grant_type=DEVICE_CODE_GRANT_TYPE, device_code=device)

    def refused(device, code):
        try:
            poll(device)
        except OAuthError as error:
            assert error.error == code, error
        else:
            raise AssertionError(f"the token endpoint did not answer {code}")

    begun = start()
    assert begun["verification_uri_complete"] == f"{URL}/device?user_code={begun['user_code']}", begun
    refused(begun["device_code"], "authorization_pending")
    refused(begun["device_code"], "slow_down")
    decide_about_device(begun["user_code"], "approve")
    tokens = poll(begun["device_code"])
    assert verify(metadata, tokens["access_token"])["client_id"] == "postern-cli"
    fresh = client.refresh_token(metadata["token_endpoint"], refresh_token=tokens["refresh_token"])
    verify(metadata, fresh["access_token"])
    denied = start()
    decide_about_device(denied["user_code"], "deny")
    refused(denied["device_code"], "access_denied")


def main():
    with tempfile.TemporaryDirectory() as folder:
        program, key = start(folder)
        try:
            created = requests.post(f"{URL}/v1/users", headers={"X-API-Key": key}, json=USER, timeout=10)
            assert created.status_code == 201, created.text
            metadata = requests.get(f"{URL}/.well-known/oauth-authorization-server", timeout=10).json()
            client_credentials(metadata, key)
            private_key_jwt(metadata, key)
            code_flow(metadata)
            device_flow(metadata)
        finally:
            program.kill()
    print("authlib and PyJWT: passed")


if __name__ == "__main__":
    main()
