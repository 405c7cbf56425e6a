"""How a call becomes a run: accepted or refused, recorded, watched, answered."""

from __future__ import annotations

import pytest
from scheduling import WELCOME, Cluster, context, operations, sent, started

from cloudburst.core.ids import parked_name
from cloudburst.core.messages import (
    PROTOCOL,
    Accepted,
    Hello,
    Rejected,
    Relay,
    Result,
    RunState,
    RunStatus,
    Start,
    Stop,
    Watch,
)
from cloudburst.core.requests import ClusterStatus, GetStatus
from cloudburst.core.wire import unpack_call
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs import keys
from cloudburst.kvs.base import AddMember, Delete, DropMember, RecordRun
from cloudburst.scheduler.acceptance import ANNOUNCE_AFTER
from cloudburst.scheduler.events import Send, Write


def test_a_direct_call_is_one_message_to_one_executor_and_nothing_else(cluster: Cluster) -> None:
    (command,) = cluster.call("r1")

    assert isinstance(command, Send)
    assert command.to == "a"
    assert isinstance(command.message, Start)


def test_an_executor_is_told_all_that_a_run_needs(cluster: Cluster) -> None:
    frames = [b"header", b"value"]
    commands = cluster.call("r1", arguments=(("f", "", 1), ("f", "x", 1)), frames=frames)
    ((_, start),) = sent(commands, Start)

    assert (start.run_id, start.epoch) == ("r1", 1)
    assert start.arguments == ((0, "", 1), (0, "x", 1))
    assert start.frames is frames
    told = context(start)
    assert told.plan == cluster.state.registrar.registry.plan("f", is_dag=False).id
    assert told.executors == ("@a",)
    assert told.places == (0,)
    assert told.given == (0,)
    assert (told.client, told.reply_to, told.ttl) == ("client", "@client", 60.0)


def test_a_finished_run_leaves_nothing_behind(cluster: Cluster) -> None:
    cluster.call("r1")
    assert not cluster.idle()

    assert cluster.finish("r1") == []
    assert cluster.idle()


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        ("g", "UnknownFunction", "no function 'g' is registered."),
        ("ff", "UnknownFunction", "no function 'ff' is registered; did you mean 'f'?"),
    ],
)
def test_an_unknown_function_is_refused_with_a_hint(
    cluster: Cluster, target: str, error: str, text: str
) -> None:
    commands = cluster.call("r1", target)

    assert commands == [Send("client", Rejected("r1", error, text))]
    assert cluster.idle()


def test_an_argument_for_a_step_that_does_not_exist_is_refused(cluster: Cluster) -> None:
    cluster.dag("d", ["f"])

    ((_, refusal),) = sent(
        cluster.call("r1", "d", arguments=(("g", "", 1),), frames=[b""]), Rejected
    )

    assert refusal.error == "UnknownStep"
    assert refusal.text == "'d' has no step 'g'; it has f"
    assert cluster.idle()


@pytest.mark.parametrize("counts", [(2,), (0, 1), (-1, 2), (), (1, 1)])
def test_frames_that_the_arguments_do_not_name_are_refused(
    cluster: Cluster, counts: tuple[int, ...]
) -> None:
    arguments = tuple(("f", "", count) for count in counts)

    ((_, refusal),) = sent(cluster.call("r1", arguments=arguments, frames=[b"one"]), Rejected)

    assert refusal.error == "ProtocolError"
    assert cluster.idle()


def test_a_full_queue_refuses_and_keeps_nothing_of_the_run() -> None:
    cluster = Cluster(max_waiting=2)
    cluster.register("f")
    for number in (1, 2):
        assert not sent(cluster.call(f"r{number}"), Rejected)

    commands = cluster.call("r3", store=True)

    ((to, refusal),) = sent(commands, Rejected)
    assert (to, refusal.run_id, refusal.error) == ("client", "r3", "Overloaded")
    assert "2 runs are waiting" in refusal.text
    assert len(commands) == 1
    assert cluster.runs.keys() == {"r1", "r2"}


def test_a_refused_run_may_be_called_again_when_there_is_room() -> None:
    cluster = Cluster(max_waiting=1)
    cluster.register("f")
    cluster.call("r1")
    assert sent(cluster.call("r2"), Rejected)

    cluster.join("a")
    assert cluster.call("r2") == []
    assert started(cluster.finish("r1")) == [("r2", "a")]


