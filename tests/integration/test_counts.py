"""How many messages and store commands a run costs. Counts, not times: they do not vary."""

import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from gates import Gate, wait_at
from records import store_of, wait_for_state
from watching import wait_until

from benchmarks.recording import Recorder, Sent, recorded_cluster
from cloudburst import CloudburstConnection
from cloudburst.core.hosts import Fence, Heartbeat, Knock
from cloudburst.core.messages import Bounce, Call, Finished, Result, Start
from cloudburst.core.requests import ClusterStatus, GetStatus
from cloudburst.kvs import keys

N = 50
ASIDE = (Heartbeat, Fence, GetStatus, ClusterStatus, Bounce, Knock)
"""What the clock has sent at any time, and what the tests themselves ask."""

ASIDE_COMMANDS = {"EXISTS", "ECHO", "HELLO", "CLIENT", "SCRIPT", "PING"}
"""What the tests themselves ask, what a new connection begins with, and what the host's cache asks
four times a second."""

LEASES = (keys.SCHEDULER, keys.host_key(""))
"""Scheduler and host renew them at any time."""


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[CloudburstConnection, Recorder]]:
    directory = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    with recorded_cluster(directory) as (connection, recorder):
        connection.register(lambda _, n: n + 1, "incr")
        yield connection, recorder
    shutil.rmtree(directory)


def settle(connection: CloudburstConnection) -> None:
    wait_until(lambda: connection.status()[2:4] == (0, 0), "all runs end")


def messages_of(
    recorded: tuple[CloudburstConnection, Recorder], action: Callable[[], Any]
) -> list[Sent]:
    """The messages that were sent because of an action."""
    connection, recorder = recorded
    settle(connection)
    start = len(recorder.log)
    action()
    settle(connection)
    return [sent for sent in recorder.log[start:] if not isinstance(sent.message, ASIDE)]


def kinds(messages: list[Sent]) -> Counter[str]:
    """How many there are of each kind; a run that an executor gave back in time is not counted."""
    counts = Counter(type(sent.message).__name__ for sent in messages)
    counts["Start"] -= counts.pop("Yield", 0)
    return counts


