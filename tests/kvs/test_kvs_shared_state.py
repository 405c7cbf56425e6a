"""The verbs that clients and functions have in common, over every store."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from proxy import Proxy, proxy_to
from stores import Bench, State, commit, store_at

from cloudburst.errors import InvalidName, KVSUnavailable, SerializationError, UsageError
from cloudburst.kvs.base import AddMembers, CommitRun, KeyValueStore, Operation, Scan
from cloudburst.kvs.embedded import EmbeddedServer
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.memory import MemoryStore
from cloudburst.kvs.objects import read_objects
from cloudburst.serialization import join, pack

RUN = "0123456789abcdef-1"


@pytest.fixture
def state(bench: Bench) -> State:
    return State(bench.store)


def result(run_id: str, value: object, output_key: str = "") -> CommitRun:
    return commit(run_id, bytes(join(pack(value).frames)), output_key=output_key)


def test_a_key_exists_or_not(state: State) -> None:
    state.mput({"a": None})
    state.incr("n")
    state.sadd("s", 1)

    assert (state.exists("a"), state.exists("missing")) == (True, False)
    assert state.exists(["a", "n", "missing", "s", "a"]) == {
        "a": True,
        "n": True,
        "missing": False,
        "s": True,
    }
    assert state.exists(key for key in "ab") == {"a": True, "b": False}
    assert state.exists([]) == {}


def test_several_are_written_and_read(state: State) -> None:
    state.mput({"a": 1, "b": [2], "c": None})
    state.mput({})

    assert state.mget(["c", "a", "missing", "b"]) == {"c": None, "a": 1, "missing": None, "b": [2]}
    assert list(state.mget(("b", "a"))) == ["b", "a"]
    assert state.mget((key for key in ["a", "x"]), default=0) == {"a": 1, "x": 0}
    assert state.mget([]) == {}


def test_several_may_expire_together(bench: Bench, state: State) -> None:
    state.mput({"short": 1, "number": 2}, ttl=bench.ttl)
    state.mput({"long": 3}, ttl=1e9)

    bench.wait_expired(lambda: not any(state.exists(["short", "number"]).values()))
    assert state.mget(["short", "long"]) == {"short": None, "long": 3}


@pytest.mark.parametrize("ttl", [0, -1, math.nan, "1", True])
def test_a_time_to_live_is_more_than_nothing(state: State, ttl: Any) -> None:
    with pytest.raises(UsageError, match="ttl is a number of seconds, more than 0"):
        state.mput({"a": 1}, ttl=ttl)
    assert not state.exists("a")


def test_what_is_not_several_keys_or_a_mapping(state: State) -> None:
    for keys in ("ab", b"ab", 5, None):
        with pytest.raises(UsageError, match="mget takes several keys, not"):
            state.mget(keys)  # type: ignore[arg-type]
    for items in ([("a", 1)], "ab", None):
        with pytest.raises(UsageError, match="mput takes a dict of keys and values, not"):
            state.mput(items)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "k" * 1001, 5, b"key", None, "\ud800"])
def test_every_verb_checks_its_keys(state: State, key: Any) -> None:
    uses: list[Callable[[], Any]] = [
        lambda: state.exists(key),
        lambda: state.exists(["a", key]),
        lambda: state.mget(["a", key]),
        lambda: state.mput({"a": 1, key: 2}),
        lambda: state.incr(key),
        lambda: state.sadd(key, 1),
        lambda: state.sadd(key),
        lambda: state.srem(key, 1),
        lambda: state.smembers(key),
        lambda: state.scard(key),
    ]
    for use in uses:
        with pytest.raises(InvalidName, match=r"^(a|the) key "):
            use()
    assert list(state.scan()) == []


class TestCounters:
    def test_begin_at_nothing_and_go_up_and_down(self, state: State) -> None:
        assert [state.incr("n"), state.incr("n", 10), state.incr("n", by=-15)] == [1, 11, -4]
        assert state.incr("other", 0) == 0

    def test_are_read_as_any_object(self, state: State) -> None:
        state.incr("n", 7)
        state.mput({"text": "x"})

        assert state.mget(["n", "text"]) == {"n": 7, "text": "x"}
        assert type(state.mget(["n"])["n"]) is int

    def test_may_be_put(self, bench: Bench, state: State) -> None:
        state.mput({"n": 41, "short": 1}, ttl=bench.ttl)
        state.mput({"n": 41})
        assert (state.incr("n"), state.incr("short")) == (42, 2)

        bench.wait_expired(lambda: not state.exists("short"))
        assert (state.incr("n"), state.incr("short")) == (43, 1)

    @pytest.mark.parametrize("value", ["5", 5.0, True, None, [1], 2**63, {1, 2}])
    def test_are_nothing_else_that_was_put(self, state: State, value: Any) -> None:
        state.mput({"page hits": value})

        with pytest.raises(UsageError, match=r"^'page hits' is no counter: .* Put an integer"):
            state.incr("page hits")
        assert state.mget(["page hits"]) == {"page hits": value}

    def test_are_no_results(self, bench: Bench, state: State) -> None:
        bench.do(result(RUN, 5, "output"))

        for key in (RUN, "output"):
            with pytest.raises(UsageError, match=f"^'{key}' is no counter"):
                state.incr(key)

    def test_are_no_sets(self, state: State) -> None:
        state.sadd("s", 1)
        with pytest.raises(UsageError, match=r"^'s' is no counter"):
            state.incr("s")

        state.incr("n")
        for use in (state.sadd, state.srem):
            with pytest.raises(UsageError, match=r"^'n' is no set that sadd made"):
                use("n", 1)
        for use in (state.smembers, state.scard):
            with pytest.raises(UsageError, match=r"^'n' is no set that sadd made"):
                use("n")

    @pytest.mark.parametrize("by", [1.0, 0.5, True, "1", None, 2**63, -(2**63) - 1])
    def test_go_up_by_integers(self, state: State, by: Any) -> None:
        with pytest.raises(UsageError, match="by is an integer of at most 64 bits, not"):
            state.incr("n", by)
        assert not state.exists("n")

    def test_have_64_bits(self, state: State) -> None:
        state.mput({"n": 2**63 - 2})

        assert state.incr("n") == 2**63 - 1
        with pytest.raises(UsageError, match=r"^1,000 cannot be added to the counter 'n'"):
            state.incr("n", 1000)
        assert state.mget(["n"]) == {"n": 2**63 - 1}


class TestSets:
    def test_merge_what_is_added(self, state: State) -> None:
        assert state.sadd("s", "a", 1, b"a", None, ("a", 1.5)) == 5
        assert state.sadd("s", "a", "b", "b") == 1

        assert state.smembers("s") == {"a", "b", 1, b"a", None, ("a", 1.5)}
        assert (state.scard("s"), state.scard("none"), state.smembers("none")) == (6, 0, set())

    def test_lose_what_is_removed(self, state: State) -> None:
        state.sadd("s", 1, 2, 3)

        assert (state.srem("s", 1, 2, "1"), state.srem("s", 1), state.srem("none", 1)) == (2, 0, 0)
        assert state.smembers("s") == {3}
        assert state.srem("s", 3) == 1
        assert not state.exists("s")

    def test_have_equal_values_once(self, state: State) -> None:
        ones, noughts = (1, 1.0, True), (0, -0.0, False)
        assert state.sadd("s", *ones) == 1
        assert state.sadd("s", (1, "x"), (1.0, "x"), *noughts) == 2

        assert state.srem("s", *ones[2:]) == 1
        assert state.smembers("s") == {(1, "x"), 0}

    def test_of_nothing_are_not_there(self, state: State) -> None:
        assert (state.sadd("s"), state.srem("s")) == (0, 0)
        assert not state.exists("s")

    def test_are_not_changed_if_one_member_cannot_be(self, state: State) -> None:
        with pytest.raises(UsageError, match=r"a member of a set .* not a list: \['b'\]"):
            state.sadd("s", "a", ["b"])  # type: ignore[arg-type]
        assert not state.exists("s")

    def test_are_read_as_any_object(self, state: State) -> None:
        state.sadd("s", 1, "x")
        state.mput({"a": [1], "b": 2})

        assert state.mget(["a", "s", "missing", "b"]) == {
            "a": [1],
            "s": {1, "x"},
            "missing": None,
            "b": 2,
        }

    def test_that_were_put_are_values(self, state: State) -> None:
        state.mput({"s": {1, 2}})

        with pytest.raises(UsageError, match=r"^'s' is no set that sadd made: .* Delete it first"):
            state.sadd("s", 3)
        assert state.mget(["s"]) == {"s": {1, 2}}

    def test_give_way_to_what_is_put(self, state: State) -> None:
        state.sadd("s", 1)
        state.mput({"s": "value"})

        assert state.mget(["s"]) == {"s": "value"}

    def test_with_members_of_somebody_else(self, bench: Bench, state: State) -> None:
        bench.do(AddMembers(object_key("foreign"), [b"\xc1"]))

        with pytest.raises(SerializationError, match="members that sadd did not add"):
            state.smembers("foreign")


class TestScanning:
    def test_finds_objects_counters_and_sets(self, state: State) -> None:
        state.mput({"user/1": 1, "user/2": {}, "users": 0})
        state.incr("user/n")
        state.sadd("user/s", 1)

        assert sorted(state.scan("user/")) == ["user/1", "user/2", "user/n", "user/s"]
        assert sorted(state.scan()) == ["user/1", "user/2", "user/n", "user/s", "users"]
        assert sorted(state.mget(state.scan("user/"))) == sorted(state.scan("user/"))
        assert list(state.scan("nobody")) == []

    def test_leaves_out_what_belongs_to_runs(self, bench: Bench, state: State) -> None:
        bench.do(result(RUN, 1, "output"), result("fedcba9876543210-12", 2))
        state.mput({f"{RUN}/2": "a large argument", f"{RUN}/weights": 3, f"my {RUN}": 4})

        assert sorted(state.scan()) == [f"{RUN}/weights", f"my {RUN}", "output"]
        assert list(state.scan(RUN)) == [f"{RUN}/weights"]

    @pytest.mark.parametrize("prefix", ["*", "?", "[a]", "\\", "a*", "{", "}", "ä", "a\nb"])
    def test_takes_a_prefix_literally(self, state: State, prefix: str) -> None:
        state.mput(dict.fromkeys([prefix, f"{prefix} more", "a", "axb", "\\\\"]))

        found = set(state.scan(prefix))
        assert found == {key for key in state.scan() if key.startswith(prefix)}
        assert {prefix, f"{prefix} more"} <= found

    @pytest.mark.parametrize("prefix", [5, None, b"a", "\ud800"])
    def test_takes_a_string_and_says_so_at_once(self, state: State, prefix: Any) -> None:
        with pytest.raises(UsageError, match="prefix"):
            state.scan(prefix)

    def test_finds_thousands_once_each(self, state: State) -> None:
        state.mput({f"k{number}": number for number in range(5000)})

        found = list(state.scan("k"))
        assert (len(found), set(found)) == (5000, {f"k{number}" for number in range(5000)})

    def test_tells_once_what_the_store_repeats(self) -> None:
        state = State(Stuttering())
        state.mput({"a": 1, "b": 2})

        assert sorted(state.scan()) == ["a", "b"]

    def test_goes_on_only_when_asked(self, state: State) -> None:
        found = state.scan()
        state.mput({"a": 1})

        assert next(found) == "a"


class Stuttering(MemoryStore):
    """Gives every key twice, on two pages."""

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        answers = super().execute(operations)
        for index, operation in enumerate(operations):
            if isinstance(operation, Scan) and not operation.cursor:
                answers[index] = (2**64 - 1, answers[index][1] * 2)
        return answers


class Counting:
    """Passes on to a store, and counts how often it is asked."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self.trips = 0

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        self.trips += 1
        return self._store.execute(operations)

    def close(self) -> None:
        self._store.close()


