"""A registered function, called like the function itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from cloudburst.core.options import NOTHING_SAID, OptionsSaid, RunOptions, make_options
from cloudburst.serialization import NotAValue


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is made.

    Attributes:
        direct_response: return the value itself, and store nothing.
        run: what the run may take, and how often it is tried.
    """

    direct_response: bool = False
    run: RunOptions = NOTHING_SAID


class Caller(Protocol):
    """What a function asks of its connection."""

    def call_function(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Any:
        """Call a registered function."""


class CloudburstFunction:
    """A function of the cluster. Calling it returns a `CloudburstFuture`.

    Attributes:
        name: the name it is registered under.
    """

    __slots__ = ("_caller", "_options", "name")

    def __init__(self, caller: Caller, name: str, options: CallOptions = CallOptions()) -> None:
        self.name = name
        self._caller = caller
        self._options = options

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call it with these arguments; the library argument is added on the executor.

        Returns:
            A `CloudburstFuture`; the value itself with ``direct_response``.

        Raises:
            UsageError: there are too many arguments, or a keyword that cannot be sent.
            SerializationError: an argument cannot be pickled; the message says which part of it.
            Exception: as `CloudburstConnection.call_dag`.
        """
        return self._caller.call_function(self.name, args, kwargs, self._options)

    def options(
        self, *, direct_response: bool | None = None, **options: Unpack[OptionsSaid]
    ) -> CloudburstFunction:
        """The same function, called in another way. What is left out stays as it is.

        Args:
            direct_response: calls return the value itself, and nothing is stored.
            options: ``timeout``, ``max_retries``, ``grace_period`` and ``result_ttl``, as for
                `CloudburstConnection.register`.

        Returns:
            Another object for the same function; this one does not change.

        Raises:
            UsageError: there is no such option, or its value cannot be used.
        """
        before = self._options
        direct = before.direct_response if direct_response is None else bool(direct_response)
        said = make_options(**options).over(before.run)
        return CloudburstFunction(self._caller, self.name, CallOptions(direct, said))

    def get_name(self) -> str:
        """The name it is registered under."""
        return self.name

    def __reduce__(self) -> Any:
        raise NotAValue(
            "a registered function",
            "Make a DAG of it and what calls it, or use the plain function that was registered.",
        )

    def __repr__(self) -> str:
        return f"<CloudburstFunction {self.name!r}>"
