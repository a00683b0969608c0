"""Sessions in threads, tasks and processes, with the libraries that use them, and when something fails."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import trio

from harness import ROOT, Clock, Harness
from postern_client import (
    ApiError,
    AsyncSession,
    LockTimeout,
    LoginRequired,
    Session,
    SessionInvalid,
    StorageFailed,
    WorkloadTokenUnavailable,
    api,
    errors,
    login_with_browser,
    login_with_device,
    sign_request,
)
from postern_client._effects import Runtime
from postern_client._profile import profile

INVALID_TOKEN = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
WHOAMI = "/v1/auth/whoami"


def stored(home: Path) -> dict[str, Any]:
    members: dict[str, Any] = json.loads((home / "sessions" / "default.json").read_text(encoding="utf-8"))
    return members


def worker(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `shared_session.py` with this package, and with those for JavaScript and Rust if they are built."""
    command = [sys.executable, str(ROOT / "shared_session.py")]
    command += ["--worker", f"python={sys.executable} {Path(__file__).parent / 'worker.py'}"]
    if os.environ.get("POSTERN_CLIENT_JS"):
        command += ["--worker", f"node=node {ROOT / 'worker.mjs'}"]
    if rust := os.environ.get("POSTERN_CLIENT_RUST"):
        command += ["--worker", f"rust={rust}"]
    return subprocess.run([*command, *options], env={**os.environ, **environment}, capture_output=True, text=True)


def test_processes_share_a_session_although_some_are_killed() -> None:
    full = ("--processes", "8", "--renewals", "200", "--kill-every", "1.2")
    part = ("--processes", "4", "--renewals", "12", "--kill-every", "0.7", "--kills", "4")
    result = worker(*(full if os.environ.get("POSTERN_FULL") else part))
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads(result.stdout)["problems"] == []


def test_without_the_lock_processes_end_the_session() -> None:
    result = worker("--processes", "4", "--renewals", "12", "--kill-every", "0", "--lose", "0", WORKER_WITHOUT_LOCK="1")
    assert result.returncode == 1, result.stdout
    assert "repeated another one without a cause" in result.stdout


def test_threads_renew_once(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home), "expired": True})
    values = set()
    with Session.open() as session:
        threads = [threading.Thread(target=lambda: values.add(session.access_token().value)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(values), harness.count("refresh_token")) == (1, 1)


def test_tasks_renew_once(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home), "expired": True})

    async def main() -> set[str]:
        async with AsyncSession.open() as session, AsyncSession.open() as other:
            tokens = await asyncio.gather(*((session, other)[n % 2].access_token() for n in range(200)))
            return {token.value for token in tokens}

    assert (len(asyncio.run(main())), harness.count("refresh_token")) == (1, 1)


def test_trio_works(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home), "expired": True})

    async def main() -> int:
        async with AsyncSession.open() as session:
            return (await session.get(f"{harness.issuer}{WHOAMI}")).status_code

    assert trio.run(main) == 200


def test_one_session_works_in_several_event_loops(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home), "expired": True})
    session = AsyncSession.open()

    async def main() -> str:
        try:
            return (await session.access_token()).value
        finally:
            await session.aclose()

    assert asyncio.run(main()) == asyncio.run(main())


def test_a_cancelled_task_does_not_lose_the_session(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home), "expired": True})
    before = stored(home)["refresh_token"]
    harness.control(faults=[{"grant": "refresh_token", "fault": "delay", "seconds": 0.5}])

    async def main() -> None:
        async with AsyncSession.open() as session:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.access_token(), 0.2)
            while stored(home)["refresh_token"] == before:
                await asyncio.sleep(0.02)
            assert (await session.access_token()).value == stored(home)["access_tokens"][0]["value"]

    asyncio.run(asyncio.wait_for(main(), 10))
    assert harness.count("refresh_token") == 1


INTERRUPTED = """
import signal
from postern_client import Session
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
with Session.open() as session:
    print("begins", flush=True)
    session.access_token()
"""


def test_ctrl_c_does_not_lose_the_session(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home), "expired": True})
    before = stored(home)["refresh_token"]
    harness.control(faults=[{"grant": "refresh_token", "fault": "delay", "seconds": 1}])
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while harness.count("refresh_token") == 0:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert process.returncode == -signal.SIGINT
    assert stored(home)["refresh_token"] != before
    with Session.open() as session:
        session.access_token()
    assert harness.count("refresh_token") == 1


