"""How many class instances an executor keeps, by the memory that its process takes."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from running import Stage

from cloudburst.executor.calling import ClassRun
from cloudburst.executor.instances import PATIENCE, Instance, Instances
from cloudburst.executor.memory import resident_memory

MIB = 1 << 20


class Keeper:
    """Instances, in a process that takes one MiB, and one more for each of their weights.

    Attributes:
        closed: the steps whose instances were closed.
        leaks: MiB that are never given back.
        looks: how often the memory was measured.
    """

    def __init__(self, budget: int) -> None:
        self.closed: list[str] = []
        self.weights: list[weakref.ref[Any]] = []
        self.leaks = 0
        self.looks = 0
        self.instances = Instances(self.close, 100.0, budget * MIB, self.resident)

    def run(self, *steps: str, weight: int = 1) -> list[str]:
        """A run that uses the instances of these steps. Returns what was closed by then."""
        for step in steps:
            if self.instances.use("dag", step, "v") is None:
                value = Heavy(weight)
                self.weights.append(weakref.ref(value))
                self.instances.add(Instance(value, ClassRun(value.run), "v", step, "dag"))
        self.instances.settle()
        return self.closed

    def close(self, instance: Instance, patience: float) -> None:
        assert patience == PATIENCE
        self.closed.append(instance.step)

    def resident(self) -> int:
        self.looks += 1
        alive = [value() for value in self.weights]
        return (1 + self.leaks + sum(item.weight for item in alive if item is not None)) * MIB


class Heavy:
    def __init__(self, weight: int) -> None:
        self.weight = weight

    def run(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def no_collecting() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_within_the_budget_all_are_kept() -> None:
    keeper = Keeper(budget=4)

    assert keeper.run("a", "b", "c") == []
    assert len(keeper.instances) == 3


def test_those_not_used_for_longest_are_let_go_first_and_no_more_than_needed() -> None:
    keeper = Keeper(budget=4)
    keeper.run("a", "b", "c")
    keeper.run("a")

    assert keeper.run("d") == ["b"]
    assert keeper.run("e", weight=2) == ["b", "c", "a"]
    assert len(keeper.instances) == 2


def test_the_one_used_last_is_kept_whatever_it_takes() -> None:
    keeper = Keeper(budget=4)
    keeper.run("a", "b")

    assert keeper.run("huge", weight=100) == ["a", "b"]
    assert keeper.run("huge") == ["a", "b"]
    assert keeper.run("small") == ["a", "b", "huge"]


def test_without_a_budget_nothing_is_measured() -> None:
    keeper = Keeper(budget=0)

    assert keeper.run("a", "b", "c", weight=100) == []
    keeper.instances.look()
    assert keeper.looks == 0


def test_what_only_the_collector_finds_is_given_back_too(no_collecting: None) -> None:
    keeper = Keeper(budget=4)
    keeper.run("a", "b", weight=1)
    for value in (item() for item in keeper.weights):
        value.itself = value  # type: ignore[union-attr]
    del value

    assert keeper.run("c", weight=2) == ["a"]
    assert keeper.run("d", weight=1) == ["a", "b"]


def test_memory_that_nobody_gives_back_does_not_cost_all_instances_for_ever() -> None:
    keeper = Keeper(budget=4)
    keeper.run("a", "b")
    keeper.leaks = 50

    assert keeper.run("c") == ["a", "b"]
    assert keeper.run("d") == ["a", "b", "c"]
    keeper.leaks = 0
    assert keeper.run("e", "f") == ["a", "b", "c"]
    assert keeper.run("g") == ["a", "b", "c", "d"]


def test_an_instance_that_grows_is_noticed_when_the_executor_is_idle() -> None:
    keeper = Keeper(budget=4)
    keeper.run("a", "b")
    keeper.weights[1]().weight = 10  # type: ignore[union-attr]
    keeper.run("b")
    assert keeper.closed == []

    while (left := keeper.instances.look()) is not None and left < 1.0:
        assert left <= 0.1
        time.sleep(left)

    assert keeper.closed == ["a"]


def test_memory_is_measured_seldom_and_only_after_use() -> None:
    keeper = Keeper(budget=4)
    keeper.run("a", "b")
    looks, began = keeper.looks, time.monotonic()

    for _ in range(1000):
        keeper.run("a")
        keeper.instances.look()
    assert keeper.looks - looks <= 1 + (time.monotonic() - began) / 0.1

    while (left := keeper.instances.look()) is not None and left < 1.0:
        time.sleep(left)
    looks = keeper.looks
    time.sleep(0.11)
    assert keeper.instances.look() == pytest.approx(100.0, abs=5.0)
    assert keeper.looks == looks


def test_an_only_instance_is_not_weighed() -> None:
    keeper = Keeper(budget=1)

    assert keeper.run("a", weight=10) == []
    left = keeper.instances.look()
    assert left is not None
    assert left > 10.0
    assert keeper.looks == 0


def test_plain_functions_measure_nothing() -> None:
    def measured() -> int:
        raise AssertionError

    stage = Stage(budget=1, resident=measured)

    assert stage.call(lambda _, x: x + 1, 1) == 2
    assert stage.instances.look() is None


def test_it_is_said_for_what_an_instance_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cloudburst.executor")
    stage = Stage(budget=100 * MIB, resident=iter([300 * MIB, 90 * MIB]).__next__)
    stage.register(heavy=(Heavy, 1))
    stage.run(stage.dag("x", name="old", x="heavy"))
    stage.run(stage.dag("x", name="new", x="heavy"))

    assert caplog.messages == [
        "step 'x' of DAG 'old' is let go: the executor takes 300 MiB, and has room for 100"
    ]


def test_the_memory_of_this_process_is_what_it_holds() -> None:
    before = resident_memory()
    block = bytearray(b"x") * (64 * MIB)

    assert 50 * MIB < resident_memory() - before < 100 * MIB
    assert len(block) == 64 * MIB
