"""What clients ask the scheduler about functions and DAGs, and what it replies.

Every request has a number, and one reply with that number. Messages like all others: see
`cloudburst.core.messages`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from cloudburst.core.options import Options
from cloudburst.core.plan import FunctionInfo


class RegisterFunction(NamedTuple):
    """Put a function's code, already in the KVS under its version, under a name.

    The limits are those of `FunctionInfo`.
    """

    request: int
    name: str
    version: str
    is_class: bool
    options: Options
    max_concurrency: int = 0
    max_per_host: int = 0


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
    options: Options
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


class ExecutorStatus(NamedTuple):
    """How one executor is doing.

    Attributes:
        name: its name.
        host: that of its host.
        utilisation: the share of the last seconds in which it had work, 0 to 1.
    """

    name: str
    host: str
    utilisation: float


class ClusterStatus(NamedTuple):
    """How the cluster is doing.

    Attributes:
        executors: the names of those that take work.
        running: runs that were placed and have not ended.
        waiting: runs that wait for room.
        hosts: of each executor, in their order, the host.
        utilisations: of each, too, the share of the last seconds in which it had work, 0 to 1.
    """

    request: int
    executors: tuple[str, ...]
    running: int
    waiting: int
    hosts: tuple[str, ...]
    utilisations: tuple[float, ...]

    @property
    def details(self) -> tuple[ExecutorStatus, ...]:
        """The same of each executor at once."""
        return tuple(map(ExecutorStatus, self.executors, self.hosts, self.utilisations))


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
