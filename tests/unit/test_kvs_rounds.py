"""In which order operations go to nodes that know nothing of each other."""

from typing import Any

import pytest

from cloudburst.kvs.base import (
    AddMember,
    Commit,
    CommitRun,
    Delete,
    DropMember,
    Get,
    Members,
    Operation,
    Put,
    RecordRun,
    SetFields,
    TakeAll,
    Time,
)
from cloudburst.kvs.keys import object_key, run_key
from cloudburst.kvs.rounds import Errand, Rounds

RECORD = RecordRun("r", "PENDING", 0, "f", "", "", b"call", 60.0)
COMMIT = CommitRun("r", "SUCCEEDED", 0, "e", "", b"value", "", 60.0)


class Anywhere:
    """A node that has all slots."""

    def node_of(self, slot: int | None) -> str:
        return "node"

    def first_slots(self) -> list[int]:
        return [0]


def rounds_of(operations: list[Operation]) -> Rounds:
    return Rounds(operations, Anywhere())


def words(errands: list[Errand]) -> list[str]:
    """What is sent: the verb and the key; scripts by their keys alone."""
    said = []
    for errand in errands:
        verb, *rest = errand.command.parts
        said.append(str(rest[2]) if verb == "EVALSHA" else f"{verb} {' '.join(map(str, rest[:1]))}")
    return said


def play(rounds: Rounds, replies: dict[str, Any]) -> list[list[str]]:
    """All rounds, with these replies and b"" to everything else."""
    played = []
    while errands := rounds.next():
        played.append(words(errands))
        for errand, word in zip(errands, words(errands), strict=True):
            errand.reply = replies.get(word, b"")
    return played


@pytest.mark.parametrize(
    "operations",
    [
        [Put(f"k{number}", b"") for number in range(100)],
        [Delete(f"k{number}") for number in range(100)],
        [Get("a"), Delete("b"), TakeAll("c"), Time()],
        [AddMember("open", "r"), RECORD],
        [Delete(object_key("r")), Delete(run_key("r"))],
        [Put("k{a}", b""), AddMember("s{a}", "k"), Get("elsewhere")],
        [COMMIT, COMMIT._replace(run_id="s"), COMMIT._replace(run_id="t")],
    ],
)
def test_what_does_not_depend_on_each_other_goes_at_once(operations: list[Operation]) -> None:
    assert len(play(rounds_of(operations), {})) == 1


@pytest.mark.parametrize(
    "operations",
    [
        [COMMIT, DropMember("open", "r")],
        [Put("code", b""), SetFields("functions", {"f": b""})],
        [Delete("object"), DropMember("parked", "object")],
        [Put("object", b""), AddMember("names", "object")],
    ],
)
def test_what_names_or_removes_comes_after_what_it_is_about(operations: list[Operation]) -> None:
    first, second = play(rounds_of(operations), {})

    assert (len(first), len(second)) == (1, 1)


def test_answers_are_in_the_order_of_the_operations() -> None:
    rounds = rounds_of([Get("a"), COMMIT, DropMember("open", "r"), Members("open"), Delete("b")])

    played = play(rounds, {"GET a": b"of a", run_key("r"): 1, "SMEMBERS open": [b"x"], "DEL b": 1})
    assert played == [["GET a", run_key("r")], ["SREM open", "SMEMBERS open"], ["DEL b"]]
    assert rounds.answers() == [b"of a", Commit.STORED, None, ["x"], True]


class TestOutputs:
    def test_one_in_the_slot_of_the_run_is_stored_with_it(self) -> None:
        (errands,) = [rounds_of([COMMIT._replace(output_key="r")]).next()]

        assert errands[0].then is None
        assert object_key("r") in errands[0].command.parts

    def test_another_one_is_stored_once_the_run_has_ended_by_it(self) -> None:
        rounds = rounds_of([COMMIT._replace(output_key="out"), DropMember("open", "r")])

        assert play(rounds, {run_key("r"): 1}) == [
            [run_key("r")],
            [f"SET {object_key('out')}"],
            [f"HDEL {run_key('r')}"],
            ["SREM open"],
        ]
        assert rounds.answers() == [Commit.STORED, None]

    @pytest.mark.parametrize("reply", [0, 2])
    def test_not_if_it_has_not(self, reply: int) -> None:
        rounds = rounds_of([COMMIT._replace(output_key="out")])

        assert len(play(rounds, {run_key("r"): reply})) == 1
        assert rounds.answers() == [Commit(reply)]

    def test_if_it_may_be_missing_what_was_committed_first_is_stored(self) -> None:
        rounds = rounds_of([COMMIT._replace(output_key="out", result=b"late")])
        sent = [words(rounds.next())]
        rounds._now[0].reply = 3
        sent.append(words(rounds.next()))
        rounds._now[0].reply = b"first"
        (put,) = rounds.next()

        assert sent == [[run_key("r")], [f"GET {object_key('r')}"]]
        assert put.command.parts[:3] == ("SET", object_key("out"), b"first")
        put.reply = b"OK"
        (drop,) = rounds.next()
        drop.reply = 1
        assert rounds.next() == []
        assert rounds.answers() == [Commit.ENDED]

    def test_unless_it_is_gone(self) -> None:
        rounds = rounds_of([COMMIT._replace(output_key="out")])

        sent = play(rounds, {run_key("r"): 3, f"GET {object_key('r')}": None})
        assert len(sent) == 2

    def test_large_ones_are_staged_on_the_node_of_the_run(self) -> None:
        rounds = rounds_of([COMMIT._replace(output_key="out", result=bytes(2_000_000))])

        stage, call = rounds.next()
        assert stage.slot == call.slot
        assert call.command.parts[-1] == "out"

    def test_whatever_comes_after_a_commit_finds_the_output(self) -> None:
        rounds = rounds_of([COMMIT._replace(output_key="out"), Get(object_key("out"))])

        *_, last = play(rounds, {run_key("r"): 1})
        assert last == [f"GET {object_key('out')}"]
