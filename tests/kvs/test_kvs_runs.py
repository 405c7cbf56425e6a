"""How a run is recorded and how its result is stored, told once and run against each store."""

import time
from typing import Any

import pytest
from stores import NAMES, Bench, commit, record

from cloudburst.kvs.base import Commit, Get, GetFields, Put, RecordRun
from cloudburst.kvs.keys import object_key, run_key

SIZES = pytest.mark.parametrize("size", [2, 100_000, 2_000_000], ids=["small", "large", "staged"])
ENDS = pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT"])


def fields_of(bench: Bench, run_id: str = "r") -> dict[str, Any]:
    fields: dict[str, Any] = bench.one(GetFields(run_key(run_id)))
    return fields


def is_untouched(bench: Bench, before: dict[str, Any]) -> bool:
    """Whether the record is as it was, and no result was stored, nor an output."""
    values = bench.do(Get(object_key("r")), Get(object_key("out")))
    return fields_of(bench) == before and values == [None, None]


class TestRecords:
    def test_a_record_tells_how_a_run_went(self, bench: Bench) -> None:
        assert bench.do(
            record("r", "PENDING", target="d", executor="", call=b"call"),
            record("r", "RUNNING", target="d", executor="e7"),
        ) == [True, True]

        fields = fields_of(bench)
        times = {name: float(fields.pop(name)) for name in ("accepted", "started")}
        assert fields == {
            "state": b"RUNNING",
            "epoch": b"0",
            "target": b"d",
            "executor": b"e7",
            "call": b"call",
        }
        now = bench.clock.now if bench.clock else time.time()
        assert now - 60 < times["accepted"] <= times["started"] < now + 60

    def test_a_run_starts_once(self, bench: Bench) -> None:
        bench.do(record("r", "RUNNING", 0))
        first = fields_of(bench)
        if bench.clock:
            bench.clock.now += 10
        bench.do(record("r", "PENDING", 1), record("r", "RUNNING", 1, executor="e2"))

        assert fields_of(bench) == first | {"epoch": b"1", "executor": b"e2"}

    def test_what_is_cancelled_has_started(self, bench: Bench) -> None:
        bench.do(record("r", "PENDING"))
        assert "started" not in fields_of(bench)
        bench.do(record("r", "CANCELLING"))

        assert "started" in fields_of(bench)

    def test_the_first_call_is_kept(self, bench: Bench) -> None:
        bench.do(record("r", call=b"first"), record("r", call=b""), record("r", call=b"other"))

        assert fields_of(bench)["call"] == b"first"

    @pytest.mark.parametrize(
        "late",
        [
            record("r", "RUNNING", 1, executor="old", reason="old"),
            record("r", "PENDING", 1, executor="old", reason="old"),
            record("r", "CANCELLING", 1, executor="old", reason="old"),
            record("r", "PENDING", 2, executor="old"),
            record("r", "PENDING", 0, executor="old", call=b"x"),
        ],
        ids=["stale epoch", "stale and given back", "stale cancel", "back to pending", "both"],
    )
    def test_a_record_never_regresses(self, bench: Bench, late: RecordRun) -> None:
        bench.do(record("r", "RUNNING", 2))
        before = fields_of(bench)

        assert bench.one(late) is True
        assert fields_of(bench) == before

    def test_epochs_are_compared_as_numbers(self, bench: Bench) -> None:
        bench.do(record("r", epoch=9), record("r", epoch=10))

        assert fields_of(bench)["epoch"] == b"10"

    def test_a_record_expires_after_its_last_change(self, bench: Bench) -> None:
        bench.do(record("r", ttl=600.0), record("r", ttl=bench.ttl))

        bench.wait_expired(lambda: fields_of(bench) == {})

    def test_without_ttl_a_record_stays(self, bench: Bench) -> None:
        bench.do(record("r", ttl=bench.ttl), record("r", ttl=0), Put("marker", b"v", bench.ttl))

        bench.wait_expired(lambda: bench.one(Get("marker")) is None)
        assert fields_of(bench) != {}

    @ENDS
    def test_an_ended_run_is_never_opened_again(self, bench: Bench, end: str) -> None:
        bench.do(commit("r", state=end))
        before = fields_of(bench)

        for state in ("PENDING", "RUNNING", "CANCELLING"):
            assert bench.one(record("r", state, epoch=9, call=b"late", reason="late")) is False
        assert fields_of(bench) == before


