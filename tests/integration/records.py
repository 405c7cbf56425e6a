"""Looking at what a cluster keeps in its store."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import redis
from redis.cluster import RedisCluster
from watching import wait_until

from cloudburst import CloudburstConnection
from cloudburst.kvs import keys
from cloudburst.kvs.base import GetFields, KeyValueStore, Members
from cloudburst.kvs.connection import ask
from cloudburst.kvs.opening import ServedStore, open_store
from cloudburst.kvs.sentinel import find_primary
from cloudburst.kvs.urls import Kind, read_url
from cloudburst.scheduler.run import EPOCHS


def store_of(connection: CloudburstConnection) -> ServedStore:
    """A connection of the test's own to the store, to be closed."""
    return open_store(connection.kvs_url)


@contextmanager
def plain_client(connection: CloudburstConnection) -> Iterator[Any]:
    """redis-py's own client, for questions that Cloudburst does not ask."""
    place = read_url(connection.kvs_url)
    match place.kind:
        case Kind.CLUSTER:
            client: Any = RedisCluster.from_url(place.seeds[0], decode_responses=True)
        case Kind.SENTINELS:
            client = redis.Redis.from_url(find_primary(place, ask, 5.0), decode_responses=True)
        case Kind.SERVER:
            client = redis.Redis.from_url(connection.kvs_url, decode_responses=True)
    with closing(client):
        yield client


def record_of(store: KeyValueStore, run_id: str) -> dict[str, Any]:
    """A run's record: times as numbers, as epoch how often it was started, all else as text."""
    (fields,) = store.execute([GetFields(keys.run_key(run_id))])
    numbers = {"accepted": float, "started": float, "finished": float, "epoch": _starts}
    texts = {name: value.decode() for name, value in fields.items() if name != "call"}
    return {name: numbers.get(name, str)(text) for name, text in texts.items()}


def _starts(epoch: str) -> int:
    return int(epoch) % EPOCHS


def wait_for_state(store: KeyValueStore, run_id: str, state: str) -> dict[str, Any]:
    """The run's record once it says so."""

    def reached() -> dict[str, Any] | None:
        record = record_of(store, run_id)
        return record if record.get("state") == state else None

    found = wait_until(reached, f"run {run_id} is {state}")
    assert found is not None
    return found


def open_runs(store: KeyValueStore) -> list[str]:
    """The runs that were accepted and have not ended, as the store has it."""
    (members,) = store.execute([Members(keys.OPEN_RUNS)])
    return list(members)
