"""Exceptions on their way from a function to its caller, for tests."""

from __future__ import annotations

from collections.abc import Callable

from cloudburst.core.messages import Buffer
from cloudburst.errors import FunctionError
from cloudburst.serialization import failure_in, join, pack_failure, split, unpack


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it was to raise")


def frames_of(error: BaseException) -> list[Buffer]:
    return pack_failure(error, step="train", run_id="r-1", executor="e-2")


def at_the_caller(error: BaseException) -> BaseException:
    """What `get` raises when a function raised ``error``, by way of the KVS."""
    blob = bytes(join(frames_of(error)))
    failure = failure_in(unpack(split(blob), shared=True))
    assert failure is not None
    return failure.exception()


def reported_only(error: BaseException) -> FunctionError:
    """The same where the exception itself must not, or cannot, be raised."""
    got = at_the_caller(error)
    assert type(got) is FunctionError
    return got


class NeedsTwo(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
