"""State that several functions and clients change at the same time."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    CloudburstReference,
    LocalCluster,
    UsageError,
    UserLibrary,
)


@pytest.fixture
def empty(connection: CloudburstConnection) -> CloudburstConnection:
    """A connection to a cluster that has no objects."""
    for key in list(connection.scan()):
        connection.delete_object(key)
    return connection


def test_functions_count_together_and_lose_nothing(empty: CloudburstConnection) -> None:
    def count(library: UserLibrary, times: int) -> list[int]:
        return [library.incr("hits") for _ in range(times)]

    cloud_count = empty.register(count, "count")
    futures = [cloud_count(50) for _ in range(16)]
    here = [empty.incr("hits") for _ in range(50)]
    seen = [number for future in futures for number in future.get(30)]

    assert sorted(seen + here) == list(range(1, 851)), "each sees a number of its own"
    assert empty.get_object("hits") == 850
    assert empty.incr("hits", -850) == 0


def test_functions_that_run_at_once_count_together(empty: CloudburstConnection) -> None:
    """Each waits in the middle of its work until the other is there, too."""

    def meet(library: UserLibrary, me: str, other: str) -> int:
        library.incr("meeting", 10)
        library.put(me, "here")
        library.get(other, timeout=20)
        return library.incr("meeting")

    cloud_meet = empty.register(meet, "meet")
    one, two = cloud_meet("one", "two"), cloud_meet("two", "one")

    assert sorted([one.get(30), two.get(30)]) == [21, 22]


def test_sets_of_several_functions_merge(empty: CloudburstConnection) -> None:
    def visit(library: UserLibrary, names: list[str]) -> int:
        return library.sadd("visitors", *names)

    cloud_visit = empty.register(visit, "visit")
    groups = [[f"v{number}" for number in range(start, start + 10)] for start in range(0, 40, 5)]
    new = [future.get(30) for future in [cloud_visit(group) for group in groups]]

    assert sum(new) == empty.scard("visitors") == 45, "each was new to one of them"
    assert empty.smembers("visitors") == {f"v{number}" for number in range(45)}
    assert empty.srem("visitors", "v0", "nobody") == 1


def test_who_adds_a_member_first_is_told(empty: CloudburstConnection) -> None:
    def claim(library: UserLibrary, page: str) -> bool:
        return bool(library.sadd("claimed", page))

    cloud_claim = empty.register(claim, "claim")

    futures = [cloud_claim(page) for page in ["a", "b", "a", "a", "b"]]
    assert sum(future.get(30) for future in futures) == 2


def test_connections_and_threads_share_a_counter(
    empty: CloudburstConnection, cluster: LocalCluster
) -> None:
    with cluster.connect() as other:
        threads = [
            threading.Thread(target=lambda to=to: [to.incr("n", 2) for _ in range(100)])
            for to in (empty, empty, other, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert empty.get_object("n") == 800


def test_what_functions_put_for_a_while_goes(empty: CloudburstConnection) -> None:
    def keep(library: UserLibrary) -> None:
        library.put("from a function", 1, ttl=0.05)
        library.put({"n": 5}, ttl=0.05)
        library.incr("n")
        library.put("stays", 1, ttl=600)

    empty.register(keep, "keep")().get(10)
    empty.put_object("from a client", 1, ttl=0.05)
    empty.mput({"another": 1}, ttl=0.05)
    short = ["from a function", "n", "from a client", "another"]

    wait_until(lambda: not any(empty.exists(short).values()), "they expire", 10.0)
    assert list(empty.scan()) == ["stays"]


def test_all_verbs_work_in_a_function(empty: CloudburstConnection) -> None:
    def use(library: UserLibrary) -> Any:
        library.mput({"a": 1, "b": [2]})
        return (
            library.mget(["a", "b", "c"], default=0),
            library.exists(["a", "c"]),
            library.incr("a", 9),
            library.sadd("s", "x", ("y", 1)),
            library.scard("s"),
            library.srem("s", "x"),
            library.smembers("s"),
            sorted(library.scan()),
            library.get(["a", "s"]),
        )

    assert empty.register(use, "use")().get(10) == (
        {"a": 1, "b": [2], "c": 0},
        {"a": True, "c": False},
        10,
        *(2, 2, 1, {("y", 1)}),
        ["a", "b", "s"],
        {"a": 10, "s": {("y", 1)}},
    )


def test_counters_and_sets_are_arguments(empty: CloudburstConnection) -> None:
    empty.incr("n", 3)
    empty.sadd("s", 1, 2)

    add = empty.register(lambda _, number, numbers: number + sum(numbers), "add")
    assert add(CloudburstReference("n"), CloudburstReference("s")).get(10) == 6


def test_results_and_arguments_of_runs_are_not_found(empty: CloudburstConnection) -> None:
    size = empty.register(lambda library, blob: (len(blob), list(library.scan())), "size")
    empty.put_object("mine", 1)

    future = size(bytes(3_000_000))
    assert future.get(10) == (3_000_000, ["mine"])
    assert empty.exists(future.obj_id), "a result is an object all the same"
    assert list(empty.scan()) == ["mine"]


def test_a_wrong_use_is_named_where_it_was_made(empty: CloudburstConnection) -> None:
    empty.put_object("text", "5")
    count = empty.register(lambda library, key, by: library.incr(key, by), "count")

    with pytest.raises(UsageError, match=r"^'text' is no counter"):
        count("text", 1).get(10)
    with pytest.raises(UsageError, match="by is an integer"):
        count("n", 0.5).get(10)
    with pytest.raises(UsageError, match=r"^'text' is no set"):
        empty.sadd("text", 1)
    assert empty.get_object("text") == "5"


def test_an_instance_that_is_let_go_may_count(empty: CloudburstConnection) -> None:
    class Session:
        def run(self) -> int:
            return 1

        def close(self, library: UserLibrary) -> None:
            library.incr("closed")

    session = empty.register(Session, "session")

    assert [session().get(10) for _ in range(3)] == [1, 1, 1]
    assert empty.get_object("closed") == 3