def test_a_call_that_comes_twice_runs_once(cluster: Cluster) -> None:
    assert started(cluster.call("r1", store=True)) == [("r1", "a")]

    assert cluster.call("r1", store=True) == []
    assert cluster.call("r1", client="the client, reconnected") == []
    assert len(cluster.runs) == 1


def test_accepted_is_said_only_when_the_record_is_written(cluster: Cluster) -> None:
    assert started(cluster.call("r1", store=True)) == [("r1", "a")]
    commands = cluster.record()
    assert not sent(commands, Accepted)

    assert not sent(cluster.pass_time(0.5), Accepted)
    cluster.write(commands)
    assert cluster.state.next_deadline() == cluster.now + ANNOUNCE_AFTER
    assert sent(cluster.pass_time(ANNOUNCE_AFTER), Accepted) == [("client", Accepted(("r1",)))]


def test_a_client_is_told_of_several_acceptances_at_once(cluster: Cluster) -> None:
    for number in range(3):
        cluster.call(f"r{number}", store=True)
    cluster.call("other", client="other client", store=True)
    cluster.write(cluster.record())

    assert sorted(sent(cluster.pass_time(ANNOUNCE_AFTER), Accepted)) == [
        ("client", Accepted(("r0", "r1", "r2"))),
        ("other client", Accepted(("other",))),
    ]
    assert not sent(cluster.pass_time(ANNOUNCE_AFTER), Accepted)


def test_nobody_is_told_of_the_acceptance_of_a_run_that_has_ended(cluster: Cluster) -> None:
    cluster.accept("r1")
    cluster.finish("r1")

    assert not sent(cluster.pass_time(ANNOUNCE_AFTER), Accepted)


def test_a_run_that_ends_at_once_needs_no_record(cluster: Cluster) -> None:
    """Its result is recorded with it; what is not accepted the client sends again."""
    commands = [*cluster.call("r1", store=True), *cluster.finish("r1"), *cluster.record()]

    assert not [command for command in commands if isinstance(command, Write)]
    assert cluster.idle()


def test_a_direct_call_is_never_recorded(cluster: Cluster) -> None:
    commands = [*cluster.call("r1"), *cluster.die("a"), *cluster.record(), *cluster.finish("r1")]

    assert not [command for command in commands if isinstance(command, Write)]


def test_a_record_holds_what_a_restarted_scheduler_needs(cluster: Cluster) -> None:
    cluster.call("r1", arguments=(("f", "", 1),), frames=[b"value"], store=True)
    commands = cluster.record()

    assert operations(commands, AddMember) == [AddMember(keys.OPEN_RUNS, "r1")]
    (record,) = operations(commands, RecordRun)
    call, client = unpack_call(record.call)
    assert client == "client"
    assert call._replace(frames=[*call.frames]) == cluster.runs["r1"].call
    assert (record.state, record.epoch, record.target) == ("RUNNING", 1, "f")
    assert (record.executor, record.ttl) == ("a", 0.0)


def test_a_run_that_waits_is_recorded_as_pending_and_later_as_running() -> None:
    cluster = Cluster()
    cluster.register("f")
    cluster.call("r1", store=True)
    (pending,) = operations(cluster.record(), RecordRun)
    (running,) = operations(cluster.join("a"), RecordRun)

    assert (pending.state, pending.epoch, pending.executor) == ("PENDING", 0, "")
    assert (running.state, running.epoch, running.executor) == ("RUNNING", 1, "a")
    assert pending.call
    assert running.call == b""


def test_a_run_that_ended_is_taken_off_the_open_runs(cluster: Cluster) -> None:
    cluster.call("r1", store=True)
    commands = cluster.record()
    assert not operations(commands, DropMember)

    ended = cluster.finish("r1")

    assert operations(ended, DropMember) == [DropMember(keys.OPEN_RUNS, "r1")]
    cluster.write(commands)
    assert cluster.idle()


def test_a_large_argument_is_deleted_with_its_run(cluster: Cluster) -> None:
    """It is listed once the run is recorded: others that are listed are taken for useless."""
    cluster.call("r1", references=("r1/0", "object"), store=True)
    recorded = cluster.record()
    assert operations(recorded, AddMember) == [AddMember(keys.OPEN_RUNS, "r1")]
    assert operations(cluster.write(recorded), AddMember) == [AddMember(keys.PARKED, "r1/0")]

    ended = cluster.finish("r1")

    assert operations(ended, Delete) == [Delete(keys.object_key("r1/0"))]
    assert DropMember(keys.PARKED, "r1/0") in operations(ended, DropMember)


