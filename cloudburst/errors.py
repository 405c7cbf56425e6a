"""Every error Cloudburst raises, and whose fault each one is.

::

    CloudburstError
    ├── UsageError (ValueError)        the caller's: nothing was sent
    │   ├── InvalidName
    │   ├── UnknownFunction (LookupError)
    │   ├── UnknownDag (LookupError)
    │   ├── UnknownStep (LookupError)
    │   ├── DagError                   .problems lists every reason
    │   ├── ValueTooLarge
    │   └── SerializationError (TypeError)
    ├── KeyNotFound (KeyError)         nothing is stored under that key
    ├── ClusterError                   the cluster's, or the way to it
    │   ├── ConnectionFailed (ConnectionError)
    │   ├── VersionMismatch
    │   ├── SchedulerUnavailable
    │   ├── KVSUnavailable
    │   ├── Overloaded
    │   └── ProtocolError              a peer sent something that is not a message
    └── RunError                       a run that was accepted and then failed
        ├── FunctionError              user code raised; carries the remote traceback
        ├── ExecutorDiedError          the process died under it, too often
        ├── NoValidResult              of those that a step takes the first of, none counts
        ├── ResultTooLarge             its value does not fit into the key-value store
        ├── InvocationCancelledError   somebody cancelled it
        │   └── CallerEnded            with the run whose code called it
        ├── InvocationTimedOutError (TimeoutError)  it took longer than its time limit
        └── RunTimeoutError (TimeoutError)          it has not ended yet; waiting has
"""

from __future__ import annotations

from collections.abc import Sequence


class CloudburstError(Exception):
    """Base of all errors raised by Cloudburst itself."""


class UsageError(CloudburstError, ValueError):
    """The call could not be made as written; nothing was sent."""


class InvalidName(UsageError):
    """A name of a function, DAG or step, or a key, that cannot be used."""


class UnknownFunction(UsageError, LookupError):
    """No function is registered under that name."""


class UnknownDag(UsageError, LookupError):
    """No DAG is registered under that name."""


class UnknownStep(UsageError, LookupError):
    """The DAG has no step of that name."""


class DagError(UsageError):
    """The functions and connections given do not make a DAG.

    Attributes:
        problems: every reason found, one sentence each.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(" ".join(self.problems))

    def __reduce__(self) -> tuple[type[DagError], tuple[list[str]]]:
        return type(self), (self.problems,)


class SerializationError(UsageError, TypeError):
    """A value, argument or function that cannot be pickled, or unpickled where it arrived."""


class ValueTooLarge(UsageError):
    """A value that the key-value store cannot hold in one piece."""


class KeyNotFound(CloudburstError, KeyError):
    """Nothing is stored under the key."""

    # KeyError shows the repr of its argument; a sentence reads better as itself.
    __str__ = Exception.__str__


class ClusterError(CloudburstError):
    """Something on the way to the cluster, or in it, does not work."""


class ConnectionFailed(ClusterError, ConnectionError):
    """No Cloudburst scheduler answered at the address."""


class VersionMismatch(ClusterError):
    """Client and cluster cannot understand each other."""


class SchedulerUnavailable(ClusterError):
    """The scheduler answered before and has stopped answering."""


class KVSUnavailable(ClusterError):
    """The key-value store did not carry out a command."""


class Overloaded(ClusterError):
    """The scheduler's queue is full, or that of the connection; the call was not accepted."""


class ProtocolError(ClusterError):
    """A peer sent bytes that are not a message of this protocol."""


class RunError(CloudburstError):
    """A run was accepted and did not succeed."""


class FunctionError(RunError):
    """User code raised an exception.

    It is the ``__cause__`` of the user's own exception, and is raised itself where that
    exception cannot be rebuilt in this process.

    Attributes:
        step: the step whose function raised.
        run_id: the run it belonged to.
        executor: the executor that ran it.
        error: class name and message of the exception, as text.
        remote_traceback: the traceback as formatted on the executor.
    """

    def __init__(
        self, step: str, run_id: str, executor: str, error: str, remote_traceback: str
    ) -> None:
        self.step = step
        self.run_id = run_id
        self.executor = executor
        self.error = error
        self.remote_traceback = remote_traceback
        super().__init__(step, run_id, executor, error, remote_traceback)

    def __str__(self) -> str:
        head = f"step {self.step!r} of run {self.run_id} failed on executor {self.executor}"
        return f"{head}: {self.error}\n\n{self.remote_traceback}".rstrip()


class ExecutorDiedError(RunError):
    """The executor's process died while it ran the step, more often than the run may retry."""


class NoValidResult(RunError):
    """A step takes the first result that counts of several, and none of them does."""


class ResultTooLarge(RunError):
    """A run's result does not fit into the key-value store in one piece."""


class InvocationCancelledError(RunError):
    """The run was cancelled. Raised in its user code, and by its future."""


class CallerEnded(InvocationCancelledError):
    """The run was cancelled because its caller, a run itself, has ended or starts again."""


class InvocationTimedOutError(RunError, TimeoutError):
    """The run took longer than its time limit. Raised in its user code, and by its future."""


class RunTimeoutError(RunError, TimeoutError):
    """The run did not end within the time given; it may still be running."""


def _tree(root: type[CloudburstError]) -> dict[str, type[CloudburstError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_BY_NAME = _tree(CloudburstError)


def rebuild(name: str, message: str) -> CloudburstError:
    """The error that a peer named on the wire by class and message."""
    kind = _BY_NAME.get(name, ClusterError)
    if issubclass(kind, FunctionError):
        return RunError(message)
    return kind(message)
