"""What is computed of measurements, and that a wrong result stops them."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.counters import Family, Usage, difference, memory, reading, this_process
from benchmarks.measure import (
    Block,
    Clocked,
    Contender,
    Effort,
    Ratio,
    WrongResult,
    block_of,
    interleave,
    percentile,
    ratio,
    spread,
)

FEW = Effort(calls=4, blocks=3, seconds=1.0, warm_up=2, least=1)


def contender(name: str, call: Callable[[int], object], each: int = 1) -> Contender:
    return Contender(name, call, lambda number: number, this_process, each)


def blocks(*medians: float) -> list[Block]:
    return [block_of([median]) for median in medians]


def test_percentiles_are_interpolated() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([1.0, 2.0, 3.0], 100) == 3.0
    assert percentile([7.0], 99) == 7.0


def test_block_says_what_is_in_the_middle_and_at_the_end() -> None:
    block = block_of([3.0, 1.0, 2.0])

    assert (block.calls, block.p50, block.worst) == (3, 2.0, 3.0)
    assert block.p99 == pytest.approx(2.98)


def test_ratio_divides_blocks_of_the_same_turn() -> None:
    assert ratio(blocks(1, 10, 100), blocks(2, 20, 200)) == Ratio(0.5, 0.5, 0.5)


def test_interval_has_the_ratio_in_it() -> None:
    seen = ratio(blocks(1, 2, 3, 4, 5), blocks(1, 1, 1, 1, 1))

    assert seen.value == 3.0
    assert 1.0 <= seen.low < 3.0 < seen.high <= 5.0
    assert seen.inverted().low == pytest.approx(1 / seen.high)


def test_spread_is_that_of_the_medians() -> None:
    assert spread(blocks(2, 2, 2)) == Ratio(2.0, 2.0, 2.0)


def test_contenders_take_turns_with_the_same_arguments() -> None:
    said: list[tuple[str, int]] = []

    def speaker(name: str) -> Contender:
        def call(number: int) -> int:
            said.append((name, number))
            return number

        return contender(name, call)

    results = interleave([speaker("a"), speaker("b")], FEW)

    assert {name: len(found) for name, found in results.items()} == {"a": 3, "b": 3}
    assert {block.calls for found in results.values() for block in found} == {4}
    measured = said[2 * FEW.warm_up :]
    turns = [name for name, _ in itertools.groupby(measured, key=lambda each: each[0])]
    assert turns == ["a", "b"] * 3
    numbers = [number for _, number in measured]
    assert numbers[:4] == numbers[4:8] != numbers[8:12]
    assert len(set(numbers)) == 12


def test_wrong_result_stops_everything() -> None:
    with pytest.raises(WrongResult, match="liar made 0 of"):
        interleave([contender("liar", lambda _: 0)], FEW)


def test_slow_contender_has_fewer_calls() -> None:
    effort = FEW._replace(calls=1000, seconds=0.0, least=2)

    (found,) = interleave([contender("slow", lambda number: number)], effort).values()

    assert [block.calls for block in found] == [2, 2, 2]


def test_time_is_that_of_a_part() -> None:
    parts = contender("parts", lambda number: Clocked(number, 10.0), each=5)

    (found,) = interleave([parts], FEW).values()

    assert [block.p50 for block in found] == [2.0, 2.0, 2.0]


def test_preparation_comes_before_each_call() -> None:
    prepared: list[int] = []

    def call(number: int) -> int:
        assert prepared[-1] == number
        return number

    interleave([contender("careful", call)._replace(prepare=prepared.append)], FEW)

    assert len(prepared) == FEW.warm_up + FEW.calls * FEW.blocks


def test_sleeper_is_awake_only_in_its_turns() -> None:
    awake = False

    @contextmanager
    def alarm() -> Iterator[None]:
        nonlocal awake
        awake = True
        yield
        awake = False

    def while_awake(number: int) -> int:
        assert awake
        return number

    def while_asleep(number: int) -> int:
        assert not awake
        return number

    sleeper = contender("sleeper", while_awake)._replace(awake=alarm)
    interleave([sleeper, contender("other", while_asleep)], FEW)


def test_commands_of_a_block_are_counted() -> None:
    counter = iter(range(0, 1000, 7))
    counted = contender("counted", lambda number: number)._replace(commands=lambda: next(counter))

    (found,) = interleave([counted], FEW).values()

    assert [block.commands for block in found] == [7, 7, 7]


def test_usage_of_a_process_that_has_ended_is_left_out() -> None:
    before = {"role": {1: Usage(1.0, 10), 2: Usage(1.0, 10)}}
    after = {"role": {1: Usage(1.5, 12)}}

    assert difference(before, after) == {"role": Usage(0.5, 2)}
    assert reading({"nobody": (2**22 + 1,)}) == {"nobody": {}}


def test_this_process_takes_memory_and_time() -> None:
    taken = memory(this_process())

    assert taken.resident >= taken.proportional > 1
    assert reading(this_process())["client"][os.getpid()].cpu > 0


def test_family_is_who_was_started_in_between() -> None:
    family = Family()
    code = "import sys; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    family.settle()
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        assert family.pids() == (child.pid,)
    finally:
        for process in (child, other):
            process.communicate()
