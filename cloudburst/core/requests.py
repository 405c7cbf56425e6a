"""What clients ask the scheduler about functions and DAGs, and what it replies.

Every request has a number, and one reply with that number. Messages like all others: see
`cloudburst.core.messages`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from cloudburst.core.dag import Dag, Step
from cloudburst.core.options import Options

Function: TypeAlias = tuple[str, str, bool, int, int, int, float, str]
"""`FunctionInfo` as it travels in messages."""

Steps: TypeAlias = tuple[tuple[str, str, str, bytes], ...]
"""`cloudburst.core.dag.Step` as they travel in messages."""


class RegisterFunction(NamedTuple):
    """Put a function's code, already in the KVS under its version, under a name."""

    request: int
    function: Function
    options: Options


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
    steps: Steps
    edges: tuple[tuple[str, str], ...]
    colocated: tuple[tuple[str, ...], ...]
    replicas: int
    options: Options
    only_check: bool

    @property
    def dag(self) -> Dag:
        """The DAG as the core knows it."""
        steps = tuple(Step(*step) for step in self.steps)
        return Dag(self.name, steps, self.edges, self.colocated, self.replicas)


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


class DagFound(NamedTuple):
    """A DAG: its steps and their functions, and its edges."""

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
