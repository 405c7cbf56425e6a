"""DAGs that follow one another: what is handed on, and how a chain ends."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gates import Gate, wait_at
from notes import note, noted
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    CloudburstFuture,
    InvocationCancelledError,
    UnknownDag,
    UnknownStep,
    UsageError,
    UserLibrary,
)

SOON = 30.0
"""Seconds within which every end has to come."""


@pytest.fixture
def chains(connection: CloudburstConnection) -> Iterator[CloudburstConnection]:
    """DAGs of numbers, of texts and of what goes wrong."""
    connection.register(lambda _, a, b: a + b, "add")
    connection.register(lambda _, n: n * n, "square")
    connection.register(tell, "tell")
    connection.register(wait_at, "wait")
    connection.register(lambda _: 1 // 0, "fail")
    for name in ("add", "square", "tell", "wait", "fail"):
        assert connection.register_dag(name, [name], [])
    yield connection
    connection.delete_object("told")


def tell(library: UserLibrary, *values: Any) -> tuple[Any, ...]:
    """What it was called with; and noted that it was."""
    library.put("told", library.get("told", 0) + 1)
    note(library, "began")
    return (library.step, *values)


def test_the_result_of_one_is_the_argument_of_the_next(chains: CloudburstConnection) -> None:
    assert chains.call_dag("add", {"add": [1, 2]}, then="square").get(SOON) == 9
    assert chains.call_dag("add", {"add": [1, 2]}, then=["square", "square"]).get(SOON) == 81
    assert chains.call_dag("add", {"add": [1, 2]}, then=[]).get(SOON) == 3


def test_own_arguments_come_before_the_result(chains: CloudburstConnection) -> None:
    run = chains.call_dag(
        "square", {"square": 3}, then=[("add", {"add": [1]}), ("tell", {"tell": ["own", "args"]})]
    )

    assert run.get(SOON) == ("tell", "own", "args", 10)
    assert chains.call_dag("square", {"square": 3}, then=("tell", {})).get(SOON) == ("tell", 9)


def test_every_source_gets_the_result(chains: CloudburstConnection) -> None:
    steps = [("left", "tell"), ("right", "tell"), ("join", "tell")]
    assert chains.register_dag("wide", steps, [("left", "join"), ("right", "join")])

    run = chains.call_dag("square", {"square": 2}, then=("wide", {"right": "own", "join": "last"}))

    assert run.get(SOON) == ("join", "last", ("left", 4), ("right", "own", 4))


def test_values_of_any_kind_are_handed_on_whole(chains: CloudburstConnection) -> None:
    chains.register(lambda _, kind: {"tuple": (1, 2), "list": [3, [4]], "none": None}[kind], "make")
    assert chains.register_dag("make", ["make"], [])

    told = [
        chains.call_dag("make", {"make": kind}, then="tell").get(SOON)
        for kind in ("tuple", "list", "none")
    ]

    assert told == [("tell", (1, 2)), ("tell", [3, [4]]), ("tell", None)]


def test_a_direct_response_is_that_of_the_last(chains: CloudburstConnection) -> None:
    value = chains.call_dag(
        "add", {"add": [2, 2]}, direct_response=True, then="square", timeout=SOON
    )

    assert value == 16


def test_the_key_and_the_id_are_those_of_the_last(chains: CloudburstConnection) -> None:
    run = chains.call_dag("add", {"add": [2, 3]}, output_key="area", then="square")

    assert run.get(SOON) == 25
    assert chains.get_object("area") == 25
    assert chains.future(run.obj_id).get(SOON) == 25


def test_a_chain_of_many(chains: CloudburstConnection) -> None:
    links = [("add", {"add": [1]})] * 30

    assert chains.call_dag("square", {"square": 0}, then=links).get(SOON) == 30


def test_what_waits_for_the_first_takes_no_executor(
    chains: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    waiting = chains.call_dag("wait", {"wait": gate.path}, then=["tell", "tell", "tell"])
    gate.wait_for_arrival()

    assert chains.call_dag("add", {"add": [1, 1]}, then="square").get(SOON) == 4
    assert chains.get_object("told") is None
    gate.open()

    assert waiting.get(SOON) == ("tell", ("tell", ("tell", "gate0")))


# how it ends


def test_the_failure_of_one_is_that_of_the_chain(chains: CloudburstConnection) -> None:
    for then in ("tell", ["tell", "tell"], ["square", "tell"]):
        run = chains.call_dag("fail", {}, then=then)
        with pytest.raises(ZeroDivisionError):
            run.get(SOON)
    run = chains.call_dag("add", {"add": [1, 1]}, then=["fail", "tell"])
    assert isinstance(run.exception(SOON), TypeError)  # it takes no arguments
    assert chains.get_object("told") is None


def test_the_failure_of_one_is_raised_by_a_direct_response(chains: CloudburstConnection) -> None:
    with pytest.raises(ZeroDivisionError):
        chains.call_dag("fail", {}, direct_response=True, then="tell", timeout=SOON)


def first_run(chain: CloudburstFuture) -> CloudburstFuture:
    return first_run(chain.before) if chain.before is not None else chain


def test_cancelling_a_chain_interrupts_the_one_that_runs(
    chains: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    def interrupted(library: UserLibrary, path: str) -> str:
        try:
            return wait_at(library, path)
        except InvocationCancelledError:
            note(library, "interrupted")
            raise

    chains.register(interrupted, "wait")
    gate = make_gate()
    chain = chains.call_dag("wait", {"wait": gate.path}, then=["tell", "tell"])
    gate.wait_for_arrival()

    assert chain.cancel()

    with pytest.raises(InvocationCancelledError):
        chain.get(SOON)
    assert chain.cancelled()
    first = first_run(chain)
    wait_until(lambda: noted(chains, first, "interrupted"), "the first is interrupted")
    wait_until(lambda: chains.status()[2:4] == (0, 0), "nothing of the chain goes on")
    assert chains.get_object("told") is None


def test_cancelling_a_chain_that_has_come_to_its_last(
    chains: CloudburstConnection, make_gate: Callable[[], Gate]
) -> None:
    gate = make_gate()
    chains.register(lambda _, path: path, "same")
    assert chains.register_dag("same", ["same"], [])
    chain = chains.call_dag("same", {"same": gate.path}, then="wait")
    gate.wait_for_arrival()

    assert chain.cancel()

    with pytest.raises(InvocationCancelledError):
        chain.get(SOON)
    wait_until(lambda: chains.status()[2:4] == (0, 0), "nothing of the chain goes on")
    assert first_run(chain).get(SOON) == gate.path


# wrong ways to say it


@pytest.mark.parametrize("wrong", [5, ["tell", 5], ("tell", 5), {"tell": {}}, ("tell", {}, 1)])
def test_a_chain_is_made_of_names_and_arguments(chains: CloudburstConnection, wrong: Any) -> None:
    with pytest.raises(UsageError, match="then is a DAG's name, a"):
        chains.call_dag("tell", {}, then=wrong)
    assert chains.status()[2:4] == (0, 0)
    assert chains.get_object("told") is None


def test_a_mistake_at_the_end_is_found_before_anything_is_called(
    chains: CloudburstConnection,
) -> None:
    with pytest.raises(UnknownDag, match="did you mean 'square'"):
        chains.call_dag("tell", {}, then=["tell", "squaer"])
    with pytest.raises(UnknownStep, match="DAG 'square' has no step 'sqare'"):
        chains.call_dag("tell", {}, then=["tell", ("square", {"sqare": 2})])

    chains.call_dag("tell", {}).get(SOON)
    assert chains.get_object("told") == 1
