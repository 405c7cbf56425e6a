"""The scheduler's process: one socket, one store connection, one loop around `SchedulerState`."""

from __future__ import annotations

import gc
import logging
import time

from cloudburst.config import SchedulerConfig, resources_in
from cloudburst.core.ids import VERSION, new_id, python_version, run_of_parked
from cloudburst.core.messages import PROTOCOL, RunState, Welcome
from cloudburst.core.wire import decode, encode, unpack_call
from cloudburst.errors import CloudburstError, ClusterError, ProtocolError, UsageError
from cloudburst.kvs import keys
from cloudburst.kvs.base import (
    CommitRun,
    Delete,
    DropMember,
    GetFields,
    Members,
    Operation,
    Time,
)
from cloudburst.kvs.opening import ServedStore, open_store, open_writer
from cloudburst.kvs.outputs import finish
from cloudburst.life import Life
from cloudburst.scheduler.endings import stopping_in
from cloudburst.scheduler.events import (
    Event,
    Received,
    Restored,
    Send,
    Tick,
    Undelivered,
    Write,
    Written,
)
from cloudburst.scheduler.lease import Lease
from cloudburst.scheduler.policy import Policy
from cloudburst.scheduler.run import first_epoch
from cloudburst.scheduler.state import SchedulerState
from cloudburst.serialization import join_for_store, pack_cluster_failure
from cloudburst.transport import Context, Poller

_LEASE = "lease"
_LAST_WRITES = 1.0

_log = logging.getLogger(__name__)


class SchedulerServer:
    """Carries events to the state and its commands out.

    Args:
        config: address, store and limits.
        context: the process's transports.
        life: the pipe to the parent, whose end ends the server.
    """

    def __init__(self, config: SchedulerConfig, context: Context, life: Life) -> None:
        self.store = open_store(config.kvs_url)
        self.life = life
        self.inbox = context.bind(config.address)
        self.lease = Lease(self.inbox.address, new_id())
        self.writer = open_writer(config.kvs_url)
        self.poller = Poller(self.inbox, life)
        self.writer_fd = -1
        self.state = SchedulerState(
            Welcome(PROTOCOL, VERSION, python_version(), config.kvs_url),
            max_waiting=config.max_waiting,
            host_timeout=config.host_timeout,
            ttl=config.result_ttl,
            policy=_policy(config.policy),
            resources=resources_in(config.resources),
        )

    def take_over(self) -> None:
        """Take over what an earlier scheduler left in the store.

        Raises:
            ClusterError: another scheduler uses the store.
            KVSUnavailable: the store does not answer.
        """
        store = self.store
        term = self.lease.acquire(store)
        self.state.begin(term)
        functions, dags, options, open_runs, parked, clock = store.execute(
            [
                GetFields(keys.FUNCTIONS),
                GetFields(keys.DAGS),
                GetFields(keys.OPTIONS),
                Members(keys.OPEN_RUNS),
                Members(keys.PARKED),
                Time(),
            ]
        )
        self.state.registrar.registry.restore(functions, dags, options)
        records = store.execute([GetFields(keys.run_key(run_id)) for run_id in open_runs])
        ended = {
            run_id: rec
            for run_id, rec in zip(open_runs, records, strict=True)
            if not rec.get("call")
        }
        for run_id, record in ended.items():
            finish(store, run_id, record)
        store.execute([DropMember(keys.OPEN_RUNS, run_id) for run_id in ended])
        going_on = set(open_runs).difference(ended)
        useless = [name for name in parked if run_of_parked(name) not in going_on]
        store.execute([Delete(keys.object_key(name)) for name in useless])
        store.execute([DropMember(keys.PARKED, name) for name in useless])
        restored = []
        for run_id, record in zip(open_runs, records, strict=True):
            try:
                restored += [_restored(record, clock)] if record.get("call") else []
            except (ProtocolError, LookupError, ValueError) as error:
                _log.error("run %s, which was accepted, cannot be read: %s", run_id, error)
                ttl = self.state.life.admission.defaults.result_ttl
                store.execute(_given_up(run_id, first_epoch(term), error, ttl))
        # In the order of their calls, so that a run finds those whose results it waits for.
        for event in sorted(restored, key=lambda event: -event.age):
            self.feed(event)

    def serve(self) -> None:
        """Serve until the parent ends or asks to stop.

        Raises:
            ClusterError: another scheduler has taken over.
        """
        while True:
            ready = self.poller.wait(self._seconds_to_wait())
            self._keep_lease()
            if self.life.fileno() in ready and self.life.ended():
                return self._finish()
            for sender, frames in self.inbox.messages():
                self._receive(sender, frames)
            self._collect()
            self._tick()
            self._flush()

    def _keep_lease(self) -> None:
        """Before anything is decided: see that nobody else decides by now."""
        now = time.monotonic()
        if not self.lease.awake(now):
            _log.warning("this scheduler was stopped for a while; it asks whether it still is one")
            (mine,) = self.store.execute([self.lease.renewal])
            self._check_lease(mine)
        elif self.lease.is_due(now):
            self.writer.submit([self.lease.renewal], _LEASE)

    def _check_lease(self, mine: bool) -> None:
        if not mine:
            raise ClusterError("another scheduler has taken over; this one ends")

    def _finish(self) -> None:
        """What is on its way to the store arrives there before the process ends."""
        deadline = time.monotonic() + _LAST_WRITES
        while self.writer.pending and (left := deadline - time.monotonic()) > 0:
            self.poller.wait(min(left, _LAST_WRITES / 10))
            self._collect()
            self._flush()

    def feed(self, event: Event) -> None:
        """Handle an event and whatever follows from it."""
        for command in self.state.handle(event, time.monotonic()):
            match command:
                case Send(to=to, message=message):
                    if not self.inbox.send(to, encode(message)):
                        self.feed(Undelivered(to, message))
                case Write(operations=operations, token=token):
                    self.writer.submit(operations, token)

    def _receive(self, sender: str, frames: list[bytes | memoryview]) -> None:
        try:
            message = decode(frames)
        except ProtocolError as error:
            _log.warning("dropped a message from %r: %s", sender, error)
            return
        self.feed(Received(sender, message))

    def _collect(self) -> None:
        if not self.writer.pending:
            return
        for token, outcome in self.writer.collect():
            if isinstance(outcome, CloudburstError):
                _log.error("the store refused a write: %s", outcome)
            if token == _LEASE:
                # While the store does not answer, nobody else can have taken it.
                self._check_lease(not isinstance(outcome, list) or outcome[0])
            elif token:
                self.feed(Written(token, outcome))

    def _tick(self) -> None:
        deadline = self.state.next_deadline()
        if deadline is not None and time.monotonic() >= deadline:
            self.feed(Tick())

    def _flush(self) -> None:
        self.writer.flush()
        # Asked in every turn: it changes with each connection, and an idle one has no news.
        fd = self.writer.fileno() if self.writer.pending else -1
        if fd != self.writer_fd:
            if self.writer_fd >= 0:
                self.poller.discard(self.writer_fd)
            if fd >= 0:
                self.poller.add(fd)
            self.writer_fd = fd

    def _seconds_to_wait(self) -> float | None:
        deadlines = [
            self.state.next_deadline(),
            self.writer.next_deadline(),
            self.lease.next_deadline(),
        ]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(0.0, min(known) - time.monotonic()) if known else None

    def close(self) -> None:
        """Close the socket and the store connection."""
        self.inbox.close()
        self.writer.close()
        self.store.close()


