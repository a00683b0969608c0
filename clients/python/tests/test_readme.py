"""Runs every example of the README, with the URLs of servers on this machine."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import Harness
from test_servers import api_key, serve, serve_app, user_token, verifier_of

PAGE = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n(?:```console\n(.*?)^```\n)?", PAGE, re.MULTILINE | re.DOTALL)


def example(words: str) -> tuple[str, str]:
    """Returns the only example that contains these words, and what it prints."""
    found = [(code, printed) for code, printed in EXAMPLES if words in code]
    assert len(found) == 1, words
    return found[0]


@pytest.fixture
def run(harness: Harness, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Returns a function that runs an example in a namespace, and returns it and what was printed."""
    login = {"scope": "orders:read", "resource": "https://api.example.com/orders"}
    harness.control(session={"home": str(home), **login})
    agent, signer = harness.ready["agent"], {"name": "signer", "scopes": ["*"], "require_signature": True}
    environment = {
        "AGENT_ID": agent["id"],
        "AGENT_SECRET": agent["secret"],
        "API_KEY": harness.ready["api_key"],
        "ORDERS_SECRET": harness.ready["resource_secret"],
        **harness.ready["workload"]["github"],
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    url, stop = serve("fastapi", verifier_of(harness))

    def execute(words: str, **names: Any) -> tuple[dict[str, Any], str]:
        code, printed = example(words)
        code = re.sub(r'((?:get|post)\(\s*)"https://api.example.com', rf'\1"{url}', code)
        code = code.replace("https://auth.example.com", harness.issuer)
        if "sign=True" in code:
            monkeypatch.setenv("API_KEY", harness.api("POST", "/v1/keys", signer)["key"])
        if "federation(" in code:
            audience = harness.ready["workload"]["audience"]
            code = code.replace('"github", ', f'"github", audience="{audience}", ')
        namespace = {"__name__": "example", **names}
        with redirect_stdout(io.StringIO()) as output:
            exec(compile(code, words, "exec"), namespace)
        if printed:
            assert output.getvalue() == printed
        return namespace, output.getvalue()

    yield execute
    stop()


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 12


def test_an_api_is_called(run: Any) -> None:
    assert "'user_id': 'usr_" in run("response = session.get")[1]


def test_httpx_and_requests_are_used(run: Any) -> None:
    assert run("httpx.Client(auth")[1] == "200\n200\n"


def test_an_asynchronous_program_calls_an_api(run: Any) -> None:
    assert run("asyncio.gather")[1] == f"{[200] * 10}\n"


def test_a_user_logs_in(run: Any, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postern_client._login.DEFAULT_INTERVAL_S", 1)
    harness.control(faults=[{"path": "/v1/auth/device", "fault": "replace", "members": {"interval": 1}}])
    printed: list[str] = []

    def approve(text: str) -> None:
        printed.append(text)
        if found := re.fullmatch(r"Open \S+ and enter the code (\S+)\.", text):
            harness.control(device={"user_code": found[1]})

    run("login_with_device(", print=approve)
    assert printed[1:] == ["orders:read"]


def test_programs_without_a_user_get_tokens(run: Any) -> None:
    assert run("client_credentials")[1] == "200\n"
    assert run("federation(")[1] == "orders:read scans:read\n"


def test_a_request_is_signed(run: Any) -> None:
    assert run("sign=True")[1] == "201\n"


def test_a_key_is_managed(run: Any) -> None:
    assert re.fullmatch(r"key_\S+ pst_ak_\S+\n", run("create_api_key")[1])


def test_an_error_says_what_to_do(run: Any) -> None:
    run("except LoginRequired")


@pytest.mark.parametrize("words", ["FastAPI()", "PosternMiddleware(orders"])
def test_an_api_is_protected(words: str, run: Any, harness: Harness) -> None:
    names, _ = run(words)
    verifier = names.get("verifier") or names["guard"]._verifier
    url, stop = serve_app(names["app"], verifier)
    try:
        for headers in ({"Authorization": f"Bearer {user_token(harness)}"}, {"X-API-Key": api_key(harness)}):
            assert httpx.get(f"{url}/orders", headers=headers).status_code == 200
        weak = {"X-API-Key": api_key(harness, scopes=["scans:read"])}
        assert httpx.get(f"{url}/orders", headers=weak).status_code == 403
        assert httpx.get(f"{url}/orders").status_code == 401
    finally:
        stop()


def test_tools_need_scopes(run: Any) -> None:
    run("McpTools")
