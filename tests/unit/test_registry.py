"""Functions, DAGs and their plans: prepared, written, and only then applied."""

from __future__ import annotations

import msgpack
import pytest

from cloudburst.core.dag import Dag, make_steps
from cloudburst.core.options import NOTHING_SAID, RunOptions
from cloudburst.core.plan import FunctionInfo, Plan, unpack_plan
from cloudburst.errors import DagError, InvalidName, UnknownDag, UnknownFunction, UsageError
from cloudburst.kvs import keys
from cloudburst.kvs.base import DropField, GetFields, Put, SetFields
from cloudburst.kvs.memory import MemoryStore
from cloudburst.scheduler.registry import Change, Registry

SLOW = RunOptions(timeout=60.0, grace_period=1.0)
TRIED_TWICE = RunOptions(max_retries=1)


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
    put, fields, options = change.operations
    assert isinstance(put, Put)
    assert put.ttl == 0.0
    assert fields == SetFields(keys.FUNCTIONS, {"f": msgpack.packb(function("f"))})
    assert options == SetFields(keys.OPTIONS, {"function f": msgpack.packb(NOTHING_SAID)})
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


# options


def test_options_are_those_said_at_registration(registry: Registry) -> None:
    apply(registry, registry.prepare_function(function("h"), SLOW))
    apply(registry, registry.prepare_dag(dag("h", "f"), TRIED_TWICE))

    assert registry.options_of("h", is_dag=False) == SLOW
    assert registry.options_of("h", is_dag=True) == TRIED_TWICE
    assert registry.options_of("f", is_dag=False) == NOTHING_SAID
    assert registry.options_of("never registered", is_dag=True) == NOTHING_SAID


def test_the_same_function_with_other_options_is_a_change_of_these_alone(
    registry: Registry,
) -> None:
    before = registry.plan("f", is_dag=False)

    change = apply(registry, registry.prepare_function(function("f"), SLOW))

    assert change.operations == (SetFields(keys.OPTIONS, {"function f": msgpack.packb(SLOW)}),)
    assert registry.options_of("f", is_dag=False) == SLOW
    assert registry.plan("f", is_dag=False) is before
    assert registry.prepare_function(function("f"), SLOW) is None


def test_a_dag_may_get_other_options_but_no_other_steps(registry: Registry) -> None:
    same = dag("d", "f", "g", edges=(("f", "g"),))

    change = apply(registry, registry.prepare_dag(same, TRIED_TWICE))

    assert change.operations == (SetFields(keys.OPTIONS, {"dag d": msgpack.packb(TRIED_TWICE)}),)
    with pytest.raises(DagError):
        registry.prepare_dag(dag("d", "f"), TRIED_TWICE)
    assert registry.options_of("d", is_dag=True) == TRIED_TWICE


def test_who_registers_again_without_options_takes_them_back(registry: Registry) -> None:
    apply(registry, registry.prepare_function(function("f"), SLOW))

    apply(registry, registry.prepare_function(function("f", "v2")))

    assert registry.options_of("f", is_dag=False) == NOTHING_SAID


def test_options_go_with_what_they_were_said_of(registry: Registry) -> None:
    apply(registry, registry.prepare_function(function("f"), SLOW))
    apply(registry, registry.prepare_dag(dag("f", "g"), TRIED_TWICE))

    apply(registry, registry.prepare_delete_dag("f"))
    assert registry.options_of("f", is_dag=True) == NOTHING_SAID
    assert registry.options_of("f", is_dag=False) == SLOW

    apply(registry, registry.prepare_delete_dag("d"))
    apply(registry, registry.prepare_delete_function("f"))
    assert registry.options_of("f", is_dag=False) == NOTHING_SAID


# a scheduler that was restarted


CHAIN = dag("d", "f", "g", edges=(("f", "g"),))


class Kept:
    """A registry, and a store with all that it wrote."""

    def __init__(self) -> None:
        self.registry, self.store = Registry(), MemoryStore()
        for name in ("f", "g"):
            self.keep(self.registry.prepare_function(function(name)))
        self.keep(self.registry.prepare_dag(CHAIN, TRIED_TWICE))

    def keep(self, change: Change | None) -> None:
        self.store.execute(apply(self.registry, change).operations)

    def restarted(self) -> Registry:
        found = [GetFields(key) for key in (keys.FUNCTIONS, keys.DAGS, keys.OPTIONS)]
        again = Registry()
        again.restore(*self.store.execute(found))
        again.validate()
        return again


def test_a_restarted_scheduler_knows_what_was_registered() -> None:
    kept = Kept()
    kept.keep(kept.registry.prepare_function(function("C", is_class=True), SLOW))
    kept.keep(kept.registry.prepare_dag(dag("C", "C"), TRIED_TWICE))

    assert kept.restarted() == kept.registry


def test_the_options_of_what_was_deleted_are_not_taken_over() -> None:
    kept = Kept()
    kept.keep(kept.registry.prepare_function(function("h"), SLOW))
    kept.keep(kept.registry.prepare_delete_function("h"))
    kept.keep(kept.registry.prepare_delete_dag("d"))

    again = kept.restarted()

    apply(again, again.prepare_dag(CHAIN))
    assert again.options_of("d", is_dag=True) == NOTHING_SAID
    assert (False, "h") not in again.options


def test_what_was_restored_is_registered_identically() -> None:
    again = Kept().restarted()

    assert again.prepare_function(function("f")) is None
    assert again.prepare_dag(CHAIN, TRIED_TWICE) is None


def test_validate_notices_a_plan_of_old_code(registry: Registry) -> None:
    registry.functions["f"] = function("f", "v2")

    with pytest.raises(AssertionError):
        registry.validate()
