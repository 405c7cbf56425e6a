"""What every store does, told once and run against each of them."""

import time

import pytest
from stores import NAMES, Bench, commit, record

from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import (
    AddMember,
    AddMembers,
    Append,
    Commit,
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
    Peek,
    Put,
    PutIfAbsent,
    RawMembers,
    SetFields,
    TakeAll,
    Time,
)
from cloudburst.kvs.keys import object_key, run_key


def test_nothing_is_stored_at_first(bench: Bench) -> None:
    assert bench.do(
        Get("k"),
        Delete("k"),
        GetFields("k"),
        DropField("k", "f"),
        TakeAll("k"),
        DropMember("k", "m"),
        Members("k"),
        Exists("k"),
        Look("k"),
        DropMembers("k", [b"m"]),
        RawMembers("k"),
        CountMembers("k"),
    ) == [None, False, {}, False, [], None, [], False, None, 0, frozenset(), 0]


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

    @pytest.mark.parametrize("size", [1, 70_000, 2_000_000])
    def test_a_value_may_come_in_pieces(self, bench: Bench, size: int) -> None:
        pieces = (b"head", memoryview(bytes(size)), b"", b"x" * size)
        whole = b"".join(pieces)
        bench.do(Put("k", pieces), commit("r", result=pieces), Put("after", b"that"))

        assert bench.do(Get("k"), Get(object_key("r")), Get("after")) == [whole, whole, b"that"]

    def test_large_and_small_values_come_back_in_one_batch(self, bench: Bench) -> None:
        values = [bytes([65 + i]) * size for i, size in enumerate([10, 200_000, 0, 70_000, 5])]
        bench.do(*(Put(f"k{i}", value) for i, value in enumerate(values)))

        assert bench.do(*(Get(f"k{i}") for i in range(len(values)))) == values

    def test_a_large_value_that_was_got_does_not_change_what_is_stored(self, bench: Bench) -> None:
        bench.do(Put("k", bytes(1_000_000)))

        got = memoryview(bench.one(Get("k")))
        if not got.readonly:
            got[:] = b"x" * 1_000_000

        assert bench.one(Get("k")) == bytes(1_000_000)

    @pytest.mark.parametrize("size", [1, 3, 100, 70_000, 1_000_000])
    def test_the_beginning_of_a_value(self, bench: Bench, size: int) -> None:
        value = bytes(range(250)) * (size // 250 + 1)
        bench.do(Put("k", value[:size]))

        assert bench.do(Peek("k", 3), Peek("k", 4096)) == [value[:size][:3], value[:size][:4096]]

    def test_what_is_missing_has_no_beginning(self, bench: Bench) -> None:
        assert bench.one(Peek("k", 4096)) == b""

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


class TestNumbers:
    def test_they_count_from_nothing(self, bench: Bench) -> None:
        assert bench.do(Increment("k"), Increment("k"), Get("k")) == [1, 2, b"2"]

    def test_what_is_no_number_is_refused_and_stays(self, bench: Bench) -> None:
        bench.do(Put("k", b"one"))

        with pytest.raises(KVSUnavailable, match="not an integer"):
            bench.do(Increment("k"))
        assert bench.one(Get("k")) == b"one"


class TestLeases:
    def test_who_comes_first_holds_it(self, bench: Bench) -> None:
        assert bench.do(Hold("k", b"a", 60.0), Hold("k", b"b", 60.0), Hold("k", b"a", 60.0)) == [
            True,
            False,
            True,
        ]
        assert bench.one(Get("k")) == b"a"

    def test_it_is_given_up_by_deleting_it(self, bench: Bench) -> None:
        assert bench.do(Hold("k", b"a", 60.0), Delete("k"), Hold("k", b"b", 60.0)) == [True] * 3

    def test_it_ends_when_it_is_not_renewed(self, bench: Bench) -> None:
        bench.do(Hold("k", b"a", 600.0), Hold("k", b"a", bench.ttl))

        bench.wait_expired(lambda: bench.one(Get("k")) is None)
        assert bench.one(Hold("k", b"b", 60.0)) is True

    def test_who_is_refused_does_not_prolong_it(self, bench: Bench) -> None:
        bench.do(Hold("k", b"a", bench.ttl), Hold("k", b"b", 600.0))

        bench.wait_expired(lambda: bench.one(Get("k")) is None)


class TestTime:
    def test_the_clock_is_the_stores(self, bench: Bench) -> None:
        now = bench.clock.now if bench.clock else time.time()

        assert now - 60 < bench.one(Time()) < now + 60

    def test_it_is_the_one_that_records_are_dated_by(self, bench: Bench) -> None:
        before, _, after = (bench.one(each) for each in (Time(), record("r"), Time()))

        accepted = float(bench.one(GetFields(run_key("r")))["accepted"])
        assert round(before, 6) <= accepted <= round(after, 6)


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
            Increment("number"),
            AddMembers("s", [b"6", b"7"]),
            DropMembers("s", [b"6", b"8"]),
            RawMembers("s"),
            CountMembers("s"),
            Exists("s"),
            Look("s"),
            Look("number"),
            Hold("hold", b"me", 60.0),
            record("r"),
            commit("r", b"6" * 1_200_000),
            record("r"),
            Delete("v"),
            Get(object_key("r")),
        ) == [
            *(None, False, b"1", None, {"f": b"3"}, True, None, [b"4"], None, ["5"], None),
            *(1, 2, 1, frozenset([b"7"]), 1, True, frozenset([b"7"]), b"1"),
            *(True, True, Commit.STORED, False, True, b"6" * 1_200_000),
        ]
