"""Runs that wait: who is next, and who must not be waited for."""

from __future__ import annotations

import itertools
import random

import pytest

from cloudburst.core.messages import Call
from cloudburst.core.options import NOTHING_SAID
from cloudburst.core.plan import FunctionInfo, compile_function
from cloudburst.scheduler.queues import ANY, Queues
from cloudburst.scheduler.run import Run, new_run

CALL = Call(
    run_id="",
    target="f",
    is_dag=False,
    arguments=(),
    references=(),
    reply_to="@c",
    store=False,
    output_key="",
    patience=1.0,
    options=NOTHING_SAID,
    frames=(),
)
PLAN = compile_function(FunctionInfo("f", "v1", is_class=False))


class Waiting:
    """Queues, and runs made in order as they are first named."""

    def __init__(self) -> None:
        self.queues = Queues()
        self.runs: dict[str, Run] = {}
        self.order = itertools.count(1)

    def run(self, run_id: str, *waits_for: str) -> Run:
        if run_id not in self.runs:
            call = CALL._replace(run_id=run_id)
            self.runs[run_id] = new_run(next(self.order), "client", call, PLAN, NOTHING_SAID)
        self.runs[run_id].waits_for |= set(waits_for)
        return self.runs[run_id]

    def add(self, run_id: str, executor: str = ANY) -> None:
        self.queues.add(self.run(run_id), executor)
        self.queues.validate(self.runs)

    def pop(self, executor: str) -> str | None:
        run = self.queues.pop((ANY, executor))
        self.queues.validate(self.runs)
        return run.run_id if run else None

    def park(self, run_id: str, *waits_for: str) -> None:
        for awaited in waits_for:
            self.run(awaited)
        self.queues.park(self.run(run_id, *waits_for))
        self.queues.validate(self.runs)

    def end(self, run_id: str) -> list[str]:
        del self.runs[run_id]
        ready = [run.run_id for run in self.queues.unpark(run_id)]
        self.queues.validate(self.runs)
        return ready


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def test_nobody_waits_at_first(waiting: Waiting) -> None:
    assert len(waiting.queues) == 0
    assert waiting.pop("a") is None
    assert not waiting.queues.waiting(ANY)


def test_the_eldest_is_next(waiting: Waiting) -> None:
    for name in ("r1", "r2", "r3"):
        waiting.add(name)

    assert [waiting.pop("a") for _ in range(4)] == ["r1", "r2", "r3", None]


def test_an_elder_that_comes_back_goes_to_the_front(waiting: Waiting) -> None:
    waiting.run("elder")
    waiting.add("younger")
    waiting.add("elder")

    assert waiting.pop("a") == "elder"


def test_a_run_for_one_executor_is_not_given_to_another(waiting: Waiting) -> None:
    waiting.add("r1", "a")

    assert waiting.pop("b") is None
    assert waiting.pop("a") == "r1"


def test_an_executor_takes_the_eldest_of_its_own_and_of_anybodys(waiting: Waiting) -> None:
    waiting.add("r1", "a")
    waiting.add("r2")
    waiting.add("r3", "a")
    waiting.add("r4")

    assert waiting.pop("b") == "r2"
    assert [waiting.pop("a") for _ in range(4)] == ["r1", "r3", "r4", None]


def test_a_queue_is_waited_in_while_somebody_is_in_it(waiting: Waiting) -> None:
    waiting.add("r1", "a")
    assert waiting.queues.waiting("a")
    assert not waiting.queues.waiting("b")
    assert not waiting.queues.waiting(ANY)

    waiting.pop("a")
    assert not waiting.queues.waiting("a")


def test_all_who_wait_are_counted(waiting: Waiting) -> None:
    waiting.add("r1")
    waiting.add("r2", "a")
    waiting.park("r3", "r1", "r2")
    assert len(waiting.queues) == 3

    waiting.pop("b")
    assert len(waiting.queues) == 2


def test_the_runs_of_an_executor_that_is_gone_are_given_back_in_order(waiting: Waiting) -> None:
    waiting.run("r1")
    waiting.run("r2")
    waiting.add("r3", "a")
    waiting.add("r1", "a")
    waiting.add("r2", "b")

    assert [run.run_id for run in waiting.queues.abandon("a")] == ["r1", "r3"]
    assert waiting.queues.abandon("a") == []
    assert len(waiting.queues) == 1


def test_a_parked_run_is_ready_when_what_it_waits_for_has_ended(waiting: Waiting) -> None:
    waiting.park("r2", "r1")

    assert waiting.end("r1") == ["r2"]
    assert len(waiting.queues) == 0


def test_a_parked_run_waits_for_all(waiting: Waiting) -> None:
    waiting.park("r3", "r1", "r2")

    assert waiting.end("r2") == []
    assert len(waiting.queues) == 1
    assert waiting.end("r1") == ["r3"]


def test_many_may_wait_for_one(waiting: Waiting) -> None:
    waiting.park("r2", "r1")
    waiting.park("r3", "r1", "r2")
    waiting.park("r4", "r1")

    assert waiting.end("r1") == ["r2", "r4"]
    assert waiting.end("r2") == ["r3"]


def test_the_end_of_a_run_nobody_waits_for_wakes_nobody(waiting: Waiting) -> None:
    waiting.run("r1")

    assert waiting.end("r1") == []


def test_validate_notices_who_waits_for_what_is_gone(waiting: Waiting) -> None:
    waiting.park("r2", "r1")
    del waiting.runs["r1"]

    with pytest.raises(AssertionError):
        waiting.queues.validate(waiting.runs)


def test_validate_notices_who_waits_twice(waiting: Waiting) -> None:
    waiting.add("r1")
    waiting.queues.add(waiting.runs["r1"], "a")

    with pytest.raises(AssertionError):
        waiting.queues.validate(waiting.runs)


@pytest.mark.parametrize("seed", range(20))
def test_whoever_comes_and_leaves_the_rest_is_served_in_order(waiting: Waiting, seed: int) -> None:
    """Those that leave may stay in the heaps for a while; nobody may meet them there."""
    dice = random.Random(seed)
    rooms = (ANY, "a", "b")
    there: dict[str, str] = {}
    for number in range(400):
        name, room = f"r{dice.randrange(200)}", dice.choice(rooms)
        if name in there:
            assert waiting.queues.remove(waiting.run(name))
            del there[name]
        elif number % 2 or dice.random() < 0.7:
            waiting.queues.add(waiting.run(name), room)
            there[name] = room
        waiting.queues.validate(waiting.runs)

    for room in ("a", "b"):
        mine = [name for name in there if there[name] in (ANY, room)]
        served = []
        while (run := waiting.queues.pop((ANY, room))) is not None:
            served.append(run.run_id)
            waiting.queues.validate(waiting.runs)
            del there[run.run_id]
        assert served == sorted(mine, key=lambda name: waiting.run(name).order)
    assert len(waiting.queues) == 0


def test_who_has_left_does_not_leave_again(waiting: Waiting) -> None:
    waiting.queues.add(waiting.run("r1"), ANY)
    assert waiting.queues.remove(waiting.run("r1"))

    assert not waiting.queues.remove(waiting.run("r1"))
    assert waiting.queues.pop((ANY,)) is None


def test_what_thousands_leave_behind_goes(waiting: Waiting) -> None:
    runs = [waiting.run(f"r{number}") for number in range(2000)]
    for run in runs:
        waiting.queues.add(run, ANY)

    for run in reversed(runs[1:]):
        waiting.queues.remove(run)

    (heap,) = waiting.queues._for_room.values()
    assert len(heap) < 100
    assert waiting.queues.pop((ANY,)) is runs[0]
