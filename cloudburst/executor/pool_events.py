"""What happens to a pool of executors, and what the pool wants done.

Some of what happens is what the scheduler says: `Knock`, `Replace`, `Fence` and `Drained` of
`cloudburst.core.messages`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from cloudburst.core.hosts import Drained, Fence, Knock, Replace, Resize, Retire


class ZygoteReady(NamedTuple):
    """The zygote forks from now on."""


class ZygoteGone(NamedTuple):
    """The zygote has died, and nobody watches its executors any more."""

    reason: str


class Pong(NamedTuple):
    """The zygote has answered a `Ping`."""


class Forked(NamedTuple):
    """An executor runs."""

    name: str
    pid: int


class ExecutorGone(NamedTuple):
    """An executor has died, or could not be forked.

    Attributes:
        ordered: whether it was to `End`.
        at_work: whether it ran user code, which may be to blame.
    """

    name: str
    reason: str
    ordered: bool
    at_work: bool = False


class LeaseLost(NamedTuple):
    """Others may take this host for dead by now, and its runs may have gone to others."""

    reason: str


class LeaseBack(NamedTuple):
    """This host counts as alive again."""


class DrainAsked(NamedTuple):
    """Somebody wants this host to end; who asks twice does not want to wait."""


class Tick(NamedTuple):
    """Time has passed."""


class StartZygote(NamedTuple):
    """Start a zygote."""


class DropZygote(NamedTuple):
    """Have done with the zygote, dead or alive."""


class Ping(NamedTuple):
    """Ask the zygote for a `Pong`."""


class Fork(NamedTuple):
    """Let the zygote start an executor; ``slot`` is its place on the board."""

    name: str
    slot: int


class End(NamedTuple):
    """Let the zygote kill an executor: if it runs that run, or whatever it does if "" is given."""

    name: str
    run_id: str
    reason: str


class Dismiss(NamedTuple):
    """Ask an executor to end, once it has handed back what it has: SIGTERM."""

    pid: int


class Kill(NamedTuple):
    """Kill an executor that nobody watches."""

    pid: int


class Nudge(NamedTuple):
    """Send SIGURG, which does nothing to a process that does not expect it."""

    pid: int


class ReportDeath(NamedTuple):
    """Tell the scheduler.

    ``slot`` of the board says what the executor ran, unless that had no part in its death, and
    is to be wiped.
    """

    name: str
    reason: str
    slot: int
    blameless: bool


class Beat(NamedTuple):
    """Tell the scheduler who is alive, and renew the lease."""

    names: tuple[str, ...]


class SayDraining(NamedTuple):
    """Tell the scheduler that this host is about to end."""


class Leave(NamedTuple):
    """End the host."""


Event: TypeAlias = (
    ZygoteReady
    | ZygoteGone
    | Pong
    | Forked
    | ExecutorGone
    | Resize
    | Retire
    | Knock
    | Replace
    | Fence
    | LeaseLost
    | LeaseBack
    | DrainAsked
    | Drained
    | Tick
)
Command: TypeAlias = (
    StartZygote
    | DropZygote
    | Ping
    | Fork
    | End
    | Dismiss
    | Kill
    | Nudge
    | ReportDeath
    | Beat
    | SayDraining
    | Leave
)
