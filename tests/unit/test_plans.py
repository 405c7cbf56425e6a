"""Plans that an executor fetches: whatever is wrong with one is what its runs fail with."""

from __future__ import annotations

import msgpack
import pytest

from cloudburst.core.plan import FunctionInfo, compile_function, pack_plan
from cloudburst.errors import CloudburstError, KeyNotFound, ProtocolError
from cloudburst.executor.events import PlanLoaded, PlanMissing
from cloudburst.executor.plans import fetch_plan
from cloudburst.kvs import keys
from cloudburst.kvs.base import Append, Put
from cloudburst.kvs.memory import MemoryStore
from cloudburst.serialization import failure_in, unpack

PLAN = compile_function(FunctionInfo("f", "v1", is_class=False))
OTHER = compile_function(FunctionInfo("f", "v2", is_class=False))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def put(store: MemoryStore, blob: bytes) -> None:
    store.execute([Put(keys.plan_key(PLAN.id), blob)])


def error_of(outcome: PlanLoaded | PlanMissing) -> CloudburstError:
    assert isinstance(outcome, PlanMissing)
    assert outcome.plan_id == PLAN.id
    failure = failure_in(unpack(outcome.failure))
    assert failure is not None
    return failure.error


def test_a_plan_is_what_was_stored(store: MemoryStore) -> None:
    put(store, pack_plan(PLAN))

    assert fetch_plan(PLAN.id, store) == PlanLoaded(PLAN)


def test_one_that_is_not_there(store: MemoryStore) -> None:
    error = error_of(fetch_plan(PLAN.id, store))

    assert isinstance(error, KeyNotFound)
    assert "has lost the plan of this call; delete what was called, and register" in str(error)


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="not msgpack"),
        pytest.param(pack_plan(PLAN)[:-1], id="cut off"),
        pytest.param(msgpack.packb(7), id="a number"),
        pytest.param(msgpack.packb(("", (), ())), id="no steps"),
        pytest.param(msgpack.packb(("", (("f",),), ())), id="half a step"),
        pytest.param(
            msgpack.packb(("", (PLAN.steps[0],), (((5,), 0, (), ()),))), id="no such step"
        ),
        pytest.param(
            msgpack.packb(("", (PLAN.steps[0],), (((0,), 0, (9,), ()),))), id="no such parent"
        ),
        pytest.param(pack_plan(OTHER), id="another plan"),
    ],
)
def test_one_that_is_damaged(store: MemoryStore, blob: bytes) -> None:
    put(store, blob)

    error = error_of(fetch_plan(PLAN.id, store))

    assert isinstance(error, ProtocolError)
    assert "the plan of this call in the KVS is damaged (" in str(error)
    assert "delete what was called, and register it again" in str(error)


def test_one_that_the_store_refuses(store: MemoryStore) -> None:
    store.execute([Append(keys.plan_key(PLAN.id), b"an item of a list", 60.0)])

    assert "the store refused" in str(error_of(fetch_plan(PLAN.id, store)))


def test_what_was_mended_is_fetched(store: MemoryStore) -> None:
    put(store, pack_plan(OTHER))
    assert isinstance(fetch_plan(PLAN.id, store), PlanMissing)
    put(store, pack_plan(PLAN))

    assert fetch_plan(PLAN.id, store) == PlanLoaded(PLAN)
