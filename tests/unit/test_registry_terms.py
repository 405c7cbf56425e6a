"""What is registered besides names and edges: what may change, and what a new scheduler finds."""

from __future__ import annotations

from typing import Any

import pytest

from cloudburst.core.dag import Dag, FirstOf, make_steps, with_needs
from cloudburst.core.options import RunOptions
from cloudburst.core.plan import FunctionInfo
from cloudburst.errors import DagError
from cloudburst.kvs import keys
from cloudburst.kvs.base import GetFields
from cloudburst.kvs.memory import MemoryStore
from cloudburst.scheduler.registry import Change, Registry

FULL = FunctionInfo("full", "v3", *(True, 50, 20, 16, 0.004, "gpu"))
PLAIN = FunctionInfo("f", "v1", is_class=False)
STEPS = with_needs(make_steps(["f", ("g", "full"), FirstOf(("h", "f"), b"\x00")]), "ssd", ["h"])
DAG = Dag("d", STEPS, (("f", "h"), ("g", "h")), (("f", "g"), ("h",)), 3)


class Office:
    """A registry, and the store with what was written."""

    def __init__(self) -> None:
        self.store = MemoryStore(clock=lambda: 0.0)
        self.registry = Registry()
        for function in (FULL, PLAIN):
            assert self.make(self.registry.prepare_function(function))

    def make(self, change: Change | None) -> bool:
        """Write and apply a change. Returns whether it is one."""
        if change is not None:
            self.store.execute(change.operations)
            self.registry.apply(change)
        self.registry.validate()
        return change is not None

    def dag(self, dag: Dag, **options: Any) -> bool:
        return self.make(self.registry.prepare_dag(dag, RunOptions(**options)))

    def restored(self) -> Registry:
        """What a new scheduler makes of the store."""
        registry = Registry()
        names = [keys.FUNCTIONS, keys.DAGS, keys.OPTIONS]
        registry.restore(*self.store.execute([GetFields(name) for name in names]))
        registry.validate()
        return registry


@pytest.fixture
def office() -> Office:
    """Two functions, and ``d``."""
    office = Office()
    assert office.dag(DAG)
    return office


def test_replicas_may_change_while_it_is_registered(office: Office) -> None:
    plan = office.registry.plan("d", is_dag=True)

    assert office.dag(DAG._replace(replicas=7))
    assert office.registry.replicas("d") == 7
    assert office.registry.plan("d", is_dag=True) == plan
    assert not office.dag(DAG._replace(replicas=7)), "it is so already"


def test_replicas_and_options_may_change_at_once(office: Office) -> None:
    assert office.dag(DAG._replace(replicas=1), timeout=5.0)

    assert office.registry.replicas("d") == 1
    assert office.registry.options_of("d", is_dag=True) == RunOptions(timeout=5.0)


@pytest.mark.parametrize(
    "change",
    [
        {"colocated": ()},
        {"colocated": (("f", "g"),)},
        {"edges": (("g", "h"), ("f", "h"))},
        {"steps": make_steps(["f", ("g", "full"), FirstOf(("h", "f"), b"\x00")])},
        {"steps": STEPS[:2] + make_steps([FirstOf(("h", "f"), b"\x01")])},
        {"steps": (*STEPS[:2], STEPS[2]._replace(invalid=b""))},
    ],
)
def test_nothing_else_may(office: Office, change: dict[str, Any]) -> None:
    with pytest.raises(DagError, match="another DAG is registered as 'd'"):
        office.dag(DAG._replace(**change))
    with pytest.raises(DagError, match="another DAG"):
        office.dag(DAG._replace(**change, replicas=5))


def test_there_is_one_instance_unless_more_were_asked_for(office: Office) -> None:
    assert office.registry.replicas("no such DAG") == 1
    assert office.registry.instances("no such DAG") == 0
    office.dag(Dag("e", make_steps(["f"]), ()))
    assert office.registry.replicas("e") == office.registry.instances("e") == 1


@pytest.mark.parametrize(
    "change", [{"batch_size": 8}, {"batch_wait": 0.5}, {"needs": ""}, {"max_per_host": 0}]
)
def test_the_same_code_called_in_another_way_is_a_change(
    office: Office, change: dict[str, Any]
) -> None:
    before = office.registry.plan("d", is_dag=True).id
    assert not office.make(office.registry.prepare_function(FULL))

    assert office.make(office.registry.prepare_function(FULL._replace(**change)))
    assert (office.registry.plan("d", is_dag=True).id == before) == ("max_per_host" in change)


def test_a_new_scheduler_finds_all_of_it(office: Office) -> None:
    office.dag(DAG._replace(replicas=9), timeout=5.0)
    found = office.restored()

    assert found.functions == {"full": FULL, "f": PLAIN}
    assert found.dags == {"d": DAG._replace(replicas=9)}
    assert found.limited == {"full": FULL}
    assert found.options_of("d", is_dag=True) == RunOptions(timeout=5.0)
    assert list(found.plans()) == list(office.registry.plans())


def test_what_it_finds_is_registered_already(office: Office) -> None:
    found = office.restored()

    assert found.prepare_dag(DAG) is None
    assert found.prepare_function(FULL) is None
