"""Profiles: for each, a deployment and the client as which this program logs in there."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from postern_client._document import object_in
from postern_client._files import read_text
from postern_client.errors import SessionInvalid

DEFAULT_ISSUER = "http://127.0.0.1:9000"
DEFAULT_CLIENT_ID = "postern-cli"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def home_folder() -> Path:
    """Returns the folder of profiles and sessions. A variable that is empty counts as absent."""
    if given := os.environ.get("POSTERN_HOME"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home()) / "postern"
    config = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification of these folders demands that a relative one is ignored.
    return (Path(config) if os.path.isabs(config) else _user_folder() / ".config") / "postern"


def _user_folder() -> Path:
    if sys.platform != "win32" and not os.environ.get("HOME"):
        import pwd  # noqa: PLC0415

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    return Path.home()


@dataclass(frozen=True)
class Profile:
    """A deployment, and the client as which this program logs in there."""

    name: str
    issuer: str
    client_id: str

    @property
    def login_command(self) -> str:
        return "postern login" if self.name == "default" else f"postern login --profile {self.name}"


def profile(name: str | None = None, home: Path | None = None) -> Profile:
    """Returns a profile: by default that of `POSTERN_PROFILE`, else the default of `config.json`.

    # Errors

    `session_invalid` if the name or the file is not valid, `storage_failed` if it cannot be read.
    """
    path = (home or home_folder()) / "config.json"
    text = read_text(path)
    config = {} if text is None else object_in(path, text)
    profiles = config.get("profiles")
    profiles = profiles if isinstance(profiles, dict) else {}
    default = config.get("default_profile")
    chosen = name or os.environ.get("POSTERN_PROFILE") or (default if isinstance(default, str) else "default")
    if not NAME.fullmatch(chosen):
        raise SessionInvalid(f"{chosen!r} is not the name of a profile: use up to 64 of a-z, 0-9, '.', '_' and '-'.")
    settings = profiles.get(chosen)
    settings = settings if isinstance(settings, dict) else {}
    issuer = settings.get("issuer") or os.environ.get("POSTERN_ISSUER") or DEFAULT_ISSUER
    return Profile(chosen, str(issuer), str(settings.get("client_id") or DEFAULT_CLIENT_ID))
