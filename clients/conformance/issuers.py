"""Issuers of workload tokens on this machine: an RSA key, its key set, and tokens of the form of each kind."""

import base64
import hashlib
import json
import secrets
import time
import uuid

# DER of DigestInfo for SHA-256 (RFC 8017 §9.2)
SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
SMALL_PRIMES = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def prime(bits):
    """Returns a random prime number whose two highest bits are set."""
    while True:
        candidate = secrets.randbits(bits) | (3 << (bits - 2)) | 1
        if all(candidate % small for small in SMALL_PRIMES) and (candidate - 1) % 65537 and is_prime(candidate):
            return candidate


def is_prime(number):
    """Tests a number with eight rounds of Miller and Rabin."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(8):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


class Key:
    """An RSA key that signs with RS256. It is made for one run, so its arithmetic need not resist timing."""

    def __init__(self):
        p, q = prime(1024), prime(1024)
        self.modulus = p * q
        self.exponent = pow(65537, -1, (p - 1) * (q - 1))

    def jwks(self):
        modulus = self.modulus.to_bytes(256, "big")
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "first", "n": base64url(modulus), "e": "AQAB"}]}

    def sign(self, claims):
        parts = [{"alg": "RS256", "kid": "first", "typ": "JWT"}, claims]
        text = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        block = SHA256_PREFIX + hashlib.sha256(text.encode()).digest()
        padded = b"\x00\x01" + b"\xff" * (256 - 3 - len(block)) + b"\x00" + block
        signature = pow(int.from_bytes(padded, "big"), self.exponent, self.modulus)
        return f"{text}.{base64url(signature.to_bytes(256, 'big'))}"


# For each kind: what its rule matches, and the claims of a token that meets the rule
KINDS = {
    "github": (
        'match = { repository_id = "456789", ref = "refs/heads/main" }',
        {
            "sub": "repo:octo-org@123456/site@456789:ref:refs/heads/main", "repository": "octo-org/site",
            "repository_id": "456789", "repository_owner": "octo-org", "repository_owner_id": "123456",
            "ref": "refs/heads/main", "ref_type": "branch", "event_name": "push", "runner_environment": "github-hosted",
        },
    ),
    "gitlab": (
        'match = { project_id = "20", ref = "main", ref_type = "branch", ref_protected = true }',
        {
            "sub": "project_path:my-group/my-project:ref_type:branch:ref:main", "namespace_id": "72", "project_id": "20",
            "ref": "main", "ref_type": "branch", "ref_protected": "true", "pipeline_source": "push",
        },
    ),
    "kubernetes": (
        'match = { sub = "system:serviceaccount:prod:deploy" }',
        {
            "sub": "system:serviceaccount:prod:deploy",
            "kubernetes.io": {
                "namespace": "prod", "pod": {"name": "deploy-7d9c", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
                "serviceaccount": {"name": "deploy", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
            },
        },
    ),
    "aws": (
        'match = { sub = "arn:aws:iam::123456789012:role/Nightly" }',
        {"sub": "arn:aws:iam::123456789012:role/Nightly", "https://sts.amazonaws.com/": {"aws_account": "123456789012"}},
    ),
    "oidc": ('match = { sub = "job-1", team = "data" }', {"sub": "job-1", "team": "data"}),
}


def rules(issuer, audience, organization, scopes):
    """Returns a `[[trust]]` rule for each kind. Their issuers are below the URL of the harness."""
    names = ", ".join(f'"{scope}"' for scope in scopes)
    return "".join(
        f'[[trust]]\nname = "{kind}"\nkind = "{kind}"\nissuer = "{issuer}/{kind}"\naudience = "{audience}"\n{match}\n'
        f'organization = "{organization}"\nsubject_prefix = "job-{kind}|"\nscopes = [{names}]\n'
        for kind, (match, _) in KINDS.items()
    )


def claims(kind, issuer, audience, **changes):
    """Returns the claims of a token of a kind, as of now. Each token has another `jti`."""
    now = int(time.time())
    common = {"iss": f"{issuer}/{kind}", "aud": audience, "iat": now, "nbf": now, "exp": now + 300, "jti": str(uuid.uuid4())}
    return {**common, **KINDS[kind][1], **changes}
