"""The harness of `clients/conformance`, for the tests: it starts once, and each test resets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import anyio

from postern_client._effects import Runtime

ROOT = Path(os.environ.get("POSTERN_CONFORMANCE") or Path(__file__).parents[2] / "conformance")


class Harness:
    """The local program behind the proxy of the harness."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(ROOT / "harness.py"), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the harness did not start: is POSTERN_PROGRAM the local program?"
        self.ready: dict[str, Any] = json.loads(line)
        self.issuer: str = self.ready["issuer"]

    def control(self, **commands: Any) -> dict[str, Any]:
        """Executes commands, and returns what was requested since the last reset."""
        data = json.dumps(commands).encode() if commands else None
        try:
            with urllib.request.urlopen(self.ready["control"], data, timeout=60) as answer:
                result: dict[str, Any] = json.load(answer)
                return result
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def count(self, name: str) -> int:
        counts: dict[str, int] = self.control()["counts"]
        return counts.get(name, 0)

    def whoami(self, token: str) -> dict[str, Any]:
        """Asks the server itself who has a token."""
        url = f"{self.ready['upstream']}/v1/auth/whoami"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            result: dict[str, Any] = json.load(answer)
            return result

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Calls the management API with the organization's key, without the proxy."""
        request = urllib.request.Request(
            f"{self.ready['upstream']}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.ready["api_key"], "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class Clock:
    """Two clocks that sleeping moves, so that nothing waits. Only that of the wall can be set back."""

    def __init__(self) -> None:
        self.offset, self.set_back = 0.0, 0.0
        self.waits: list[float] = []

    def advance(self, seconds: float) -> None:
        self.offset += max(seconds, 0)
        self.set_back -= min(seconds, 0)

    def now(self) -> float:
        return time.time() + self.offset - self.set_back

    def monotonic(self) -> float:
        return time.monotonic() + self.offset

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.offset += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
        await anyio.lowlevel.checkpoint()

    def runtime(self) -> Runtime:
        runtime = Runtime(now=self.now, monotonic=self.monotonic, sleep=self.sleep)
        runtime._async_sleep = self.sleep_async
        return runtime
