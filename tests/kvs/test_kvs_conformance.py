"""What every store does, told once and run against each of them."""

import time

import pytest
from stores import Bench, record

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import (
    AddMember,
    Append,
    CommitRun,
    Delete,
    DropField,
    DropMember,
    Get,
    GetFields,
    Members,
    Put,
    PutIfAbsent,
    SetFields,
    TakeAll,
)
from cloudburst.kvs.keys import object_key, run_key

NAMES = [
    "plain",
    "",
    "with spaces  and\ttabs",
    "line\nbreaks\r\n",
    "{braces}",
    "}{",
    "{}",
    "\N{SNOWMAN} und Umlaute äöü",
    "a lone surrogate: \udce9",
    "nul\0byte",
    "*3\r\n$3\r\nSET\r\n",
    "x" * 10_000,
]


def commit(run_id: str, result: bytes = b"result", **other: object) -> CommitRun:
    fields = {"epoch": 0, "executor": "e1", "reason": "", "output_key": "", "ttl": 60.0}
    state = str(other.pop("state", "SUCCEEDED"))
    return CommitRun(run_id=run_id, state=state, result=result, **(fields | other))  # type: ignore[arg-type]


def test_nothing_is_stored_at_first(bench: Bench) -> None:
    assert bench.do(
        Get("k"),
        Delete("k"),
        GetFields("k"),
        DropField("k", "f"),
        TakeAll("k"),
        DropMember("k", "m"),
        Members("k"),
    ) == [None, False, {}, False, [], None, []]


def test_no_operations_have_no_answers(bench: Bench) -> None:
    assert bench.do() == []


