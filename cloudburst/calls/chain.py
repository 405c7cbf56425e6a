"""DAGs that are called one after another, each with the result of the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from cloudburst.calls.arguments import NamedArguments, arguments_of
from cloudburst.calls.future import CloudburstFuture
from cloudburst.calls.making import CallMaker
from cloudburst.core.messages import SOURCES, Call
from cloudburst.core.options import NOTHING_SAID, RunOptions
from cloudburst.errors import UsageError
from cloudburst.serialization import CloudburstReference

Then: TypeAlias = str | tuple[str, Mapping[str, Any]]
"""The DAG that follows another, with its own arguments if it has any."""


class ChainLink(NamedTuple):
    """A DAG of a chain, and its own arguments."""

    dag: str
    arg_map: Mapping[str, Any]

    def arguments(self, before: Call | None) -> NamedArguments:
        """Its own, and behind them the result of the call before it for every source.

        Raises:
            UsageError: ``arg_map`` is no mapping.
        """
        own = arguments_of(self.arg_map)
        if before is None:
            return own
        return [*own, (SOURCES, "", CloudburstReference(before.run_id))]


def make_chain(then: Then | Sequence[Then] | None) -> list[ChainLink]:
    """The DAGs that are called one after another, from what ``call_dag(..., then=)`` was given.

    Raises:
        UsageError: it is neither a DAG's name, nor a (name, arg_map) pair, nor a list of these.
    """
    match then:
        case None:
            return []
        case str() as name:
            return [ChainLink(name, {})]
        case (str() as name, Mapping() as arg_map):
            return [ChainLink(name, arg_map)]
        case [*links] if all(isinstance(link, str | tuple) for link in links):
            return [made for link in links for made in make_chain(link)]
    raise UsageError(
        f"then is a DAG's name, a (name, arg_map) pair, or a list of these, not {then!r:.80}"
    )


def make_calls(
    links: Sequence[ChainLink],
    maker: CallMaker,
    said: RunOptions,
    output_key: str | None,
    parent: str = "",
    *,
    store: bool = True,
) -> list[Call]:
    """The calls of all DAGs of a chain: what is said of its result is said of the last.

    Raises:
        UsageError, SerializationError, ValueTooLarge, KVSUnavailable: as `CallMaker.make`.
    """
    between = said._replace(result_ttl=NOTHING_SAID.result_ttl)
    calls: list[Call] = []
    for link in links:
        is_last = link is links[-1]
        options, key = (said, output_key) if is_last else (between, None)
        arguments = link.arguments(calls[-1] if calls else None)
        kept = store or not is_last
        call = maker.make(link.dag, arguments, options, key, parent, is_dag=True, store=kept)
        calls.append(call)
    return calls


def start_chain(
    calls: Sequence[Call], start: Callable[[Call], CloudburstFuture]
) -> CloudburstFuture:
    """Start all calls of a chain at once: each waits for the result of the one before.

    Returns:
        The future of the last.
    """
    future, *others = map(start, calls)
    for following in others:
        following.before, future = future, following
    return future
