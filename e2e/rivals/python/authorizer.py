"""An authorizer for comparison with Postern's, as a good engineer would write it in Python: it gives the same answer to an HTTP API event
(payload 2.0) with an access token. Only for the benchmark, not part of the product."""

import json
import os
import time

import boto3
import jwt
from botocore.config import Config

from runtime import serve

ISSUER = os.environ["POSTERN_ISSUER"]
KEYS_TABLE = os.environ["POSTERN_KEYS_TABLE"]
FAMILIES_TABLE = os.environ["POSTERN_FAMILIES_TABLE"]
CLAIMS = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"]


class Unauthorized(Exception):
    """API Gateway makes a 401 of exactly this message, and a 500 of any other."""

    def __init__(self):
        super().__init__("Unauthorized")


def client(service):
    patience = Config(connect_timeout=1, read_timeout=1.5, retries={"mode": "standard", "total_max_attempts": 3})
    return boto3.client(service, region_name=os.environ["AWS_REGION"], config=patience)


def fetch_keys():
    secret = client("secretsmanager").get_secret_value(SecretId=os.environ["POSTERN_SECRET_ARN"])
    keys = json.loads(secret["SecretString"])["signing_keys"]
    return {key["kid"]: jwt.PyJWK(key["public_key"], "ES256") for key in keys if key["algorithm"] == "ES256"}


dynamodb = client("dynamodb")
keys = fetch_keys()


def verify(event):
    scheme, _, token = event.get("headers", {}).get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized
    try:
        header = jwt.get_unverified_header(token)
        key = keys.get(header.get("kid"))
        if key is None or header.get("typ") != "at+jwt":
            raise Unauthorized
        options = {"require": CLAIMS}
        return jwt.decode(token, key, algorithms=["ES256"], options=options, issuer=ISSUER, audience=ISSUER, leeway=30)
    except jwt.InvalidTokenError:
        raise Unauthorized from None


def read_standing(claims):
    """The agent of a token and the family it was issued with, in one round trip; a token without a family is revoked by its own id."""

    def consistently(pk):
        return {"Keys": [{"pk": {"S": pk}}], "ConsistentRead": True}

    family = claims.get("sid", claims["jti"])
    answer = dynamodb.batch_get_item(
        RequestItems={KEYS_TABLE: consistently(claims["agent_id"]), FAMILIES_TABLE: consistently(family)}
    )
    if answer.get("UnprocessedKeys"):
        raise RuntimeError("the store left keys unread")
    return (next(iter(answer["Responses"].get(table, [])), None) for table in (KEYS_TABLE, FAMILIES_TABLE))


def is_alive(family):
    ends = (int(family[name]["N"]) for name in ("idle_expires_at_ms", "absolute_expires_at_ms"))
    return "revoked_at_ms" not in family and time.time() * 1000 < min(ends)


def authorize(event):
    claims = verify(event)
    agent, family = read_standing(claims)
    stands = family is not None and is_alive(family) if "sid" in claims else family is None
    if not stands or agent is None or agent["org_id"]["S"] != claims["org_id"]:
        raise Unauthorized
    context = {
        "user_id": claims["sub"],
        "kind": "agent",
        "org_id": claims["org_id"],
        "credential_id": claims.get("sid", claims["jti"]),
        "scopes": " ".join(claims["scopes"]),
        "resources": "{}",
        "metadata": "{}",
    }
    if "on_behalf_of" in agent:
        context["on_behalf_of"] = agent["on_behalf_of"]["S"]
    return {"isAuthorized": True, "context": context}


if __name__ == "__main__":
    serve(authorize)