class TestValues:
    def test_a_value_is_put_and_got_and_replaced(self, bench: Bench) -> None:
        assert bench.do(Put("k", b"one"), Get("k"), Put("k", b"two"), Get("k")) == [
            None,
            b"one",
            None,
            b"two",
        ]

    def test_only_the_first_put_if_absent_stores(self, bench: Bench) -> None:
        assert bench.do(PutIfAbsent("k", b"one"), PutIfAbsent("k", b"two")) == [True, False]
        assert bench.one(Get("k")) == b"one"

    def test_a_deleted_value_is_gone(self, bench: Bench) -> None:
        assert bench.do(Put("k", b"v"), Delete("k"), Delete("k"), Get("k")) == [
            None,
            True,
            False,
            None,
        ]

    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    def test_any_name_names_an_object(self, bench: Bench, name: str) -> None:
        bench.do(Put(object_key(name), b"v"))

        assert bench.one(Get(object_key(name))) == b"v"
        assert bench.one(Get(object_key(name + "x"))) is None

    @pytest.mark.parametrize("size", [0, 1, 511, 65_535, 65_536, 65_537, 1_000_000, 64_000_000])
    def test_values_of_any_size_come_back(self, bench: Bench, size: int) -> None:
        value = (b"0123456789\r\n$" * (size // 13 + 1))[:size]
        bench.do(Put("k", value))

        assert bench.one(Get("k")) == value

    def test_large_and_small_values_come_back_in_one_batch(self, bench: Bench) -> None:
        values = [bytes([65 + i]) * size for i, size in enumerate([10, 200_000, 0, 70_000, 5])]
        bench.do(*(Put(f"k{i}", value) for i, value in enumerate(values)))

        assert bench.do(*(Get(f"k{i}") for i in range(len(values)))) == values

    def test_a_large_value_that_was_got_cannot_be_written_to(self, bench: Bench) -> None:
        bench.do(Put("k", bytes(1_000_000)))

        assert memoryview(bench.one(Get("k"))).readonly

    @pytest.mark.parametrize("size", [0, 100, 1_000_000])
    def test_a_memoryview_is_a_value(self, bench: Bench, size: int) -> None:
        backing = bytearray(b"ab" * size)
        bench.do(
            Put("whole", memoryview(backing)),
            Put("gaps", memoryview(backing)[::2]),
            Put("words", memoryview(backing).cast("H")),
        )
        backing[:] = bytes(len(backing))

        assert bench.do(Get("whole"), Get("gaps"), Get("words")) == [
            b"ab" * size,
            b"a" * size,
            b"ab" * size,
        ]

    def test_a_value_expires(self, bench: Bench) -> None:
        bench.do(Put("k", b"v", bench.ttl), Put("stays", b"v"))

        bench.wait_expired(lambda: bench.one(Get("k")) is None)
        assert bench.do(PutIfAbsent("k", b"new", bench.ttl), Delete("stays")) == [True, True]
        bench.wait_expired(lambda: bench.one(Get("k")) is None)

    def test_a_value_put_again_without_ttl_stays(self, bench: Bench) -> None:
        bench.do(Put("k", b"v", bench.ttl), Put("marker", b"v", bench.ttl), Put("k", b"v"))

        bench.wait_expired(lambda: bench.one(Get("marker")) is None)
        assert bench.one(Get("k")) == b"v"

    @pytest.mark.parametrize("ttl", [1e-9, 1e300, float("inf")])
    def test_no_ttl_is_too_short_or_too_long(self, bench: Bench, ttl: float) -> None:
        assert bench.one(Put("k", b"v", ttl)) is None

    def test_another_kind_under_the_key_is_refused(self, bench: Bench) -> None:
        bench.do(AddMember("set", "m"), Put("value", b"v"))

        for operation in (Get("set"), Members("value"), Append("value", b"x", 0), TakeAll("set")):
            with pytest.raises(KVSUnavailable, match="WRONGTYPE"):
                bench.one(operation)
        assert bench.do(Get("value"), Members("set")) == [b"v", ["m"]]


class TestFields:
    def test_fields_are_set_one_by_one(self, bench: Bench) -> None:
        assert bench.do(SetFields("k", {"a": b"1", "b": b"2"}), GetFields("k")) == [
            None,
            {"a": b"1", "b": b"2"},
        ]
        bench.do(SetFields("k", {"b": memoryview(b"3"), "\udce9 ": b""}))

        assert bench.one(GetFields("k")) == {"a": b"1", "b": b"3", "\udce9 ": b""}

    def test_a_field_is_dropped_once(self, bench: Bench) -> None:
        bench.do(SetFields("k", {"a": b"1", "b": b""}))

        assert bench.do(DropField("k", "b"), DropField("k", "b")) == [True, False]
        assert bench.one(GetFields("k")) == {"a": b"1"}

    def test_a_record_without_fields_is_none(self, bench: Bench) -> None:
        bench.do(SetFields("k", {}))
        assert bench.one(PutIfAbsent("k", b"")) is True
        bench.do(SetFields("other", {"a": b"1"}), DropField("other", "a"))
        assert bench.one(Delete("other")) is False

    def test_a_large_field_comes_back(self, bench: Bench) -> None:
        bench.do(SetFields("k", {"small": b"1", "large": bytes(300_000)}))

        assert bench.one(GetFields("k")) == {"small": b"1", "large": bytes(300_000)}

    def test_what_was_got_is_a_copy(self, bench: Bench) -> None:
        bench.do(SetFields("k", {"a": b"1"}))
        bench.one(GetFields("k")).clear()

        assert bench.one(GetFields("k")) == {"a": b"1"}


class TestLists:
    def test_items_are_taken_once_and_in_order(self, bench: Bench) -> None:
        items = [b"%d" % number for number in range(200)]
        bench.do(*(Append("k", item, 60.0) for item in items))

        assert bench.do(TakeAll("k"), TakeAll("k")) == [items, []]

    def test_a_list_expires_after_its_last_change(self, bench: Bench) -> None:
        bench.do(Append("k", b"1", 600.0), Append("k", b"2", bench.ttl))

        bench.wait_expired(lambda: bench.one(Delete("k")) is False)

    def test_without_ttl_a_list_stays(self, bench: Bench) -> None:
        bench.do(Append("k", b"1", bench.ttl), Append("k", b"2", 0))
        bench.do(Put("marker", b"v", bench.ttl))

        bench.wait_expired(lambda: bench.one(Get("marker")) is None)
        assert bench.one(TakeAll("k")) == [b"1", b"2"]


class TestSets:
    def test_members_are_sorted_and_unique(self, bench: Bench) -> None:
        bench.do(*(AddMember("k", name) for name in ["b", "a", "\N{SNOWMAN}", "b", ""]))

        assert bench.one(Members("k")) == ["", "a", "b", "\N{SNOWMAN}"]

    def test_a_dropped_member_is_gone(self, bench: Bench) -> None:
        assert bench.do(
            AddMember("k", "a"), DropMember("k", "a"), DropMember("k", "a"), Members("k")
        ) == [None, None, None, []]


class TestRuns:
    def test_a_record_tells_how_a_run_went(self, bench: Bench) -> None:
        assert bench.do(
            record("r", "PENDING", target="d", executor="", call=b"call"),
            record("r", "RUNNING", target="d", executor="e7"),
        ) == [True, True]

        fields = bench.one(GetFields(run_key("r")))
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
        first = bench.one(GetFields(run_key("r")))
        if bench.clock:
            bench.clock.now += 10
        bench.do(record("r", "PENDING", 1), record("r", "RUNNING", 1, executor="e2"))

        again = bench.one(GetFields(run_key("r")))
        assert again == first | {"epoch": b"1", "executor": b"e2"}

    def test_the_first_call_is_kept(self, bench: Bench) -> None:
        bench.do(record("r", call=b"first"), record("r", call=b""), record("r", call=b"other"))

        assert bench.one(GetFields(run_key("r")))["call"] == b"first"

    @pytest.mark.parametrize(
        "late",
        [
            record("r", "RUNNING", 1, executor="old"),
            record("r", "PENDING", 2, executor="old"),
            record("r", "PENDING", 0, executor="old", call=b"x"),
        ],
        ids=["stale epoch", "back to pending", "both"],
    )
    def test_a_record_never_regresses(self, bench: Bench, late: object) -> None:
        bench.do(record("r", "RUNNING", 2))
        before = bench.one(GetFields(run_key("r")))

        assert bench.one(late) is True
        assert bench.one(GetFields(run_key("r"))) == before

    def test_epochs_are_compared_as_numbers(self, bench: Bench) -> None:
        bench.do(record("r", epoch=9), record("r", epoch=10))

        assert bench.one(GetFields(run_key("r")))["epoch"] == b"10"

    def test_a_record_expires_after_its_last_change(self, bench: Bench) -> None:
        bench.do(record("r", ttl=600.0), record("r", ttl=bench.ttl))

        bench.wait_expired(lambda: bench.one(GetFields(run_key("r"))) == {})

    def test_without_ttl_a_record_stays(self, bench: Bench) -> None:
        bench.do(record("r", ttl=bench.ttl), record("r", ttl=0), Put("marker", b"v", bench.ttl))

        bench.wait_expired(lambda: bench.one(Get("marker")) is None)
        assert bench.one(GetFields(run_key("r"))) != {}

    def test_a_commit_stores_the_result_and_closes_the_record(self, bench: Bench) -> None:
        bench.do(record("r", call=b"call"))

        assert bench.one(commit("r", b"42", epoch=3, executor="e9")) is True
        assert bench.one(Get(object_key("r"))) == b"42"
        fields = bench.one(GetFields(run_key("r")))
        assert float(fields.pop("finished")) >= float(fields.pop("accepted"))
        fields.pop("started")
        assert fields == {
            "state": b"SUCCEEDED",
            "epoch": b"3",
            "target": b"dag",
            "executor": b"e9",
            "reason": b"",
        }

    @pytest.mark.parametrize("size", [2, 100_000, 2_000_000], ids=["small", "large", "staged"])
    def test_the_first_commit_wins(self, bench: Bench, size: int) -> None:
        bench.do(record("r"))

        assert bench.do(
            commit("r", b"a" * size, epoch=0, output_key="out"),
            commit("r", b"b" * size, epoch=1, output_key="out"),
            commit("r", b"c" * size, epoch=2, output_key="other", state="FAILED"),
        ) == [True, False, False]
        assert bench.do(Get(object_key("r")), Get(object_key("out"))) == [b"a" * size] * 2
        assert bench.one(Get(object_key("other"))) is None
        fields = bench.one(GetFields(run_key("r")))
        assert (fields["state"], fields["epoch"]) == (b"SUCCEEDED", b"0")

    def test_a_failure_is_committed_with_its_reason(self, bench: Bench) -> None:
        assert bench.one(commit("r", b"error", state="FAILED", reason="it broke: ä")) is True

        fields = bench.one(GetFields(run_key("r")))
        assert (fields["state"], fields["reason"]) == (b"FAILED", "it broke: ä".encode())

    @pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
    def test_an_ended_run_is_never_opened_again(self, bench: Bench, state: str) -> None:
        bench.do(commit("r", state=state))
        before = bench.one(GetFields(run_key("r")))

        assert bench.one(record("r", "RUNNING", epoch=9, call=b"late")) is False
        assert bench.one(GetFields(run_key("r"))) == before

    def test_an_older_epoch_may_commit_while_the_run_is_open(self, bench: Bench) -> None:
        bench.do(record("r", epoch=5))

        assert bench.one(commit("r", epoch=4)) is True

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
    def test_without_ttl_a_result_stays(self, bench: Bench, size: int) -> None:
        bench.do(record("r", ttl=bench.ttl), Put("marker", b"v", bench.ttl))
        bench.do(Put(object_key("r"), b"x", bench.ttl), commit("r", b"x" * size, ttl=0))

        bench.wait_expired(lambda: bench.one(Get("marker")) is None)
        assert bench.do(Get(object_key("r"))) == [b"x" * size]
        assert bench.one(GetFields(run_key("r")))["state"] == b"SUCCEEDED"

    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    def test_any_name_names_an_output(self, bench: Bench, name: str) -> None:
        bench.do(commit("r", b"v", output_key=name, executor=name[:20], reason=name))

        assert bench.one(Get(object_key(name))) == (b"v" if name else None)


class TestBatches:
    def test_a_thousand_operations_answer_in_order(self, bench: Bench) -> None:
        puts = [Put(f"k{number}", b"%d" % number) for number in range(500)]
        gets = [Get(f"k{number}") for number in range(500)]
        mixed = [operation for pair in zip(puts, gets, strict=True) for operation in pair]

        assert bench.do(*mixed) == [a for number in range(500) for a in (None, b"%d" % number)]

    def test_every_kind_in_one_batch(self, bench: Bench) -> None:
        assert bench.do(
            Put("v", b"1"),
            PutIfAbsent("v", b"2"),
            Get("v"),
            SetFields("h", {"f": b"3"}),
            GetFields("h"),
            DropField("h", "f"),
            Append("l", b"4", 60.0),
            TakeAll("l"),
            AddMember("s", "5"),
            Members("s"),
            DropMember("s", "5"),
            record("r"),
            commit("r", b"6" * 1_200_000),
            record("r"),
            Delete("v"),
            Get(object_key("r")),
        ) == [
            *(None, False, b"1", None, {"f": b"3"}, True, None, [b"4"], None, ["5"], None),
            *(True, True, False, True, b"6" * 1_200_000),
        ]
