"""The scheduler's process: one socket, one store connection, one loop around `SchedulerState`."""

from __future__ import annotations

import gc
import logging
import time

from cloudburst.config import SchedulerConfig
from cloudburst.core.ids import VERSION, python_version
from cloudburst.core.messages import PROTOCOL, Result, RunState, Welcome
from cloudburst.core.wire import decode, encode, unpack_call
from cloudburst.errors import CloudburstError, ProtocolError
from cloudburst.kvs import keys
from cloudburst.kvs.base import CommitRun, DropMember, GetFields, KeyValueStore, Members
from cloudburst.kvs.redis import RedisStore, RedisWriter
from cloudburst.life import Life
from cloudburst.scheduler.events import (
    Event,
    Fail,
    PeerGone,
    Received,
    Restored,
    Send,
    Tick,
    Write,
    Written,
)
from cloudburst.scheduler.state import SchedulerState
from cloudburst.serialization import join, pack_cluster_failure
from cloudburst.transport import Context, Poller

_log = logging.getLogger(__name__)


class SchedulerServer:
    """Carries events to the state and its commands out.

    Args:
        config: address, store and limits.
        context: the process's transports.
        life: the pipe to the parent, whose end ends the server.
    """

    def __init__(self, config: SchedulerConfig, context: Context, life: Life) -> None:
        self.life = life
        self.ttl = config.result_ttl
        self.inbox = context.bind(config.address)
        self.writer = RedisWriter(config.kvs_url)
        self.poller = Poller(self.inbox, life)
        self.writer_fd = -1
        self.state = SchedulerState(
            Welcome(PROTOCOL, VERSION, python_version(), config.kvs_url),
            max_waiting=config.max_waiting,
            host_timeout=config.host_timeout,
            ttl=config.result_ttl,
        )

    def restore(self, store: KeyValueStore) -> None:
        """Take over what an earlier scheduler left in the store.

        Raises:
            KVSUnavailable: the store does not answer.
        """
        functions, dags, open_runs = store.execute(
            [GetFields(keys.FUNCTIONS), GetFields(keys.DAGS), Members(keys.OPEN_RUNS)]
        )
        self.state.registrar.registry.restore(functions, dags)
        records = store.execute([GetFields(keys.run_key(run_id)) for run_id in open_runs])
        ended = [
            run_id for run_id, rec in zip(open_runs, records, strict=True) if not rec.get("call")
        ]
        store.execute([DropMember(keys.OPEN_RUNS, run_id) for run_id in ended])
        # In the order of their calls, so that a run finds those whose results it waits for.
        for record in sorted(
            (record for record in records if record.get("call")),
            key=lambda record: float(record["accepted"]),
        ):
            call, client = unpack_call(record["call"])
            self.feed(Restored(client, call, int(record["epoch"])))

    def serve(self) -> None:
        """Serve until the parent ends or asks to stop."""
        while True:
            ready = self.poller.wait(self._seconds_to_wait())
            if self.life.fileno() in ready and self.life.ended():
                return
            for sender, frames in self.inbox.messages():
                self._receive(sender, frames)
            self._collect()
            self._tick()
            self._flush()

    def feed(self, event: Event) -> None:
        """Handle an event and whatever follows from it."""
        for command in self.state.handle(event, time.monotonic()):
            match command:
                case Send(to=to, message=message):
                    if not self.inbox.send(to, encode(message)):
                        self.feed(PeerGone(to))
                case Write(operations=operations, token=token):
                    self.writer.submit(operations, token)
                case Fail():
                    self._fail(command)

    def _receive(self, sender: str, frames: list[bytes | memoryview]) -> None:
        try:
            message = decode(frames)
        except ProtocolError as error:
            _log.warning("dropped a message from %r: %s", sender, error)
            return
        self.feed(Received(sender, message))

    def _fail(self, command: Fail) -> None:
        call, error = command.call, command.error
        _log.warning("run %s failed: %s", call.run_id, error)
        frames = pack_cluster_failure(error)
        self.inbox.send(command.client, encode(Result(call.run_id, failed=True, frames=frames)))
        if call.store:
            commit = CommitRun(
                run_id=call.run_id,
                state=RunState.FAILED,
                epoch=command.epoch,
                executor="",
                reason=str(error),
                result=join(frames),
                output_key=call.output_key,
                ttl=self.ttl,
            )
            self.writer.submit([commit], 0)

    def _collect(self) -> None:
        if not self.writer.pending:
            return
        for token, outcome in self.writer.collect():
            if isinstance(outcome, CloudburstError):
                _log.error("the store refused a write: %s", outcome)
            if token:
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
        deadlines = [self.state.next_deadline(), self.writer.next_deadline()]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(0.0, min(known) - time.monotonic()) if known else None

    def close(self) -> None:
        """Close the socket and the store connection."""
        self.inbox.close()
        self.writer.close()


def main(config: SchedulerConfig, life: Life) -> None:
    """Run a scheduler until its parent ends or it is told to stop.

    Raises:
        OSError: the address cannot be bound.
        KVSUnavailable: the store does not answer.
    """
    context = Context()
    server = SchedulerServer(config, context, life)
    try:
        store = RedisStore(config.kvs_url)
        _warn_of_eviction(store)
        server.restore(store)
        store.close()
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


def _warn_of_eviction(store: RedisStore) -> None:
    policy = store.eviction_policy()
    if policy != "noeviction":
        _log.warning(
            "the store may delete data when its memory is full (maxmemory-policy %s): accepted "
            "runs and results can be lost; set it to noeviction",
            policy,
        )
