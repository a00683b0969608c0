#!/usr/bin/env python3
"""Makes signatures.json: requests, and the headers that sign them. Uses nothing of the packages that it tests.

    signatures.py >signatures.json      with --check: reports whether the file is current
"""

import hashlib
import hmac
import json
import pathlib
import sys

TOKEN = "pst_ak_01h455vb4pex5vsknk084sn02q0123456789abcdefghijABCDEFGHIJ01abcdef"
NONCE = "3f2a9c1b7d5e4f60"
TIME = 1767225600123


def bytes_of(request):
    return bytes.fromhex(request["body_hex"]) if "body_hex" in request else (request["body"] or "").encode()


def headers(request):
    """Returns the headers of a request, by the text of the contract alone."""
    digest = hashlib.sha256(bytes_of(request)).hexdigest()
    parts = [str(request["timestamp_ms"]), request["nonce"], request["method"].upper(), request["target"], digest]
    signature = hmac.new(request["token"].encode(), ":".join(parts).encode(), hashlib.sha256).hexdigest()
    signed = {"X-Cli-Signature": signature, "X-Cli-Timestamp": parts[0], "X-Cli-Nonce": request["nonce"]}
    if request["content_sha256"]:
        signed["X-Cli-Content-Sha256"] = digest
    return signed


def request(name, method="GET", target="/v1/auth/whoami", body=None, **changes):
    return {
        "name": name, "token": TOKEN, "method": method, "target": target, "body": body, "timestamp_ms": TIME, "nonce": NONCE,
        "content_sha256": False, **changes,
    }


def document():
    signed = [
        request("no body"),
        request("an empty body is signed as none", "POST", body=""),
        request("a JSON body", "POST", "/v1/runners", '{"name": "build-2"}'),
        request("a body that is not ASCII", "PUT", "/v1/notes/1", "Grüße, 世界 🌍\r\n"),
        {**request("a body of bytes that are not text", "POST", "/upload"), "body_hex": "00ff80fe0a0d"},
        request("the query is part of the target", "GET", "/v1/runners?limit=2&cursor=a%20b"),
        request("escapes stay as they were sent", "GET", "/files/a%2Fb%C3%A9"),
        request("an empty query keeps its question mark", "GET", "/v1/runners?"),
        request("the order and case of the query stay", "GET", "/search?b=2&A=1&b=1"),
        request("the path of a stage is signed as the client sent it", "DELETE", "/prod/orders/7"),
        request("a method in lower case is signed in upper case", "delete", "/v1/keys/key_1"),
        request("the shortest nonce", nonce="0123456789abcdef"),
        request("the longest nonce", nonce="A-_z" * 32),
        request("a time in the first second", timestamp_ms=0),
        request("a key of another brand", token="cat_ct_01h455vb4pex5vsknk084sn02qabc"),
        request("the digest for an authorizer", "POST", "/orders", '{"id": 7}', content_sha256=True),
        request("the digest of no body", "GET", "/orders", content_sha256=True),
    ]
    refused = [
        request("a nonce of 15 characters", nonce="0123456789abcde"),
        request("a nonce of 129 characters", nonce="a" * 129),
        request("a nonce with another character", nonce="0123456789abcde:"),
        request("a target that is a URL", target="https://api.example.com/orders"),
        request("a target with a fragment", target="/orders#7"),
        request("a target with a space", target="/a b"),
        request("an empty target", target=""),
        request("a negative time", timestamp_ms=-1),
        request("an empty token", token=""),
        request("a method with a colon", "GET:x"),
    ]
    return {"signed": [{**one, "headers": headers(one)} for one in signed], "refused": refused}


def main():
    text = json.dumps(document(), indent=1, ensure_ascii=True) + "\n"
    if "--check" in sys.argv:
        current = (pathlib.Path(__file__).parent / "signatures.json").read_text(encoding="utf-8")
        sys.exit(None if current == text else "signatures.json is not what signatures.py makes: run it again")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