def test_every_verb_takes_one_round_trip(bench: Bench) -> None:
    store = Counting(bench.store)
    state = State(store)
    state.mput({f"k{number}": str(number) for number in range(100)})
    state.mget([f"k{number}" for number in range(100)])
    state.exists([f"k{number}" for number in range(100)])
    state.incr("n")
    state.mget(["n"])
    state.sadd("s", *range(100))
    state.smembers("s")
    state.scard("s")
    state.srem("s", 1)
    assert store.trips == 9

    assert read_objects(store, ["s", "n"])["n"] == 1
    assert store.trips == 11, "only if there is a set among them it takes two"


class TestAnAnswerIsLost:
    @pytest.fixture
    def proxy(self, private_server: EmbeddedServer, short_dir: Path) -> Iterator[Proxy]:
        with proxy_to(private_server, short_dir) as proxy:
            yield proxy

    @pytest.mark.parametrize(
        ("change", "look", "after"),
        [
            (lambda state: state.incr("n", 5), lambda state: state.mget(["n"])["n"], 5),
            (lambda state: state.sadd("s", 1), lambda state: state.smembers("s"), {1}),
            (lambda state: state.srem("t", 1), lambda state: state.smembers("t"), {2}),
        ],
        ids=["incr", "sadd", "srem"],
    )
    def test_a_change_is_made_once_and_left_in_doubt(
        self, proxy: Proxy, change: Any, look: Any, after: object
    ) -> None:
        with store_at(proxy.url, 5.0) as store:
            state = State(store)
            state.sadd("t", 1, 2)
            proxy.lose_replies = 1

            with pytest.raises(KVSUnavailable, match="Whether the command was carried out is not"):
                change(state)
            assert look(state) == after

    def test_a_question_is_asked_again(self, proxy: Proxy) -> None:
        with store_at(proxy.url, 5.0) as store:
            state = State(store)
            state.mput({"a": 1})
            state.sadd("s", 1)
            questions: list[tuple[Callable[[], Any], Any]] = [
                (lambda: state.exists("a"), True),
                (lambda: state.mget(["a"]), {"a": 1}),
                (lambda: state.mput({"b": 2}), None),
                (lambda: state.smembers("s"), {1}),
                (lambda: state.scard("s"), 1),
                (lambda: sorted(state.scan()), ["a", "b", "s"]),
                (lambda: state.mget(["s"]), {"s": {1}}),
            ]
            for question, answer in questions:
                proxy.lose_replies = 1
                assert question() == answer
                assert proxy.lose_replies == 0


def test_nothing_is_lost_between_many(private_server: EmbeddedServer) -> None:
    def work(number: int) -> None:
        with store_at(private_server.url, 10.0) as store:
            state = State(store)
            for step in range(200):
                state.incr("n", 3)
                state.sadd("s", step, (number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with store_at(private_server.url) as store:
        assert State(store).mget(["n"]) == {"n": 6 * 200 * 3}
        assert State(store).scard("s") == 200 + 6 * 200
