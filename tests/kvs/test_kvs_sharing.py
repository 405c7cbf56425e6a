"""What many change at once: numbers and sets, and finding what is there. On every store."""

from __future__ import annotations

import pytest
from stores import NAMES, Bench

from cloudburst.kvs.base import (
    AddMember,
    AddMembers,
    Append,
    CountMembers,
    Delete,
    DropMembers,
    Exists,
    Get,
    Increment,
    Look,
    Members,
    Operation,
    Put,
    RawMembers,
    Scan,
    SetFields,
    Unfit,
)
from cloudburst.kvs.keys import object_key

LARGEST, SMALLEST = 2**63 - 1, -(2**63)


def scanned(bench: Bench, prefix: str, page: int = 10) -> list[str]:
    """All keys that are found, as often as they are."""
    cursor, found = bench.one(Scan(prefix, 0, page))
    while cursor:
        cursor, more = bench.one(Scan(prefix, cursor, page))
        found += more
    return sorted(found)


class TestNumbers:
    def test_they_go_up_and_down(self, bench: Bench) -> None:
        assert bench.do(
            Increment("k", 5), Increment("k", -7), Increment("k", 0), Increment("k"), Get("k")
        ) == [5, -2, -2, -1, b"-1"]

    def test_nothing_added_to_nothing_is_there(self, bench: Bench) -> None:
        assert bench.do(Increment("k", 0), Exists("k")) == [0, True]

    def test_a_number_that_was_put_is_gone_on_with(self, bench: Bench) -> None:
        assert bench.do(Put("k", b"41"), Increment("k")) == [None, 42]

    @pytest.mark.parametrize(("edge", "step"), [(LARGEST, 1), (SMALLEST, -1)])
    def test_they_have_64_bits(self, bench: Bench, edge: int, step: int) -> None:
        assert bench.do(Increment("k", edge - step), Increment("k", step)) == [edge - step, edge]

        with pytest.raises(Unfit, match="overflow"):
            bench.one(Increment("k", step))
        with pytest.raises(Unfit, match="overflow"):
            bench.one(Increment("k", edge))
        assert bench.one(Get("k")) == b"%d" % edge

    @pytest.mark.parametrize("value", [b"", b"one", b"1.0", b"01", b" 1", b"+1", b"9" * 19, b"-0"])
    def test_what_is_no_number_is_refused_and_stays(self, bench: Bench, value: bytes) -> None:
        bench.do(Put("k", value))

        with pytest.raises(Unfit, match="not an integer"):
            bench.one(Increment("k"))
        assert bench.one(Get("k")) == value

    def test_adding_keeps_the_time_to_live(self, bench: Bench) -> None:
        bench.do(Put("k", b"1", bench.ttl), Increment("k"))

        bench.wait_expired(lambda: bench.one(Get("k")) is None)
        assert bench.one(Increment("k")) == 1


class TestSets:
    def test_members_are_any_bytes_and_there_once(self, bench: Bench) -> None:
        members = [b"", b"\xff\x00\r\n", b"a", b"x" * 100_000]

        assert bench.do(
            AddMembers("k", members), AddMembers("k", [b"a", b"b", b"b"]), CountMembers("k")
        ) == [4, 1, 5]
        assert bench.one(RawMembers("k")) == {*members, b"b"}

    def test_members_are_dropped_once(self, bench: Bench) -> None:
        bench.do(AddMembers("k", [b"a", b"b"]))

        assert bench.do(DropMembers("k", [b"a", b"x"]), DropMembers("k", [b"a"])) == [1, 0]
        assert bench.one(RawMembers("k")) == {b"b"}

    def test_a_set_without_members_is_none(self, bench: Bench) -> None:
        bench.do(AddMembers("k", [b"a"]), DropMembers("k", [b"a"]))

        assert bench.do(Exists("k"), Delete("k"), Look("k")) == [False, False, None]

    def test_they_are_the_sets_that_texts_are_in(self, bench: Bench) -> None:
        bench.do(AddMember("k", "\udce9"), AddMembers("k", [b"b"]))

        assert bench.do(Members("k"), RawMembers("k")) == [
            ["b", "\udce9"],
            {b"b", "\udce9".encode("utf-8", "surrogatepass")},
        ]

    def test_many_members_travel_at_once(self, bench: Bench) -> None:
        members = [b"%d" % number for number in range(20_000)]

        assert bench.do(AddMembers("k", members), CountMembers("k")) == [20_000, 20_000]
        assert bench.one(Look("k")) == bench.one(RawMembers("k")) == frozenset(members)