class Commands:
    """What a store is asked to do: it tells whoever monitors it of every command."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def of(self, connection: CloudburstConnection, action: Callable[[], Any]) -> list[list[str]]:
        """The commands that were sent because of an action, as words."""
        self._settle(connection)
        with self._client.monitor() as monitor:
            action()
            self._settle(connection)
            self._client.echo("the end")
            return [*self._until_the_end(monitor)]

    def _until_the_end(self, monitor: Any) -> Iterator[list[str]]:
        while (said := monitor.next_command())["command"] != "ECHO the end":
            words = said["command"].split(" ")
            asked = words[0] not in ASIDE_COMMANDS and said["client_type"] != "lua"
            if asked and not any(lease in word for word in words for lease in LEASES):
                yield words

    def _settle(self, connection: CloudburstConnection) -> None:
        settle(connection)
        # The scheduler writes behind its own back.
        wait_until(lambda: not self._client.exists(keys.OPEN_RUNS), "no run is open any more")

    def close(self) -> None:
        self._client.close()


def of_run(commands: list[list[str]], run_id: str) -> list[str]:
    """The names of those commands that are about a run, in their order."""
    names = {run_id, keys.run_key(run_id)}
    return [words[0] for words in commands if not names.isdisjoint(words)]


@pytest.fixture
def commands(connection: CloudburstConnection) -> Iterator[Commands]:
    commands = Commands(connection.kvs_url)
    yield commands
    commands.close()


@pytest.fixture
def warm(connection: CloudburstConnection) -> CloudburstConnection:
    """A function, a chain and a diamond that both executors have run before."""
    connection.register(lambda _, *args: len(args), "count")
    connection.register_dag("chain", *chain_of("count", 20))
    connection.register_dag("diamond", DIAMOND, DIAMOND_EDGES)
    futures = [connection.call_dag(dag, {}) for dag in ("chain", "diamond") for _ in range(N)]
    count = connection.get_function("count")
    assert count is not None
    futures += [count() for _ in range(N)]
    assert {future.get(10) for future in futures} == {0, 1, 2}
    for dag in ("chain", "diamond"):
        connection.call_dag(dag, {}, direct_response=True)
    return connection


DIAMOND = [(step, "count") for step in ("top", "left", "right", "bottom")]
DIAMOND_EDGES = [("top", "left"), ("top", "right"), ("left", "bottom"), ("right", "bottom")]


def chain_of(function: str, length: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    names = [f"s{number}" for number in range(length)]
    return [(name, function) for name in names], list(itertools.pairwise(names))


def test_lone_function_with_a_direct_response(
    recorded: tuple[CloudburstConnection, Recorder],
) -> None:
    incr = recorded[0].get_function("incr")
    assert incr is not None
    direct = incr.options(direct_response=True)
    assert direct(1) == 2

    (call, start, result, finished) = messages_of(recorded, lambda: direct(1))

    executor = start.receiver
    assert isinstance(call.message, Call)
    assert [type(sent.message) for sent in (call, start)] == [Call, Start]
    assert (call.receiver, start.sender) == ("scheduler", "scheduler")
    # The last two leave the executor one after the other, for different processes.
    rest = {type(sent.message): sent for sent in (result, finished)}
    assert call.message.reply_to.endswith(f"/{rest[Result].receiver}")
    assert rest[Finished][:2] == (executor, "scheduler")


def test_many_calls_of_a_lone_function(recorded: tuple[CloudburstConnection, Recorder]) -> None:
    incr = recorded[0].get_function("incr")
    assert incr is not None
    direct = incr.options(direct_response=True)

    found = messages_of(recorded, lambda: [direct(n) for n in range(N)])

    assert kinds(found) == {"Call": N, "Start": N, "Result": N, "Finished": N}


def test_fused_chain_of_a_hundred_costs_what_one_function_costs(
    recorded: tuple[CloudburstConnection, Recorder],
) -> None:
    connection, _ = recorded
    connection.register_dag("chain", *chain_of("incr", 100))

    def run() -> None:
        for n in range(N):
            assert connection.call_dag("chain", {"s0": n}, direct_response=True) == n + 100

    run()
    assert kinds(messages_of(recorded, run)) == {"Call": N, "Start": N, "Result": N, "Finished": N}


def test_diamond_sends_one_trigger_for_each_edge_that_crosses_executors(
    recorded: tuple[CloudburstConnection, Recorder],
) -> None:
    connection, _ = recorded

    def branch(_: object, *upstream: Any) -> tuple[Any, ...]:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        return (os.getpid(), *upstream)

    connection.register(branch, "branch")
    steps = [(step, "branch") for step, _ in DIAMOND]
    connection.register_dag("diamond", steps, DIAMOND_EDGES)

    def run() -> None:
        value = connection.call_dag("diamond", {}, direct_response=True)
        bottom, (left, (top,)), (right, (same_top,)) = value
        assert top == same_top
        crossed.append(
            sum(
                a != b
                for a, b in zip((top, top, left, right), (left, right, bottom, bottom), strict=True)
            )
        )

    crossed: list[int] = []
    _, recorder = recorded
    start = len(recorder.log)
    for number in range(10):
        counts = kinds(messages_of(recorded, run))
        assert counts["Trigger"] == crossed[number] <= 2
        assert (counts["Call"], counts["Start"], counts["Result"]) == (1, 1, 1)
    assert 2 in crossed

    def reports() -> int:
        return sum(isinstance(sent.message, Finished) for sent in recorder.log[start:])

    # One of each executor that takes part. Whose was not the last step may be heard after the end.
    expected = sum(2 if number else 1 for number in crossed)
    wait_until(lambda: reports() >= expected, "all have reported")
    assert reports() == expected


def test_stored_call_is_accepted_and_answered(
    recorded: tuple[CloudburstConnection, Recorder],
) -> None:
    incr = recorded[0].get_function("incr")
    assert incr is not None

    found = kinds(messages_of(recorded, lambda: [incr(n).get(10) for n in range(N)]))

    # Who has the result already does not need to be told that the call was accepted.
    assert found.pop("Accepted", 0) <= N
    assert found == {"Call": N, "Start": N, "Result": N, "Finished": N}


def test_idle_cluster_sends_nothing_but_heartbeats_and_their_answers(
    recorded: tuple[CloudburstConnection, Recorder],
) -> None:
    connection, recorder = recorded
    settle(connection)
    start = len(recorder.log)

    def beats() -> int:
        return sum(isinstance(sent.message, Heartbeat) for sent in recorder.log[start:])

    wait_until(lambda: beats() >= 3, "the host beats three times")
    assert {type(sent.message) for sent in recorder.log[start:]} == {Heartbeat, Fence}


def test_direct_responses_use_no_store_at_all(
    warm: CloudburstConnection, commands: Commands
) -> None:
    count = warm.get_function("count")
    assert count is not None
    direct = count.options(direct_response=True)

    def run() -> None:
        for n in range(N):
            assert direct(n) == 1
            assert warm.call_dag("chain", {"s0": n}, direct_response=True) == 1
            assert warm.call_dag("diamond", {"top": n}, direct_response=True) == 2

    assert commands.of(warm, run) == []


@pytest.mark.parametrize("target", ["function", "chain", "diamond"])
def test_short_stored_call_costs_one_command(
    warm: CloudburstConnection, commands: Commands, target: str
) -> None:
    """Its end. One that took longer than a moment, as any may, was recorded before."""
    count = warm.get_function("count")
    assert count is not None
    futures = []

    def run() -> None:
        for _ in range(N):
            futures.append(count() if target == "function" else warm.call_dag(target, {}))
            futures[-1].get(10)

    found = commands.of(warm, run)

    of_each = [of_run(found, future.obj_id) for future in futures]
    assert sum(map(len, of_each)) == len(found)
    short = [names for names in of_each if names == ["EVALSHA"]]
    assert all(sorted(names) == RECORDED for names in of_each if names not in short)
    assert len(short) > N // 10


RECORDED = ["EVALSHA", "EVALSHA", "SADD", "SREM"]
"""A record and a place among the open runs, and their end."""


@pytest.mark.parametrize("target", ["function", "dag"])
def test_stored_call_that_takes_longer_is_recorded_once(
    warm: CloudburstConnection, commands: Commands, make_gate: Callable[[], Gate], target: str
) -> None:
    wait = warm.register(wait_at, "wait")
    warm.register_dag("dag", ["wait", "count"], [("wait", "count")])
    gate, store = make_gate(), store_of(warm)
    futures = []

    def run() -> None:
        futures.append(wait(gate.path) if target == "function" else call(warm, gate))
        gate.wait_for_arrival()
        wait_for_state(store, futures[0].obj_id, "RUNNING")
        gate.open()
        futures[0].get(10)

    found = commands.of(warm, run)
    store.close()

    of_it = of_run([words for words in found if words[0] != "HGETALL"], futures[0].obj_id)
    assert of_it == ["SADD", "EVALSHA", "EVALSHA", "SREM"]


def call(connection: CloudburstConnection, gate: Gate) -> Any:
    return connection.call_dag("dag", {"wait": gate.path})