def test_a_session_gives_its_refresh_token_to_nobody(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home)})
    with Session.open() as session:
        token = session.access_token()
        secret = stored(home)["refresh_token"]
        shown = [
            repr(session),
            str(session),
            repr(token),
            repr(session._source),
            *(repr(getattr(session, name)) for name in dir(session)),
        ]
        assert not any(secret in text or token.value in text for text in shown)
        for forbidden in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled"):
                forbidden(session)


HOLDER = """
import sys, time
from postern_client._effects import Runtime
from postern_client._store import SessionFile
with SessionFile.of_profile("default", None).lock(Runtime()):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(harness: Harness, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lock of the session and does not release it."""
    harness.control(session={"home": str(home), "expired": True})
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_lock_that_is_not_released_is_named(
    holder: subprocess.Popen[bytes], harness: Harness, home: Path, clock: Clock
) -> None:
    with Session.open(_runtime=clock.runtime()) as session, pytest.raises(LockTimeout) as caught:
        session.access_token()
    assert str(home / "sessions" / "default.lock") in str(caught.value)
    assert 29 <= sum(clock.waits) <= 31
    assert all(0.025 <= wait <= 0.075 for wait in clock.waits)
    assert harness.count("refresh_token") == 0


def test_a_killed_process_releases_the_lock(holder: subprocess.Popen[bytes], harness: Harness) -> None:
    threading.Timer(0.3, holder.kill).start()
    with Session.open() as session:
        session.access_token()
    assert harness.count("refresh_token") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="these locks exist on Linux")
def test_the_lock_is_one_that_other_languages_see(holder: subprocess.Popen[bytes], home: Path) -> None:
    inode = (home / "sessions" / "default.lock").stat().st_ino
    locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    line = next(line for line in locks if f":{inode} " in line)
    assert line.split()[1:4] == ["OFDLCK", "ADVISORY", "WRITE"]
    assert line.split()[-2:] == ["0", "EOF"]


def test_a_folder_that_cannot_be_used_is_named(harness: Harness, home: Path) -> None:
    path = harness.control(session={"home": str(home), "expired": True})["session"]
    (home / "sessions" / "default.lock").mkdir()
    with Session.open() as session, pytest.raises(StorageFailed) as caught:
        session.access_token()
    assert str(home / "sessions" / "default.lock") in str(caught.value)
    Path(path).unlink()
    Path(path).mkdir()
    with Session.open() as session, pytest.raises(StorageFailed):
        session.access_token()


def test_the_modes_are_private(harness: Harness, home: Path, clock: Clock) -> None:
    old = os.umask(0)
    try:
        login_with_device(harness.issuer, on_prompt=approve(harness), _runtime=clock.runtime()).close()
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home / "sessions").iterdir()}
    assert modes == {"default.json": 0o600, "default.lock": 0o600}
    assert (home / "sessions").stat().st_mode & 0o777 == 0o700


def approve(harness: Harness) -> Any:
    return lambda prompt: harness.control(device={"user_code": prompt.user_code})


def test_ctrl_c_at_a_prompt_leaves_nothing(harness: Harness, home: Path) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        login_with_device(harness.issuer, on_prompt=interrupt)
    with pytest.raises(KeyboardInterrupt):
        login_with_browser(harness.issuer, on_url=interrupt)
    assert [path.name for path in (home / "sessions").iterdir()] == ["default.lock"]


def test_a_browser_that_does_not_return_is_not_waited_for_forever(harness: Harness, home: Path, clock: Clock) -> None:
    with pytest.raises(errors.ExpiredToken):
        login_with_browser(harness.issuer, on_url=lambda _: None, _runtime=clock.runtime())
    assert 299 <= sum(clock.waits) <= 301


