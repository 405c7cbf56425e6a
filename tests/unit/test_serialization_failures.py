"""Whatever user code raises, the caller gets an exception that says what happened where."""

from __future__ import annotations

import pickle
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import own_code
import pytest
from failing import NeedsTwo, at_the_caller, frames_of, raised, reported_only
from fresh_interpreter import in_fresh_interpreter

from cloudburst.errors import (
    CloudburstError,
    DagError,
    ExecutorDiedError,
    FunctionError,
    KeyNotFound,
    KVSUnavailable,
)
from cloudburst.serialization import (
    CloudburstReference,
    Failure,
    failure_in,
    pack,
    pack_cluster_failure,
    resolve,
    unpack,
)


class LosesNotes(Exception):
    def __reduce__(self) -> Any:
        return type(self), self.args


class OwnBase(BaseException):
    pass


# The user's own exception


def test_the_users_exception_comes_with_the_report_as_its_cause() -> None:
    table: dict[str, int] = {}

    def fail() -> object:
        return table["missing"]

    got = at_the_caller(raised(fail))

    assert type(got) is KeyError
    assert got.args == ("missing",)
    report = got.__cause__
    assert isinstance(report, FunctionError)
    assert (report.step, report.run_id, report.executor) == ("train", "r-1", "e-2")
    assert report.error == "KeyError: 'missing'"
    assert 'return table["missing"]' in report.remote_traceback
    assert got.__suppress_context__


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1),
        OSError(2, "No such file", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        AssertionError(),
        RecursionError("deep"),
        MemoryError(),
        own_code.Refusal(404, "gone"),
        NeedsTwo(7, "text"),
        KeyNotFound("nothing is stored under 'k'"),
        OwnBase("mine"),
        ValueError(np.arange(50_000.0).sum()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exception_is_rebuilt(error: BaseException) -> None:
    got = at_the_caller(error)

    assert type(got) is type(error)
    assert got.args == error.args
    assert str(got) == str(error)
    assert vars(got) == vars(error)
    assert isinstance(got.__cause__, FunctionError)


def test_attributes_of_system_errors_survive() -> None:
    got = at_the_caller(FileNotFoundError(2, "No such file", "/x"))
    assert isinstance(got, FileNotFoundError)
    assert (got.errno, got.filename) == (2, "/x")


def test_groups_survive() -> None:
    inner = ExceptionGroup("in", [KeyError("k")])
    group = ExceptionGroup("two", [ValueError("v"), NeedsTwo(1, "t"), inner])

    got = at_the_caller(group)

    assert isinstance(got, ExceptionGroup)
    assert repr(got.exceptions) == repr(group.exceptions)
    assert [type(one) for one in got.exceptions] == [ValueError, NeedsTwo, ExceptionGroup]


def test_a_group_with_something_that_cannot_be_sent_is_reported() -> None:
    group = ExceptionGroup("two", [ValueError("v"), OSError(threading.Lock())])

    assert "ValueError: v" in reported_only(group).remote_traceback


@pytest.mark.parametrize("kind", [ValueError, LosesNotes, NeedsTwo])
def test_notes_survive(kind: type[Exception]) -> None:
    error = kind(1, "text")
    error.add_note("while training")
    error.add_note("in fold 3")

    got = at_the_caller(error)

    assert type(got) is kind
    assert got.__notes__ == ["while training", "in fold 3"]


def test_causes_and_contexts_are_in_the_remote_traceback() -> None:
    def fail() -> None:
        try:
            int("x")
        except ValueError as error:
            raise RuntimeError("outer") from error

    report = at_the_caller(raised(fail)).__cause__

    assert isinstance(report, FunctionError)
    assert "invalid literal for int()" in report.remote_traceback
    assert "direct cause" in report.remote_traceback
    assert "RuntimeError: outer" in report.remote_traceback


def test_the_traceback_begins_with_the_users_code() -> None:
    """`resolve` stands here for the executor, which calls user code just so."""

    def user_code(reference: CloudburstReference) -> None:
        raise ValueError("deep inside")

    error = raised(lambda: resolve(CloudburstReference("k"), user_code))
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
    assert error.__traceback__.tb_frame.f_code.co_name == "resolve"  # type: ignore[union-attr]

    report = at_the_caller(error).__cause__

    assert isinstance(report, FunctionError)
    assert "references.py" not in report.remote_traceback
    assert "in user_code" in report.remote_traceback


def test_a_traceback_of_nothing_but_cloudburst_is_kept() -> None:
    error = raised(lambda: resolve(CloudburstReference("k"), None))  # type: ignore[arg-type]
    while Path(error.__traceback__.tb_frame.f_code.co_filename).name != "references.py":  # type: ignore[union-attr]
        error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]

    report = at_the_caller(error).__cause__

    assert isinstance(report, FunctionError)
    assert "references.py" in report.remote_traceback


def test_an_endless_message_is_clipped() -> None:
    error = at_the_caller(ValueError("begin" + "x" * 10_000_000 + "end"))

    report = error.__cause__
    assert isinstance(report, FunctionError)
    assert len(report.error) < 70_000
    assert len(report.remote_traceback) < 70_000
    assert report.error.startswith("ValueError: begin")
    assert report.error.endswith("end")


# Across processes


def test_an_exception_whose_class_is_missing_at_the_caller_is_reported() -> None:
    (frame,) = frames_of(raised(lambda: np.linalg.inv(np.zeros((2, 2)))))
    damaged = bytes(frame).replace(b"numpy.linalg\x94", b"numpy.lost_g\x94")
    assert damaged != frame

    failure = failure_in(unpack([damaged]))

    assert failure is not None
    report = failure.exception()
    assert isinstance(report, FunctionError)
    assert report.error == "LinAlgError: Singular matrix"


def test_an_exception_of_a_program_comes_home_as_the_class_it_left_as() -> None:
    script = """
        import pickle, subprocess, sys
        from cloudburst.errors import FunctionError
        from cloudburst.serialization import pack_function, unpack

        class OutOfStock(Exception):
            def __init__(self, item, left):
                super().__init__(item)
                self.left = left

        def order(item):
            raise OutOfStock(item, 0)

        worker = '''if True:
            import sys
            from cloudburst.serialization import join, pack_failure, unpack_function
            function = unpack_function(sys.stdin.buffer.read()).callable
            try:
                function("tea")
            except Exception as error:
                frames = pack_failure(error, step="order", run_id="r", executor="e")
                sys.stdout.buffer.write(join(frames))
        '''
        done = subprocess.run(
            [sys.executable, "-c", worker],
            input=pack_function(order, "order").blob, capture_output=True, check=True,
        )
        try:
            raise unpack([done.stdout]).exception()
        except OutOfStock as error:
            assert isinstance(error.__cause__, FunctionError)
            reply(f"{error} {error.left}".encode())
    """
    assert in_fresh_interpreter(script) == b"tea 0"


# Failures and values


def test_a_failure_is_not_a_value_and_a_returned_exception_is() -> None:
    error = ValueError("returned on purpose")

    assert failure_in(unpack(frames_of(error))) is not None
    assert failure_in(unpack(pack(error).frames)) is None
    assert failure_in(unpack(pack([Failure(KeyNotFound("k"))]).frames)) is None
    assert failure_in(None) is None


def test_raising_shows_the_whole_story() -> None:
    def fail() -> None:
        raise NeedsTwo(1, "original")

    with pytest.raises(NeedsTwo) as caught:
        raise at_the_caller(raised(fail))
    with pytest.raises(FunctionError, match=r"step 'train' of run r-1 failed on executor e-2"):
        raise caught.value.__cause__  # type: ignore[misc]


@pytest.mark.parametrize(
    "error",
    [
        ExecutorDiedError("executor e-2 was killed by SIGKILL three times"),
        KeyNotFound("nothing is stored under 'k'"),
        KVSUnavailable("no answer for 10 s"),
        DagError(["first.", "second."]),
        FunctionError("s", "r", "e", "ValueError: x", "Traceback"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_of_the_cluster_is_that_error_itself(error: CloudburstError) -> None:
    failure = failure_in(unpack(pack_cluster_failure(error)))

    assert failure is not None
    got = failure.exception()
    assert type(got) is type(error)
    assert got.args == error.args
    assert str(got) == str(error)
    assert got.__cause__ is None


def test_a_failure_of_the_cluster_is_packed_even_with_an_unpicklable_part() -> None:
    error = ExecutorDiedError("killed")
    error.lock = threading.Lock()  # type: ignore[attr-defined]

    got = unpack(pack_cluster_failure(error)).exception()

    assert type(got) is ExecutorDiedError
    assert str(got) == "killed"


def test_packing_a_failure_reads_no_user_code_at_the_caller_until_asked() -> None:
    (frame,) = frames_of(own_code.Refusal(1, "no"))
    script = """
        import sys
        from cloudburst.serialization import unpack
        failure = unpack([payload])
        assert "Refusal" not in repr(type(failure.error))
        reply(type(failure.exception()).__name__.encode())
    """
    assert in_fresh_interpreter(script, bytes(frame)) == b"Refusal"
    assert pickle.loads(frame).notes == ()


def test_packing_a_failure_lets_go_of_the_functions_memory() -> None:
    class Heavy:
        pass

    alive: list[weakref.ref[Heavy]] = []

    def fail() -> None:
        heavy = Heavy()
        alive.append(weakref.ref(heavy))
        raise ValueError("too heavy")

    frames_of(raised(fail))

    assert [reference() for reference in alive] == [None]
