"""How a call is made: its arguments packed, its limits checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cloudburst.calls.arguments import NamedArguments, pack_arguments
from cloudburst.calls.link import CallLink
from cloudburst.calls.parking import Leave, Parking
from cloudburst.core.messages import Call
from cloudburst.core.options import NOTHING_SAID, RunOptions
from cloudburst.kvs.base import KeyValueStore
from cloudburst.kvs.objects import check_size

APPEARING = 0.9
"""Of the time limit of a run, the part in which references have to appear: if one does not, the
error names the key, and not only the limit."""


class CallMaker:
    """Makes the calls of one client, or of one executor.

    Args:
        link: knows its own address.
        run_ids: the ids of its runs.
        store: gives the KVS, for large arguments.
        patience: seconds that references may take to appear if a call has no time limit.
        leave: see `Parking`.
    """

    def __init__(
        self,
        link: CallLink,
        run_ids: Iterator[str],
        store: Callable[[], KeyValueStore],
        patience: float,
        leave: Leave = lambda _name, _pieces: None,
    ) -> None:
        self._link = link
        self._run_ids = run_ids
        self._store = store
        self._patience = patience
        self._leave = leave

    def make(
        self,
        target: str,
        arguments: NamedArguments,
        options: RunOptions = NOTHING_SAID,
        output_key: str | None = None,
        parent: str = "",
        *,
        is_dag: bool,
        store: bool = True,
        warm: int = 0,
    ) -> Call:
        """A call, as it is sent.

        Args:
            target: the DAG or function.
            arguments: those that are given.
            options: what the run may take.
            output_key: a further key to store the result under.
            parent: the run whose code calls, or "".
            is_dag: whether the target is a DAG.
            store: whether the result is stored.
            warm: on how many executors code is only to be loaded; 0 to run it.

        Raises:
            UsageError: there are too many arguments.
            SerializationError: one cannot be pickled.
            ValueTooLarge: one is too large for the KVS, or the call for a message.
            KVSUnavailable: the KVS does not take a large one.
        """
        run_id = next(self._run_ids)
        parking = Parking(run_id, self._store, self._leave) if store else None
        spec, frames, references, readers = pack_arguments(arguments, parking)
        if store:
            check_size(sum(map(len, frames)), f"the call of {target!r}")
        limit = options.timeout
        return Call(
            run_id=run_id,
            target=target,
            is_dag=is_dag,
            arguments=spec,
            references=references,
            reply_to=self._link.reply_to,
            store=store,
            output_key=output_key or "",
            patience=limit * APPEARING if limit > 0 else self._patience,
            options=options,
            parent=parent,
            warm=warm,
            readers=readers,
            frames=frames,
        )
