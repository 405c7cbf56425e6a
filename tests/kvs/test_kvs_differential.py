"""Whatever is done to it, the store in memory answers as the server does."""

import contextlib
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import Admin, Clock

from cloudburst.core.messages import ENDED, RunState
from cloudburst.kvs.base import (
    AddMember,
    AddMembers,
    Append,
    CommitRun,
    CountMembers,
    Delete,
    DropField,
    DropMember,
    DropMembers,
    Exists,
    Get,
    GetFields,
    Hold,
    Increment,
    Look,
    Members,
    Operation,
    Put,
    PutIfAbsent,
    RawMembers,
    RecordRun,
    Scan,
    SetFields,
    TakeAll,
)
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.keys import object_key, run_key
from cloudburst.kvs.memory import MemoryStore
from cloudburst.kvs.redis import RedisStore

LARGE, STAGED = b"LARGE", b"STAGED"
"""Stand for values too long to be printed with an example that fails."""

TIMES = ("accepted", "started", "finished")

runs = st.sampled_from(["r1", "r2"])
objects = st.sampled_from(["r1", "r2", "o", "{}"])
words = st.sampled_from(["", "a", "b", "ä {b}", "\udce9"])
reasons = words | st.sampled_from(["0 a", "1 a", "a\n", "a\n1 b", "%d"])
small = st.binary(max_size=4)
values: st.SearchStrategy[Any] = small | small.map(lambda value: memoryview(value)) | st.just(LARGE)
results = values | st.just(STAGED)
ttls = st.sampled_from([0.0, 60.0])
epochs = st.integers(0, 3)
values_keys = objects.map(object_key)
records_keys = st.just("record") | runs.map(run_key)
lists, sets = st.just("list"), st.just("set")
anything = values_keys | records_keys | lists | sets | st.just("number")
members = st.lists(words.map(lambda word: word.encode("utf-8", "surrogatepass")), min_size=1)

operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Get, values_keys),
    st.builds(Put, values_keys, values, ttls),
    st.builds(PutIfAbsent, values_keys, values, ttls),
    st.builds(Delete, anything),
    st.builds(Exists, anything),
    st.builds(Look, values_keys | sets | st.just("number")),
    st.sampled_from(["", "cb:object:{", "cb:object:{r", "li", "[l]", "*"]).map(Scan),
    st.builds(GetFields, records_keys),
    st.builds(SetFields, st.just("record"), st.dictionaries(words, values, max_size=2)),
    st.builds(DropField, st.just("record"), words),
    st.builds(Append, lists, values, ttls),
    st.builds(TakeAll, lists),
    st.builds(AddMember, sets, words),
    st.builds(DropMember, sets, words),
    st.builds(Members, sets),
    st.builds(AddMembers, sets, members),
    st.builds(DropMembers, sets, members),
    st.builds(RawMembers, sets),
    st.builds(CountMembers, sets),
    st.builds(Increment, st.just("number"), st.integers(-(2**60), 2**60) | st.integers(-2, 2)),
    st.builds(Put, st.just("number"), st.sampled_from([b"-1", b"9"]), ttls),
    st.builds(Hold, values_keys, small, st.just(60.0)),
    st.builds(
        RecordRun,
        runs,
        st.sampled_from([RunState.PENDING, RunState.RUNNING, RunState.CANCELLING]),
        epochs,
        words,
        words,
        reasons,
        values,
        ttls,
    ),
    st.builds(
        CommitRun,
        runs,
        st.sampled_from(sorted(ENDED)),
        epochs,
        words,
        words,
        results,
        st.sampled_from(["", "o", "r1"]),
        ttls,
        words,
        st.sampled_from([0.0, 1.5]),
    ),
)


def with_long_values(operation: Operation) -> Operation:
    sizes: dict[object, int] = {LARGE: 70_000, STAGED: 1_100_000}
    changed: dict[str, Any] = {
        name: bytes(sizes[value])
        for name, value in operation._asdict().items()
        if isinstance(value, bytes) and value in sizes
    }
    return operation._replace(**changed)


def comparable(answer: Any) -> Any:
    """The answer without the times, of which only the presence can be compared, and sorted."""
    match answer:
        case dict():
            return {k: b"a time" if k in TIMES else v for k, v in answer.items()}
        case memoryview():
            return bytes(answer)
        case (int(cursor), [*keys]):
            return cursor, sorted(keys)
        case _:
            return answer


LOOK: list[Operation] = [
    *(Get(object_key(name)) for name in ["r1", "r2", "o", "{}"]),
    *(GetFields(key) for key in ["record", run_key("r1"), run_key("r2")]),
    Members("set"),
    Get("number"),
    TakeAll("list"),
]


def expiring(server: Admin, memory: MemoryStore) -> list[set[str]]:
    """The keys that will expire, in the one and in the other."""
    named = {key.decode("utf-8", "surrogatepass"): key for key in server("KEYS", "*")}
    in_server = {name for name in named if server("PTTL", name) > 0}
    entries = memory._entries.items()
    return [in_server, {key for key, entry in entries if entry.expires < float("inf")}]


@settings(
    derandomize=True,
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=st.lists(st.lists(operations, min_size=1, max_size=12), min_size=1, max_size=3))
def test_both_stores_answer_alike(server: EmbeddedServer, batches: list[list[Operation]]) -> None:
    admin = Admin(server)
    admin("FLUSHALL")
    memory = MemoryStore(clock=Clock())
    with contextlib.closing(RedisStore(server.url)) as valkey:
        compare(memory, valkey, admin, batches)


def compare(
    memory: MemoryStore, valkey: RedisStore, admin: Admin, batches: list[list[Operation]]
) -> None:
    for batch in [*([*map(with_long_values, batch)] for batch in batches), LOOK[:-1]]:
        expected, found = memory.execute(batch), valkey.execute(batch)
        assert [*map(comparable, found)] == [*map(comparable, expected)]
    in_server, in_memory = expiring(admin, memory)
    assert in_server == in_memory
    assert valkey.execute(LOOK[-1:]) == memory.execute(LOOK[-1:])
