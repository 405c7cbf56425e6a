"""Functions that raise: the caller gets the exception itself, and the executor lives."""

import threading
from typing import Any

import pytest
from clusters import SOON, call

from cloudburst import CloudburstConnection, FunctionError


class Rejected(Exception):
    """An exception of the test's own, with attributes."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason, code)
        self.reason = reason
        self.code = code


class Unrebuildable(Exception):
    """Its constructor does not take what pickle would pass it, and it holds a lock."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")
        self.lock = threading.Lock()


@pytest.mark.parametrize("direct", [True, False])
def test_the_users_own_exception_is_raised(ours: CloudburstConnection, direct: bool) -> None:
    def reject(_: object, n: int) -> None:
        raise Rejected("too many", n)

    ours.register(reject, "reject")
    ours.register_dag("d", ["incr", "reject", "square"], [("incr", "reject"), ("reject", "square")])
    with pytest.raises(Rejected, match="too many") as raised:
        ours.call_dag("d", {"incr": 41}, direct_response=direct).get(SOON)

    assert (raised.value.reason, raised.value.code) == ("too many", 42)
    cause = raised.value.__cause__
    assert isinstance(cause, FunctionError)
    assert cause.step == "reject"
    assert cause.executor in ours.status().executors
    assert "Rejected" in cause.error
    assert "in reject" in cause.remote_traceback
    assert 'raise Rejected("too many", n)' in cause.remote_traceback
    assert "cloudburst/executor" not in cause.remote_traceback


def test_failure_is_found_by_everybody_who_asks(ours: CloudburstConnection) -> None:
    failed = ours.register(lambda _: 1 / 0, "divide")()

    with pytest.raises(ZeroDivisionError) as raised:
        failed.get(SOON)
    assert isinstance(raised.value.__cause__, FunctionError)
    assert raised.value.__cause__.run_id == failed.obj_id
    with pytest.raises(ZeroDivisionError):
        ours.future(failed.obj_id).get(SOON)
    with pytest.raises(ZeroDivisionError):
        ours.get_object(failed.obj_id)
    assert isinstance(failed.exception(SOON), ZeroDivisionError)


def test_exception_with_notes_and_a_cause(ours: CloudburstConnection) -> None:
    def fail(_: object) -> None:
        try:
            dict[str, int]()["missing"]
        except KeyError as error:
            error.add_note("looked everywhere")
            raise RuntimeError("no luck") from error

    with pytest.raises(RuntimeError, match="no luck") as raised:
        ours.register(fail, "fail")().get(SOON)
    assert "looked everywhere" in str(raised.value.__cause__)
    assert "KeyError: 'missing'" in str(raised.value.__cause__)


def test_exception_that_cannot_be_rebuilt_is_a_function_error(
    ours: CloudburstConnection,
) -> None:
    def fail(_: object) -> None:
        raise Unrebuildable(1, 2)

    with pytest.raises(FunctionError, match="Unrebuildable: 1 2") as raised:
        ours.register(fail, "fail")().get(SOON)
    assert raised.value.step == "fail"


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(7)]
)
@pytest.mark.parametrize("direct", [True, False])
def test_exceptions_that_would_end_a_program_do_not(
    ours: CloudburstConnection, error: BaseException, direct: bool
) -> None:
    def leave(_: object) -> None:
        raise error

    ours.register(leave, "leave")
    with pytest.raises(FunctionError, match=type(error).__name__):
        call(ours, "leave", direct_response=direct).get(SOON)


def test_class_whose_init_raises(ours: CloudburstConnection) -> None:
    class Broken:
        def __init__(self) -> None:
            raise Rejected("no model", 1)

        def run(self) -> None: ...

    ours.register(Broken, "broken")
    ours.register_dag("d", ["broken"], [])

    for _ in range(2):
        with pytest.raises(Rejected, match="no model"):
            call(ours, "broken").get(SOON)
        with pytest.raises(Rejected, match="no model"):
            ours.call_dag("d", {}).get(SOON)


def test_one_failure_among_many_runs(ours: CloudburstConnection) -> None:
    def picky(_: object, n: int) -> int:
        if n % 10 == 3:
            raise Rejected("three", n)
        return n

    ours.register(picky, "picky")
    steps: list[Any] = ["incr", "picky", "square", ("join", "picky2")]
    ours.register(lambda _, a, b: (a, b), "picky2")
    edges = [("incr", "picky"), ("incr", "square"), ("picky", "join"), ("square", "join")]
    ours.register_dag("d", steps, edges)

    futures = [ours.call_dag("d", {"incr": n}) for n in range(100)]

    for n, future in enumerate(futures, 1):
        if n % 10 == 3:
            with pytest.raises(Rejected):
                future.get(SOON)
        else:
            assert future.get(SOON) == (n, n * n)
