"""Which slot a key has, and what nodes say about slots."""

from binascii import crc_hqx

import pytest

from cloudburst.kvs.base import Append, Get, Operation, Put, Time
from cloudburst.kvs.commands import encode
from cloudburst.kvs.keys import object_key, run_key, staged_key
from cloudburst.kvs.slots import Range, read_slots, redirection, slot_of, slot_of_command


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 0x31C3),  # the check value of the specification's appendix
        ("", 0),
        ("foo", 12182),  # these are in the documentation of CLUSTER KEYSLOT, and in its examples
        ("somekey", 11058),
        ("foo{hash_tag}", 2515),
        ("bar{hash_tag}", 2515),
    ],
)
def test_the_slot_of_a_key_is_that_of_the_specification(key: str, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("{user1000}.following", "user1000"),
        ("foo{}{bar}", "foo{}{bar}"),
        ("foo{{bar}}zap", "{bar"),
        ("foo{bar}{zap}", "bar"),
        ("foo{bar", "foo{bar"),
        ("foo}bar{", "foo}bar{"),
        ("a\udce9{b\N{SNOWMAN}}", "b\N{SNOWMAN}"),
    ],
)
def test_only_the_tag_counts(key: str, tag: str) -> None:
    assert slot_of(key) == crc_hqx(tag.encode("utf-8", "surrogatepass"), 0) % 16384


def test_all_keys_of_a_run_are_in_one_slot() -> None:
    keys = [run_key("c-7"), object_key("c-7"), staged_key("c-7", 3, "e")]

    assert len(set(map(slot_of, keys))) == 1


@pytest.mark.parametrize(
    ("operation", "slot"),
    [
        (Get("foo"), 12182),
        (Put("foo", b"", 1.0), 12182),
        (Append("foo", b"", 1.0), 12182),
        (Time(), None),
    ],
)
def test_a_command_has_the_slot_of_its_key(operation: Operation, slot: int | None) -> None:
    (command,) = encode([operation])

    assert slot_of_command(command) == slot


def test_nodes_say_who_has_what() -> None:
    reply = [
        [0, 99, [b"10.0.0.1", 7001, b"id", []], [b"10.0.0.9", 7009, b"id", []]],
        [100, 200, [b"node2.example", 7002, b"id", [b"ip", b"10.0.0.2"]]],
        [201, 300, [None, 7003, b"id", []]],
        [301, 400, [b"", 7003, b"id"]],
        [401, 500, [b"?", 7004, b"id"]],
    ]

    assert read_slots(reply, "asked") == [
        Range(0, 99, "10.0.0.1", 7001),
        Range(100, 200, "node2.example", 7002),
        Range(201, 300, "asked", 7003),
        Range(301, 400, "asked", 7003),
        Range(401, 500, "asked", 7004),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("MOVED 3999 127.0.0.1:6381", (3999, "127.0.0.1", 6381)),
        ("ASK 1 ::1:6381", (1, "::1", 6381)),
        ("MOVED 1 :6381", (1, "", 6381)),
        ("MOVED 1 node.example:6381 more", (1, "node.example", 6381)),
    ],
)
def test_where_a_node_sends_to(words: str, said: tuple[int, str, int]) -> None:
    assert redirection(words) == said
