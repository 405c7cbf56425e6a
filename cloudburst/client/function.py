"""A registered function, called like the function itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is made.

    Attributes:
        direct_response: return the value itself, and store nothing.
        timeout: seconds to wait for a direct response, and for references to appear.
    """

    direct_response: bool = False
    timeout: float | None = None


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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it with these arguments; the library argument is added on the executor."""
        return self._caller.call_function(self.name, args, kwargs, self._options)

    def options(
        self, *, direct_response: bool | None = None, timeout: float | None = None
    ) -> CloudburstFunction:
        """The same function, called in another way.

        Args:
            direct_response: calls return the value itself, and nothing is stored.
            timeout: seconds to wait for it, and for references among the arguments.
        """
        changed = replace(
            self._options,
            direct_response=(
                self._options.direct_response if direct_response is None else direct_response
            ),
            timeout=self._options.timeout if timeout is None else timeout,
        )
        return CloudburstFunction(self._caller, self.name, changed)

    def get_name(self) -> str:
        """The name it is registered under."""
        return self.name

    def __repr__(self) -> str:
        return f"<CloudburstFunction {self.name!r}>"
