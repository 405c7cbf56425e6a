"""What goes into the scheduler's state and what comes out."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from cloudburst.core.messages import Call, Message
from cloudburst.errors import CloudburstError
from cloudburst.kvs.base import Operation


class Received(NamedTuple):
    """A message came from the peer of that identity."""

    sender: str
    message: Message


class Written(NamedTuple):
    """The operations of a `Write` were carried out, or ended in an error."""

    token: int
    outcome: list[Any] | CloudburstError


class Undelivered(NamedTuple):
    """A message could not be sent because its receiver is not connected any more."""

    to: str
    message: Message


class Restored(NamedTuple):
    """The KVS holds a run that was accepted by an earlier scheduler and has not ended.

    ``age`` is the seconds since it was accepted, ``stopping`` the state in which a run is to end
    that is CANCELLING.
    """

    client: str
    call: Call
    epoch: int
    state: str
    age: float
    stopping: str = ""


class Tick(NamedTuple):
    """Time has passed."""


class Send(NamedTuple):
    """Send a message to the peer of that identity."""

    to: str
    message: Message


class Write(NamedTuple):
    """Carry out KVS operations; a `Written` with the token follows unless it is 0."""

    operations: tuple[Operation, ...]
    token: int = 0


Event: TypeAlias = Received | Written | Undelivered | Restored | Tick
Command: TypeAlias = Send | Write
