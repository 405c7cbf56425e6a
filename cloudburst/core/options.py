"""What a run may take, and how often it may be tried: options of functions, DAGs and calls."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, TypedDict, Unpack

from cloudburst.core.ids import check_name
from cloudburst.errors import UsageError

GIVEN_UP_AFTER = 3
"""Executors that a run may cost: more are not risked, whatever ``max_retries`` says."""

GRACE = 5.0
"""Seconds that user code has to end once it was interrupted, if nobody said otherwise."""

Options: TypeAlias = tuple[float, int, float, float]
"""`RunOptions` as they travel in messages."""

LONGEST = 10.0**9
"""Seconds, which are thirty years: more cannot be told from a mistake, nor be stored."""

MOST_RETRIES = 10**9

LARGEST_BATCH = 10_000

LONGEST_WAIT = 60_000
"""Milliseconds that a batch may wait for more calls."""

_UNSET = -1


class RunOptions(NamedTuple):
    """What was said of a run; -1 stands for what was not.

    Attributes:
        timeout: seconds from the call to the end of the run, waiting included.
        max_retries: how often it is tried again after user code raised or an executor died.
        grace_period: seconds from the interruption of user code to the end of its process.
        result_ttl: seconds that the result is kept; 0 for ever.
    """

    timeout: float = float(_UNSET)
    max_retries: int = _UNSET
    grace_period: float = float(_UNSET)
    result_ttl: float = float(_UNSET)

    def over(self, defaults: RunOptions) -> RunOptions:
        """These, and where nothing was said the others."""
        if self == NOTHING_SAID:
            return defaults
        return RunOptions(*map(_first_said, self, defaults))

    @property
    def retries_exceptions(self) -> int:
        """How often a run is tried again after user code raised."""
        return max(0, self.max_retries)

    @property
    def deaths_allowed(self) -> int:
        """How many executors it may cost before it is given up."""
        if self.max_retries == _UNSET:
            return GIVEN_UP_AFTER
        return min(GIVEN_UP_AFTER, self.max_retries + 1)


NOTHING_SAID = RunOptions()


def _first_said(own: Any, default: Any) -> Any:
    return default if own == _UNSET else own


class OptionsSaid(TypedDict, total=False):
    """Options as users write them, see `RunOptions`; None says nothing."""

    timeout: float | None
    max_retries: int | None
    grace_period: float | None
    result_ttl: float | None


def make_options(**said: Unpack[OptionsSaid]) -> RunOptions:
    """Options as users write them, checked.

    Raises:
        UsageError: there is no such option, or its value is no number or out of its range.
    """
    unknown = said.keys() - OptionsSaid.__annotations__.keys()
    if unknown:
        names = ", ".join(sorted(OptionsSaid.__annotations__))
        raise UsageError(f"there is no option {', '.join(sorted(unknown))}; there are {names}")
    max_retries = said.get("max_retries")
    if max_retries is not None and (
        type(max_retries) is not int or not 0 <= max_retries <= MOST_RETRIES
    ):
        raise UsageError(f"max_retries is a number of attempts, 0 or more, not {max_retries!r:.80}")
    return RunOptions(
        timeout=check_seconds("timeout", said.get("timeout")),
        max_retries=_UNSET if max_retries is None else max_retries,
        grace_period=check_seconds("grace_period", said.get("grace_period")),
        result_ttl=check_seconds("result_ttl", said.get("result_ttl")),
    )


def check_limit(name: str, value: int | None, what: str = "runs") -> int:
    """A number of what there may be at a time; 0 stands for None, which is any number.

    Raises:
        UsageError: it is no number of one or more.
    """
    return 0 if value is None else check_count(name, value, what)


def check_count(name: str, value: int, what: str, most: int = MOST_RETRIES) -> int:
    """A number of something, at least one.

    Raises:
        UsageError: it is no number of one or more, or of more than ``most``.
    """
    if type(value) is not int or not 0 < value <= most:
        range_ = "1 or more" if most == MOST_RETRIES else f"1 to {most:,}"
        raise UsageError(f"{name} is a number of {what}, {range_}, not {value!r:.80}")
    return value


class Batch(NamedTuple):
    """How calls are put together to one; see `batch`.

    Attributes:
        size: how many at most; 0 for not at all.
        wait: seconds to wait for more.
    """

    size: int = 0
    wait: float = 0.0


def batch(max_size: int = 64, max_wait_ms: float = 0.0) -> Batch:
    """How the calls of a function are batched, for ``register(..., batching=)``.

    Args:
        max_size: how many calls one invocation takes at most.
        max_wait_ms: milliseconds that one which could begin waits for more of them. By default
            none: a batch is what has come while the one before it ran.

    Raises:
        UsageError: they are no such numbers.
    """
    if type(max_size) is not int or not 1 < max_size <= LARGEST_BATCH:
        raise UsageError(f"max_size is a number of calls, 2 to {LARGEST_BATCH}, not {max_size!r}")
    known = isinstance(max_wait_ms, int | float) and not isinstance(max_wait_ms, bool)
    if not (known and 0 <= max_wait_ms <= LONGEST_WAIT):
        raise UsageError(
            f"max_wait_ms is a number of milliseconds, 0 to {LONGEST_WAIT:,}, not {max_wait_ms!r}"
        )
    return Batch(max_size, max_wait_ms / 1000)


def check_batching(value: bool | Batch) -> Batch:
    """What was said of batching.

    Raises:
        UsageError: it is neither a truth value nor what `batch` returns.
    """
    if isinstance(value, Batch):
        return value
    if type(value) is not bool:
        raise UsageError(f"batching is True, False or batch(max_size, max_wait_ms), not {value!r}")
    return batch() if value else Batch()


def check_resource(value: str | None) -> str:
    """The name of a resource; "" stands for None.

    Raises:
        InvalidName: nothing can be called so.
    """
    return "" if value is None else check_name(value, "resource")


def check_seconds(name: str, value: float | None) -> float:
    """A number of seconds as options carry it.

    Raises:
        UsageError: it is no number, or negative, or more than thirty years.
    """
    if value is None:
        return float(_UNSET)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} is a number of seconds, not {value!r:.80}")
    if not 0 <= value <= LONGEST:  # which nan is not
        raise UsageError(
            f"{name} is a number of seconds, 0 or more and at most {LONGEST:g}, not {value!r:.80}"
        )
    return float(value)


def check_ttl(value: float | None) -> float:
    """Seconds after which an object is gone; 0 stands for None, which is never.

    Raises:
        UsageError: it is no number, or not more than 0, or more than thirty years.
    """
    if value is None:
        return 0.0
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not (known and 0 < value <= LONGEST):
        raise UsageError(
            f"ttl is a number of seconds, more than 0 and at most {LONGEST:g}, not {value!r:.80}; "
            "without one the object stays until it is deleted"
        )
    return float(value)


def check_wait(name: str, value: float) -> float:
    """Seconds that somebody is ready to wait. Those that are over already are as good as 0.

    Raises:
        UsageError: it is no number.
    """
    bounded = -1.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        bounded = float(min(max(value, 0.0), LONGEST))
    if not bounded >= 0:  # which nan is not
        raise UsageError(f"{name} is a number of seconds, not {value!r:.80}")
    return bounded
