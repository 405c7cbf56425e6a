"""A host: the real pool and lease in a model of `cloudburst.executor.host` and its zygote."""

from __future__ import annotations

import zlib
from collections import deque
from functools import partial

from cloudburst.cache.inventory import LEAST, Inventory
from cloudburst.core.hosts import (
    Drained,
    Draining,
    ExecutorDied,
    Fence,
    Heartbeat,
    Knock,
    PoolSize,
    Prefetch,
    Recount,
    Replace,
    Resize,
    Retire,
)
from cloudburst.core.messages import PROTOCOL, Message
from cloudburst.executor.host import NOBODY
from cloudburst.executor.lease import TERM, Lease
from cloudburst.executor.pool import Pool, judged
from cloudburst.executor.pool_events import (
    Beat,
    Command,
    Dismiss,
    DrainAsked,
    DropZygote,
    End,
    Event,
    ExecutorGone,
    Fork,
    Forked,
    Kill,
    Leave,
    Nudge,
    Ping,
    Pong,
    ReportDeath,
    SayDraining,
    StartZygote,
    Tick,
    ZygoteGone,
    ZygoteReady,
)
from cloudburst.kvs import keys
from cloudburst.kvs.base import Exists, Put

from .executor import ExecutorProcess
from .ground import SCHEDULER, Ground
from .network import Letter
from .process import Process, Program, Wait

ZYGOTE_START = 0.05
FORK = 0.005
REACTION = 0.0005
STOP_GRACE = 0.5
DRAIN_TIMEOUT = 5.0
IDLE_TIMEOUT = 3.0
FETCH = 0.01
MOST_CACHED = 3
"""Objects, so that there are always some that have to go."""


class Renewed:
    """The store has renewed the host's entry."""