def test_a_call_whose_record_could_not_be_written_is_refused(cluster: Cluster) -> None:
    """Nobody would know of it after a restart, and its end might have nowhere to go either."""
    cluster.call("r1", store=True)

    refused = cluster.refuse(cluster.record(), KVSUnavailable("the store is down"))

    assert sent(refused, Rejected) == [
        ("client", Rejected("r1", "KVSUnavailable", "not accepted: the store is down"))
    ]
    assert sent(refused, Stop) == [("a", Stop("r1", 1, "UNKNOWN"))]
    assert operations(refused, DropMember) == [DropMember(keys.OPEN_RUNS, "r1")]
    assert not sent(cluster.pass_time(ANNOUNCE_AFTER), Accepted)
    cluster.let_go("a", "r1")
    assert cluster.idle()


def test_a_run_that_ended_before_its_record_was_refused_has_ended(cluster: Cluster) -> None:
    cluster.call("r1", store=True)
    commands = cluster.record()
    cluster.finish("r1")

    assert cluster.refuse(commands) == []
    assert cluster.idle()


def test_a_refused_call_may_be_sent_again(cluster: Cluster) -> None:
    cluster.call("r1", store=True)
    cluster.refuse(cluster.record())
    cluster.let_go("a", "r1")

    assert started(cluster.call("r1", store=True)) == [("r1", "a")]
    assert sent(cluster.write(cluster.record()), Rejected) == []
    assert sent(cluster.pass_time(ANNOUNCE_AFTER), Accepted) == [("client", Accepted(("r1",)))]


def test_who_watches_a_run_is_told_now_and_when_it_ends(cluster: Cluster) -> None:
    cluster.call("r1")

    assert cluster.tell("w", Watch("r1")) == [Send("w", RunStatus("r1", "RUNNING"))]
    assert cluster.finish("r1") == [Send("w", RunStatus("r1", "SUCCEEDED"))]


def test_who_watches_twice_is_told_the_end_once(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.tell("w", Watch("r1"))
    cluster.tell("w", Watch("r1"))

    assert cluster.finish("r1", state=RunState.FAILED) == [Send("w", RunStatus("r1", "FAILED"))]


def test_a_run_that_waits_is_pending_to_who_asks() -> None:
    cluster = Cluster()
    cluster.register("f")
    cluster.call("r1")

    assert cluster.tell("w", Watch("r1")) == [Send("w", RunStatus("r1", "PENDING"))]


def test_a_run_that_ended_or_never_was_is_unknown(cluster: Cluster) -> None:
    cluster.call("r1")
    cluster.finish("r1")

    for run_id in ("r1", "never"):
        assert cluster.tell("w", Watch(run_id)) == [Send("w", RunStatus(run_id, "UNKNOWN"))]


@pytest.mark.parametrize("failed", [True, False])
def test_a_relayed_result_reaches_its_client_unopened(cluster: Cluster, failed: bool) -> None:
    frames = [b"result"]

    ((to, result),) = sent(cluster.tell("a", Relay("client", "r1", 3, failed, frames)), Result)

    assert to == "client"
    assert result == Result("r1", 3, failed, frames)
    assert result.frames is frames


def test_a_client_is_welcomed_whatever_it_speaks(cluster: Cluster) -> None:
    for protocol in (PROTOCOL, PROTOCOL + 1):
        assert cluster.tell("c", Hello(protocol, "0", "3.9")) == [Send("c", WELCOME)]


def test_the_status_counts_executors_and_runs(cluster: Cluster) -> None:
    for number in range(5):
        cluster.call(f"r{number}")

    status = ClusterStatus(7, ("a", "b"), 2, 3, ("host", "host"), (0.0, 0.0))
    assert cluster.tell("c", GetStatus(7)) == [Send("c", status)]


def test_a_call_that_is_refused_leaves_no_large_argument(cluster: Cluster) -> None:
    large = parked_name("r1", 0)

    commands = cluster.call("r1", "unknown", references=(large, "other"), store=True)

    assert sent(commands, Rejected)
    assert operations(commands, Delete) == [Delete(keys.object_key(large))]
