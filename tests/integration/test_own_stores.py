"""All that a cluster is for, in a Valkey Cluster and behind TLS with a user of its own."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from records import open_runs, record_of, store_of
from served import KINDS, PASSWORD, Served
from watching import wait_until

from cloudburst import (
    CloudburstConnection,
    CloudburstReference,
    ClusterError,
    LocalCluster,
    UsageError,
    UserLibrary,
)


@pytest.fixture(params=["cluster", "tls", "tls-cluster", "sentinel"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with KINDS[request.param]() as served:
        yield served


@pytest.fixture
def own(served: Served) -> Iterator[CloudburstConnection]:
    """Two executors over such a store."""
    with LocalCluster(2, kvs=served.url) as cluster, cluster.connect() as connection:
        wait_until(lambda: len(connection.status().executors) == 2, "both executors are ready")
        yield connection


def test_it_does_all_there_is_to_do(own: CloudburstConnection, served: Served) -> None:
    functions_and_dags(own)
    outputs_and_state(own)
    futures(own)
    no_password_is_shown(own, served)
    killed_executors(own)
    store = store_of(own)
    wait_until(lambda: not open_runs(store), "no run is open any more")
    store.close()


def functions_and_dags(own: CloudburstConnection) -> None:
    incr = own.register(lambda _, a: a + 1, "incr")
    own.register(lambda _, a, b: (a, b), "pair")
    assert [incr(n).get(10) for n in range(20)] == list(range(1, 21))
    steps = [("top", "incr"), ("left", "incr"), ("right", "incr"), ("end", "pair")]
    edges = [("top", "left"), ("top", "right"), ("left", "end"), ("right", "end")]
    assert own.register_dag("diamond", steps, edges)
    calls = [own.call_dag("diamond", {"top": n}) for n in range(30)]
    assert [call.get(20) for call in calls] == [(n + 2, n + 2) for n in range(30)]
    assert own.call_dag("diamond", {"top": 1}, direct_response=True) == (3, 3)


def outputs_and_state(own: CloudburstConnection) -> None:
    def move(library: UserLibrary, source: str, target: str) -> list[str]:
        library.put(target, library.get(source))
        library.put({f"many{n}": n for n in range(50)})
        return sorted(library.get([f"many{n}" for n in range(50)]))

    own.put_object("a", bytes(3_000_000))
    moved = own.register(move, "move")("a", "b")
    assert moved.get(10) == sorted(f"many{n}" for n in range(50))
    assert own.get_object("b") == bytes(3_000_000)
    length = own.register(lambda _, value: len(value), "length")
    assert length(CloudburstReference("b")).get(10) == 3_000_000
    assert length(bytes(2_000_000)).get(10) == 2_000_000
    ends = [own.call_dag("diamond", {"top": n}, output_key=f"out{n}") for n in range(20)]
    assert [end.get(10) for end in ends] == [(n + 2, n + 2) for n in range(20)]
    assert own.get_object("out7") == (9, 9)
    own.call_dag("diamond", {"top": 100}, output_key="out7").get(10)
    assert own.get_object("out7") == (102, 102)
    assert own.delete_object("out7")
    assert own.get_object("out7") is None


def futures(own: CloudburstConnection) -> None:
    function = own.get_function("length")
    assert function is not None
    future = function(b"12345")
    assert future.get(10) == 5
    assert own.future(future.obj_id).get(10) == 5
    store = store_of(own)
    assert record_of(store, future.obj_id)["state"] == "SUCCEEDED"
    store.close()
    failing = own.register(lambda _: {}["missing"], "failing")
    with pytest.raises(KeyError):
        failing().get(10)


def killed_executors(own: CloudburstConnection) -> None:
    def die_once(library: UserLibrary, key: str) -> str:
        if library.get(key) is None:
            library.put(key, 1)
            os.kill(os.getpid(), signal.SIGKILL)
        return key

    function = own.register(die_once, "die_once")
    calls = [function(f"died{n}") for n in range(3)]
    assert [call.get(30) for call in calls] == [f"died{n}" for n in range(3)]


def no_password_is_shown(own: CloudburstConnection, served: Served) -> None:
    """Not by the processes that were started, whatever tool lists them, nor to those they start."""
    names = own.register(lambda _: sorted(os.environ), "names")
    assert "CLOUDBURST_CONFIG" not in names().get(10)
    if PASSWORD not in served.url:
        return
    family = psutil.Process().children(recursive=True)
    assert len(family) > 3
    assert not [each for each in family if any(PASSWORD in word for word in each.cmdline())]


@pytest.mark.parametrize("url", ["redis+cluster://u:s3cret@h:1/2", "redis+sentinel://u:s3cret@h"])
def test_a_url_that_cannot_be_used_is_told_at_once(url: str) -> None:
    with pytest.raises(UsageError, match=r"cluster has one only|which service"):
        LocalCluster(1, kvs=url)


def test_a_store_that_refuses_its_user_is_told_too() -> None:
    with KINDS["tls"]() as served:
        url = served.url.replace(PASSWORD, "wr0ng")
        with pytest.raises(ClusterError, match="WRONGPASS") as caught:
            LocalCluster(1, kvs=url)
        assert "wr0ng" not in str(caught.value)
