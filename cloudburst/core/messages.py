"""Every message that crosses a socket.

A message is a NamedTuple whose fields are what `cloudburst.core.wire` puts on the wire, in this
order. A last field called ``frames`` is the payload: serialised values that nobody on the way
opens. ``arguments`` says how the frames of a call belong to steps.

Who says what to whom::

    client    -> scheduler  Hello Call Watch Cancel and the requests (each with a request number)
    scheduler -> client     Welcome Accepted Rejected RunStatus, and the replies to requests
    executor  -> scheduler  Call Watch Cancel, answered as to a client: calls from functions
    scheduler -> executor   Start Stop Probe Bounce DropDag ExecutorUnknown
    executor  -> executor   Trigger Mail Mails
    executor  -> client     Result (through the scheduler as Relay where it cannot be reached)
    executor  -> scheduler  ExecutorReady Finished HandBack Yield Standing Blocked Relay
    host      -> scheduler  Heartbeat ExecutorDied Draining
    scheduler -> host       Resize Retire Knock Replace Fence Drained Prefetch Recount
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from cloudburst.core.hosts import HostMessage
from cloudburst.core.options import Options
from cloudburst.core.requests import Reply, Request

PROTOCOL = 6
"""Raised whenever a message changes; peers of another number are told so and refused."""

Buffer: TypeAlias = bytes | memoryview
Frames: TypeAlias = Sequence[Buffer]
Content: TypeAlias = Buffer | tuple[Buffer, ...]
"""Bytes, or pieces of them that follow each other."""
Arguments: TypeAlias = tuple[tuple[str, str, int], ...]
"""Of each argument: its step, its keyword ("" if positional), its number of frames."""
SOURCES = ""
"""In place of a step: every source of the DAG gets the argument."""

StepArguments: TypeAlias = tuple[tuple[int, str, int], ...]
"""The same with the step's index in the plan."""


class RunState(enum.StrEnum):
    """States of a run as kept in the KVS and told to clients."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


ENDED = frozenset(
    (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT),
)
"""The states that a run never leaves."""


class RunContext(NamedTuple):
    """What every executor of a run must know; packed once, forwarded untouched.

    Attributes:
        plan: the plan's id.
        executors: addresses of the executors that take part.
        places: of each segment, the index of its executor in ``executors``.
        given: indices of the steps that have arguments of their own.
        client: identity of the client at the scheduler, for relayed replies.
        reply_to: the client's own address, or "" if it cannot be reached.
        store: whether the result is committed to the KVS.
        output_key: a further key to store the result under, or "".
        patience: seconds a reference may take to appear in the KVS.
        ttl: seconds a stored result lives; 0 for ever.
        retried: whether the run is tried again if user code raises.
        parent: the run whose code has called it, or "".
        alone: whether it is not to be put into one batch with others.
        warms: whether code is only to be loaded, and not called.
        cramped: whether it stays where it is, though its segments wait for each other there.
        fresh: whether what it reads may not be older than that, because it runs on several hosts.
    """

    plan: str
    executors: tuple[str, ...]
    places: tuple[int, ...]
    given: tuple[int, ...]
    client: str
    reply_to: str
    store: bool
    output_key: str
    patience: float
    ttl: float
    retried: bool
    parent: str = ""
    alone: bool = False
    warms: bool = False
    cramped: bool = False
    fresh: bool = False


class Hello(NamedTuple):
    """A client introduces itself; ``python`` is the minor version its pickles come from."""

    protocol: int
    version: str
    python: str


class Welcome(NamedTuple):
    """The scheduler answers a `Hello`, whatever its protocol."""

    protocol: int
    version: str
    python: str
    kvs_url: str


class Call(NamedTuple):
    """Run a DAG, or a lone function if ``is_dag`` is false.

    ``references`` are the KVS keys that stand for values among the arguments, ``readers`` the step
    that gets each of them, ``patience`` the seconds that they may take to appear there. ``parent``
    is the run whose code calls; "" for a client. If ``warm`` is not 0, code is only loaded, until
    so many executors have it.
    """

    run_id: str
    target: str
    is_dag: bool
    arguments: Arguments
    references: tuple[str, ...]
    reply_to: str
    store: bool
    output_key: str
    patience: float
    options: Options
    parent: str = ""
    warm: int = 0
    readers: tuple[str, ...] = ()
    frames: Frames = ()


class Accepted(NamedTuple):
    """The records of these runs are in the KVS: they survive any process's death."""

    run_ids: tuple[str, ...]


class Rejected(NamedTuple):
    """The call was not accepted; ``error`` is a class of `cloudburst.errors`."""

    run_id: str
    error: str
    text: str


