"""Every message that crosses a socket.

A message is a NamedTuple whose fields are what `cloudburst.core.wire` puts on the wire, in this
order. A last field called ``frames`` is the payload: serialised values that nobody on the way
opens. ``arguments`` says how the frames of a call belong to steps.

Who says what to whom::

    client    -> scheduler  Hello Call Watch and the requests (each with a request number)
    scheduler -> client     Welcome Accepted Rejected RunStatus, and the replies to requests
    scheduler -> executor   Start Forget DropDag
    executor  -> executor   Trigger Mail
    executor  -> client     Result (through the scheduler as Relay where it cannot be reached)
    executor  -> scheduler  ExecutorReady Finished Relay
    host      -> scheduler  Heartbeat ExecutorDied
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from cloudburst.core.plan import FunctionInfo

PROTOCOL = 1
"""Raised whenever a message changes; peers of another number are told so and refused."""

Buffer: TypeAlias = bytes | memoryview
Frames: TypeAlias = Sequence[Buffer]
Arguments: TypeAlias = tuple[tuple[str, str, int], ...]
"""Of each argument: its step, its keyword ("" if positional), its number of frames."""
StepArguments: TypeAlias = tuple[tuple[int, str, int], ...]
"""The same with the step's index in the plan."""


class RunState(enum.StrEnum):
    """States of a run as kept in the KVS and told to clients."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


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
        timeout: seconds a reference may take to appear in the KVS.
        ttl: seconds a stored result lives.
    """

    plan: str
    executors: tuple[str, ...]
    places: tuple[int, ...]
    given: tuple[int, ...]
    client: str
    reply_to: str
    store: bool
    output_key: str
    timeout: float
    ttl: float


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

    ``references`` are the KVS keys that stand for values among the arguments.
    """

    run_id: str
    target: str
    is_dag: bool
    arguments: Arguments
    references: tuple[str, ...]
    reply_to: str
    store: bool
    output_key: str
    timeout: float
    frames: Frames


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


class RunStatus(NamedTuple):
    """How a run stands (`RunState`). UNKNOWN: this scheduler does not hold it (any more)."""

    run_id: str
    state: str


class Result(NamedTuple):
    """The end of a run: its value, or its failure, as one serialised value."""

    run_id: str
    failed: bool
    frames: Frames


class Relay(NamedTuple):
    """A `Result` for a client that the executor cannot reach."""

    client: str
    run_id: str
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


class Forget(NamedTuple):
    """Drop all of a run up to that epoch, and say `Finished` when nothing of it runs here."""

    run_id: str
    epoch: int


class DropDag(NamedTuple):
    """A DAG was deleted: let go of its class instances."""

    dag: str


class Mail(NamedTuple):
    """A user's message to a running step."""

    recipient: str
    sender: str
    frames: Frames


class Finished(NamedTuple):
    """This executor has done its share of a run.

    ``state`` is a `RunState`: RUNNING if other executors still have work, else how the run ended.
    ``times`` has (segment, seconds of service) for the segments that ran here.
    """

    run_id: str
    epoch: int
    state: str
    times: tuple[tuple[int, float], ...]


class ExecutorReady(NamedTuple):
    """An executor introduces itself, and does so again when the scheduler was restarted."""

    protocol: int
    name: str
    host: str
    address: str
    pid: int


class Heartbeat(NamedTuple):
    """A host is alive, and so are these executors of its own (names)."""

    protocol: int
    host: str
    executors: tuple[str, ...]


class ExecutorDied(NamedTuple):
    """A host saw an executor's process end; ``reason`` names the signal or exit code."""

    host: str
    executor: str
    reason: str


class ExecutorUnknown(NamedTuple):
    """The scheduler does not know this executor (it was restarted): say `ExecutorReady` again."""

    executor: str


class RegisterFunction(NamedTuple):
    """Put a function's code, already in the KVS under its version, under a name."""

    request: int
    name: str
    version: str
    is_class: bool


class GetFunction(NamedTuple):
    request: int
    name: str


class ListFunctions(NamedTuple):
    request: int
    prefix: str


class DeleteFunction(NamedTuple):
    request: int
    name: str


class RegisterDag(NamedTuple):
    """Register a DAG, or with ``only_check`` say why it could not be."""

    request: int
    name: str
    steps: tuple[tuple[str, str], ...]
    edges: tuple[tuple[str, str], ...]
    only_check: bool


class GetDag(NamedTuple):
    request: int
    name: str


class ListDags(NamedTuple):
    request: int


class DeleteDag(NamedTuple):
    request: int
    name: str


class GetStatus(NamedTuple):
    request: int


class Done(NamedTuple):
    """The request was carried out; ``changed`` is false if there was nothing to do."""

    request: int
    changed: bool


class Refused(NamedTuple):
    """The request cannot be carried out; ``error`` is a class of `cloudburst.errors`."""

    request: int
    error: str
    reasons: tuple[str, ...]


class Names(NamedTuple):
    request: int
    names: tuple[str, ...]


class FunctionFound(NamedTuple):
    request: int
    name: str
    version: str
    is_class: bool

    @property
    def info(self) -> FunctionInfo:
        """The function as the core knows it."""
        return FunctionInfo(self.name, self.version, self.is_class)


class DagFound(NamedTuple):
    request: int
    name: str
    steps: tuple[tuple[str, str], ...]
    edges: tuple[tuple[str, str], ...]


class ClusterStatus(NamedTuple):
    """Executors ready, runs placed and not finished, runs waiting for room."""

    request: int
    executors: tuple[str, ...]
    running: int
    waiting: int


Request: TypeAlias = (
    RegisterFunction
    | GetFunction
    | ListFunctions
    | DeleteFunction
    | RegisterDag
    | GetDag
    | ListDags
    | DeleteDag
    | GetStatus
)
Reply: TypeAlias = Done | Refused | Names | FunctionFound | DagFound | ClusterStatus
Message: TypeAlias = (
    Hello
    | Welcome
    | Call
    | Accepted
    | Rejected
    | Watch
    | RunStatus
    | Result
    | Relay
    | Start
    | Trigger
    | Forget
    | DropDag
    | Mail
    | Finished
    | ExecutorReady
    | Heartbeat
    | ExecutorDied
    | ExecutorUnknown
    | Request
    | Reply
)