def test_only_the_callback_of_the_login_is_accepted(harness: Harness, home: Path) -> None:
    def browser(url: str) -> None:
        redirect_uri = httpx.URL(url).params["redirect_uri"]
        assert httpx.get(redirect_uri.replace("/callback", "/other")).status_code == 404
        page = httpx.get(f"{redirect_uri}?state=%3Cscript%3E&error=%3Cscript%3E")
        assert (page.status_code, "<script>" in page.text) == (400, False)
        assert httpx.get(f"{redirect_uri}?error=access_denied").status_code == 400
        back = harness.control(consent={"url": url, "decision": "allow"})["consent"]
        assert httpx.get(back, headers={"Host": "evil.example"}).status_code == 400
        for _ in range(2):
            assert httpx.get(back).status_code == 200

    login_with_browser(harness.issuer, on_url=browser).close()
    assert harness.count("authorization_code") == 1


def test_httpx_uses_a_session(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home)}, faults=[
        {"path": WHOAMI, "fault": "answer", "status": 401, "headers": INVALID_TOKEN},
    ])  # fmt: skip
    with Session.open() as session, httpx.Client(auth=session.auth()) as client:
        assert client.get(f"{harness.issuer}{WHOAMI}").json()["kind"] == "user"
    assert harness.count("refresh_token") == 1


def test_requests_uses_a_session(harness: Harness, home: Path) -> None:
    harness.control(session={"home": str(home)}, faults=[
        {"path": WHOAMI, "fault": "answer", "status": 401, "headers": INVALID_TOKEN},
    ])  # fmt: skip
    with Session.open() as session, requests.Session() as client:
        client.auth = session.auth()
        response = client.get(f"{harness.issuer}{WHOAMI}")
        assert response.json()["kind"] == "user"
        assert len(response.history) == 1
    assert harness.count("refresh_token") == 1


def test_a_stream_is_not_sent_twice(harness: Harness, home: Path) -> None:
    fault = {"path": WHOAMI, "fault": "answer", "status": 401, "headers": INVALID_TOKEN, "times": None}
    harness.control(session={"home": str(home)}, faults=[fault])
    with Session.open() as session:
        assert session.post(f"{harness.issuer}{WHOAMI}", content=iter([b"a", b"b"])).status_code == 401
        assert harness.count(WHOAMI) == 1
        assert session.post(f"{harness.issuer}{WHOAMI}", content=b"ab").status_code == 401
    assert (harness.count(WHOAMI), harness.count("refresh_token")) == (3, 1)


def test_an_api_key_is_presented_and_not_renewed(harness: Harness, home: Path) -> None:
    with Session.api_key(harness.ready["api_key"], issuer=harness.issuer) as session:
        assert session.get(f"{harness.issuer}{WHOAMI}").json()["kind"] == "api_key"
        with pytest.raises(LoginRequired):
            session.renew(session.access_token())
        assert str(session.logout()).startswith("An API key is not ended by a logout")
    with Session.api_key("pst_ak_made_up", issuer=harness.issuer) as session:
        assert session.get(f"{harness.issuer}{WHOAMI}").status_code == 401
    with Session.api_key("pst_ak_made_up") as session, pytest.raises(LoginRequired, match="issuer"):
        session.call(api.list_api_keys())


def test_a_token_is_not_sent_without_https(harness: Harness) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    transport = httpx.MockTransport(answer)
    with Session.api_key(harness.ready["api_key"]) as session, httpx.Client(transport=transport) as client:
        for url in ("http://api.example.com/orders", "http://127.0.0.1.example.com/"):
            with pytest.raises(errors.InsecureIssuer):
                client.get(url, auth=session.auth())
            with pytest.raises(errors.InsecureIssuer):
                requests.get(url, auth=session.auth(), timeout=1)
        assert sent == []
        assert client.get("https://api.example.com/orders", auth=session.auth()).status_code == 200


def test_signed_requests_are_accepted(harness: Harness) -> None:
    made = harness.api("POST", "/v1/keys", {"name": "signer", "scopes": ["runners:*"], "require_signature": True})
    url = f"{harness.issuer}/v1/runners"

    async def main(key: str) -> None:
        async with AsyncSession.api_key(key) as session:
            assert (await session.post(url, json={"name": "async"}, sign=True)).status_code == 201

    with Session.api_key(made["key"]) as session, requests.Session() as other:
        assert session.get(url).json()["error"] == "invalid_signature"
        assert session.get(f"{url}?limit=2", sign=True).status_code == 200
        assert session.get(url, params={"limit": "2"}, sign=True).status_code == 200
        assert session.post(url, json={"name": "Grüße, 世界"}, sign=True).status_code == 201
        assert (
            session.post(
                url, content=iter([b'{"name": ', b'"stream"}']), headers={"Content-Type": "application/json"}, sign=True
            ).status_code
            == 201
        )
        other.auth = session.auth(sign=True)
        assert other.get(url, params={"limit": "2"}).status_code == 200
        assert other.post(url, json={"name": "requests"}).status_code == 201
    asyncio.run(main(made["key"]))


