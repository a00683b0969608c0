"""A worker of `clients/conformance/shared_session.py`: renews the stored session, again and again."""

from __future__ import annotations

import hashlib
import os
import sys

from postern_client import ServerUnavailable, Session, _lock


def main() -> None:
    if os.environ.get("WORKER_WITHOUT_LOCK"):
        _lock.try_lock = lambda descriptor: True
    renewals, log = int(sys.argv[1]), sys.argv[2]
    with Session.open("default") as session, open(log, "a", encoding="utf-8", buffering=1) as file:
        for _ in range(renewals):
            refused = session.access_token()
            while True:
                try:
                    token = session.renew(refused)
                    break
                except ServerUnavailable:
                    continue
            file.write(hashlib.sha256(token.value.encode()).hexdigest() + "\n")


if __name__ == "__main__":
    main()
