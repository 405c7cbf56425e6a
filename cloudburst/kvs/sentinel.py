"""Asking sentinels where the primary is, as https://valkey.io/topics/sentinel-clients/ has it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cloudburst.kvs.channel import Refused, Unreachable
from cloudburst.kvs.urls import Place, scrubbed

_LEAST = 0.1


def find_primary(place: Place, ask: Callable[..., Any], timeout: float) -> str:
    """The URL of the server that the first sentinel to answer names.

    Whoever connects to it has to ask whether it is the primary still, or yet (ROLE).

    Args:
        place: which sentinels, and which service.
        ask: `cloudburst.kvs.connection.ask`.
        timeout: seconds for all of it; one that is silent takes its share.

    Raises:
        Unreachable: none of them knows one, or answers.
        Refused: one of them wants another password.
    """
    deadline = time.monotonic() + timeout
    share = max(_LEAST, timeout / (len(place.seeds) + 1))
    answers = []
    for sentinel in place.seeds:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            found = ask(
                sentinel, min(share, left), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.service
            )
        except Unreachable as error:
            answers.append(f"{scrubbed(sentinel)}: {error}")
            continue
        except Refused as error:
            raise Refused(f"{error} (the sentinel at {scrubbed(sentinel)})") from error
        if found:
            host, port = found
            return place.server(host.decode(), int(port))
        answers.append(f"{scrubbed(sentinel)} knows no {place.service!r}")
    raise Unreachable(f"no sentinel names a primary ({'; '.join(answers)})")