class TestReasons:
    def test_each_is_a_line_with_its_epoch(self, bench: Bench) -> None:
        bench.do(
            record("r", "RUNNING", 1),
            record("r", "PENDING", 1, reason="it raised"),
            record("r", "RUNNING", 2),
            record("r", "PENDING", 2, reason="executor e died: ä"),
            record("r", "RUNNING", 3),
        )

        assert fields_of(bench)["reasons"] == "1 it raised\n2 executor e died: ä\n".encode()

    def test_a_run_goes_back_to_pending_for_a_reason(self, bench: Bench) -> None:
        bench.do(record("r", "RUNNING", 1), record("r", "PENDING", 1, reason="it raised"))

        assert fields_of(bench)["state"] == b"PENDING"

    def test_a_repeated_command_does_not_double_it(self, bench: Bench) -> None:
        told = [record("r", "RUNNING", 1), record("r", "PENDING", 1, reason="it raised")]
        bench.do(*told)
        once = fields_of(bench)
        bench.do(*told[1:])
        assert fields_of(bench) == once

        bench.do(*told)
        assert fields_of(bench) == once

    def test_nor_do_many_that_are_repeated_together(self, bench: Bench) -> None:
        # As when the connection is lost before the first answer.
        told = [
            record("r", "PENDING", 0),
            record("r", "RUNNING", 1),
            record("r", "PENDING", 1, reason="it raised"),
            record("r", "RUNNING", 2),
            record("r", "PENDING", 2, reason="it raised"),
            record("r", "RUNNING", 3),
            record("r", "CANCELLING", 3, reason="it was cancelled"),
        ]
        for count in range(1, len(told) + 1):
            bench.do(*told[:count])

        assert fields_of(bench)["reasons"] == b"1 it raised\n2 it raised\n3 it was cancelled\n"
        assert fields_of(bench)["state"] == b"CANCELLING"

    def test_the_same_reason_in_another_epoch_is_another_line(self, bench: Bench) -> None:
        bench.do(record("r", "PENDING", 1, reason="why"), record("r", "PENDING", 2, reason="why"))

        assert fields_of(bench)["reasons"] == b"1 why\n2 why\n"

    def test_they_stay_when_the_run_ends(self, bench: Bench) -> None:
        bench.do(record("r", "PENDING", 1, reason="first"), commit("r", epoch=2, reason="last"))

        fields = fields_of(bench)
        assert (fields["reasons"], fields["reason"]) == (b"1 first\n", b"last")


class TestCancelling:
    @pytest.mark.parametrize(
        "late",
        [
            record("r", "RUNNING", 2),
            record("r", "RUNNING", 3, executor="e2"),
            record("r", "PENDING", 2, reason="it raised"),
            record("r", "PENDING", 3, reason="it raised"),
        ],
    )
    def test_there_is_no_way_back(self, bench: Bench, late: RecordRun) -> None:
        bench.do(record("r", "RUNNING", 2), record("r", "CANCELLING", 2, reason="cancelled"))
        before = fields_of(bench)

        assert bench.one(late) is True
        assert fields_of(bench) == before

    def test_it_keeps_what_is_known_of_the_run(self, bench: Bench) -> None:
        bench.do(record("r", "RUNNING", 1, call=b"call"))
        before = fields_of(bench)
        bench.do(record("r", "CANCELLING", 1, reason="it took too long"))

        changed = {"state": b"CANCELLING", "reasons": b"1 it took too long\n"}
        assert fields_of(bench) == before | changed

    @SIZES
    @pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
    @pytest.mark.parametrize("epoch", [2, 3])
    def test_nothing_but_its_end_is_wanted(
        self, bench: Bench, size: int, state: str, epoch: int
    ) -> None:
        bench.do(record("r", "RUNNING", 2, call=b"call"), record("r", "CANCELLING", 2))
        before = fields_of(bench)

        late = commit("r", b"x" * size, state=state, epoch=epoch, output_key="out")
        assert bench.one(late) is Commit.STALE
        assert is_untouched(bench, before)

    @SIZES
    @pytest.mark.parametrize("end", ["CANCELLED", "TIMED_OUT"])
    def test_then_it_ends(self, bench: Bench, size: int, end: str) -> None:
        bench.do(record("r", "CANCELLING", 2, call=b"call", reason="because"))
        last = commit("r", b"x" * size, state=end, epoch=2, output_key="out", reason="why")

        assert bench.one(last) is Commit.STORED
        fields = fields_of(bench)
        assert (fields["state"], fields["reason"]) == (end.encode(), b"why")
        assert "call" not in fields
        values = bench.do(Get(object_key("r")), Get(object_key("out")))
        assert values == [b"x" * size] * 2

    def test_not_by_an_older_epoch(self, bench: Bench) -> None:
        bench.do(record("r", "CANCELLING", 2))

        assert bench.one(commit("r", state="CANCELLED", epoch=1)) is Commit.STALE
        assert fields_of(bench)["state"] == b"CANCELLING"

    def test_a_run_that_nobody_began_to_cancel_may_end_so(self, bench: Bench) -> None:
        bench.do(record("r", "PENDING", 0))

        assert bench.one(commit("r", state="CANCELLED")) is Commit.STORED


