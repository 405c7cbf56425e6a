"""A user of a server who may do what docs/stores.md says that Cloudburst needs, and no more."""

import re
from pathlib import Path

from valkeys import Valkey

_PAGE = Path(__file__).resolve().parents[1] / "docs" / "stores.md"


def granted() -> list[str]:
    """The commands that the page names, as ACL rules."""
    (line,) = re.findall(r"^ACL SETUSER .*~cb:\* (.*)$", _PAGE.read_text(), re.MULTILINE)
    return str(line).split()


def grant(server: Valkey, user: str, password: str, keys: str = "cb:*") -> None:
    """Make the user."""
    rules = [f">{password}", f"~{keys}", *granted()]
    assert server("ACL", "SETUSER", user, "reset", "on", *rules) == b"OK"
