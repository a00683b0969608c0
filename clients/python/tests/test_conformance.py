"""Runs the cases and vectors of `clients/conformance`, each with a synchronous and an asynchronous session."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import ROOT, Clock, Harness
from postern_client import (
    AccessToken,
    AsyncSession,
    DevicePrompt,
    PosternError,
    Session,
    login_with_browser,
    login_with_browser_async,
    login_with_device,
    login_with_device_async,
    sign_request,
)
from postern_client.verifier import Introspection, Principal, Refusal, Verifier

CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted((ROOT / "cases").glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
]
VECTORS = json.loads((ROOT / "signatures.json").read_text(encoding="utf-8"))


class Driver:
    """Executes the steps of a case."""

    def __init__(self, harness: Harness, home: Path, clock: Clock, env: pytest.MonkeyPatch, is_async: bool) -> None:
        self.harness, self.home, self.clock, self.env, self.is_async = harness, home, clock, env, is_async
        self.runtime = clock.runtime()
        self.file = home / "sessions" / "default.json"
        self.session: Any = None
        self.loop = asyncio.new_event_loop() if is_async else None
        self.last = ""
        self.before: dict[str, Any] = {}

    def close(self) -> None:
        self.new_session()
        self.runtime.close()
        if self.loop:
            self.loop.close()

    def new_session(self) -> None:
        if self.session is not None:
            self.wait(self.session.aclose() if self.is_async else self.session.close())
        self.session = None

    def wait(self, result: Any) -> Any:
        return self.loop.run_until_complete(result) if self.loop and inspect.isawaitable(result) else result

    @property
    def kind(self) -> Any:
        return AsyncSession if self.is_async else Session

    def stored(self) -> dict[str, Any]:
        try:
            members = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return members if isinstance(members, dict) else {}

    def text(self, text: str) -> str:
        return text.replace("{home}", str(self.home)).replace("{issuer}", self.harness.issuer)

    def step(self, step: dict[str, Any]) -> None:
        match step:
            case {"control": commands}:
                if "session" in commands:
                    commands = {**commands, "session": {"home": str(self.home), **commands["session"]}}
                self.harness.control(**commands)
            case {"write": file}:
                path = self.home / file["path"]
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.write_text(file["text"], encoding="utf-8")
                path.chmod(0o600)
                changed = time.time() - file.get("age", 0)
                os.utime(path, (changed, changed))
            case {"chmod": {"path": name, "mode": mode}}:
                (self.home / name).chmod(int(mode, 8))
            case {"advance": seconds}:
                self.clock.advance(seconds)
            case {"new_session": True}:
                self.new_session()
            case {"call": name, "expect": expect}:
                self.call(name, step.get("with", {}), expect)
            case {"check": checks}:
                self.check(**checks)
            case _:
                raise AssertionError(f"unknown step: {step}")

    def call(self, name: str, arguments: dict[str, Any], expect: dict[str, Any]) -> None:
        self.before, self.clock.waits = self.stored(), []
        try:
            outcome = self.wait(getattr(self, name)(**{key.rstrip("_"): value for key, value in arguments.items()}))
            error = None
        except (PosternError, Refusal) as failure:
            outcome, error = None, failure
        assert (error.code if error else None) == expect.get("error"), error
        said = str(error or outcome)
        for words in expect.get("says", []):
            assert self.text(words) in said, said
        if error or isinstance(outcome, str):
            self.assert_presentable(said)
        if isinstance(outcome, AccessToken):
            self.compare(outcome, expect)
            self.last = outcome.value
        if "status" in expect:
            assert (error.status if isinstance(error, Refusal) else outcome.status_code) == expect["status"]
        if isinstance(outcome, Principal):
            assert outcome.org_id == self.organizations()[expect["organization"]]
        if name == "logout":
            assert isinstance(outcome, str) == expect.get("warns", False), outcome
        if "waits" in expect:
            assert len(self.clock.waits) == len(expect["waits"]), self.clock.waits
            for waited, (least, most) in zip(self.clock.waits, expect["waits"], strict=True):
                assert least <= waited <= most, self.clock.waits

    def assert_presentable(self, text: str) -> None:
        """Asserts that a text has no secret, and nothing that controls a terminal."""
        ready = self.harness.ready
        secrets = [self.before.get("refresh_token"), ready["agent"]["secret"], ready["api_key"], self.last]
        tokens = self.before.get("access_tokens", [])
        secrets += [entry.get("value") for entry in tokens if isinstance(entry, dict)]
        for secret in secrets:
            assert not isinstance(secret, str) or not secret or secret not in text
        assert text.isprintable(), repr(text)

    def compare(self, token: AccessToken, expect: dict[str, Any]) -> None:
        match expect.get("token"):
            case "stored":
                assert token.value == self.before["access_tokens"][0]["value"]
            case "same":
                assert token.value == self.last
            case "new":
                known = [entry["value"] for entry in self.before.get("access_tokens", [])]
                assert token.value not in [*known, self.last]
                if claims_of(token.value)["aud"] == self.harness.issuer:
                    assert self.harness.whoami(token.value)["kind"]
        assert token.value not in repr(token)
        if "scope" in expect:
            assert set((token.scope or "").split()) == set(expect["scope"].split())
        if "audience" in expect:
            assert claims_of(token.value)["aud"] == self.text(expect["audience"])

    def check(self, requests: dict[str, int] | None = None, file: dict[str, Any] | None = None) -> None:
        counts = self.harness.control()["counts"]
        for name, count in (requests or {}).items():
            assert counts.get(name, 0) == count, (name, counts)
        for name, expected in (file or {}).items():
            stored = self.stored()
            match name:
                case "exists":
                    assert self.file.exists() == expected
                case "mode":
                    assert f"{self.file.stat().st_mode & 0o7777:04o}" == expected
                case "refresh_token":
                    is_kept = stored["refresh_token"] == self.before.get("refresh_token")
                    assert is_kept == (expected == "kept")
                case "tokens":
                    assert len(stored["access_tokens"]) == expected
                case "files":
                    assert sorted(path.name for path in self.file.parent.iterdir()) == expected
                case "members":
                    assert {key: stored.get(key) for key in expected} == expected
                case "token_members":
                    tokens = [{key: token.get(key) for key in expected} for token in stored["access_tokens"]]
                    assert expected in tokens
                case _:
                    raise AssertionError(f"unknown check: {name}")

    def opened(self, profile: str | None = None, path: str | None = None) -> Any:
        """Returns the session of the last call, or opens one."""
        if path is not None:
            self.session = self.kind.open(path=self.home / path, _runtime=self.runtime)
        elif self.session is None or profile is not None:
            self.session = self.kind.open(profile or "default", _runtime=self.runtime)
        return self.session

    def access_token(
        self, profile: str | None = None, path: str | None = None, callers: int = 1, **arguments: Any
    ) -> Any:
        session = self.opened(profile, path)
        return self.shared(callers, lambda: session.access_token(**arguments))

    def shared(self, callers: int, call: Callable[[], Any]) -> Any:
        """Returns the outcome of many callers at the same time, which must be the same for each."""
        outcomes = self.in_loop(callers, call) if self.loop else in_threads(callers, call)
        shown = {outcome.code if isinstance(outcome, PosternError) else outcome.value for outcome in outcomes}
        assert len(shown) == 1, "the callers get different outcomes"
        if isinstance(outcomes[0], PosternError):
            raise outcomes[0]
        return outcomes[0]

    def in_loop(self, callers: int, call: Callable[[], Any]) -> list[Any]:
        async def together() -> list[Any]:
            return await asyncio.gather(*(call() for _ in range(callers)), return_exceptions=True)

        assert self.loop is not None
        return self.loop.run_until_complete(together())

    def renew(self, **arguments: Any) -> Any:
        return self.opened().renew(self.last or self.before["access_tokens"][0]["value"], **arguments)

    def request(self, path: str = "", url: str | None = None) -> Any:
        return self.opened().get(url or f"{self.harness.issuer}{path}")

    def logout(self) -> Any:
        return self.opened().logout()

    def organizations(self) -> dict[str | None, str | None]:
        ready = self.harness.ready
        return {"own": ready["organization_id"], "other": ready["other"]["organization_id"], None: None}

    def verify(
        self,
        credential: str,
        organization: str | None = None,
        ask_with: str = "secret",
        introspect_jwts: bool = False,
        scopes: Sequence[str] = (),
    ) -> Any:
        ready = self.harness.ready
        secret, key = ready["resource_secret"], ready["api_key"]
        verifier = Verifier(
            self.harness.issuer,
            ready["resources"]["orders"],
            organization=self.organizations()[organization],
            introspection=Introspection(client_secret=secret) if ask_with == "secret" else Introspection(api_key=key),
            introspect_jwts=introspect_jwts,
            on_failure=lambda _: None,
            _runtime=self.clock.runtime(),
        )
        presented = f"Bearer {self.credential(credential)}"
        if self.is_async:
            return self.verified(verifier, presented, scopes)
        try:
            return verifier.verify(presented, scopes=scopes)
        finally:
            asyncio.run(verifier.aclose())

    async def verified(self, verifier: Verifier, presented: str, scopes: Sequence[str]) -> Principal:
        try:
            return await verifier.verify_async(presented, scopes=scopes)
        finally:
            await verifier.aclose()

    def credential(self, name: str) -> str:
        """Returns an API key, or an access token of an agent for the API `orders`."""
        ready = self.harness.ready
        owner = ready["other"] if name.startswith("other_") else ready
        if name.endswith("api_key"):
            return str(owner["api_key"])
        orders, agent = ready["resources"]["orders"], owner["agent"]
        with Session.client_credentials(
            agent["id"], agent["secret"], issuer=self.harness.issuer, resource=orders, scope="orders:read"
        ) as session:
            return session.access_token().value

    def login_with_device(self, issuer: str | None = None, decision: str | None = None, **arguments: Any) -> Any:
        def prompt(shown: DevicePrompt) -> None:
            if decision:
                self.harness.control(device={"user_code": shown.user_code, "decision": decision})

        arguments = {"on_prompt": prompt, "_runtime": self.runtime, **arguments}
        return self.after_login(
            (login_with_device_async if self.is_async else login_with_device)(
                issuer or self.harness.issuer, **arguments
            )
        )

    def login_with_browser(
        self,
        decision: str = "allow",
        callback: dict[str, str | None] | None = None,
        stray: dict[str, str | None] | None = None,
        twice: bool = False,
        issuer: str | None = None,
        **arguments: Any,
    ) -> Any:
        def browser(url: str) -> None:
            location = self.harness.control(consent={"url": url, "decision": decision})["consent"]
            if stray:
                assert status_of(changed(location, stray)) == 400
            target = changed(location, callback or {})
            assert set(in_threads(2 if twice else 1, lambda: status_of(target))) == {200}

        arguments = {"on_url": browser, "_runtime": self.runtime, **arguments}
        return self.after_login(
            (login_with_browser_async if self.is_async else login_with_browser)(
                issuer or self.harness.issuer, **arguments
            )
        )

    def after_login(self, login: Any) -> Any:
        """Returns the token of a new session."""
        self.session = self.wait(login)
        return self.session.access_token()

    def client_credentials(self, secret: str | None = None, callers: int = 1, **arguments: Any) -> Any:
        agent = self.harness.ready["agent"]
        session = self.session = self.kind.client_credentials(
            agent["id"], secret or agent["secret"], issuer=self.harness.issuer, _runtime=self.runtime, **arguments
        )
        return self.shared(callers, session.access_token)

    def api_key(self) -> Any:
        self.session = self.kind.api_key(self.harness.ready["api_key"], _runtime=self.runtime)
        return self.session.access_token()

    def federation(self, without: str | None = None, claims: Any = None, **arguments: Any) -> Any:
        kind, workload = arguments.pop("from"), self.harness.ready["workload"]
        issued = {"gitlab": "gitlab", "kubernetes": "kubernetes", "file": "oidc"}.get(kind)
        if issued:
            token = self.harness.control(workload_token={"kind": issued, "claims": claims or {}})["workload_token"]
        if without:
            pass
        elif kind == "github":
            for name, value in workload["github"].items():
                self.env.setenv(name, value)
        elif kind == "gitlab":
            self.env.setenv("POSTERN_ID_TOKEN", token)
        else:
            (self.home / "token").write_text(token, encoding="utf-8")
        if kind in ("kubernetes", "file"):
            arguments["token_file"] = self.home / "token"
        self.session = self.kind.federation(
            kind, issuer=self.harness.issuer, audience=workload["audience"], _runtime=self.runtime, **arguments
        )
        return self.session.access_token()


def in_threads(callers: int, call: Callable[[], Any]) -> list[Any]:
    """Returns what each of many callers at the same time gets: a result, or an error of the package."""

    def outcome(_: int) -> Any:
        try:
            return call()
        except PosternError as error:
            return error

    with ThreadPoolExecutor(callers) as threads:
        return list(threads.map(outcome, range(callers)))


def changed(url: str, parameters: dict[str, str | None]) -> str:
    """Returns a URL with other parameters; None removes one."""
    parts = urllib.parse.urlsplit(url)
    members = {**dict(urllib.parse.parse_qsl(parts.query)), **parameters}
    query = urllib.parse.urlencode({name: value for name, value in members.items() if value is not None})
    return parts._replace(query=query).geturl()


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return error.code


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("case", CASES)
def test_case(
    case: dict[str, Any], is_async: bool, harness: Harness, home: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(harness, home, clock, monkeypatch, is_async)
    try:
        for step in case["steps"]:
            driver.step(step)
    finally:
        driver.close()


def arguments_of(vector: dict[str, Any]) -> dict[str, Any]:
    names = ("token", "method", "target", "body", "timestamp_ms", "nonce", "content_sha256")
    arguments = {name: vector[name] for name in names}
    if "body_hex" in vector:
        arguments["body"] = bytes.fromhex(vector["body_hex"])
    return arguments


@pytest.mark.parametrize("vector", VECTORS["signed"], ids=lambda vector: vector["name"])
def test_signature(vector: dict[str, Any]) -> None:
    assert sign_request(**arguments_of(vector)) == vector["headers"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_signature_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|empty"):
        sign_request(**arguments_of(vector))
