"""What a run's reads and writes of the KVS promise."""

from __future__ import annotations

import enum


class Consistency(enum.Enum):
    """The consistency levels a call may ask for.

    NORMAL: every read sees the last write that the KVS carried out.
    """

    NORMAL = "normal"


NORMAL = Consistency.NORMAL
