"""Every key that Cloudburst uses in a store; no other module builds one.

The braces are Redis Cluster hash tags: all keys of one run live on one node, so that a script
may touch them together. What stands between the braces may be any string.
"""

from __future__ import annotations

from typing import Final

FUNCTIONS: Final = "cb:functions"
"""The registered functions: a record of name to what is known of it."""

DAGS: Final = "cb:dags"
"""The registered DAGs, likewise."""

OPTIONS: Final = "cb:options"
"""Options of functions and DAGs, by "function NAME" and "dag NAME"."""

SCHEDULER: Final = "cb:scheduler"
"""The lease of the scheduler: its identity and address."""

TERM: Final = "cb:term"
"""How many schedulers this store has had."""

OPEN_RUNS: Final = "cb:open_runs"
"""The set of ids of runs that were accepted and have not ended."""

PARKED: Final = "cb:parked"
"""The set of names of the large arguments of these runs, which are of no use after them."""


OBJECTS: Final = "cb:object:{"
"""What the keys of all objects begin with."""


def object_key(name: str) -> str:
    """Of an object the user named, or of a run's result, which is the object named like the run."""
    return f"{OBJECTS}{name}}}"


def object_name(key: str) -> str:
    """Of the object that has the key."""
    return key[len(OBJECTS) : -1]


def run_key(run_id: str) -> str:
    """Of a run's record."""
    return f"cb:run:{{{run_id}}}"


def staged_key(run_id: str, epoch: int, executor: str) -> str:
    """Of a large result on its way in; one for each attempt, because two may commit at once."""
    return f"cb:staged:{{{run_id}}}:{epoch}:{executor}"


def inbox_key(recipient: str) -> str:
    """Of the list of messages for a step that cannot be reached directly."""
    return f"cb:inbox:{{{recipient}}}"


def code_key(version: str) -> str:
    """Of a function's code, by the hash of it."""
    return f"cb:code:{version}"


def plan_key(plan_id: str) -> str:
    """Of a DAG's plan, by the hash of it."""
    return f"cb:plan:{plan_id}"


def host_key(host: str) -> str:
    """Of the entry that a living host keeps renewing; it expires when the host does not."""
    return f"cb:host:{host}"