def test_a_signature_works_once_and_for_its_request(harness: Harness) -> None:
    key = harness.api("POST", "/v1/keys", {"name": "signer", "scopes": ["runners:*"], "require_signature": True})["key"]
    url = f"{harness.issuer}/v1/runners"
    headers = {"Authorization": f"Bearer {key}", **sign_request(key, "GET", "/v1/runners")}
    assert httpx.get(f"{url}?limit=2", headers=headers).json()["error"] == "invalid_signature"
    assert httpx.get(url, headers=headers).status_code == 200
    assert httpx.get(url, headers=headers).json()["error"] == "replayed_nonce"
    old = sign_request(key, "GET", "/v1/runners", timestamp_ms=int(time.time() * 1000) - 600_000)
    assert httpx.get(url, headers={**headers, **old}).json()["error"] == "stale_timestamp"


def test_the_management_api_is_called(harness: Harness) -> None:
    with Session.api_key(harness.ready["api_key"], issuer=harness.issuer) as session:
        made = session.call(
            api.create_api_key(name="site bot", scopes=["scans:read"], resources={"repositories": ["a/b"]})
        )
        assert session.call(api.show_api_key(made["id"]))["resources"] == {"repositories": ["a/b"]}
        assert session.call(api.rotate_api_key(made["id"], overlap_s=60))["key"] != made["key"]
        page = session.call(api.list_api_keys(limit=1))
        assert len(page["items"]) == 1
        assert page["next_cursor"] is not None
        assert session.call(api.list_api_keys(limit=1, cursor=page["next_cursor"]))["items"] != page["items"]
        session.call(api.delete_api_key(made["id"]))
        with pytest.raises(ApiError) as caught:
            session.call(api.show_api_key(made["id"]))
        assert (caught.value.status, caught.value.error) == (404, "not_found")
        assert caught.value.request_id
        with pytest.raises(ApiError, match="name"):
            session.call(api.create_api_key(name="", scopes=["scans:read"]))
        assert session.call(api.show_caller())["kind"] == "api_key"
        runner = session.call(api.create_runner(name="build"))
        assert session.call(api.renew_token_of_runner(runner["id"]))["token"] != runner["token"]
        with pytest.raises(ApiError):
            session.call(api.show_runner("../keys"))


def test_an_asynchronous_session_calls_the_management_api(harness: Harness) -> None:
    async def main() -> str:
        async with AsyncSession.api_key(harness.ready["api_key"], issuer=harness.issuer) as session:
            agent = await session.call(api.create_agent(name="bot", scopes=["scans:read"]))
            await session.call(api.delete_agent(agent["id"]))
            return agent["id"]

    assert asyncio.run(main()).startswith("agt_")