class TestOtherKinds:
    @pytest.mark.parametrize(
        "operation",
        [
            *(AddMembers("value", [b"m"]), DropMembers("value", [b"m"]), RawMembers("value")),
            *(CountMembers("value"), CountMembers("list"), Increment("set"), Get("set")),
            *(Look("list"), Look("record")),
        ],
        ids=repr,
    )
    def test_are_refused_and_stay(self, bench: Bench, operation: Operation) -> None:
        bench.do(Put("value", b"v"), AddMembers("set", [b"m"]), Append("list", b"i", 0.0))
        bench.do(SetFields("record", {"f": b"v"}))

        with pytest.raises(Unfit, match="WRONGTYPE"):
            bench.one(operation)
        assert bench.do(Look("value"), Look("set")) == [b"v", {b"m"}]

    def test_are_replaced_by_a_value(self, bench: Bench) -> None:
        assert bench.do(AddMembers("k", [b"m"]), Put("k", b"v"), Get("k")) == [1, None, b"v"]


class TestWhatIsThere:
    def test_everything_exists(self, bench: Bench) -> None:
        bench.do(Put("value", b""), AddMembers("set", [b"m"]), Append("list", b"i", 0.0))
        bench.do(SetFields("record", {"f": b"v"}), Increment("number"))

        names = ["value", "set", "list", "record", "number", "nothing"]
        assert bench.do(*map(Exists, names)) == [True] * 5 + [False]
        assert scanned(bench, "") == sorted(names[:-1])

    def test_until_it_expires(self, bench: Bench) -> None:
        bench.do(Put("k", b"v", bench.ttl))

        bench.wait_expired(lambda: not bench.one(Exists("k")))
        assert scanned(bench, "") == []

    def test_a_large_value_may_be_looked_at(self, bench: Bench) -> None:
        bench.do(Put("k", bytes(1_000_000)))

        assert bench.one(Look("k")) == bytes(1_000_000)


class TestScanning:
    def test_finds_what_begins_so(self, bench: Bench) -> None:
        bench.do(*(Put(name, b"v") for name in ("", "a", "ab", "abc", "b", "ba")))

        assert scanned(bench, "ab") == ["ab", "abc"]
        assert scanned(bench, "") == ["", "a", "ab", "abc", "b", "ba"]
        assert scanned(bench, "abcd") == []

    @pytest.mark.parametrize("name", [*NAMES, "*", "?", "a?c", "[ab]", "[^a]", "\\", "\\*", "a\\"])
    def test_no_name_is_a_pattern(self, bench: Bench, name: str) -> None:
        key = object_key(name)
        bench.do(*(Put(object_key(other), b"v") for other in ("abc", "a", "b", name, f"{name}x")))

        expected = {object_key(other) for other in ("abc", "a", "b", name, f"{name}x")}
        assert set(scanned(bench, key[:-1])) == {e for e in expected if e.startswith(key[:-1])}

    def test_goes_on_from_page_to_page(self, bench: Bench) -> None:
        names = sorted(f"k{number}" for number in range(3000))
        bench.do(*(Put(name, b"v") for name in [*names, "other"]))

        assert sorted(set(scanned(bench, "k"))) == names

    def test_finds_what_stays_while_others_come_and_go(self, bench: Bench) -> None:
        stay = {f"k{number}" for number in range(500)}
        bench.do(*(Put(name, b"v") for name in stay), *(Put(f"old{n}", b"") for n in range(2000)))
        cursor, names = bench.one(Scan("k", 0, 10))
        bench.do(*(Delete(f"old{n}") for n in range(2000)))
        while cursor:
            cursor, more = bench.one(Scan("k", cursor, 10))
            names += more
            bench.do(*(Put(f"new{cursor}/{n}", b"v") for n in range(50)))

        assert set(names) == stay