class TestCommits:
    def test_a_commit_stores_the_result_and_closes_the_record(self, bench: Bench) -> None:
        bench.do(record("r", call=b"call"))

        assert bench.one(commit("r", b"42", epoch=3, executor="e9")) is Commit.STORED
        assert bench.one(Get(object_key("r"))) == b"42"
        fields = fields_of(bench)
        assert float(fields.pop("finished")) >= float(fields.pop("accepted"))
        fields.pop("started")
        assert fields == {
            "state": b"SUCCEEDED",
            "epoch": b"3",
            "target": b"dag",
            "executor": b"e9",
            "reason": b"",
        }

    def test_without_a_record_a_commit_makes_one(self, bench: Bench) -> None:
        bench.do(commit("r", b"42", epoch=1, target="d", seconds=2.5))

        fields = fields_of(bench)
        assert (fields["state"], fields["target"], fields["epoch"]) == (b"SUCCEEDED", b"d", b"1")
        assert fields["accepted"] == fields["started"]
        took = float(fields["finished"]) - float(fields["started"])
        assert took == pytest.approx(2.5, abs=1e-5)

    def test_of_a_run_that_is_not_known_to_have_started_it_says_when(self, bench: Bench) -> None:
        bench.do(record("r", "PENDING"))
        if bench.clock:
            bench.clock.now += 10
        bench.do(commit("r", b"42", seconds=2.5))

        times = {
            name: float(fields_of(bench)[name]) for name in ("accepted", "started", "finished")
        }
        assert times["accepted"] <= times["started"] <= times["finished"]
        assert bench.clock is None or times["finished"] - times["started"] == 2.5

    @pytest.mark.parametrize(
        "operations",
        [
            [commit("r", parent="above")],
            [record("r", parent="above"), commit("r")],
            [record("r", "PENDING", parent="above"), record("r"), commit("r", parent="above")],
        ],
    )
    def test_it_is_known_whose_code_called_a_run(
        self, bench: Bench, operations: list[RecordRun]
    ) -> None:
        bench.do(record("x"), commit("x"), *operations)

        assert fields_of(bench)["parent"] == b"above"
        assert "parent" not in bench.one(GetFields(run_key("x")))

    @pytest.mark.parametrize("before", [[], [record("r", "PENDING")]])
    def test_what_ended_before_it_started_never_did(
        self, bench: Bench, before: list[RecordRun]
    ) -> None:
        bench.do(*before, commit("r", b"42", state="CANCELLED", executor=""))

        assert "started" not in fields_of(bench)
        assert "accepted" in fields_of(bench)

    def test_what_the_record_said_before_is_not_changed_by_it(self, bench: Bench) -> None:
        bench.do(record("r", target="d"))
        before = fields_of(bench)
        bench.do(commit("r", b"42", target="other", seconds=2.5))

        after = fields_of(bench)
        assert {k: after[k] for k in ("target", "accepted", "started")} == {
            k: before[k] for k in ("target", "accepted", "started")
        }

    @SIZES
    def test_the_first_commit_wins(self, bench: Bench, size: int) -> None:
        bench.do(record("r"))

        assert bench.do(
            commit("r", b"a" * size, epoch=0, output_key="out"),
            commit("r", b"b" * size, epoch=1, output_key="out"),
            commit("r", b"c" * size, epoch=2, output_key="other", state="FAILED"),
        ) == [Commit.STORED, Commit.ENDED, Commit.ENDED]
        assert bench.do(Get(object_key("r")), Get(object_key("out"))) == [b"a" * size] * 2
        assert bench.one(Get(object_key("other"))) is None
        fields = fields_of(bench)
        assert (fields["state"], fields["epoch"]) == (b"SUCCEEDED", b"0")

    @ENDS
    def test_whatever_the_end_was(self, bench: Bench, end: str) -> None:
        bench.do(commit("r", b"first", state=end))
        before = fields_of(bench)

        for state in ("SUCCEEDED", "CANCELLED"):
            assert bench.one(commit("r", b"late", state=state, epoch=5)) is Commit.ENDED
        assert fields_of(bench) == before
        assert bench.one(Get(object_key("r"))) == b"first"

    def test_a_failure_is_committed_with_its_reason(self, bench: Bench) -> None:
        failure = commit("r", b"error", state="FAILED", reason="it broke: ä")
        assert bench.one(failure) is Commit.STORED

        fields = fields_of(bench)
        assert (fields["state"], fields["reason"]) == (b"FAILED", "it broke: ä".encode())

    @SIZES
    @pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
    @ENDS
    def test_an_older_epoch_does_not_count_once_the_run_goes_on(
        self, bench: Bench, size: int, state: str, end: str
    ) -> None:
        bench.do(record("r", state, epoch=10, call=b"call"))
        before = fields_of(bench)

        late = commit("r", b"x" * size, state=end, epoch=9, output_key="out")
        assert bench.one(late) is Commit.STALE
        assert is_untouched(bench, before)

    @SIZES
    def test_the_attempt_that_is_under_way_commits_after_stale_ones(
        self, bench: Bench, size: int
    ) -> None:
        bench.do(record("r", epoch=2))

        assert bench.do(
            commit("r", b"a" * size, epoch=1, output_key="out"),
            commit("r", b"b" * size, epoch=2, output_key="out"),
            commit("r", b"c" * size, epoch=1, output_key="out"),
        ) == [Commit.STALE, Commit.STORED, Commit.ENDED]
        assert bench.do(Get(object_key("r")), Get(object_key("out"))) == [b"b" * size] * 2

    @SIZES
    def test_a_later_epoch_may_commit_before_it_is_recorded(self, bench: Bench, size: int) -> None:
        bench.do(record("r", epoch=5))

        assert bench.one(commit("r", b"x" * size, epoch=6)) is Commit.STORED

    @pytest.mark.parametrize("size", [5, 2_000_000], ids=["small", "staged"])
    def test_a_result_expires_with_its_record_but_an_output_stays(
        self, bench: Bench, size: int
    ) -> None:
        bench.do(Put(object_key("out"), b"old", 0.001))
        bench.do(commit("r", b"x" * size, ttl=bench.ttl, output_key="out"))

        ended = [Get(object_key("r")), GetFields(run_key("r"))]
        bench.wait_expired(lambda: bench.do(*ended) == [None, {}])
        assert bench.one(Get(object_key("out"))) == b"x" * size

    @pytest.mark.parametrize("size", [5, 2_000_000], ids=["small", "staged"])
    def test_an_output_named_like_the_run_stays(self, bench: Bench, size: int) -> None:
        bench.do(commit("r", b"x" * size, ttl=bench.ttl, output_key="r"))

        bench.wait_expired(lambda: bench.one(GetFields(run_key("r"))) == {})
        assert bench.one(Get(object_key("r"))) == b"x" * size

    @pytest.mark.parametrize("size", [5, 2_000_000], ids=["small", "staged"])
    def test_without_ttl_a_result_stays(self, bench: Bench, size: int) -> None:
        bench.do(record("r", ttl=bench.ttl), Put("marker", b"v", bench.ttl))
        bench.do(Put(object_key("r"), b"x", bench.ttl), commit("r", b"x" * size, ttl=0))

        bench.wait_expired(lambda: bench.one(Get("marker")) is None)
        assert bench.do(Get(object_key("r"))) == [b"x" * size]
        assert fields_of(bench)["state"] == b"SUCCEEDED"

    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    def test_any_name_names_an_output(self, bench: Bench, name: str) -> None:
        bench.do(commit("r", b"v", output_key=name, executor=name[:20], reason=name))

        assert bench.one(Get(object_key(name))) == (b"v" if name else None)