class Watch(NamedTuple):
    """Ask how a run stands, and be told again when it ends."""

    run_id: str


class Cancel(NamedTuple):
    """End a run; a `RunStatus` says what became of that."""

    run_id: str


class RunStatus(NamedTuple):
    """How a run stands (`RunState`). UNKNOWN: this scheduler does not hold it (any more)."""

    run_id: str
    state: str


class Result(NamedTuple):
    """The end of a run: its value, or its failure, as one serialised value."""

    run_id: str
    epoch: int
    failed: bool
    frames: Frames


class Relay(NamedTuple):
    """A `Result` for a client that the executor cannot reach."""

    client: str
    run_id: str
    epoch: int
    failed: bool
    frames: Frames


class Start(NamedTuple):
    """Begin the source steps placed on this executor, or hold arguments for later steps."""

    run_id: str
    epoch: int
    context: bytes
    arguments: StepArguments
    frames: Frames


class Trigger(NamedTuple):
    """The value of one edge between segments on different executors."""

    run_id: str
    epoch: int
    context: bytes
    segment: int
    position: int
    frames: Frames


class Stop(NamedTuple):
    """Drop all of a run up to that epoch, and say `Finished` when nothing of it runs here.

    User code of it that runs is interrupted. ``state`` says why: CANCELLED or TIMED_OUT, or
    else that the run goes on, or has ended, without this executor.
    """

    run_id: str
    epoch: int
    state: str


class Probe(NamedTuple):
    """Say how this executor's share of a run stands: `Finished` again, or `Standing`."""

    run_id: str
    epoch: int


class Standing(NamedTuple):
    """How a share stands: ``active`` if some of it runs or could run now.

    It is not if it waits for inputs, or if nothing is known of it here.
    """

    run_id: str
    epoch: int
    active: bool


class DropDag(NamedTuple):
    """A DAG was deleted: let go of its class instances."""

    dag: str


class Mail(NamedTuple):
    """A user's message to a running step."""

    recipient: str
    sender: str
    frames: Frames


class Mails(NamedTuple):
    """Several messages of one step to another, in order; each is a value in a single frame."""

    recipient: str
    sender: str
    values: tuple[bytes, ...]


TALKING = 0.02
"""Seconds that a segment counts as at least, if it exchanges messages or waits for what others
do: however short it was, those must be able to run beside it."""


class Finished(NamedTuple):
    """This executor has done its share of a run.

    ``state`` is a `RunState`: RUNNING if other executors still have work, else how the run ended.
    ``times`` has (segment, seconds of service) for the segments that ran here; see `TALKING`.
    """

    run_id: str
    epoch: int
    state: str
    times: tuple[tuple[int, float], ...]


class HandBack(NamedTuple):
    """This executor's share of a run cannot be done: start the run again.

    ``raised``: user code raised, and the run was to be tried again then. Otherwise the fault is
    the cluster's: a peer or the KVS could not be reached, or the executor is asked to end.
    ``crowded``: its code waits here, perhaps for what of the run is to begin here too.
    """

    run_id: str
    epoch: int
    raised: bool
    reason: str
    crowded: bool = False


class Bounce(NamedTuple):
    """This executor is at one run for long: say `Yield` for those that wait behind it."""

    executor: str


class Yield(NamedTuple):
    """A run has not begun here, and will not soon: place it elsewhere."""

    run_id: str
    epoch: int


class Blocked(NamedTuple):
    """User code of a run waits here for what others do, or (``waits`` false) goes on."""

    run_id: str
    epoch: int
    waits: bool


class ExecutorReady(NamedTuple):
    """An executor introduces itself, and does so again when the scheduler was restarted.

    ``holds`` are the (run id, epoch) of which an earlier scheduler had given it a share,
    ``resources`` those of its host.
    """

    protocol: int
    name: str
    host: str
    address: str
    pid: int
    holds: tuple[tuple[str, int], ...]
    resources: tuple[str, ...] = ()


class ExecutorUnknown(NamedTuple):
    """The scheduler does not know this executor (it was restarted): say `ExecutorReady` again."""

    executor: str


Message: TypeAlias = (
    Hello
    | Welcome
    | Call
    | Accepted
    | Rejected
    | Watch
    | Cancel
    | RunStatus
    | Result
    | Relay
    | Start
    | Trigger
    | Stop
    | Probe
    | Standing
    | DropDag
    | Mail
    | Mails
    | Finished
    | HandBack
    | Bounce
    | Yield
    | Blocked
    | ExecutorReady
    | ExecutorUnknown
    | HostMessage
    | Request
    | Reply
)
