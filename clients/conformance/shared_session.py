#!/usr/bin/env python3
"""Lets processes share one stored session, in several languages, while some are killed and responses are lost.

    POSTERN_PROGRAM=… shared_session.py --worker python='python3 ../python/tests/worker.py' [--worker node='…']

A worker is a command. It is called with two arguments, the number of renewals and a log file, and with the folder of
the session in `POSTERN_HOME`. A renewal is: get the access token of the profile `default`, and get another one as if an
API had refused it. After each, the worker appends the SHA-256 digest of the new token to its log, as a line. It tries
again after `server_unavailable`, and ends with an error after anything else. With `WORKER_WITHOUT_LOCK=1` it must not
lock, which shows that this test fails without a lock.
"""

import argparse
import json
import os
import pathlib
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

FOLDER = pathlib.Path(__file__).parent


class Harness:
    """The harness as a process of its own."""

    def __init__(self):
        command = [sys.executable, str(FOLDER / "harness.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("The harness did not start.")
        self.url = json.loads(line)["control"]

    def control(self, **commands):
        data = json.dumps(commands).encode() if commands else None
        with urllib.request.urlopen(self.url, data, timeout=60) as answer:
            return json.load(answer)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class Worker:
    """A process that renews the session, and that is started again after it was killed."""

    def __init__(self, name, command, home, number, renewals):
        self.name, self.command, self.renewals = name, command, renewals
        self.log = home / f"worker-{number}.log"
        self.log.touch()
        self.errors = home / f"worker-{number}.err"
        self.environment = {**os.environ, "POSTERN_HOME": str(home)}
        self.process = None

    def done(self):
        return self.log.read_bytes().count(b"\n")

    def start(self):
        rest = str(self.renewals - self.done())
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen([*self.command, rest, str(self.log)], env=self.environment, stderr=errors)

    def is_running(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()


class Reader(threading.Thread):
    """Reads the file all the time, and keeps what was wrong with it."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.reads, self.torn, self.ends = path, 0, [], threading.Event()

    def run(self):
        while not self.ends.wait(0.001):
            text = self.path.read_text(encoding="utf-8")
            self.reads += 1
            try:
                members = json.loads(text)
                assert members["version"] == 1 and members["refresh_token"] and members["access_tokens"]
            except (ValueError, KeyError, AssertionError):
                self.torn.append(text)


def run_workers(workers, kill_every_s, most_kills, seed):
    """Runs all workers to their end; returns how often one was killed, and the errors of those that failed."""
    chance = random.Random(seed)
    kills, errors = 0, []
    for worker in workers:
        worker.start()
    next_kill = time.monotonic() + kill_every_s if kill_every_s else None
    while running := [worker for worker in workers if worker.is_running()]:
        time.sleep(0.01)
        if next_kill is not None and kills < most_kills and time.monotonic() > next_kill:
            worker = chance.choice(running)
            worker.kill()
            kills += 1
            if worker.done() < worker.renewals:
                worker.start()
            next_kill = time.monotonic() + chance.uniform(0.5, 1.5) * kill_every_s
    for worker in workers:
        error = worker.errors.read_text(encoding="utf-8", errors="replace")
        if worker.process.returncode not in (0, -9) or worker.done() < worker.renewals:
            errors.append(f"{worker.name} ended with {worker.process.returncode} after {worker.done()}: {error[-600:]}")
    return kills, errors


def judge(log, events, kills):
    """Returns figures and problems, by what the proxy and the program saw."""
    refreshes = [entry for entry in log if entry["grant"] == "refresh_token"]
    lost = sum(entry["fault"] == "lose" for entry in refreshes)
    spent = {entry["refresh_token"] for entry in refreshes}
    repeats = len(refreshes) - len(spent) - lost
    refused = [entry for entry in refreshes if entry["status"] != 200]
    problems = []
    # The process that is killed may be the one that has just spent the token: the next one repeats it.
    if repeats > kills:
        problems.append(f"{repeats} refreshes repeated another one without a cause, and only {kills} processes were killed")
    if refused:
        problems.append(f"{len(refused)} refreshes were refused")
    ended = {name: count for name, count in events.items() if name.startswith("refresh_")}
    if ended:
        problems.append(f"the program logged {ended}")
    figures = {"refreshes": len(refreshes), "generations": len(spent), "answers_lost": lost, "repeats": repeats}
    return figures, problems


def run(arguments):
    commands = [worker.split("=", 1) for worker in arguments.worker]
    harness = Harness()
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        try:
            path = pathlib.Path(harness.control(session={"home": folder})["session"])
            fault = {"grant": "refresh_token", "fault": "lose", "times": None, "probability": arguments.lose}
            harness.control(reset=True, faults=[fault] if arguments.lose else [])
            reader = Reader(path)
            reader.start()
            workers = []
            for number in range(arguments.processes):
                name, command = commands[number % len(commands)]
                workers.append(Worker(name, shlex.split(command), home, number, arguments.renewals))
            begun = time.monotonic()
            kills, problems = run_workers(workers, arguments.kill_every, arguments.kills, arguments.seed)
            seconds = time.monotonic() - begun
            reader.ends.set()
            reader.join()
            seen = harness.control()
            # The session must still work.
            harness.control(reset=True)
            last = Worker(commands[0][0], shlex.split(commands[0][1]), home, "last", 1)
            problems += run_workers([last], None, 0, arguments.seed)[1]
        finally:
            harness.close()
    figures, found = judge(seen["requests"], seen["events"], kills)
    problems += found
    if reader.torn:
        problems.append(f"the file was torn {len(reader.torn)} times")
    renewals = sum(worker.renewals for worker in workers)
    languages = ", ".join(name for name, _ in commands)
    figures = {"languages": languages, "renewals": renewals, **figures, "kills": kills, "reads": reader.reads}
    print(json.dumps({**figures, "seconds": round(seconds, 1), "problems": problems}, indent=1))
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(description="Lets processes in several languages share one session.")
    parser.add_argument("--worker", action="append", required=True, help="NAME=COMMAND, for each language")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--renewals", type=int, default=200, help="of each process")
    parser.add_argument("--kill-every", type=float, default=0.5, help="seconds between two kills, on average; 0: none")
    parser.add_argument("--kills", type=int, default=40, help="the most kills, so that the workers get to their end")
    parser.add_argument("--lose", type=float, default=0.05, help="the part of the answers that is lost")
    parser.add_argument("--seed", type=int, default=None, help="for the choice of who is killed when")
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
