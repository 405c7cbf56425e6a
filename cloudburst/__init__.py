"""Stateful functions and DAGs of functions, called in under a millisecond.

The public names; everything else may change.
"""

from typing import TYPE_CHECKING, Any

from cloudburst.core.consistency import NORMAL, Consistency
from cloudburst.core.ids import VERSION
from cloudburst.core.options import batch
from cloudburst.errors import (
    CallerEnded,
    CloudburstError,
    ClusterError,
    ConnectionFailed,
    DagError,
    ExecutorDiedError,
    FunctionError,
    InvalidName,
    InvocationCancelledError,
    InvocationTimedOutError,
    KeyNotFound,
    KVSUnavailable,
    NoValidResult,
    Overloaded,
    ResultTooLarge,
    RunError,
    RunTimeoutError,
    SchedulerUnavailable,
    SerializationError,
    UnknownDag,
    UnknownFunction,
    UnknownStep,
    UsageError,
    ValueTooLarge,
    VersionMismatch,
)

if TYPE_CHECKING:
    from cloudburst.calls.future import CloudburstFuture
    from cloudburst.client.client import CloudburstConnection
    from cloudburst.client.function import CloudburstFunction
    from cloudburst.client.steps import first_of
    from cloudburst.executor.library import UserLibrary
    from cloudburst.local import LocalCluster
    from cloudburst.serialization import CloudburstReference

__all__ = [
    "NORMAL",
    "CallerEnded",
    "CloudburstConnection",
    "CloudburstError",
    "CloudburstFunction",
    "CloudburstFuture",
    "CloudburstReference",
    "ClusterError",
    "ConnectionFailed",
    "Consistency",
    "DagError",
    "ExecutorDiedError",
    "FunctionError",
    "InvalidName",
    "InvocationCancelledError",
    "InvocationTimedOutError",
    "KVSUnavailable",
    "KeyNotFound",
    "LocalCluster",
    "NoValidResult",
    "Overloaded",
    "ResultTooLarge",
    "RunError",
    "RunTimeoutError",
    "SchedulerUnavailable",
    "SerializationError",
    "UnknownDag",
    "UnknownFunction",
    "UnknownStep",
    "UsageError",
    "UserLibrary",
    "ValueTooLarge",
    "VersionMismatch",
    "__version__",
    "batch",
    "first_of",
]

__version__ = VERSION

_LAZY = {
    "CloudburstConnection": "cloudburst.client.client",
    "CloudburstFunction": "cloudburst.client.function",
    "CloudburstFuture": "cloudburst.calls.future",
    "CloudburstReference": "cloudburst.serialization",
    "LocalCluster": "cloudburst.local",
    "UserLibrary": "cloudburst.executor.library",
    "first_of": "cloudburst.client.steps",
}


def __getattr__(name: str) -> Any:
    # Every process of a cluster imports this package, and most need none of these.
    if name not in _LAZY:
        raise AttributeError(f"module 'cloudburst' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
