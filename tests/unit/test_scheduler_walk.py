"""Whatever is called, and whoever comes, dies or is cancelled: all runs come to an end."""

from __future__ import annotations

import random

import pytest
from elastic import resized
from scheduling import Cluster

from cloudburst.core.dag import FirstOf
from cloudburst.core.hosts import PoolSize
from cloudburst.core.messages import RunState
from cloudburst.scheduler.run import Run

HOSTS = {"plain": (), "special": ("gpu",), "other": ("gpu", "ssd")}
TARGETS = [*"fkwmlnC", "one", "many", "on gpu", "race", "mixed", "fan", "batches"]
FORK = [("x", "z"), ("y", "z")]


class Walk:
    """Random steps of a cluster of several hosts, on which there is something of everything."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.cluster = Cluster()
        self.names = 0
        self.calls = 0
        for host in HOSTS:
            self.join(host)
        self.beat()
        self.register()

    def register(self) -> None:
        cluster = self.cluster
        cluster.register("f")
        cluster.register("k", needs="gpu")
        cluster.register("w", needs="ssd")
        cluster.register("m", batch=(3, 0.0))
        cluster.register("l", limits=(2, 0))
        cluster.register("n", limits=(0, 1))
        cluster.register("C", is_class=True)
        cluster.register("G", is_class=True, needs="gpu")
        cluster.dag("one", ["C"])
        cluster.dag("many", ["C"], replicas=2)
        cluster.dag("on gpu", [("x", "f"), ("y", "G"), ("z", "l")], FORK, replicas=3)
        cluster.dag("race", [("x", "f"), ("y", "k"), FirstOf(("z", "f"), b"n")], FORK)
        cluster.dag("mixed", [("x", "n"), ("y", "w"), ("z", "C")], FORK, colocated=(("x", "z"),))
        cluster.dag("batches", ["f", "m", "k"], [("f", "m"), ("m", "k")])
        names = [f"s{number}" for number in range(4)]
        edges = [("top", name) for name in names] + [(name, "end") for name in names]
        cluster.dag("fan", [(name, "f") for name in ("top", *names, "end")], edges)

    def join(self, host: str) -> None:
        self.names += 1
        self.cluster.join(f"{host}.{self.names}", host=host, resources=HOSTS[host])

    def executors(self, host: str) -> list[str]:
        return [e.name for e in self.cluster.state.members.all() if e.host == host]

    def beat(self) -> None:
        for host, resources in HOSTS.items():
            self.cluster.size = PoolSize(1, 3, 4, 5.0)
            self.cluster.heartbeat(*self.executors(host), host=host, resources=resources)

    def pass_time(self, seconds: float) -> None:
        """Hosts run as many executors as they are asked for."""
        for host, count in resized(self.cluster.pass_time(seconds)):
            while len(self.executors(host)) < count:
                self.join(host)

    def call(self) -> None:
        self.calls += 1
        target, parent = self.dice.choice(TARGETS), ""
        running = [r.run_id for r in self.cluster.runs.values() if r.state is RunState.RUNNING]
        if running and self.dice.random() < 0.1:
            parent = self.dice.choice(running)
        warm = self.dice.choice((1, 2, 3)) if self.dice.random() < 0.2 else 0
        self.cluster.call(f"r{self.calls}", target, parent=parent, warm=warm)

    def end(self, run: Run) -> None:
        """Its executors have done what they had to."""
        if run.state is RunState.CANCELLING:
            for executor in run.shares():
                self.cluster.let_go(executor.name, run.run_id, run.epoch)
        elif run.state is RunState.RUNNING:
            self.cluster.finish(run.run_id, self.dice.choice((1e-5, 1e-3, 0.1)))

    def settle(self) -> None:
        """What executors hold of what is over, they let go of."""
        for executor in self.cluster.state.members.all():
            for run_id, (epoch, _) in [*executor.shares.items()]:
                run = self.cluster.runs.get(run_id)
                if run is None or run.epoch != epoch or not run.placed_on:
                    self.cluster.let_go(executor.name, run_id, epoch)

    def step(self) -> None:
        runs, dice = [*self.cluster.runs.values()], self.dice
        match dice.choices(range(8), (8, 8, 1, 1, 2, 2, 1, 1))[0]:
            case 0:
                self.call()
            case 1 if runs:
                self.end(dice.choice(runs))
            case 2:
                host = dice.choice([*HOSTS])
                if self.executors(host):
                    name = dice.choice(self.executors(host))
                    self.cluster.die(name, host=host, running=dice.choice(("", "r1")))
                self.join(host)
            case 3 if runs:
                self.cluster.cancel(dice.choice(runs).run_id)
            case 4:
                self.settle()
            case 5:
                self.pass_time(dice.choice((0.001, 0.02, 0.3)))
            case 6:
                self.beat()
            case 7:
                self.cluster.dag("many", ["C"], replicas=dice.choice((1, 2, 3)))

    def finish(self) -> None:
        """Nothing is called any more, and everything that runs ends."""
        for _ in range(1000):
            runs = [*self.cluster.runs.values()]
            if not runs:
                break
            for run in runs:
                self.end(run)
            self.settle()
            self.pass_time(0.1)
            self.beat()
            for host in HOSTS:
                if not self.executors(host):
                    self.join(host)
        self.settle()


@pytest.mark.parametrize("seed", range(25))
def test_all_runs_come_to_an_end(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(250):
        walk.step()
    walk.finish()

    left = {run_id: (run.call.target, run.call.warm) for run_id, run in walk.cluster.runs.items()}
    assert left == {}
    assert walk.cluster.idle()
