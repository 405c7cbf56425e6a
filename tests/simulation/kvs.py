"""The store as its clients see it: the shipped `MemoryStore` behind a network that may fail."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import Operation
from cloudburst.kvs.commands import is_repeatable
from cloudburst.kvs.memory import MemoryStore

from .clock import Clock, Trace
from .network import Network
from .process import Process, Program

MACHINE = "kvs"
PATIENCE = 10.0
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
BEGAN = 1_700_000_000.0
"""The store's clock when the world begins."""

Watcher: TypeAlias = Callable[[Sequence[Operation], Sequence[Any]], None]
_Result = TypeVar("_Result")


class Kvs:
    """A store, and what may go wrong on the way to it.

    Args:
        clock: the world's.
        dice: decides about delays and losses.
        trace: where operations are noted.
        network: which machines are cut off from it.
        watch: is shown everything that was carried out.

    Attributes:
        down: how many reasons there are for it not to answer.
        loss: how likely it is that an answer is lost.
        troubles: how often anything went wrong.
    """

    def __init__(
        self,
        clock: Clock,
        dice: random.Random,
        trace: Trace,
        network: Network,
        watch: Watcher,
    ) -> None:
        self.store = MemoryStore(clock=lambda: BEGAN + clock.now)
        self.down = 0
        self.loss = 0.0
        self.troubles = 0
        self.clock = clock
        self.dice = dice
        self._trace = trace
        self._network = network
        self._watch = watch

    def execute(self, who: str, operations: Sequence[Operation]) -> list[Any]:
        """Carry out operations, now."""
        answers = self.store.execute(operations)
        self._trace.note(f"{who} :: kvs", (operations, answers))
        self._watch(operations, answers)
        return answers

    def answers_to(self, machine: str) -> bool:
        """Whether a machine can use it now."""
        cut = self._network.is_cut(machine, MACHINE) or self._network.is_cut(MACHINE, machine)
        if self.down or cut:
            self.troubles += 1
        return not (self.down or cut)

    def ask(
        self,
        process: Process,
        operations: Sequence[Operation],
        sleep: Callable[[float], Program[None]],
        patience: float = PATIENCE,
    ) -> Program[list[Any]]:
        """What `RedisStore.execute` does, for a program that waits for it.

        Raises:
            KVSUnavailable: it does not answer for so long, or may have carried out once what must
                not be carried out twice.
        """
        began, pause = self.clock.now, FIRST_PAUSE
        while True:
            yield from sleep(self.delay())
            if self.answers_to(process.machine):
                answers = self.execute(process.name, operations)
                yield from sleep(self.delay())
                if not self.loses():
                    return answers
                if not is_repeatable(operations):
                    raise KVSUnavailable("the connection ended; whether it was done is not known")
            if self.clock.now - began >= patience:
                raise KVSUnavailable(f"the store did not answer for {patience:g} s")
            yield from sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def delay(self) -> float:
        """How long an operation takes to come, or its answer."""
        return 0.0001 * (0.5 + self.dice.random())

    def loses(self) -> bool:
        """Whether an answer is lost."""
        lost = self.dice.random() < self.loss
        self.troubles += lost
        return lost