def _policy(name: str) -> Policy:
    try:
        return Policy(name)
    except ValueError:
        raise UsageError(f"policy is one of {', '.join(Policy)}, not {name!r}") from None


def _restored(record: dict[str, bytes], clock: float) -> Restored:
    call, client = unpack_call(record["call"])
    age = clock - float(record["accepted"])
    stopping = stopping_in(record.get("reasons", b"").decode("utf-8", "replace"))
    return Restored(client, call, int(record["epoch"]), record["state"].decode(), age, stopping)


def _given_up(run_id: str, epoch: int, error: Exception, ttl: float) -> list[Operation]:
    """The end of a run that another version has accepted, or whose record is damaged."""
    failure = ClusterError(f"run {run_id} cannot be carried on, as its record says: {error}")
    result = join_for_store(pack_cluster_failure(failure))
    return [
        CommitRun(run_id, RunState.FAILED, epoch, "", str(failure), result, "", ttl),
        DropMember(keys.OPEN_RUNS, run_id),
    ]


def main(config: SchedulerConfig, life: Life) -> None:
    """Run a scheduler until its parent ends or it is told to stop.

    Raises:
        OSError: the address cannot be bound.
        KVSUnavailable: the store does not answer.
    """
    context = Context()
    server = SchedulerServer(config, context, life)
    try:
        _warn_of_eviction(server.store)
        server.take_over()
        server.store.close()  # made again if it is needed again
        _calm_collector()
        life.ready(server.inbox.address)
        server.serve()
    finally:
        server.close()
        context.close()


def _calm_collector() -> None:
    """What is loaded by now stays; and a run's objects are freed by counting references."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _warn_of_eviction(store: ServedStore) -> None:
    policy = store.eviction_policy()
    if policy != "noeviction":
        _log.warning(
            "the store may delete data when its memory is full (maxmemory-policy %s): accepted "
            "runs and results can be lost; set it to noeviction",
            policy,
        )
