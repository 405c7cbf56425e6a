"""Operations as commands: what is sent, what may be sent twice, and what is not copied."""

from typing import Any

import pytest

from cloudburst.core.messages import RunState
from cloudburst.errors import KVSUnavailable
from cloudburst.kvs.base import (
    AddMember,
    AddMembers,
    Append,
    Commit,
    CommitRun,
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
    Operation,
    Peek,
    Put,
    PutIfAbsent,
    RawMembers,
    RecordRun,
    Scan,
    SetFields,
    TakeAll,
    Time,
    Unfit,
)
from cloudburst.kvs.channel import pack
from cloudburst.kvs.commands import LARGE, STAGED, Command, answers, encode, is_repeatable
from cloudburst.kvs.connection import outage, refusal
from cloudburst.kvs.keys import object_key
from cloudburst.kvs.urls import scrubbed

COMMIT = CommitRun("r", RunState.FAILED, 3, "e1", "why", b"result", "", 1.5)
EVERY_KIND: list[Operation] = [
    Get("k"),
    Peek("k", 3),
    Put("k", b"v"),
    PutIfAbsent("k", b"v"),
    Increment("k"),
    Exists("k"),
    Look("k"),
    Delete("k"),
    GetFields("k"),
    SetFields("k", {"f": b"v"}),
    DropField("k", "f"),
    Append("k", b"v", 1.0),
    TakeAll("k"),
    AddMember("k", "m"),
    DropMember("k", "m"),
    Members("k"),
    AddMembers("k", [b"m"]),
    DropMembers("k", [b"m"]),
    RawMembers("k"),
    CountMembers("k"),
    Scan("k"),
    Hold("k", b"me", 1.0),
    Time(),
    RecordRun("r", RunState.PENDING, 0, "t", "e", "why", b"call", 1.0),
    COMMIT,
]


def sent(*operations: Operation) -> bytes:
    return b"".join(pack(encode(operations)))


def parts(operation: Operation) -> tuple[Any, ...]:
    (command,) = encode([operation])
    return command.parts


def test_every_kind_of_operation_has_a_command() -> None:
    assert len({type(operation) for operation in EVERY_KIND}) == len(Operation.__args__)
    starts = (b"\r\n" + sent(*EVERY_KIND)).count(b"\r\n*")
    assert starts == len(encode(EVERY_KIND)) == len(EVERY_KIND)


def test_commands_travel_as_the_protocol_says() -> None:
    assert sent(Get("k"), Put("kä", b"\r\n", 1.5)) == (
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
        b"*5\r\n$3\r\nSET\r\n$3\r\nk\xc3\xa4\r\n$2\r\n\r\n\r\n$2\r\nPX\r\n$4\r\n1500\r\n"
    )


def test_large_parts_are_framed_like_small_ones() -> None:
    value = b"v" * LARGE
    command = Command(("SET", "k\udce9", value, "PX", 12), None, large=True)

    assert b"".join(pack([command])) == (
        b"*5\r\n$3\r\nSET\r\n$4\r\nk\xed\xb3\xa9\r\n$65536\r\n" + value + b"\r\n"
        b"$2\r\nPX\r\n$2\r\n12\r\n"
    )


@pytest.mark.parametrize("make", [bytes, memoryview], ids=["bytes", "memoryview"])
def test_a_large_value_is_not_copied(make: Any) -> None:
    value = make(b"v" * LARGE)
    operations: list[Operation] = [
        Get("a"),
        Put("k", value),
        SetFields("h", {"f": value}),
        Get("b"),
    ]
    pieces = pack(encode(operations))

    assert len(pieces) == 5, "small parts are joined, large ones are not"
    backing = memoryview(value).obj
    assert [memoryview(piece).obj is backing for piece in pieces] == [False, True] * 2 + [False]


def test_a_value_in_pieces_is_one_value_and_none_is_copied() -> None:
    large = bytes(LARGE)
    (command,) = encode([Put("k", (b"head", memoryview(large), b"between", large, b""))])
    pieces = pack([command])

    assert [memoryview(piece).obj is large for piece in pieces] == [False, True] * 2 + [False]
    assert b"".join(pieces) == (
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$131083\r\nhead" + large + b"between" + large + b"\r\n"
    )
    assert parts(Put("k", (b"small ", b"pieces")))[2] == b"small pieces"


def test_a_view_with_gaps_is_closed() -> None:
    assert parts(Put("k", memoryview(b"abcdef")[::2]))[2] == b"ace"
    assert parts(Put("k", memoryview(b"abcd").cast("H")))[2] == b"abcd"
    assert len(parts(Put("k", memoryview(b"abcd").cast("I")))[2]) == 4