class _Missing(Exception):
    """An answer is needed that is not there yet."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        super().__init__(operations)
        self.operations = operations


class Replay:
    """Lets shipped code that waits for a store be part of a program.

    What it asks is answered from what was answered before; at the first question that is new it
    is left, and begun anew when the answer has come. So it must do the same with the same
    answers.
    """

    def __init__(self) -> None:
        self._answers: list[list[Any] | KVSUnavailable] = []
        self._asked = 0

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        """See `KeyValueStore.execute`."""
        if self._asked == len(self._answers):
            raise _Missing(operations)
        answer = self._answers[self._asked]
        self._asked += 1
        if isinstance(answer, KVSUnavailable):
            raise answer
        return answer

    def close(self) -> None:
        """See `KeyValueStore.close`."""

    def run(
        self, code: Callable[[], _Result], ask: Callable[[Sequence[Operation]], Program[list[Any]]]
    ) -> Program[_Result]:
        """Run the code to its end; ``ask`` waits for the store."""
        while True:
            self._asked = 0
            try:
                return code()
            except _Missing as missing:
                operations = missing.operations
            try:
                self._answers.append((yield from ask(operations)))
            except KVSUnavailable as error:
                self._answers.append(error)


class AtOnce:
    """A store that answers at once; for programs that cannot wait.

    Args:
        kvs: the store.
        who: uses it.
    """

    def __init__(self, kvs: Kvs, who: str) -> None:
        self._kvs = kvs
        self._who = who

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        """See `KeyValueStore.execute`."""
        return self._kvs.execute(self._who, operations)

    def close(self) -> None:
        """See `KeyValueStore.close`."""


@dataclass(eq=False)
class _Submission:
    token: int
    operations: Sequence[Operation]
    since: float
    outcome: list[Any] | KVSUnavailable | None = None


@dataclass(frozen=True)
class Collected:
    """A submission is finished."""

    token: int
    outcome: list[Any] | KVSUnavailable


class Writer:
    """What `RedisWriter` does: writes behind its owner's back, in order, again after a loss.

    Args:
        kvs: the store.
        owner: whose inbox is told of what is `Collected`.
    """

    def __init__(self, kvs: Kvs, owner: Process) -> None:
        self._kvs = kvs
        self._owner = owner
        self._submissions: deque[_Submission] = deque()
        self._connection = 0
        self._connected = True
        self._last = 0.0
        self._last_answer = 0.0
        self._pause = FIRST_PAUSE

    @property
    def pending(self) -> int:
        """How many submissions are not collected."""
        return len(self._submissions)

    def submit(self, operations: Sequence[Operation], token: int) -> None:
        """Take operations over."""
        submission = _Submission(token, operations, self._kvs.clock.now)
        self._submissions.append(submission)
        self._kvs.clock.after(PATIENCE, partial(self._expire, submission))
        if self._connected:
            self._send(submission)

    def close(self) -> None:
        """The owner is dead. What it has sent may arrive, or not."""
        self._connection += self._kvs.dice.random() < 0.5
        self._connected = False
        self._submissions.clear()

    def _send(self, submission: _Submission) -> None:
        now = self._kvs.clock.now
        self._last = max(self._last, now + self._kvs.delay())
        arrive = partial(self._arrive, self._connection, submission)
        self._kvs.clock.after(self._last - now, arrive)

    def _arrive(self, connection: int, submission: _Submission) -> None:
        if connection != self._connection:
            return
        if not self._kvs.answers_to(self._owner.machine):
            self._lose()
            return
        answers = self._kvs.execute(self._owner.name, submission.operations)
        if self._owner.alive and self._kvs.loses():
            self._lose()
            return
        answer, now = partial(self._answer, connection, submission, answers), self._kvs.clock.now
        self._last_answer = max(self._last_answer, now + self._kvs.delay())
        self._kvs.clock.after(self._last_answer - now, answer)

    def _answer(self, connection: int, submission: _Submission, answers: list[Any]) -> None:
        if connection == self._connection and submission.outcome is None:
            submission.outcome = answers
            self._pause = FIRST_PAUSE
            self._collect()

    def _lose(self) -> None:
        if self._connected:
            self._connection += 1
            self._connected = False
            self._kvs.clock.after(self._pause, self._reconnect)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _reconnect(self) -> None:
        if not self._owner.alive:
            return
        self._connected = True
        if not self._kvs.answers_to(self._owner.machine):
            self._lose()
            return
        for submission in self._submissions:
            if submission.outcome is None:
                self._send(submission)

    def _expire(self, submission: _Submission) -> None:
        if submission.outcome is None and submission in self._submissions:
            submission.outcome = KVSUnavailable("the store did not answer")
            self._collect()

    def _collect(self) -> None:
        while self._submissions and self._submissions[0].outcome is not None:
            done = self._submissions.popleft()
            assert done.outcome is not None
            self._owner.deliver(Collected(done.token, done.outcome))
