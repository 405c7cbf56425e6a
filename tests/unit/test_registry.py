"""Functions, DAGs and their plans: prepared, written, and only then applied."""

from __future__ import annotations

import msgpack
import pytest

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.plan import FunctionInfo, Plan, unpack_plan
from cloudburst.errors import DagError, InvalidName, UnknownDag, UnknownFunction, UsageError
from cloudburst.kvs import keys
from cloudburst.kvs.base import DropField, Put, SetFields
from cloudburst.scheduler.registry import Change, Registry


def function(name: str, version: str = "v1", *, is_class: bool = False) -> FunctionInfo:
    return FunctionInfo(name, version, is_class)


def dag(name: str, *steps: str, edges: tuple[tuple[str, str], ...] = ()) -> Dag:
    return Dag(name, make_steps(steps), edges)


def apply(registry: Registry, change: Change | None) -> Change:
    assert change is not None
    registry.apply(change)
    registry.validate()
    return change


def plans(change: Change) -> dict[str, Plan]:
    return {
        put.key: unpack_plan(bytes(put.value)) for put in change.operations if isinstance(put, Put)
    }


@pytest.fixture
def registry() -> Registry:
    """Functions ``f`` and ``g``, and the DAG ``d`` of ``f`` then ``g``."""
    registry = Registry()
    for name in ("f", "g"):
        apply(registry, registry.prepare_function(function(name)))
    apply(registry, registry.prepare_dag(dag("d", "f", "g", edges=(("f", "g"),))))
    return registry


def test_a_function_is_not_registered_before_it_is_applied() -> None:
    registry = Registry()
    change = registry.prepare_function(function("f"))

    with pytest.raises(UnknownFunction):
        registry.plan("f", is_dag=False)
    apply(registry, change)
    assert registry.plan("f", is_dag=False).steps[0].version == "v1"


def test_what_a_function_writes_is_its_plan_and_then_its_name() -> None:
    change = Registry().prepare_function(function("f"))

    assert change is not None
    put, fields = change.operations
    assert isinstance(put, Put)
    assert put.ttl == 0.0
    assert fields == SetFields(keys.FUNCTIONS, {"f": msgpack.packb(function("f"))})
    ((key, plan),) = plans(change).items()
    assert key == keys.plan_key(plan.id)


def test_the_same_function_again_is_no_change(registry: Registry) -> None:
    assert registry.prepare_function(function("f")) is None
    assert registry.prepare_function(function("f", is_class=True)) is not None


@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 10_000])
def test_names_that_cannot_be_used_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidName):
        registry.prepare_function(function(name))
    with pytest.raises(InvalidName):
        registry.prepare_dag(dag(name, "f"))


def test_new_code_makes_new_plans_for_all_that_use_it(registry: Registry) -> None:
    apply(registry, registry.prepare_dag(dag("other", "g")))
    before = {name: registry.plan(name, is_dag=True).id for name in ("d", "other")}

    change = apply(registry, registry.prepare_function(function("f", "v2")))

    assert registry.plan("d", is_dag=True).id != before["d"]
    assert registry.plan("other", is_dag=True).id == before["other"]
    assert [plan.id for plan in plans(change).values()] == [
        registry.plan("f", is_dag=False).id,
        registry.plan("d", is_dag=True).id,
    ]


def test_every_plan_in_use_was_written() -> None:
    fresh = Registry()
    written = plans(apply(fresh, fresh.prepare_function(function("f"))))
    written |= plans(apply(fresh, fresh.prepare_function(function("g"))))
    written |= plans(apply(fresh, fresh.prepare_dag(dag("d", "f", "g", edges=(("f", "g"),)))))
    written |= plans(apply(fresh, fresh.prepare_function(function("g", "v2"))))

    for plan in fresh.plans():
        assert written[keys.plan_key(plan.id)] == plan


def test_the_same_dag_again_is_no_change(registry: Registry) -> None:
    assert registry.prepare_dag(dag("d", "f", "g", edges=(("f", "g"),))) is None


@pytest.mark.parametrize(
    "other",
    [
        dag("d", "f"),
        dag("d", "g", "f", edges=(("f", "g"),)),
        dag("d", "f", "g", edges=(("g", "f"),)),
    ],
)
def test_another_dag_under_a_used_name_is_refused(registry: Registry, other: Dag) -> None:
    with pytest.raises(DagError, match="another DAG is registered as 'd'"):
        registry.prepare_dag(other)


def test_a_dag_that_is_none_is_refused_with_all_problems(registry: Registry) -> None:
    bad = dag("bad", "f", "h", edges=(("f", "x"),))

    with pytest.raises(DagError) as refusal:
        registry.prepare_dag(bad)

    assert len(refusal.value.problems) == 2
    with pytest.raises(DagError):
        registry.check_dag(bad)


def test_checking_a_good_dag_registers_nothing(registry: Registry) -> None:
    registry.check_dag(dag("new", "f"))

    assert registry.dags.keys() == {"d"}


def test_a_function_used_by_a_dag_cannot_be_deleted(registry: Registry) -> None:
    apply(registry, registry.prepare_dag(dag("a", "f")))

    with pytest.raises(UsageError, match="function 'f' is used by DAG 'a', 'd'; delete that first"):
        registry.prepare_delete_function("f")


def test_a_function_no_dag_uses_any_more_can_be_deleted(registry: Registry) -> None:
    change = apply(registry, registry.prepare_delete_dag("d"))
    assert change.operations == (DropField(keys.DAGS, "d"),)

    change = apply(registry, registry.prepare_delete_function("f"))
    assert change.operations == (DropField(keys.FUNCTIONS, "f"),)
    assert registry.functions.keys() == {"g"}


def test_deleting_what_is_not_there_is_no_change(registry: Registry) -> None:
    assert registry.prepare_delete_function("h") is None
    assert registry.prepare_delete_dag("h") is None


def test_an_unknown_target_is_named_with_a_hint(registry: Registry) -> None:
    with pytest.raises(UnknownDag, match=r"^no DAG 'dd' is registered; did you mean 'd'\?$"):
        registry.plan("dd", is_dag=True)
    with pytest.raises(UnknownFunction, match=r"^no function 'dd' is registered\.$"):
        registry.plan("dd", is_dag=False)


def test_a_dag_and_a_function_may_share_a_name(registry: Registry) -> None:
    apply(registry, registry.prepare_dag(dag("f", "g")))

    assert registry.plan("f", is_dag=True).dag == "f"
    assert registry.plan("f", is_dag=False).dag == ""


def test_a_restarted_scheduler_knows_what_was_registered(registry: Registry) -> None:
    apply(registry, registry.prepare_function(function("C", is_class=True)))
    functions = {name: msgpack.packb(info) for name, info in registry.functions.items()}
    dags = {name: msgpack.packb(known) for name, known in registry.dags.items()}
    restarted = Registry()

    restarted.restore(functions, dags)

    restarted.validate()
    assert restarted == registry


def test_what_was_restored_is_registered_identically(registry: Registry) -> None:
    restarted = Registry()
    restarted.restore(
        {name: msgpack.packb(info) for name, info in registry.functions.items()},
        {name: msgpack.packb(known) for name, known in registry.dags.items()},
    )

    assert restarted.prepare_function(function("f")) is None
    assert restarted.prepare_dag(dag("d", "f", "g", edges=(("f", "g"),))) is None


def test_validate_notices_a_plan_of_old_code(registry: Registry) -> None:
    registry.functions["f"] = function("f", "v2")

    with pytest.raises(AssertionError):
        registry.validate()
