"""Plans as an executor gets them from the store."""

from __future__ import annotations

from cloudburst.core.plan import unpack_plan
from cloudburst.errors import CloudburstError, KeyNotFound, ProtocolError
from cloudburst.executor.events import PlanLoaded, PlanMissing
from cloudburst.kvs import keys
from cloudburst.kvs.base import Get, KeyValueStore
from cloudburst.serialization import pack_cluster_failure

_AGAIN = "delete what was called, and register it again"


def fetch_plan(plan_id: str, store: KeyValueStore) -> PlanLoaded | PlanMissing:
    """Read a plan. Whatever is wrong with it is what its runs fail with."""
    try:
        (blob,) = store.execute([Get(keys.plan_key(plan_id))])
        if blob is None:
            raise KeyNotFound(f"the KVS has lost the plan of this call; {_AGAIN}")
        plan = unpack_plan(blob)
        if plan.id != plan_id:  # which is a hash of all that it contains
            raise ProtocolError(f"it is plan {plan.id}, not {plan_id}")
    except ProtocolError as error:
        damaged = ProtocolError(f"the plan of this call in the KVS is damaged ({error}); {_AGAIN}")
        return PlanMissing(plan_id, pack_cluster_failure(damaged))
    except CloudburstError as error:
        return PlanMissing(plan_id, pack_cluster_failure(error))
    return PlanLoaded(plan)
