"""Carries the faults out, and starts again what has died, as a supervisor would."""

from __future__ import annotations

import heapq
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeAlias

import psutil

from .cluster import DRAIN, Cluster, Process, is_alive, signal_all
from .faults import Action, Fault, Happened, Part

Follow: TypeAlias = Callable[[], None]

_SIGNALS = {
    Action.KILL: signal.SIGKILL,
    Action.TERM: signal.SIGTERM,
    Action.STOP: signal.SIGSTOP,
}
_LOOK_EVERY = 0.02


class Director:
    """Lets faults happen.

    Args:
        cluster: to be started before `run`.

    Attributes:
        happened: what was done.
        crashes: who died, or did not end, though nobody had wanted that.
        out: parts that are down or stopped, and for which fault.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.happened: list[Happened] = []
        self.crashes: list[str] = []
        self.skipped = 0
        self.out: dict[str, Happened] = {}
        self._due: list[tuple[float, int, Follow]] = []
        self._order = itertools.count()

    def run(self, faults: Iterator[Fault], seconds: float, mortal: Process, reborn: Follow) -> None:
        """Let faults happen for so long, and then wait until everything is up again.

        Args:
            faults: which.
            seconds: for how long.
            mortal: the client that may be killed, running.
            reborn: starts it again.
        """
        self.mortal, self.reborn = mortal, reborn
        end = time.monotonic() + seconds
        fault = next(faults)
        due = time.monotonic() + fault.pause
        while time.monotonic() < end:
            if time.monotonic() >= due:
                self._strike(fault)
                fault = next(faults)
                due += fault.pause
            self._step()
            time.sleep(_LOOK_EVERY)
        while self._due or self.out:
            self._step()
            time.sleep(_LOOK_EVERY)

    def _step(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        for process in (self.cluster.scheduler, *self.cluster.hosts, self.mortal):
            if process.name not in self.out and process.exit_code() is not None:
                self.crashes.append(f"{process.name} ended by itself: {process.exit_code()}")
                nothing = Fault(
                    0.0, Part.HOST, Action.KILL, 0.0, 0.0, then_kill=False, restart_after=0.0
                )
                self._begin(process.name, Happened(nothing, time.time()))
                self._await_death(process, 0.1, time.monotonic() + 1.0)

    def _later(self, seconds: float, follow: Follow) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), follow))

    def _begin(self, name: str, happened: Happened) -> None:
        self.out[name] = happened

    def _strike(self, fault: Fault) -> None:
        happened = Happened(fault, time.time())
        match fault.part:
            case Part.EXECUTOR | Part.ZYGOTE:
                struck = self._strike_child(fault, happened)
            case Part.STORE:
                struck = self._strike_store(fault, happened)
            case Part.MACHINE:
                struck = self._suspend(fault, happened)
            case _:
                struck = self._strike_process(fault, happened)
        if struck:
            self.happened.append(happened)
        else:
            self.skipped += 1

    def _strike_child(self, fault: Fault, happened: Happened) -> bool:
        cluster = self.cluster
        found = cluster.executors() if fault.part is Part.EXECUTOR else cluster.zygotes()
        if not found:
            return False
        victim = found[int(fault.which * len(found))]
        happened.at = time.time()
        with suppress(psutil.NoSuchProcess):
            victim.send_signal(_SIGNALS[fault.action])
            return True
        return False

    def _strike_process(self, fault: Fault, happened: Happened) -> bool:
        process = self._process_of(fault)
        if process.name in self.out:
            return False
        process.send(_SIGNALS[fault.action])
        self._begin(process.name, happened)
        patience = DRAIN + 6.0 if fault.action is Action.TERM else 2.0
        if fault.action is not Action.STOP:
            self._await_death(process, fault.restart_after, time.monotonic() + patience)
        elif fault.then_kill:

            def kill() -> None:
                process.send(signal.SIGKILL)
                self._await_death(process, fault.restart_after, time.monotonic() + 2.0)

            self._later(fault.hold, kill)
        else:
            self._later(fault.hold, lambda: self._go_on(process))
        return True

    def _process_of(self, fault: Fault) -> Process:
        match fault.part:
            case Part.SCHEDULER:
                return self.cluster.scheduler
            case Part.CLIENT:
                return self.mortal
            case _:
                return self.cluster.hosts[int(fault.which * len(self.cluster.hosts))]

    def _go_on(self, process: Process) -> None:
        process.send(signal.SIGCONT)
        self.out.pop(process.name).back_at = time.time()

    def _await_death(self, process: Process, pause: float, deadline: float) -> None:
        """Start it again a while after it has died; it is to have died by the deadline."""
        if process.exit_code() is None:
            if time.monotonic() >= deadline:
                self.crashes.append(f"{process.name} does not end")
                process.send(signal.SIGKILL)
                deadline += 60.0
            self._later(_LOOK_EVERY, lambda: self._await_death(process, pause, deadline))
            return
        process.let_go()
        self.out[process.name].died_at = time.time()
        if process in self.cluster.hosts:
            self._later(pause / 2, lambda: self.cluster.sweep(process))
        self._later(pause, lambda: self._start(process))

    def _start(self, process: Process) -> None:
        self.out.pop(process.name).back_at = time.time()
        if process is self.mortal:
            self.reborn()
        else:
            process.start()

    def _suspend(self, fault: Fault, happened: Happened) -> bool:
        host = self._process_of(fault)
        if host.name in self.out:
            return False
        pids = self.cluster.group(host)
        signal_all(pids, signal.SIGSTOP)
        self._begin(host.name, happened)

        def resume() -> None:
            # Executors first: their zygote kills those that it finds stopped.
            signal_all(pids[::-1], signal.SIGCONT)
            self._go_on(host)

        self._later(fault.hold, resume)
        return True

    def _strike_store(self, fault: Fault, happened: Happened) -> bool:
        pid = self.cluster.store.pid
        if "store" in self.out or pid is None:
            return False
        self._begin("store", happened)
        signal_all([pid], _SIGNALS[fault.action])
        if fault.action is not Action.STOP:
            self._later(fault.restart_after, self._restart_store)
            return True

        def then() -> None:
            signal_all([pid], signal.SIGKILL if fault.then_kill else signal.SIGCONT)
            if fault.then_kill:
                self._later(fault.restart_after, self._restart_store)
            else:
                happened.back_at = happened.up_at = time.time()
                del self.out["store"]

        self._later(fault.hold, then)
        return True

    def _restart_store(self) -> None:
        happened = self.out["store"]
        pid = self.cluster.store.pid
        if pid is not None and is_alive(pid):
            self._later(_LOOK_EVERY, self._restart_store)  # it takes its time to end
            return
        happened.back_at = time.time()
        self.cluster.store.start()
        happened.up_at = time.time()
        del self.out["store"]