class HostProcess(Process):
    """One host, with its zygote and its executors.

    Args:
        ground: the world.
        name: its name, and that of its machine.
        executors: how many it is to run at least.
        more: how many more while there is work for them.
        resources: what it has that functions may need.

    Attributes:
        executors: those that run or ran, by name.
        board: what each slot's executor runs.
        cached: the objects in its cache.
        inventory: what it tells of them.
    """

    def __init__(
        self,
        ground: Ground,
        name: str,
        executors: int,
        more: int = 0,
        resources: tuple[str, ...] = (),
    ) -> None:
        super().__init__(ground.clock, name, machine=name)
        self.resources = resources
        self.ground = ground
        self.size = PoolSize(executors, executors + more, executors + more, IDLE_TIMEOUT)
        self.pool = Pool(name, executors, executors + more, DRAIN_TIMEOUT)
        self.executors: dict[str, ExecutorProcess] = {}
        self.board = [""] * self.size.ceiling
        self.frozen = 0
        self.cached: dict[str, int] = {}
        self.inventory = Inventory()
        self._lease = Lease()
        self._deaths: deque[ExecutorDied] = deque()
        self._pids: dict[int, ExecutorProcess] = {}
        self._slots: dict[str, int] = {}
        self._zygote = 0
        self._leaving = False

    def main(self) -> Program[None]:
        self._feed(Tick())
        while not self._leaving:
            yield Wait(self._next_deadline() - self.clock.now)
            sign = False
            while self.inbox and not self._leaving:
                sign |= self._take(self.inbox.popleft())
            change = self._lease.look(self.clock.now, sign=sign)
            if change is not None:
                self._feed(change)
            self._feed(Tick())
        yield from self._stop()

    def living(self) -> list[ExecutorProcess]:
        """The executors that run."""
        return [executor for executor in self.executors.values() if executor.alive]

    def drain(self) -> None:
        """SIGTERM."""
        self.deliver(DrainAsked())

    def kill(self) -> None:
        """SIGKILL, which its zygote and its executors do not survive."""
        super().kill()
        self.ground.network.leave(self)
        for executor in self.living():
            self._end(executor)

    def lose_zygote(self) -> None:
        """Its zygote is killed."""
        self._zygote += 1
        # What they run when the host hears of it, is not known yet.
        self.ground.witness.unexplained += len(self.living())
        self.clock.after(REACTION, partial(self.deliver, ZygoteGone("killed by SIGKILL")))

    def freeze(self) -> None:
        """The whole machine stands still."""
        self.frozen += 1
        for process in (self, *self.living()):
            process.pause()

    def thaw(self) -> None:
        """The machine goes on."""
        self.frozen -= 1
        for process in (self, *self.living()):
            process.resume()

    def crash(self, name: str, reason: str, *, ordered: bool = False) -> None:
        """An executor's process ends."""
        executor = self.executors[name]
        if executor.alive:
            self.ground.trace.note(self.name, f"{name} dies: {reason}")
            running = self.board[self._slots[name]]
            if not ordered:
                self.ground.witness.died(running)
            self._end(executor)
            gone = ExecutorGone(name, reason, ordered, at_work=bool(running))
            self._from_zygote(gone)

    def caches(self, name: str) -> None:
        """An object was read, and is cached; or all are dropped, as if a connection was lost."""
        if self.ground.dice.random() < 0.1:
            self.cached.clear()
            self.inventory.clear()
        size = zlib.crc32(name.encode()) % 8 * LEAST // 2
        self.cached.pop(name, None)
        self.cached[name] = size
        self.inventory.add(name, size)
        if len(self.cached) > MOST_CACHED:
            oldest = next(iter(self.cached))
            del self.cached[oldest]
            self.inventory.drop([oldest])

    def _fetched(self, name: str) -> None:
        kvs = self.ground.kvs
        look = [Exists(keys.object_key(name))]
        if self.alive and kvs.answers_to(self.machine) and kvs.execute(self.name, look)[0]:
            self.caches(name)

    def _end(self, executor: ExecutorProcess) -> None:
        executor.kill()
        self.ground.network.leave(executor)

    def _from_zygote(self, event: Event) -> None:
        self.clock.after(REACTION, partial(self._hear, self._zygote, event))

    def _hear(self, zygote: int, event: Event) -> None:
        if zygote == self._zygote:
            self.deliver(event)

    def _take(self, item: object) -> bool:
        """Act on what has come. Returns whether it is a sign that others see this host."""
        match item:
            case Renewed():
                return True
            case Letter(message=Prefetch(names=names)):
                for name in names:
                    self.clock.after(FETCH, partial(self._fetched, name))
                return True
            case Letter(message=Recount(number=number)):
                self.inventory.recount(number)
                return True
            case Letter(
                message=Resize() | Retire() | Knock() | Replace() | Fence() | Drained() as order
            ):
                self._feed(order)
                return True
            case ZygoteReady() | ZygoteGone() | Forked() | ExecutorGone() | Pong() | DrainAsked():
                self._feed(item)
                return False
            case _:
                raise AssertionError(f"a host is not sent {item}")

    def _next_deadline(self) -> float:
        lease, pool = self._lease.next_deadline(), self.pool.next_deadline()
        return pool if lease is None else min(lease, pool)

    def _feed(self, event: Event) -> None:
        self.ground.trace.note(f"{self.name} takes", event)
        commands = self.pool.handle(event, self.clock.now)
        self.pool.validate()
        for command in judged(commands, self.board.__getitem__):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Beat(names=names):
                self._report_deaths()
                beat = (PROTOCOL, self.name, names, *self.size, self.resources)
                self._send(Heartbeat(*beat, *self.inventory.changes()))
                self._renew()
            case ReportDeath(name=name, reason=reason, slot=slot, blameless=blameless):
                ran, self.board[slot] = self.board[slot], ""
                running = NOBODY if blameless else ran
                self._deaths.append(ExecutorDied(self.name, name, reason, running))
                self._report_deaths()
            case SayDraining():
                if not self._send(Draining(self.name)):
                    self._leaving = True
            case Leave():
                self._leaving = True
            case _:
                self._command_zygote(command)

    def _command_zygote(self, command: Command) -> None:
        match command:
            case StartZygote():
                self._zygote += 1
                started = partial(self._hear, self._zygote, ZygoteReady())
                self.clock.after(ZYGOTE_START, started)
            case DropZygote():
                self._zygote += 1
                for executor in self.living():
                    self._end(executor)
            case Fork(name=name, slot=slot):
                self.clock.after(FORK, partial(self._fork, self._zygote, name, slot))
            case End(name=name, run_id=run_id, reason=reason):
                self.clock.after(REACTION, partial(self._kill_if_caught, name, run_id, reason))
            case Dismiss(pid=pid):
                self.clock.after(REACTION, partial(self._dismiss, self._pids[pid]))
            case Kill(pid=pid):
                self._end(self._pids[pid])
            case Nudge(pid=pid):
                self.clock.after(REACTION, self._pids[pid].knock)
            case Ping():
                self._from_zygote(Pong())

    def _fork(self, zygote: int, name: str, slot: int) -> None:
        if zygote != self._zygote or not self.alive:
            return

        def say(run_id: str) -> None:
            self.board[slot] = run_id

        def end(reason: str) -> None:
            self.crash(name, reason)

        executor = ExecutorProcess(self.ground, name, self.name, self.machine, say, end)
        executor.resources = self.resources
        executor.caches = self.caches
        self.executors[name], self._slots[name] = executor, slot
        pid = len(self.executors)
        self._pids[pid] = executor
        self.ground.network.join(executor)
        for _ in range(self.frozen):
            executor.pause()
        executor.start()
        self._from_zygote(Forked(name, pid))

    def _dismiss(self, executor: ExecutorProcess) -> None:
        executor.terminate()
        self._reap(self._zygote, executor)

    def _reap(self, zygote: int, executor: ExecutorProcess) -> None:
        """Wait for a process that ends by itself."""
        if zygote != self._zygote:
            return
        if executor.alive:
            self.clock.after(REACTION, partial(self._reap, zygote, executor))
        else:
            self.ground.network.leave(executor)
            self._from_zygote(ExecutorGone(executor.name, "exit code 0", ordered=False))

    def _kill_if_caught(self, name: str, run_id: str, reason: str) -> None:
        if name in self.executors and (not run_id or self.board[self._slots[name]] == run_id):
            self.crash(name, reason, ordered=True)

    def _send(self, message: Message) -> bool:
        return self.ground.network.send(self, SCHEDULER, message)

    def _report_deaths(self) -> None:
        while self._deaths and self._send(self._deaths[0]):
            self._deaths.popleft()

    def _renew(self) -> None:
        kvs = self.ground.kvs
        if kvs.answers_to(self.machine):
            kvs.execute(self.name, [Put(keys.host_key(self.name), b"", TERM)])
            self.clock.after(2 * kvs.delay(), partial(self.deliver, Renewed()))

    def _stop(self) -> Program[None]:
        """The host ends, after its executors."""
        for executor in self.living():
            executor.terminate()
        until = self.clock.now + STOP_GRACE
        while self.living() and self.clock.now < until:
            yield Wait(0.05, messages=False)
        for executor in self.living():
            self._end(executor)
        if self.pool.draining:
            for command in self.pool.end(self.clock.now):
                self._carry_out(command)
        self.ground.network.leave(self)