def test_a_role_of_aws_gets_a_token(harness: Harness, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = harness.ready["workload"]
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "eu-west-1",
        **workload["aws"],
    }
    for name, value in {**settings, "AWS_DEFAULT_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    with Session.federation("aws", issuer=harness.issuer, audience=workload["audience"]) as session:
        assert harness.whoami(session.access_token().value)["user_id"].startswith("job-aws|")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with (
        Session.federation("aws", issuer=harness.issuer, audience=workload["audience"]) as session,
        pytest.raises(WorkloadTokenUnavailable, match="sts:GetWebIdentityToken"),
    ):
        session.access_token()


def test_a_spent_token_in_a_file_is_reported(harness: Harness, home: Path, clock: Clock) -> None:
    workload = harness.ready["workload"]
    path = home / "token"
    path.write_text(harness.control(workload_token={"kind": "oidc"})["workload_token"], encoding="utf-8")
    options: Any = {"issuer": harness.issuer, "audience": workload["audience"], "token_file": path}
    with Session.federation("file", _runtime=clock.runtime(), **options) as session:
        first = session.access_token()
        with pytest.raises(WorkloadTokenUnavailable, match="already exchanged"):
            session.renew(first)
        path.write_text(harness.control(workload_token={"kind": "oidc"})["workload_token"], encoding="utf-8")
        assert session.renew(first).value != first.value
    with pytest.raises(ValueError, match="token_file"):
        Session.federation("file", issuer=harness.issuer)
    with pytest.raises(ValueError, match="must be github"):
        Session.federation("travis", issuer=harness.issuer)  # type: ignore[arg-type]


def test_profiles_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vars(profile()) == {"name": "default", "issuer": "http://127.0.0.1:9000", "client_id": "postern-cli"}
    monkeypatch.setenv("POSTERN_ISSUER", "https://auth.example.com")
    assert profile().issuer == "https://auth.example.com"
    work = {"issuer": "https://auth.work.example", "client_id": "tool"}
    config = {"default_profile": "work", "profiles": {"work": work, "home": {}}}
    (home / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert vars(profile()) == {"name": "work", **work}
    monkeypatch.setenv("POSTERN_PROFILE", "home")
    assert profile().name == "home"
    assert profile("work").client_id == "tool"
    with pytest.raises(LoginRequired, match="postern login --profile home"):
        Session.open().access_token()


@pytest.mark.parametrize("name", ["../x", "A", "-x", ".x", "x" * 65, "a/b", "a b", ""])
def test_a_wrong_name_of_a_profile_is_refused(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTERN_PROFILE", name)
    if name:
        with pytest.raises(SessionInvalid, match="name of a profile"):
            Session.open()
    else:
        assert profile().name == "default"


@pytest.mark.parametrize("text", ["", "[]", "{", "\ufeff"])
def test_a_config_that_is_not_json_is_named(text: str, home: Path) -> None:
    (home / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(SessionInvalid) as caught:
        Session.open()
    assert str(home / "config.json") in str(caught.value)


def test_a_session_is_opened_by_its_path(harness: Harness, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = harness.control(session={"home": str(home)})["session"]
    monkeypatch.setenv("POSTERN_HOME", "/nowhere")
    with Session.open(path=path) as session:
        assert harness.whoami(session.access_token().value)["kind"] == "user"
    with pytest.raises(SessionInvalid):
        Session.open(path="/tmp/no-session")


def test_every_code_has_a_class() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert codes == {
        "login_required", "access_denied", "expired_token", "invalid_client", "invalid_scope", "invalid_target",
        "server_unavailable", "invalid_response", "insecure_issuer", "lock_timeout", "session_invalid",
        "storage_failed", "workload_token_unavailable", "cancelled",
    }  # fmt: skip


def test_the_client_names_itself(harness: Harness) -> None:
    with Session.api_key(harness.ready["api_key"]) as session:
        session.get(f"{harness.issuer}{WHOAMI}")
    assert harness.control()["requests"][-1]["agent"] == "postern-client-python/0.1.0"


def test_a_busy_program_never_sees_a_401(harness: Harness) -> None:
    """An hour in short: tokens that live for 3 seconds, and 50 requests a second."""
    seconds = 60.0 if os.environ.get("POSTERN_FULL") else 4.0
    fault = {"grant": "client_credentials", "fault": "replace", "members": {"expires_in": 3}, "times": None}
    harness.control(faults=[fault])
    agent, answers = harness.ready["agent"], set()

    async def main() -> int:
        options: Any = {"issuer": harness.issuer, "scope": "orders:read"}
        sent = 0
        async with AsyncSession.client_credentials(agent["id"], agent["secret"], **options) as session:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                next_at = time.monotonic() + 0.02
                answers.add((await session.get(f"{harness.issuer}{WHOAMI}")).status_code)
                sent += 1
                await asyncio.sleep(max(0, next_at - time.monotonic()))
        return sent

    assert asyncio.run(main()) > seconds * 10
    assert answers == {200}
    # Each is renewed after 1.4 to 2.4 seconds, because the times of a token are whole seconds.
    assert seconds / 2.5 - 1 <= harness.count("client_credentials") <= seconds / 1.4 + 1


def test_an_unused_runtime_is_closed() -> None:
    Runtime().close()
