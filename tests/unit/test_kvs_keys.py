"""Key names: nothing collides, and what a script touches together lives together."""

import itertools
from collections.abc import Callable

import pytest

from cloudburst.kvs import keys

NAMES = ["r-1", "", "a b", "a}b", "{x}", "}", "cb:run:{r-1}", "run:r-1", "\N{SNOWMAN}"]
MAKERS: list[Callable[[str], str]] = [
    keys.object_key,
    keys.run_key,
    keys.inbox_key,
    keys.code_key,
    keys.plan_key,
    keys.host_key,
    lambda name: keys.staged_key(name, 0, "e1"),
]


def hash_tag(key: str) -> str:
    """What Redis Cluster chooses a node by: the first braces' content, or else the whole key."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return tag if opened and closed and tag else key


def test_no_two_keys_are_the_same() -> None:
    named = [make(name) for make, name in itertools.product(MAKERS, NAMES)]
    everything = [*named, keys.FUNCTIONS, keys.DAGS, keys.OPEN_RUNS, keys.PARKED]

    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_an_object_is_in_its_key(name: str) -> None:
    key = keys.object_key(name)

    assert key.startswith(keys.OBJECTS + name)
    assert keys.object_name(key) == name


def test_every_key_is_ours() -> None:
    named = [make("name") for make in MAKERS]

    assert all(key.startswith("cb:") for key in [*named, keys.FUNCTIONS, keys.DAGS])
    assert keys.OPEN_RUNS.startswith("cb:")


@pytest.mark.parametrize("run_id", ["r-1", "0123abcd-17", "with}brace", "with{brace"])
def test_the_keys_of_a_run_live_on_one_node(run_id: str) -> None:
    of_one_run = [
        keys.run_key(run_id),
        keys.object_key(run_id),
        keys.staged_key(run_id, 1, "e1"),
        keys.staged_key(run_id, 2, "e{2}"),
    ]

    assert len({hash_tag(key) for key in of_one_run}) == 1


def test_runs_spread_over_nodes() -> None:
    assert len({hash_tag(keys.run_key(f"r-{number}")) for number in range(100)}) == 100


def test_attempts_that_commit_at_once_stage_apart() -> None:
    staged = {keys.staged_key("r", epoch, name) for epoch in (0, 1) for name in ("e1", "e2")}

    assert len(staged) == 4
