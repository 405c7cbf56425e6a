"""A cluster in one thread lives through what a seed says, and keeps all that is promised.

What is promised is checked by `witness` while the world goes on, and by `verdict` once it has come
to rest. That the checks can fail is shown in `test_mutations`.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudburst.config import usable_cores
from cloudburst.core.options import RunOptions

from .run import run, run_seed
from .scenario import Action, Fault, Invoke, Join, Moment, Remove, Renew, Scenario, Stop, Trouble
from .sweep import sweep

SEEDS = 2000
EVENTS = 200
PYTHON = f"""
from tests.simulation.run import run_seed
print([run_seed(seed, {EVENTS}, digested=True).digest for seed in range(8)])
"""

picks = st.integers(0, 98)
options = st.builds(
    RunOptions,
    timeout=st.sampled_from([-1.0, 0.05, 0.5]),
    max_retries=st.integers(-1, 3),
    grace_period=st.sampled_from([0.0, 0.1, 0.5]),
    result_ttl=st.just(-1.0),
)
warm = st.sampled_from([0, 0, 0, 1, 3])
arguments = st.lists(st.tuples(picks, st.integers(-1, 98)), max_size=3).map(tuple)
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(Invoke, picks, picks, arguments, st.booleans(), options, st.just(5.0), warm),
    # Twice as often as each kind of trouble.
    st.builds(Invoke, picks, picks, arguments, st.booleans(), options, st.just(5.0), warm),
    st.builds(Fault, st.sampled_from(Trouble), picks, st.floats(0.001, 10.0)),
    st.builds(Stop, picks, picks),
    st.builds(Join, picks, picks),
    st.builds(Renew, picks),
    st.builds(Remove, picks),
)
moments = st.lists(st.builds(Moment, st.integers(0, EVENTS - 1), actions), max_size=40)


@pytest.mark.timeout(900)
def test_all_is_kept_whatever_a_seed_says() -> None:
    failures, events = list[str](), 0
    for swept in sweep(range(SEEDS), EVENTS, jobs=usable_cores()):
        failures += swept.failures.values()
        events += swept.events
        if failures:
            break

    assert not failures, failures[0]
    assert events > SEEDS * EVENTS


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), drawn=moments)
def test_all_is_kept_whatever_happens_when(seed: int, drawn: list[Moment]) -> None:
    """Unlike a seed's, what is drawn here can be made shorter once it fails."""
    ordered = tuple(sorted(drawn, key=lambda moment: moment.events))
    scenario = Scenario.of_seed(seed, EVENTS).with_moments(ordered)

    run(scenario)


def test_a_seed_is_lived_through_again_exactly() -> None:
    assert run_seed(3, EVENTS, digested=True) == run_seed(3, EVENTS, digested=True)


def test_a_seed_says_the_same_to_every_process() -> None:
    """Nothing follows the order of a set of strings, which is another in every process."""
    told = {
        subprocess.run(
            [sys.executable, "-c", PYTHON],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }

    assert len(told) == 1
