"""What Cloudburst asks of a key-value store: a few operations as data, and one verb.

Operations are values so that the pure scheduler state can ask for them, a turn's worth of them
travels in one pipeline, and every store is tested by the same suite.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from cloudburst.core.messages import Buffer, Content
from cloudburst.errors import KVSUnavailable


class Unfit(KVSUnavailable):
    """What is stored under the key is of another kind, or no number that can be added to."""


class Get(NamedTuple):
    """-> the value, or None. A large value may come as a memoryview that is the caller's own."""

    key: str


class Peek(NamedTuple):
    """-> the first ``size`` bytes of the value; b"" if there is none."""

    key: str
    size: int


class Put(NamedTuple):
    """-> None. ``ttl`` in seconds; here as everywhere, 0 keeps the value for ever."""

    key: str
    value: Content
    ttl: float = 0.0


class PutIfAbsent(NamedTuple):
    """-> whether this call stored it."""

    key: str
    value: Buffer
    ttl: float = 0.0


class Exists(NamedTuple):
    """-> whether anything is stored under the key."""

    key: str


class Look(NamedTuple):
    """-> the value; the members of a set, as a frozenset of bytes; or None."""

    key: str


class Delete(NamedTuple):
    """-> whether there was something to delete."""

    key: str


class GetFields(NamedTuple):
    """-> the fields of a record (a hash); empty if there is none."""

    key: str


class SetFields(NamedTuple):
    """-> None. Fields that are not named stay as they are."""

    key: str
    fields: Mapping[str, Buffer]


class DropField(NamedTuple):
    """-> whether there was such a field."""

    key: str
    field: str


class Append(NamedTuple):
    """-> None. Adds to a list that expires ``ttl`` seconds after its last change."""

    key: str
    value: Buffer
    ttl: float


class TakeAll(NamedTuple):
    """-> all items of a list, oldest first; the list is empty afterwards."""

    key: str


class AddMember(NamedTuple):
    """-> None. Adds to a set."""

    key: str
    member: str


class DropMember(NamedTuple):
    """-> None. Removes from a set."""

    key: str
    member: str


class Members(NamedTuple):
    """-> the members of a set, sorted."""

    key: str


class AddMembers(NamedTuple):
    """-> how many of them, at least one, were not in the set."""

    key: str
    members: Sequence[bytes]


class DropMembers(NamedTuple):
    """-> how many of them, at least one, were in the set."""

    key: str
    members: Sequence[bytes]


class RawMembers(NamedTuple):
    """-> the members of a set, as a frozenset of bytes."""

    key: str


class CountMembers(NamedTuple):
    """-> how many members a set has."""

    key: str


class Increment(NamedTuple):
    """-> the number under the key, after ``by`` was added to it; it begins at 0."""

    key: str
    by: int = 1


class Scan(NamedTuple):
    """-> the cursor to go on with, 0 at the end, and some of the keys that begin with ``prefix``.

    What is there from the first of these operations to the last is found, be it more than once.

    Attributes:
        cursor: 0 to begin.
        page: how many keys to look at, about.
    """

    prefix: str
    cursor: int = 0
    page: int = 1000


class Hold(NamedTuple):
    """Take a lease that nobody holds, or renew one's own. -> whether ``holder`` has it now."""

    key: str
    holder: bytes
    ttl: float


class Time(NamedTuple):
    """-> the store's clock, in seconds since the epoch."""


class RecordRun(NamedTuple):
    """Create or advance a run's record, unless it has ended. -> whether the run is open.

    ``state`` is PENDING, RUNNING or CANCELLING. Nothing changes for a lower epoch than the one
    recorded, nor when a run would go back from RUNNING to PENDING within one epoch for no reason,
    nor by anything but CANCELLING once it is that. The first record of a run keeps ``call``, from
    which a restarted scheduler can start it again; later ones leave it as it is (an empty
    ``call``). A ``reason`` is added, with the epoch, as a line of ``reasons``; ``parent``, if it
    is not empty, is the run whose code called this one. Time ``accepted`` is noted by the first
    record, ``started`` by the first that does not say PENDING; times are the store's, in seconds
    since the epoch. The record expires ``ttl`` seconds after its last change.
    """

    run_id: str
    state: str
    epoch: int
    target: str
    executor: str
    reason: str
    call: Buffer
    ttl: float
    parent: str = ""


class Commit(enum.IntEnum):
    """What became of a `CommitRun`."""

    ENDED = 0  # the run has ended before
    STORED = 1  # this was the first, and is the run's end
    STALE = 2  # the run goes on without this attempt: under a later epoch, or to be cancelled


class CommitRun(NamedTuple):
    """Store a run's result and close its record. -> `Commit`.

    ``state`` is one of `ENDED` states. Only the first commit of a run changes anything. One of a
    lower epoch than the record's, or of a run that is CANCELLING and not CANCELLED or TIMED_OUT
    by it, is stale. A run without a record gets one. The result is stored as the object named
    ``run_id``, and unless ``output_key`` is empty also as the object of that name, which does
    not expire. The record drops its call, and notes the time as ``finished``. If there was none
    before, it notes ``target`` and ``parent``, and as ``accepted`` the time ``seconds`` ago. That
    is also the time ``started`` of what an ``executor`` has ended, if none was noted.
    """

    run_id: str
    state: str
    epoch: int
    executor: str
    reason: str
    result: Content
    output_key: str
    ttl: float
    target: str = ""
    seconds: float = 0.0
    parent: str = ""


Operation: TypeAlias = (
    Get
    | Peek
    | Put
    | PutIfAbsent
    | Exists
    | Look
    | Delete
    | GetFields
    | SetFields
    | DropField
    | Append
    | TakeAll
    | AddMember
    | DropMember
    | Members
    | AddMembers
    | DropMembers
    | RawMembers
    | CountMembers
    | Increment
    | Scan
    | Hold
    | Time
    | RecordRun
    | CommitRun
)


class KeyValueStore(Protocol):
    """A store that carries out operations."""

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry out operations in order and return what each one returns.

        Args:
            operations: sent together, in one round trip; not a transaction.

        Raises:
            KVSUnavailable: the store did not answer, or refused. `Unfit` if it refused because
                of what is stored under a key.
        """

    def close(self) -> None:
        """Give back the connection. Closing twice is harmless."""


Place: TypeAlias = Callable[[int], memoryview | None]
"""Gives writable memory for a large value of so many bytes; None if there is none."""


class LoadingStore(KeyValueStore, Protocol):
    """A store that reads large values to where the caller wants them."""

    def load(self, operations: Sequence[Operation], place: Place) -> list[Any]:
        """As `execute`; a large value comes as the memory that ``place`` has given for it."""
