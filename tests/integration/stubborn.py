"""Functions that do not end when they are told to."""

from __future__ import annotations

import time
from typing import Any

from notes import note


def swallow(library: Any) -> None:
    try:
        note(library, "began")
        time.sleep(60)
    except BaseException:
        note(library, "swallowed")
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            note(library, "swallowed")


def never_return_to_python(library: Any) -> None:
    try:
        note(library, "began")
        sum(range(10**13))
    except BaseException:  # it was not yet within the sum
        sum(range(10**13))
