"""Operations on their way through a cluster: what to send next, and what came of it. Pure.

Nodes work beside each other, so commands to different ones are carried out in no order. Where that
would matter they are sent in rounds, each after the answers to the one before:

- What names or removes something (`_LATE`) waits for other writes that came before it in the same
  call: nobody may find the name of what is not stored yet, or miss the name of what is open.
- An output that another node keeps than its run is stored after the commit (`outputs`), and before
  whatever else comes after that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloudburst.core.messages import Content
from cloudburst.kvs import outputs
from cloudburst.kvs.base import (
    AddMember,
    Commit,
    CommitRun,
    Delete,
    DropField,
    DropMember,
    Get,
    GetFields,
    Members,
    Operation,
    Scan,
    SetFields,
    Time,
)
from cloudburst.kvs.commands import MISSING, Command, encode, is_repeatable
from cloudburst.kvs.keys import object_key, run_key
from cloudburst.kvs.slots import slot_of, slot_of_command
from cloudburst.kvs.walk import Nodes, Step

UNOWNED: Final = "no node of the cluster has the slot of a key at the moment"

_ASKING: Final = Command(("ASKING",), None)
"""Has a node that is about to get a slot carry out the next command on it."""

_LATE = (SetFields, DropField, AddMember, DropMember, Delete)
_READS = (Get, GetFields, Members, Time)
_UNFINISHED = 3  # see commit.lua


@dataclass(slots=True, eq=False)
class Errand:
    """A command that is to be sent to the node that has its slot.

    Attributes:
        command: what to send.
        slot: of its keys; None if any node will do.
        repeatable: whether it may be carried out twice.
        reply: to it, or `MISSING`.
        then: what else is to be done, by the reply.
        detour: the node to try the next time, as an ASK said.
    """

    command: Command
    slot: int | None
    repeatable: bool
    reply: Any = MISSING
    then: Callable[[Any], list[Errand]] | None = None
    detour: str = ""


def commands_of(errand: Errand) -> tuple[Command, ...]:
    """What to send for an errand; the reply to the last is the errand's."""
    return (_ASKING, errand.command) if errand.detour else (errand.command,)


class Rounds:
    """Some operations, in as few rounds as they can be carried out in.

    Args:
        operations: as for `KeyValueStore.execute`.
        nodes: of the cluster; for scans, which go from one to the next.
    """

    def __init__(self, operations: Sequence[Operation], nodes: Nodes) -> None:
        self._answering: list[Errand] = []
        self._rounds: deque[list[Errand]] = deque()
        self._now: list[Errand] = []
        written: dict[int | None, set[type]] = {}
        goes_on = False
        for operation in operations:
            errands = (
                _errands(operation) if type(operation) is not Scan else [_scan(operation, nodes)]
            )
            kind, slot = type(operation), errands[0].slot
            others = (kinds for where, kinds in written.items() if where != slot)
            late = kind in _LATE and any(kinds - {kind} for kinds in others)
            after = goes_on and kind is not CommitRun
            if not self._rounds or late or after:
                self._rounds.append([])
                written, goes_on = {}, False
            if kind not in _READS:
                written.setdefault(slot, set()).add(kind)
            self._rounds[-1] += errands
            self._answering.append(errands[-1])
            goes_on = goes_on or errands[-1].then is not None

    def next(self) -> list[Errand]:
        """What to do once all of the round before is answered; nothing at the end."""
        self._now = [
            errand
            for done in self._now
            if done.then is not None
            for errand in done.then(done.reply)
        ]
        if not self._now and self._rounds:
            self._now = self._rounds.popleft()
        return self._now

    def answers(self) -> list[Any]:
        """What each operation returns, once all rounds are done."""
        return [
            errand.command.read(errand.reply)
            for errand in self._answering
            if errand.command.read is not None
        ]


def _errands(operation: Operation) -> list[Errand]:
    """The commands of one operation; its answer is that of the last."""
    if type(operation) is CommitRun and _is_apart(operation):
        return _commit_apart(operation)
    repeatable = is_repeatable([operation])
    return [
        Errand(command, slot_of_command(command), repeatable) for command in encode([operation])
    ]


def _scan(operation: Scan, nodes: Nodes) -> Errand:
    step = Step(operation, nodes)
    return Errand(step.command, step.slot, repeatable=True)


def _is_apart(commit: CommitRun) -> bool:
    """Whether the output is kept in another slot than the run."""
    output = commit.output_key
    return bool(output) and slot_of(object_key(output)) != slot_of(run_key(commit.run_id))


def _commit_apart(commit: CommitRun) -> list[Errand]:
    *staging, call = _errands(commit._replace(output_key=""))
    call.command = Command((*call.command.parts, commit.output_key), _verdict, call.command.large)

    def store(value: Content) -> list[Errand]:
        (put,) = _errands(outputs.put_of(commit.output_key, value))
        put.then = lambda _: _errands(outputs.done_of(commit.run_id))
        return [put]

    def after(reply: int) -> list[Errand]:
        match reply:
            case Commit.STORED:
                return store(commit.result)
            case _ if reply == _UNFINISHED:
                (get,) = _errands(outputs.get_of(commit.run_id))
                get.then = lambda value: [] if value is None else store(value)
                return [get]
        return []

    call.then = after
    return [*staging, call]


def _verdict(reply: int) -> Commit:
    return Commit.ENDED if reply == _UNFINISHED else Commit(reply)
