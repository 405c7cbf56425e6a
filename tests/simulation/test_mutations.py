"""The simulator finds deliberate bugs, each of which breaks one promise; see `mutations`."""

from __future__ import annotations

import pytest

from .mutations import MUTATIONS
from .run import Failure, run_seed

EVENTS = 200
ENOUGH = 500
"""Seeds among which there must be one that fails."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)

    with pytest.raises(Failure, match=r"python -m tests\.simulation --seed \d+"):
        run_seeds(ENOUGH)


def run_seeds(count: int) -> None:
    for seed in range(count):
        run_seed(seed, EVENTS)
