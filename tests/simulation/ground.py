"""What all processes of a world share."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from .clock import Clock, Trace
from .functions import Function
from .kvs import Kvs
from .network import Network
from .witness import Witness

SCHEDULER = "scheduler"


@dataclass(frozen=True)
class Ground:
    """The ground that a world's processes stand on.

    Attributes:
        dice: decides what processes leave to chance.
        functions: what there is to call, by name.
        validate_every: at which events, every one or every so many, the scheduler's state is
            looked at as a whole.
    """

    clock: Clock
    dice: random.Random
    trace: Trace
    network: Network
    kvs: Kvs
    witness: Witness
    functions: Mapping[str, Function]
    validate_every: int = 1


def address_of(name: str) -> str:
    """Where others reach a process directly."""
    return f"@{name}"


def name_at(address: str) -> str:
    """The inverse of `address_of`."""
    return address.removeprefix("@")