@pytest.mark.parametrize(
    ("ttl", "milliseconds"),
    [(0.0, None), (0.0001, 1), (-5.0, 1), (0.25, 250), (1e300, 10**13), (float("inf"), 10**13)],
)
def test_times_to_live_are_milliseconds(ttl: float, milliseconds: int | None) -> None:
    expected = () if milliseconds is None else ("PX", milliseconds)

    assert parts(Put("k", b"v", ttl))[3:] == expected
    assert parts(Append("k", b"v", ttl))[-1] == (milliseconds or 0)


def test_only_what_may_happen_twice_is_repeatable() -> None:
    repeatable = {type(each).__name__ for each in EVERY_KIND if is_repeatable([each])}

    assert repeatable == {
        *("Get", "Put", "GetFields", "SetFields", "AddMember", "DropMember", "Members"),
        *("Exists", "Look", "Peek", "RawMembers", "CountMembers", "Scan"),
        *("Hold", "Time", "RecordRun"),
    }
    assert is_repeatable([Get("k"), Put("k", b"v")])
    assert not is_repeatable([Get("k"), TakeAll("k"), Put("k", b"v")])


def test_each_operation_has_one_answer() -> None:
    staged = COMMIT._replace(result=bytes(STAGED))
    commands = encode([Get("a"), staged, Delete("b"), TakeAll("l"), SetFields("h", {})])
    replies = [b"v", b"OK", 1, 0, None, b"PONG"]

    assert answers(commands, replies) == [b"v", Commit.STORED, False, [], None]


@pytest.mark.parametrize("verdict", Commit)
def test_what_became_of_a_commit_is_told_by_name(verdict: Commit) -> None:
    for size in (1, STAGED):
        commands = encode([COMMIT._replace(result=bytes(size))])
        (answer,) = answers(commands, [b"OK"] * (len(commands) - 1) + [int(verdict)])
        assert answer is verdict


def test_a_prefix_is_no_pattern() -> None:
    assert parts(Scan("a*b?c[d]\\e^", 7, 10)) == (
        *("SCAN", "7", "MATCH", "a\\*b\\?c\\[d]\\\\e^*", "COUNT", 10),
    )


def test_a_page_of_keys_comes_with_the_cursor() -> None:
    largest = 2**64 - 1
    assert parts(Scan("", largest))[1] == str(largest)
    assert answers(encode([Scan("")]), [[b"%d" % largest, [b"\xc3\xa4"]]]) == [(largest, ["ä"])]


def test_the_stores_clock_is_in_seconds() -> None:
    assert answers(encode([Time()]), [[b"1700000000", b"000250"]]) == [1_700_000_000.00025]


def test_a_script_is_told_how_many_keys_it_has() -> None:
    plain, output = parts(COMMIT), parts(COMMIT._replace(output_key="out"))

    assert (plain[2], plain[-5:-3]) == (2, (0, 0))
    assert (output[2], output[5], output[-5:-3]) == (3, object_key("out"), (3, 0))
    stage, commit = encode([COMMIT._replace(result=bytes(STAGED), output_key="out")])
    assert (commit.parts[2], commit.parts[-5:-3]) == (4, (4, 3))
    assert commit.parts[5] == stage.parts[1], "what was stored first is what is committed"
    assert commit.parts[6] == object_key("out")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://user:secret@h", "redis://user:***@h"),
        ("rediss://:secret@h:1/2", "rediss://:***@h:1/2"),
        ("redis://u:se@cret@h", "redis://u:***@h"),
        ("unix:///s.sock?db=1&password=secret", "unix:///s.sock?db=1&password=***"),
        ("unix:///s?password=secret&db=1", "unix:///s?password=***&db=1"),
        ("rediss://h?ssl_password=secret", "rediss://h?ssl_password=***"),
        ("redis://u:secret/secret@h", "redis://u:***@h"),
        ("unix:///a:b@c.sock", "unix:///a:b@c.sock"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert scrubbed(url) == shown
    for error in (outage(url, "silence", 2, 1.0), refusal(url, "OOM command not allowed")):
        assert shown in str(error)
        assert "secret" not in str(error)


def test_a_refusal_keeps_the_servers_words_and_says_what_to_do() -> None:
    assert str(refusal("redis://h", "OOM used memory > 'maxmemory'.")) == (
        "the store at redis://h refused: OOM used memory > 'maxmemory'. "
        "Raise the server's maxmemory, or delete objects."
    )
    assert str(refusal("redis://h", "ERR no idea")).endswith("refused: ERR no idea.")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Unfit),
        ("ERR value is not an integer or out of range", Unfit),
        ("ERR increment or decrement would overflow", Unfit),
        ("ERR no idea", KVSUnavailable),
        ("OOM WRONGTYPE", KVSUnavailable),
    ],
)
def test_a_refusal_for_what_is_stored_is_told_apart(words: str, kind: type[Exception]) -> None:
    assert type(refusal("redis://h", words)) is kind
