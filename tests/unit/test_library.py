"""What a running function can ask of its first argument."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
from running import ADDRESS, Stage, given

from cloudburst.cache.reader import ObjectReader
from cloudburst.errors import InvalidName, KVSUnavailable, SerializationError, UsageError
from cloudburst.executor.library import UserLibrary
from cloudburst.kvs import keys
from cloudburst.kvs.base import Put
from cloudburst.kvs.objects import read_objects
from cloudburst.serialization import CloudburstReference


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def library(stage: Stage) -> UserLibrary:
    library = UserLibrary(stage.objects, stage.post, stage.nested, "run-7", 2, ADDRESS)
    library.step = "train"
    return library


# state


def test_what_is_put_is_there_for_everyone(stage: Stage, library: UserLibrary) -> None:
    library.put("key", [1, 2])

    assert library.get("key") == [1, 2]
    assert read_objects(stage.store, ["key"]) == {"key": [1, 2]}


def test_a_missing_key_is_none_or_what_stands_for_it(library: UserLibrary) -> None:
    library.put("none", None)

    assert library.get("missing") is None
    assert library.get("missing", default="nothing") == "nothing"
    assert library.get("none", default="nothing") is None


def test_several_keys_are_a_dict(library: UserLibrary) -> None:
    library.put({"a": 1, "b": 2})

    assert library.get(["a", "b", "c"], default=0) == {"a": 1, "b": 2, "c": 0}
    assert library.get(key for key in "ab") == {"a": 1, "b": 2}
    assert library.get(("a",)) == {"a": 1}
    assert library.get([]) == {}


def test_several_values_are_put_by_a_mapping_or_two_lists(library: UserLibrary) -> None:
    library.put({"a": 1, "b": [2]})
    library.put(["c", "d"], [(3,), None])
    library.put({})

    assert library.get(["a", "b", "c", "d"], 0) == {"a": 1, "b": [2], "c": (3,), "d": None}


def test_a_list_of_keys_needs_as_many_values(library: UserLibrary) -> None:
    with pytest.raises(UsageError, match="2 keys, but 1 values"):
        library.put(["a", "b"], [1])
    assert library.get("a") is None


def test_nothing_is_put_if_one_value_cannot_be_pickled(library: UserLibrary) -> None:
    with pytest.raises(SerializationError, match=r"value of 'b'.*generator"):
        library.put({"a": 1, "b": (n for n in "x")})

    assert library.get("a") is None


@pytest.mark.parametrize(
    "key", ["", "k" * 1001, 5, b"key", None, "\ud800", CloudburstReference("k")]
)
def test_a_key_is_a_string_of_reasonable_length(library: UserLibrary, key: Any) -> None:
    for use in (
        lambda: library.get(key),
        lambda: library.get([key]),
        lambda: library.put(key, 1),
        lambda: library.put({key: 1}),
        lambda: library.put([key], [1]),
        lambda: library.delete(key),
    ):
        with pytest.raises(InvalidName, match=r"^(a|the) key "):
            use()


def test_a_list_is_not_one_key(library: UserLibrary) -> None:
    with pytest.raises(InvalidName, match="a key is a string, not list"):
        library.delete(["a"])  # type: ignore[arg-type]
    with pytest.raises(InvalidName, match="a key is a string, not list"):
        library.get([["a"]])  # type: ignore[list-item]


@pytest.mark.parametrize("value", [5, None, "ab", b"ab", {"x": 1, "y": 2}], ids=repr)
def test_several_keys_take_a_list_of_values(library: UserLibrary, value: Any) -> None:
    with pytest.raises(UsageError, match="put got several keys, but not a list of values: "):
        library.put(["a", "b"], value)
    assert library.get(["a", "b"]) == {"a": None, "b": None}


def test_keys_are_any_text(library: UserLibrary) -> None:
    for key in ("a key", "ключ", "{braces}", "new\nline", "k" * 1000):
        library.put(key, key)
        assert library.get(key) == key


def test_what_is_read_is_a_copy_of_its_own(library: UserLibrary) -> None:
    library.put({"list": [1], "small": np.zeros(10), "array": np.zeros(10_000)})
    library.get("list").append(2)
    small = library.get("small")
    small += 1

    assert library.get("list") == [1]
    assert library.get("small").sum() == 0


def test_large_arrays_that_are_read_are_read_only(library: UserLibrary) -> None:
    library.put("array", np.zeros(10_000))
    array = library.get("array")

    with pytest.raises(ValueError, match="read-only"):
        array += 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    own = array.copy()
    own += 1
    assert library.get("array").sum() == 0


def test_what_was_put_does_not_change_with_the_original(library: UserLibrary) -> None:
    array = np.zeros(10_000)
    library.put("array", array)
    array += 1

    assert library.get("array").sum() == 0


def test_delete_says_whether_there_was_something(library: UserLibrary) -> None:
    library.put("key", 1)

    assert library.delete("key") is True
    assert library.delete("key") is False
    assert library.get("key") is None


def test_reading_the_result_of_a_failed_run_raises_its_error(stage: Stage) -> None:
    stage.register(fail=lambda _: 1 / 0)
    stage.keep_failure("failed", stage.last(stage.lone("fail")))

    with pytest.raises(ZeroDivisionError):
        stage.call(lambda library: library.get("failed"))
    with pytest.raises(ZeroDivisionError):
        stage.call(lambda library: library.get(["failed"]))


def test_reading_what_is_none_of_ours(stage: Stage, library: UserLibrary) -> None:
    stage.store.execute([Put(keys.object_key("foreign"), b"{}")])

    with pytest.raises(SerializationError):
        library.get("foreign")


def test_the_errors_of_the_store_are_raised(stage: Stage) -> None:
    class Refusing:
        def execute(self, operations: object) -> list[Any]:
            raise KVSUnavailable("not now")

        def close(self) -> None: ...

    library = UserLibrary(ObjectReader(Refusing()), stage.post, stage.nested, "run", 1, ADDRESS)
    for use in (lambda: library.get("k"), lambda: library.put("k", 1), lambda: library.delete("k")):
        with pytest.raises(KVSUnavailable):
            use()


def test_the_names_of_old_programs_work(library: UserLibrary) -> None:
    library.put_object("key", 1)

    assert library.get_object("key") == 1
    assert library.getid() == library.get_id()


# messages and the rest


def test_an_id_names_the_attempt_at_the_step_and_where_it_runs(library: UserLibrary) -> None:
    assert library.get_id() == f"run-7/2/train@{ADDRESS}"
    assert "train" in repr(library)
    assert "run-7" in repr(library)


def test_a_step_may_send_messages_to_itself(stage: Stage) -> None:
    def talk(library: UserLibrary) -> Any:
        me = library.get_id()
        library.send(me, {"n": 1})
        library.send(me, [2])
        return me, library.recv(), library.recv()

    me, messages, later = stage.call(talk)
    assert messages == [(me, {"n": 1}), (me, [2])]
    assert later == []


def test_a_message_does_not_change_with_the_senders_value(stage: Stage) -> None:
    def talk(library: UserLibrary) -> Any:
        array = np.zeros(10_000)
        library.send(library.get_id(), array)
        array += 1
        ((_, received),) = library.recv()
        return received.sum()

    assert stage.call(talk) == 0


@pytest.mark.parametrize(
    "recipient",
    [
        *("", "somebody", 5, None, b"run/1/f@ipc:///a", "run/1/f@", "run/1/f", "@ipc:///a"),
        *("run/one/f@ipc:///a", "run/1/f@ipc://", "run/1/f@ipc:///a\0", "run/1/f f@ipc:///a"),
        *("run/1/f@tcp://h", "run/1/f@tcp://h:x", "run/1/f@tcp://:1", "run/1/f@udp://h:1"),
        *("run/1/f@tcp://h:0", "run/1/f@tcp://h:65536", "run/1/f@tcp://a b:1"),
    ],
)
def test_a_recipient_is_an_id(library: UserLibrary, recipient: Any) -> None:
    with pytest.raises(UsageError, match="not what get_id"):
        library.send(recipient, 1)


@pytest.mark.parametrize("recipient", ["\ud800/1/f@ipc:///a", "run/1/f@ipc:///\ud800"])
def test_a_recipient_can_be_sent(library: UserLibrary, recipient: str) -> None:
    with pytest.raises(UsageError, match=r"the recipient .* has half of a surrogate pair"):
        library.send(recipient, 1)


@pytest.mark.parametrize("timeout", ["x", None, [], math.nan, True], ids=repr)
def test_receiving_takes_a_number_of_seconds(library: UserLibrary, timeout: Any) -> None:
    with pytest.raises(UsageError, match="timeout is a number of seconds, not"):
        library.recv(timeout=timeout)


def test_a_library_is_not_a_value(library: UserLibrary) -> None:
    with pytest.raises(SerializationError, match=r"it is the user library. It is good for one"):
        library.put("key", library)
    with pytest.raises(SerializationError, match="closure 'library' is the user library"):
        library.put("key", lambda: library.get("key"))


def test_a_message_that_cannot_be_pickled(library: UserLibrary) -> None:
    with pytest.raises(SerializationError, match="the message"):
        library.send(library.get_id(), (n for n in "x"))


def test_log_lines_are_marked(library: UserLibrary, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cloudburst.user")
    library.log("epoch %d of %d", 1, 10)
    library.log("100% done")

    assert [record.getMessage() for record in caplog.records] == [
        "[train run-7] epoch 1 of 10",
        "[train run-7] 100% done",
    ]


def test_a_library_has_no_room_for_anything_else(stage: Stage) -> None:
    stage.register(keep=lambda library: setattr(library, "mine", 1))

    assert type(stage.failure(stage.lone("keep"), keep=given())) is AttributeError


def test_a_missing_key_is_waited_for(stage: Stage, library: UserLibrary) -> None:
    library.put("there", 1)
    looks: list[float] = []

    def come(seconds: float) -> bool:
        looks.append(seconds)
        if len(looks) == 3:
            library.put("late", 2)
        return False

    stage.waits = come

    assert library.get(["there", "late"], timeout=30.0) == {"there": 1, "late": 2}
    assert len(looks) < 10


def test_what_does_not_come_is_the_default(library: UserLibrary) -> None:
    assert library.get("never", default="nothing", timeout=0.01) == "nothing"
    assert library.get(["never"], timeout=0.01) == {"never": None}


def test_a_key_that_is_there_is_not_waited_for(stage: Stage, library: UserLibrary) -> None:
    library.put("there", None)
    stage.waits = lambda _: pytest.fail("it waits")

    assert library.get("there", default=0, timeout=30.0) is None


def test_seconds_to_wait_for_a_key_are_a_number(library: UserLibrary) -> None:
    with pytest.raises(UsageError, match="timeout is a number of seconds"):
        library.get("never", timeout="long")  # type: ignore[arg-type]
